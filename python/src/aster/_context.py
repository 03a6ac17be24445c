"""What a handler may know about the call it serves."""

from __future__ import annotations

import contextvars
from typing import TYPE_CHECKING, Mapping, Optional, Union

from ._errors import UsageError
from ._port import current_port

if TYPE_CHECKING:
    from . import _native
    from ._peer import Caller

__all__ = ["CallContext"]

current_call: contextvars.ContextVar[_native.Call] = contextvars.ContextVar("aster.current_call")
"""The native call being served, set by the dispatcher in each handler's own context."""


def time_left_ms() -> Optional[int]:
    """What is left to the call being served here, which bounds the calls it makes; None where there is no such bound."""
    call = current_call.get(None)
    left = None if call is None else call.time_left_ms()
    return None if left is None else int(left)


class CallContext:
    """The call a handler is serving: who called, with what, for how long.

    Take one as a parameter annotated `CallContext`, or ask `CallContext.current()` anywhere below the
    handler. It is valid while the handler runs.
    """

    __slots__ = ("_call", "_method", "_service")

    def __init__(self, call: _native.Call, service: str = "", method: str = "") -> None:
        self._call = call
        self._service = service
        self._method = method

    @classmethod
    def current(cls) -> CallContext:
        """The context of the call being served here; `UsageError` outside of a handler."""
        call = current_call.get(None)
        if call is None:
            raise UsageError(
                "CallContext.current() was called outside of a handler; it works in a handler and in what the handler calls or starts"
            )
        return cls(call)

    @property
    def peer(self) -> str:
        """The endpoint id of the caller, proven by its key."""
        return self._call.peer

    @property
    def caller(self) -> Caller:
        """The services that the caller offers (`AsterClient(services=...)`), to be called back on its own connection.

        Keep it to call the caller later, after this call too. For async handlers: a plain `def` handler has no event loop.
        """
        from ._peer import caller_of

        try:
            port = current_port()
        except RuntimeError:
            raise UsageError(
                "a plain `def` handler runs in a thread without an event loop and cannot call its caller; make the handler `async def`"
            ) from None
        return caller_of(self._call, port)

    @property
    def service(self) -> str:
        """The service called, when the context was taken as a parameter."""
        return self._service

    @property
    def method(self) -> str:
        """The method called, when the context was taken as a parameter."""
        return self._method

    @property
    def call_id(self) -> int:
        """A number for this call, unique in the process; use it in logs."""
        return self._call.id

    @property
    def session_id(self) -> Optional[int]:
        """The caller's number of the session, None when the service is shared."""
        return self._call.session_id or None

    @property
    def metadata(self) -> Mapping[str, Union[str, bytes]]:
        """What the caller sent along; keys ending in `-bin` have bytes."""
        return self._call.metadata

    @property
    def capabilities(self) -> frozenset[str]:
        """Capabilities granted to the caller. An open gate grants none."""
        return frozenset(getattr(self._call, "capabilities", ()))

    @property
    def attributes(self) -> Mapping[str, str]:
        """Attributes of the caller's credential; empty when the gate is open."""
        return dict(getattr(self._call, "attributes", {}))

    @property
    def time_left(self) -> Optional[float]:
        """Seconds until the call is ended: at the caller's deadline or the method's own `timeout=`, whichever comes
        first. 0 from then on; None if there is neither, or the call has been answered. Calls made by the handler, and by
        tasks that it starts, end by then too."""
        left = self._call.time_left_ms()
        return None if left is None else left / 1000

    @property
    def cancelled(self) -> bool:
        """Whether the caller has gone, cancelled, or run out of time. Async handlers are cancelled by then; a plain
        `def` handler may look here to stop early."""
        return self._call.cancelled

    def set_response_metadata(self, metadata: Mapping[str, Union[str, bytes]]) -> None:
        """Metadata sent before the first message of the response. `UsageError` if that has left already."""
        try:
            self._call.set_response_metadata(dict(metadata))
        except RuntimeError as error:
            raise UsageError(f"{error}; use set_trailing_metadata, which travels with the end of the call") from error

    def set_trailing_metadata(self, metadata: Mapping[str, Union[str, bytes]]) -> None:
        """Metadata sent with the end of the call, whether it succeeds or fails."""
        self._call.set_trailing_metadata(dict(metadata))

    def __repr__(self) -> str:
        name = f"{self._service}.{self._method} " if self._service else ""
        return f"<CallContext {name}call {self.call_id} from {self.peer}>"
