//! What a caller gets when a call fails.

use std::fmt;

use aster_proto::metadata::Metadata;
use aster_proto::status::{Code, Status};

use crate::call::outbound::Failed;

/// A failed call: its status, and which call it was.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failure {
    /// How it ended.
    pub status: Box<Status>,
    /// Initial response metadata, as far as it came.
    pub metadata: Metadata,
    /// `Service.method`, or what else was being done.
    pub method: String,
    /// The peer's endpoint id; empty if there was none yet.
    pub peer: String,
}

impl Failure {
    pub(crate) fn new(failed: Failed, method: &str, peer: &str) -> Self {
        Self {
            status: Box::new(failed.status),
            metadata: failed.metadata,
            method: method.to_owned(),
            peer: peer.to_owned(),
        }
    }

    pub(crate) fn of(status: Status, method: &str, peer: &str) -> Self {
        Self::new(Failed::new(status), method, peer)
    }

    /// The code.
    pub fn code(&self) -> Code {
        self.status.code
    }

    /// Where it happened: `Service.method at <first digits of the endpoint id>`.
    pub fn context(&self) -> String {
        if self.peer.is_empty() {
            return self.method.clone();
        }
        let short: String = self.peer.chars().take(10).collect();
        format!("{} at {short}", self.method)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.context(), self.status)
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.status)
    }
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        *failure.status
    }
}
