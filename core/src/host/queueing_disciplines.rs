//! A handle on the queueing disciplines of network interfaces.

use std::fmt;

use super::Host;
use super::kernel::Kernel;
use super::netlink::{Disciplines, QueueingDiscipline};
use crate::error::{Error, Result};

/// What the errors call it.
const SOURCE: &str = "netlink route";

/// A socket of its own for one consumer of queueing disciplines.
///
/// It is of this process's network namespace, which is not necessarily that of
/// [`Roots::procfs`](super::Roots::procfs).
pub struct QueueingDisciplines(Kernel<Disciplines>);

impl Host {
    /// A socket for queueing disciplines. Nothing is opened until it is used.
    pub fn queueing_disciplines(&self) -> QueueingDisciplines {
        QueueingDisciplines(self.kernel(Disciplines::new))
    }
}

impl QueueingDisciplines {
    /// Passes on every queueing discipline of every interface.
    ///
    /// # Errors
    ///
    /// [`Error::Absent`] and [`Error::Unreadable`]: the socket was refused, the kernel refused the dump, it
    /// did not answer in time, or the answer is no sound dump.
    pub fn each(&mut self, each: &mut dyn FnMut(QueueingDiscipline<'_>)) -> Result<()> {
        match &mut self.0 {
            Kernel::Real(disciplines) => {
                disciplines.each(each).map(drop).map_err(|error| Error::from_io(SOURCE, error))
            }
            #[cfg(any(test, feature = "testing"))]
            Kernel::Memory(memory) => memory.queueing_disciplines(each),
        }
    }
}

impl fmt::Debug for QueueingDisciplines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueingDisciplines").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::tests::left_out;

    #[test]
    fn the_kernel_answers() {
        let mut disciplines = Host::new(Default::default()).queueing_disciplines();
        for _ in 0..2 {
            let asked = disciplines.each(&mut |one| {
                assert!(one.interface > 0 && !one.kind.is_empty(), "{one:?}");
            });
            if let Err(error) = asked {
                left_out(&format!("rtnetlink is refused here: {error}"));
                return;
            }
        }
    }
}
