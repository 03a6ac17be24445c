//! The names of the engine that the bridge uses.

pub(crate) use aster_proto::metadata::Metadata;
pub(crate) use aster_proto::status::{Code, Status};
