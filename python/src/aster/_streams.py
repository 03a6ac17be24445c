"""The caller's side of streams: what `.stream()` and `.bidi()` return, and the pump of a client stream."""

from __future__ import annotations

import asyncio
from typing import (
    TYPE_CHECKING,
    Any,
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Generic,
    Iterable,
    Mapping,
    Optional,
    TypeVar,
    Union,
)

from ._codec import translate_decode_error
from ._errors import REFUSALS, Internal, RpcError, UsageError
from ._threads import Outbox

if TYPE_CHECKING:
    from types import TracebackType

    from . import _native
    from ._call import Binder, Binding

__all__ = ["BidiChannel", "ResponseStream", "call_client_stream"]

R = TypeVar("R")
T = TypeVar("T")

CLOSE_SECONDS = 5.0
"""How long `BidiChannel.close` waits for the handler to end before it cancels the call."""


class _Opening:
    """A streaming call that is opened at once, or when first used if the contract is not loaded yet.

    It is apart from the objects that users hold, so that their iterators do not keep them alive: leaving a
    loop drops the iterator, and with that the call is cancelled at once.
    """

    __slots__ = ("_binder", "_start", "binding", "call", "ended")

    def __init__(self, binder: Binder, start: Callable[[Binding], _native.ClientCall]) -> None:
        self._binder = binder
        self._start = start
        self.binding: Optional[Binding] = None
        self.call: Optional[_native.ClientCall] = None
        self.ended = False
        binding = binder.now()
        if binding is not None:
            self._started(binding)

    def _started(self, binding: Binding) -> _native.ClientCall:
        self.binding = binding
        self.call = self._start(binding)
        return self.call

    async def open(self) -> _native.ClientCall:
        if self.call is not None:
            return self.call
        if self.ended:
            raise UsageError("this stream was cancelled before it was opened; make a new one")
        binding = await self._binder.later()
        # Somebody else may have opened it while the contract was loading.
        return self.call if self.call is not None else self._started(binding)

    def cancel(self) -> None:
        self.ended = True
        if self.call is not None:
            self.call.cancel()

    def require(self) -> _native.ClientCall:
        if self.call is None:
            raise UsageError("this stream is not open yet: `await` its open(), or take its first message, before this")
        return self.call


async def _messages(opening: _Opening) -> AsyncGenerator[Any, None]:
    """The messages as they arrive: one decode per batch, nothing per message."""
    call = opening.call
    try:
        if call is None:
            call = await opening.open()
        assert opening.binding is not None
        decode_batch, where = opening.binding.decode_batch, opening.binding.where
        take, wait = call.take, call.wait
        while True:
            batch = take()
            if batch is None:
                batch = await wait()
            if not batch:
                opening.ended = True
                return
            try:
                messages = decode_batch(batch)
            except Exception as error:
                raise translate_decode_error(error, f"{where}: a message of the stream") from error
            for message in messages:
                yield message
    finally:
        # `break`, an error, a cancelled task: whatever ends the iteration early ends the call.
        if not opening.ended:
            opening.cancel()


class ResponseStream(Generic[T]):
    """The answers of a server stream. Iterate it; leaving the loop early cancels the call on the server.

    It may also be used in `async with`, which cancels the call at the end of the block.
    """

    __slots__ = ("__weakref__", "_messages", "_opening")

    def __init__(self, binder: Binder, start: Callable[[Binding], _native.ClientCall]) -> None:
        self._opening = _Opening(binder, start)
        self._messages: AsyncGenerator[T, None] = _messages(self._opening)

    def __aiter__(self) -> AsyncIterator[T]:
        return self._messages

    def __anext__(self) -> Awaitable[T]:
        return self._messages.__anext__()

    async def open(self) -> ResponseStream[T]:
        """Makes sure that the call has been sent, without taking a message. It is sent at once when the service's
        contract is known already, and by the first message taken otherwise."""
        await self._opening.open()
        return self

    async def next_batch(self) -> Optional[list[T]]:
        """What has arrived, at least one message; None at the end. For readers that would rather have many at a time than
        iterate; not to be mixed with iteration."""
        opening = self._opening
        if opening.ended:
            return None
        call = await opening.open()
        assert opening.binding is not None
        batch = call.take()
        if batch is None:
            batch = await call.wait()
        if not batch:
            opening.ended = True
            return None
        try:
            return opening.binding.decode_batch(batch)
        except Exception as error:
            opening.cancel()
            raise translate_decode_error(error, f"{opening.binding.where}: a message of the stream") from error

    def cancel(self) -> None:
        """Cancels the call; the iteration ends with `Cancelled`. May be called twice."""
        self._opening.cancel()

    async def aclose(self) -> None:
        """Ends the iteration and cancels the call if it has not ended."""
        await self._messages.aclose()
        if not self._opening.ended:
            self._opening.cancel()

    @property
    def metadata(self) -> Mapping[str, Union[str, bytes]]:
        """Metadata of the response, there once the first message has come."""
        return self._opening.require().metadata

    @property
    def trailing_metadata(self) -> Mapping[str, Union[str, bytes]]:
        """Metadata sent with the end, there once the iteration has ended."""
        return self._opening.require().trailing_metadata

    async def __aenter__(self) -> ResponseStream[T]:
        return await self.open()

    async def __aexit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        await self.aclose()


