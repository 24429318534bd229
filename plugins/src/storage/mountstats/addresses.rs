//! Where the servers of mounts are, from `/proc/self/mountinfo` (proc_pid_mountinfo(5)).

use vitald_core::prelude::*;

/// Where the server of each mount is, in the order of the kernel's list, which both files have.
#[derive(Default)]
pub(super) struct Addresses {
    /// The text that `known` was made of.
    text: Vec<u8>,
    /// A mount point, and the option `addr` or nothing.
    known: Vec<(Box<[u8]>, Box<[u8]>)>,
    /// How far the one list is ahead of the other, because a mount came or went between the two reads.
    shift: isize,
}

impl Addresses {
    /// Takes the text of `proc/self/mountinfo`.
    pub(super) fn refresh(&mut self, text: &[u8]) {
        self.shift = 0;
        if text != self.text {
            self.text.clear();
            self.text.extend_from_slice(text);
            self.known.clear();
            let known = lines(text).map(parse_address);
            self.known.extend(known.map(|(point, address)| (point.into(), address.into())));
        }
    }

    /// The address of what is mounted there, which is at about this place in the list.
    pub(super) fn of(&mut self, index: usize, point: &[u8]) -> &[u8] {
        let place = index.checked_add_signed(self.shift).unwrap_or(0).min(self.known.len());
        let is_it = |place: &usize| self.known.get(*place).is_some_and(|(at, _)| **at == *point);
        let Some(place) = (place..self.known.len()).chain(0..place).find(is_it) else { return b"" };
        self.shift = place.wrapping_sub(index).cast_signed();
        &self.known[place].1
    }
}

/// Takes the mount point and the option `addr` of `194 21 0:42 / /mnt rw - nfs4 s:/e rw,hard,addr=10.0.0.1`.
fn parse_address(line: &[u8]) -> (&[u8], &[u8]) {
    let point = Fields::new(line).nth(4).unwrap_or_default();
    let options = Fields::new(line).last().unwrap_or_default();
    let mut address = &b""[..];
    for option in options.split(|byte| *byte == b',') {
        address = option.strip_prefix(b"addr=").unwrap_or(address);
    }
    (point, address)
}
