//! JSON, the second codec: the same values as MessagePack, by the contract's types.
//!
//! ```
//! use aster_proto::contract::{Compiled, ServiceDescription};
//! use aster_proto::value::{Mode, json};
//!
//! let (contract, _manifest) = ServiceDescription::from_json(r#"{"name": "Clock", "version": 1, "methods": [
//!     {"name": "now", "pattern": "unary", "request": {"t": "null"}, "response": {"t": "timestamp"}}]}"#)?.normalise()?;
//! let types = Compiled::new(contract);
//! let ty = types.method("now").ok_or("no such method")?.response;
//! let payload = json::to_msgpack(&types, ty, br#""1970-01-01T00:00:00.000000007Z""#, Mode::Send)?;
//! assert_eq!(payload, [7]);
//! assert_eq!(json::from_msgpack(&types, ty, &payload, Mode::Receive)?, br#""1970-01-01T00:00:00.000000007Z""#);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod context;
mod read;
mod untyped;
mod write;

use super::{Mode, ValueError};
use crate::contract::{Compiled, TypeId};

/// Turns one JSON value of type `ty` into MessagePack.
///
/// # Errors
/// The first fault, with its path: what [`Compiled::check`] says of MessagePack, or that it is not JSON.
///
/// # Panics
/// May panic with a `ty` of another contract.
pub fn to_msgpack(
    types: &Compiled,
    ty: TypeId,
    json: &[u8],
    mode: Mode,
) -> Result<Vec<u8>, ValueError> {
    read::payload(types, ty, json, mode)
}

/// Turns one MessagePack value of type `ty` into JSON, in UTF-8 and without spaces. Unknown fields are left out.
///
/// # Errors
/// What [`Compiled::check`] says of the payload; and two keys of an `any` map that have the same text.
///
/// # Panics
/// May panic with a `ty` of another contract.
pub fn from_msgpack(
    types: &Compiled,
    ty: TypeId,
    payload: &[u8],
    mode: Mode,
) -> Result<Vec<u8>, ValueError> {
    types.check(ty, payload, mode)?;
    write::payload(types, ty, payload)
}
