"""The exceptions of Aster: one root, one class per status code.

`except AsterError` catches everything that Aster raises by itself. `RpcError` is the outcome of a call;
a handler raises one to answer with a chosen code, and the caller gets the same class back.
"""

from __future__ import annotations

import asyncio
import enum
from typing import Any, ClassVar, Mapping, Optional, Union

import msgspec

__all__ = [
    "AccessDenied",
    "AsterError",
    "ConfigurationError",
    "RpcError",
    "SchemaError",
    "StatusCode",
    "UntaggedTypeWarning",
    "UsageError",
    "error_class",
    "error_from_status",
]

Metadata = Mapping[str, Union[str, bytes]]
NativeStatus = tuple[
    int,
    str,
    Optional[bytes],
    dict[str, Union[str, bytes]],
    dict[str, Union[str, bytes]],
    str,
    bool,
    Optional[int],
    str,
]


class StatusCode(enum.IntEnum):
    """How a call ended. 0 to 16 are gRPC's, with their meanings."""

    OK = 0
    """The call succeeded."""
    CANCELLED = 1
    """The caller gave up, or the server cancelled the call while closing."""
    UNKNOWN = 2
    """An outcome that cannot be told, such as a code this version does not know."""
    INVALID_ARGUMENT = 3
    """The request is wrong by itself; sending it again cannot help."""
    DEADLINE_EXCEEDED = 4
    """The time allowed ran out. The handler may have run."""
    NOT_FOUND = 5
    """What the request names does not exist."""
    ALREADY_EXISTS = 6
    """What the request would create exists."""
    PERMISSION_DENIED = 7
    """The caller is known and may not do this."""
    RESOURCE_EXHAUSTED = 8
    """A limit was met: message size, calls in flight, a rate, memory. Sometimes worth a later retry."""
    FAILED_PRECONDITION = 9
    """The state of the server forbids it until somebody changes that state."""
    ABORTED = 10
    """A concurrent change or a lost session; start again from an earlier step."""
    OUT_OF_RANGE = 11
    """Past the end of a range that may grow."""
    UNIMPLEMENTED = 12
    """The server has no such service, method or call form."""
    INTERNAL = 13
    """A bug in the handler or in Aster. The server's log has the trace under the error id."""
    UNAVAILABLE = 14
    """The peer cannot be reached or is closing. `may_have_run` says whether a retry is safe."""
    DATA_LOSS = 15
    """Data that cannot be brought back is gone or corrupt."""
    UNAUTHENTICATED = 16
    """The caller presented no credential, or one that is not valid."""
    CONTRACT_MISMATCH = 101
    """The two ends hold different contracts for the service; the handler did not run."""


class AsterError(Exception):
    """The root of every exception that Aster raises."""


class UsageError(AsterError, TypeError):
    """The API was used in a way it does not have, such as awaiting a streaming method."""


class SchemaError(AsterError, TypeError):
    """A type or a handler cannot be part of a contract. The text names the class, the field and why."""


class ConfigurationError(AsterError, ValueError):
    """An option of a server or client has a value it cannot have, or asks for what is not there yet."""


class UntaggedTypeWarning(UserWarning):
    """A type crosses the wire without `@wire_type`: renaming its class would change the contract."""


class RpcError(AsterError):
    """A call that did not succeed.

    Raise one of its subclasses in a handler to answer with that code; `details` may be any value that
    MessagePack can hold, and `metadata` travels with the answer.
    """

    default_code: ClassVar[StatusCode] = StatusCode.UNKNOWN

    def __init__(
        self,
        code: Union[StatusCode, int, str, None] = None,
        message: Optional[str] = None,
        details: Any = None,
        metadata: Optional[Metadata] = None,
    ) -> None:
        # `NotFound("no such agent")` reads better than repeating the code that the class already names.
        if isinstance(code, str):
            if message is not None:
                raise TypeError(
                    f"{type(self).__name__}({code!r}, {message!r}): give either a message, or a code and a message"
                )
            code, message = None, code
        number = self.default_code if code is None else int(code)
        if number == StatusCode.OK:
            raise ValueError(f"{type(self).__name__} with code OK: a call that succeeded is not an error")
        self.code: StatusCode = StatusCode(number) if number in _KNOWN else StatusCode.UNKNOWN
        """The status code. A code this version does not know reads `UNKNOWN`; see `code_number`."""
        self.code_number: int = int(number)
        """The code as it came over the wire."""
        self.message: str = message or ""
        """What happened, in the words of whoever raised it."""
        self.details: Any = details
        """Whatever value the handler attached."""
        self.metadata: Metadata = dict(metadata or {})
        """Metadata that came with the failure: the response's own and the trailing one, the latter first."""
        self.origin: str = "handler"
        """Who decided: `handler`, `server`, `client` (this side) or `transport`."""
        self.may_have_run: bool = True
        """False only when the handler certainly did not run, so that a retry is safe."""
        self.retry_after: Optional[float] = None
        """Seconds to wait before a retry, when the server said so."""
        self.context: str = ""
        """Where: the method and the peer."""
        super().__init__(self.message)

    def __str__(self) -> str:
        name = self.code.name if self.code_number == self.code else f"{self.code.name} ({self.code_number})"
        text = f"{name}: {self.message}" if self.message else name
        return f"{text} [{self.context}]" if self.context else text

    def __reduce__(self) -> tuple[Any, ...]:
        state = {name: value for name, value in self.__dict__.items() if not name.startswith("__")}
        return (_rebuild, (type(self), self.code_number, self.message), state)


