//! What a port hears from the I/O thread.

use std::sync::Arc;
use std::time::Duration;

use crate::client::Client;
use crate::engine::{Answer, Contract};
use crate::inbound::InboundCall;
use crate::inbox::Inbox;
use crate::outcome::Failure;
use crate::port::Ticket;
use crate::server::Server;

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
    /// A call came in.
    Call {
        /// [`Server::key`](crate::Server::key), or [`Client::key`](crate::Client::key) of one that offers services.
        server: u64,
        /// The call.
        call: Arc<InboundCall>,
    },
    /// The call that came in with this key is over before its handler was: cancel the handler, whose answer is dropped.
    Cancelled {
        /// [`InboundCall::key`].
        call: u64,
    },
    /// A session has ended and none of its calls runs any more: run its close hook, then call
    /// [`Server::session_closed`](crate::Server::session_closed), or that of the client.
    SessionClosed {
        /// As of its calls.
        server: u64,
        /// Which of the services that the server was given.
        service_index: usize,
        /// [`InboundCall::session_key`] of its calls.
        session: u64,
        /// `closed`, `disconnected` or `shutdown`.
        reason: &'static str,
    },
    /// Log records wait in [`crate::logs::take`].
    Logs,
}

/// How something ended.
pub enum Outcome {
    /// It is done.
    Done,
    /// A unary call was answered.
    Answer(Answer),
    /// A connection is open.
    Client(Client),
    /// A server listens.
    Server(Server),
    /// A contract was fetched.
    Contract(Contract),
    /// How long it took.
    Duration(Duration),
    /// It failed.
    Failed(Box<Failure>),
}

impl Outcome {
    pub(crate) fn failed(failure: Failure) -> Self {
        Self::Failed(Box::new(failure))
    }
}
