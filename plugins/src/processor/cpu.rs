//! CPU time by mode, from `/proc/stat` (proc(5)), and what sysfs and `/proc/cpuinfo` know of each
//! CPU (Documentation/admin-guide/cputopology.rst).

use info::{Processor, for_each_processor};
use seconds::{MODES, Shown, parse_stat};
use std::sync::{Arc, Mutex, PoisonError};
use topology::Topology;
use vitald_core::prelude::*;

mod info;
mod seconds;
mod topology;

attributes! {
    /// A CPU's directory, whose name is all that is wanted.
    Directory {}
}

families! {
    /// Time a CPU spent in each mode, in seconds.
    SECONDS: counter = "node_cpu_seconds_total" [cpu, mode];
    /// Time a CPU spent running guests, in seconds; the modes user and nice have it too.
    GUEST_SECONDS: counter = "node_cpu_guest_seconds_total" [cpu, mode];
    /// What a CPU is, by its own words; always 1.
    INFO: gauge = "node_cpu_info"
        [package, core, cpu, vendor, family, model, model_name, microcode, stepping, cachesize];
    /// How fast a CPU runs, in hertz.
    FREQUENCY: gauge = "node_cpu_frequency_hertz" [package, core, cpu] shared;
    /// What the first CPU can do; always 1.
    FLAG_INFO: gauge = "node_cpu_flag_info" [flag];
    /// What is known to be wrong with the first CPU; always 1.
    BUG_INFO: gauge = "node_cpu_bug_info" [bug];
    /// Times a core was slowed down because it was hot.
    CORE_THROTTLES: counter = "node_cpu_core_throttles_total" [package, core];
    /// Times a package was slowed down because it was hot.
    PACKAGE_THROTTLES: counter = "node_cpu_package_throttles_total" [package];
    /// A CPU that the scheduler leaves to tasks bound to it; always 1.
    ISOLATED: gauge = "node_cpu_isolated" [cpu];
    /// Whether a CPU is on line.
    ONLINE: gauge = "node_cpu_online" [cpu];
}

settings! {
    /// Show the time spent running guests.
    guest: bool = true;
    /// Show vendor, model and frequency. Reading them may wake each CPU.
    info: bool = false;
    /// Show those flags of the first CPU that match; turns `info` on.
    info_flags_include: Option<Pattern> = UNSET, flag "info.flags-include";
    /// Show those bugs of the first CPU that match; turns `info` on.
    info_bugs_include: Option<Pattern> = UNSET, flag "info.bugs-include";
}

register_collector!(Cpu);

struct Cpu {
    host: Host,
    guest: bool,
    info: bool,
    flags: Option<Pattern>,
    bugs: Option<Pattern>,
    stat: SharedFile,
    cpuinfo: KeptFile,
    isolated: KeptFile,
    online: KeptFile,
    directories: Walk<Directory>,
    shown: Arc<Mutex<Shown>>,
    ticks_per_second: f64,
    /// `None` when it is to be looked at anew.
    topology: Option<Topology>,
    /// Whether each CPU is on line, by number.
    are_online: Vec<bool>,
}

impl Collector for Cpu {
    about! {
        name: "cpu",
        summary: "CPU time by mode, and what each CPU is",
        families: FAMILIES,
        sources: [
            "proc/stat",
            "proc/cpuinfo",
            "sys/devices/system/cpu/isolated",
            "sys/devices/system/cpu/online",
            "sys/devices/system/cpu/cpu*/online",
            "sys/devices/system/cpu/cpu*/topology/physical_package_id",
            "sys/devices/system/cpu/cpu*/topology/core_id",
            "sys/devices/system/cpu/cpu*/thermal_throttle/core_throttle_count",
            "sys/devices/system/cpu/cpu*/thermal_throttle/package_throttle_count",
        ],
        settings: Settings,
    }
    const CHARTS: &'static [Chart] =
        &[Chart::of("CPU", &[Curve::each("mode", share("node_cpu_seconds_total"))])];
    const SINCE: Since = Since::Boot;

