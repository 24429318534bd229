//! Services that runit looks after, from `supervise/status` of each (runsv(8), and `svstatus` in
//! runit's src/sv.c for what is in there).

use std::sync::Arc;

use vitald_core::errno::{ENOENT, ENOTDIR};
use vitald_core::host::{Kind as EntryKind, Listing};
use vitald_core::prelude::*;

families! {
    /// What a service does: 0 down, 1 running, 2 finishing.
    STATE: gauge = "node_service_state" [service, supervisor];
    /// What a service is wanted to do: 0 be down, 1 run.
    DESIRED_STATE: gauge = "node_service_desired_state" [service, supervisor];
    /// Whether a service is to run when nobody asked for anything else.
    NORMAL_STATE: gauge = "node_service_normal_state" [service, supervisor];
    /// When what a service does last changed, since the epoch.
    CHANGED: gauge = "node_service_state_last_change_timestamp_seconds" [service, supervisor];
}

settings! {
    /// The directory that runsvdir looks after: a directory, or a link to one, for each service.
    servicedir: String = "/etc/service";
}

/// A status has 20 bytes; what is much longer is something else.
const LARGEST: usize = 4096;

/// The label of 1970 in TAI64, and the ten seconds that TAI was ahead of UTC then.
const TAI_OF_1970: i64 = (1 << 62) + 10;

register_collector!(Runit);

struct Runit {
    host: Host,
    directory: Arc<str>,
    listing: Listing,
    path: String,
    buffer: Vec<u8>,
}

impl Collector for Runit {
    about! {
        name: "runit",
        summary: "Services that runit looks after",
        families: FAMILIES,
        sources: ["/etc/service/*/supervise/status", "/etc/service/*/supervise/down"],
        settings: Settings,
    }
    const ENABLED: bool = false;
    // runsv makes its directory `supervise` for root alone.
    const CAPABILITIES: &'static [&'static str] = &["CAP_DAC_READ_SEARCH"];
    // The directory may be on any file system.
    const MAY_BLOCK: bool = true;
    const OWN_DESCRIPTORS: bool = true;

    fn check(settings: &Settings) -> Result<()> {
        match settings.servicedir.is_empty() {
            true => Err(Error::setting("servicedir", "name a directory, such as /etc/service")),
            false => Ok(()),
        }
    }

    fn open(settings: Settings, host: &Host) -> Result<Self> {
        Ok(Runit {
            host: host.clone(),
            directory: format!("file:{}", settings.servicedir).into(),
            listing: Listing::new(),
            path: String::new(),
            buffer: Vec::new(),
        })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        let Runit { host, directory, listing, path, buffer } = self;
        host.try_list(directory, listing).map_err(|error| match is_absence(&error) {
            true => Error::absent(Arc::clone(directory)),
            false => Error::from_io(directory, error),
        })?;
        for entry in listing.iter().filter(|entry| entry.kind != EntryKind::File) {
            if batch.time_left().is_zero() {
                batch.degraded("timeout");
                break;
            }
            let Ok(name) = str::from_utf8(entry.name) else {
                let name = entry.name.escape_ascii();
                let what = format_args!("the name of the service \"{name}\" is not UTF-8");
                batch.fault(directory, what);
                continue;
            };
            let status = match host.try_read_regular(
                supervised(path, directory, name, "status"),
                LARGEST,
                buffer,
            ) {
                Ok(status) => Status::parse(status),
                // It is no service, or none that runsv has ever looked after.
                Err(error) if is_absence(&error) => continue,
                Err(error) => {
                    if error.kind() == std::io::ErrorKind::PermissionDenied {
                        batch.degraded("permission");
                    }
                    batch.fault(path, error);
                    continue;
                }
            };
            let Some(status) = batch.tolerate(status) else { continue };
            let is_normally_up =
                host.try_modified(supervised(path, directory, name, "down")).is_err();
            let labels = batch.labels([entry.name, b"runit"]);
            batch.push(&STATE, labels, status.state);
            batch.push(&DESIRED_STATE, labels, status.is_wanted);
            batch.push(&CHANGED, labels, status.changed);
            batch.push(&NORMAL_STATE, labels, is_normally_up);
        }
        Ok(())
    }
}

