//! How fast each CPU runs and may run, from `/sys/devices/system/cpu/cpu*/cpufreq`
//! (Documentation/admin-guide/pm/cpufreq.rst).

use vitald_core::host::{Attribute, attribute};
use vitald_core::number::parse_u64;
use vitald_core::prelude::*;

families! {
    /// How fast a CPU runs as its hardware says, in hertz.
    FREQUENCY: gauge = "node_cpu_frequency_hertz" [cpu] shared;
    /// How slowly a CPU's hardware can run, in hertz.
    FREQUENCY_MINIMUM: gauge = "node_cpu_frequency_min_hertz" [cpu];
    /// How fast a CPU's hardware can run, in hertz.
    FREQUENCY_MAXIMUM: gauge = "node_cpu_frequency_max_hertz" [cpu];
    /// How fast a CPU runs as the kernel has it, in hertz.
    SCALING: gauge = "node_cpu_scaling_frequency_hertz" [cpu];
    /// How slowly the kernel may let a CPU run, in hertz.
    SCALING_MINIMUM: gauge = "node_cpu_scaling_frequency_min_hertz" [cpu];
    /// How fast the kernel may let a CPU run, in hertz.
    SCALING_MAXIMUM: gauge = "node_cpu_scaling_frequency_max_hertz" [cpu];
    /// Whether this is what decides how fast a CPU runs.
    GOVERNOR: gauge = "node_cpu_scaling_governor" [cpu, governor];
}

attributes! {
    Cpu {
        // The hardware is asked for it, so only root may.
        FREQUENCY: text = "cpufreq/cpuinfo_cur_freq", optional;
        // What the hardware can do and which governors there are hardly ever changes.
        FREQUENCY_MINIMUM: text = "cpufreq/cpuinfo_min_freq", optional, slow;
        FREQUENCY_MAXIMUM: text = "cpufreq/cpuinfo_max_freq", optional, slow;
        SCALING: text = "cpufreq/scaling_cur_freq", optional;
        SCALING_MINIMUM: text = "cpufreq/scaling_min_freq", optional;
        SCALING_MAXIMUM: text = "cpufreq/scaling_max_freq", optional;
        GOVERNOR: text = "cpufreq/scaling_governor", optional;
        GOVERNORS: text = "cpufreq/scaling_available_governors", optional, slow;
    }
}

register_collector!(Cpufreq);

struct Cpufreq {
    offline: KeptFile,
    cpus: Walk<Cpu>,
    /// Whether the CPU of that number is off line.
    is_offline: Vec<bool>,
}

impl Collector for Cpufreq {
    about! {
        name: "cpufreq",
        summary: "How fast each CPU runs, and what decides that",
        families: FAMILIES,
        sources: [
            "sys/devices/system/cpu/offline",
            "sys/devices/system/cpu/cpu*/cpufreq/cpuinfo_cur_freq",
            "sys/devices/system/cpu/cpu*/cpufreq/cpuinfo_min_freq",
            "sys/devices/system/cpu/cpu*/cpufreq/cpuinfo_max_freq",
            "sys/devices/system/cpu/cpu*/cpufreq/scaling_cur_freq",
            "sys/devices/system/cpu/cpu*/cpufreq/scaling_min_freq",
            "sys/devices/system/cpu/cpu*/cpufreq/scaling_max_freq",
            "sys/devices/system/cpu/cpu*/cpufreq/scaling_governor",
            "sys/devices/system/cpu/cpu*/cpufreq/scaling_available_governors",
        ],
    }
    const CAPABILITIES: &'static [&'static str] = &["CAP_DAC_READ_SEARCH"];
    const LACKS_WITHOUT: &'static str = "the frequency that the hardware says";
    // Some drivers ask the firmware, and Linux before 5.18 on x86 waits 10 ms for each CPU.
    const MAY_BLOCK: bool = true;
    // Each CPU has one of these or a link to that of its policy, also with kernels that have no directory
    // of policies.
    const DEVICES: Option<Devices> = Some(Devices::optional("sys/devices/system/cpu/cpu0/cpufreq"));
    const OWN_DESCRIPTORS: bool = true;

    fn open((): (), host: &Host) -> Result<Self> {
        let cpus = host.walk("sys/devices/system/cpu/cpu*");
        Ok(Cpufreq {
            offline: host.keep_whole("sys/devices/system/cpu/offline"),
            cpus: cpus.only(0, |name| number(name).is_some()),
            is_offline: Vec::new(),
        })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        let Cpufreq { offline, cpus, is_offline } = self;
        is_offline.clear();
        offline.parse(|text| {
            text::cpu_list(text, |cpu| {
                // A list of CPUs may name any number; there are no more CPUs than this.
                if cpu < text::MOST_CPUS {
                    let place = cpu as usize;
                    is_offline.resize(is_offline.len().max(place + 1), false);
                    is_offline[place] = true;
                }
            })
        })?;
        for cpu in cpus.refresh()? {
            let name = cpu.star(0);
            let place = number(cpu.name(0)).and_then(|number| usize::try_from(number).ok());
            if place.and_then(|place| is_offline.get(place)).is_some_and(|is_offline| *is_offline) {
                continue;
            }
            let labels = batch.labels([name]);
            for (family, attribute) in FREQUENCIES {
                let Some(text) = cpu.optional_text(attribute)? else { continue };
                if let Some(hertz) = batch.tolerate(parse_frequency(text)).flatten() {
                    batch.push(family, labels, hertz);
                }
            }
            let governor = cpu.text(&Cpu::GOVERNOR)?;
            if !governor.is_empty() {
                for available in Fields::new(cpu.text(&Cpu::GOVERNORS)?) {
                    batch.row(&GOVERNOR, [name, available], available == governor);
                }
            }
        }
        Ok(())
    }
}

