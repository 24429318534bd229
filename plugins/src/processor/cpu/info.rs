//! What each CPU says of itself, from `/proc/cpuinfo`.

use vitald_core::prelude::*;

/// One block of `/proc/cpuinfo`; empty where the block says nothing.
#[derive(Debug, Default)]
pub(super) struct Processor<'t> {
    pub(super) number: &'t [u8],
    pub(super) package: &'t [u8],
    pub(super) core: &'t [u8],
    pub(super) vendor: &'t [u8],
    pub(super) family: &'t [u8],
    pub(super) model: &'t [u8],
    pub(super) model_name: &'t [u8],
    pub(super) microcode: &'t [u8],
    pub(super) stepping: &'t [u8],
    pub(super) cache_size: &'t [u8],
    pub(super) megahertz: Option<&'t [u8]>,
    pub(super) flags: &'t [u8],
    pub(super) bugs: &'t [u8],
}

/// Calls `each` with every block of lines such as `model name\t: AMD EPYC`, the first of which is
/// `processor\t: 0`.
pub(super) fn for_each_processor<'t>(text: &'t [u8], mut each: impl FnMut(Processor<'t>)) {
    let mut current: Option<Processor<'t>> = None;
    for line in lines(text) {
        let Some((key, value)) = text::split_once(line, b':') else { continue };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        let key = text::trim(key);
        if key == b"processor" {
            let next = Processor { number: text::trim(value), ..Processor::default() };
            current.replace(next).map(&mut each);
            continue;
        }
        let Some(current) = &mut current else { continue };
        match key {
            b"physical id" => current.package = value,
            b"core id" => current.core = value,
            b"vendor_id" | b"vendor" => current.vendor = value,
            b"cpu family" => current.family = value,
            b"model" => current.model = value,
            b"model name" => current.model_name = value,
            b"microcode" => current.microcode = value,
            b"stepping" => current.stepping = value,
            b"cache size" => current.cache_size = value,
            b"cpu MHz" => current.megahertz = Some(value),
            b"flags" | b"Features" => current.flags = value,
            b"bugs" => current.bugs = value,
            _ => {}
        }
    }
    current.map(each);
}
