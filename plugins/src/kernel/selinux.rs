//! The mode of SELinux and its cache of decisions, from `/sys/fs/selinux` (security/selinux/selinuxfs.c)
//! and `/etc/selinux/config` (selinux_config(5)).

use vitald_core::prelude::*;

families! {
    /// Whether SELinux is on: its file system is mounted, and a policy is loaded.
    ENABLED: gauge = "node_selinux_enabled";
    /// The mode at the next boot, by /etc/selinux/config: 1 enforces, 0 permits, -1 is off or not known.
    CONFIG_MODE: gauge = "node_selinux_config_mode";
    /// The mode now: 1 enforces, 0 permits, -1 is not known.
    CURRENT_MODE: gauge = "node_selinux_current_mode";
    /// Lookups in the cache of access decisions.
    LOOKUPS: counter = "node_selinux_avc_lookups_total";
    /// Lookups that found a decision in the cache.
    HITS: counter = "node_selinux_avc_hits_total";
    /// Lookups that found no decision in the cache.
    MISSES: counter = "node_selinux_avc_misses_total";
    /// Entries of the cache that were allocated.
    ALLOCATIONS: counter = "node_selinux_avc_allocations_total";
    /// Entries of the cache that were given up to make room.
    RECLAIMS: counter = "node_selinux_avc_reclaims_total";
    /// Entries of the cache that were freed.
    FREES: counter = "node_selinux_avc_frees_total";
    /// Entries in the cache.
    HASH_ENTRIES: gauge = "node_selinux_avc_hash_entries";
    /// Hash buckets of the cache.
    BUCKETS_AVAILABLE: gauge = "node_selinux_avc_hash_buckets_available";
    /// Hash buckets of the cache with an entry in them.
    BUCKETS_USED: gauge = "node_selinux_avc_hash_buckets_used";
    /// Entries in the fullest hash bucket of the cache.
    LONGEST_CHAIN: gauge = "node_selinux_avc_hash_longest_chain";
    /// Entries from which on the cache gives some up.
    THRESHOLD: gauge = "node_selinux_avc_threshold";
}

register_collector!(Selinux);

struct Selinux {
    enforce: KeptFile,
    label: KeptFile,
    host: Host,
    /// For the configuration, which is not the kernel's own file, so that none is kept open.
    buffer: Vec<u8>,
    cache: KeptFile,
    hash: KeptFile,
    threshold: KeptFile,
}

impl Collector for Selinux {
    about! {
        name: "selinux",
        summary: "The mode of SELinux, and its cache of access decisions",
        families: FAMILIES,
        sources: [
            "sys/fs/selinux/enforce",
            "proc/self/attr/current",
            "rootfs/etc/selinux/config",
            "sys/fs/selinux/avc/cache_stats",
            "sys/fs/selinux/avc/hash_stats",
            "sys/fs/selinux/avc/cache_threshold",
        ],
    }
    const SINCE: Since = Since::Boot;

    fn open((): (), host: &Host) -> Result<Self> {
        Ok(Selinux {
            enforce: host.keep_whole("sys/fs/selinux/enforce"),
            label: host.keep("proc/self/attr/current"),
            host: host.clone(),
            buffer: Vec::new(),
            cache: host.keep("sys/fs/selinux/avc/cache_stats"),
            hash: host.keep_whole("sys/fs/selinux/avc/hash_stats"),
            threshold: host.keep_whole("sys/fs/selinux/avc/cache_threshold"),
        })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        let current = match self.enforce.optional() {
            Ok(None) => return Self::say_off(batch),
            Ok(Some(text)) => text::single_i64(text).unwrap_or(-1),
            Err(_) => -1,
        };
        // Before a policy is loaded every process has this label. Where it cannot be read, one is.
        if self.label.try_read().is_ok_and(is_kernel) {
            return Self::say_off(batch);
        }
        batch.value(&ENABLED, 1);
        let config = self.host.try_read("rootfs/etc/selinux/config", &mut self.buffer);
        batch.value(&CONFIG_MODE, config.map_or(-1, config_mode));
        batch.value(&CURRENT_MODE, current);

        let [lookups, hits, misses, allocations, reclaims, frees] =
            self.cache.parse(parse_cache)?;
        batch.value(&LOOKUPS, lookups);
        batch.value(&HITS, hits);
        batch.value(&MISSES, misses);
        batch.value(&ALLOCATIONS, allocations);
        batch.value(&RECLAIMS, reclaims);
        batch.value(&FREES, frees);

        let [entries, used, available, longest] = self.hash.parse(parse_hash)?;
        batch.value(&HASH_ENTRIES, entries);
        batch.value(&BUCKETS_AVAILABLE, available);
        batch.value(&BUCKETS_USED, used);
        batch.value(&LONGEST_CHAIN, longest);

        let threshold = self.threshold.parse(text::single_u64)?;
        batch.value(&THRESHOLD, threshold);
        Ok(())
    }
}