    fn open(settings: Settings, host: &Host) -> Result<Self> {
        let given = |include: Option<Pattern>| include.filter(|p| !p.source().is_empty());
        let (flags, bugs) = (given(settings.info_flags_include), given(settings.info_bugs_include));
        Ok(Cpu {
            host: host.clone(),
            guest: settings.guest,
            info: settings.info || flags.is_some() || bugs.is_some(),
            flags,
            bugs,
            stat: host.shared_whole("proc/stat"),
            cpuinfo: host.keep("proc/cpuinfo"),
            isolated: host.keep_whole("sys/devices/system/cpu/isolated"),
            online: host.keep_whole("sys/devices/system/cpu/online"),
            directories: host.walk(topology::CPUS).only(0, topology::is_cpu),
            shown: host.lasting(),
            ticks_per_second: host.ticks_per_second(),
            topology: None,
            are_online: Vec::new(),
        })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        self.push_seconds(batch)?;
        if self.info {
            self.push_info(batch)?;
        }
        self.push_isolated(batch)?;
        self.push_throttles(batch);
        self.push_online(batch)
    }
}

impl Cpu {
    fn push_seconds(&mut self, batch: &mut Batch) -> Result<()> {
        let text = self.stat.read(batch.fresh_from())?;
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let mut run = shown.begin();
        for line in lines(&text) {
            let Some(parsed) = parse_stat(line, self.ticks_per_second) else { continue };
            let Some((name, cpu, read)) = batch.tolerate(parsed) else { continue };
            let [user, nice, rest @ ..] = MODES.map(|mode| batch.labels([name, mode]));
            let [in_user, in_nice, in_rest @ .., guest, guest_nice] = run.advance(cpu, &read);
            batch.push(&SECONDS, user, *in_user);
            batch.push(&SECONDS, nice, *in_nice);
            for (labels, seconds) in rest.into_iter().zip(in_rest) {
                batch.push(&SECONDS, labels, *seconds);
            }
            if self.guest {
                batch.push(&GUEST_SECONDS, user, *guest);
                batch.push(&GUEST_SECONDS, nice, *guest_nice);
            }
        }
        if run.finish() {
            self.topology = None;
        }
        Ok(())
    }

    fn push_info(&mut self, batch: &mut Batch) -> Result<()> {
        let mut is_first = true;
        for_each_processor(self.cpuinfo.read()?, |processor| {
            let Processor { package, core, number, .. } = processor;
            if batch.tolerate(text::single_u64(number)).is_none() {
                return;
            }
            let info = [
                package,
                core,
                number,
                processor.vendor,
                processor.family,
                processor.model,
                processor.model_name,
                processor.microcode,
                processor.stepping,
                processor.cache_size,
            ];
            batch.row(&INFO, info, 1);
            if let Some(megahertz) = processor.megahertz
                && let Some(megahertz) = batch.tolerate(text::single_f64(megahertz))
            {
                batch.row(&FREQUENCY, [package, core, number], megahertz * 1e6);
            }
            if !is_first {
                return;
            }
            is_first = false;
            for (family, words, include) in [
                (&FLAG_INFO, processor.flags, &self.flags),
                (&BUG_INFO, processor.bugs, &self.bugs),
            ] {
                let Some(include) = include else { continue };
                for word in Fields::new(words).filter(|word| include.matches(word)) {
                    batch.row(family, [word], 1);
                }
            }
        });
        if is_first {
            return Err(Malformed::new(0, "a processor").in_file(self.cpuinfo.path()));
        }
        Ok(())
    }

    fn push_isolated(&mut self, batch: &mut Batch) -> Result<()> {
        let Some(text) = self.isolated.optional()? else { return Ok(()) };
        let mut room = [0; 20];
        let listed = text::cpu_list(text, |cpu| {
            batch.row(&ISOLATED, [text::decimal(cpu.into(), &mut room)], 1);
        });
        batch.tolerate(listed);
        Ok(())
    }

    fn push_throttles(&mut self, batch: &mut Batch) {
        if self.topology.is_none() {
            self.topology = Topology::survey(&self.host);
        }
        let Some(topology) = &mut self.topology else { return };
        for core in &mut topology.cores {
            if let Some(count) = count(&mut core.throttles, batch) {
                batch.row(&CORE_THROTTLES, [&core.package, &core.core], count);
            }
        }
        for package in &mut topology.packages {
            if let Some(count) = count(&mut package.throttles, batch) {
                batch.row(&PACKAGE_THROTTLES, [&package.package], count);
            }
        }
    }

    /// A CPU that can be taken off line has a file `online` of its own, but the kernel also has one
    /// list of all that are: one read instead of one for each CPU.
    fn push_online(&mut self, batch: &mut Batch) -> Result<()> {
        if self.topology.as_ref().is_none_or(|topology| !topology.has_online) {
            return Ok(());
        }
        let are_online = &mut self.are_online;
        let directories = self.directories.refresh()?;
        are_online.clear();
        self.online.parse(|text| {
            text::cpu_list(text, |cpu| {
                if cpu < text::MOST_CPUS {
                    let cpu = cpu as usize;
                    are_online.resize(are_online.len().max(cpu + 1), false);
                    are_online[cpu] = true;
                }
            })
        })?;
        for directory in directories {
            let digits = directory.star(0);
            let Ok(cpu) = text::single_u64(digits) else { continue };
            let is_online = usize::try_from(cpu).ok().and_then(|cpu| are_online.get(cpu));
            batch.row(&ONLINE, [digits], u64::from(is_online.copied().unwrap_or(false)));
        }
        Ok(())
    }
}

