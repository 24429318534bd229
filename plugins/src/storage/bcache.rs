//! Disks that are cached by bcache, from `/sys/fs/bcache`
//! (Documentation/admin-guide/bcache.rst, drivers/md/bcache/sysfs.c).

use vitald_core::family::Family;
use vitald_core::host::attribute::Text;
use vitald_core::host::{Attribute, Attributes, Child};
use vitald_core::number::parse_f64;
use vitald_core::prelude::*;

families! {
    /// The data of a key in the tree, in sectors of 512 bytes, on average.
    KEY_SIZE: gauge = "node_bcache_average_key_size_sectors" [uuid];
    /// The memory that the cache of the tree takes.
    TREE_CACHE_SIZE: gauge = "node_bcache_btree_cache_size_bytes" [uuid];
    /// How much of the cache is without data that must be written back, in percent.
    AVAILABLE: gauge = "node_bcache_cache_available_percent" [uuid] legacy;
    /// How congested the cache is; above 0 reads are passed by.
    CONGESTED: gauge = "node_bcache_congested" [uuid];
    /// How full the root of the tree is, in percent.
    ROOT_USAGE: gauge = "node_bcache_root_usage_percent" [uuid] legacy;
    /// The levels of the tree.
    TREE_DEPTH: gauge = "node_bcache_tree_depth" [uuid];
    /// Entries of the journal that are newer than the tree.
    JOURNAL_ENTRIES: gauge = "node_bcache_active_journal_entries" [uuid];
    /// The nodes of the tree.
    TREE_NODES: gauge = "node_bcache_btree_nodes" [uuid];
    /// How long it takes to read a node of the tree, on average.
    TREE_READ_TIME: gauge = "node_bcache_btree_read_average_duration_seconds" [uuid];
    /// How often data was replaced in the cache while it was read.
    READ_RACES: counter = "node_bcache_cache_read_races_total" [uuid];
    /// Data in the cache that must be written back to a disk.
    DIRTY: gauge = "node_bcache_dirty_data_bytes" [uuid, backing_device];
    /// How much of such data there should be.
    DIRTY_TARGET: gauge = "node_bcache_dirty_target_bytes" [uuid, backing_device];
    /// How fast data is written back, in bytes per second.
    RATE: gauge = "node_bcache_writeback_rate" [uuid, backing_device];
    /// The part of that rate that comes from how much data there is, in bytes per second.
    RATE_PROPORTIONAL: gauge = "node_bcache_writeback_rate_proportional_term" [uuid, backing_device];
    /// The part of that rate that comes from how much data there was, in bytes per second.
    RATE_INTEGRAL: gauge = "node_bcache_writeback_rate_integral_term" [uuid, backing_device];
    /// How that rate was changed last, in bytes per second.
    RATE_CHANGE: gauge = "node_bcache_writeback_change" [uuid, backing_device];
    /// Bytes that were read and written past the cache.
    BYPASSED: counter = "node_bcache_bypassed_bytes_total" [uuid, backing_device];
    /// Requests whose data was in the cache.
    HITS: counter = "node_bcache_cache_hits_total" [uuid, backing_device];
    /// Requests whose data was not in the cache.
    MISSES: counter = "node_bcache_cache_misses_total" [uuid, backing_device];
    /// Requests past the cache whose data was in it.
    BYPASS_HITS: counter = "node_bcache_cache_bypass_hits_total" [uuid, backing_device];
    /// Requests past the cache whose data was not in it.
    BYPASS_MISSES: counter = "node_bcache_cache_bypass_misses_total" [uuid, backing_device];
    /// How often data was written while it was put into the cache after a miss.
    COLLISIONS: counter = "node_bcache_cache_miss_collisions_total" [uuid, backing_device];
    /// How often data was read ahead.
    READ_AHEADS: counter = "node_bcache_cache_readaheads_total" [uuid, backing_device];
    /// Errors of a cache's disk, of which old ones count less.
    ERRORS: gauge = "node_bcache_io_errors" [uuid, cache_device];
    /// Bytes written to a cache that are not data.
    METADATA_WRITTEN: counter = "node_bcache_metadata_written_bytes_total" [uuid, cache_device];
    /// Bytes written to a cache.
    WRITTEN: counter = "node_bcache_written_bytes_total" [uuid, cache_device];
    /// How much of a cache has no data in it, in percent.
    UNUSED: gauge = "node_bcache_priority_stats_unused_percent" [uuid, cache_device] legacy;
    /// How much of a cache is not for data, in percent.
    METADATA: gauge = "node_bcache_priority_stats_metadata_percent" [uuid, cache_device] legacy;
}

