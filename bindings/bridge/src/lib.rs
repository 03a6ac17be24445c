//! What every language binding of Aster shares, in plain Rust.

#![forbid(unsafe_code)]

#[cfg(not(unix))]
compile_error!(
    "aster-bridge wakes event loops through a descriptor, which only Unix has: Windows is not supported yet"
);

mod batch;
mod call;
mod client;
mod defaults;
pub mod engine;
mod error;
mod event;
mod inbound;
mod inbox;
pub mod logs;
pub mod options;
mod outbox;
mod outcome;
mod owned;
mod payload;
mod port;
mod runtime;
mod served;
mod server;
#[cfg(test)]
mod testing;
mod wake;

pub use batch::Batch;
pub use call::ClientCall;
pub use client::{CallSession, Client, Method, Session};
pub use defaults::{DEFAULTS, EXIT};
pub use error::BridgeError;
pub use event::{Event, Outcome};
pub use inbound::{AnswerError, InboundCall};
pub use inbox::{INBOX_LIMIT, Inbox, Taken};
pub use outbox::{OUTBOX_LIMIT, Push};
pub use outcome::Failure;
pub use payload::{Payload, check};
pub use port::{Port, PortId, Ticket};
pub use runtime::{forked, panic_text, shutdown};
pub use served::Served;
pub use server::Server;
