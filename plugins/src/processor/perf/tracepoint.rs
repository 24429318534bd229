//! Tracepoints, by the numbers that tracefs has for them (Documentation/trace/events.rst).

use std::fmt;

use vitald_core::host::{PerfCounter, PerfEvent};
use vitald_core::prelude::*;

use super::events::PERF_TYPE_TRACEPOINT;

/// A tracepoint of the kernel.
pub(super) struct Tracepoint {
    pub(super) subsystem: String,
    pub(super) name: String,
    /// The number that this kernel knows it by, once it was read.
    id: Option<u64>,
}

impl Tracepoint {
    /// Takes `sched:sched_switch`.
    pub(super) fn parse(text: &str) -> Option<Tracepoint> {
        let is_name = |name: &str| {
            !name.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        let (subsystem, name) = text.split_once(':')?;
        (is_name(subsystem) && is_name(name)).then(|| Tracepoint {
            subsystem: subsystem.to_owned(),
            name: name.to_owned(),
            id: None,
        })
    }

    /// Begins to count it on a CPU.
    pub(super) fn open(
        &mut self,
        host: &Host,
        cpu: u32,
        buffer: &mut Vec<u8>,
    ) -> Result<PerfCounter> {
        let config = match self.id {
            Some(id) => id,
            None => *self.id.insert(self.read_id(host, buffer)?),
        };
        let event = PerfEvent { kind: PERF_TYPE_TRACEPOINT, config };
        let unreadable = |source| Error::Unreadable { path: self.to_string().into(), source };
        host.perf_counter(event, cpu).map_err(unreadable)
    }

    /// Asks tracefs for the number that this kernel knows it by.
    fn read_id(&self, host: &Host, buffer: &mut Vec<u8>) -> Result<u64> {
        let Tracepoint { subsystem, name, .. } = self;
        // Where debugfs alone is mounted, as on old systems, tracefs is below it.
        let mut last = Error::absent(self.to_string());
        for mount in ["sys/kernel/tracing", "sys/kernel/debug/tracing"] {
            let path = format!("{mount}/events/{subsystem}/{name}/id");
            match host.read(&path, buffer) {
                Ok(text) => return text::single_u64(text).map_err(|wrong| wrong.in_file(&path)),
                Err(error @ Error::Unreadable { .. }) => last = error,
                Err(_) => {}
            }
        }
        Err(last)
    }
}

impl fmt::Display for Tracepoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tracepoint {}:{}", self.subsystem, self.name)
    }
}
