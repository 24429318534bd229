//! The bottom of the real host on systems other than Linux: nothing is there.

use std::ffi::CStr;
use std::io;

use super::listing::{Listed, Listing};
use super::opened::Opened;
use super::space::{Space, StatfsError};
use super::uname::Uname;
use super::version::Version;

/// There is never one.
pub(super) enum Descriptor {}

fn absent<T>() -> io::Result<T> {
    Err(io::ErrorKind::NotFound.into())
}

pub(super) fn open(_: Option<&Descriptor>, _: &CStr, _: Opened) -> io::Result<Descriptor> {
    absent()
}

pub(super) fn is_kernel_made(descriptor: &Descriptor) -> bool {
    match *descriptor {}
}

pub(super) fn read_at(descriptor: &Descriptor, _: &mut Vec<u8>, _: u64) -> io::Result<usize> {
    match *descriptor {}
}

pub(super) fn is_announced_unchanged(descriptor: &Descriptor) -> bool {
    match *descriptor {}
}

pub(super) fn list(descriptor: &Descriptor, _: Listed, _: &mut Listing) -> io::Result<()> {
    match *descriptor {}
}

pub(super) fn read_link(_: Option<&Descriptor>, _: &CStr, _: &mut Vec<u8>) -> io::Result<()> {
    absent()
}

pub(super) fn size_in(directory: &Descriptor, _: &CStr) -> io::Result<u64> {
    match *directory {}
}

pub(super) fn regular_size(descriptor: &Descriptor) -> io::Result<Option<u64>> {
    match *descriptor {}
}

pub(super) fn modified(_: &CStr) -> io::Result<f64> {
    absent()
}

pub(super) fn version(_: &CStr) -> io::Result<Version> {
    absent()
}

pub(super) fn space(_: &CStr, _: bool) -> Result<Space, StatfsError> {
    Err(StatfsError::Failed(2))
}

pub(super) fn uname(_: &mut Uname) {}

pub(super) fn ticks_per_second() -> u64 {
    100
}

pub(super) fn page_size() -> usize {
    4096
}