attributes! {
    Set {
        KEY_SIZE: text = "average_key_size", optional;
        TREE_CACHE_SIZE: text = "btree_cache_size", optional;
        AVAILABLE: text = "cache_available_percent", optional;
        CONGESTED: text = "congested", optional;
        ROOT_USAGE: text = "root_usage_percent", optional;
        TREE_DEPTH: text = "tree_depth", optional;
        JOURNAL_ENTRIES: text = "internal/active_journal_entries", optional;
        TREE_NODES: text = "internal/btree_nodes", optional;
        TREE_READ_TIME: text = "internal/btree_read_average_duration_us", optional;
        READ_RACES: text = "internal/cache_read_races", optional;
    }
}

attributes! {
    BackingDevice {
        DIRTY: text = "dirty_data", optional;
        RATE: line = "writeback_rate_debug", optional;
        BYPASSED: text = "stats_total/bypassed", optional;
        HITS: text = "stats_total/cache_hits", optional;
        MISSES: text = "stats_total/cache_misses", optional;
        BYPASS_HITS: text = "stats_total/cache_bypass_hits", optional;
        BYPASS_MISSES: text = "stats_total/cache_bypass_misses", optional;
        COLLISIONS: text = "stats_total/cache_miss_collisions", optional;
        READ_AHEADS: text = "stats_total/cache_readaheads", optional;
    }
}

attributes! {
    Cache {
        ERRORS: text = "io_errors", optional;
        METADATA_WRITTEN: text = "metadata_written", optional;
        WRITTEN: text = "written", optional;
    }
}

attributes! {
    Priorities {
        STATISTICS: line = "priority_stats";
    }
}

/// What is a number alone in a file, with `N` labels.
type Sizes<S, const N: usize> = &'static [(&'static Family<N>, &'static Attribute<S, Text>)];

const SET: Sizes<Set, 1> = &[
    (&KEY_SIZE, &Set::KEY_SIZE),
    (&TREE_CACHE_SIZE, &Set::TREE_CACHE_SIZE),
    (&AVAILABLE, &Set::AVAILABLE),
    (&CONGESTED, &Set::CONGESTED),
    (&ROOT_USAGE, &Set::ROOT_USAGE),
    (&TREE_DEPTH, &Set::TREE_DEPTH),
    (&JOURNAL_ENTRIES, &Set::JOURNAL_ENTRIES),
    (&TREE_NODES, &Set::TREE_NODES),
    (&READ_RACES, &Set::READ_RACES),
];

const BACKING_DEVICE: Sizes<BackingDevice, 2> = &[
    (&DIRTY, &BackingDevice::DIRTY),
    (&BYPASSED, &BackingDevice::BYPASSED),
    (&HITS, &BackingDevice::HITS),
    (&MISSES, &BackingDevice::MISSES),
    (&BYPASS_HITS, &BackingDevice::BYPASS_HITS),
    (&BYPASS_MISSES, &BackingDevice::BYPASS_MISSES),
    (&COLLISIONS, &BackingDevice::COLLISIONS),
    (&READ_AHEADS, &BackingDevice::READ_AHEADS),
];

const CACHE: Sizes<Cache, 2> = &[
    (&ERRORS, &Cache::ERRORS),
    (&METADATA_WRITTEN, &Cache::METADATA_WRITTEN),
    (&WRITTEN, &Cache::WRITTEN),
];

/// The lines of `writeback_rate_debug` that are shown.
const RATES: &[(&[u8], &Family<2>)] = &[
    (b"target", &DIRTY_TARGET),
    (b"rate", &RATE),
    (b"proportional", &RATE_PROPORTIONAL),
    (b"integral", &RATE_INTEGRAL),
    (b"change", &RATE_CHANGE),
];

/// The lines of `priority_stats` that are shown.
const SHARES: &[(&[u8], &Family<2>)] = &[(b"Unused", &UNUSED), (b"Metadata", &METADATA)];

settings! {
    /// Show how much of each cache is in use, too, for which the kernel sorts all of its buckets.
    priority_stats: bool = false, flag "priorityStats";
}

register_collector!(Bcache);

struct Bcache {
    sets: Walk<Set>,
    backing_devices: Walk<BackingDevice>,
    caches: Walk<Cache>,
    priorities: Option<Walk<Priorities>>,
}

