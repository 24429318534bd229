//! Load averages, from `/proc/loadavg` (proc(5)).

use vitald_core::prelude::*;

families! {
    /// Tasks running or waiting for disk, averaged over one minute.
    LOAD1: gauge = "node_load1";
    /// Tasks running or waiting for disk, averaged over five minutes.
    LOAD5: gauge = "node_load5";
    /// Tasks running or waiting for disk, averaged over fifteen minutes.
    LOAD15: gauge = "node_load15";
}

register_collector!(Loadavg);

struct Loadavg {
    file: KeptFile,
}

impl Collector for Loadavg {
    about! {
        name: "loadavg",
        summary: "Load averages over one, five and fifteen minutes",
        families: FAMILIES,
        sources: ["proc/loadavg"],
    }
    const CHARTS: &'static [Chart] = &[Chart::of(
        "Load",
        &[
            Curve::of("1 min", value("node_load1")),
            Curve::of("5 min", value("node_load5")),
            Curve::of("15 min", value("node_load15")),
        ],
    )];

    fn open((): (), host: &Host) -> Result<Self> {
        Ok(Loadavg { file: host.keep_whole("proc/loadavg") })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        let [one, five, fifteen] = self.file.parse(parse)?;
        batch.value(&LOAD1, one);
        batch.value(&LOAD5, five);
        batch.value(&LOAD15, fifteen);
        Ok(())
    }
}

/// Takes the first three fields of `0.21 0.37 0.39 1/719 19737`.
fn parse(text: &[u8]) -> Result<[f64; 3], Malformed> {
    let mut fields = Fields::new(text);
    Ok([fields.f64()?, fields.f64()?, fields.f64()?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::testing::*;

    #[test]
    fn golden() {
        let host = MemoryHost::from_files(&[("proc/loadavg", "0.21 0.37 0.39 1/719 19737\n")]);
        check::<Loadavg>(
            &host.host(),
            &[],
            &expect![[r#"
                # node_load1 gauge
                node_load1 0.21
                # node_load15 gauge
                node_load15 0.39
                # node_load5 gauge
                node_load5 0.37
            "#]],
        );
    }

    #[test]
    fn refuses_bad_text() {
        rejects(parse, &["", "\n", "0.21", "0.21 0.37", "a b c", "0.21 0.37 0.39x"]);
    }
}
