# The native module, hand-written and compared with the binary by a test. It converts only: see bindings/python. Durations are in milliseconds.
# Metadata = dict[str, str | bytes]: keys ending in "-bin" carry bytes.
# Threading: a Port belongs to one asyncio loop; every handle belongs to the port that created it; use elsewhere raises PortError naming both.
from asyncio import AbstractEventLoop, Future
from typing import Any, Callable, Optional, Sequence, final

__version__: str
CODES: dict[str, int]  # {"OK":0,"CANCELLED":1,...,"UNAUTHENTICATED":16,"CONTRACT_MISMATCH":101}
DEFAULTS: dict[str, int]  # limits and time-outs, by name of the core constant

Metadata = dict[str, "str | bytes"]
# A failed outcome as data; `make_error` turns it into the exception to raise.
# (code, message, details: MessagePack bytes|None, initial metadata, trailing metadata, origin: "handler"|"server"|"client"|"transport", may_have_run: bool, retry_after_ms|None, context: str e.g. "MissionControl.getStatus at aster1…")
Status = tuple[int, str, Optional[bytes], Metadata, Metadata, str, bool, Optional[int], str]

@final
class Contract:  # immutable, normalised, compiled
    def __new__(
        cls, description: bytes
    ) -> Contract: ...  # MessagePack description (/work/notes/contract-api.md); ValueError with a path otherwise
    @property
    def id(self) -> str: ...  # 64 hex digits
    @property
    def name(self) -> str: ...
    @property
    def version(self) -> int: ...
    def describe(self) -> bytes: ...  # normalised description + manifest, MessagePack, same schema as the input
    def compare(
        self, server: Contract
    ) -> tuple[list[str], list[str]]: ...  # (breaking, notes) of a client holding self calling `server`

def check(
    contract: Contract, method: str, which: str, payload: bytes, send: bool
) -> None: ...  # which: "request"|"response"; ValueError(path text). For tests and codecs.

@final
class Port:
    def __new__(cls, loop: AbstractEventLoop, make_error: Callable[[Status], BaseException]) -> Port: ...
    def fileno(self) -> int: ...
    def drain(
        self,
    ) -> None: ...  # called by loop.add_reader(fileno(), drain): resolves futures; hands inbound calls to the server's on_calls, cancels tasks
    def close(self) -> None: ...  # idempotent; everything outstanding fails CANCELLED("port closed")
    # options: flat dict, unknown keys -> TypeError: identity(path)|None, relay(url)|None ("" = no relay), preset "default"|"local", connect_timeout_ms, keep_alive_ms, idle_timeout_ms, compress(bool), max_message_bytes, agent(str)…
    def connect(self, addresses: Sequence[str], options: dict[str, Any]) -> Future[Client]: ...
    def serve(
        self,
        services: Sequence[ServedService],
        on_calls: Callable[[list[Call]], None],
        on_session_close: Callable[[int, int, str], None],
        options: dict[str, Any],
    ) -> Future[Server]:
        ...
        # on_session_close(session_key, service_index, reason): language runs the hook, then server.session_closed(session_key)

@final
class ServedService:
    # method_options: {method: {"timeout_ms": int, "idempotent": bool}}; expose_errors: send the text of unexpected exceptions to callers (development)
    def __new__(
        cls, contract: Contract, method_options: dict[str, dict[str, Any]], expose_errors: bool
    ) -> ServedService: ...

@final
class Server:
    @property
    def address(self) -> str: ...
    @property
    def endpoint_id(self) -> str: ...
    def drain(self, grace_ms: int) -> Future[None]: ...  # Goaway, waits, cancels the rest, closes
    def close(self) -> Future[None]: ...
    def wait_closed(self) -> Future[None]: ...
    def session_closed(self, session_key: int) -> None: ...

