//! The check of payloads that leave a language.

use bytes::Bytes;

use crate::engine::{Contract, Mode, TypeId, ValueError, normalise};

/// A payload as a language gives it: to be copied, or to be kept as it is.
pub trait Payload: AsRef<[u8]> {
    /// Bytes that outlive the call that brought them.
    fn into_bytes(self) -> Bytes;
}

impl Payload for &[u8] {
    fn into_bytes(self) -> Bytes {
        Bytes::copy_from_slice(self)
    }
}

impl Payload for &Vec<u8> {
    fn into_bytes(self) -> Bytes {
        Bytes::copy_from_slice(self)
    }
}

impl<const LENGTH: usize> Payload for &[u8; LENGTH] {
    fn into_bytes(self) -> Bytes {
        Bytes::copy_from_slice(self)
    }
}

/// A payload in wire form, or what is wrong with it and where.
pub(crate) fn fit(
    contract: &Contract,
    ty: TypeId,
    payload: impl Payload,
    mode: Mode,
) -> Result<Bytes, ValueError> {
    Ok(
        match normalise(contract.compiled(), ty, payload.as_ref(), mode)? {
            Some(rewritten) => rewritten.into(),
            None => payload.into_bytes(),
        },
    )
}

/// Checks one payload of a method: of its request, or of its response.
///
/// `send`: as the sending side does, so that unknown fields are refused and native forms of encoders are taken.
pub fn check(
    contract: &Contract,
    method: &str,
    response: bool,
    payload: &[u8],
    send: bool,
) -> Option<Result<(), ValueError>> {
    let reference = contract.compiled().method(method)?;
    let ty = if response {
        reference.response
    } else {
        reference.request
    };
    Some(if send {
        fit(contract, ty, payload, Mode::Send).map(drop)
    } else {
        contract.compiled().check(ty, payload, Mode::Receive)
    })
}
