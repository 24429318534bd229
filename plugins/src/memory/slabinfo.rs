//! Caches of the kernel's slab allocator, from `/proc/slabinfo` (slabinfo(5)), which only root may
//! read.

use vitald_core::errno::InWords;
use vitald_core::prelude::*;

families! {
    /// Objects of a slab cache that are in use.
    ACTIVE_OBJECTS: gauge = "node_slabinfo_active_objects" [slab];
    /// Objects of a slab cache, in use or not.
    OBJECTS: gauge = "node_slabinfo_objects" [slab];
    /// Size of an object of a slab cache, in bytes.
    OBJECT_SIZE: gauge = "node_slabinfo_object_size_bytes" [slab];
    /// Objects in a slab of a cache.
    OBJECTS_PER_SLAB: gauge = "node_slabinfo_objects_per_slab" [slab];
    /// Pages in a slab of a cache.
    PAGES_PER_SLAB: gauge = "node_slabinfo_pages_per_slab" [slab];
}

settings! {
    slabs: Filter {
        /// Slab caches to show, by name.
        include slabs_include = ".*";
        /// Slab caches to leave out, by name.
        exclude slabs_exclude;
    };
}

register_collector!(Slabinfo);

struct Slabinfo {
    file: KeptFile,
    slabs: Filter,
    shown: Rows<bool>,
}

impl Collector for Slabinfo {
    about! {
        name: "slabinfo",
        summary: "Caches of the kernel's slab allocator",
        families: FAMILIES,
        sources: ["proc/slabinfo"],
        settings: Settings,
    }
    const ENABLED: bool = false;
    const CAPABILITIES: &'static [&'static str] = &["CAP_DAC_READ_SEARCH"];
    // The kernel counts the objects of every slab under a lock, which takes it tens of
    // milliseconds on a large or a busy host.
    const MAY_BLOCK: bool = true;

    fn open(settings: Settings, host: &Host) -> Result<Self> {
        Ok(Slabinfo {
            file: host.keep_short_records("proc/slabinfo"),
            slabs: settings.slabs,
            shown: Rows::new(),
        })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        let text = match self.file.read() {
            // It has mode 0400, which is no fault of the host's.
            Err(Error::Unreadable { source, .. })
                if source.kind() == std::io::ErrorKind::PermissionDenied =>
            {
                batch.degraded("permission");
                batch.fault("", InWords(&source));
                return Ok(());
            }
            read => read?,
        };
        let mut lines = lines(text);
        let mut rows = self.shown.begin();
        while let Some(line) = lines.next() {
            // Above the caches are the version and the names of the columns.
            if line.starts_with(b"slabinfo - version") || line.starts_with(b"# ") {
                continue;
            }
            let parsed = parse_line(line).map_err(|wrong| wrong.moved_by(lines.offset()));
            let Some((slab, columns)) = batch.tolerate(parsed) else { continue };
            if !*rows.row(slab, || self.slabs.takes(slab)) {
                continue;
            }
            let labels = batch.labels([slab]);
            let families = [ACTIVE_OBJECTS, OBJECTS, OBJECT_SIZE, OBJECTS_PER_SLAB, PAGES_PER_SLAB];
            for (family, value) in families.iter().zip(columns) {
                batch.push(family, labels, value);
            }
        }
        rows.finish();
        Ok(())
    }
}

