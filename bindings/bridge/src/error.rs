//! Why the bridge can't do what a language asks for, apart from the outcome of calls.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A misuse or an end of life, for the language's own exception type.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BridgeError {
    /// The handle was made before a fork, and the thread that serves it lives in the parent only.
    Forked,
    /// The process is shutting down, or [`crate::shutdown`] was called.
    Stopped,
    /// The I/O thread ended after a panic, with this text.
    Died(String),
    /// The I/O thread or a descriptor could not be made, with the system's reason.
    Start(String),
    /// The handle named here is closed.
    Closed(String),
    /// An option or argument named here is wrong.
    Argument(String),
}

impl fmt::Display for BridgeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BridgeError::Forked => f.write_str(
                "this Aster handle was made before the process forked, and its I/O thread did not come along: \
                 make clients and servers after the fork, or start the process with the `spawn` method",
            ),
            BridgeError::Stopped => f.write_str(
                "Aster has been shut down in this process, with all its clients and servers: make new ones to go on",
            ),
            BridgeError::Died(text) => write!(
                f,
                "Aster's I/O thread ended after an internal error ({text}): nothing in this process can be called any \
                 more; restart it, and please report the error"
            ),
            BridgeError::Start(reason) => write!(
                f,
                "Aster's I/O thread can't start: {reason}; see the limits of the process for open files and threads"
            ),
            BridgeError::Closed(what) => write!(f, "{what} is already closed: open a new one"),
            BridgeError::Argument(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for BridgeError {}

/// Locks, whatever happened to the thread that held the lock before: every critical section in this crate leaves its
/// data whole at each step.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
