//! The check of payloads that leave a language.

use bytes::Bytes;

use crate::engine::{Contract, Mode, TypeId, ValueError, normalise};

/// A payload in wire form, or what is wrong with it and where. Copies it once.
pub(crate) fn fit(
    contract: &Contract,
    ty: TypeId,
    payload: &[u8],
    mode: Mode,
) -> Result<Bytes, ValueError> {
    Ok(match normalise(contract.compiled(), ty, payload, mode)? {
        Some(rewritten) => rewritten.into(),
        None => Bytes::copy_from_slice(payload),
    })
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
