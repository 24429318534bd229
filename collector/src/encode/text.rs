//! The page of a collection, in Prometheus' text format or in OpenMetrics.
//!
//! What makes a page is kept in two layers. A rendering belongs to one shape: its families by
//! name, their HELP and TYPE lines, and the labels of every row as a line has them. A layout belongs to
//! one order of snapshots: where each family is among those of the other parts. When a collector
//! produces a new shape, only its rendering and the layout are made anew; a page of known shapes
//! is copied together and allocates nothing. One that is written over the last page of the same
//! order is not even copied: only the numbers that have changed are written.

use super::Format;
use super::layout::{Header, Layout};
use super::page::{PageBuffer, Pieces, Target, WriteValue};
use super::rendering::{Rendering, write_text, write_usual_header};
use std::sync::Arc;
use vitald_core::number::{write_number, write_openmetrics_number};
use vitald_core::run::Run;
use vitald_core::shape::Shape;
use vitald_core::snapshot::Snapshot;

/// How many bytes of renderings an encoder keeps unless it is made with another limit.
pub const DEFAULT_KEPT_BYTES: usize = 32 << 20;

/// Beyond this, places in a rendering might not fit their 32 bits once everything is escaped.
const MAX_KEPT_BYTES: usize = 512 << 20;

/// Layouts that are kept: one for each filter that scrapers use at the same time.
const MAX_LAYOUTS: usize = 8;

/// Writes pages in one format, and keeps what they have in common.
///
/// ```
/// use std::sync::Arc;
/// use vitald::encode::{Encoder, Format};
/// use vitald_core::prelude::*;
/// use vitald_core::run::Run;
///
/// families! {
///     /// Bytes read.
///     READ: counter = "node_disk_read_bytes_total" [device];
/// }
///
/// let mut run = Run::new(FAMILIES);
/// run.begin(None, 0);
/// run.batch().row(&READ, [b"sda"], 512);
/// run.seal();
/// let snapshot = vitald_core::testing::snapshot([&Arc::new(run)]);
///
/// let mut page = Vec::new();
/// Encoder::new(Format::OpenMetrics).encode(&snapshot, &mut page);
/// let lines: Vec<&str> = std::str::from_utf8(&page).unwrap().lines().collect();
/// assert_eq!(
///     lines,
///     [
///         "# HELP node_disk_read_bytes Bytes read.",
///         "# TYPE node_disk_read_bytes counter",
///         "node_disk_read_bytes_total{device=\"sda\"} 512.0",
///         "# EOF",
///     ]
/// );
/// ```
pub struct Encoder {
    format: Format,
    limit: usize,
    pub(super) renderings: Vec<Arc<Rendering>>,
    /// The one used last comes first.
    pub(super) layouts: Vec<Layout>,
    /// A line that is not kept.
    line: Vec<u8>,
}

/// What a page is made of.
struct Sources<'a> {
    layout: &'a Layout,
    snapshot: &'a Snapshot,
    format: Format,
    line: &'a mut Vec<u8>,
}

impl Encoder {
    /// An encoder that keeps at most [`DEFAULT_KEPT_BYTES`].
    pub fn new(format: Format) -> Self {
        Encoder::with_limit(format, DEFAULT_KEPT_BYTES)
    }

    /// An encoder that keeps at most `limit` bytes of headers and labels.
    ///
    /// Shapes beyond it are rendered on each page; the order of their samples is kept all the same.
    pub fn with_limit(format: Format, limit: usize) -> Self {
        Encoder {
            format,
            limit: limit.min(MAX_KEPT_BYTES),
            renderings: Vec::new(),
            layouts: Vec::new(),
            line: Vec::new(),
        }
    }

    /// The format it writes.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Appends the page of a snapshot to `page`.
    ///
    /// A family that several parts have is one family of the page, with the help of the earliest
    /// part.
    pub fn encode(&mut self, snapshot: &Snapshot, page: &mut Vec<u8>) {
        let mut buffer = PageBuffer::default();
        self.write(snapshot, &mut buffer);
        page.extend_from_slice(buffer.as_ref());
    }