impl Collector for Bcache {
    about! {
        name: "bcache",
        summary: "Disks that are cached by bcache, and their caches",
        families: FAMILIES,
        sources: [
            "sys/fs/bcache/*/*",
            "sys/fs/bcache/*/internal/*",
            "sys/fs/bcache/*/bdev*/dirty_data",
            "sys/fs/bcache/*/bdev*/writeback_rate_debug",
            "sys/fs/bcache/*/bdev*/stats_total/*",
            "sys/fs/bcache/*/cache*/*",
        ],
        settings: Settings,
    }
    // Sorting the buckets of a large cache takes long.
    const MAY_BLOCK: bool = true;
    const MAY_BLOCK_WITH: Option<&'static str> = Some("priority_stats");
    const DEVICES: Option<Devices> = Some(Devices::optional("sys/fs/bcache"));
    const OWN_DESCRIPTORS: bool = true;
    const SINCE: Since = Since::Source;

    fn may_block(settings: &Settings) -> bool {
        settings.priority_stats
    }

    fn open(settings: Settings, host: &Host) -> Result<Self> {
        Ok(Bcache {
            sets: host.walk("sys/fs/bcache/*").only(0, is_uuid),
            backing_devices: members(host, "sys/fs/bcache/*/bdev*", b"bdev"),
            caches: members(host, "sys/fs/bcache/*/cache*", b"cache"),
            priorities: settings
                .priority_stats
                .then(|| members(host, "sys/fs/bcache/*/cache*", b"cache")),
        })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        let sets = self.sets.optional()?;
        // Devices and caches are looked for in sets.
        if sets.len() == 0 {
            return Ok(());
        }
        for set in sets {
            push(batch, &set, [set.name(0)], SET)?;
            if let Some(text) = set.optional_text(&Set::TREE_READ_TIME)?
                && let Some(duration) = set.tolerate(&Set::TREE_READ_TIME, parse_size(text), batch)
            {
                // node_exporter takes the number for nanoseconds.
                batch.row(&TREE_READ_TIME, [set.name(0)], duration * 1e-9);
            }
        }
        for device in self.backing_devices.optional()? {
            let labels = [device.name(0), device.name(1)];
            push(batch, &device, labels, BACKING_DEVICE)?;
            push_lines(batch, labels, device.text(&BackingDevice::RATE)?, RATES);
        }
        for cache in self.caches.optional()? {
            push(batch, &cache, [cache.name(0), cache.name(1)], CACHE)?;
        }
        if let Some(priorities) = &mut self.priorities {
            for cache in priorities.optional()? {
                let text = cache.text(&Priorities::STATISTICS)?;
                push_lines(batch, [cache.name(0), cache.name(1)], text, SHARES);
            }
        }
        Ok(())
    }
}

fn is_uuid(name: &[u8]) -> bool {
    name.contains(&b'-')
}

/// A walk over the members of sets whose names are a word and a number.
fn members<S: Attributes>(host: &Host, pattern: &str, word: &'static [u8]) -> Walk<S> {
    let is_member = |name: &[u8]| {
        name.strip_prefix(word).and_then(<[u8]>::first).is_some_and(u8::is_ascii_digit)
    };
    host.walk(pattern).only(0, is_uuid).only(1, is_member)
}

fn push<S: Attributes, const N: usize>(
    batch: &mut Batch,
    child: &Child<'_, S>,
    labels: [&[u8]; N],
    sizes: Sizes<S, N>,
) -> Result<()> {
    let labels = batch.labels(labels);
    for (family, attribute) in sizes {
        let Some(text) = child.optional_text(attribute)? else { continue };
        if let Some(size) = child.tolerate(attribute, parse_size(text), batch) {
            batch.push(family, labels, size);
        }
    }
    Ok(())
}

/// Pushes the sizes of lines such as `target: 20.4G` or `Unused: 99%`.
fn push_lines(
    batch: &mut Batch,
    labels: [&[u8]; 2],
    text: &[u8],
    families: &[(&[u8], &Family<2>)],
) {
    let labels = batch.labels(labels);
    for line in lines(text) {
        let Some((word, size)) = text::key_value(line, b':') else { continue };
        let Some((_, family)) = families.iter().find(|(known, _)| *known == word) else { continue };
        let size = size.strip_suffix(b"/sec").or(size.strip_suffix(b"%")).unwrap_or(size);
        if let Some(size) = batch.tolerate(parse_size(size)) {
            batch.push(family, labels, size);
        }
    }
}

