//! What XFS did, from `/sys/fs/xfs/*/stats/stats` (fs/xfs/xfs_stats.c,
//! Documentation/ABI/testing/sysfs-fs-xfs).

use vitald_core::family::Family;
use vitald_core::prelude::*;

families! {
    /// Extents that were allocated.
    EXTENTS_ALLOCATED: counter = "node_xfs_extent_allocation_extents_allocated_total" [device];
    /// Blocks that were allocated.
    BLOCKS_ALLOCATED: counter = "node_xfs_extent_allocation_blocks_allocated_total" [device];
    /// Extents that were freed.
    EXTENTS_FREED: counter = "node_xfs_extent_allocation_extents_freed_total" [device];
    /// Blocks that were freed.
    BLOCKS_FREED: counter = "node_xfs_extent_allocation_blocks_freed_total" [device];
    /// Searches in the trees of free space.
    FREE_LOOKUPS: counter = "node_xfs_allocation_btree_lookups_total" [device];
    /// Comparisons in the trees of free space.
    FREE_COMPARES: counter = "node_xfs_allocation_btree_compares_total" [device];
    /// Records put into the trees of free space.
    FREE_INSERTS: counter = "node_xfs_allocation_btree_records_inserted_total" [device];
    /// Records taken out of the trees of free space.
    FREE_DELETES: counter = "node_xfs_allocation_btree_records_deleted_total" [device];
    /// Block maps of files that were read.
    MAP_READS: counter = "node_xfs_block_mapping_reads_total" [device];
    /// Block maps of files that were made for writing.
    MAP_WRITES: counter = "node_xfs_block_mapping_writes_total" [device];
    /// Blocks that were taken out of files.
    UNMAPS: counter = "node_xfs_block_mapping_unmaps_total" [device];
    /// Extents put into the lists of files.
    LIST_INSERTS: counter = "node_xfs_block_mapping_extent_list_insertions_total" [device];
    /// Extents taken out of the lists of files.
    LIST_DELETES: counter = "node_xfs_block_mapping_extent_list_deletions_total" [device];
    /// Searches in the lists of extents of files.
    LIST_LOOKUPS: counter = "node_xfs_block_mapping_extent_list_lookups_total" [device];
    /// Comparisons in the lists of extents of files.
    LIST_COMPARES: counter = "node_xfs_block_mapping_extent_list_compares_total" [device];
    /// Searches in the trees of block maps.
    MAP_LOOKUPS: counter = "node_xfs_block_map_btree_lookups_total" [device];
    /// Comparisons in the trees of block maps.
    MAP_COMPARES: counter = "node_xfs_block_map_btree_compares_total" [device];
    /// Records put into the trees of block maps.
    MAP_INSERTS: counter = "node_xfs_block_map_btree_records_inserted_total" [device];
    /// Records taken out of the trees of block maps.
    MAP_DELETES: counter = "node_xfs_block_map_btree_records_deleted_total" [device];
    /// Names that were looked up in directories, and not found in the cache.
    LOOKUPS: counter = "node_xfs_directory_operation_lookup_total" [device];
    /// Names that were made.
    CREATES: counter = "node_xfs_directory_operation_create_total" [device];
    /// Names that were removed.
    REMOVES: counter = "node_xfs_directory_operation_remove_total" [device];
    /// Listings of directories.
    LISTINGS: counter = "node_xfs_directory_operation_getdents_total" [device];
    /// Inodes that were looked for in the cache.
    INODE_ATTEMPTS: counter = "node_xfs_inode_operation_attempts_total" [device];
    /// Inodes that were found in the cache.
    INODES_FOUND: counter = "node_xfs_inode_operation_found_total" [device];
    /// Inodes that were found in the cache and about to be dropped.
    INODES_RECYCLED: counter = "node_xfs_inode_operation_recycled_total" [device];
    /// Inodes that were not in the cache.
    INODES_MISSED: counter = "node_xfs_inode_operation_missed_total" [device];
    /// Inodes that another task had put into the cache meanwhile.
    INODE_DUPLICATES: counter = "node_xfs_inode_operation_duplicates_total" [device];
    /// Inodes that were dropped from the cache to free memory.
    INODE_RECLAIMS: counter = "node_xfs_inode_operation_reclaims_total" [device];
    /// Attributes of inodes that were changed.
    ATTRIBUTE_CHANGES: counter = "node_xfs_inode_operation_attribute_changes_total" [device];
    /// Calls of read(2) and its like.
    READS: counter = "node_xfs_read_calls_total" [device];
    /// Calls of write(2) and its like.
    WRITES: counter = "node_xfs_write_calls_total" [device];
    /// Inodes in memory that are in use.
    NODES_ACTIVE: counter = "node_xfs_vnode_active_total" [device];
    /// Inodes that memory was taken for.
    NODES_ALLOCATED: counter = "node_xfs_vnode_allocate_total" [device];
    /// Inodes that were taken into use.
    NODES_TAKEN: counter = "node_xfs_vnode_get_total" [device];
    /// Inodes that were held.
    NODES_HELD: counter = "node_xfs_vnode_hold_total" [device];
    /// Inodes that were given back.
    NODES_RELEASED: counter = "node_xfs_vnode_release_total" [device];
    /// Inodes in memory that were reclaimed.
    NODES_RECLAIMED: counter = "node_xfs_vnode_reclaim_total" [device];
    /// Inodes in memory that were removed.
    NODES_REMOVED: counter = "node_xfs_vnode_remove_total" [device];
}

