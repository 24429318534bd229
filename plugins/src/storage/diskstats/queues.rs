//! Whether each disk spins, from its queue in sysfs (Documentation/ABI/stable/sysfs-block).

use std::time::Instant;
use vitald_core::host::DeviceEvents;
use vitald_core::prelude::*;

attributes! {
    Block {
        /// Anybody may set it: it is a hint to the I/O scheduler.
        ROTATIONAL: text = "queue/rotational", optional, slow;
    }
}

/// The queues of the disks that are shown, read in turn, and at once where a disk is new.
///
/// The kernel sends an event for each device that comes or goes, and counts them. While the count
/// is the same, no name means another disk than before, and thousands of disks are not listed.
/// A new disk is in `proc/diskstats` before its event is sent, so one that is new to the caller
/// makes the queues be listed, too.
pub(super) struct Queues {
    blocks: Walk<Block>,
    events: DeviceEvents,
    /// The disks were listed for a new one in this collection already.
    is_listed: bool,
}

/// The queue of one disk.
pub(super) struct Queue {
    /// The name that the disk has in sysfs.
    name: Box<[u8]>,
    place: usize,
}

impl Queues {
    /// Those of the disks that this filter takes.
    pub(super) fn new(host: &Host, filter: Filter) -> Self {
        // Which of the two the disk's own name has cannot be told from this one.
        let takes =
            move |name: &[u8]| filter.takes(name) || filter.takes(&replaced(name, b'!', b'/'));
        Queues {
            blocks: host.walk("sys/block/*").only(0, takes),
            events: host.device_events(),
            is_listed: false,
        }
    }

    /// Reads what is due.
    pub(super) fn look(&mut self, fresh_from: Instant) {
        let count = self.events.number(fresh_from);
        // By events alone: where all disks are left out, an empty list is no reason to list them again.
        // A host without the directory, or that does not let it be read, has no disk that spins.
        let _ = self.blocks.under_events(count).optional();
        self.is_listed = count.is_none();
    }

    /// The queue of a disk that was not there before.
    pub(super) fn queue(&mut self, disk: &[u8]) -> Queue {
        let mut queue = Queue { name: replaced(disk, b'/', b'!').into(), place: 0 };
        let find = |blocks: &Walk<Block>, queue: &mut Queue| {
            blocks.children().find_again(&[&queue.name], &mut queue.place).is_some()
        };
        if !self.is_listed && !find(&self.blocks, &mut queue) {
            let _ = self.blocks.under(None).optional();
            self.is_listed = true;
        }
        queue
    }

    /// `1` for a disk that spins, else `0`, also if the kernel does not say. A partition has no
    /// queue of its own.
    pub(super) fn rotational(&self, queue: &mut Queue) -> &'static [u8] {
        let block = self.blocks.children().find_again(&[&queue.name], &mut queue.place);
        match block.map(|block| block.text(&Block::ROTATIONAL)) {
            Some(Ok(b"1")) => b"1",
            _ => b"0",
        }
    }
}

/// A name with other characters: one with a slash, such as `cciss/c0d0`, has an exclamation mark there in sysfs.
fn replaced(name: &[u8], from: u8, to: u8) -> Vec<u8> {
    name.iter().map(|&byte| if byte == from { to } else { byte }).collect()
}
