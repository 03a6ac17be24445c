"""Runs handlers: from a call that the core hands over to its answer.

Everything about a method that does not change from call to call is worked out once, when the server starts. A
call then costs one task (begun at once on Python 3.12 and later), one decode, the handler and one encode.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import inspect
import logging
import sys
from typing import Any, AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Optional, Union

from . import _native
from ._codec import Codec, codec_for, translate_decode_error
from ._context import CallContext, current_call
from ._errors import RpcError, StatusCode, encode_details
from ._service import HandlerForm, MethodSpec, Pattern, ServiceSpec
from ._threads import Outbox, ThreadInbox

__all__ = ["Dispatcher", "SessionFactory"]

_log = logging.getLogger("aster.server")

SessionFactory = Callable[[str], Any]
"""Makes the instance of a session service for a peer's endpoint id."""

HOOK_SECONDS = 5.0
"""How long a closing server waits for `on_session_close` hooks."""

_EAGER = sys.version_info >= (3, 12)
_TASK_CONTEXT = sys.version_info >= (3, 11)


class Dispatcher:
    """The handlers of one server, or of one client that offers services, on one loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, threads: Optional[int], expose_errors: bool) -> None:
        self.loop = loop
        self._server: Union[_native.Server, _native.Client, None] = None
        self._closed_early: list[int] = []
        self._context = contextvars.copy_context()
        self._threads = threads
        self._pool: Optional[concurrent.futures.ThreadPoolExecutor] = None
        self._expose = expose_errors
        self._tables: list[list[Callable[[_native.Call], None]]] = []
        self._sessions: dict[int, Any] = {}
        self._factories: list[Optional[SessionFactory]] = []
        self._running: dict[Any, asyncio.Task[None]] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def add(self, spec: ServiceSpec, instance: Any, factory: Optional[SessionFactory]) -> None:
        """Adds a service: its one instance, or what makes an instance per session."""
        self._factories.append(factory)
        # In the order of the contract's methods, which is by name.
        self._tables.append([self._starter(_Handler(spec, method), instance) for method in spec.methods])

    def on_calls(self, calls: list[_native.Call]) -> None:
        """Starts the handlers of a batch of calls; the core calls this from the port's `drain`."""
        tables = self._tables
        for call in calls:
            tables[call.service_index][call.method_index](call)

    def on_session_close(self, key: int, service_index: int, reason: str) -> None:
        """Runs the close hook of a session, once, and tells the core when it is done."""
        instance = self._sessions.pop(key, None)
        hook = getattr(instance, "on_session_close", None)
        if hook is None:
            self._session_closed(key)
            return
        task = self._spawn(self._close_session(key, hook, reason))
        if not task.done():
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def _close_session(self, key: int, hook: Callable[[], Any], reason: str) -> None:
        try:
            result = hook()
            if inspect.isawaitable(result):
                await result
        except Exception:
            _log.exception(
                "on_session_close of %s failed (session closed: %s)", getattr(hook, "__qualname__", hook), reason
            )
        finally:
            self._session_closed(key)

    def attach(self, server: Union[_native.Server, _native.Client]) -> None:
        """Says which server, or client that offers services, the calls come from; the first ones may have come before it was known here."""
        self._server = server
        early, self._closed_early = self._closed_early, []
        for key in early:
            server.session_closed(key)

    def _session_closed(self, key: int) -> None:
        if self._server is None:
            self._closed_early.append(key)
        else:
            self._server.session_closed(key)

    async def sessions_closed(self) -> None:
        """Waits for the close hooks that are still running, for at most `HOOK_SECONDS`."""
        if self._closing:
            await asyncio.wait(list(self._closing), timeout=HOOK_SECONDS)

    def close(self) -> None:
        """Cancels what still runs. The core has ended every call by then."""
        for task in [*self._running.values()]:
            task.cancel()
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    # ------------------------------------------------------------ starting

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        # Each handler has its own copy of the context that the server was started in.
        if _EAGER:
            return asyncio.Task(coroutine, loop=self.loop, context=self._context.copy(), eager_start=True)  # type: ignore[call-arg]
        if _TASK_CONTEXT:
            return self.loop.create_task(coroutine, context=self._context.copy())  # type: ignore[call-arg]
        return self._context.run(self.loop.create_task, coroutine)

    def _starter(self, handler: _Handler, instance: Any) -> Callable[[_native.Call], None]:
        """The function that begins one call of this method."""
        run = _RUNNERS[handler.pattern, handler.is_async](self, handler)
        spawn, running = self._spawn, self._running
        attribute, session = handler.method.attribute, handler.spec.session
        shared = None if session else getattr(instance, attribute)

        if handler.method.options.inline:

            def start_inline(call: _native.Call) -> None:
                try:
                    function = shared if shared is not None else getattr(self._session_of(call), attribute)
                except Exception as error:
                    self.fail(call, error, handler)
                    return
                self._context.copy().run(self._run_inline, call, function, handler)

            return start_inline

        def start(call: _native.Call) -> None:
            function = shared
            if function is None:
                try:
                    function = getattr(self._session_of(call), attribute)
                except Exception as error:  # the constructor is the user's
                    self.fail(call, error, handler)
                    return
            task = spawn(run(call, function))
            if not task.done():
                running[call] = task
                call.set_cancel(task.cancel)

        def start_later(call: _native.Call) -> None:
            function = shared
            if function is None:
                try:
                    function = getattr(self._session_of(call), attribute)
                except Exception as error:
                    self.fail(call, error, handler)
                    return
            task = running[call] = spawn(run(call, function))

            def cancel() -> None:
                # A task cancelled before its first step never gets to its own `finally`.
                task.add_done_callback(lambda _: running.pop(call, None))
                task.cancel()

            call.set_cancel(cancel)

        return start if _EAGER else start_later

    def _session_of(self, call: _native.Call) -> Any:
        """The instance of the call's session, made by the first call that arrives."""
        instance = self._sessions.get(call.session_key)
        if instance is None:
            factory = self._factories[call.service_index]
            assert factory is not None  # session services always have one: see `AsterServer.start`
            instance = self._sessions[call.session_key] = factory(call.peer)
        return instance

    # ------------------------------------------------------------ running

    def finished(self, call: _native.Call) -> None:
        """Forgets a call whose handler has ended."""
        self._running.pop(call, None)

    def pool(self) -> concurrent.futures.ThreadPoolExecutor:
        """The threads of plain `def` handlers, made when the first one runs."""
        if self._pool is None:
            self._pool = concurrent.futures.ThreadPoolExecutor(self._threads, thread_name_prefix="aster-handler")
        return self._pool

    async def in_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Runs blocking code in a thread, in a copy of the handler's context."""
        context = contextvars.copy_context()
        return await self.loop.run_in_executor(self.pool(), lambda: context.run(function, *arguments))

    def _run_inline(self, call: _native.Call, function: Callable[..., Any], handler: _Handler) -> None:
        current_call.set(call)
        try:
            result = handler.invoke(function, call)
            if handler.pattern is Pattern.UNARY:
                call.reply(handler.encode(result))
                return
            # Nobody else runs meanwhile, so a full buffer cannot drain: inline streams are for short answers.
            for item in result:
                if call.send(handler.encode(item)) is not None:
                    raise RuntimeError(
                        f"{handler} answered more than the connection takes at once, and inline=True cannot wait; remove inline=True"
                    )
            call.finish()
        except BaseException as error:
            self.fail(call, error, handler)
            if not isinstance(error, Exception):
                raise

    def fail(self, call: _native.Call, error: BaseException, handler: _Handler) -> None:
        """Answers a call with what its handler raised."""
        if call.cancelled:
            # The caller has its answer already. The core still has to know that the handler has ended, since the next
            # call of a session waits for that; and errors of an interrupted handler are worth a line.
            if not isinstance(error, (asyncio.CancelledError, RpcError)):
                _log.warning("%s failed after its call was cancelled: %r", handler, error)
            call.end()
            return
        if isinstance(error, RpcError):
            try:
                details = encode_details(error.details)
                call.fail(error.code_number, error.message, details, dict(error.metadata))
                return
            except (TypeError, ValueError, OverflowError) as broken:
                error = broken
        if isinstance(error, asyncio.CancelledError):
            call.fail(StatusCode.CANCELLED, "the handler was cancelled on the server", None, None)
            return
        text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        error_id = call.fail_internal(text)
        _log.error("error %s in %s, called by %s", error_id, handler, call.peer, exc_info=error)