/// The first word of a line, and what its numbers are.
const LINES: &[(&[u8], &[&Family<1>])] = &[
    (b"extent_alloc", &[&EXTENTS_ALLOCATED, &BLOCKS_ALLOCATED, &EXTENTS_FREED, &BLOCKS_FREED]),
    (b"abt", &[&FREE_LOOKUPS, &FREE_COMPARES, &FREE_INSERTS, &FREE_DELETES]),
    (
        b"blk_map",
        &[
            &MAP_READS,
            &MAP_WRITES,
            &UNMAPS,
            &LIST_INSERTS,
            &LIST_DELETES,
            &LIST_LOOKUPS,
            &LIST_COMPARES,
        ],
    ),
    (b"bmbt", &[&MAP_LOOKUPS, &MAP_COMPARES, &MAP_INSERTS, &MAP_DELETES]),
    (b"dir", &[&LOOKUPS, &CREATES, &REMOVES, &LISTINGS]),
    (
        b"ig",
        &[
            &INODE_ATTEMPTS,
            &INODES_FOUND,
            &INODES_RECYCLED,
            &INODES_MISSED,
            &INODE_DUPLICATES,
            &INODE_RECLAIMS,
            &ATTRIBUTE_CHANGES,
        ],
    ),
    (b"rw", &[&WRITES, &READS]),
    (
        b"vnodes",
        &[
            &NODES_ACTIVE,
            &NODES_ALLOCATED,
            &NODES_TAKEN,
            &NODES_HELD,
            &NODES_RELEASED,
            &NODES_RECLAIMED,
            &NODES_REMOVED,
        ],
    ),
];

attributes! {
    FileSystem {
        STATISTICS: line = "stats/stats";
    }
}

register_collector!(Xfs);

struct Xfs(Walk<FileSystem>);

impl Collector for Xfs {
    about! {
        name: "xfs",
        summary: "What XFS did on each file system",
        families: FAMILIES,
        sources: ["sys/fs/xfs/*/stats/stats"],
    }
    const SINCE: Since = Since::Source;

