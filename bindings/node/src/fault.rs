//! What is thrown into JavaScript: an `Error` whose `code` says what it is. Panics end here too.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use aster_bridge::engine::{Code, ValueError};
use aster_bridge::{AnswerError, BridgeError, Failure};

/// What kind of error it is; its text is the `code` of the error thrown.
#[derive(Debug, Clone)]
pub struct Kind(String);

impl AsRef<str> for Kind {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl From<napi::Status> for Kind {
    fn from(status: napi::Status) -> Self {
        Self(status.as_ref().to_owned())
    }
}

/// An error to be thrown.
pub(crate) type Fault = napi::Error<Kind>;
/// A result whose error is thrown.
pub(crate) type Result<T> = std::result::Result<T, Fault>;

fn fault(kind: impl Into<String>, text: impl Into<String>) -> Fault {
    Fault::new(Kind(kind.into()), text.into())
}

/// A payload that does not fit its contract.
pub(crate) fn value(error: &ValueError) -> Fault {
    fault("ASTER_VALUE", error.to_string())
}

/// A mistake of the caller, in words for them.
pub(crate) fn misuse(text: impl Into<String>) -> Fault {
    fault("ASTER_MISUSE", text)
}

/// A status, of which all but code and text is as for failures on this side before anything ran.
pub(crate) fn status(code: Code, text: impl Into<String>) -> Fault {
    fault(format!("ASTER_STATUS_{}", code.0), text)
}

pub(crate) fn bridge(error: &BridgeError) -> Fault {
    let failure = Failure::of_bridge(error, "");
    status(Code(failure.code), failure.message)
}

pub(crate) fn answer(error: &AnswerError) -> Fault {
    match error {
        AnswerError::Value(error) => value(error),
        AnswerError::Bridge(error) => bridge(error),
        other => misuse(other.to_string()),
    }
}

/// The number that JavaScript gave names nothing that is open.
pub(crate) fn closed(what: &str) -> Fault {
    bridge(&BridgeError::Closed(what.to_owned()))
}

/// Runs `work`; a panic in it becomes an error and is logged.
pub(crate) fn guard<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|panic| Err(status(Code::INTERNAL, panicked(&*panic))))
}

/// What is said of a panic.
pub(crate) fn panicked(panic: &(dyn Any + Send)) -> String {
    format!(
        "Aster met an internal error ({}): please report it",
        aster_bridge::panic_text(panic)
    )
}
