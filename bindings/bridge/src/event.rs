//! What a port hears from the I/O thread.

use std::sync::Arc;

use crate::inbox::Inbox;
use crate::outcome::Failure;
use crate::port::Ticket;

/// Something that happened.
pub enum Event {
    /// What `ticket` waited for has ended.
    Completed {
        /// The ticket.
        ticket: Ticket,
        /// How it ended.
        outcome: Outcome,
    },
    /// The stream that `ticket` waited for has something to take: messages, its end or its failure.
    ///
    /// The taking is left to the language, so that all that came until then crosses in one batch.
    Ready {
        /// The ticket.
        ticket: Ticket,
        /// What to take from.
        inbox: Arc<Inbox>,
    },
    /// Log records wait in [`crate::logs::take`].
    Logs,
}

/// How something ended.
pub enum Outcome {
    /// It is done.
    Done,
    /// It failed.
    Failed(Box<Failure>),
}

impl Outcome {
    pub(crate) fn lost() -> Self {
        Self::Failed(Box::new(Failure::lost()))
    }
}