/// Takes a number as the kernel writes it for people: `512`, `1.1k` or `-6.23M`.
///
/// What follows the point are not tenths: up to Linux 4.13 it is 1,024 parts divided by 100, so
/// that `.10` is more than `.9`. node_exporter reads all as that, and so does this.
fn parse_size(text: &[u8]) -> Result<f64, Malformed> {
    let malformed = Malformed::new(0, "a number such as 1.1k");
    let (sign, digits) = text.strip_prefix(b"-").map_or((1.0, text), |digits| (-1.0, digits));
    let number =
        |digits: &[u8]| parse_f64(digits).filter(|number| *number >= 0.0 && number.is_finite());
    let power = match digits.last() {
        Some(b'k') => 1,
        Some(b'M') => 2,
        Some(b'G') => 3,
        Some(b'T') => 4,
        Some(b'P') => 5,
        Some(b'E') => 6,
        _ => return number(digits).map(|number| sign * number.trunc()).ok_or(malformed),
    };
    let digits = &digits[..digits.len() - 1];
    let parts = match text::split_once(digits, b'.') {
        None => number(digits),
        Some((whole, part)) => {
            number(whole).zip(number(part)).map(|(whole, part)| whole + part / 10.24)
        }
    };
    let size = parts.ok_or(malformed)? * 1024_f64.powi(power);
    Ok(sign * size.trunc())
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::testing::*;

    const SET_PATH: &str = "sys/fs/bcache/12345678-aaaa-4bbb-8ccc-0123456789ab";

    fn memory() -> MemoryHost {
        let memory = MemoryHost::new();
        for (path, content) in [
            ("average_key_size", "14.2k"),
            ("btree_cache_size", "1.5M"),
            ("cache_available_percent", "97"),
            ("congested", "0"),
            ("internal/btree_read_average_duration_us", "841"),
            ("internal/cache_read_races", "2"),
            ("stats_total/cache_hits", "9"),
            ("bdev0/dirty_data", "0.5k"),
            ("bdev0/stats_total/cache_hits", "8412"),
            ("bdev0/stats_total/bypassed", "2.0G"),
            (
                "bdev0/writeback_rate_debug",
                "rate:\t\t4.0k/sec\ndirty:\t\t0\ntarget:\t\t1.0G\nproportional:\t-6.2M\n\
                 integral:\t0\nchange:\t\t-321.5k/sec\nnext io:\t17ms",
            ),
            ("cache0/io_errors", "0"),
            ("cache0/written", "512"),
            ("cache0/priority_stats", "Unused:\t\t99%\nClean:\t\t0%\nMetadata:\t1%\nAverage:\t10"),
            ("cachex/io_errors", "1"),
        ] {
            memory.write(format!("{SET_PATH}/{path}"), format!("{content}\n"));
        }
        memory.write("sys/fs/bcache/register", "");
        memory
    }

    #[test]
    fn golden() {
        check::<Bcache>(
            &memory().host(),
            &[],
            &expect![[r##"
            # node_bcache_average_key_size_sectors gauge
            node_bcache_average_key_size_sectors{uuid="12345678-aaaa-4bbb-8ccc-0123456789ab"} 14536
            # node_bcache_btree_cache_size_bytes gauge
            node_bcache_btree_cache_size_bytes{uuid="12345678-aaaa-4bbb-8ccc-0123456789ab"} 1.560576e+06
            # node_bcache_btree_read_average_duration_seconds gauge
            node_bcache_btree_read_average_duration_seconds{uuid="12345678-aaaa-4bbb-8ccc-0123456789ab"} 8.410000000000001e-07
            # node_bcache_bypassed_bytes_total counter
            node_bcache_bypassed_bytes_total{uuid="12345678-aaaa-4bbb-8ccc-0123456789ab",backing_device="bdev0"} 2.147483648e+09
            # node_bcache_cache_available_percent gauge
            node_bcache_cache_available_percent{uuid="12345678-aaaa-4bbb-8ccc-0123456789ab"} 97
            # node_bcache_cache_hits_total counter
            node_bcache_cache_hits_total{uuid="12345678-aaaa-4bbb-8ccc-0123456789ab",backing_device="bdev0"} 8412
            # node_bcache_cache_read_races_total counter
            node_bcache_cache_read_races_total{uuid="12345678-aaaa-4bbb-8ccc-0123456789ab"} 2
            # node_bcache_congested gauge
            node_bcache_congested{uuid="12345678-aaaa-4bbb-8ccc-0123456789ab"} 0
            # node_bcache_dirty_data_bytes gauge
            node_bcache_dirty_data_bytes{uuid="12345678-aaaa-4bbb-8ccc-0123456789ab",backing_device="bdev0"} 500
            # node_bcache_dirty_target_bytes gauge
            node_bcache_dirty_target_bytes{uuid="12345678-aaaa-4bbb-8ccc-0123456789ab",backing_device="bdev0"} 1.073741824e+09
            # node_bcache_io_errors gauge
            node_bcache_io_errors{uuid="12345678-aaaa-4bbb-8ccc-0123456789ab",cache_device="cache0"} 0
            # node_bcache_writeback_change gauge
            node_bcache_writeback_change{uuid="12345678-aaaa-4bbb-8ccc-0123456789ab",backing_device="bdev0"} -329204
            # node_bcache_writeback_rate gauge
            node_bcache_writeback_rate{uuid="12345678-aaaa-4bbb-8ccc-0123456789ab",backing_device="bdev0"} 4096
            # node_bcache_writeback_rate_integral_term gauge
            node_bcache_writeback_rate_integral_term{uuid="12345678-aaaa-4bbb-8ccc-0123456789ab",backing_device="bdev0"} 0
            # node_bcache_writeback_rate_proportional_term gauge
            node_bcache_writeback_rate_proportional_term{uuid="12345678-aaaa-4bbb-8ccc-0123456789ab",backing_device="bdev0"} -6.496256e+06
            # node_bcache_written_bytes_total counter
            node_bcache_written_bytes_total{uuid="12345678-aaaa-4bbb-8ccc-0123456789ab",cache_device="cache0"} 512
        "##]],
        );
    }

    #[test]
    fn shares_are_shown_if_they_are_asked_for() {
        let settings = [("priority_stats", true.into())];
        let (batch, outcome) = run(&mut open::<Bcache>(&memory().host(), &settings), None);
        outcome.unwrap();
        let page = render(&batch);
        assert!(page.contains("unused_percent{uuid=\"12345678-aaaa-4bbb-8ccc-0123456789ab\",cache_device=\"cache0\"} 99"), "{page}");
        assert!(page.contains("cache_device=\"cache0\"} 1\n"), "{page}");
    }

    #[test]
    fn sizes() {
        let of = |text: &str| parse_size(text.as_bytes()).unwrap();
        assert_eq!((of("0"), of("546"), of("-3")), (0.0, 546.0, -3.0));
        assert_eq!((of("1k"), of("1.1k"), of("1.10k")), (1024.0, 1124.0, 2024.0));
        assert_eq!(of("427.5k"), 437_748.0);
        assert_eq!(of("-321.5k"), -329_204.0);
        assert_eq!(of("20.4G"), 21_894_266_880.0);
        rejects(parse_size, &["", "-", "k", "1.k", ".1k", "1K", "x", "--1", "infM", "NaN"]);
    }

    #[test]
    fn bad_sizes_are_left_out_alone() {
        let memory = memory();
        let (whole, _) = run(&mut open::<Bcache>(&memory.host(), &[]), None);
        memory.write(format!("{SET_PATH}/congested"), "none\n");
        memory.write(format!("{SET_PATH}/bdev0/writeback_rate_debug"), "rate: ?\ntarget: 1k\nx\n");
        memory.fail(format!("{SET_PATH}/cache0/written"), 13);
        let (batch, outcome) = run(&mut open::<Bcache>(&memory.host(), &[]), None);
        outcome.unwrap();
        assert_eq!(whole.len() - batch.len(), 6);
        assert_eq!(batch.malformed().map(|(count, _)| count), Some(2));
    }

    #[test]
    fn members_go_and_come() {
        let memory = memory();
        let mut collector = open::<Bcache>(&memory.host(), &[]);
        let (whole, _) = run(&mut collector, None);
        memory.remove(format!("{SET_PATH}/bdev0"));
        memory.write(format!("{SET_PATH}/bdev1/dirty_data"), "1.0M\n");
        let (batch, outcome) = run(&mut collector, Some(&whole));
        outcome.unwrap();
        let page = render(&batch);
        assert!(page.contains("backing_device=\"bdev1\"} 1.048576e+06"), "{page}");
        assert!(!page.contains("bdev0"), "{page}");
        memory.remove(SET_PATH);
        assert!(run(&mut collector, Some(&batch)).0.is_empty());
    }

    #[test]
    fn a_host_without_bcache_has_no_series() {
        check::<Bcache>(&MemoryHost::new().host(), &[], &expect![""]);
    }
}
