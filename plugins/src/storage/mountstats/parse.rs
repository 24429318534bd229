//! The lines of `/proc/self/mountstats`.

use vitald_core::prelude::*;

/// Times begin anew here in node_exporter: up to this number each has an f64 of its own. Kernels give times
/// that are just below 0 as numbers of 64 bits.
pub(super) const TIME_END: u64 = 1 << 53;

/// Whether the line is the first one of a mount.
pub(super) fn is_head(line: &[u8]) -> bool {
    line.starts_with(b"device ") || line.starts_with(b"no device ")
}

#[derive(Debug, PartialEq)]
pub(super) struct Mount<'t> {
    pub(super) export: &'t [u8],
    pub(super) point: &'t [u8],
}

/// Takes `device nas:/e mounted on /mnt with fstype nfs4 statvers=1.1`, whose names have no blanks; other
/// file systems give nothing.
pub(super) fn parse_head(line: &[u8]) -> Result<Option<Mount<'_>>, Malformed> {
    let mut fields = Fields::new(line);
    let is_named = fields.text()? == b"device";
    // A file system without a device, or one whose name is empty, is not by NFS.
    let words: [&[u8]; 7] = std::array::from_fn(|_| fields.next().unwrap_or_default());
    let [export, b"mounted", b"on", point, b"with", b"fstype", kind] = words else {
        return if is_named && line.ends_with(b" statvers=1.1") {
            Err(Malformed::new(fields.offset(), "a mount"))
        } else {
            Ok(None)
        };
    };
    let has_statistics = fields.next().is_some_and(|version| version.starts_with(b"statvers="));
    let is_nfs = is_named && has_statistics && matches!(kind, b"nfs" | b"nfs4");
    Ok(is_nfs.then_some(Mount { export, point }))
}

/// The protocol of a mount's first connection; without one nothing is known of it.
pub(super) fn protocol(body: &[u8]) -> Option<&[u8]> {
    let transport = |line| Fields::new(line).next() == Some(b"xprt:");
    lines(body).find(|line| transport(line)).and_then(|line| Fields::new(line).nth(1))
}

/// Takes numbers, of which the last may be missing and are 0.
pub(super) fn numbers<const N: usize>(
    mut fields: Fields<'_>,
    fewest: usize,
) -> Result<[u64; N], Malformed> {
    let mut numbers = [0; N];
    for (index, number) in numbers.iter_mut().enumerate() {
        if index >= fewest && fields.rest().is_empty() {
            break;
        }
        *number = fields.u64()?;
    }
    Ok(numbers)
}

/// Takes what follows `xprt:`, such as `tcp 832 0 1 0 11 6428 6428 0 12154 0 24 26 5726`, in the order of
/// the table of their families.
///
/// Without connections (UDP) nothing is said of them. The last three came with Linux 3.4; instead of them RDMA
/// has figures of its own.
pub(super) fn parse_transport(mut fields: Fields<'_>) -> Result<[u64; 10], Malformed> {
    let protocol = fields.text()?;
    let _port = fields.u64()?;
    let binds = fields.u64()?;
    let (connects, idle) = match protocol {
        b"udp" => (0, 0),
        _ => (fields.u64()?, fields.pass(1).u64()? % TIME_END),
    };
    let [sends, receives, bad, _active, backlog, slots, sending, pending] = numbers(fields, 5)?;
    let [slots, sending, pending] = match protocol {
        b"rdma" => [0; 3],
        _ => [slots, sending, pending],
    };
    Ok([binds, connects, idle, sends, receives, bad, backlog, slots, sending, pending])
}
