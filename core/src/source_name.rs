//! The names of sources in errors.
//!
//! A source that cannot be read at one collection can mostly not be read at the next one either, and a
//! steady collection allocates nothing: so the names are kept, on each thread that reads sources.

use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::Arc;

/// How many names a thread keeps: more than a host has sources that fail, fewer than it has processes.
const MOST: usize = 1024;

/// A longer name is not kept.
const LONGEST: usize = 512;

#[derive(Default)]
struct Names {
    known: HashSet<Arc<str>>,
    /// Where a name is put together.
    scratch: String,
}

thread_local! {
    static NAMES: RefCell<Names> = RefCell::default();
}

/// The name, shared with the errors before that had it.
pub(crate) fn of(name: &str) -> Arc<str> {
    let kept = NAMES.try_with(|names| {
        let known = &mut names.try_borrow_mut().ok()?.known;
        if let Some(known) = known.get(name) {
            return Some(Arc::clone(known));
        }
        let name: Arc<str> = name.into();
        if name.len() <= LONGEST {
            if known.len() >= MOST {
                known.clear();
            }
            known.insert(Arc::clone(&name));
        }
        Some(name)
    });
    // A thread that ends has none any more.
    kept.ok().flatten().unwrap_or_else(|| name.into())
}

/// As [`of`], of a name that `write` puts together.
pub(crate) fn made_by(write: impl FnOnce(&mut String)) -> Arc<str> {
    let taken =
        NAMES.try_with(|names| Some(std::mem::take(&mut names.try_borrow_mut().ok()?.scratch)));
    let mut scratch = taken.ok().flatten().unwrap_or_default();
    scratch.clear();
    write(&mut scratch);
    let name = of(&scratch);
    if scratch.capacity() <= 2 * LONGEST {
        let _ =
            NAMES.try_with(|names| names.try_borrow_mut().map(|mut names| names.scratch = scratch));
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_made_once_and_their_number_is_bounded() {
        let first = of("proc/stat");
        assert!(Arc::ptr_eq(&first, &of("proc/stat")));
        let made = made_by(|name| name.push_str("proc/stat"));
        assert!(Arc::ptr_eq(&first, &made));
        for number in 0..3 * MOST {
            of(&number.to_string());
        }
        of(&"x".repeat(LONGEST + 1));
        NAMES.with_borrow(|names| {
            assert!(names.known.len() <= MOST);
            assert!(names.known.iter().all(|name| name.len() <= LONGEST));
        });
    }
}