impl Selinux {
    fn say_off(batch: &mut Batch) -> Result<()> {
        batch.value(&ENABLED, 0);
        Ok(())
    }
}

/// Whether a label is that of the kernel; it ends with a zero byte.
fn is_kernel(label: &[u8]) -> bool {
    label.split(|byte| *byte == 0).next() == Some(b"kernel")
}

/// The mode that the first line `SELINUX=enforcing` of the configuration names.
fn config_mode(text: &[u8]) -> i32 {
    let mode = lines(text).map(text::trim).find_map(|line| {
        let (key, mode) = text::key_value(line, b'=')?;
        (key == b"SELINUX").then_some(mode)
    });
    match mode.map(|mode| mode.trim_ascii()) {
        Some(b"enforcing" | b"\"enforcing\"") => 1,
        Some(b"permissive" | b"\"permissive\"") => 0,
        _ => -1,
    }
}

/// Adds up the lines of the CPUs, such as `9401 9246 155 155 0 0`, below one of names. A line that
/// cannot be read makes all sums wrong, so it is not left out.
fn parse_cache(text: &[u8]) -> Result<[u64; 6], Malformed> {
    let mut sums = [0_u64; 6];
    let mut lines = lines(text);
    lines.next().ok_or(Malformed::new(0, "a line of names"))?;
    while let Some(line) = lines.next() {
        let mut fields = Fields::new(line);
        for sum in &mut sums {
            let number = fields.u64().map_err(|wrong| wrong.moved_by(lines.offset()))?;
            *sum = sum.saturating_add(number);
        }
    }
    Ok(sums)
}