@final
class Call:  # one inbound call
    service_index: int  # into `services`
    method_index: int  # into the contract's methods sorted by name (describe() lists them in that order)
    id: int
    peer: str  # endpoint id
    session_key: int  # 0 = none; unique in the process
    session_id: int  # the caller's number
    metadata: Metadata  # (getter, built lazily)
    request: Optional[bytes]  # the single request payload for unary and server_stream; None for client/bidi streams
    def time_left_ms(self) -> Optional[float]: ...
    def set_cancel(
        self, cancel: Callable[[], Any]
    ) -> None: ...  # called at most once, from drain(), when the caller cancels, the deadline passes or the connection ends; at once if that already happened
    @property
    def cancelled(self) -> bool: ...
    def set_response_metadata(self, metadata: Metadata) -> None: ...  # before the first message; RuntimeError after
    def set_trailing_metadata(self, metadata: Metadata) -> None: ...
    def reply(
        self, payload: bytes
    ) -> None: ...  # unary and client_stream: the answer; ends the call. ValueError(path text) if the payload does not fit the contract (call then still open)
    def send(
        self, payload: bytes
    ) -> Optional[
        Future[None]
    ]: ...  # streams: one message; a Future to await when the buffer is full (backpressure), else None. ValueError as above
    def finish(self) -> None: ...  # streams: end with OK
    def fail(self, code: int, message: str, details: Optional[bytes], metadata: Optional[Metadata]) -> None: ...
    def fail_internal(
        self, text: str, trace: str
    ) -> str: ...  # uncaught exception: logs with an error id, caller sees the fixed text (or `text` if exposed); returns the error id
    # inbound messages of client/bidi streams, as one MessagePack array of the messages that have arrived (already checked against the contract)
    def take(
        self,
    ) -> Optional[
        bytes
    ]: ...  # what has arrived, None if nothing yet; b"" at the end of the stream. Raises make_error(...) if the stream failed
    def wait(self) -> Future[bytes]: ...  # same, when there is something; b"" at the end

@final
class Client:
    @property
    def peer(self) -> str: ...
    def services(
        self,
    ) -> list[tuple[str, int, str, str]]: ...  # (name, version, contract id, scope) offered by the peer now
    def contract(
        self, name: str, version: Optional[int]
    ) -> Future[
        Contract
    ]: ...  # fetched by id at most once per process; NOT_FOUND/UNIMPLEMENTED error lists what is offered
    def method(self, contract: Contract, name: str, codec: str = "msgpack") -> Method: ...  # KeyError if unknown
    def open_session(self, service: str, version: int, implicit: bool) -> Session: ...
    def ping(self, timeout_ms: int) -> Future[float]: ...  # round trip in ms
    def close(self) -> Future[None]: ...
    # decode(payload bytes) -> value runs in drain(), its exception becomes the future's. options: None or a flat dict: timeout_ms, metadata, compress(bool), session(Session), idempotent(bool), info(CallInfo), dynamic(bool: refuse unknown fields)
    def unary(
        self, method: Method, payload: bytes, decode: Callable[[bytes], Any], options: Optional[dict[str, Any]]
    ) -> Future[Any]: ...  # cancelling the future cancels the call
    def stream(self, method: Method, options: Optional[dict[str, Any]]) -> ClientCall: ...

@final
class Method: ...

@final
class Session:
    @property
    def id(self) -> int: ...
    def close(self) -> Future[None]: ...

@final
class CallInfo:  # filled when the call ends
    def __new__(cls) -> CallInfo: ...
    @property
    def metadata(self) -> Metadata: ...  # initial response metadata
    @property
    def trailing_metadata(self) -> Metadata: ...

@final
class ClientCall:  # client_stream, server_stream, bidi_stream, and any large call
    def send(self, payload: bytes) -> Optional[Future[None]]: ...  # ValueError(path) if it does not fit the contract
    def half_close(self) -> None: ...
    def take(
        self,
    ) -> Optional[
        bytes
    ]: ...  # as Call.take: a MessagePack array of messages; b"" at the OK end; raises on a failed status
    def wait(self) -> Future[bytes]: ...
    def cancel(self) -> None: ...  # idempotent
    @property
    def metadata(self) -> Metadata: ...
    @property
    def trailing_metadata(self) -> Metadata: ...

# Dropping an unfinished ClientCall, Session or Client cancels/closes it.
def logs_to(
    callback: Callable[[list[tuple[int, str, str]]], None],
) -> None: ...  # core's log records (level, target, text) drained on some port's thread in batches
