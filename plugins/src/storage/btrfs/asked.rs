//! What the file systems say of their devices at the places where they are mounted.

use std::collections::HashSet;

use vitald_core::host::{BtrfsDevice, BtrfsDevices};
use vitald_core::prelude::*;

use crate::storage::mounts::{PROMPT_TYPES, below, is_within_any, parse_line};

/// The file systems that have answered in this collection, in memory that is used again.
pub(super) struct Asked {
    host: Host,
    first: KeptFile,
    own: KeptFile,
    /// The text that `mounts` were made of.
    text: Vec<u8>,
    mounts: Vec<Mount>,
    answers: Vec<BtrfsDevices>,
    /// How many of `answers` are of this collection.
    count: usize,
}

/// The prefix of the root file system.
const ROOT: &[u8] = b"rootfs";

/// A place where a file system is mounted.
struct Mount {
    /// As the host takes it.
    path: Vec<u8>,
    device: Vec<u8>,
    /// Whether the file system of the device has answered in this collection.
    is_answered: bool,
}

impl Asked {
    pub(super) fn new(host: &Host) -> Self {
        Asked {
            host: host.clone(),
            first: host.keep_mounts("proc/1/mountinfo"),
            own: host.keep_mounts("proc/self/mountinfo"),
            text: Vec::new(),
            mounts: Vec::new(),
            answers: Vec::new(),
            count: 0,
        }
    }

    /// Asks each file system once, at the first of its places where it answers. One that answers nowhere
    /// is not known: sysfs says less of it.
    pub(super) fn ask_all(&mut self, batch: &mut Batch) {
        self.count = 0;
        self.look_for_mounts(batch);
        for mount in &mut self.mounts {
            mount.is_answered = false;
        }
        for position in 0..self.mounts.len() {
            let Mount { path, is_answered, .. } = &self.mounts[position];
            if *is_answered {
                continue;
            }
            if self.count == self.answers.len() {
                self.answers.push(BtrfsDevices::default());
            }
            let (known, new) = self.answers.split_at_mut(self.count);
            let Some(answer) = new.first_mut() else { continue };
            let is_new = self.host.btrfs_devices(path, answer).is_ok()
                && known.iter().all(|known| known.uuid != answer.uuid);
            if is_new {
                self.count += 1;
                let (before, after) = self.mounts.split_at_mut(position + 1);
                let device = &before[position].device;
                for other in after.iter_mut().filter(|other| other.device == *device) {
                    other.is_answered = true;
                }
            }
        }
    }

    /// The devices of a file system that has answered, by its identifier as sysfs writes it.
    pub(super) fn devices(&self, uuid: &[u8]) -> Option<&[BtrfsDevice]> {
        let is_it = |answer: &&BtrfsDevices| *uuid == *written(&answer.uuid, &mut [0; 36]);
        self.answers[..self.count].iter().find(is_it).map(|answer| answer.devices.as_slice())
    }

    fn look_for_mounts(&mut self, batch: &mut Batch) {
        let text = match self.first.try_read() {
            Ok(text) => text,
            // Under hidepid process 1 is another user's; our own mounts are mostly the same.
            Err(_) => self.own.try_read().unwrap_or_default(),
        };
        if text == self.text {
            return;
        }
        self.text.clear();
        self.text.extend_from_slice(text);
        self.mounts.clear();
        let root = self.host.roots().rootfs.as_os_str().as_encoded_bytes();
        let mut scratch = Vec::new();
        let mut slow: HashSet<Vec<u8>> = HashSet::new();
        for line in lines(text) {
            let Some(line) = batch.tolerate(parse_line(line)) else { continue };
            let point = below(root, text::unescape_octal(line.point, &mut scratch));
            if line.kind == b"btrfs" {
                self.mounts.push(Mount {
                    path: [ROOT, point].concat(),
                    device: line.device.to_vec(),
                    is_answered: false,
                });
            } else if !PROMPT_TYPES.contains(&line.kind) {
                slow.insert(point.to_vec());
            }
        }
        // Where the way to a place leads through what may not answer, nothing is asked.
        self.mounts.retain(|mount| !is_within_any(&mount.path[ROOT.len()..], &slow));
    }
}

/// Writes an identifier in its usual form, as sysfs and node_exporter do, and node_exporter's word for
/// one of zeros.
pub(super) fn written<'w>(uuid: &[u8; 16], room: &'w mut [u8; 36]) -> &'w [u8] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    if *uuid == [0; 16] {
        return b"<zero>";
    }
    let mut place = room.iter_mut();
    let mut put = |byte| {
        if let Some(place) = place.next() {
            *place = byte;
        }
    };
    for (position, byte) in uuid.iter().enumerate() {
        if matches!(position, 4 | 6 | 8 | 10) {
            put(b'-');
        }
        put(DIGITS[usize::from(byte >> 4)]);
        put(DIGITS[usize::from(byte & 15)]);
    }
    room
}
