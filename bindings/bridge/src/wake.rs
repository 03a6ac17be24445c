//! How an event loop learns that it should drain its port: a descriptor that it can watch, or a function of its language.

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

#[cfg(target_os = "linux")]
use rustix::event::{EventfdFlags, eventfd};
#[cfg(not(target_os = "linux"))]
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

/// The way to wake one event loop.
pub(crate) enum Wake {
    Descriptor(Descriptor),
    /// Must not block, and is called without a lock held, on whatever thread has something to tell.
    Function(Box<dyn Fn() + Send + Sync>),
}

impl Wake {
    /// Says "drain the port".
    pub(crate) fn raise(&self) {
        match self {
            Self::Descriptor(descriptor) => descriptor.raise(),
            Self::Function(wake) => wake(),
        }
    }

    /// Takes it back: the draining has begun.
    pub(crate) fn clear(&self) {
        if let Self::Descriptor(descriptor) = self {
            descriptor.clear();
        }
    }
}

impl fmt::Debug for Wake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Descriptor(descriptor) => descriptor.fmt(f),
            Self::Function(_) => f.write_str("Function"),
        }
    }
}

/// An eventfd on Linux, a socket pair elsewhere. Never blocks.
#[derive(Debug)]
pub(crate) struct Descriptor {
    read: OwnedFd,
    #[cfg(not(target_os = "linux"))]
    write: OwnedFd,
}

impl Descriptor {
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
    pub(crate) fn number(&self) -> RawFd {
        self.read.as_raw_fd()
    }

    #[cfg(test)]
    pub(crate) fn borrow(&self) -> std::os::fd::BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&self.read)
    }

    /// Makes the descriptor readable until [`Descriptor::clear`].
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

    fn readable(wake: &Descriptor) -> bool {
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
        let wake = Descriptor::new().unwrap();
        assert!(!readable(&wake));
        wake.raise();
        wake.raise();
        assert!(readable(&wake));
        wake.clear();
        assert!(!readable(&wake));
    }

    #[test]
    fn clearing_what_was_not_raised_does_not_block() {
        Descriptor::new().unwrap().clear();
    }
}
