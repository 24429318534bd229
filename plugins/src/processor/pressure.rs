//! Pressure stall information, from `/proc/pressure` (Documentation/accounting/psi.rst).
//!
//! Each resource is read on its own: the kernel refuses `irq` alone with EOPNOTSUPP where its clock
//! is too slow to account for interrupts (`psi_show` in kernel/sched/psi.c, Linux 6.14), and all of
//! them when it was started with `psi=0`.

use std::io;
use vitald_core::family::Family;
use vitald_core::prelude::*;

families! {
    /// Time in which some tasks waited for a CPU, in seconds.
    CPU_WAITING: counter = "node_pressure_cpu_waiting_seconds_total";
    /// Time in which some tasks waited for I/O, in seconds.
    IO_WAITING: counter = "node_pressure_io_waiting_seconds_total";
    /// Time in which all tasks that had work waited for I/O, in seconds.
    IO_STALLED: counter = "node_pressure_io_stalled_seconds_total";
    /// Time in which some tasks waited for memory, in seconds.
    MEMORY_WAITING: counter = "node_pressure_memory_waiting_seconds_total";
    /// Time in which all tasks that had work waited for memory, in seconds.
    MEMORY_STALLED: counter = "node_pressure_memory_stalled_seconds_total";
    /// Time in which interrupts kept all tasks that had work from running, in seconds.
    IRQ_STALLED: counter = "node_pressure_irq_stalled_seconds_total";
}

register_collector!(Pressure);

struct Pressure {
    resources: [Resource; 4],
}

/// One file and the families of its two lines.
struct Resource {
    file: KeptFile,
    some: Option<Family<0>>,
    full: Option<Family<0>>,
    /// It was absent while others were there, and is not looked for any more: the kernel makes its
    /// files together when it boots, so that `irq` without CONFIG_IRQ_TIME_ACCOUNTING will not come.
    absent: bool,
}

impl Collector for Pressure {
    about! {
        name: "pressure",
        summary: "Time that tasks lose waiting for CPU, memory, I/O and interrupts",
        families: FAMILIES,
        sources: [
            "proc/pressure/cpu",
            "proc/pressure/io",
            "proc/pressure/memory",
            "proc/pressure/irq",
        ],
    }
    const CHARTS: &'static [Chart] = &[Chart::of(
        "Pressure",
        &[
            Curve::of("CPU", rate("node_pressure_cpu_waiting_seconds_total")),
            Curve::of("I/O", rate("node_pressure_io_waiting_seconds_total")),
            Curve::of("I/O, all", rate("node_pressure_io_stalled_seconds_total")),
            Curve::of("memory", rate("node_pressure_memory_waiting_seconds_total")),
            Curve::of("memory, all", rate("node_pressure_memory_stalled_seconds_total")),
            Curve::of("interrupts", rate("node_pressure_irq_stalled_seconds_total")),
        ],
    )];
    const SINCE: Since = Since::Boot;

    fn open((): (), host: &Host) -> Result<Self> {
        let resource = |path: &str, some, full| Resource {
            file: host.keep_whole(path),
            some,
            full,
            absent: false,
        };
        // Nothing stalls the CPU for all tasks at once, since one runs; an interrupt does, and
        // nothing but that, so `irq` has no line `some`.
        Ok(Pressure {
            resources: [
                resource("proc/pressure/cpu", Some(CPU_WAITING), None),
                resource("proc/pressure/io", Some(IO_WAITING), Some(IO_STALLED)),
                resource("proc/pressure/memory", Some(MEMORY_WAITING), Some(MEMORY_STALLED)),
                resource("proc/pressure/irq", None, Some(IRQ_STALLED)),
            ],
        })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        let (mut found, mut fault) = (0, None);
        for resource in self.resources.iter_mut().filter(|resource| !resource.absent) {
            // It is asked for by its own error, for which nothing is allocated.
            let text = match resource.file.try_read() {
                Ok(text) => text,
                Err(error) if error.kind() == io::ErrorKind::Unsupported => continue,
                Err(error) => match Error::from_io(resource.file.path(), error) {
                    Error::Absent { .. } => {
                        resource.absent = true;
                        continue;
                    }
                    error => {
                        fault.get_or_insert(error);
                        continue;
                    }
                },
            };
            found += 1;
            let Some(stalls) = batch.tolerate(parse(text)) else { continue };
            for (family, microseconds) in
                [(resource.some, stalls.some), (resource.full, stalls.full)]
            {
                let Some(family) = family else { continue };
                let microseconds = microseconds.ok_or(Malformed::new(text.len(), "another line"));
                if let Some(microseconds) = batch.tolerate(microseconds) {
                    batch.value(&family, microseconds as f64 / 1000.0 / 1000.0);
                }
            }
        }
        match fault {
            Some(fault) => Err(fault),
            None if found > 0 => Ok(()),
            None => {
                self.resources.iter_mut().for_each(|resource| resource.absent = false);
                Err(Error::absent("proc/pressure"))
            }
        }
    }
}

