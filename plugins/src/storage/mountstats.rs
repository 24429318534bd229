//! What each NFS mount asked its server, from `/proc/self/mountstats` (`nfs_show_stats` in fs/nfs/super.c,
//! include/linux/nfs_iostat.h, net/sunrpc/stats.c), with addresses from `/proc/self/mountinfo`.
//!
//! Mounts of one export by one protocol share their figures, so that the first one's are shown.

mod addresses;
mod parse;

use addresses::Addresses;
use parse::{TIME_END, is_head, numbers, parse_head, parse_transport, protocol};
use std::collections::HashSet;
use vitald_core::family::Family;
use vitald_core::identity::{SeriesId, SeriesIdHasher};
use vitald_core::prelude::*;

families! {
    /// How long the export has been mounted.
    AGE: counter = "node_mountstats_nfs_age_seconds_total" [export, protocol, mountaddr];
    /// Where the export is mounted, always 1.
    MOUNT_POINT: gauge = "node_mountstats_nfs_mountpoint_info" [export, protocol, mountaddr, mountpoint];
    /// Bytes that programs read by read(2).
    READ: counter = "node_mountstats_nfs_read_bytes_total" [export, protocol, mountaddr];
    /// Bytes that programs wrote by write(2).
    WRITTEN: counter = "node_mountstats_nfs_write_bytes_total" [export, protocol, mountaddr];
    /// Bytes that programs read by read(2) past the cache (O_DIRECT).
    DIRECT_READ: counter = "node_mountstats_nfs_direct_read_bytes_total" [export, protocol, mountaddr];
    /// Bytes that programs wrote by write(2) past the cache (O_DIRECT).
    DIRECT_WRITTEN: counter = "node_mountstats_nfs_direct_write_bytes_total" [export, protocol, mountaddr];
    /// Bytes read from the server.
    SERVER_READ: counter = "node_mountstats_nfs_total_read_bytes_total" [export, protocol, mountaddr];
    /// Bytes written to the server.
    SERVER_WRITTEN: counter = "node_mountstats_nfs_total_write_bytes_total" [export, protocol, mountaddr];
    /// Pages read for files in memory and for reading ahead.
    PAGES_READ: counter = "node_mountstats_nfs_read_pages_total" [export, protocol, mountaddr];
    /// Pages written from memory.
    PAGES_WRITTEN: counter = "node_mountstats_nfs_write_pages_total" [export, protocol, mountaddr];
    /// Calls of an operation.
    REQUESTS: counter = "node_mountstats_nfs_operations_requests_total" [export, protocol, mountaddr, operation];
    /// How often calls of an operation were sent, also again.
    TRANSMISSIONS: counter = "node_mountstats_nfs_operations_transmissions_total" [export, protocol, mountaddr, operation];
    /// How often the server did not answer a call of an operation in time.
    TIMEOUTS: counter = "node_mountstats_nfs_operations_major_timeouts_total" [export, protocol, mountaddr, operation];
    /// Bytes sent for an operation, with all headers.
    SENT: counter = "node_mountstats_nfs_operations_sent_bytes_total" [export, protocol, mountaddr, operation];
    /// Bytes received for an operation, with all headers.
    RECEIVED: counter = "node_mountstats_nfs_operations_received_bytes_total" [export, protocol, mountaddr, operation];
    /// How long calls of an operation waited before they were sent.
    QUEUE_TIME: counter = "node_mountstats_nfs_operations_queue_time_seconds_total" [export, protocol, mountaddr, operation];
    /// How long calls of an operation waited for the server's answer.
    RESPONSE_TIME: counter = "node_mountstats_nfs_operations_response_time_seconds_total" [export, protocol, mountaddr, operation];
    /// How long calls of an operation took in all.
    REQUEST_TIME: counter = "node_mountstats_nfs_operations_request_time_seconds_total" [export, protocol, mountaddr, operation];
    /// How often the port of the server was asked for.
    BINDS: counter = "node_mountstats_nfs_transport_bind_total" [export, protocol, mountaddr, transport];
    /// Connections made to the server.
    CONNECTS: counter = "node_mountstats_nfs_transport_connect_total" [export, protocol, mountaddr, transport];
    /// How long the connection has not been used.
    IDLE_TIME: gauge = "node_mountstats_nfs_transport_idle_time_seconds" [export, protocol, mountaddr, transport];
    /// Calls sent to the server.
    SENDS: counter = "node_mountstats_nfs_transport_sends_total" [export, protocol, mountaddr, transport];
    /// Answers received from the server.
    RECEIVES: counter = "node_mountstats_nfs_transport_receives_total" [export, protocol, mountaddr, transport];
    /// Answers to calls that were not known.
    BAD_ANSWERS: counter = "node_mountstats_nfs_transport_bad_transaction_ids_total" [export, protocol, mountaddr, transport];
    /// The calls that waited for a slot, added up at each call.
    BACKLOG: counter = "node_mountstats_nfs_transport_backlog_queue_total" [export, protocol, mountaddr, transport];
    /// The most slots that were in use at a time.
    SLOTS: gauge = "node_mountstats_nfs_transport_maximum_rpc_slots" [export, protocol, mountaddr, transport];
    /// The calls that waited to be sent, added up at each call.
    SENDING: counter = "node_mountstats_nfs_transport_sending_queue_total" [export, protocol, mountaddr, transport];
    /// The calls that waited for an answer, added up at each call.
    PENDING: counter = "node_mountstats_nfs_transport_pending_queue_total" [export, protocol, mountaddr, transport];
    /// How often attributes in the cache were checked.
    INODE_CHECKS: counter = "node_mountstats_nfs_event_inode_revalidate_total" [export, protocol, mountaddr];
    /// How often names in the cache were checked.
    NAME_CHECKS: counter = "node_mountstats_nfs_event_dnode_revalidate_total" [export, protocol, mountaddr];
    /// How often a file's data was dropped from the cache.
    DATA_DROPS: counter = "node_mountstats_nfs_event_data_invalidate_total" [export, protocol, mountaddr];
    /// How often a file's attributes in the cache were found to be old.
    ATTRIBUTE_DROPS: counter = "node_mountstats_nfs_event_attribute_invalidate_total" [export, protocol, mountaddr];
    /// Files and directories that were opened.
    OPENS: counter = "node_mountstats_nfs_event_vfs_open_total" [export, protocol, mountaddr];
    /// Names that were looked up.
    LOOKUPS: counter = "node_mountstats_nfs_event_vfs_lookup_total" [export, protocol, mountaddr];
    /// How often permissions were checked.
    ACCESSES: counter = "node_mountstats_nfs_event_vfs_access_total" [export, protocol, mountaddr];
    /// Changes to a page of a file.
    PAGE_UPDATES: counter = "node_mountstats_nfs_event_vfs_update_page_total" [export, protocol, mountaddr];
    /// How often one page was asked for.
    PAGE_READS: counter = "node_mountstats_nfs_event_vfs_read_page_total" [export, protocol, mountaddr];
    /// How often several pages were asked for.
    PAGES_READS: counter = "node_mountstats_nfs_event_vfs_read_pages_total" [export, protocol, mountaddr];
    /// How often one page was to be written.
    PAGE_WRITES: counter = "node_mountstats_nfs_event_vfs_write_page_total" [export, protocol, mountaddr];
    /// How often several pages were to be written.
    PAGES_WRITES: counter = "node_mountstats_nfs_event_vfs_write_pages_total" [export, protocol, mountaddr];
    /// Listings of directories.
    LISTINGS: counter = "node_mountstats_nfs_event_vfs_getdents_total" [export, protocol, mountaddr];
    /// How often attributes were set.
    ATTRIBUTE_CHANGES: counter = "node_mountstats_nfs_event_vfs_setattr_total" [export, protocol, mountaddr];
    /// How often what was written to a file was sent because it was closed.
    FLUSHES: counter = "node_mountstats_nfs_event_vfs_flush_total" [export, protocol, mountaddr];
    /// Calls of fsync(2).
    SYNCS: counter = "node_mountstats_nfs_event_vfs_fsync_total" [export, protocol, mountaddr];
    /// How often a file was to be locked or unlocked.
    LOCKS: counter = "node_mountstats_nfs_event_vfs_lock_total" [export, protocol, mountaddr];
    /// Files that were closed.
    RELEASES: counter = "node_mountstats_nfs_event_vfs_file_release_total" [export, protocol, mountaddr];
    /// Files that were cut.
    TRUNCATIONS: counter = "node_mountstats_nfs_event_truncation_total" [export, protocol, mountaddr];
    /// Files that grew by writing.
    EXTENSIONS: counter = "node_mountstats_nfs_event_write_extension_total" [export, protocol, mountaddr];
    /// Files in use that were renamed because they were removed.
    SILLY_RENAMES: counter = "node_mountstats_nfs_event_silly_rename_total" [export, protocol, mountaddr];
    /// How often the server gave less data than was asked for.
    SHORT_READS: counter = "node_mountstats_nfs_event_short_read_total" [export, protocol, mountaddr];
    /// How often the server took less data than was sent.
    SHORT_WRITES: counter = "node_mountstats_nfs_event_short_write_total" [export, protocol, mountaddr];
    /// How often the server wanted to be asked later.
    DELAYS: counter = "node_mountstats_nfs_event_jukebox_delay_total" [export, protocol, mountaddr];
    /// Reads past the server (pNFS).
    PARALLEL_READS: counter = "node_mountstats_nfs_event_pnfs_read_total" [export, protocol, mountaddr];
    /// Writes past the server (pNFS).
    PARALLEL_WRITES: counter = "node_mountstats_nfs_event_pnfs_write_total" [export, protocol, mountaddr];
}

