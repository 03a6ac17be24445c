//! Calls that this side makes.

use aster_proto::metadata::Metadata;
use aster_proto::status::Status;
use bytes::Bytes;

/// The answer to a unary or client-streaming call.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer {
    /// The message.
    pub message: Bytes,
    /// Initial response metadata.
    pub metadata: Metadata,
    /// Trailing response metadata.
    pub trailing: Metadata,
}

/// A failed call before it is known for which method and peer: see [`crate::Failure`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failed {
    pub(crate) status: Status,
    pub(crate) metadata: Metadata,
}

impl Failed {
    pub(crate) fn new(status: Status) -> Self {
        Self {
            status,
            metadata: Metadata::new(),
        }
    }
}
