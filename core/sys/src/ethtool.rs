//! Questions to the driver of a network interface.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};

use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};

/// `SIOCETHTOOL` of `linux/sockios.h`.
const SIOCETHTOOL: u32 = 0x8946;
/// `IFNAMSIZ` of `linux/if.h`, with the NUL at the end.
const NAME: usize = 16;
/// `ETH_SS_STATS` of `linux/ethtool.h`: the names of statistics.
const ETH_SS_STATS: u32 = 1;

/// What is asked of a driver: some of the questions of `linux/ethtool.h` that change nothing and that anybody
/// may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EthtoolQuestion {
    /// `ETHTOOL_GSET`; the answer is a `struct ethtool_cmd`.
    Settings,
    /// `ETHTOOL_GDRVINFO`; the answer is a `struct ethtool_drvinfo`.
    Driver,
    /// `ETHTOOL_GSTRINGS` for so many names of statistics; the answer is a `struct ethtool_gstrings`, and
    /// 32 bytes for each.
    StatisticNames(u32),
    /// `ETHTOOL_GSTATS` for so many numbers; the answer is a `struct ethtool_stats`, and 8 bytes for each.
    Statistics(u32),
}

impl EthtoolQuestion {
    /// What the answer's memory begins with.
    fn header(self) -> [u32; 3] {
        match self {
            EthtoolQuestion::Settings => [0x01, 0, 0],
            EthtoolQuestion::Driver => [0x03, 0, 0],
            EthtoolQuestion::StatisticNames(count) => [0x1b, ETH_SS_STATS, count],
            EthtoolQuestion::Statistics(count) => [0x1d, count, 0],
        }
    }

    /// How long the answer is.
    fn length(self) -> usize {
        match self {
            EthtoolQuestion::Settings => 44,
            EthtoolQuestion::Driver => 196,
            EthtoolQuestion::StatisticNames(count) => 12 + 32 * count as usize,
            // The header of a question without numbers would else be longer than its answer.
            EthtoolQuestion::Statistics(count) => 8 + 8 * (count as usize).max(1),
        }
    }
}

/// `struct ifreq` of `linux/if.h`, or longer.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; NAME],
    data: *mut u8,
    rest: [usize; 3],
}

// The kernel copies a whole `struct ifreq` from and to this, whose largest member is not the pointer.
const _: () = assert!(size_of::<InterfaceRequest>() >= size_of::<libc::ifreq>());

/// Memory for answers, which ends at a page that cannot be written. A driver that has more to say than it
/// was asked for, because it has got more queues meanwhile, gets an error (EFAULT) instead of other memory.
#[derive(Debug)]
pub struct EthtoolMemory {
    /// The mapping, of which the last page is the one that cannot be written.
    start: NonNull<u8>,
    /// How much of it can be written; 0 if there is none.
    room: usize,
    /// How long the last answer is.
    length: usize,
    page: usize,
}

// SAFETY: the mapping belongs to the value alone, and any thread may use or unmap it.
unsafe impl Send for EthtoolMemory {}

impl Default for EthtoolMemory {
    fn default() -> Self {
        let page = rustix::param::page_size();
        EthtoolMemory { start: NonNull::dangling(), room: 0, length: 0, page }
    }
}

impl Drop for EthtoolMemory {
    fn drop(&mut self) {
        if self.room > 0 {
            // SAFETY: the mapping is this value's, and no reference into it outlives the value.
            unsafe { munmap(self.start.as_ptr().cast(), self.room + self.page) }.ok();
        }
    }
}

