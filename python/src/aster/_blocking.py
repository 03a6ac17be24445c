"""A client without an event loop in the user's code: the same proxies, every call of which waits.

One thread of the process, the *portal*, runs the event loop for all blocking clients. Only waiting crosses into it:
request iterables and response loops run in the thread that uses them.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Coroutine,
    Generic,
    Iterable,
    Iterator,
    Optional,
    Sequence,
    TypeVar,
    Union,
)

from ._call import Binding, RemoteCall
from ._client import AsterClient, OfferedService
from ._errors import UsageError
from ._port import EXIT_SECONDS
from ._proxy import Proxy
from ._streams import BidiChannel, ResponseStream, call_client_stream
from ._threads import Outbox

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["BlockingCall", "BlockingChannel", "BlockingClient", "BlockingProxy", "BlockingStream"]

T = TypeVar("T")


class _Portal:
    """The thread with the event loop."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.loop = asyncio.new_event_loop()
        self.clients = 0
        self._thread = threading.Thread(target=self._run, name="aster-portal", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        finally:
            self.loop.close()

    def run(self, coroutine: Coroutine[Any, Any, T], timeout: Optional[float] = None) -> T:
        """Runs a coroutine there and waits; Ctrl-C here cancels it."""
        if threading.current_thread() is self._thread:
            coroutine.close()
            raise UsageError(
                "a blocking client was used inside of the event loop that serves it; use AsterClient there"
            )
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        try:
            return future.result(timeout)
        except BaseException:
            future.cancel()
            raise

    def stop(self, timeout: Optional[float] = None) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(timeout)


_portal: Optional[_Portal] = None
_portal_lock = threading.Lock()


def _enter_portal() -> _Portal:
    global _portal
    with _portal_lock:
        if _portal is None or _portal.pid != os.getpid():
            _portal = _Portal()
        _portal.clients += 1
        return _portal


def _leave_portal(portal: _Portal) -> None:
    global _portal
    with _portal_lock:
        portal.clients -= 1
        if portal.clients == 0 and _portal is portal:
            _portal = None
            portal.stop()


def _at_exit() -> None:
    # The loop's end closes every client that is still open, so that the servers see it.
    if _portal is not None and _portal.pid == os.getpid():
        _portal.stop(EXIT_SECONDS * 2)


def _after_fork() -> None:
    global _portal_lock
    _portal_lock = threading.Lock()


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class BlockingClient:
    """A connected client whose calls wait for their answers; for scripts, notebooks and threads.

        with AsterClient.blocking("aster1...") as client:
            print(client.proxy("MissionControl").getStatus(agent_id="edge-node-7"))

    It may be used from several threads. Options are those of `AsterClient`.
    """

    def __init__(self, address: Union[str, Sequence[str]], **options: Any) -> None:
        self._client = AsterClient(address, **options)
        self._portal: Optional[_Portal] = _enter_portal()
        try:
            self._portal.run(self._client.connect())
        except BaseException:
            _leave_portal(self._portal)
            self._portal = None
            raise
        self._proxies: dict[Any, BlockingProxy] = {}

    def _run(self, start: Callable[[], Any]) -> Any:
        """Runs what `start` begins in the portal and waits for it."""
        portal = self._portal
        if portal is None:
            raise UsageError("this client is closed; make another with AsterClient.blocking(...)")
        if portal.pid != os.getpid():
            raise UsageError(
                f"this client was made in process {portal.pid} and is used in process {os.getpid()} after a fork; "
                "connections do not survive one. Make the client in the process that uses it"
            )

        async def run() -> Any:
            started = start()
            return await started if hasattr(started, "__await__") else started

        return portal.run(run())

    def proxy(self, name: str, version: Optional[int] = None) -> BlockingProxy:
        """The service of this name; as `AsterClient.proxy`."""
        proxy = self._proxies.get((name, version))
        if proxy is None:
            proxy = self._proxies[name, version] = BlockingProxy(self, self._client.proxy(name, version))
        return proxy

    def client(self, service: type) -> BlockingProxy:
        """A typed client of a service class; as `AsterClient.client`."""
        proxy = self._proxies.get(service)
        if proxy is None:
            proxy = self._proxies[service] = BlockingProxy(self, self._client.client(service))
        return proxy

    def session(self, service: Union[str, type], version: Optional[int] = None) -> BlockingProxy:
        """A new session, for use in `with` or until `close()`; as `AsterClient.session`."""
        return BlockingProxy(self, self._client.session(service, version))

    def services(self) -> list[OfferedService]:
        """What the server offers this client now."""
        offered: list[OfferedService] = self._run(self._client.services)
        return offered

    def ping(self, timeout: float = 1.5) -> float:
        """Seconds of one round trip; as `AsterClient.ping`."""
        took: float = self._run(lambda: self._client.ping(timeout))
        return took

    @property
    def peer(self) -> str:
        """The endpoint id of the server."""
        return self._client.peer

    def close(self) -> None:
        """Disconnects; the server sees it at once. May be called twice."""
        if self._portal is not None:
            self._run(self._client.close)
            portal, self._portal = self._portal, None
            _leave_portal(portal)

    def __enter__(self) -> BlockingClient:
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()


class BlockingProxy:
    """A remote service; its attributes are the remote methods, see `BlockingCall`."""

    def __init__(self, client: BlockingClient, proxy: Proxy) -> None:
        self._client = client
        self._proxy = proxy

    def __getattr__(self, name: str) -> BlockingCall:
        call = BlockingCall(self._client, getattr(self._proxy, name))
        self.__dict__[name] = call
        return call

    def __repr__(self) -> str:
        return f"<blocking {self._proxy!r}>"

    def method(self, name: str) -> BlockingCall:
        """The remote method of this name, whatever it is."""
        return BlockingCall(self._client, self._proxy.method(name))

    def with_options(self, **options: Any) -> BlockingProxy:
        """The same service and session with options for every call; as `Proxy.with_options`."""
        return BlockingProxy(self._client, self._proxy.with_options(**options))

    def close(self) -> None:
        """Ends the session with a session service."""
        self._client._run(self._proxy.close)

    def __enter__(self) -> BlockingProxy:
        self._client._run(self._proxy._link.load)
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()


class BlockingCall:
    """One method: `proxy.method({...})` or with keywords, `.stream(...)`, `proxy.method(iterable)` and `.bidi()`."""

    def __init__(self, client: BlockingClient, call: RemoteCall) -> None:
        self._client = client
        self._call = call

    def with_options(self, **options: Any) -> BlockingCall:
        """The same method with options for every call; as `RemoteCall.with_options`."""
        return BlockingCall(self._client, self._call.with_options(**options))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if len(args) == 1 and _is_source(args[0]):
            return self._send_stream(args[0], kwargs)
        return self._client._run(lambda: self._call(*args, **kwargs))

    def _send_stream(self, source: Iterable[Any], kwargs: dict[str, Any]) -> Any:
        """A client stream. The source is iterated here, in the thread of the caller."""
        binding, options = self._client._run(lambda: self._call.bind_client_stream(kwargs))
        portal = self._client._portal
        assert portal is not None
        outbox: Outbox = self._client._run(lambda: _make_outbox(portal.loop))
        answer = asyncio.run_coroutine_threadsafe(_answer_of(binding, outbox, options), portal.loop)
        # An answer or a failure that comes before the source ends must not wait for it to end.
        answer.add_done_callback(lambda _: portal.loop.call_soon_threadsafe(outbox.close))
        try:
            outbox.fill(source, binding.payload)
            outbox.finish()
            return answer.result()
        except BaseException:
            answer.cancel()
            raise

    def stream(self, *args: Any, **kwargs: Any) -> BlockingStream[Any]:
        """Calls a server stream: `for x in proxy.method.stream({...})`."""

        async def open_stream() -> ResponseStream[Any]:
            return await self._call.stream(*args, **kwargs).open()

        return BlockingStream(self._client, self._client._run(open_stream))

    def bidi(self, **options: Any) -> BlockingChannel:
        """Makes a channel of a bidirectional stream; it is opened by its `open()`."""

        async def make() -> BidiChannel[Any, Any]:
            return self._call.bidi(**options)

        return BlockingChannel(self._client, self._client._run(make))


def _is_source(value: Any) -> bool:
    return (
        hasattr(value, "__iter__")
        and not isinstance(value, (dict, str, bytes))
        and not hasattr(value, "__struct_fields__")
        and not hasattr(value, "model_fields")
    )


async def _make_outbox(loop: asyncio.AbstractEventLoop) -> Outbox:
    return Outbox(loop)


async def _answer_of(binding: Binding, outbox: Outbox, options: Optional[dict[str, Any]]) -> Any:
    return await call_client_stream(binding, outbox, options)


class BlockingStream(Generic[T]):
    """The answers of a server stream, to iterate. `close()`, leaving a `with` block or dropping it cancels the call."""

    def __init__(self, client: BlockingClient, stream: ResponseStream[T]) -> None:
        self._client = client
        self._stream = stream
        self._batch: Iterator[T] = iter(())
        self._ended = False

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        while True:
            for item in self._batch:
                return item
            if self._ended:
                raise StopIteration
            batch = self._client._run(self._stream.next_batch)
            if batch is None:
                self._ended = True
            else:
                self._batch = iter(batch)

    def close(self) -> None:
        """Cancels the call if it has not ended."""
        self._ended = True
        self._client._run(self._stream.aclose)

    def __enter__(self) -> BlockingStream[T]:
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()

    def __del__(self) -> None:
        portal = self._client._portal
        if not self._ended and portal is not None and not portal.loop.is_closed():
            portal.loop.call_soon_threadsafe(self._stream.cancel)


class BlockingChannel:
    """A bidirectional stream: `open()`, `send()`, iteration, `half_close()`, `close()`; as `BidiChannel`."""

    def __init__(self, client: BlockingClient, channel: BidiChannel[Any, Any]) -> None:
        self._client = client
        self._channel = channel

    def open(self) -> BlockingChannel:
        """Sends the call."""
        self._client._run(self._channel.open)
        return self

    def send(self, message: Any) -> None:
        """Sends one message; waits while the other side is behind."""
        self._client._run(lambda: self._channel.send(message))

    def half_close(self) -> None:
        """Tells the handler that no more messages come."""
        self._client._run(self._channel.half_close)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        try:
            return self._client._run(lambda: _next(self._channel))
        except _End:
            raise StopIteration from None

    def close(self) -> None:
        """Ends the call in an orderly way."""
        self._client._run(self._channel.close)

    def cancel(self) -> None:
        """Cancels the call on the server."""
        self._client._run(self._channel.aclose)

    def __enter__(self) -> BlockingChannel:
        return self.open()

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        if error is None:
            self.close()
        else:
            self.cancel()


class _End(Exception):
    """The end of a stream, in a form that may cross out of a coroutine."""


async def _next(channel: BidiChannel[Any, Any]) -> Any:
    try:
        return await channel.__anext__()
    except StopAsyncIteration:
        raise _End from None
