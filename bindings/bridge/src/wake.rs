//! A descriptor that an event loop can watch: readable means "drain the port".

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

#[cfg(target_os = "linux")]
use rustix::event::{EventfdFlags, eventfd};
#[cfg(not(target_os = "linux"))]
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

/// An eventfd on Linux, a socket pair elsewhere. Never blocks.
#[derive(Debug)]
pub(crate) struct Wake {
    read: OwnedFd,
    #[cfg(not(target_os = "linux"))]
    write: OwnedFd,
}

impl Wake {
    /// Fails when the process or the system is out of descriptors.
    pub(crate) fn new() -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        {
            let read = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
            Ok(Self { read })
        }
        #[cfg(not(target_os = "linux"))]
        {
            let (read, write) = socketpair(
                AddressFamily::UNIX,
                SocketType::STREAM,
                SocketFlags::empty(),
                None,
            )?;
            for end in [&read, &write] {
                rustix::io::ioctl_fionbio(end, true)?;
                rustix::io::fcntl_setfd(end, rustix::io::FdFlags::CLOEXEC)?;
            }
            Ok(Self { read, write })
        }
    }

    /// The descriptor to watch for reading.
    pub(crate) fn descriptor(&self) -> RawFd {
        self.read.as_raw_fd()
    }

    #[cfg(test)]
    pub(crate) fn borrow(&self) -> std::os::fd::BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&self.read)
    }

    /// Makes the descriptor readable until [`Wake::clear`].
    pub(crate) fn raise(&self) {
        #[cfg(target_os = "linux")]
        let end = &self.read;
        #[cfg(not(target_os = "linux"))]
        let end = &self.write;
        // The one failure that can happen is a full buffer, and then the descriptor is readable already.
        let _ = rustix::io::write(end, &1u64.to_ne_bytes());
    }

    /// Makes the descriptor unreadable.
    pub(crate) fn clear(&self) {
        // On Linux one read resets the counter; a socket holds at most a few raises, since a port raises once per burst.
        let mut buffer = [0u8; 256];
        #[cfg(target_os = "linux")]
        let buffer = &mut buffer[..8];
        // Nothing to read is what is wanted.
        let _ = rustix::io::read(&self.read, &mut buffer[..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    fn readable(wake: &Wake) -> bool {
        let mut polled = [PollFd::new(&wake.read, PollFlags::IN)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        poll(&mut polled, Some(&now)).unwrap();
        polled[0].revents().contains(PollFlags::IN)
    }

    #[test]
    fn is_readable_from_raise_to_clear() {
        let wake = Wake::new().unwrap();
        assert!(!readable(&wake));
        wake.raise();
        wake.raise();
        assert!(readable(&wake));
        wake.clear();
        assert!(!readable(&wake));
    }

    #[test]
    fn clearing_what_was_not_raised_does_not_block() {
        Wake::new().unwrap().clear();
    }
}
