"""Aster: typed RPC between programs, peer to peer.

A service is a class with decorators:

    @service(name="MissionControl", version=1)
    class MissionControl:
        @rpc()
        async def getStatus(self, req: StatusRequest) -> StatusResponse: ...

`AsterServer` serves it at an `aster1...` address, and `AsterClient` calls it, typed by the class
(`client.client(MissionControl)`) or dynamically (`client.proxy("MissionControl")`), without the class.
Every exception of the package is an `AsterError`; a failed call is an `RpcError`, of a class per status code.
"""

from ._call import RemoteCall
from ._client import AsterClient
from ._context import CallContext
from ._decorators import all_of, any_of, bidi_stream, client_stream, rpc, server_stream, service
from ._errors import (
    Aborted,
    AccessDenied,
    AlreadyExists,
    AsterError,
    Cancelled,
    ConfigurationError,
    ContractMismatch,
    DataLoss,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    OutOfRange,
    PermissionDenied,
    ResourceExhausted,
    RpcError,
    SchemaError,
    StatusCode,
    Unauthenticated,
    Unavailable,
    Unimplemented,
    UnknownError,
    UnknownMethod,
    UntaggedTypeWarning,
    UsageError,
)
from ._native import CallInfo, __version__
from ._peer import Caller, OfferedService
from ._proxy import ClientSession, Proxy
from ._schema import f32, i8, i16, i32, i64, u8, u16, u32, u64, wire_type
from ._server import AsterServer
from ._service import AccessRule
from ._streams import BidiChannel, ResponseStream

__all__ = [
    "Aborted",
    "AccessDenied",
    "AccessRule",
    "AlreadyExists",
    "AsterClient",
    "AsterError",
    "AsterServer",
    "BidiChannel",
    "CallContext",
    "CallInfo",
    "Caller",
    "Cancelled",
    "ClientSession",
    "ConfigurationError",
    "ContractMismatch",
    "DataLoss",
    "DeadlineExceeded",
    "FailedPrecondition",
    "Internal",
    "InvalidArgument",
    "NotFound",
    "OfferedService",
    "OutOfRange",
    "PermissionDenied",
    "Proxy",
    "RemoteCall",
    "ResourceExhausted",
    "ResponseStream",
    "RpcError",
    "SchemaError",
    "StatusCode",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "UnknownError",
    "UnknownMethod",
    "UntaggedTypeWarning",
    "UsageError",
    "__version__",
    "all_of",
    "any_of",
    "bidi_stream",
    "client_stream",
    "f32",
    "i8",
    "i16",
    "i32",
    "i64",
    "rpc",
    "server_stream",
    "service",
    "u8",
    "u16",
    "u32",
    "u64",
    "wire_type",
]
