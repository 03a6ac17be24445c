//! What every language binding of Aster shares, in plain Rust.

#![forbid(unsafe_code)]

#[cfg(not(unix))]
compile_error!("aster-bridge wakes event loops through a descriptor, which only Unix has: Windows is not supported yet");

mod batch;
mod engine;
mod error;
mod event;
mod inbox;
pub mod logs;
mod outbox;
mod outcome;
mod port;
mod runtime;
#[cfg(test)]
mod testing;
mod wake;

pub use batch::Batch;
pub use error::BridgeError;
pub use event::{Event, Outcome};
pub use inbox::{INBOX_LIMIT, Inbox, Taken};
pub use outbox::{OUTBOX_LIMIT, Push};
pub use outcome::Failure;
pub use port::{Port, PortId, Ticket};
pub use runtime::{forked, shutdown};
