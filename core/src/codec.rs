//! Between what users of the engine hold, always MessagePack, and what a call's codec puts on the wire.

use aster_proto::call::Codec;
use aster_proto::contract::TypeId;
use aster_proto::status::{Code, Status};
use aster_proto::value::{self, Mode};
use bytes::Bytes;

use crate::contract::Contract;

/// MessagePack as the codec writes it.
pub(crate) fn to_wire(
    contract: &Contract,
    ty: TypeId,
    codec: Codec,
    message: Bytes,
) -> Result<Bytes, Status> {
    match codec {
        Codec::MessagePack => Ok(message),
        Codec::Json => value::json::from_msgpack(contract.compiled(), ty, &message, Mode::Receive)
            .map(Bytes::from)
            .map_err(|error| Status::unsent(Code::INVALID_ARGUMENT, error.to_string())),
        other => Err(Status::unsent(
            Code::UNIMPLEMENTED,
            format!("codec {other:?} is not known to this engine"),
        )),
    }
}

/// What the codec wrote, as MessagePack; checked against the contract if `checked`, and always where it was translated.
pub(crate) fn from_wire(
    contract: &Contract,
    ty: TypeId,
    codec: Codec,
    checked: bool,
    message: Bytes,
) -> Result<Bytes, Status> {
    let fail =
        |error: value::ValueError| Status::rejected(Code::INVALID_ARGUMENT, error.to_string());
    match codec {
        Codec::MessagePack => {
            if checked {
                contract.check(ty, &message).map_err(fail)?;
            }
            Ok(message)
        }
        Codec::Json => value::json::to_msgpack(contract.compiled(), ty, &message, Mode::Receive)
            .map(Bytes::from)
            .map_err(fail),
        other => Err(Status::rejected(
            Code::UNIMPLEMENTED,
            format!("codec {other:?} is not known to this engine"),
        )),
    }
}
