//! Values: payload bytes that fit a contract's types.
//!
//! [`Compiled::check`] is the one check of payload bytes, [`normalise`] the same check for senders whose MessagePack library has
//! forms of its own; [`json`] is the other codec. All say what is wrong and where, in one set of messages for every
//! codec and language. Normative text: `docs/spec/values.md`.

mod error;
mod forms;
pub mod json;
mod keys;
mod read;
mod walk;

use crate::contract::{Compiled, TypeId};
pub use error::ValueError;
use walk::{Walker, Wire};

/// Deepest nesting of arrays and maps in a value. A scalar has depth 0.
pub const MAX_DEPTH: usize = 64;

/// Longest payload that is looked at, in bytes: 512 MiB, far above any limit on messages. Places in it, and in the up to five
/// times longer MessagePack made from JSON, fit 32 bits.
pub const MAX_BYTES: usize = 1 << 29;

/// The key that tells which member of a union a map is.
pub const TYPE_KEY: &str = "$type";

/// Which side of a call checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Unknown fields are ignored: the sender may be newer.
    Receive,
    /// Unknown fields are refused, with the nearest name: the sender goes by this contract, so it is a slip.
    Send,
}

impl Compiled {
    /// Checks that `payload` is one MessagePack value of type `ty`.
    ///
    /// One pass; allocates only for errors and for maps and sets of more than eight items, at most eight bytes for each.
    ///
    /// # Errors
    /// The first fault, with its path (docs/spec/values.md, *Errors*).
    ///
    /// # Panics
    /// May panic with a `ty` of another contract.
    pub fn check(&self, ty: TypeId, payload: &[u8], mode: Mode) -> Result<(), ValueError> {
        Walker::<false>::new(self, payload, mode)
            .payload(ty)
            .map_err(error::Fault::into_error)
    }
}

/// Checks a payload as [`Compiled::check`] does, but accepts native forms of host encoders, and gives the payload in wire form.
///
/// Native forms are the MessagePack timestamp extension where a timestamp is declared, and a UUID as 36 characters. `None`: the
/// payload is in wire form already.
///
/// # Errors
/// The first fault, with its path.
pub fn normalise(
    types: &Compiled,
    ty: TypeId,
    payload: &[u8],
    mode: Mode,
) -> Result<Option<Vec<u8>>, ValueError> {
    let mut walker = Walker::<true>::new(types, payload, mode);
    walker.payload(ty).map_err(error::Fault::into_error)?;
    if walker.rewrites.is_empty() {
        return Ok(None);
    }
    let mut out = Vec::with_capacity(payload.len());
    let mut copied = 0;
    for (range, wire) in walker.rewrites {
        out.extend_from_slice(&payload[copied..range.start]);
        copied = range.end;
        let written = match wire {
            Wire::Int(nanos) => rmp::encode::write_sint(&mut out, nanos).map(drop),
            Wire::Uuid(bytes) => rmp::encode::write_bin(&mut out, &bytes),
        };
        // A vector takes everything.
        debug_assert!(written.is_ok());
    }
    out.extend_from_slice(&payload[copied..]);
    Ok(Some(out))
}
