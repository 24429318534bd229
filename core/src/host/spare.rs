//! Memory that a source needed once and needs no more.

/// Below this a buffer is left as it is.
const SMALL: usize = 64 * 1024;
/// How many times in a row most of a buffer must be unused.
const TIMES: u8 = 60;

/// How long most of a buffer has been unused.
#[derive(Debug)]
pub(super) struct Spare(u8);

impl Spare {
    pub(super) const fn new() -> Self {
        Spare(0)
    }

    /// Looks at a buffer that was just filled, and gives most of its room back if it has used less
    /// than a quarter of it for long. A source whose size stays never comes to that.
    pub(super) fn look(&mut self, buffer: &mut Vec<u8>) {
        let used = buffer.len();
        self.look_at_use(buffer, used);
    }

    /// As [`Spare::look`] at a buffer that was filled several times, up to so many bytes.
    pub(super) fn look_at_use(&mut self, buffer: &mut Vec<u8>, used: usize) {
        if buffer.capacity() <= SMALL || used >= buffer.capacity() / 4 {
            self.0 = 0;
            return;
        }
        self.0 += 1;
        if self.0 >= TIMES {
            self.0 = 0;
            buffer.shrink_to(used * 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_that_was_large_once_shrinks() {
        let mut spare = Spare::new();
        let mut buffer = Vec::with_capacity(1024 * 1024);
        for _ in 0..TIMES - 1 {
            buffer.resize(1000, 0);
            spare.look(&mut buffer);
        }
        assert!(buffer.capacity() >= 1024 * 1024);
        buffer.resize(300_000, 0);
        spare.look(&mut buffer);
        buffer.truncate(1000);
        for _ in 0..TIMES {
            spare.look(&mut buffer);
        }
        assert!(buffer.capacity() <= 4000);
        let room = buffer.capacity();
        for _ in 0..200 {
            spare.look(&mut buffer);
        }
        assert_eq!(buffer.capacity(), room);
    }
}