class _Handler:
    """What is known about a method before any call."""

    def __init__(self, spec: ServiceSpec, method: MethodSpec) -> None:
        self.spec = spec
        self.method = method
        self.pattern = method.pattern
        self.form = method.form
        self.is_async = method.form in (HandlerForm.COROUTINE, HandlerForm.ASYNC_GENERATOR)
        self.request: Codec = codec_for(method.request)
        self.encode = codec_for(method.response).encode
        self.invoke = self._invoker()

    def __str__(self) -> str:
        return f"{self.spec.name}.{self.method.name}"

    def _invoker(self) -> Callable[[Callable[..., Any], _native.Call], Any]:
        """A function that calls the handler with the decoded request of a call. Requests that do not decode are the
        caller's fault, so that is told apart from errors of the handler itself."""
        decode, context_name = self.request.decode, self.method.context_parameter
        service, name = self.spec.name, self.method.name

        def read(call: _native.Call) -> Any:
            try:
                return decode(call.request)  # type: ignore[arg-type]
            except Exception as error:
                raise translate_decode_error(error, f"{service}.{name}: the request") from error

        if self.method.parameters is not None:
            if context_name is None:
                return lambda function, call: function(**read(call))
            return lambda function, call: function(**read(call), **{context_name: CallContext(call, service, name)})
        single = self.method.request_parameter
        assert single is not None
        if context_name is not None:
            return lambda function, call: function(
                **{single: read(call), context_name: CallContext(call, service, name)}
            )

        def direct(function: Callable[..., Any], call: _native.Call) -> Any:
            # The usual case, in one step: a call through `read` is measurable here.
            try:
                request = decode(call.request)  # type: ignore[arg-type]
            except Exception as error:
                raise translate_decode_error(error, f"{service}.{name}: the request") from error
            return function(request)

        return direct

    def invoke_stream(self, function: Callable[..., Any], call: _native.Call, requests: Any) -> Any:
        """Calls a handler that takes a stream."""
        single, context_name = self.method.request_parameter, self.method.context_parameter
        assert single is not None
        if context_name is None:
            return function(requests)
        return function(**{single: requests, context_name: CallContext(call, self.spec.name, self.method.name)})

    def decode_batch(self, batch: bytes) -> list[Any]:
        """The messages of a batch; `InvalidArgument` if one of them does not make the declared class."""
        try:
            return self.request.decode_batch(batch)
        except Exception as error:
            raise translate_decode_error(error, f"{self}: a message of the stream") from error