/// What the numbers of `bytes:` are.
#[rustfmt::skip]
const BYTES: [&Family<3>; 8] = [
    &READ, &WRITTEN, &DIRECT_READ, &DIRECT_WRITTEN, &SERVER_READ, &SERVER_WRITTEN, &PAGES_READ, &PAGES_WRITTEN,
];

/// What the numbers of `events:` are. One of them nothing counts any more.
#[rustfmt::skip]
const EVENTS: [Option<&Family<3>>; 27] = [
    Some(&INODE_CHECKS), Some(&NAME_CHECKS), Some(&DATA_DROPS), Some(&ATTRIBUTE_DROPS), Some(&OPENS),
    Some(&LOOKUPS), Some(&ACCESSES), Some(&PAGE_UPDATES), Some(&PAGE_READS), Some(&PAGES_READS),
    Some(&PAGE_WRITES), Some(&PAGES_WRITES), Some(&LISTINGS), Some(&ATTRIBUTE_CHANGES), Some(&FLUSHES),
    Some(&SYNCS), Some(&LOCKS), Some(&RELEASES), None, Some(&TRUNCATIONS), Some(&EXTENSIONS),
    Some(&SILLY_RENAMES), Some(&SHORT_READS), Some(&SHORT_WRITES), Some(&DELAYS), Some(&PARALLEL_READS),
    Some(&PARALLEL_WRITES),
];

