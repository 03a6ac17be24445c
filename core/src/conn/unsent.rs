//! Large answers that handlers have given and the peer has not taken: what a peer can make this side hold of them.
//!
//! Backpressure does not bound that. An answer is there before it is known how fast it will be read, and a peer may have
//! thousands of calls, each with one of 16 MiB. Making them wait for each other would let a stream that is not read hold
//! up one that is, so the call that exceeds the budget fails.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use aster_proto::limits;
use aster_proto::status::{Code, Status};
use bytes::Bytes;

use super::source::Budget;

/// The bytes of a large message, for as long as they are counted.
#[derive(Debug)]
pub(crate) struct Unsent {
    budget: Arc<Budget>,
    size: usize,
}

impl Drop for Unsent {
    fn drop(&mut self) {
        self.budget.unsent.fetch_sub(self.size, Ordering::Relaxed);
    }
}

/// A message with its place in the budget, which it gives back when the transport lets go of its last byte.
struct Counted {
    message: Bytes,
    _unsent: Arc<Unsent>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.message
    }
}

impl Unsent {
    /// How many bytes are counted.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// The message that is counted, to be sent.
    pub(crate) fn with(self: &Arc<Self>, message: Bytes) -> Bytes {
        Bytes::from_owner(Counted {
            message,
            _unsent: self.clone(),
        })
    }
}

impl Budget {
    /// Counts a message of this size, unless it is small: `None`. Fails over the budget; `name` is whose answer it is.
    pub(crate) fn unsent(
        self: &Arc<Self>,
        size: usize,
        name: impl Fn() -> String,
    ) -> Result<Option<Arc<Unsent>>, Status> {
        if size < limits::COUNTED_ANSWER {
            return Ok(None);
        }
        let total = self.unsent.fetch_add(size, Ordering::Relaxed) + size;
        let counted = Unsent {
            budget: self.clone(),
            size,
        };
        if total > self.max_unsent {
            let text = format!(
                "the answer of {} has {size} bytes, and {} of {} bytes of large answers to this peer are unread (max_unsent): \
                 read answers, or ask for fewer large ones at once",
                name(),
                total - size,
                self.max_unsent
            );
            return Err(Status::server(Code::RESOURCE_EXHAUSTED, text));
        }
        Ok(Some(Arc::new(counted)))
    }
}
