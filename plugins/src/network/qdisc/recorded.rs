//! An answer that was recorded, in the form of node_exporter's.

use serde::Deserialize;
use vitald_core::host::QueueingDiscipline;
use vitald_core::prelude::*;

pub(super) struct Recorded {
    host: Host,
    path: String,
    buffer: Vec<u8>,
    /// What the entries were parsed from.
    text: Vec<u8>,
    entries: Vec<Entry>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Entry {
    iface_name: String,
    parent: u32,
    kind: String,
    bytes: u64,
    packets: u32,
    drops: u32,
    requeues: u32,
    overlimits: u32,
    qlen: u32,
    backlog: u32,
}

impl Recorded {
    pub(super) fn new(host: &Host, directory: &str) -> Self {
        let directory = directory.trim_end_matches('/');
        Recorded {
            host: host.clone(),
            path: format!("file:{directory}/results.json"),
            buffer: Vec::new(),
            text: Vec::new(),
            entries: Vec::new(),
        }
    }

    /// Each discipline and the name of its interface.
    pub(super) fn read(&mut self) -> Result<impl Iterator<Item = (&[u8], QueueingDiscipline<'_>)>> {
        let text = self.host.read(&self.path, &mut self.buffer)?;
        if self.text.is_empty() || *text != *self.text {
            self.text.clear();
            self.entries = parse(text).map_err(|wrong| wrong.in_file(&self.path))?;
            self.text.extend_from_slice(text);
        }
        Ok(self.entries.iter().map(|of| {
            let discipline = QueueingDiscipline {
                interface: 0,
                parent: of.parent,
                kind: of.kind.as_bytes(),
                bytes: of.bytes,
                packets: of.packets,
                queue_length: of.qlen,
                backlog: of.backlog,
                drops: of.drops,
                requeues: of.requeues,
                overlimits: of.overlimits,
            };
            (of.iface_name.as_bytes(), discipline)
        }))
    }
}

/// Takes `[{"IfaceName": "eth0", "Kind": "fq", "Bytes": 42}]`.
fn parse(text: &[u8]) -> Result<Vec<Entry>, Malformed> {
    serde_json::from_slice(text).map_err(|error| {
        let lines = text.split_inclusive(|byte| *byte == b'\n');
        let before: usize = lines.take(error.line().saturating_sub(1)).map(<[u8]>::len).sum();
        Malformed::new(before + error.column().saturating_sub(1), "a list of queueing disciplines")
    })
}
