"""The place where the core hands its results to an event loop: one port per running loop.

A port is made when the first server or client of a loop starts and goes when the last one is closed, or with the
loop. It is found by the running loop, so nothing here is ever shared between loops or threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import select
import socket
import threading
import weakref
from typing import Any, AsyncGenerator, Protocol

from . import _logs, _native
from ._errors import AsterError, StatusCode, error_from_status

__all__ = ["LoopPort", "current_port"]

_log = logging.getLogger("aster.port")

EXIT_SECONDS = 0.2
"""How long closing may take when a program ends without closing: enough for the peers to be told."""


class Closable(Protocol):
    """A server or client that a port closes when its loop ends first."""

    async def close(self) -> None:
        """Closes it and tells the peers."""

    def forget_contracts(self) -> None:
        """Drops what it believes about the peer's contracts."""


class LoopPort:
    """The native port of one loop, with the servers and clients that use it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.pid = os.getpid()
        self.native = _native.Port(loop, self._make_error)
        _logs.install()
        self.closed = False
        self.users: weakref.WeakSet[Any] = weakref.WeakSet()
        self._count = 0
        self._notifier: _Notifier | None = None
        try:
            loop.add_reader(self.native.fileno(), self.native.drain)
        except NotImplementedError:
            # The Proactor loop of Windows watches no descriptors: a thread watches this one instead.
            self._notifier = _Notifier(loop, self.native)
        # `asyncio.run` closes asynchronous generators before it closes the loop, whatever ended the program's
        # main function; that is the last moment when peers can still be told.
        self._loop_end = self._until_loop_ends()
        with contextlib.suppress(StopIteration):
            self._loop_end.__anext__().send(None)

    def acquire(self, user: Closable) -> None:
        """Registers a server or client; the port lives at least until it is released."""
        self.users.add(user)
        self._count += 1

    def release(self, user: Closable) -> None:
        """Undoes `acquire`. The last one closes the port."""
        self.users.discard(user)
        self._count -= 1
        if self._count <= 0:
            self.close()

    def close(self) -> None:
        """Takes the reader off the loop and closes the native port; may be called twice."""
        if self.closed:
            return
        self.closed = True
        if _ports.get(id(self.loop)) is self:
            del _ports[id(self.loop)]
        if self._notifier is not None:
            self._notifier.stop()
        elif not self.loop.is_closed():
            self.loop.remove_reader(self.native.fileno())
        self.native.close()
        with contextlib.suppress(StopIteration, StopAsyncIteration, RuntimeError):
            # With `closed` set its end does nothing, so it needs no event loop to finish.
            self._loop_end.aclose().send(None)

    def _make_error(self, status: Any) -> BaseException:
        if status[0] == StatusCode.CONTRACT_MISMATCH:
            # The server changed under a proxy: what was read of its contract is out of date.
            for user in list(self.users):
                user.forget_contracts()
        return error_from_status(status)

    async def _until_loop_ends(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            if not self.closed:
                await self._close_users()

    async def _close_users(self) -> None:
        tasks = [asyncio.ensure_future(user.close()) for user in list(self.users)]
        if tasks:
            done, late = await asyncio.wait(tasks, timeout=EXIT_SECONDS)
            for task in late:
                task.cancel()
            for task in done:
                if not task.cancelled() and task.exception() is not None:
                    _log.warning("closing at the end of the event loop failed: %s", task.exception())
        self.close()


class _Notifier:
    """Watches a descriptor from a thread, for loops that cannot."""

    def __init__(self, loop: asyncio.AbstractEventLoop, native: _native.Port) -> None:
        self._loop, self._native = loop, native
        self._drained = threading.Event()
        self._stopped = False
        self._wake, self._woken = socket.socketpair()
        threading.Thread(target=self._run, name="aster-notifier", daemon=True).start()

    def _run(self) -> None:
        with self._woken:
            while True:
                select.select([self._native.fileno(), self._woken.fileno()], [], [])
                if self._stopped:
                    return
                self._drained.clear()
                try:
                    self._loop.call_soon_threadsafe(self._drain)
                except RuntimeError:
                    return  # the loop is closed
                self._drained.wait()

    def _drain(self) -> None:
        try:
            if not self._stopped:
                self._native.drain()
        finally:
            self._drained.set()

    def stop(self) -> None:
        self._stopped = True
        self._drained.set()
        self._wake.close()


_ports: dict[int, LoopPort] = {}
_inherited: list[LoopPort] = []
_lock = threading.Lock()


def current_port() -> LoopPort:
    """The port of the running loop, made if there is none."""
    loop = asyncio.get_running_loop()
    with _lock:
        for stale in [port for port in _ports.values() if port.loop.is_closed()]:
            stale.close()
        port = _ports.get(id(loop))
        if port is None or port.closed:
            port = _ports[id(loop)] = LoopPort(loop)
        return port


def check_process(port: LoopPort, what: str) -> None:
    """`AsterError` if `what` came here through a fork: its connections belong to the parent."""
    if port.pid != os.getpid():
        raise AsterError(
            f"this {what} was made in process {port.pid} and is used in process {os.getpid()} after a fork; "
            f"connections do not survive one. Make the {what} in the process that uses it, or start processes "
            'with multiprocessing.get_context("spawn")'
        )


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()
    # Kept, not dropped: dropping would close the parent's handles from a process that does not own them.
    _inherited.extend(_ports.values())
    _ports.clear()
    for port in _inherited:
        # Their proxies come by `check_process` again, which says what to do.
        for user in list(port.users):
            user.forget_contracts()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
# At the exit of the interpreter the native module itself closes what is left, within a bound of its own.