/// Takes the four numbers of
/// `entries: 503`, `buckets used: 257/512` and `longest chain: 8`, a line each.
fn parse_hash(text: &[u8]) -> Result<[u64; 4], Malformed> {
    let mut lines = lines(text);
    let mut number = |name: &[u8]| {
        let line = lines.next().unwrap_or_default();
        let start = lines.offset();
        let value = line.strip_prefix(name).ok_or(Malformed::new(start, "a name and a number"))?;
        Ok((value, start + name.len()))
    };
    let single =
        |(value, at): (&[u8], usize)| text::single_u64(value).map_err(|wrong| wrong.moved_by(at));
    let entries = single(number(b"entries:")?)?;
    let (buckets, at) = number(b"buckets used:")?;
    let (used, available) =
        text::split_once(buckets, b'/').ok_or(Malformed::new(at, "two numbers"))?;
    let (used, available) = (single((used, at))?, single((available, at + used.len() + 1))?);
    Ok([entries, used, available, single(number(b"longest chain:")?)?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::testing::*;

    const ENFORCE: &str = "sys/fs/selinux/enforce";
    const LABEL: &str = "proc/self/attr/current";
    const CONFIG: &str = "rootfs/etc/selinux/config";
    const CACHE: &str = "sys/fs/selinux/avc/cache_stats";

    fn memory() -> MemoryHost {
        MemoryHost::from_files(&[
            (ENFORCE, "1"),
            (LABEL, "system_u:system_r:unconfined_service_t:s0\0"),
            (
                CONFIG,
                "# enforcing | permissive | disabled\n\nSELINUX=permissive\nSELINUXTYPE=targeted\n",
            ),
            (
                CACHE,
                "lookups hits misses allocations reclaims frees\n9401 9246 155 155 16 5\n99 98 1 1 0 0\n",
            ),
            (
                "sys/fs/selinux/avc/hash_stats",
                "entries: 503\nbuckets used: 257/512\nlongest chain: 8\n",
            ),
            ("sys/fs/selinux/avc/cache_threshold", "512"),
        ])
    }

    #[test]
    fn golden() {
        check::<Selinux>(
            &memory().host(),
            &[],
            &expect![[r#"
                # node_selinux_avc_allocations_total counter
                node_selinux_avc_allocations_total 156
                # node_selinux_avc_frees_total counter
                node_selinux_avc_frees_total 5
                # node_selinux_avc_hash_buckets_available gauge
                node_selinux_avc_hash_buckets_available 512
                # node_selinux_avc_hash_buckets_used gauge
                node_selinux_avc_hash_buckets_used 257
                # node_selinux_avc_hash_entries gauge
                node_selinux_avc_hash_entries 503
                # node_selinux_avc_hash_longest_chain gauge
                node_selinux_avc_hash_longest_chain 8
                # node_selinux_avc_hits_total counter
                node_selinux_avc_hits_total 9344
                # node_selinux_avc_lookups_total counter
                node_selinux_avc_lookups_total 9500
                # node_selinux_avc_misses_total counter
                node_selinux_avc_misses_total 156
                # node_selinux_avc_reclaims_total counter
                node_selinux_avc_reclaims_total 16
                # node_selinux_avc_threshold gauge
                node_selinux_avc_threshold 512
                # node_selinux_config_mode gauge
                node_selinux_config_mode 0
                # node_selinux_current_mode gauge
                node_selinux_current_mode 1
                # node_selinux_enabled gauge
                node_selinux_enabled 1
            "#]],
        );
    }

    #[test]
    fn without_selinux_or_a_policy_it_is_off() {
        let off = expect![[r#"
            # node_selinux_enabled gauge
            node_selinux_enabled 0
        "#]];
        check::<Selinux>(&MemoryHost::new().host(), &[], &off);
        let memory = memory();
        memory.write(LABEL, "kernel\0");
        check::<Selinux>(&memory.host(), &[], &off);
    }

    /// A domain that may not look at the cache (EACCES) still sees the modes.
    #[test]
    fn what_is_forbidden_costs_what_follows() {
        let memory = memory();
        memory.fail(CACHE, 13);
        memory.fail(CONFIG, 13);
        memory.fail(LABEL, 13);
        memory.write(ENFORCE, "?");
        check_fails::<Selinux>(
            &memory.host(),
            &[],
            &expect!["sys/fs/selinux/avc/cache_stats: Permission denied (os error 13)"],
            &expect![[r#"
                # node_selinux_config_mode gauge
                node_selinux_config_mode -1
                # node_selinux_current_mode gauge
                node_selinux_current_mode -1
                # node_selinux_enabled gauge
                node_selinux_enabled 1
            "#]],
        );
    }

    #[test]
    fn modes_of_configurations() {
        for (text, mode) in [
            ("SELINUX=enforcing\n", 1),
            (" SELINUX = \"permissive\" \n", 0),
            ("SELINUX=disabled\nSELINUX=enforcing\n", -1),
            ("#SELINUX=enforcing\n", -1),
            ("SELINUXTYPE=enforcing", -1),
            ("", -1),
        ] {
            assert_eq!(config_mode(text.as_bytes()), mode, "{text:?}");
        }
    }

    #[test]
    fn refuses_bad_text() {
        rejects(parse_cache, &["", "lookups\n1 2 3 4 5\n", "lookups\n1 2 3 4 5 x\n"]);
        rejects(
            parse_hash,
            &[
                "",
                "entries: x\n",
                "entries: 1\nbuckets used: 2\nlongest chain: 3\n",
                "entries: 1\nbuckets used: 2/\nlongest chain: 3\n",
                "entries: 1\nlongest chain: 3\nbuckets used: 2/3\n",
                "entries: 1\nbuckets used: 2/3\n",
            ],
        );
    }
}