/// A count that the kernel may refuse now.
fn count(file: &mut KeptFile, batch: &mut Batch) -> Option<u64> {
    let count = text::single_u64(file.try_read().ok()?);
    batch.tolerate(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::testing::*;

    const STAT: (&str, &str) = (
        "proc/stat",
        "cpu  18175 0 7907 321649 794 0 109 166 0 0\n\
         cpu0 7516 0 3210 163515 93 0 13 74 0 0\n\
         cpu1 10658 1 4696 158134 701 2 96 91 4 3\n\
         intr 395482 0 0 0\n\
         ctxt 660017\n",
    );

    const CPUINFO: (&str, &str) = (
        "proc/cpuinfo",
        "processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t\t: 17\n\
         model name\t: AMD EPYC\nstepping\t: 1\nmicrocode\t: 0x1000065\ncpu MHz\t\t: 2596.146\n\
         cache size\t: 1024 KB\nphysical id\t: 0\nsiblings\t: 2\ncore id\t\t: 0\n\
         flags\t\t: fpu vme de aes avx avx2\nbugs\t\t: null_seg spectre_v1 srso\n\
         power management:\n\n\
         processor\t: 1\nvendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t\t: 17\n\
         model name\t: AMD EPYC\nstepping\t: 1\nmicrocode\t: 0x1000065\n\
         cache size\t: 1024 KB\nphysical id\t: 0\nsiblings\t: 2\ncore id\t\t: 1\n\
         flags\t\t: fpu vme de aes avx\nbugs\t\t: null_seg\npower management:\n\n",
    );

    /// A machine of two packages with a core of two threads each, on line but for the last one.
    fn two_packages() -> MemoryHost {
        let memory = MemoryHost::from_files(&[
            ("proc/stat", "cpu0 1 0 0 1\ncpu1 1 0 0 1\ncpu2 1 0 0 1\n"),
            ("sys/devices/system/cpu/isolated", "1,3-4\n"),
            ("sys/devices/system/cpu/online", "0-2\n"),
            ("sys/devices/system/cpu/cpufreq/boost", "1\n"),
        ]);
        for cpu in 0..4 {
            let path = format!("sys/devices/system/cpu/cpu{cpu}");
            memory.write(format!("{path}/online"), if cpu < 3 { "1\n" } else { "0\n" });
            if cpu < 3 {
                put_on_line(&memory, cpu);
            }
        }
        memory
    }

    fn put_on_line(memory: &MemoryHost, cpu: u32) {
        let path = format!("sys/devices/system/cpu/cpu{cpu}");
        let package = cpu / 2;
        memory.write(format!("{path}/topology/physical_package_id"), format!("{package}\n"));
        memory.write(format!("{path}/topology/core_id"), "0\n");
        let throttles = format!("{path}/thermal_throttle");
        memory.write(format!("{throttles}/core_throttle_count"), format!("{}\n", package + 5));
        memory.write(format!("{throttles}/package_throttle_count"), format!("{}\n", package + 7));
    }

    /// The lines of some families.
    fn page(cpu: &mut Cpu, families: &str) -> String {
        let (batch, outcome) = run(cpu, None);
        outcome.unwrap();
        let page = render(&batch);
        page.lines().filter(|line| line.starts_with(families)).map(|l| format!("{l}\n")).collect()
    }

    #[test]
    fn golden() {
        check::<Cpu>(
            &MemoryHost::from_files(&[STAT, CPUINFO]).host(),
            &[],
            &expect![[r#"
                # node_cpu_guest_seconds_total counter
                node_cpu_guest_seconds_total{cpu="0",mode="user"} 0
                node_cpu_guest_seconds_total{cpu="0",mode="nice"} 0
                node_cpu_guest_seconds_total{cpu="1",mode="user"} 0.04
                node_cpu_guest_seconds_total{cpu="1",mode="nice"} 0.03
                # node_cpu_seconds_total counter
                node_cpu_seconds_total{cpu="0",mode="user"} 75.16
                node_cpu_seconds_total{cpu="0",mode="nice"} 0
                node_cpu_seconds_total{cpu="0",mode="system"} 32.1
                node_cpu_seconds_total{cpu="0",mode="idle"} 1635.15
                node_cpu_seconds_total{cpu="0",mode="iowait"} 0.93
                node_cpu_seconds_total{cpu="0",mode="irq"} 0
                node_cpu_seconds_total{cpu="0",mode="softirq"} 0.13
                node_cpu_seconds_total{cpu="0",mode="steal"} 0.74
                node_cpu_seconds_total{cpu="1",mode="user"} 106.58
                node_cpu_seconds_total{cpu="1",mode="nice"} 0.01
                node_cpu_seconds_total{cpu="1",mode="system"} 46.96
                node_cpu_seconds_total{cpu="1",mode="idle"} 1581.34
                node_cpu_seconds_total{cpu="1",mode="iowait"} 7.01
                node_cpu_seconds_total{cpu="1",mode="irq"} 0.02
                node_cpu_seconds_total{cpu="1",mode="softirq"} 0.96
                node_cpu_seconds_total{cpu="1",mode="steal"} 0.91
            "#]],
        );
    }

    #[test]
    fn without_guests() {
        let host = MemoryHost::from_files(&[STAT]).host();
        let mut cpu = open::<Cpu>(&host, &[("guest", false.into())]);
        assert_eq!(page(&mut cpu, "node_cpu_guest"), "");
        assert_eq!(page(&mut cpu, "node_cpu_seconds").lines().count(), 16);
    }

    #[test]
    fn info() {
        let host = MemoryHost::from_files(&[CPUINFO, ("proc/stat", "")]).host();
        check::<Cpu>(
            &host,
            &[("info", true.into())],
            &expect![[r#"
                # node_cpu_frequency_hertz gauge
                node_cpu_frequency_hertz{package="0",core="0",cpu="0"} 2.596146e+09
                # node_cpu_info gauge
                node_cpu_info{package="0",core="0",cpu="0",vendor="AuthenticAMD",family="25",model="17",model_name="AMD EPYC",microcode="0x1000065",stepping="1",cachesize="1024 KB"} 1
                node_cpu_info{package="0",core="1",cpu="1",vendor="AuthenticAMD",family="25",model="17",model_name="AMD EPYC",microcode="0x1000065",stepping="1",cachesize="1024 KB"} 1
            "#]],
        );
    }

    #[test]
    fn flags_and_bugs() {
        let host = MemoryHost::from_files(&[CPUINFO, ("proc/stat", "")]).host();
        check::<Cpu>(
            &host,
            &[("info_flags_include", "^avx".into()), ("info_bugs_include", "s".into())],
            &expect![[r#"
                # node_cpu_bug_info gauge
                node_cpu_bug_info{bug="null_seg"} 1
                node_cpu_bug_info{bug="spectre_v1"} 1
                node_cpu_bug_info{bug="srso"} 1
                # node_cpu_flag_info gauge
                node_cpu_flag_info{flag="avx"} 1
                node_cpu_flag_info{flag="avx2"} 1
                # node_cpu_frequency_hertz gauge
                node_cpu_frequency_hertz{package="0",core="0",cpu="0"} 2.596146e+09
                # node_cpu_info gauge
                node_cpu_info{package="0",core="0",cpu="0",vendor="AuthenticAMD",family="25",model="17",model_name="AMD EPYC",microcode="0x1000065",stepping="1",cachesize="1024 KB"} 1
                node_cpu_info{package="0",core="1",cpu="1",vendor="AuthenticAMD",family="25",model="17",model_name="AMD EPYC",microcode="0x1000065",stepping="1",cachesize="1024 KB"} 1
            "#]],
        );
        let mut cpu = open::<Cpu>(&host, &[("info_flags_include", "".into())]);
        assert_eq!(page(&mut cpu, "node_cpu_"), "");
    }

    #[test]
    fn no_mode_goes_back() {
        let memory = MemoryHost::new();
        let host = memory.host();
        let mut cpu = open::<Cpu>(&host, &[("guest", false.into())]);
        let show = |cpu: &mut Cpu, stat: &str| {
            memory.write("proc/stat", stat);
            let page = page(cpu, "node_cpu_seconds");
            let values = page.lines().filter_map(|line| line.split_once(' '));
            values.take(5).map(|(_, value)| value.to_owned()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(show(&mut cpu, "cpu0 100 0 100 1000 500"), "1 0 1 10 5");
        assert_eq!(show(&mut cpu, "cpu0 200 0 50 900 499"), "2 0 1 10 5");
        assert_eq!(show(&mut cpu, "cpu0 200 0 50 701 499"), "2 0 1 10 5", "a jump back of 2.99 s");
        // A reload opens the collector anew, with other settings.
        let mut reopened = open::<Cpu>(&host, &[]);
        assert_eq!(show(&mut reopened, "cpu0 100 0 100 1100 400"), "2 0 1 11 5");
        assert_eq!(show(&mut reopened, "cpu0 20 0 10 800 100"), "0.2 0 0.1 8 1", "3 s: a new CPU");
    }

    #[test]
    fn sysfs() {
        let memory = two_packages();
        let mut cpu = open::<Cpu>(&memory.host(), &[]);
        let mut page = || {
            let page = page(&mut cpu, "node_cpu_");
            let shown = page.lines().filter(|line| !line.contains("_seconds_total"));
            shown.map(|line| format!("{line}\n")).collect::<String>()
        };
        expect![[r#"
            node_cpu_core_throttles_total{package="0",core="0"} 5
            node_cpu_core_throttles_total{package="1",core="0"} 6
            node_cpu_isolated{cpu="1"} 1
            node_cpu_isolated{cpu="3"} 1
            node_cpu_isolated{cpu="4"} 1
            node_cpu_online{cpu="0"} 1
            node_cpu_online{cpu="1"} 1
            node_cpu_online{cpu="2"} 1
            node_cpu_online{cpu="3"} 0
            node_cpu_package_throttles_total{package="0"} 7
            node_cpu_package_throttles_total{package="1"} 8
        "#]]
        .assert_eq(&page());
        // The other thread of the second package comes, its first one goes.
        memory.remove("sys/devices/system/cpu/cpu2/topology");
        memory.remove("sys/devices/system/cpu/cpu2/thermal_throttle");
        put_on_line(&memory, 3);
        memory.write("sys/devices/system/cpu/online", "0-1,3\n");
        memory.write("proc/stat", "cpu0 1 0 0 1\ncpu1 1 0 0 1\ncpu3 1 0 0 1\n");
        memory.write("sys/devices/system/cpu/cpu3/thermal_throttle/core_throttle_count", "90\n");
        memory.write("sys/devices/system/cpu/isolated", "\n");
        expect![[r#"
            node_cpu_core_throttles_total{package="0",core="0"} 5
            node_cpu_core_throttles_total{package="1",core="0"} 90
            node_cpu_online{cpu="0"} 1
            node_cpu_online{cpu="1"} 1
            node_cpu_online{cpu="2"} 0
            node_cpu_online{cpu="3"} 1
            node_cpu_package_throttles_total{package="0"} 7
            node_cpu_package_throttles_total{package="1"} 8
        "#]]
        .assert_eq(&page());
    }

    #[test]
    fn a_virtual_machine_is_searched_once() {
        let memory = MemoryHost::from_files(&[STAT, ("sys/devices/system/cpu/isolated", "\n")]);
        memory.write("sys/devices/system/cpu/cpu0/topology/physical_package_id", "0\n");
        memory.write("sys/devices/system/cpu/cpu0/topology/core_id", "0\n");
        memory.make_directory("sys/devices/system/cpu/cpu1");
        let mut cpu = open::<Cpu>(&memory.host(), &[]);
        let (first, _) = run(&mut cpu, None);
        let before = memory.reads();
        run(&mut cpu, Some(&first)).1.unwrap();
        assert_eq!(memory.reads() - before, 2, "stat and isolated");
    }

    #[test]
    fn an_odd_line_costs_that_line() {
        let text = "cpu0 1 2 x\ncpux 1\ncpu1\ncpu2 100\ncpu3 200 0 0 0 0 0 0 0 0 0 7\n";
        let host = MemoryHost::from_files(&[("proc/stat", text)]).host();
        let (batch, outcome) = run(&mut open::<Cpu>(&host, &[]), None);
        outcome.unwrap();
        assert_eq!(batch.malformed().map(|(count, _)| count), Some(3));
        assert_eq!(batch.len(), 20);
    }

    #[test]
    fn absent() {
        check_fails::<Cpu>(
            &MemoryHost::new().host(),
            &[],
            &expect!["proc/stat: not on this host"],
            &expect![""],
        );
        check_fails::<Cpu>(
            &MemoryHost::from_files(&[("proc/stat", ""), ("proc/cpuinfo", "\n")]).host(),
            &[("info", true.into())],
            &expect!["proc/cpuinfo: byte 0: expected a processor"],
            &expect![""],
        );
    }
}
