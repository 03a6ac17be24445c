//! Telling a handler that its call is over.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// Why a call was cancelled before its handler ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CancelCause {
    /// The caller gave it up.
    Caller,
    /// Its deadline passed.
    Deadline,
    /// The connection ended.
    Connection,
    /// Its session was closed.
    Session,
    /// The server's time to drain was over.
    Shutdown,
}

impl CancelCause {
    fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Caller,
            2 => Self::Deadline,
            3 => Self::Connection,
            4 => Self::Session,
            5 => Self::Shutdown,
            _ => return None,
        })
    }

    fn number(self) -> u8 {
        match self {
            Self::Caller => 1,
            Self::Deadline => 2,
            Self::Connection => 3,
            Self::Session => 4,
            Self::Shutdown => 5,
        }
    }
}

type Callback = Box<dyn FnOnce(CancelCause) + Send>;

/// One call's cancellation: fires at most once, heard by at most one callback and by all futures.
#[derive(Clone, Default)]
pub(crate) struct Cancel(Arc<Inner>);

#[derive(Default)]
struct Inner {
    cause: AtomicU8,
    callback: Mutex<Option<Callback>>,
    /// A handler may wait in several tasks.
    fired: Notify,
}

impl Cancel {
    pub(crate) fn cause(&self) -> Option<CancelCause> {
        CancelCause::from_number(self.0.cause.load(Ordering::Acquire))
    }

    /// Cancels; `false` if that was done before.
    pub(crate) fn fire(&self, cause: CancelCause) -> bool {
        let callback = {
            let mut callback = self
                .0
                .callback
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if self.cause().is_some() {
                return false;
            }
            self.0.cause.store(cause.number(), Ordering::Release);
            callback.take()
        };
        self.0.fired.notify_waiters();
        if let Some(callback) = callback {
            callback(cause);
        }
        true
    }

    /// Calls `callback` when the call is cancelled, at once if it is already. A second callback replaces the first.
    pub(crate) fn on_cancel(&self, callback: Callback) {
        let mut slot = self
            .0
            .callback
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match self.cause() {
            None => {
                let before = slot.replace(callback);
                drop(slot);
                // What it holds is the user's, and may end in here again.
                drop(before);
            }
            Some(cause) => {
                drop(slot);
                callback(cause);
            }
        }
    }

    /// Forgets the callback: the handler has ended.
    pub(crate) fn clear(&self) {
        let callback = self
            .0
            .callback
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        drop(callback);
    }

    pub(crate) async fn cancelled(&self) -> CancelCause {
        loop {
            // Before the look, so that what fires in between is heard.
            let fired = self.0.fired.notified();
            if let Some(cause) = self.cause() {
                return cause;
            }
            fired.await;
        }
    }
}