Runner = Callable[[_native.Call, Callable[..., Any]], Coroutine[Any, Any, None]]


def _run_unary(dispatcher: Dispatcher, handler: _Handler) -> Runner:
    invoke, encode = handler.invoke, handler.encode
    fail, finished, enter = dispatcher.fail, dispatcher.finished, current_call.set

    async def run(call: _native.Call, function: Callable[..., Any]) -> None:
        enter(call)
        try:
            call.reply(encode(await invoke(function, call)))
        except (Exception, asyncio.CancelledError) as error:
            fail(call, error, handler)
        except (KeyboardInterrupt, SystemExit) as error:
            fail(call, error, handler)
            raise
        finally:
            finished(call)

    return run


def _run_answering(
    dispatcher: Dispatcher, handler: _Handler, work: Callable[[_native.Call, Callable[..., Any]], Awaitable[None]]
) -> Runner:
    """A runner around `work`, which also ends the call when all goes well."""

    async def run(call: _native.Call, function: Callable[..., Any]) -> None:
        current_call.set(call)
        try:
            await work(call, function)
        except (Exception, asyncio.CancelledError) as error:
            dispatcher.fail(call, error, handler)
        except (KeyboardInterrupt, SystemExit) as error:
            dispatcher.fail(call, error, handler)
            raise
        finally:
            dispatcher.finished(call)

    return run


def _run_unary_in_thread(dispatcher: Dispatcher, handler: _Handler) -> Runner:
    async def work(call: _native.Call, function: Callable[..., Any]) -> None:
        call.reply(handler.encode(await dispatcher.in_thread(handler.invoke, function, call)))

    return _run_answering(dispatcher, handler, work)


def _requests(call: _native.Call, handler: _Handler) -> AsyncIterator[Any]:
    """The messages of a call as they arrive, for the task that this is called in."""
    return _read(call, handler, asyncio.current_task())


async def _read(call: _native.Call, handler: _Handler, task: Optional[asyncio.Task[Any]]) -> AsyncIterator[Any]:
    """One decode per batch, nothing per message."""
    take, wait, decode_batch = call.take, call.wait, handler.decode_batch
    while True:
        try:
            batch = take()
            if batch is None:
                batch = await wait()
        except RpcError:
            # The failure of the requests can be seen before the event that cancels the handler: it is to meet the latter,
            # once. A cancelled call that is given what cancels it calls that at once, and never again.
            if call.cancelled and task is not None:
                call.set_cancel(task.cancel)
                await asyncio.sleep(0)
            raise
        if not batch:
            return
        for message in decode_batch(batch):
            yield message


