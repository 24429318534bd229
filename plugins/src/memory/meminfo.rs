//! Memory use, from `/proc/meminfo` (proc_meminfo(5)).

use vitald_core::family::Family;
use vitald_core::prelude::*;

families! {
    /// Memory the kernel can use, in bytes: all there is less what firmware and the kernel image hold.
    MEM_TOTAL: gauge = "node_memory_MemTotal_bytes";
    /// Memory that nothing uses, in bytes.
    MEM_FREE: gauge = "node_memory_MemFree_bytes";
    /// Estimate of the memory that programs could take without swapping, in bytes.
    MEM_AVAILABLE: gauge = "node_memory_MemAvailable_bytes";
    /// Page cache of block devices, in bytes.
    BUFFERS: gauge = "node_memory_Buffers_bytes";
    /// Page cache of files, shared memory included and swap cache not, in bytes.
    CACHED: gauge = "node_memory_Cached_bytes";
    /// Memory that is both in RAM and in swap, in bytes.
    SWAP_CACHED: gauge = "node_memory_SwapCached_bytes";
    /// Memory used lately and reclaimed last, in bytes.
    ACTIVE: gauge = "node_memory_Active_bytes";
    /// Memory not used lately and reclaimed first, in bytes.
    INACTIVE: gauge = "node_memory_Inactive_bytes";
    /// Anonymous and shared memory used lately, in bytes.
    ACTIVE_ANON: gauge = "node_memory_Active_anon_bytes";
    /// Anonymous and shared memory not used lately, in bytes.
    INACTIVE_ANON: gauge = "node_memory_Inactive_anon_bytes";
    /// Page cache used lately, in bytes.
    ACTIVE_FILE: gauge = "node_memory_Active_file_bytes";
    /// Page cache not used lately, in bytes.
    INACTIVE_FILE: gauge = "node_memory_Inactive_file_bytes";
    /// Memory that cannot be reclaimed, such as locked pages and ramfs, in bytes.
    UNEVICTABLE: gauge = "node_memory_Unevictable_bytes";
    /// Memory locked by mlock(2), in bytes.
    MLOCKED: gauge = "node_memory_Mlocked_bytes";
    /// Swap space, in bytes.
    SWAP_TOTAL: gauge = "node_memory_SwapTotal_bytes";
    /// Swap space that nothing uses, in bytes.
    SWAP_FREE: gauge = "node_memory_SwapFree_bytes";
    /// Memory that zswap's compressed pages take, in bytes.
    ZSWAP: gauge = "node_memory_Zswap_bytes";
    /// Size before compression of the anonymous memory in zswap, in bytes.
    ZSWAPPED: gauge = "node_memory_Zswapped_bytes";
    /// Memory waiting to be written to disk, in bytes.
    DIRTY: gauge = "node_memory_Dirty_bytes";
    /// Memory being written to disk, in bytes.
    WRITEBACK: gauge = "node_memory_Writeback_bytes";
    /// Anonymous memory mapped by programs, in bytes.
    ANON_PAGES: gauge = "node_memory_AnonPages_bytes";
    /// Files mapped by programs, in bytes.
    MAPPED: gauge = "node_memory_Mapped_bytes";
    /// Shared memory and tmpfs, in bytes.
    SHMEM: gauge = "node_memory_Shmem_bytes";
    /// Memory of the kernel's own data structures, in bytes.
    SLAB: gauge = "node_memory_Slab_bytes";
    /// Part of the slab that can be reclaimed, in bytes.
    S_RECLAIMABLE: gauge = "node_memory_SReclaimable_bytes";
    /// Part of the slab that cannot be reclaimed, in bytes.
    S_UNRECLAIM: gauge = "node_memory_SUnreclaim_bytes";
    /// Kernel stacks of all tasks, in bytes.
    KERNEL_STACK: gauge = "node_memory_KernelStack_bytes";
    /// Page tables of programs, in bytes.
    PAGE_TABLES: gauge = "node_memory_PageTables_bytes";
    /// Pages sent to NFS servers and not yet committed there, in bytes; always 0 since Linux 5.8.
    NFS_UNSTABLE: gauge = "node_memory_NFS_Unstable_bytes";
    /// Bounce buffers of block devices, in bytes.
    BOUNCE: gauge = "node_memory_Bounce_bytes";
    /// FUSE's buffers for writing back, in bytes.
    WRITEBACK_TMP: gauge = "node_memory_WritebackTmp_bytes";
    /// Memory that may be promised under strict overcommit, in bytes.
    COMMIT_LIMIT: gauge = "node_memory_CommitLimit_bytes";
    /// Memory promised to programs, used or not, in bytes.
    COMMITTED_AS: gauge = "node_memory_Committed_AS_bytes";
    /// Address space for vmalloc, in bytes.
    VMALLOC_TOTAL: gauge = "node_memory_VmallocTotal_bytes";
    /// Memory that vmalloc holds, in bytes.
    VMALLOC_USED: gauge = "node_memory_VmallocUsed_bytes";
    /// Largest free block of the address space for vmalloc, in bytes; always 0 since Linux 4.4.
    VMALLOC_CHUNK: gauge = "node_memory_VmallocChunk_bytes";
    /// Memory of the per-CPU allocator, in bytes.
    PERCPU: gauge = "node_memory_Percpu_bytes";
    /// Memory the kernel has put out of use because it is faulty, in bytes.
    HARDWARE_CORRUPTED: gauge = "node_memory_HardwareCorrupted_bytes";
    /// Anonymous memory in transparent huge pages, in bytes.
    ANON_HUGE_PAGES: gauge = "node_memory_AnonHugePages_bytes";
    /// Shared memory and tmpfs in huge pages, in bytes.
    SHMEM_HUGE_PAGES: gauge = "node_memory_ShmemHugePages_bytes";
    /// Shared memory mapped by programs in huge pages, in bytes.
    SHMEM_PMD_MAPPED: gauge = "node_memory_ShmemPmdMapped_bytes";
    /// Memory reserved for contiguous allocations, in bytes.
    CMA_TOTAL: gauge = "node_memory_CmaTotal_bytes";
    /// Memory reserved for contiguous allocations that nothing uses, in bytes.
    CMA_FREE: gauge = "node_memory_CmaFree_bytes";
    /// Pages in the pool of huge pages of the default size.
    HUGE_PAGES_TOTAL: gauge = "node_memory_HugePages_Total";
    /// Pages in the pool of huge pages that are not allocated.
    HUGE_PAGES_FREE: gauge = "node_memory_HugePages_Free";
    /// Pages in the pool of huge pages that are promised and not allocated.
    HUGE_PAGES_RSVD: gauge = "node_memory_HugePages_Rsvd";
    /// Huge pages beyond the pool's set size.
    HUGE_PAGES_SURP: gauge = "node_memory_HugePages_Surp";
    /// Default size of a huge page, in bytes.
    HUGEPAGESIZE: gauge = "node_memory_Hugepagesize_bytes";
    /// Memory that the kernel maps in pages of 4 KiB, in bytes.
    DIRECT_MAP_4K: gauge = "node_memory_DirectMap4k_bytes";
    /// Memory that the kernel maps in pages of 2 MiB, in bytes.
    DIRECT_MAP_2M: gauge = "node_memory_DirectMap2M_bytes";
    /// Memory that the kernel maps in pages of 1 GiB, in bytes.
    DIRECT_MAP_1G: gauge = "node_memory_DirectMap1G_bytes";
}