/// Puts together the path of what runsv has put down about a service.
fn supervised<'p>(path: &'p mut String, directory: &str, service: &str, file: &str) -> &'p str {
    path.clear();
    for part in [directory, "/", service, "/supervise/", file] {
        path.push_str(part);
    }
    path
}

fn is_absence(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(ENOENT | ENOTDIR))
}

/// What runsv says of a service.
#[derive(Debug, PartialEq, Eq)]
struct Status {
    state: u8,
    is_wanted: bool,
    /// In seconds since the epoch.
    changed: i64,
}

impl Status {
    /// Takes a time of TAI64N, a process number, whether the service is paused and wanted, whether it
    /// was told to end, and what it does. As in node_exporter, what is cut off is 0; so is the state
    /// in a file of daemontools, which has 18 bytes.
    fn parse(text: &[u8]) -> Result<Status, Malformed> {
        if text.is_empty() {
            return Err(Malformed::new(0, "a status of 20 bytes"));
        }
        let mut status = [0; 20];
        let length = text.len().min(status.len());
        status[..length].copy_from_slice(&text[..length]);
        let seconds = i64::from_be_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|at: usize| status[at]));
        Ok(Status {
            state: status[19],
            is_wanted: status[17] == b'u',
            changed: seconds.wrapping_sub(TAI_OF_1970),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::testing::*;

    fn status(changed: i64, want: u8, state: u8) -> Vec<u8> {
        let mut status = (TAI_OF_1970 + changed).to_be_bytes().to_vec();
        status.extend_from_slice(&[0x1d, 0xcd, 0x65, 0, 0xd2, 0x04, 0, 0, 0, want, 0, state]);
        status
    }

    fn memory() -> MemoryHost {
        let memory = MemoryHost::new();
        for (path, content) in [
            ("file:/etc/sv/web/supervise/status", status(1_700_000_000, b'u', 1)),
            ("file:/etc/service/cron/supervise/status", status(1_699_999_000, b'd', 0)),
            ("file:/etc/service/cron/supervise/down", Vec::new()),
            ("file:/etc/service/log/supervise/status", status(0, 0, 2)),
            ("file:/etc/service/new/run", b"#!/bin/sh\n".to_vec()),
            ("file:/etc/service/README", b"text".to_vec()),
        ] {
            memory.write(path, content);
        }
        memory.link("file:/etc/service/web", "../sv/web");
        memory.link("file:/etc/service/dangling", "../sv/none");
        memory
    }

    #[test]
    fn golden() {
        check::<Runit>(
            &memory().host(),
            &[],
            &expect![[r##"
            # node_service_desired_state gauge
            node_service_desired_state{service="cron",supervisor="runit"} 0
            node_service_desired_state{service="log",supervisor="runit"} 0
            node_service_desired_state{service="web",supervisor="runit"} 1
            # node_service_normal_state gauge
            node_service_normal_state{service="cron",supervisor="runit"} 0
            node_service_normal_state{service="log",supervisor="runit"} 1
            node_service_normal_state{service="web",supervisor="runit"} 1
            # node_service_state gauge
            node_service_state{service="cron",supervisor="runit"} 0
            node_service_state{service="log",supervisor="runit"} 2
            node_service_state{service="web",supervisor="runit"} 1
            # node_service_state_last_change_timestamp_seconds gauge
            node_service_state_last_change_timestamp_seconds{service="cron",supervisor="runit"} 1.699999e+09
            node_service_state_last_change_timestamp_seconds{service="log",supervisor="runit"} 0
            node_service_state_last_change_timestamp_seconds{service="web",supervisor="runit"} 1.7e+09
        "##]],
        );
    }

    #[test]
    fn the_setting_decides() {
        let memory = MemoryHost::new();
        memory.write("file:/srv/sv/x/supervise/status", status(5, b'u', 1));
        let mut collector = open::<Runit>(&memory.host(), &[("servicedir", "/srv/sv".into())]);
        let (batch, outcome) = run(&mut collector, None);
        outcome.unwrap();
        assert_eq!(batch.len(), 4);
        let refused = refusal::<Runit>(&[("servicedir", "".into())]);
        assert_eq!(refused, "servicedir: name a directory, such as /etc/service");
    }

    #[test]
    fn a_service_that_goes_and_comes() {
        let memory = memory();
        let mut collector = open::<Runit>(&memory.host(), &[]);
        let (first, _) = run(&mut collector, None);
        memory.rename("file:/etc/service/cron", "file:/etc/cron");
        let (second, _) = run(&mut collector, Some(&first));
        memory.rename("file:/etc/cron", "file:/etc/service/cron");
        let (third, _) = run(&mut collector, Some(&second));
        assert_eq!([first.len(), second.len(), third.len()], [12, 8, 12]);
        assert_eq!(render(&first), render(&third));
    }

    #[test]
    fn what_is_cut_off_is_0() {
        let whole = status(1_700_000_000, b'u', 1);
        let parsed = |length: usize| Status::parse(&whole[..length]).unwrap();
        assert_eq!(parsed(20), Status { state: 1, is_wanted: true, changed: 1_700_000_000 });
        assert_eq!(parsed(19), Status { state: 0, is_wanted: true, changed: 1_700_000_000 });
        assert_eq!(parsed(17), Status { state: 0, is_wanted: false, changed: 1_700_000_000 });
        assert_eq!(parsed(4).state, 0);
        assert_eq!(Status::parse(&[&whole[..], b"more"].concat()).unwrap(), parsed(20));
        assert!(Status::parse(b"").is_err());
        assert_eq!(Status::parse(&[0xff; 20]).unwrap().state, 0xff);
    }

    #[test]
    fn a_fault_costs_that_service() {
        let memory = memory();
        memory.fail("file:/etc/service/cron/supervise/status", 13);
        memory.write("file:/etc/service/log/supervise/status", "");
        memory.write(b"file:/etc/service/\xff/supervise/status", status(1, b'u', 1));
        memory.write("file:/etc/service/large/supervise/status", [0; LARGEST + 1]);
        let (batch, outcome) = run(&mut open::<Runit>(&memory.host(), &[]), None);
        outcome.unwrap();
        assert_eq!(batch.len(), 4);
        assert_eq!(batch.malformed().map(|(count, _)| count), Some(1));
        assert!(batch.fault().is_some_and(|fault| fault.error.contains("denied")));
        assert_eq!(batch.degraded_reason(), Some("permission"));
    }

    #[test]
    fn a_name_that_is_not_text_is_shown_with_escapes() {
        let memory = memory();
        memory.write(b"file:/etc/service/bad\xff/supervise/status", status(1, b'u', 1));
        let (batch, outcome) = run(&mut open::<Runit>(&memory.host(), &[]), None);
        outcome.unwrap();
        let fault = batch.fault().map(|fault| fault.error);
        assert_eq!(fault, Some(r#"the name of the service "bad\xff" is not UTF-8"#));
    }

    /// runsv makes `supervise` with mode 0700, so that others do not even see what is in it.
    #[test]
    fn without_the_right_to_it_there_is_nothing_and_a_word() {
        let memory = memory();
        for service in ["etc/sv/web", "etc/service/cron", "etc/service/log"] {
            memory.fail(format!("file:/{service}/supervise/status"), 13);
        }
        let (batch, outcome) = run(&mut open::<Runit>(&memory.host(), &[]), None);
        outcome.unwrap();
        assert_eq!((batch.len(), batch.degraded_reason()), (0, Some("permission")));
        assert_eq!(Runit::CAPABILITIES, ["CAP_DAC_READ_SEARCH"]);
    }

    #[test]
    fn a_directory_that_is_not_there_is_absent() {
        check_fails::<Runit>(
            &MemoryHost::new().host(),
            &[],
            &expect!["file:/etc/service: not on this host"],
            &expect![""],
        );
    }
}