impl EthtoolMemory {
    /// Asks the driver of the interface of that name, through any socket of its network namespace; what it
    /// says is then [`EthtoolMemory::answer`].
    ///
    /// How many strings or numbers there really are is in the answer. The kernel may wait for locks of its own
    /// and for the device meanwhile.
    ///
    /// # Errors
    ///
    /// What ioctl(2) and mmap(2) say: EOPNOTSUPP where the driver has no answer, ENODEV without such an
    /// interface, EFAULT where the answer is longer than what was asked for.
    pub fn ask(
        &mut self,
        socket: BorrowedFd<'_>,
        interface: &[u8],
        question: EthtoolQuestion,
    ) -> io::Result<()> {
        self.length = 0;
        let mut name = [0; NAME];
        match name.get_mut(..interface.len()) {
            // The last byte stays NUL.
            Some(place) if interface.len() < NAME => place.copy_from_slice(interface),
            _ => return Err(io::Error::from_raw_os_error(libc::ENODEV)),
        }
        let length = question.length();
        let answer = self.tail(length)?;
        answer.fill(0);
        for (place, number) in answer.chunks_exact_mut(4).zip(question.header()) {
            place.copy_from_slice(&number.to_ne_bytes());
        }
        let data = answer.as_mut_ptr();
        let mut request = InterfaceRequest { name, data, rest: [0; 3] };
        // SAFETY: the request is a whole `struct ifreq` of this function. The kernel writes to `data` the
        // answer to a question that reads only; that is as long as `tail` or longer, and then it reaches the
        // page which cannot be written, so that the kernel stops there.
        let outcome = unsafe {
            libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL as _, ptr::from_mut(&mut request))
        };
        if outcome < 0 {
            return Err(io::Error::last_os_error());
        }
        self.length = length;
        Ok(())
    }

    /// The answer to the last question; empty if there was none.
    pub fn answer(&self) -> &[u8] {
        // SAFETY: so much of the mapping can be read, its bytes are initialised, and nothing can write to
        // them while this value is borrowed. Without a mapping the length is 0.
        unsafe {
            std::slice::from_raw_parts(
                self.start.as_ptr().add(self.room - self.length),
                self.length,
            )
        }
    }

    /// The last bytes before the page that cannot be written.
    fn tail(&mut self, length: usize) -> io::Result<&mut [u8]> {
        if length > self.room {
            *self = Self::with_room(length)?;
        }
        // SAFETY: so much of the mapping can be read and written, its bytes are initialised, and nothing
        // else refers to it while this value is borrowed.
        Ok(unsafe {
            std::slice::from_raw_parts_mut(self.start.as_ptr().add(self.room - length), length)
        })
    }

    fn with_room(length: usize) -> io::Result<Self> {
        let page = rustix::param::page_size();
        let room = length.next_multiple_of(page);
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new private mapping at an address that the kernel chooses touches no other memory.
        let start =
            unsafe { mmap_anonymous(ptr::null_mut(), room + page, protection, MapFlags::PRIVATE)? };
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        let memory = EthtoolMemory { start, room, length: 0, page };
        // SAFETY: the page is the last of the mapping that was just made, to which nothing refers yet.
        unsafe { mprotect(start.as_ptr().add(room).cast(), page, MprotectFlags::empty())? };
        Ok(memory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    #[test]
    fn answers_end_at_the_page_that_cannot_be_written() {
        let mut memory = EthtoolMemory::default();
        for length in [44, 196, 4096, 12 + 32 * 1000, 8] {
            let tail = memory.tail(length).unwrap();
            tail.fill(7);
            assert_eq!(tail.len(), length);
            let end = tail.as_ptr() as usize + length;
            assert_eq!(end % memory.page, 0);
            let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
            let guard = format!("{end:x}-{:x} ---p", end + memory.page);
            assert!(maps.contains(&guard), "{guard} is not in\n{maps}");
        }
    }

    /// Loopback is everywhere. Linux has no statistics of it and no settings, and names its driver in some versions.
    #[test]
    fn the_kernel_answers_or_refuses() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut memory = EthtoolMemory::default();
        for question in [
            EthtoolQuestion::Settings,
            EthtoolQuestion::Driver,
            EthtoolQuestion::StatisticNames(0),
            EthtoolQuestion::StatisticNames(300),
            EthtoolQuestion::Statistics(0),
            EthtoolQuestion::Statistics(300),
        ] {
            match memory.ask(socket.as_fd(), b"lo", question) {
                Ok(()) => assert_eq!(memory.answer().len(), question.length()),
                Err(error) => {
                    assert_eq!(error.raw_os_error(), Some(libc::EOPNOTSUPP), "{question:?}");
                    assert!(memory.answer().is_empty());
                }
            }
            let unknown = memory.ask(socket.as_fd(), b"none such", question).unwrap_err();
            assert_eq!(unknown.raw_os_error(), Some(libc::ENODEV));
            let long = memory.ask(socket.as_fd(), b"a name too long!", question).unwrap_err();
            assert_eq!(long.raw_os_error(), Some(libc::ENODEV));
            assert!(memory.answer().is_empty());
        }
    }

    /// No machine is sure to have a driver that says more than it was asked for. A pipe does so everywhere, and
    /// the kernel writes what it says in the same way.
    #[test]
    fn the_kernel_writes_nothing_beyond_the_memory() {
        const ROOM: usize = 12;
        let mut memory = EthtoolMemory::default();
        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(&[7; 2 * ROOM]).unwrap();
        let place = memory.tail(ROOM).unwrap().as_mut_ptr();
        // SAFETY: the memory ends at a page that cannot be written, so that the kernel stops there.
        let written = unsafe { libc::read(reader.as_raw_fd(), place.cast(), 2 * ROOM) };
        match usize::try_from(written) {
            Ok(written) => assert_eq!(written, ROOM),
            Err(_) => {
                assert_eq!(io::Error::last_os_error().raw_os_error(), Some(libc::EFAULT));
            }
        }
    }
}
