//! The page of a collection, in Prometheus' text format or in OpenMetrics.
//!
//! What makes a page is kept in two layers. A rendering belongs to one shape: its families by
//! name, their HELP and TYPE lines, and every sample's line up to the value. A layout belongs to
//! one list of shapes: where each family stands among those of the other batches. When a collector
//! produces a new shape, only its rendering and the layout are made anew; a page of known shapes
//! is copied together and allocates nothing.

use super::Format;
use super::layout::{Header, Layout, Rows};
use super::rendering::{Rendering, write_prefix, write_usual_header};
use std::sync::Arc;
use vitald_core::batch::{Batch, Dropped};
use vitald_core::number::{write_number, write_openmetrics_number};

/// How many bytes of renderings an encoder keeps unless told otherwise.
pub const DEFAULT_KEPT_BYTES: usize = 32 << 20;

/// Beyond this, places in a rendering might not fit their 32 bits once everything is escaped.
const MAX_KEPT_BYTES: usize = 512 << 20;

/// Layouts that are kept: one for each filter that scrapers use at the same time.
const MAX_LAYOUTS: usize = 8;

/// Writes pages in one format, and keeps what they have in common.
///
/// ```
/// use vitald::encode::{Encoder, Format};
/// use vitald_core::prelude::*;
///
/// families! {
///     /// Bytes read.
///     READ: counter = "node_disk_read_bytes_total" [device];
/// }
///
/// let mut batch = Batch::new(FAMILIES);
/// batch.begin(None, 0);
/// batch.row(&READ, [b"sda"], 512);
/// batch.seal();
///
/// let mut page = Vec::new();
/// Encoder::new(Format::OpenMetrics).encode([&batch], &mut page);
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
    /// Memory for the list of a page's batches; always empty between pages.
    pub(super) batches: Vec<&'static Batch>,
}

impl Encoder {
    /// An encoder that keeps at most [`DEFAULT_KEPT_BYTES`].
    pub fn new(format: Format) -> Self {
        Encoder::with_limit(format, DEFAULT_KEPT_BYTES)
    }

    /// An encoder that keeps at most `limit` bytes of headers and prefixes.
    ///
    /// Shapes beyond it are rendered on each page; the order of their samples is kept all the same.
    pub fn with_limit(format: Format, limit: usize) -> Self {
        Encoder {
            format,
            limit: limit.min(MAX_KEPT_BYTES),
            renderings: Vec::new(),
            layouts: Vec::new(),
            batches: Vec::new(),
        }
    }

    /// The format it writes.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Appends the page of these sealed batches to `page`.
    ///
    /// A family that several batches have is one family of the page, with the help and type of the
    /// earliest batch. Samples of a later batch are left out when their family has another type
    /// there, when an earlier batch has a sample of the same name and labels (or a histogram or
    /// summary of the same labels), and when their family's name is that of an earlier histogram's
    /// or summary's samples.
    pub fn encode<'a>(&mut self, batches: impl IntoIterator<Item = &'a Batch>, page: &mut Vec<u8>) {
        let mut list = with_new_lifetime(std::mem::take(&mut self.batches));
        list.extend(batches);
        self.forget_unused();
        self.find_layout(&list);
        if let Some(layout) = self.layouts.first() {
            page.reserve(layout.page_size);
            match self.format {
                Format::Text => write_page(layout, &list, self.format, write_number, page),
                Format::OpenMetrics => {
                    write_page(layout, &list, self.format, write_openmetrics_number, page);
                    page.extend_from_slice(b"# EOF\n");
                }
            }
        }
        self.batches = with_new_lifetime(list);
    }

    /// What was left out of each batch of the last page because of the others, in the order in
    /// which they were given; what a batch left out itself is not in it.
    pub fn dropped(&self) -> &[Dropped] {
        self.layouts.first().map_or(&[], |layout| &layout.dropped)
    }

    /// How many bytes of headers, prefixes and orders are kept.
    pub fn kept_bytes(&self) -> usize {
        self.renderings.iter().filter(|rendering| rendering.kept).map(|r| r.size).sum()
    }

    /// Drops what belongs to shapes that no batch has any more.
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
            layout.parts.iter().all(|part| renderings.iter().any(|known| Arc::ptr_eq(known, part)))
        });
    }

    /// Makes the layout of these batches the first, finding or making it.
    fn find_layout(&mut self, batches: &[&Batch]) {
        let known = self.layouts.iter().position(|layout| layout.is_of(batches));
        if let Some(at) = known {
            return self.layouts[..=at].rotate_right(1);
        }
        let parts = batches.iter().map(|batch| self.rendering(batch)).collect();
        let layout = Layout::new(parts, batches, self.format);
        self.layouts.truncate(MAX_LAYOUTS - 1);
        self.layouts.insert(0, layout);
    }

    fn rendering(&mut self, batch: &Batch) -> Arc<Rendering> {
        let shape = batch.shape();
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

/// Empties a list and keeps its memory for batches of another lifetime.
///
/// The standard library collects a vector's own elements in place, so nothing is allocated.
fn with_new_lifetime<'b>(mut list: Vec<&Batch>) -> Vec<&'b Batch> {
    list.clear();
    list.into_iter().map(|_| -> &'b Batch { unreachable!("the list is empty") }).collect()
}

fn write_page(
    layout: &Layout,
    batches: &[&Batch],
    format: Format,
    write_value: impl Fn(&mut Vec<u8>, f64),
    page: &mut Vec<u8>,
) {
    let mut rows = Rows::new(batches);
    for step in &layout.steps {
        let rendering = &*layout.parts[step.part as usize];
        let values = batches[step.part as usize].values();
        if values.len() < rendering.values {
            // A batch that was not sealed must not cost the page.
            continue;
        }
        match &step.header {
            Header::Kept | Header::None => {}
            Header::Own(at) => {
                page.extend_from_slice(&layout.bytes[at.start as usize..at.end as usize]);
            }
            Header::Fresh(position) => {
                write_usual_header(page, rows.at(step.part, *position), format);
            }
        }
        let entries = &rendering.entries[step.entries.start as usize..step.entries.end as usize];
        if rendering.kept {
            let mut start = step.start as usize;
            for entry in entries {
                page.extend_from_slice(&rendering.bytes[start..entry.end as usize]);
                write_value(page, values[entry.position as usize]);
                start = entry.end as usize;
            }
            page.push(b'\n');
        } else {
            for entry in entries {
                write_prefix(page, rows.at(step.part, entry.position), format);
                write_value(page, values[entry.position as usize]);
                page.push(b'\n');
            }
        }
    }
}
