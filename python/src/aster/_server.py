"""The server: services on an endpoint, from start to drained."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import signal
import threading
from typing import TYPE_CHECKING, Any, Callable, Mapping, Optional, Sequence, Union

from . import _native
from ._dispatch import Dispatcher
from ._errors import UsageError
from ._options import endpoint_options, seconds
from ._port import LoopPort, check_process, current_port
from ._serving import Serving

if TYPE_CHECKING:
    from types import FrameType, TracebackType

__all__ = ["AsterServer"]

_log = logging.getLogger("aster.server")

DRAIN_SECONDS = 10.0
"""How long a drain waits for running calls, unless told otherwise."""
INTERRUPT_SECONDS = 0.5
"""The same for Ctrl-C, where somebody is waiting at a terminal."""


class AsterServer:
    """Serves services on an endpoint of their own.

        async with AsterServer(services=[MissionControl()]) as server:
            print(server.address)
            await server.serve()

    - `services`: instances of service classes. Of a session service the instance is a template, or give the class itself: each
      session gets an instance made by the class, with `peer=` (the caller's endpoint id) if the constructor takes it.
    - `factories`: for session services whose constructor takes more: `{AgentSession: lambda peer: AgentSession(peer, db)}`.
    - `identity`: path of an identity file, made when missing; it keeps the endpoint id and port. Without one the address is new each time.
    - `relay`: URL of your own relay, `""` for none; default: `ASTER_RELAY_URL` or `IROH_RELAY_URL`, else the public preset.
    - `preset`: `"default"` or `"local"` (this machine and network only).
    - `keep_alive`, `idle_timeout`: seconds.
    - `max_message_bytes`: the largest message taken.
    - `threads`: how many plain `def` handlers run at once; default: as `ThreadPoolExecutor`.
    - `expose_errors`: callers see the text of unexpected exceptions, for development. Otherwise they see an error id only.
    """

    def __init__(
        self,
        services: Sequence[Any],
        *,
        factories: Optional[Mapping[type, Callable[..., Any]]] = None,
        identity: Union[str, os.PathLike[str], None] = None,
        relay: Optional[str] = None,
        preset: Optional[str] = None,
        keep_alive: Optional[float] = None,
        idle_timeout: Optional[float] = None,
        max_message_bytes: Optional[int] = None,
        agent: Optional[str] = None,
        threads: Optional[int] = None,
        expose_errors: bool = False,
    ) -> None:
        self._serving = Serving("AsterServer", services, factories, threads, expose_errors)
        self._options = endpoint_options(
            identity=identity,
            relay=relay,
            preset=preset,
            keep_alive=keep_alive,
            idle_timeout=idle_timeout,
            max_message_bytes=max_message_bytes,
            agent=agent,
        )
        self._native: Optional[_native.Server] = None
        self._port: Optional[LoopPort] = None
        self._dispatcher: Optional[Dispatcher] = None
        self._started = False
        self._closing: Optional[asyncio.Task[None]] = None

    # ------------------------------------------------------------ start

    async def start(self) -> AsterServer:
        """Binds and listens; returns as soon as the address is usable, without waiting for relays or discovery."""
        if self._started:
            raise UsageError("this server was started already; make a new AsterServer to serve again")
        self._started = True
        port = current_port()
        served, dispatcher = self._serving.on(port.loop)
        port.acquire(self)
        try:
            native = await port.native.serve(served, dispatcher.on_calls, dispatcher.on_session_close, self._options)
        except BaseException:
            port.release(self)
            raise
        dispatcher.attach(native)
        self._native, self._port, self._dispatcher = native, port, dispatcher
        return self

    # ------------------------------------------------------------ what it is

    def _require(self) -> _native.Server:
        if self._port is not None:
            check_process(self._port, "server")
        if self._native is None:
            raise UsageError(
                "this server is not started; use `async with AsterServer(...)`, or `await server.start()` first"
            )
        return self._native

    @property
    def address(self) -> str:
        """The `aster1...` address that clients connect to. It does not change after the start."""
        return self._require().address

    @property
    def endpoint_id(self) -> str:
        """The public key that names this endpoint."""
        return self._require().endpoint_id

    # ------------------------------------------------------------ end

    async def serve(self, *, grace: float = DRAIN_SECONDS) -> None:
        """Serves until the server is closed or the process is told to stop, then drains and returns.

        SIGTERM drains with `grace` seconds; Ctrl-C (SIGINT) with at most half a second, and pressed again closes at once. Handlers
        that were set before are called too, and are back in place when this returns. Outside of the main thread no
        signals are handled.
        """
        native = self._require()
        signals = _Signals(self, grace)
        with signals:
            await native.wait_closed()
            await signals.finished()
        await self.close()

    async def drain(self, grace: float = DRAIN_SECONDS) -> None:
        """Stops in an orderly way: callers are told, new calls are answered `UNAVAILABLE`, running ones get `grace` seconds
        (0 or more), what is left is cancelled, and the endpoint closes."""
        limit = seconds("grace", grace, zero=True)
        assert limit is not None
        native = self._require()
        await native.drain(limit)
        await self.close()

    async def close(self) -> None:
        """Cancels running calls, closes sessions and the endpoint; the callers see it at once. May be called twice."""
        if self._native is None:
            return
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        native, port, dispatcher = self._native, self._port, self._dispatcher
        assert native is not None
        assert port is not None
        assert dispatcher is not None
        try:
            if not port.closed:
                await native.close()
                await dispatcher.sessions_closed()
        finally:
            dispatcher.close()
            port.release(self)

    def forget_contracts(self) -> None:
        """A server holds no contracts of others."""

    async def __aenter__(self) -> AsterServer:
        return await self.start()

    async def __aexit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        await self.close()


class _Signals:
    """SIGINT and SIGTERM handled for the time of a `serve()`, in the main thread only."""

    def __init__(self, server: AsterServer, grace: float) -> None:
        self._server = server
        self._grace = grace
        self._loop = asyncio.get_running_loop()
        self._before: dict[signal.Signals, Any] = {}
        self._draining: Optional[asyncio.Task[None]] = None

    def __enter__(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGINT, signal.SIGTERM):
            before = signal.getsignal(number)
            if before is signal.SIG_IGN or before is None:
                continue  # ignored on purpose (nohup), or owned by code outside of Python
            self._before[number] = before
            try:
                self._loop.add_signal_handler(number, self._on_signal, number)
            except NotImplementedError:  # Windows
                signal.signal(
                    number,
                    lambda received, _: self._loop.call_soon_threadsafe(self._on_signal, signal.Signals(received)),
                )

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            with contextlib.suppress(NotImplementedError):  # Windows
                self._loop.remove_signal_handler(number)
            signal.signal(number, before)

    async def finished(self) -> None:
        """Waits for the drain that a signal began, if one did."""
        if self._draining is not None:
            await asyncio.wait([self._draining])

    def _on_signal(self, number: signal.Signals) -> None:
        if self._draining is None:
            grace = min(self._grace, INTERRUPT_SECONDS) if number == signal.SIGINT else self._grace
            _log.info("%s: draining for at most %g s", number.name, grace)
            self._draining = asyncio.ensure_future(self._server.drain(grace))
        else:
            _log.info("%s again: closing now", number.name)
            self._draining = asyncio.ensure_future(self._server.close())
        self._draining.add_done_callback(_report)
        before = self._before[number]
        if callable(before) and not _stops_the_loop(before):
            before(number, None)


def _stops_the_loop(handler: Callable[[int, Optional[FrameType]], Any]) -> bool:
    """Whether a handler is Python's or asyncio's own answer to Ctrl-C, which would interrupt the drain."""
    if handler is signal.default_int_handler:
        return True
    return isinstance(handler, functools.partial) and getattr(handler.func, "__qualname__", "") == "Runner._on_sigint"


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        _log.error("stopping failed", exc_info=task.exception())
