//! File handles, from `/proc/sys/fs/file-nr` (proc_sys_fs(5)).

use vitald_core::prelude::*;

families! {
    /// File handles that are open, over all processes.
    ALLOCATED: gauge = "node_filefd_allocated";
    /// The most file handles that the kernel gives out (`fs.file-max`).
    MAXIMUM: gauge = "node_filefd_maximum";
}

register_collector!(Filefd);

struct Filefd {
    file: KeptFile,
}

impl Collector for Filefd {
    about! {
        name: "filefd",
        summary: "Open file handles and their limit",
        families: FAMILIES,
        sources: ["proc/sys/fs/file-nr"],
    }
    const CHARTS: &'static [Chart] = &[Chart::of(
        "Open files",
        &[
            Curve::of("open", value("node_filefd_allocated")),
            Curve::of(
                "of the limit",
                Figure::Ratio(&value("node_filefd_allocated"), &value("node_filefd_maximum")),
            ),
        ],
    )];

    fn open((): (), host: &Host) -> Result<Self> {
        Ok(Filefd { file: host.keep_whole("proc/sys/fs/file-nr") })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        let [allocated, maximum] = self.file.parse(parse)?;
        batch.value(&ALLOCATED, allocated);
        batch.value(&MAXIMUM, maximum);
        Ok(())
    }
}

/// Takes the first and the last number of `557 0 2466170`, which tabs separate; the second is
/// always 0 since Linux 2.6.
fn parse(text: &[u8]) -> Result<[f64; 2], Malformed> {
    let mut fields = Fields::new(text::trim(text));
    // The limit may be any number that an administrator wrote there: -1 on an old kernel.
    Ok([fields.f64()?, fields.pass(1).f64()?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::testing::*;

    const PATH: &str = "proc/sys/fs/file-nr";

    #[test]
    fn golden() {
        let host = MemoryHost::from_files(&[(PATH, "557\t0\t2466170\n")]);
        check::<Filefd>(
            &host.host(),
            &[],
            &expect![[r#"
                # node_filefd_allocated gauge
                node_filefd_allocated 557
                # node_filefd_maximum gauge
                node_filefd_maximum 2.46617e+06
            "#]],
        );
    }

    #[test]
    fn no_limit_is_the_largest_number() {
        let host = MemoryHost::from_files(&[(PATH, "1504\t0\t9223372036854775807\n")]);
        check::<Filefd>(
            &host.host(),
            &[],
            &expect![[r#"
                # node_filefd_allocated gauge
                node_filefd_allocated 1504
                # node_filefd_maximum gauge
                node_filefd_maximum 9.223372036854776e+18
            "#]],
        );
    }

    #[test]
    fn a_limit_may_be_any_number() {
        assert_eq!(parse(b"1504\t0\t-1\n"), Ok([1504.0, -1.0]));
        assert_eq!(parse(b"1504\t0\t18446744073709551615\n"), Ok([1504.0, u64::MAX as f64]));
        assert_eq!(parse(b"1504\t0\t184467440737095516150\n"), Ok([1504.0, 10.0 * 2_f64.powi(64)]));
    }

    #[test]
    fn an_absent_file_is_an_error() {
        check_fails::<Filefd>(
            &MemoryHost::new().host(),
            &[],
            &expect!["proc/sys/fs/file-nr: not on this host"],
            &expect![""],
        );
    }

    #[test]
    fn refuses_bad_text() {
        rejects(parse, &["", "\n", "557", "557\t0\n", "a\t0\t1\n", "557\t0\t1x\n"]);
    }
}