const FREQUENCIES: &[(&vitald_core::family::Family<1>, &Attribute<Cpu, attribute::Text>)] = &[
    (&FREQUENCY, &Cpu::FREQUENCY),
    (&FREQUENCY_MINIMUM, &Cpu::FREQUENCY_MINIMUM),
    (&FREQUENCY_MAXIMUM, &Cpu::FREQUENCY_MAXIMUM),
    (&SCALING, &Cpu::SCALING),
    (&SCALING_MINIMUM, &Cpu::SCALING_MINIMUM),
    (&SCALING_MAXIMUM, &Cpu::SCALING_MAXIMUM),
];

/// Takes the number of `cpu12`; beside the CPUs there are `cpufreq` and `cpuidle`.
fn number(name: &[u8]) -> Option<u64> {
    parse_u64(name.strip_prefix(b"cpu")?)
}

/// Takes kilohertz, or `<unknown>`, which the kernel writes where the driver does not know.
fn parse_frequency(text: &[u8]) -> Result<Option<f64>, Malformed> {
    if text == b"<unknown>" {
        return Ok(None);
    }
    text::single_u64(text).map(|kilohertz| Some(kilohertz as f64 * 1000.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use vitald_core::testing::*;

    const CPUS: &str = "sys/devices/system/cpu";

    fn memory() -> MemoryHost {
        let memory = MemoryHost::from_files(&[
            ("sys/devices/system/cpu/offline", "2,64-255\n"),
            ("sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq", "1\n"),
        ]);
        for (cpu, hertz) in [("cpu0", "1400000"), ("cpu2", "800000"), ("cpu10", "3299998")] {
            for (file, content) in [
                ("cpuinfo_cur_freq", hertz),
                ("cpuinfo_min_freq", "400000"),
                ("cpuinfo_max_freq", "4700000"),
                ("scaling_cur_freq", hertz),
                ("scaling_min_freq", "400000"),
                ("scaling_max_freq", "4000000"),
                ("scaling_governor", "schedutil"),
                ("scaling_available_governors", "performance schedutil "),
            ] {
                memory.write(format!("{CPUS}/{cpu}/cpufreq/{file}"), format!("{content}\n"));
            }
        }
        memory.make_directory(format!("{CPUS}/cpu11"));
        memory
    }

    #[test]
    fn golden() {
        check::<Cpufreq>(
            &memory().host(),
            &[],
            &expect![[r#"
                # node_cpu_frequency_hertz gauge
                node_cpu_frequency_hertz{cpu="0"} 1.4e+09
                node_cpu_frequency_hertz{cpu="10"} 3.299998e+09
                # node_cpu_frequency_max_hertz gauge
                node_cpu_frequency_max_hertz{cpu="0"} 4.7e+09
                node_cpu_frequency_max_hertz{cpu="10"} 4.7e+09
                # node_cpu_frequency_min_hertz gauge
                node_cpu_frequency_min_hertz{cpu="0"} 4e+08
                node_cpu_frequency_min_hertz{cpu="10"} 4e+08
                # node_cpu_scaling_frequency_hertz gauge
                node_cpu_scaling_frequency_hertz{cpu="0"} 1.4e+09
                node_cpu_scaling_frequency_hertz{cpu="10"} 3.299998e+09
                # node_cpu_scaling_frequency_max_hertz gauge
                node_cpu_scaling_frequency_max_hertz{cpu="0"} 4e+09
                node_cpu_scaling_frequency_max_hertz{cpu="10"} 4e+09
                # node_cpu_scaling_frequency_min_hertz gauge
                node_cpu_scaling_frequency_min_hertz{cpu="0"} 4e+08
                node_cpu_scaling_frequency_min_hertz{cpu="10"} 4e+08
                # node_cpu_scaling_governor gauge
                node_cpu_scaling_governor{cpu="0",governor="performance"} 0
                node_cpu_scaling_governor{cpu="0",governor="schedutil"} 1
                node_cpu_scaling_governor{cpu="10",governor="performance"} 0
                node_cpu_scaling_governor{cpu="10",governor="schedutil"} 1
            "#]],
        );
    }

    /// As for a user other than root, and with drivers that cannot say how fast a CPU runs.
    #[test]
    fn what_is_not_known_is_left_out_alone() {
        let memory = memory();
        memory.fail_open(format!("{CPUS}/cpu0/cpufreq/cpuinfo_cur_freq"), 13);
        memory.write(format!("{CPUS}/cpu0/cpufreq/scaling_cur_freq"), "<unknown>\n");
        memory.remove(format!("{CPUS}/cpu10/cpufreq/scaling_governor"));
        let mut collector = open::<Cpufreq>(&memory.host(), &[]);
        let (batch, outcome) = run(&mut collector, None);
        outcome.unwrap();
        assert_eq!((batch.len(), batch.malformed()), (12, None));
        memory.write(format!("{CPUS}/cpu0/cpufreq/scaling_cur_freq"), "fast\n");
        let (batch, outcome) = run(&mut collector, None);
        outcome.unwrap();
        assert_eq!((batch.len(), batch.malformed().map(|(count, _)| count)), (12, Some(1)));
    }

    #[test]
    fn cpus_go_and_come() {
        let memory = memory();
        let mut collector = open::<Cpufreq>(&memory.host(), &[]);
        let mut shown = |offline: &str| {
            memory.write(format!("{CPUS}/offline"), offline);
            let (batch, outcome) = run(&mut collector, None);
            outcome.unwrap();
            batch.len()
        };
        assert_eq!(shown("\n"), 24);
        assert_eq!(shown("0-10\n"), 0);
        assert_eq!(shown("0\n"), 16);
        assert_eq!(shown("\n"), 24);
    }

    #[test]
    fn what_hardly_changes_is_read_in_turn() {
        const MANY: usize = 128;
        let memory = MemoryHost::from_files(&[("sys/devices/system/cpu/offline", "\n")]);
        let set_maximum = |hertz: &str| {
            for cpu in 0..MANY {
                memory.write(format!("{CPUS}/cpu{cpu}/cpufreq/cpuinfo_max_freq"), hertz);
            }
        };
        set_maximum("4700000\n");
        for cpu in 0..MANY {
            for (file, content) in [
                ("cpuinfo_min_freq", "400000\n"),
                ("scaling_cur_freq", "1400000\n"),
                ("scaling_governor", "schedutil\n"),
                ("scaling_available_governors", "performance schedutil\n"),
            ] {
                memory.write(format!("{CPUS}/cpu{cpu}/cpufreq/{file}"), content);
            }
        }
        let mut collector = open::<Cpufreq>(&memory.host(), &[]);
        let (mut last, outcome) = run(&mut collector, None);
        outcome.unwrap();
        let before = memory.reads();
        last = run(&mut collector, Some(&last)).0;
        let reads = memory.reads() - before;
        assert_eq!(reads, 1 + 2 * MANY as u64, "two of each CPU");
        // A processor that may no longer turbo is shown as that within a minute.
        set_maximum("2100000\n");
        for _ in 0..4 {
            memory.pass_time(Duration::from_secs(15));
            last = run(&mut collector, Some(&last)).0;
        }
        let page = render(&last);
        let shown = page.lines().filter(|line| line.contains("frequency_max_hertz{"));
        assert_eq!(shown.filter(|line| line.ends_with(" 2.1e+09")).count(), MANY);
    }

    #[test]
    fn a_host_that_does_not_say_what_is_off_line() {
        let memory = memory();
        memory.remove(format!("{CPUS}/offline"));
        check_fails::<Cpufreq>(
            &memory.host(),
            &[],
            &expect!["sys/devices/system/cpu/offline: not on this host"],
            &expect![""],
        );
        memory.write(format!("{CPUS}/offline"), "1-\n");
        check_fails::<Cpufreq>(
            &memory.host(),
            &[],
            &expect!["sys/devices/system/cpu/offline: byte 2: expected a CPU number"],
            &expect![""],
        );
    }

    /// Virtual machines have CPUs, and no say in how fast they run.
    #[test]
    fn cpus_without_it_are_no_error() {
        let memory = MemoryHost::from_files(&[("sys/devices/system/cpu/offline", "\n")]);
        memory.make_directory("sys/devices/system/cpu/cpu0");
        check::<Cpufreq>(&memory.host(), &[], &expect![""]);
    }

    #[test]
    fn refuses_bad_frequencies() {
        rejects(parse_frequency, &["", "-1", "1.5", "1 2", "<unknown", "unknown"]);
    }
}
