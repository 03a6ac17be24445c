//! How a call ended, as data.

use bytes::Bytes;

use crate::engine::{Code, Metadata, Status};
use crate::error::BridgeError;

/// A call that failed, as the flat record from which each language makes its exception.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The status code's number.
    pub code: u16,
    /// What happened and what to do.
    pub message: String,
    /// One MessagePack value for programs.
    pub details: Option<Bytes>,
    /// Initial response metadata.
    pub metadata: Metadata,
    /// Trailing metadata.
    pub trailing: Metadata,
    /// Who made the status: `handler`, `server`, `client` or `transport`.
    pub origin: &'static str,
    /// Whether the handler may have run; `false` only if it certainly did not.
    pub may_have_run: bool,
    /// When to try again, in milliseconds.
    pub retry_after_ms: Option<u64>,
    /// Which call at which peer, such as `Clock.now at 3f2a…`; empty where there is none.
    pub context: String,
}

impl Failure {
    /// A failure that this side finds before anything ran.
    pub fn here(code: Code, message: impl Into<String>, context: impl Into<String>) -> Self {
        Self {
            code: code.0,
            message: message.into(),
            details: None,
            metadata: Metadata::new(),
            trailing: Metadata::new(),
            origin: "client",
            may_have_run: false,
            retry_after_ms: None,
            context: context.into(),
        }
    }

    /// The record of a status that is not OK.
    pub fn of_status(status: Status, context: impl Into<String>) -> Self {
        Self {
            code: status.code.0,
            message: status.message,
            details: status.details,
            metadata: Metadata::new(),
            trailing: status.metadata,
            origin: status.origin.name(),
            may_have_run: status.may_have_run,
            retry_after_ms: status.retry_after_ms,
            context: context.into(),
        }
    }

    /// The record of a call that the engine reports as failed.
    pub(crate) fn of_engine(failure: aster::Failure) -> Self {
        let context = failure.context();
        Self {
            metadata: failure.metadata,
            ..Self::of_status(*failure.status, context)
        }
    }

    /// The caller cancelled.
    pub fn cancelled(context: impl Into<String>) -> Self {
        Self {
            may_have_run: true,
            ..Self::here(Code::CANCELLED, "the caller cancelled the call", context)
        }
    }

    /// The bridge can't do what was asked.
    pub fn of_bridge(error: &BridgeError, context: impl Into<String>) -> Self {
        let code = match error {
            BridgeError::Argument(_) => Code::INVALID_ARGUMENT,
            BridgeError::Died(_) | BridgeError::Start(_) => Code::INTERNAL,
            BridgeError::Forked | BridgeError::Stopped | BridgeError::Closed(_) => {
                Code::FAILED_PRECONDITION
            }
        };
        Self::here(code, error.to_string(), context)
    }

    /// The engine let go of a call without an answer: a panic, or the end of the I/O thread.
    pub(crate) fn lost() -> Self {
        let message = "the call ended without an answer: Aster was shut down in this process, or met an internal error \
                       that its log describes";
        Self {
            may_have_run: true,
            ..Self::here(Code::INTERNAL, message, "")
        }
    }
}
