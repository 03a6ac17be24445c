//! The protocol `aster/1`, as data and state machines.
//!
//! Everything that two peers could disagree about is here, once: frames ([`frame`]), calls ([`call`]), the handshake and
//! the control stream ([`control`]), sessions ([`session`]), status codes ([`status`]), metadata ([`metadata`]), limits
//! ([`limits`]), addresses ([`address`]), contracts and the values that fit them.
//!
//! The crate does no I/O, reads no clock and draws no random numbers: it is told what came and says what it means. The
//! engine, crate `aster-rpc`, moves the bytes. `docs/spec/wire.md` is the normative text.

#![forbid(unsafe_code)]

pub mod address;
pub mod call;
pub mod close;
pub mod contract;
pub mod control;
pub mod error;
pub mod fields;
pub mod frame;
pub mod limits;
pub mod metadata;
pub mod session;
pub mod status;
pub mod value;
pub mod varint;
pub mod version;