/// Takes the name and the five numbers before `: tunables` of
/// `kmalloc-8k           132    148   8192    4    8 : tunables    0    0    0 : slabdata     37     37      0`.
///
/// The numbers are taken from their end, since a module may put blanks into a name.
fn parse_line(line: &[u8]) -> Result<(&[u8], [u64; 5]), Malformed> {
    const AFTER: &[u8] = b" : tunables";
    let end = line
        .windows(AFTER.len())
        .rposition(|part| part == AFTER)
        .ok_or(Malformed::new(line.len(), "a colon and tunables"))?;
    let mut rest = line[..end].trim_ascii_end();
    let mut columns = [0; 5];
    for column in columns.iter_mut().rev() {
        let start = rest.iter().rposition(u8::is_ascii_whitespace).map_or(0, |blank| blank + 1);
        *column = text::single_u64(&rest[start..]).map_err(|wrong| wrong.moved_by(start))?;
        rest = rest[..start].trim_ascii_end();
    }
    if rest.is_empty() { Err(Malformed::new(0, "a name")) } else { Ok((rest, columns)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::errno::EACCES;
    use vitald_core::testing::*;

    const PATH: &str = "proc/slabinfo";
    const TEXT: &str = "\
slabinfo - version: 2.1
# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables <limit> <batchcount> <sharedfactor> : slabdata <active_slabs> <num_slabs> <sharedavail>
ext4_groupinfo_1k     50     52    160   25    1 : tunables    0    0    0 : slabdata      2      2      0
dentry            230187 240681    192   21    1 : tunables    0    0    0 : slabdata  11461  11461      0
";

    #[test]
    fn golden() {
        check::<Slabinfo>(
            &MemoryHost::from_files(&[(PATH, TEXT)]).host(),
            &[],
            &expect![[r#"
                # node_slabinfo_active_objects gauge
                node_slabinfo_active_objects{slab="ext4_groupinfo_1k"} 50
                node_slabinfo_active_objects{slab="dentry"} 230187
                # node_slabinfo_object_size_bytes gauge
                node_slabinfo_object_size_bytes{slab="ext4_groupinfo_1k"} 160
                node_slabinfo_object_size_bytes{slab="dentry"} 192
                # node_slabinfo_objects gauge
                node_slabinfo_objects{slab="ext4_groupinfo_1k"} 52
                node_slabinfo_objects{slab="dentry"} 240681
                # node_slabinfo_objects_per_slab gauge
                node_slabinfo_objects_per_slab{slab="ext4_groupinfo_1k"} 25
                node_slabinfo_objects_per_slab{slab="dentry"} 21
                # node_slabinfo_pages_per_slab gauge
                node_slabinfo_pages_per_slab{slab="ext4_groupinfo_1k"} 1
                node_slabinfo_pages_per_slab{slab="dentry"} 1
            "#]],
        );
    }

    #[test]
    fn a_name_must_pass_both_patterns() {
        for (settings, shown) in [
            (vec![("slabs_include", "^d".into())], 5),
            (vec![("slabs_exclude", "^d".into())], 5),
            (vec![("slabs_include", "^d".into()), ("slabs_exclude", "^den".into())], 0),
            (vec![("slabs_include", "".into())], 10),
        ] {
            let memory = MemoryHost::from_files(&[(PATH, TEXT)]);
            let (batch, outcome) = run(&mut open::<Slabinfo>(&memory.host(), &settings), None);
            outcome.unwrap();
            assert_eq!(batch.len(), shown, "{settings:?}");
        }
    }

    /// Statistics of CONFIG_DEBUG_SLAB follow, and a name has blanks and a colon.
    #[test]
    fn odd_names() {
        let line =
            b"my : c\xff  1 2 3 4 5 : tunables 0 0 0 : slabdata 1 1 0 : globalstat 1 : cpustat 2";
        assert_eq!(parse_line(line), Ok((&b"my : c\xff"[..], [1, 2, 3, 4, 5])));
    }

    /// As for a user other than root: what is lacking has a name, and the collector does not fail.
    #[test]
    fn it_takes_a_right() {
        let memory = MemoryHost::new();
        memory.fail_open(PATH, EACCES);
        let (batch, outcome) = run(&mut open::<Slabinfo>(&memory.host(), &[]), None);
        outcome.unwrap();
        assert_eq!((batch.len(), batch.degraded_reason()), (0, Some("permission")));
        let fault = batch.fault().map(|fault| fault.error);
        assert_eq!(fault, Some("Permission denied (os error 13)"));
        assert_eq!(Slabinfo::CAPABILITIES, ["CAP_DAC_READ_SEARCH"]);
    }

    #[test]
    fn a_bad_line_costs_that_line() {
        let text = TEXT.replace("230187", "x");
        let memory = MemoryHost::from_files(&[(PATH, &text)]);
        let (batch, outcome) = run(&mut open::<Slabinfo>(&memory.host(), &[]), None);
        outcome.unwrap();
        assert_eq!(batch.len(), 5);
        assert_eq!(batch.malformed().map(|(count, _)| count), Some(1));
    }

    #[test]
    fn refuses_bad_text() {
        rejects(
            parse_line,
            &[
                "",
                "a 1 2 3 4 5",
                "a 1 2 3 4 : tunables : slabdata",
                "1 2 3 4 5 : tunables : slabdata",
            ],
        );
    }
}