    /// As [`Encoder::encode`], in the place of the page before.
    pub fn write(&mut self, snapshot: &Snapshot, page: &mut PageBuffer) {
        self.forget_unused();
        self.find_layout(snapshot);
        let Encoder { format, layouts, line, .. } = self;
        let Some(layout) = layouts.first() else { return };
        let text_of = layout.is_whole(snapshot).then_some((snapshot.order(), *format));
        let write_value: WriteValue = match format {
            Format::Text => write_number,
            Format::OpenMetrics => write_openmetrics_number,
        };
        let sources = Sources { layout, snapshot, format: *format, line };
        page.write(text_of, (layout.page_size, layout.samples), write_value, sources);
    }

    /// How many bytes of headers, labels and orders are kept.
    pub fn kept_bytes(&self) -> usize {
        self.renderings.iter().filter(|rendering| rendering.kept).map(|r| r.size).sum()
    }

    /// Drops what belongs to shapes that no run has any more.
    fn forget_unused(&mut self) {
        if !self.renderings.iter().any(|rendering| rendering.is_out_of_use()) {
            return;
        }
        self.renderings.retain(|rendering| !rendering.is_out_of_use());
        // What there is room for now is rendered anew when it comes next.
        let room = self.limit.saturating_sub(self.kept_bytes());
        self.renderings.retain(|rendering| rendering.kept || rendering.size > room);
        let renderings = &self.renderings;
        self.layouts.retain(|layout| {
            let is_known = |part| renderings.iter().any(|known| Arc::ptr_eq(known, part));
            layout.parts.iter().flatten().all(is_known)
        });
    }

    /// Makes the layout of this snapshot the first, finding or making it.
    fn find_layout(&mut self, snapshot: &Snapshot) {
        let known = self.layouts.iter().position(|layout| layout.is_of(snapshot));
        if let Some(at) = known {
            return self.layouts[..=at].rotate_right(1);
        }
        let shapes = snapshot.parts().iter().map(|part| part.run.as_deref().map(Run::shape));
        let parts = shapes.map(|shape| shape.map(|shape| self.rendering(shape))).collect();
        let layout = Layout::new(snapshot, parts, self.format);
        self.layouts.truncate(MAX_LAYOUTS - 1);
        self.layouts.insert(0, layout);
    }

    fn rendering(&mut self, shape: &Arc<Shape>) -> Arc<Rendering> {
        let known = self.renderings.iter().find(|rendering| rendering.id() == shape.id());
        if let Some(known) = known {
            return Arc::clone(known);
        }
        let room = self.limit.saturating_sub(self.kept_bytes());
        let rendering = Arc::new(Rendering::new(shape, self.format, room));
        self.renderings.push(Arc::clone(&rendering));
        rendering
    }
}

impl Pieces for Sources<'_> {
    fn give(self, target: &mut impl Target) {
        let Sources { layout, snapshot, format, line } = self;
        for step in &layout.steps {
            let part = step.part as usize;
            let run = snapshot.parts().get(part).and_then(|part| part.run.as_deref());
            let rendering = layout.parts.get(part).and_then(Option::as_deref);
            let (Some(run), Some(rendering)) = (run, rendering) else { continue };
            let (shape, values) = (run.shape(), run.values());
            if values.len() < rendering.values {
                // A run that was not sealed must not cost the page.
                continue;
            }
            match &step.header {
                Header::None => {}
                Header::Kept(at) => {
                    target.text(&rendering.bytes[at.start as usize..at.end as usize]);
                }
                Header::Own(at) => {
                    target.text(&layout.bytes[at.start as usize..at.end as usize]);
                }
                Header::Fresh(position) => {
                    if let Some(series) = shape.get(*position as usize) {
                        line.clear();
                        write_usual_header(line, series, format);
                        target.text(line);
                    }
                }
            }
            let name = &rendering.bytes[step.name.start as usize..step.name.end as usize];
            let entries =
                &rendering.entries[step.entries.start as usize..step.entries.end as usize];
            if rendering.kept {
                target.kept(name, rendering, entries, values);
            } else {
                for entry in entries {
                    let Some(series) = shape.get(entry.position as usize) else { continue };
                    line.clear();
                    line.extend_from_slice(name);
                    write_text(line, series, format);
                    target.text(line);
                    target.value(values[entry.position as usize]);
                    target.text(b"\n");
                }
            }
        }
        if format == Format::OpenMetrics {
            target.text(b"# EOF\n");
        }
    }
}
