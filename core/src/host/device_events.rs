//! Whether devices and modules may have come.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::Host;
use super::extent::Extent;
use super::kept::{Kept, Purpose, fill};
use super::opened::Opened;
use crate::text;

const PATH: &str = "sys/kernel/uevent_seqnum";

/// What is absent is looked for again after so long, event or not.
const LONGEST: Duration = Duration::from_secs(60);

/// And after so many collections, so that one look in them is all that it costs to be wrong.
const MOST_COLLECTIONS: u32 = 64;

/// Whether the kernel had an event of a device or a module, asked once a collection for all who want to know.
///
/// The kernel sends an event after it has made a device with all its attributes (`device_add` in
/// drivers/base/core.c), and after a module has been loaded and has made its files
/// (`do_init_module` in kernel/module/main.c; before Linux 5.11 it sent the event first). So while there was
/// none, a class without a device still has none, and what a module brings is still absent. A mount sends no
/// event, nor does what a file system puts below `sys/fs`: that is not for this.
///
/// Whatever came without an event all the same is found by the first collection after 60 seconds, and by the 64th
/// at the latest: the number is another one then, too.
///
/// One descriptor serves all threads, so it is not for a collector with descriptors of its own.
pub struct DeviceEvents {
    host: Host,
    counted: Arc<Mutex<Counted>>,
}

/// It lasts as long as the process and so knows no host, which would last with it.
#[derive(Default)]
struct Counted {
    kept: Option<Kept>,
    buffer: Vec<u8>,
    /// When the read began that `event` is from.
    began: Option<Instant>,
    /// The number of the kernel's last event.
    event: Option<u64>,
    /// How often something may have come.
    number: u64,
    /// When the number became this one, and how often the kernel was asked since.
    since: Option<Instant>,
    collections: u32,
}

impl Host {
    /// The handle on the events of devices and modules. Nothing is opened until it is asked.
    pub fn device_events(&self) -> DeviceEvents {
        DeviceEvents { host: self.clone(), counted: self.lasting() }
    }
}

impl DeviceEvents {
    /// A number that is another one if something may have come since the call before, for
    /// [`KeptFile::under`](super::KeptFile::under) and [`Walk::under_events`](super::Walk::under_events). It
    /// is of a read that began at `fresh_from` or later; take
    /// [`Batch::fresh_from`](crate::batch::Batch::fresh_from), and ask before what depends on it is looked
    /// at. `None` where the kernel does not say, or another thread asks at this moment: nothing may be
    /// taken as unchanged then.
    pub fn number(&self, fresh_from: Instant) -> Option<u64> {
        let mut counted = self.counted.try_lock().ok()?;
        if counted.began.is_none_or(|began| began < fresh_from) {
            counted.began = None;
            let began = Instant::now();
            let event = counted.read(&self.host);
            counted.take(event, began);
        }
        counted.event.map(|_| counted.number)
    }
}

impl Counted {
    fn take(&mut self, event: Option<u64>, began: Instant) {
        self.collections += 1;
        let is_same = event.is_some() && event == self.event;
        let is_recent =
            self.since.is_some_and(|since| began.saturating_duration_since(since) < LONGEST);
        if !is_same || !is_recent || self.collections >= MOST_COLLECTIONS {
            self.number += 1;
            self.since = Some(began);
            self.collections = 0;
        }
        self.event = event;
        self.began = Some(began);
    }

    fn read(&mut self, host: &Host) -> Option<u64> {
        let path = PATH.as_bytes();
        if let Some(kept) = &self.kept {
            if fill(host, &kept.handle, path, Extent::Whole, &mut self.buffer).is_ok() {
                return text::single_u64(&self.buffer).ok();
            }
            self.kept = None;
        }
        let handle = host.open(path, Opened::File).ok()?;
        fill(host, &handle, path, Extent::Whole, &mut self.buffer).ok()?;
        self.kept = Kept::keep(host, handle, Purpose::File).ok();
        text::single_u64(&self.buffer).ok()
    }
}

impl fmt::Debug for DeviceEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceEvents").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::MemoryHost;

    #[test]
    fn one_read_serves_a_collection() {
        let memory = MemoryHost::new();
        let host = memory.host();
        let [first, second] = [(); 2].map(|()| host.device_events());
        assert_eq!(first.number(Instant::now()), None);
        memory.write(PATH, "4711\n");
        let began = Instant::now();
        let before = memory.reads();
        let number = first.number(began);
        assert!(number.is_some());
        assert_eq!(second.number(began), number);
        assert_eq!(memory.reads() - before, 1);
        memory.write(PATH, "4712\n");
        assert_eq!(second.number(began), number);
        let next = || Instant::now() + Duration::from_nanos(1);
        let after = second.number(next());
        assert!(after > number);
        assert_eq!(first.number(next()), after);
        memory.remove(PATH);
        assert_eq!(first.number(next()), None);
    }

    #[test]
    fn what_came_without_an_event_is_looked_for_in_time() {
        let mut counted = Counted::default();
        let start = Instant::now();
        let mut number = |seconds, event| {
            counted.take(Some(event), start + Duration::from_secs(seconds));
            counted.number
        };
        let first = number(0, 1);
        assert_eq!([15, 30, 45, 59].map(|seconds| number(seconds, 1)), [first; 4]);
        assert_eq!([60, 75, 119, 120].map(|seconds| number(seconds, 1) - first), [1, 1, 1, 2]);
        // An event begins the time anew.
        assert_eq!([130, 189, 190].map(|seconds| number(seconds, 2) - first), [3, 3, 4]);
        // Collections one upon another look again after some, too.
        let numbers: Vec<u64> = (0..=MOST_COLLECTIONS).map(|_| number(191, 2) - first).collect();
        assert_eq!((numbers[0], numbers[62], numbers[63], numbers[64]), (4, 4, 5, 5));
    }
}
