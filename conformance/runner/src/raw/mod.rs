//! A peer made of raw bytes: it speaks `aster/1` from docs/spec/wire.md, by hand, and shares nothing with the core.

pub mod address;
pub mod bytes;
pub mod echo;
pub mod endpoint;
pub mod play;
pub mod step;
pub mod wire;