/// The events of kernels without pNFS.
const FEWEST_EVENTS: usize = 25;

/// What [`parse_transport`] gives, in its order.
#[rustfmt::skip]
const TRANSPORT: [&Family<4>; 10] = [
    &BINDS, &CONNECTS, &IDLE_TIME, &SENDS, &RECEIVES, &BAD_ANSWERS, &BACKLOG, &SLOTS, &SENDING, &PENDING,
];

/// What the numbers of an operation are; the last ones are times in milliseconds.
#[rustfmt::skip]
const OPERATION: [&Family<4>; 8] = [
    &REQUESTS, &TRANSMISSIONS, &TIMEOUTS, &SENT, &RECEIVED, &QUEUE_TIME, &RESPONSE_TIME, &REQUEST_TIME,
];
const FIRST_TIME: usize = 5;

register_collector!(Mountstats);

struct Mountstats {
    statistics: KeptFile,
    mounts: KeptFile,
    addresses: Addresses,
    /// What has been shown in this collection.
    seen: HashSet<SeriesId, SeriesIdHasher>,
}

impl Collector for Mountstats {
    about! {
        name: "mountstats",
        summary: "What each NFS mount asked its server",
        families: FAMILIES,
        sources: ["proc/self/mountstats", "proc/self/mountinfo"],
    }
    const ENABLED: bool = false;
    const SINCE: Since = Since::Source;