/// The fields that have a family, in the kernel's order (fs/proc/meminfo.c): those that
/// node_exporter shows. The kernel has a few more, which are passed over.
const FIELDS: &[(&[u8], Family<0>)] = &[
    (b"MemTotal", MEM_TOTAL),
    (b"MemFree", MEM_FREE),
    (b"MemAvailable", MEM_AVAILABLE),
    (b"Buffers", BUFFERS),
    (b"Cached", CACHED),
    (b"SwapCached", SWAP_CACHED),
    (b"Active", ACTIVE),
    (b"Inactive", INACTIVE),
    (b"Active(anon)", ACTIVE_ANON),
    (b"Inactive(anon)", INACTIVE_ANON),
    (b"Active(file)", ACTIVE_FILE),
    (b"Inactive(file)", INACTIVE_FILE),
    (b"Unevictable", UNEVICTABLE),
    (b"Mlocked", MLOCKED),
    (b"SwapTotal", SWAP_TOTAL),
    (b"SwapFree", SWAP_FREE),
    (b"Zswap", ZSWAP),
    (b"Zswapped", ZSWAPPED),
    (b"Dirty", DIRTY),
    (b"Writeback", WRITEBACK),
    (b"AnonPages", ANON_PAGES),
    (b"Mapped", MAPPED),
    (b"Shmem", SHMEM),
    (b"Slab", SLAB),
    (b"SReclaimable", S_RECLAIMABLE),
    (b"SUnreclaim", S_UNRECLAIM),
    (b"KernelStack", KERNEL_STACK),
    (b"PageTables", PAGE_TABLES),
    (b"NFS_Unstable", NFS_UNSTABLE),
    (b"Bounce", BOUNCE),
    (b"WritebackTmp", WRITEBACK_TMP),
    (b"CommitLimit", COMMIT_LIMIT),
    (b"Committed_AS", COMMITTED_AS),
    (b"VmallocTotal", VMALLOC_TOTAL),
    (b"VmallocUsed", VMALLOC_USED),
    (b"VmallocChunk", VMALLOC_CHUNK),
    (b"Percpu", PERCPU),
    (b"HardwareCorrupted", HARDWARE_CORRUPTED),
    (b"AnonHugePages", ANON_HUGE_PAGES),
    (b"ShmemHugePages", SHMEM_HUGE_PAGES),
    (b"ShmemPmdMapped", SHMEM_PMD_MAPPED),
    (b"CmaTotal", CMA_TOTAL),
    (b"CmaFree", CMA_FREE),
    (b"HugePages_Total", HUGE_PAGES_TOTAL),
    (b"HugePages_Free", HUGE_PAGES_FREE),
    (b"HugePages_Rsvd", HUGE_PAGES_RSVD),
    (b"HugePages_Surp", HUGE_PAGES_SURP),
    (b"Hugepagesize", HUGEPAGESIZE),
    (b"DirectMap4k", DIRECT_MAP_4K),
    (b"DirectMap2M", DIRECT_MAP_2M),
    (b"DirectMap1G", DIRECT_MAP_1G),
];

