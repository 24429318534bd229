//! Pages of two programs on one machine, compared round by round.
//!
//! * [`page`]: a page as it is compared;
//! * [`exceptions`]: what two programs do not have alike, and why;
//! * [`comparison`]: what the rounds so far have shown;
//! * [`report`]: the same in words and as JSON.
//!
//! A round is three pages: one of the peer, one of ours, and one of the peer again. What counts must be
//! between the two of the peer; what goes up and down is given all rounds to agree once.

mod comparison;
mod exceptions;
mod page;
mod report;
#[cfg(test)]
mod tests;

pub(crate) use comparison::{Comparison, Rules};
pub(crate) use page::{LARGEST_PAGE, Page};
pub(crate) use report::{About, Report};
