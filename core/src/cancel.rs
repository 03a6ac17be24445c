//! Telling a handler that its call is over.

use std::future::poll_fn;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};

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

#[derive(Default)]
struct Slot {
    callback: Option<Callback>,
    waker: Option<Waker>,
}

/// One call's cancellation: fires at most once, heard by at most one callback and one future.
#[derive(Clone, Default)]
pub(crate) struct Cancel(Arc<Inner>);

#[derive(Default)]
struct Inner {
    cause: AtomicU8,
    slot: Mutex<Slot>,
}

impl Cancel {
    pub(crate) fn cause(&self) -> Option<CancelCause> {
        CancelCause::from_number(self.0.cause.load(Ordering::Acquire))
    }

    /// Cancels; `false` if that was done before.
    pub(crate) fn fire(&self, cause: CancelCause) -> bool {
        let slot = {
            let mut slot = self.0.slot.lock().unwrap_or_else(PoisonError::into_inner);
            if self.cause().is_some() {
                return false;
            }
            self.0.cause.store(cause.number(), Ordering::Release);
            std::mem::take(&mut *slot)
        };
        if let Some(waker) = slot.waker {
            waker.wake();
        }
        if let Some(callback) = slot.callback {
            callback(cause);
        }
        true
    }

    /// Calls `callback` when the call is cancelled, at once if it is already. A second callback replaces the first.
    pub(crate) fn on_cancel(&self, callback: Callback) {
        let mut slot = self.0.slot.lock().unwrap_or_else(PoisonError::into_inner);
        match self.cause() {
            None => slot.callback = Some(callback),
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
            .slot
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .callback
            .take();
        drop(callback);
    }

    pub(crate) async fn cancelled(&self) -> CancelCause {
        poll_fn(|cx| {
            if let Some(cause) = self.cause() {
                return Poll::Ready(cause);
            }
            let mut slot = self.0.slot.lock().unwrap_or_else(PoisonError::into_inner);
            match self.cause() {
                Some(cause) => Poll::Ready(cause),
                None => {
                    slot.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}