/// For how long tasks waited since boot, in microseconds.
#[derive(Debug, Default)]
struct Stalls {
    /// At least one of them.
    some: Option<u64>,
    /// All that had work.
    full: Option<u64>,
}

/// Takes the totals of `some avg10=0.00 avg60=0.15 avg300=0.49 total=16427775` and `full ...`.
fn parse(text: &[u8]) -> Result<Stalls, Malformed> {
    let mut stalls = Stalls::default();
    let mut lines = lines(text);
    while let Some(line) = lines.next() {
        let total = match Fields::new(line).next() {
            Some(b"some") => &mut stalls.some,
            Some(b"full") => &mut stalls.full,
            _ => continue,
        };
        let found = Fields::new(line).find_map(|field| field.strip_prefix(b"total="));
        let found = found.and_then(|digits| text::single_u64(digits).ok());
        *total = Some(found.ok_or(Malformed::new(lines.offset(), "total= and a number"))?);
    }
    Ok(stalls)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::errno::EOPNOTSUPP;
    use vitald_core::testing::*;

    const CPU: (&str, &str) = (
        "proc/pressure/cpu",
        "some avg10=0.00 avg60=0.15 avg300=0.49 total=16427775\n\
         full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
    );
    const IO: (&str, &str) = (
        "proc/pressure/io",
        "some avg10=0.00 avg60=0.00 avg300=0.08 total=6773755\n\
         full avg10=0.00 avg60=0.00 avg300=0.07 total=6334935\n",
    );
    const MEMORY: (&str, &str) = (
        "proc/pressure/memory",
        "some avg10=0.00 avg60=0.00 avg300=0.00 total=14036781\n\
         full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
    );
    const IRQ: (&str, &str) =
        ("proc/pressure/irq", "full avg10=0.00 avg60=0.00 avg300=0.00 total=8494\n");

    #[test]
    fn golden() {
        check::<Pressure>(
            &MemoryHost::from_files(&[CPU, IO, MEMORY, IRQ]).host(),
            &[],
            &expect![[r#"
                # node_pressure_cpu_waiting_seconds_total counter
                node_pressure_cpu_waiting_seconds_total 16.427775
                # node_pressure_io_stalled_seconds_total counter
                node_pressure_io_stalled_seconds_total 6.334935000000001
                # node_pressure_io_waiting_seconds_total counter
                node_pressure_io_waiting_seconds_total 6.773755
                # node_pressure_irq_stalled_seconds_total counter
                node_pressure_irq_stalled_seconds_total 0.008494
                # node_pressure_memory_stalled_seconds_total counter
                node_pressure_memory_stalled_seconds_total 0
                # node_pressure_memory_waiting_seconds_total counter
                node_pressure_memory_waiting_seconds_total 14.036781000000001
            "#]],
        );
    }

    #[test]
    fn a_kernel_without_one_of_them() {
        check::<Pressure>(
            &MemoryHost::from_files(&[CPU]).host(),
            &[],
            &expect![[r#"
                # node_pressure_cpu_waiting_seconds_total counter
                node_pressure_cpu_waiting_seconds_total 16.427775
            "#]],
        );
    }

    #[test]
    fn absent_until_it_comes() {
        let memory = MemoryHost::new();
        let mut pressure = open::<Pressure>(&memory.host(), &[]);
        let absent = run(&mut pressure, None).1.unwrap_err();
        assert!(matches!(absent, Error::Absent { .. }), "{absent}");
        for (path, text) in [CPU, IO, MEMORY, IRQ] {
            memory.write(path, text);
        }
        let (batch, outcome) = run(&mut pressure, None);
        outcome.unwrap();
        assert_eq!(batch.len(), 6);
    }

    #[test]
    fn switched_off_is_absent() {
        let memory = MemoryHost::from_files(&[CPU, IO, MEMORY, IRQ]);
        for (path, _) in [CPU, IO, MEMORY, IRQ] {
            memory.fail(path, EOPNOTSUPP);
        }
        let (batch, outcome) = run(&mut open::<Pressure>(&memory.host(), &[]), None);
        let absent = outcome.unwrap_err();
        assert!(matches!(absent, Error::Absent { .. }), "{absent}");
        assert_eq!(batch.len(), 0);
    }

    #[test]
    fn a_resource_that_is_not_supported_costs_its_own_series() {
        for (path, series) in [(CPU.0, 1), (IO.0, 2), (MEMORY.0, 2), (IRQ.0, 1)] {
            let memory = MemoryHost::from_files(&[CPU, IO, MEMORY, IRQ]);
            memory.fail(path, EOPNOTSUPP);
            let mut pressure = open::<Pressure>(&memory.host(), &[]);
            for _ in 0..2 {
                let (batch, outcome) = run(&mut pressure, None);
                outcome.unwrap();
                assert_eq!(batch.len(), 6 - series, "{path}");
            }
        }
    }

    #[test]
    fn a_resource_that_cannot_be_read_costs_no_other_one() {
        let memory = MemoryHost::from_files(&[CPU, IO, MEMORY, IRQ]);
        memory.fail(CPU.0, 5);
        let (batch, outcome) = run(&mut open::<Pressure>(&memory.host(), &[]), None);
        assert!(matches!(outcome, Err(Error::Unreadable { .. })));
        assert_eq!(batch.len(), 5);
    }

    #[test]
    fn a_missing_line_costs_that_line() {
        let memory = MemoryHost::from_files(&[CPU, ("proc/pressure/io", IRQ.1), MEMORY]);
        let (batch, outcome) = run(&mut open::<Pressure>(&memory.host(), &[]), None);
        outcome.unwrap();
        assert_eq!(batch.malformed().map(|(lines, _)| lines), Some(1));
        let page = render(&batch);
        assert!(page.contains("node_pressure_io_stalled_seconds_total"), "{page}");
        assert!(!page.contains("node_pressure_io_waiting_seconds_total"), "{page}");
        assert_eq!(batch.len(), 4);
    }

    #[test]
    fn an_odd_file_costs_that_file() {
        let memory = MemoryHost::from_files(&[("proc/pressure/cpu", "some total=x\n"), IRQ]);
        let (batch, outcome) = run(&mut open::<Pressure>(&memory.host(), &[]), None);
        outcome.unwrap();
        assert_eq!(batch.malformed().map(|(count, _)| count), Some(1));
        expect![[r#"
            # node_pressure_irq_stalled_seconds_total counter
            node_pressure_irq_stalled_seconds_total 0.008494
        "#]]
        .assert_eq(&render(&batch));
    }

    #[test]
    fn refuses_bad_text() {
        rejects(
            parse,
            &["some", "full avg10=0.00", "some total=", "some total=-1", "full total=1x"],
        );
    }
}
