//! How long the system has been up, from `/proc/uptime` (proc_uptime(5)).

use vitald_core::prelude::*;

families! {
    /// How long ago the system booted, in seconds, time in suspend included.
    UPTIME: gauge = "example_uptime_seconds";
    /// How long its CPUs were idle since then, in seconds, summed over all of them.
    IDLE: counter = "example_idle_seconds_total";
}

settings! {
    /// Show the idle time, too.
    idle: bool = true;
}

register_collector!(Uptime);

struct Uptime {
    file: KeptFile,
    shows_idle: bool,
}

impl Collector for Uptime {
    const NAME: &'static str = "uptime";
    const SUMMARY: &'static str = "How long the system has been up";
    const FAMILIES: &'static [FamilyInfo] = FAMILIES;
    const SOURCES: &'static [&'static str] = &["proc/uptime"];
    type Settings = Settings;

    fn open(settings: Settings, host: &Host) -> Result<Self> {
        Ok(Uptime { file: host.keep_whole("proc/uptime"), shows_idle: settings.idle })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        let [uptime, idle] = self.file.parse(parse)?;
        batch.value(&UPTIME, uptime);
        if self.shows_idle {
            batch.value(&IDLE, idle);
        }
        Ok(())
    }
}

/// Takes the two numbers of `1705.31 3280.44`.
fn parse(text: &[u8]) -> Result<[f64; 2], Malformed> {
    let mut fields = Fields::new(text::trim(text));
    Ok([fields.f64()?, fields.f64()?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::testing::*;

    #[test]
    fn golden() {
        let host = MemoryHost::from_files(&[("proc/uptime", "1705.31 3280.44\n")]);
        check::<Uptime>(
            &host.host(),
            &[],
            &expect![[r#"
                # example_idle_seconds_total counter
                example_idle_seconds_total 3280.44
                # example_uptime_seconds gauge
                example_uptime_seconds 1705.31
            "#]],
        );
        check::<Uptime>(
            &host.host(),
            &[("idle", false.into())],
            &expect![[r#"
                # example_uptime_seconds gauge
                example_uptime_seconds 1705.31
            "#]],
        );
    }

    #[test]
    fn refuses_bad_text() {
        rejects(parse, &["", "\n", "1705.31", "1705.31 \n", "a b"]);
    }
}
