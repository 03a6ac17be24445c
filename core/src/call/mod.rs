//! Calls, as users of the engine hold them.

pub(crate) mod inbound;
pub(crate) mod outbound;
pub(crate) mod requests;
pub(crate) mod session;
pub(crate) mod streaming;