/// What is in use and cannot be had by a program that needs it.
const IN_USE: Figure = Figure::Difference(&TOTAL, &value("node_memory_MemAvailable_bytes"));
const TOTAL: Figure = value("node_memory_MemTotal_bytes");
const SWAP_IN_USE: Figure =
    Figure::Difference(&value("node_memory_SwapTotal_bytes"), &value("node_memory_SwapFree_bytes"));

register_collector!(Meminfo);

struct Meminfo {
    file: KeptFile,
}

impl Collector for Meminfo {
    about! {
        name: "meminfo",
        summary: "Memory use of the host",
        families: FAMILIES,
        sources: ["proc/meminfo"],
    }
    const CHARTS: &'static [Chart] = &[Chart::of(
        "Memory",
        &[
            Curve::of("in use", Figure::Ratio(&IN_USE, &TOTAL)),
            Curve::of("used", IN_USE),
            Curve::of("total", TOTAL),
            Curve::of("cached", value("node_memory_Cached_bytes")),
            Curve::of("dirty", value("node_memory_Dirty_bytes")),
            Curve::of("swap used", SWAP_IN_USE),
        ],
    )];

    fn open((): (), host: &Host) -> Result<Self> {
        Ok(Meminfo { file: host.keep_whole("proc/meminfo") })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        let text = self.file.read()?;
        let mut next = 0;
        for line in lines(text).filter(|line| !text::trim(line).is_empty()) {
            let Some((name, value)) = batch.tolerate(parse_line(line)) else { continue };
            // The table has the kernel's order, so the search mostly ends where it starts.
            let (before, after) = FIELDS.split_at(next);
            let mut candidates = (next..).zip(after).chain((0..).zip(before));
            if let Some((position, (_, family))) = candidates.find(|(_, field)| field.0 == name) {
                batch.value(family, value);
                next = position + 1;
            }
        }
        Ok(())
    }
}

