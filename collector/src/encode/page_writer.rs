//! The way from a collection to a page: sealed, encoded, and compressed if that is asked for.

use super::{Encoder, Format, Gzip, PageBuffer};
use std::sync::Arc;
use vitald_core::sealer::{OwnFamilies, Sealer};
use vitald_core::snapshot::Collection;

/// Writes pages one after another, and keeps what they have in common.
pub struct PageWriter {
    sealer: Sealer,
    text: Encoder,
    openmetrics: Encoder,
    /// Once a compressed page has been asked for: it is large.
    gzip: Option<Gzip>,
    /// The page before it is compressed.
    plain: PageBuffer,
}

/// A page that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Whether something was left out that cannot be shown: samples that two collectors gave, or one gave
    /// twice or with two types.
    pub has_conflicts: bool,
}

impl PageWriter {
    /// A writer whose pages have the daemon's own samples.
    pub fn new(own: Option<Arc<dyn OwnFamilies>>) -> Self {
        PageWriter {
            sealer: Sealer::new(own),
            text: Encoder::new(Format::Text),
            openmetrics: Encoder::new(Format::OpenMetrics),
            gzip: None,
            plain: PageBuffer::default(),
        }
    }

    /// Writes the page of a collection in the place of the one before. The collection is empty
    /// afterwards.
    ///
    /// In the steady state it allocates nothing.
    pub fn write(
        &mut self,
        collection: &mut Collection,
        format: Format,
        compressed: bool,
        page: &mut PageBuffer,
    ) -> Written {
        let snapshot = self.sealer.seal(collection);
        let encoder = match format {
            Format::Text => &mut self.text,
            Format::OpenMetrics => &mut self.openmetrics,
        };
        let plain = if compressed { &mut self.plain } else { &mut *page };
        encoder.write(snapshot, plain);
        let mut runs = snapshot.parts().iter().filter_map(|part| part.run.as_deref());
        let has_conflicts = snapshot.has_conflicts()
            || runs.any(|run| {
                let dropped = run.dropped();
                dropped.duplicates > 0 || dropped.conflicts > 0
            });
        // The engine writes into a run again only when nothing else holds it.
        self.sealer.release();
        if compressed {
            let gzip = self.gzip.get_or_insert_with(Gzip::new);
            page.fill(|bytes| gzip.compress(self.plain.as_ref(), bytes));
        }
        Written { has_conflicts }
    }
}
