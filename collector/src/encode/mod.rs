//! Encoders: from a snapshot to the bytes of an answer.
//!
//! * [`text`]: the page, in Prometheus' text format or in OpenMetrics;
//! * [`page`]: the memory of a page, in which numbers are brought up to date;
//! * [`negotiate`]: which format and coding a request asks for;
//! * [`gzip`]: the page compressed;
//! * [`page_writer`]: the whole way, from a collection to its page.
//!
//! An encoder keeps what it derives from a shape, and a page what it was made of, so that a page
//! whose series are those of the last one costs little more than the numbers that have changed.

pub mod gzip;
mod layout;
pub mod negotiate;
pub mod page;
pub mod page_writer;
mod rendering;
#[cfg(test)]
mod tests;
pub mod text;

pub use gzip::Gzip;
pub use negotiate::{Escaping, Negotiated};
pub use page::PageBuffer;
pub use page_writer::{PageWriter, Written};
pub use text::Encoder;

/// An exposition format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Prometheus' [text format] 0.0.4.
    ///
    /// [text format]: https://prometheus.io/docs/instrumenting/exposition_formats/
    Text,
    /// [OpenMetrics] 1.0, with the sample names of the text format.
    ///
    /// [OpenMetrics]: https://prometheus.io/docs/specs/om/open_metrics_spec/
    OpenMetrics,
}

/// A value as JSON, which has no infinity and no NaN: those go as Prometheus spells them.
pub(crate) fn json_number(value: f64) -> serde_json::Value {
    serde_json::Number::from_f64(value).map_or_else(
        || {
            let mut digits = Vec::new();
            vitald_core::number::write_number(&mut digits, value);
            String::from_utf8_lossy(&digits).into_owned().into()
        },
        serde_json::Value::Number,
    )
}

impl Format {
    /// The value of the `Content-Type` header.
    pub const fn content_type(self) -> &'static str {
        match self {
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}