class BidiChannel(Generic[R, T]):
    """A bidirectional stream: `open()`, then `send()` and iteration in any order, then `close()`.

        channel = agent.runCommand.bidi()
        await channel.open()
        await channel.send({"command": "uptime"})
        async for result in channel: ...
        await channel.close()

    `async with` opens it and closes it; an exception inside cancels the call. Leaving a loop over the channel keeps
    it open: it is closed by `close()`, `cancel()`, or when it is dropped.
    """

    __slots__ = ("__weakref__", "_half_closed", "_messages", "_opening")

    def __init__(self, binder: Binder, start: Callable[[Binding], _native.ClientCall]) -> None:
        self._opening = _Opening(binder, start)
        self._messages: AsyncGenerator[T, None] = _messages(self._opening)
        self._half_closed = False

    async def open(self) -> BidiChannel[R, T]:
        """Sends the call. The handler starts at once, before the first message."""
        await self._opening.open()
        return self

    async def send(self, message: R) -> None:
        """Sends one message; waits while the other side is behind. Raises the call's failure if it has failed."""
        if self._half_closed:
            raise UsageError("send() after half_close() or close(): the other side was told that no more messages come")
        call = self._opening.call
        if call is None:
            call = await self._opening.open()
        assert self._opening.binding is not None
        pending = _send(call, self._opening.binding, message)
        if pending is not None:
            await pending

    async def half_close(self) -> None:
        """Tells the handler that no more messages come; its iteration ends. Answers may still be read."""
        if not self._half_closed:
            self._half_closed = True
            (await self._opening.open()).half_close()

    def __aiter__(self) -> AsyncIterator[T]:
        return self._messages

    def __anext__(self) -> Awaitable[T]:
        return self._messages.__anext__()

    async def close(self) -> None:
        """Ends the call in an orderly way: half-closes, waits until the handler has ended, and drops answers that come
        meanwhile. After 5 s without an end the call is cancelled. Raises the failure if the handler failed. May be
        called twice, and does nothing on a channel that was never opened."""
        if self._opening.ended or self._opening.call is None:
            self._opening.ended = True
            return
        await self.half_close()
        try:
            await asyncio.wait_for(self._drop_rest(), CLOSE_SECONDS)
        except asyncio.TimeoutError as error:
            if isinstance(error, RpcError):
                raise
            self.cancel()

    async def _drop_rest(self) -> None:
        async for _ in self._messages:
            pass

    def cancel(self) -> None:
        """Cancels the call on the server. May be called twice."""
        self._opening.cancel()

    async def aclose(self) -> None:
        """Cancels the call if it has not ended; the same as `cancel()`, in the form that iterators have."""
        self.cancel()
        await self._messages.aclose()

    @property
    def metadata(self) -> Mapping[str, Union[str, bytes]]:
        """Metadata of the response, there once the first answer has come."""
        return self._opening.require().metadata

    @property
    def trailing_metadata(self) -> Mapping[str, Union[str, bytes]]:
        """Metadata sent with the end, there once the iteration has ended."""
        return self._opening.require().trailing_metadata

    async def __aenter__(self) -> BidiChannel[R, T]:
        return await self.open()

    async def __aexit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        if error is None:
            await self.close()
        else:
            await self.aclose()


def _send(call: _native.ClientCall, binding: Binding, message: Any) -> Optional[Awaitable[None]]:
    """Sends one message. Raises `InvalidArgument` for one that cannot be sent, and the call's own failure if it has ended."""
    try:
        payload = binding.encode(message)
    except REFUSALS as error:
        raise binding.refused(error, message) from error
    try:
        return call.send(payload)
    except ValueError as error:
        raise binding.refused(error, message) from error


async def call_client_stream(
    binding: Binding, source: Union[AsyncIterator[Any], Iterable[Any], Outbox], options: Optional[dict[str, Any]]
) -> Any:
    """Sends everything that `source` gives and returns the one answer.

    The source runs in a task of its own, so that an answer or a failure that comes early ends the call at once, even
    while the source is waiting.
    """
    call = binding.client.stream(binding.native, options)
    answer = asyncio.ensure_future(_single_answer(call, binding))
    pump = asyncio.ensure_future(_pump(call, binding, source))
    try:
        await asyncio.wait((answer, pump), return_when=asyncio.FIRST_COMPLETED)
        if not answer.done() and pump.done() and pump.exception() is not None:
            # The source failed. What the server would have said about half a stream does not matter.
            pump.result()
        return await answer
    except BaseException:
        call.cancel()
        raise
    finally:
        for task in (pump, answer):
            if not task.done():
                task.cancel()
        await asyncio.gather(pump, answer, return_exceptions=True)


async def _pump(call: _native.ClientCall, binding: Binding, source: Any) -> None:
    """Sends what the source gives. Raises what the source raises, and refusals; that the call has ended is no failure
    of the pump, since the answer says how it ended."""
    if isinstance(source, Outbox):
        try:
            await source.send_all(call.send)
        except ValueError as error:
            raise binding.refused(error, None) from error
        except RpcError:
            return
        call.half_close()
        return
    encode, send = binding.encode, call.send
    messages = source.__aiter__() if hasattr(source, "__aiter__") else _each(source)
    try:
        async for message in messages:
            try:
                payload = encode(message)
            except REFUSALS as error:
                raise binding.refused(error, message) from error
            try:
                pending = send(payload)
                if pending is not None:
                    await pending
            except ValueError as error:
                raise binding.refused(error, message) from error
            except RpcError:
                return
        call.half_close()
    finally:
        close = getattr(source, "aclose", None)
        if close is not None:
            await close()


async def _each(source: Iterable[Any]) -> AsyncIterator[Any]:
    for message in source:
        yield message


async def _single_answer(call: _native.ClientCall, binding: Binding) -> Any:
    answers: list[Any] = []
    while True:
        batch = await call.wait()
        if not batch:
            break
        try:
            answers.extend(binding.decode_batch(batch))
        except Exception as error:
            raise translate_decode_error(error, f"{binding.where}: the answer") from error
    if len(answers) != 1:
        raise Internal(f"{binding.where} answered {len(answers)} messages, expected 1")
    return answers[0]
