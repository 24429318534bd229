//! What fails for a reason that lasts is left alone for a while.

/// How often in a row something fails before there is a reason that lasts.
const FAILURES: u32 = 3;

/// For what is asked in each collection, and may fail because something comes or goes just then, or because the kernel
/// or the machine is such that it always will: after three failures in a row it is not asked for [`Pause::LENGTH`]
/// collections.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Pause {
    failures: u32,
    left: u32,
}

impl Pause {
    /// How many collections go by without it.
    pub const LENGTH: u32 = 64;

    /// Whether it is asked in this collection; to be called once in each.
    pub fn lets_ask(&mut self) -> bool {
        let is_over = self.left == 0;
        self.left = self.left.saturating_sub(1);
        is_over
    }

    /// Takes down how it went.
    pub fn note(&mut self, has_succeeded: bool) {
        self.failures = if has_succeeded { 0 } else { self.failures + 1 };
        if self.failures == FAILURES {
            self.begin();
        }
    }

    /// Begins at once, after a failure that says by itself that it will last.
    pub fn begin(&mut self) {
        *self = Pause { failures: 0, left: Self::LENGTH };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many collections go by until it is asked again.
    fn length(pause: &mut Pause) -> usize {
        (0..).position(|_| pause.lets_ask()).expect("it is asked again")
    }

    #[test]
    fn three_failures_in_a_row_begin_it() {
        let mut pause = Pause::default();
        for succeeds in [false, false, true, false, false] {
            pause.note(succeeds);
            assert_eq!(length(&mut pause), 0);
        }
        for _ in 0..2 {
            pause.note(false);
            assert_eq!(length(&mut pause), Pause::LENGTH as usize);
            // All three are counted anew.
            (0..2).for_each(|_| pause.note(false));
            assert_eq!(length(&mut pause), 0);
        }
    }

    #[test]
    fn one_failure_that_lasts_begins_it() {
        let mut pause = Pause::default();
        pause.note(false);
        pause.begin();
        assert_eq!(length(&mut pause), Pause::LENGTH as usize);
        pause.note(false);
        assert_eq!(length(&mut pause), 0);
    }
}