/// Takes the name and the value of `MemTotal:       24684084 kB`, the value in bytes, or of
/// `HugePages_Total:       0`, which counts pages.
fn parse_line(line: &[u8]) -> Result<(&[u8], u64), Malformed> {
    let mut fields = Fields::new(line);
    let name = fields.text()?;
    let name = name.strip_suffix(b":").ok_or(Malformed::new(0, "a name and a colon"))?;
    let value = fields.u64()?;
    let at = fields.offset();
    match fields.rest() {
        b"" => Ok((name, value)),
        // lxcfs prints less than nothing in 64 bits (`SwapFree: 18446744073709346016 kB` beside a
        // SwapTotal of 0). In bytes it stays that number modulo 2^64, as it does in node_exporter.
        b"kB" => Ok((name, value.wrapping_mul(1024))),
        _ => Err(Malformed::new(at, "kB or the end of the line")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::testing::*;

    fn host(meminfo: &str) -> Host {
        MemoryHost::from_files(&[("proc/meminfo", meminfo)]).host()
    }

    #[test]
    fn golden() {
        check::<Meminfo>(
            &host(
                "MemTotal:       24684084 kB\n\
                 MemFree:        23179824 kB\n\
                 Active(anon):       1572 kB\n\
                 KReclaimable:     179328 kB\n\
                 SReclaimable:     179328 kB\n\
                 NFS_Unstable:          0 kB\n\
                 Committed_AS:     131920 kB\n\
                 VmallocTotal:   34359738367 kB\n\
                 HugePages_Total:       4\n\
                 Hugepagesize:       2048 kB\n\
                 DirectMap1G:    25165824 kB\n",
            ),
            &[],
            &expect![[r#"
                # node_memory_Active_anon_bytes gauge
                node_memory_Active_anon_bytes 1.609728e+06
                # node_memory_Committed_AS_bytes gauge
                node_memory_Committed_AS_bytes 1.3508608e+08
                # node_memory_DirectMap1G_bytes gauge
                node_memory_DirectMap1G_bytes 2.5769803776e+10
                # node_memory_HugePages_Total gauge
                node_memory_HugePages_Total 4
                # node_memory_Hugepagesize_bytes gauge
                node_memory_Hugepagesize_bytes 2.097152e+06
                # node_memory_MemFree_bytes gauge
                node_memory_MemFree_bytes 2.3736139776e+10
                # node_memory_MemTotal_bytes gauge
                node_memory_MemTotal_bytes 2.5276502016e+10
                # node_memory_NFS_Unstable_bytes gauge
                node_memory_NFS_Unstable_bytes 0
                # node_memory_SReclaimable_bytes gauge
                node_memory_SReclaimable_bytes 1.83631872e+08
                # node_memory_VmallocTotal_bytes gauge
                node_memory_VmallocTotal_bytes 3.5184372087808e+13
            "#]],
        );
    }

    #[test]
    fn any_order_will_do() {
        check::<Meminfo>(
            &host("SwapFree: 2 kB\nMemTotal: 8 kB\n\nSwapTotal: 4 kB\n"),
            &[],
            &expect![[r#"
                # node_memory_MemTotal_bytes gauge
                node_memory_MemTotal_bytes 8192
                # node_memory_SwapFree_bytes gauge
                node_memory_SwapFree_bytes 2048
                # node_memory_SwapTotal_bytes gauge
                node_memory_SwapTotal_bytes 4096
            "#]],
        );
    }

    #[test]
    fn swap_of_less_than_nothing_is_as_node_exporter_has_it() {
        check::<Meminfo>(
            &host("SwapTotal: 0 kB\nSwapFree: 18446744073709346016 kB\n"),
            &[],
            &expect![[r#"
                # node_memory_SwapFree_bytes gauge
                node_memory_SwapFree_bytes 1.8446744073499017e+19
                # node_memory_SwapTotal_bytes gauge
                node_memory_SwapTotal_bytes 0
            "#]],
        );
    }

    #[test]
    fn odd_lines_are_left_out() {
        let mut collector = open::<Meminfo>(&host("MemTotal: x kB\nMemFree: 1 kB\nDirty\n"), &[]);
        let (batch, outcome) = run(&mut collector, None);
        outcome.unwrap();
        assert_eq!(batch.len(), 1);
        assert_eq!(batch.malformed(), Some((2, Malformed::new(10, "a number"))));
    }

    #[test]
    fn absent_is_an_error() {
        check_fails::<Meminfo>(
            &MemoryHost::new().host(),
            &[],
            &expect!["proc/meminfo: not on this host"],
            &expect![""],
        );
    }

    #[test]
    fn refuses_bad_text() {
        rejects(
            |line| parse_line(line).map(|(_, value)| value),
            &["", "MemTotal", "MemTotal 1 kB", "a:", "a: b kB", "a: 1 MB", "a: 1 kB x"],
        );
    }
}
