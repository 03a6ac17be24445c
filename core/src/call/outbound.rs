//! Calls that this side makes.

use aster_proto::metadata::Metadata;
use aster_proto::status::{Code, Status};
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

/// Whether this side has said that it takes this metadata of an answer; `max` is what it has said.
pub(crate) fn check_metadata(which: &str, metadata: &Metadata, max: usize) -> Result<(), Status> {
    let size = metadata.size();
    if size <= max {
        return Ok(());
    }
    let text = format!(
        "the {which} metadata of the answer has {size} bytes: {max} are taken here (max_metadata)"
    );
    Err(Status::transport(Code::RESOURCE_EXHAUSTED, text, true))
}

/// Whether the peer has said that it takes this metadata of a call; `max` is what it has said.
pub(crate) fn check_request_metadata(metadata: &Metadata, max: usize) -> Result<(), Status> {
    let size = metadata.size();
    if size <= max {
        return Ok(());
    }
    let text =
        format!("the metadata of the call has {size} bytes: the peer takes {max} (max_metadata)");
    Err(Status::unsent(Code::RESOURCE_EXHAUSTED, text))
}

impl Failed {
    pub(crate) fn new(status: Status) -> Self {
        Self {
            status,
            metadata: Metadata::new(),
        }
    }
}