def _thread_requests(dispatcher: Dispatcher, call: _native.Call, handler: _Handler) -> Iterator[Any]:
    async def fetch() -> Optional[list[Any]]:
        batch = call.take()
        if batch is None:
            batch = await call.wait()
        return handler.decode_batch(batch) if batch else None

    return ThreadInbox(fetch, dispatcher.loop)


async def _send_all(call: _native.Call, answers: Any, encode: Callable[[Any], bytes]) -> None:
    """Sends what an async iterator yields, then ends the call. The iterator is closed however this ends, so that a
    handler's own clean-up runs before the call is over."""
    send = call.send
    try:
        async for answer in answers:
            pending = send(encode(answer))
            if pending is not None:
                await pending
            elif call.cancelled:
                break  # the handler caught its cancellation and went on
    finally:
        close = getattr(answers, "aclose", None)
        if close is not None:
            await close()
    call.finish()


async def _answers(result: Any, handler: _Handler) -> Any:
    if handler.form is HandlerForm.COROUTINE:
        result = await result
    if not hasattr(result, "__aiter__"):
        raise TypeError(
            f"{handler} answered {type(result).__name__}, and its callers expect a stream; make it an async generator"
        )
    return result


def _run_server_stream(dispatcher: Dispatcher, handler: _Handler) -> Runner:
    async def work(call: _native.Call, function: Callable[..., Any]) -> None:
        await _send_all(call, await _answers(handler.invoke(function, call), handler), handler.encode)

    return _run_answering(dispatcher, handler, work)


def _run_client_stream(dispatcher: Dispatcher, handler: _Handler) -> Runner:
    async def work(call: _native.Call, function: Callable[..., Any]) -> None:
        call.reply(handler.encode(await handler.invoke_stream(function, call, _requests(call, handler))))

    return _run_answering(dispatcher, handler, work)


def _run_bidi_stream(dispatcher: Dispatcher, handler: _Handler) -> Runner:
    async def work(call: _native.Call, function: Callable[..., Any]) -> None:
        result = handler.invoke_stream(function, call, _requests(call, handler))
        await _send_all(call, await _answers(result, handler), handler.encode)

    return _run_answering(dispatcher, handler, work)


def _run_client_stream_in_thread(dispatcher: Dispatcher, handler: _Handler) -> Runner:
    async def work(call: _native.Call, function: Callable[..., Any]) -> None:
        requests = _thread_requests(dispatcher, call, handler)
        call.reply(handler.encode(await dispatcher.in_thread(handler.invoke_stream, function, call, requests)))

    return _run_answering(dispatcher, handler, work)


def _run_generator_in_thread(dispatcher: Dispatcher, handler: _Handler) -> Runner:
    """Plain generators: the thread fills a bounded queue, the loop sends from it."""

    async def work(call: _native.Call, function: Callable[..., Any]) -> None:
        outbox = Outbox(dispatcher.loop)

        def produce() -> None:
            try:
                if handler.pattern.streams_requests:
                    result = handler.invoke_stream(function, call, _thread_requests(dispatcher, call, handler))
                else:
                    result = handler.invoke(function, call)
                outbox.fill(result, handler.encode)
            finally:
                outbox.finish()

        producer = asyncio.ensure_future(dispatcher.in_thread(produce))
        try:
            await outbox.send_all(call.send)
            await producer
        except BaseException:
            # The thread stops by itself at its next message; what it raises then is about a call that is over.
            producer.add_done_callback(lambda done: done.cancelled() or done.exception())
            raise
        call.finish()

    return _run_answering(dispatcher, handler, work)


_RUNNERS: dict[tuple[Pattern, bool], Callable[[Dispatcher, _Handler], Runner]] = {
    (Pattern.UNARY, True): _run_unary,
    (Pattern.SERVER_STREAM, True): _run_server_stream,
    (Pattern.CLIENT_STREAM, True): _run_client_stream,
    (Pattern.BIDI_STREAM, True): _run_bidi_stream,
    (Pattern.UNARY, False): _run_unary_in_thread,
    (Pattern.SERVER_STREAM, False): _run_generator_in_thread,
    (Pattern.CLIENT_STREAM, False): _run_client_stream_in_thread,
    (Pattern.BIDI_STREAM, False): _run_generator_in_thread,
}