_KNOWN = frozenset(int(code) for code in StatusCode)


def _rebuild(cls: type[RpcError], code: int, message: str) -> RpcError:
    return cls(code, message)


class Cancelled(RpcError):
    """The call was cancelled by the other side or by closing; see `StatusCode.CANCELLED`."""

    default_code = StatusCode.CANCELLED


class UnknownError(RpcError):
    """An outcome that cannot be told; see `StatusCode.UNKNOWN`."""

    default_code = StatusCode.UNKNOWN


class InvalidArgument(RpcError):
    """The request is wrong by itself; the message names the path. See `StatusCode.INVALID_ARGUMENT`."""

    default_code = StatusCode.INVALID_ARGUMENT


class DeadlineExceeded(RpcError, asyncio.TimeoutError):
    """The time allowed ran out; also a `TimeoutError` (3.11 and later). See `StatusCode.DEADLINE_EXCEEDED`."""

    default_code = StatusCode.DEADLINE_EXCEEDED


class NotFound(RpcError):
    """What the request names does not exist; see `StatusCode.NOT_FOUND`."""

    default_code = StatusCode.NOT_FOUND


class AlreadyExists(RpcError):
    """What the request would create exists; see `StatusCode.ALREADY_EXISTS`."""

    default_code = StatusCode.ALREADY_EXISTS


class PermissionDenied(RpcError):
    """The caller may not do this; see `StatusCode.PERMISSION_DENIED`. Also named `AccessDenied`."""

    default_code = StatusCode.PERMISSION_DENIED


AccessDenied = PermissionDenied


class ResourceExhausted(RpcError):
    """A limit was met; see `StatusCode.RESOURCE_EXHAUSTED`."""

    default_code = StatusCode.RESOURCE_EXHAUSTED


class FailedPrecondition(RpcError):
    """The state of the server forbids it; see `StatusCode.FAILED_PRECONDITION`."""

    default_code = StatusCode.FAILED_PRECONDITION


class Aborted(RpcError):
    """A concurrent change or a lost session; see `StatusCode.ABORTED`."""

    default_code = StatusCode.ABORTED


class OutOfRange(RpcError):
    """Past the end of a range that may grow; see `StatusCode.OUT_OF_RANGE`."""

    default_code = StatusCode.OUT_OF_RANGE


class Unimplemented(RpcError):
    """The server has no such service or method; see `StatusCode.UNIMPLEMENTED`."""

    default_code = StatusCode.UNIMPLEMENTED


class UnknownMethod(Unimplemented, AttributeError):
    """A proxy was asked for a method that the contract does not have. The text names the nearest ones."""


class Internal(RpcError):
    """A bug in the handler or in Aster; see `StatusCode.INTERNAL`."""

    default_code = StatusCode.INTERNAL


class Unavailable(RpcError):
    """The peer cannot be reached; see `StatusCode.UNAVAILABLE` and `may_have_run`."""

    default_code = StatusCode.UNAVAILABLE


class DataLoss(RpcError):
    """Data that cannot be brought back is gone; see `StatusCode.DATA_LOSS`."""

    default_code = StatusCode.DATA_LOSS


class Unauthenticated(RpcError):
    """No credential, or one that is not valid; see `StatusCode.UNAUTHENTICATED`."""

    default_code = StatusCode.UNAUTHENTICATED


class ContractMismatch(RpcError):
    """The two ends hold different contracts for the service; see `StatusCode.CONTRACT_MISMATCH`."""

    default_code = StatusCode.CONTRACT_MISMATCH


REFUSALS = (InvalidArgument, TypeError, ValueError, OverflowError)
"""What encoding a message, or the core's check of it, raises for a value that cannot be sent."""

_CLASSES: dict[int, type[RpcError]] = {
    int(cls.default_code): cls
    for cls in (
        Cancelled,
        UnknownError,
        InvalidArgument,
        DeadlineExceeded,
        NotFound,
        AlreadyExists,
        PermissionDenied,
        ResourceExhausted,
        FailedPrecondition,
        Aborted,
        OutOfRange,
        Unimplemented,
        Internal,
        Unavailable,
        DataLoss,
        Unauthenticated,
        ContractMismatch,
    )
}


def error_class(code: int) -> type[RpcError]:
    """The class for a status code; `RpcError` itself for one that this version does not know."""
    return _CLASSES.get(code, RpcError)


def error_from_status(status: NativeStatus) -> RpcError:
    """The exception for a failed outcome. This is the `make_error` that every port is given."""
    code, message, details, initial, trailing, origin, may_have_run, retry_after_ms, context = status
    cls = error_class(code)
    error = cls(code, message)
    if details is not None:
        try:
            error.details = msgspec.msgpack.decode(details)
        except (msgspec.DecodeError, UnicodeDecodeError):
            # Details of another implementation's own making: better raw than an error about an error.
            error.details = details
    error.metadata = {**initial, **trailing}
    error.origin = origin
    error.may_have_run = may_have_run
    error.retry_after = None if retry_after_ms is None else retry_after_ms / 1000
    error.context = context
    return error


def encode_details(details: Any) -> Optional[bytes]:
    """`details` as MessagePack; `TypeError` if it holds something that MessagePack cannot."""
    return None if details is None else msgspec.msgpack.encode(details)