    fn open((): (), host: &Host) -> Result<Self> {
        Ok(Mountstats {
            statistics: host.keep_mounts("proc/self/mountstats"),
            mounts: host.keep_mounts("proc/self/mountinfo"),
            addresses: Addresses::default(),
            seen: HashSet::default(),
        })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        let text = self.statistics.read()?;
        self.addresses.refresh(self.mounts.read()?);
        self.seen.clear();
        for (index, section) in text::sections(text, is_head).enumerate() {
            let offset = section.offset.saturating_sub(section.head.len() + 1);
            let mount = parse_head(section.head).map_err(|malformed| malformed.moved_by(offset));
            let Some(Some(mount)) = batch.tolerate(mount) else { continue };
            let Some(protocol) = protocol(section.body) else { continue };
            let address = self.addresses.of(index, mount.point);
            let labels = [mount.export, protocol, address];
            if self.seen.insert(identity(&labels, Some(mount.point))) {
                batch.row(&MOUNT_POINT, [mount.export, protocol, address, mount.point], 1u64);
            }
            if self.seen.insert(identity(&labels, None)) {
                push(section.body, section.offset, labels, batch);
            }
        }
        Ok(())
    }
}

fn identity(labels: &[&[u8]; 3], point: Option<&[u8]>) -> SeriesId {
    let [export, protocol, address] = *labels;
    let labels: [(&[u8], &[u8]); 4] = [
        (b"export", export),
        (b"protocol", protocol),
        (b"mountaddr", address),
        (b"mountpoint", point.unwrap_or_default()),
    ];
    SeriesId::of(&[], labels)
}

/// Pushes the figures of a mount.
fn push(body: &[u8], offset: usize, labels: [&[u8]; 3], batch: &mut Batch) {
    let [export, protocol, address] = labels;
    let labels = batch.labels(labels);
    let (mut age, mut bytes, mut events) = (Ok(0), Ok([0; 8]), Ok([0; 27]));
    let mut transports = 0;
    let mut is_operation = false;
    let mut rest = lines(body);
    while let Some(line) = rest.next() {
        let mut fields = Fields::new(line);
        let Some(word) = fields.next() else { continue };
        let moved = |malformed: Malformed| malformed.moved_by(offset + rest.offset());
        match word {
            _ if is_operation => {
                if let Some(numbers) = batch.tolerate(numbers(fields, 8).map_err(moved)) {
                    let operation = word.strip_suffix(b":").unwrap_or(word);
                    push_operation([export, protocol, address, operation], numbers, batch);
                }
            }
            b"age:" => age = fields.u64().map_err(moved),
            b"bytes:" => bytes = numbers(fields, 8).map_err(moved),
            b"events:" => events = numbers(fields, FEWEST_EVENTS).map_err(moved),
            b"xprt:" => {
                if let Some(numbers) = batch.tolerate(parse_transport(fields).map_err(moved)) {
                    let mut room = [0; 20];
                    let transport = text::decimal(transports, &mut room);
                    let labels = batch.labels([export, protocol, address, transport]);
                    for (family, number) in TRANSPORT.iter().zip(numbers) {
                        batch.push(family, labels, number);
                    }
                }
                transports += 1;
            }
            b"per-op" => is_operation = true,
            _ => {}
        }
    }
    if let Some(age) = batch.tolerate(age) {
        batch.push(&AGE, labels, age);
    }
    if let Some(bytes) = batch.tolerate(bytes) {
        BYTES.iter().zip(bytes).for_each(|(family, bytes)| batch.push(family, labels, bytes));
    }
    if let Some(events) = batch.tolerate(events) {
        for (family, count) in EVENTS.iter().zip(events) {
            family.iter().for_each(|family| batch.push(family, labels, count));
        }
    }
}

fn push_operation(labels: [&[u8]; 4], numbers: [u64; 8], batch: &mut Batch) {
    let labels = batch.labels(labels);
    for (index, (family, number)) in OPERATION.iter().zip(numbers).enumerate() {
        match index {
            0..FIRST_TIME => batch.push(family, labels, number),
            _ => batch.push(family, labels, (number % TIME_END) as f64 / 1000.0),
        }
    }
}

#[cfg(test)]
mod tests;
