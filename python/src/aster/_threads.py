"""Moves messages between an event loop and a thread that runs plain, blocking code."""

from __future__ import annotations

import asyncio
import collections
import threading
from typing import Any, Awaitable, Callable, Generic, Iterable, Iterator, Optional, TypeVar

__all__ = ["Outbox", "ThreadInbox"]

T = TypeVar("T")

OUTBOX_MESSAGES = 256
"""How many encoded messages wait between a thread and the loop before the thread is held back."""


class ThreadInbox(Generic[T]):
    """Iterates in a thread over batches that the loop fetches."""

    def __init__(self, fetch: Callable[[], Awaitable[Optional[list[T]]]], loop: asyncio.AbstractEventLoop) -> None:
        self._fetch = fetch
        self._loop = loop
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
            batch = asyncio.run_coroutine_threadsafe(self._next(), self._loop).result()
            if batch is None:
                self._ended = True
            else:
                self._batch = iter(batch)

    async def _next(self) -> Optional[list[T]]:
        return await self._fetch()


class Outbox:
    """A bounded queue of payloads from one thread to the loop, which is woken once per burst."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._payloads: collections.deque[bytes] = collections.deque()
        self._changed = threading.Condition()
        self._ready = asyncio.Event()
        self._waking = False
        self._closed = False
        self._finished = False

    def fill(self, values: Iterable[Any], encode: Callable[[Any], bytes]) -> None:
        """In the thread: puts every value, held back while the queue is full; returns early once it is closed."""
        iterator = iter(values)
        try:
            for value in iterator:
                payload = encode(value)
                with self._changed:
                    self._changed.wait_for(lambda: self._closed or len(self._payloads) < OUTBOX_MESSAGES)
                    if self._closed:
                        return
                    self._payloads.append(payload)
                    wake, self._waking = not self._waking, True
                if wake:
                    self._loop.call_soon_threadsafe(self._ready.set)
        finally:
            close = getattr(iterator, "close", None)
            if close is not None:
                close()

    def finish(self) -> None:
        """In either: nothing more comes."""
        with self._changed:
            self._finished = True
        self._loop.call_soon_threadsafe(self._ready.set)

    async def send_all(self, send: Callable[[bytes], Optional[Awaitable[None]]]) -> None:
        """In the loop: sends what comes until `finish`."""
        try:
            while True:
                await self._ready.wait()
                with self._changed:
                    self._ready.clear()
                    self._waking = False
                    payloads, finished = list(self._payloads), self._finished
                    self._payloads.clear()
                    self._changed.notify_all()
                for payload in payloads:
                    pending = send(payload)
                    if pending is not None:
                        await pending
                if finished:
                    return
        finally:
            self.close()

    def close(self) -> None:
        """In the loop: the thread stops at its next message."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