    fn open((): (), host: &Host) -> Result<Self> {
        // What all of them did together is in a directory beside them.
        Ok(Xfs(host.walk("sys/fs/xfs/*").only(0, |name| name != b"stats")))
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        for file_system in self.0.optional()? {
            let labels = batch.labels([file_system.name(0)]);
            for line in lines(file_system.text(&FileSystem::STATISTICS)?) {
                let mut fields = Fields::new(line);
                let word = fields.next().unwrap_or_default();
                let Some((_, families)) = LINES.iter().find(|(known, _)| *known == word) else {
                    continue;
                };
                for family in *families {
                    let Some(count) = batch.tolerate(fields.u64()) else { break };
                    batch.push(family, labels, count);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::testing::*;

    const STATISTICS: &str = "extent_alloc 92447 97589 92448 93751\n\
        abt 1 2 3 4\nblk_map 1767055 188820 184891 92447 92448 2140766 5\nbmbt 5 6 7 8\n\
        dir 185039 92447 92444 136422\ntrans 706 944304 0\nig 185045 58807 11 126238 12 33637 22\n\
        log 2883 113448 9 17360 739\nrw 107739 94045\nattr 4 0 0 0\n\
        vnodes 92601 13 14 15 92444 92444 92444 0\nxpc 399724544 92823103 86219234\ndebug 0\n";

    fn memory() -> MemoryHost {
        MemoryHost::from_files(&[
            ("sys/fs/xfs/dm-1/stats/stats", STATISTICS),
            ("sys/fs/xfs/dm-1/log/log_head_lsn", "1:2\n"),
            ("sys/fs/xfs/stats/stats", "rw 1 2\n"),
        ])
    }

    #[test]
    fn golden() {
        check::<Xfs>(
            &memory().host(),
            &[],
            &expect![[r##"
            # node_xfs_allocation_btree_compares_total counter
            node_xfs_allocation_btree_compares_total{device="dm-1"} 2
            # node_xfs_allocation_btree_lookups_total counter
            node_xfs_allocation_btree_lookups_total{device="dm-1"} 1
            # node_xfs_allocation_btree_records_deleted_total counter
            node_xfs_allocation_btree_records_deleted_total{device="dm-1"} 4
            # node_xfs_allocation_btree_records_inserted_total counter
            node_xfs_allocation_btree_records_inserted_total{device="dm-1"} 3
            # node_xfs_block_map_btree_compares_total counter
            node_xfs_block_map_btree_compares_total{device="dm-1"} 6
            # node_xfs_block_map_btree_lookups_total counter
            node_xfs_block_map_btree_lookups_total{device="dm-1"} 5
            # node_xfs_block_map_btree_records_deleted_total counter
            node_xfs_block_map_btree_records_deleted_total{device="dm-1"} 8
            # node_xfs_block_map_btree_records_inserted_total counter
            node_xfs_block_map_btree_records_inserted_total{device="dm-1"} 7
            # node_xfs_block_mapping_extent_list_compares_total counter
            node_xfs_block_mapping_extent_list_compares_total{device="dm-1"} 5
            # node_xfs_block_mapping_extent_list_deletions_total counter
            node_xfs_block_mapping_extent_list_deletions_total{device="dm-1"} 92448
            # node_xfs_block_mapping_extent_list_insertions_total counter
            node_xfs_block_mapping_extent_list_insertions_total{device="dm-1"} 92447
            # node_xfs_block_mapping_extent_list_lookups_total counter
            node_xfs_block_mapping_extent_list_lookups_total{device="dm-1"} 2.140766e+06
            # node_xfs_block_mapping_reads_total counter
            node_xfs_block_mapping_reads_total{device="dm-1"} 1.767055e+06
            # node_xfs_block_mapping_unmaps_total counter
            node_xfs_block_mapping_unmaps_total{device="dm-1"} 184891
            # node_xfs_block_mapping_writes_total counter
            node_xfs_block_mapping_writes_total{device="dm-1"} 188820
            # node_xfs_directory_operation_create_total counter
            node_xfs_directory_operation_create_total{device="dm-1"} 92447
            # node_xfs_directory_operation_getdents_total counter
            node_xfs_directory_operation_getdents_total{device="dm-1"} 136422
            # node_xfs_directory_operation_lookup_total counter
            node_xfs_directory_operation_lookup_total{device="dm-1"} 185039
            # node_xfs_directory_operation_remove_total counter
            node_xfs_directory_operation_remove_total{device="dm-1"} 92444
            # node_xfs_extent_allocation_blocks_allocated_total counter
            node_xfs_extent_allocation_blocks_allocated_total{device="dm-1"} 97589
            # node_xfs_extent_allocation_blocks_freed_total counter
            node_xfs_extent_allocation_blocks_freed_total{device="dm-1"} 93751
            # node_xfs_extent_allocation_extents_allocated_total counter
            node_xfs_extent_allocation_extents_allocated_total{device="dm-1"} 92447
            # node_xfs_extent_allocation_extents_freed_total counter
            node_xfs_extent_allocation_extents_freed_total{device="dm-1"} 92448
            # node_xfs_inode_operation_attempts_total counter
            node_xfs_inode_operation_attempts_total{device="dm-1"} 185045
            # node_xfs_inode_operation_attribute_changes_total counter
            node_xfs_inode_operation_attribute_changes_total{device="dm-1"} 22
            # node_xfs_inode_operation_duplicates_total counter
            node_xfs_inode_operation_duplicates_total{device="dm-1"} 12
            # node_xfs_inode_operation_found_total counter
            node_xfs_inode_operation_found_total{device="dm-1"} 58807
            # node_xfs_inode_operation_missed_total counter
            node_xfs_inode_operation_missed_total{device="dm-1"} 126238
            # node_xfs_inode_operation_reclaims_total counter
            node_xfs_inode_operation_reclaims_total{device="dm-1"} 33637
            # node_xfs_inode_operation_recycled_total counter
            node_xfs_inode_operation_recycled_total{device="dm-1"} 11
            # node_xfs_read_calls_total counter
            node_xfs_read_calls_total{device="dm-1"} 94045
            # node_xfs_vnode_active_total counter
            node_xfs_vnode_active_total{device="dm-1"} 92601
            # node_xfs_vnode_allocate_total counter
            node_xfs_vnode_allocate_total{device="dm-1"} 13
            # node_xfs_vnode_get_total counter
            node_xfs_vnode_get_total{device="dm-1"} 14
            # node_xfs_vnode_hold_total counter
            node_xfs_vnode_hold_total{device="dm-1"} 15
            # node_xfs_vnode_reclaim_total counter
            node_xfs_vnode_reclaim_total{device="dm-1"} 92444
            # node_xfs_vnode_release_total counter
            node_xfs_vnode_release_total{device="dm-1"} 92444
            # node_xfs_vnode_remove_total counter
            node_xfs_vnode_remove_total{device="dm-1"} 92444
            # node_xfs_write_calls_total counter
            node_xfs_write_calls_total{device="dm-1"} 107739
        "##]],
        );
    }

    #[test]
    fn a_bad_line_costs_what_follows_in_it() {
        let memory = memory();
        memory.write("sys/fs/xfs/dm-1/stats/stats", "rw 5\nabt 1 x 3 4\ndir -1\nnew 1\n\nig\n");
        let (batch, outcome) = run(&mut open::<Xfs>(&memory.host(), &[]), None);
        outcome.unwrap();
        assert_eq!((batch.len(), batch.malformed().map(|(count, _)| count)), (2, Some(4)));
    }

    #[test]
    fn a_file_system_goes_and_comes() {
        let memory = memory();
        let mut collector = open::<Xfs>(&memory.host(), &[]);
        let (whole, _) = run(&mut collector, None);
        memory.remove("sys/fs/xfs/dm-1");
        let (batch, outcome) = run(&mut collector, Some(&whole));
        outcome.unwrap();
        assert_eq!((whole.len(), batch.len()), (39, 0));
        memory.write("sys/fs/xfs/sdb1/stats/stats", "rw 3 4\n");
        assert_eq!(run(&mut collector, Some(&batch)).0.len(), 2);
    }

    #[test]
    fn a_host_without_xfs_has_no_series() {
        check::<Xfs>(&MemoryHost::new().host(), &[], &expect![""]);
    }
}
