"""C1 to C3, C5, C6: calls of all four kinds, metadata, time limits, cancellation and errors."""

from __future__ import annotations

import asyncio
import gc
import math
import threading
import time
import weakref
from collections.abc import AsyncIterator, Iterator
from typing import Any, Optional

import pytest
from services import Blob, Calls, Number, Text

from aster import (
    AsterClient,
    CallContext,
    CallInfo,
    Cancelled,
    DeadlineExceeded,
    Internal,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    RpcError,
    StatusCode,
    UsageError,
    bidi_stream,
    client_stream,
    rpc,
    server_stream,
    service,
)
from aster.testing import Pair, pair

SOON = 5.0
"""Seconds in which something that happens at once has happened on a busy machine."""


async def numbers(count: int) -> AsyncIterator[Number]:
    for n in range(count):
        yield Number(n)


# ---------------------------------------------------------------- C1: the four kinds


async def test_C1_unary_typed_and_dynamic(both: Pair) -> None:
    typed, dynamic = both.client.client(Calls), both.client.proxy("Calls")
    assert await typed.echo(Text("a")) == Text("a")
    assert await dynamic.echo({"text": "b"}) == {"text": "b"}
    assert await dynamic.echo(text="c") == {"text": "c"}
    assert await dynamic.echo(Text("d")) == {"text": "d"}
    assert await typed.echo(text="e") == Text("e")  # type: ignore[call-arg]
    assert await dynamic.echo() == {"text": ""}


async def test_C1_unary_of_every_size_up_to_large(both: Pair) -> None:
    typed = both.client.client(Calls)
    for size in (0, 1, 100, 8_000, 8_192, 8_300, 65_536, 1_000_000, 4_000_000):
        data = bytes(size)
        assert (await typed.blob(Blob(data))).data == data


async def test_C1_server_stream(both: Pair) -> None:
    typed, dynamic = both.client.client(Calls), both.client.proxy("Calls")
    assert [each async for each in typed.count.stream(Number(5))] == [Number(n) for n in range(5)]
    assert [each["n"] async for each in dynamic.count.stream({"n": 3})] == [0, 1, 2]
    assert [each["n"] async for each in dynamic.count.stream(n=2)] == [0, 1]
    assert [each async for each in typed.count.stream(Number(0))] == []
    assert len([each async for each in typed.count.stream(Number(20_000))]) == 20_000


async def test_C1_client_stream_from_async_and_plain_iterables(both: Pair) -> None:
    typed, dynamic = both.client.client(Calls), both.client.proxy("Calls")
    assert await typed.total(numbers(100)) == Number(4950)
    assert await dynamic.total({"n": n} async for n in _range(10)) == {"n": 45}
    assert await dynamic.total([{"n": 1}, {"n": 2}]) == {"n": 3}
    assert await dynamic.total([]) == {"n": 0}


async def _range(count: int) -> AsyncIterator[int]:
    for n in range(count):
        yield n


async def test_C1_bidi_ping_pong_and_half_close(both: Pair) -> None:
    channel = both.client.client(Calls).chat.bidi()
    await channel.open()
    for text in ("a", "b"):
        await channel.send(Text(text))
        assert await channel.__anext__() == Text(text.upper())
    await channel.half_close()
    assert [each async for each in channel] == []
    await channel.close()
    with pytest.raises(UsageError, match="half_close"):
        await channel.send(Text("late"))


async def test_C1_bidi_where_the_handler_speaks_first(both: Pair) -> None:
    async with both.client.proxy("Calls").greet.bidi() as channel:
        assert await channel.__anext__() == {"text": "hello"}
        await channel.send({"text": "x"})
        async for answer in channel:
            assert answer == {"text": "x"}
            break  # leaves the loop, not the channel
        await channel.send({"text": "y"})
        assert await channel.__anext__() == {"text": "y"}


async def test_C1_metadata_in_every_direction(both: Pair) -> None:
    dynamic, info = both.client.proxy("Calls"), CallInfo()
    answer = await dynamic.about({"text": ""}, metadata={"key": "value"}, timeout=30, info=info)
    assert answer["metadata"]["key"] == "value"
    assert 0 < answer["time_left"] <= 30
    assert answer["method"] == "Calls.about"
    assert answer["same"]
    assert info.metadata["initial"] == "1"
    assert info.metadata["blob-bin"] == b"\x00"
    assert info.trailing_metadata["trailing"] == "2"


async def test_C1_options_by_with_options_and_by_keyword(both: Pair) -> None:
    dynamic, typed = both.client.proxy("Calls"), both.client.client(Calls)
    for answer in (
        await dynamic.with_options(metadata={"k": "1"}).about({"text": ""}),
        await dynamic.about.with_options(metadata={"k": "1"}).with_options(timeout=9)({"text": ""}),
        await dynamic.about.with_options(metadata={"k": "1"})(text=""),
        await typed.about(Text(), metadata={"k": "1"}),  # type: ignore[call-arg]
    ):
        assert answer["metadata"]["k"] == "1"
    assert (await dynamic.about({"text": ""}))["time_left"] is None
    with pytest.raises(UsageError, match="'tiemout' is not an option"):
        await dynamic.about({"text": ""}, tiemout=1)


async def test_C1_with_options_holds_in_every_form_and_none_by_keyword_takes_nothing_away() -> None:
    @service(name="Seen", version=1)
    class Seen:
        """Every form tells the options that reached the handler."""

        @rpc
        async def unary(self, req: Text, ctx: CallContext) -> Text:
            return self.seen(ctx)

        @server_stream
        async def down(self, req: Text, ctx: CallContext) -> AsyncIterator[Text]:
            yield self.seen(ctx)

        @client_stream
        async def up(self, items: AsyncIterator[Text], ctx: CallContext) -> Text:
            return self.seen(ctx)

        @bidi_stream
        async def both_ways(self, items: AsyncIterator[Text], ctx: CallContext) -> AsyncIterator[Text]:
            yield self.seen(ctx)

        def seen(self, ctx: CallContext) -> Text:
            assert ctx.time_left is not None
            return Text(f"{ctx.metadata['k']}, {60 * math.ceil(ctx.time_left / 60)} s")

    async def every_form(remote: Any, **options: Any) -> set[str]:
        answers = [await remote.unary(Text(), **options), await remote.up([Text()], **options)]
        answers.extend([each async for each in remote.down.stream(Text(), **options)])
        async with remote.both_ways.bidi(**options) as channel:
            answers.append(await channel.__anext__())
        assert len(answers) == 4
        return {each.text for each in answers}

    nothing = {"timeout": None, "metadata": None, "compress": None, "info": None}
    async with pair(Seen()) as (client, _):
        remote = client.client(Seen).with_options(timeout=120, metadata={"k": "1"})  # type: ignore[attr-defined]
        assert await every_form(remote) == {"1, 120 s"}
        assert await every_form(remote, **nothing) == {"1, 120 s"}
        assert await every_form(remote.with_options(**nothing)) == {"1, 120 s"}
        assert await every_form(remote, timeout=60) == {"1, 60 s"}, "one that is given replaces only itself"
        assert await every_form(remote.with_options(metadata={"k": "2"})) == {"2, 120 s"}
        chained = remote.both_ways.with_options(timeout=60).with_options(metadata={"k": "3"}).with_options(**nothing)
        async with chained.bidi() as channel:
            assert await channel.__anext__() == Text("3, 60 s")
        with pytest.raises(UsageError, match="'tiemout' is not an option"):
            await remote.unary(Text(), tiemout=None)


async def test_C1_compression_per_call(both: Pair) -> None:
    typed = both.client.client(Calls)
    data = b"a" * 200_000
    assert (await typed.blob(Blob(data), compress=True)).data == data  # type: ignore[call-arg]


# ---------------------------------------------------------------- plain handlers


async def test_C1_plain_functions_run_in_threads_and_inline_on_the_loop(both: Pair) -> None:
    typed = both.client.client(Calls)
    assert "aster-handler" in (await typed.blocking(Text("x"))).text  # type: ignore[misc]
    assert "MainThread" in (await typed.inline(Text("x"))).text  # type: ignore[misc]
    assert [each.n async for each in typed.blocking_count.stream(Number(1000))] == list(range(1000))
    assert (await typed.blocking_total(numbers(1000))).n == 499_500  # type: ignore[misc,arg-type]
    async with both.client.proxy("Calls").blocking_chat.bidi() as channel:
        await channel.send({"text": "a"})
        assert await channel.__anext__() == {"text": "A"}


# ---------------------------------------------------------------- C2: time limits


@pytest.mark.parametrize("timeout", [0.05, 0.3])
async def test_C2_deadline_below_a_second(both: Pair, calls: Calls, timeout: float) -> None:
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        await both.client.client(Calls).hang(Text(), timeout=timeout)  # type: ignore[call-arg]
    assert timeout * 0.9 <= time.monotonic() - began < timeout + SOON
    await asyncio.wait_for(calls.gate.cancelled.wait(), SOON)


async def test_C2_deadline_is_enforced_though_the_handler_ignores_it(both: Pair, calls: Calls) -> None:
    with pytest.raises(DeadlineExceeded):
        await both.client.proxy("Calls").stubborn({}, timeout=0.1)
    await asyncio.wait_for(calls.gate.cancelled.wait(), SOON)
    assert await both.client.proxy("Calls").echo({"text": "still here"}) == {"text": "still here"}


async def test_C2_timeout_of_the_method_is_enforced(both: Pair) -> None:
    with pytest.raises(DeadlineExceeded):
        await both.client.proxy("Calls").limited({})
    with pytest.raises(DeadlineExceeded):
        await both.client.client(Calls).limited(Text())


async def test_C2_timeout_of_the_method_binds_callers_who_allow_more(both: Pair) -> None:
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded) as info:
        await both.client.proxy("Calls").limited({}, timeout=60)
    assert info.value.origin == "server"
    assert time.monotonic() - began < SOON


def limited(limit: Optional[float], more: bool = False, name: str = "Limited") -> Any:
    """A service that tells how much time it has left; the limit is not part of its contract's id."""

    class Limited:
        @rpc(timeout=limit)
        async def left(self, ctx: CallContext) -> float:
            return -1.0 if ctx.time_left is None else ctx.time_left

    class More(Limited):
        @rpc
        async def more(self) -> None: ...

    return service(name=name, version=1)(More if more else Limited)


@pytest.mark.parametrize("more", [False, True], ids=["equal", "compatible"])
async def test_C2_the_calls_limit_goes_before_the_methods_and_a_typed_clients_own_before_the_servers(
    more: bool,
) -> None:
    async with pair(limited(300, more)()) as (client, _):
        dynamic = client.proxy("Limited")
        assert 290 < await dynamic.left() <= 300, "what the server's contract says"
        assert 90 < await dynamic.with_options(timeout=100).left() <= 100
        typed = client.client(limited(200))
        assert 190 < await typed.left() <= 200, "what the client's own class says"
        assert 90 < await typed.with_options(timeout=100).left() <= 100
    async with pair(limited(None, more, "Free")()) as (client, _):
        assert await client.proxy("Free").left() == -1
        assert 190 < await client.client(limited(200, name="Free")).left() <= 200
        assert await client.client(limited(None, name="Free")).left() == -1


async def test_C3_a_handler_meets_its_cancellation_before_the_failure_of_its_requests() -> None:
    ended: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
    done = threading.Event()

    @service(name="Reads", version=1)
    class Reads:
        @client_stream
        async def read(self, numbers: AsyncIterator[int], ctx: CallContext) -> int:
            try:
                async for _ in numbers:
                    # The event loop stands still until the call is cancelled, so nothing can tell this task before it reads.
                    while not ctx.cancelled:
                        time.sleep(0.001)
                return 0
            except BaseException as error:
                ended.set_result(error)
                raise

    def numbers() -> Iterator[int]:
        yield 1
        done.wait(SOON)

    def call(address: str) -> None:
        with AsterClient.blocking(address, preset="local") as client, pytest.raises(DeadlineExceeded):
            client.proxy("Reads").read(numbers(), timeout=0.2)

    async with pair(Reads()) as (_, server):
        calling = asyncio.create_task(asyncio.to_thread(call, server.address))
        assert isinstance(await asyncio.wait_for(ended, SOON), asyncio.CancelledError)
        done.set()
        await calling


async def test_C2_nested_calls_inherit_what_is_left() -> None:
    later: list[asyncio.Task[float]] = []
    answered = asyncio.Event()

    @service(name="Outer", version=1)
    class Outer:
        @rpc
        async def through(self, own: float) -> float:
            inner = client.proxy("Limited")
            left: float = await (inner.with_options(timeout=own).left() if own else inner.left())
            return left

        @rpc
        async def left_behind(self) -> None:
            later.append(asyncio.create_task(self.after_the_answer()))

        async def after_the_answer(self) -> float:
            await answered.wait()
            left: float = await client.proxy("Limited").left()
            return left

    async with pair(limited(50)(), Outer()) as (client, _):
        outer = client.proxy("Outer")
        assert 40 < await outer.through(own=0.0) <= 50, "nothing to inherit: the method's own limit"
        bounded = outer.with_options(timeout=20)
        assert 15 < await bounded.through(own=0.0) <= 20
        assert 15 < await bounded.through(own=100.0) <= 20, "no time limit of its own reaches beyond"
        assert 5 < await bounded.through(own=10.0) <= 10, "one that is shorter holds"
        await bounded.left_behind()
        answered.set()
        assert 40 < await later[0] <= 50, "what a handler leaves running is nobody's call"


async def test_C2_timeout_of_the_method_cancels_its_handler_in_all_forms() -> None:
    def make(limit: Optional[float]) -> Any:
        cancelled: list[str] = []

        async def never(name: str, context: CallContext) -> None:
            left = context.time_left
            assert left is not None
            assert left <= 0.2
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(name)
                raise

        @service(name="Limited")
        class Limited:
            seen = cancelled

            @rpc(timeout=limit)
            async def one(self, req: Text, context: CallContext) -> Text:
                await never("one", context)
                return req

            @server_stream(timeout=limit)
            async def down(self, req: Text, context: CallContext) -> AsyncIterator[Text]:
                yield req
                await never("down", context)

            @client_stream(timeout=limit)
            async def up(self, requests: AsyncIterator[Text], context: CallContext) -> Text:
                await never("up", context)
                return Text()

            @bidi_stream(timeout=limit)
            async def both(self, requests: AsyncIterator[Text], context: CallContext) -> AsyncIterator[Text]:
                await never("both", context)
                yield Text()

        return Limited

    served, called = make(0.2), make(None)
    async with pair(served()) as made:
        # The callers' class has the same contract and no limits, so whatever ends these calls is the server.
        client: Any = made.client.client(called)
        with pytest.raises(DeadlineExceeded):
            await client.one(Text())
        with pytest.raises(DeadlineExceeded):
            assert [each async for each in client.down.stream(Text())] == []
        with pytest.raises(DeadlineExceeded):
            await client.up([Text()])
        async with client.both.bidi() as channel:
            with pytest.raises(DeadlineExceeded):
                await channel.__anext__()
        for _ in range(100):
            if len(served.seen) == 4:
                break
            await asyncio.sleep(SOON / 100)
        assert served.seen == ["one", "down", "up", "both"]


async def test_C2_expired_deadline_does_not_run_the_handler(both: Pair, calls: Calls) -> None:
    with pytest.raises(DeadlineExceeded):
        await both.client.proxy("Calls").hang({}, timeout=0)
    assert await both.client.proxy("Calls").echo({"text": "a"}) == {"text": "a"}
    assert not calls.gate.started.is_set()


async def test_C2_deadline_of_a_stream(both: Pair, calls: Calls) -> None:
    with pytest.raises(DeadlineExceeded):
        async for _ in both.client.proxy("Calls").tail.stream({}, timeout=0.2):
            pass
    await asyncio.wait_for(calls.gate.cancelled.wait(), SOON)


# ---------------------------------------------------------------- C3: cancellation


async def test_C3_cancelling_the_caller_cancels_the_handler(both: Pair, calls: Calls) -> None:
    task = asyncio.ensure_future(both.client.client(Calls).hang(Text()))
    await calls.gate.started.wait()
    began = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(calls.gate.cancelled.wait(), SOON)
    assert time.monotonic() - began < 1


async def test_C3_leaving_a_stream_cancels_the_handler(both: Pair, calls: Calls) -> None:
    async for message in both.client.client(Calls).tail.stream(Text()):
        assert message == Text("first")
        break
    await asyncio.wait_for(calls.gate.cancelled.wait(), SOON)


@pytest.mark.parametrize("how", ["aclose", "cancel", "with", "drop", "task"])
async def test_C3_every_way_to_end_a_stream_early_cancels_the_handler(both: Pair, calls: Calls, how: str) -> None:
    stream = both.client.client(Calls).tail.stream(Text())
    assert await stream.__anext__() == Text("first")
    if how == "aclose":
        await stream.aclose()
        await stream.aclose()
    elif how == "cancel":
        stream.cancel()
        stream.cancel()
        with pytest.raises(Cancelled):
            await stream.__anext__()
    elif how == "with":
        async with stream:
            pass
    elif how == "drop":
        del stream
        gc.collect()
    else:
        task = asyncio.ensure_future(stream.__anext__())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await asyncio.wait_for(calls.gate.cancelled.wait(), SOON)


async def test_C3_bidi_cancel_and_error_inside_cancel_the_handler(both: Pair, calls: Calls) -> None:
    channel = both.client.client(Calls).chat.bidi()
    await channel.open()
    await channel.send(Text("a"))
    await channel.__anext__()
    channel.cancel()
    await asyncio.wait_for(calls.gate.finished.wait(), SOON)
    calls.gate.finished.clear()
    with pytest.raises(RuntimeError, match="mine"):
        async with both.client.client(Calls).chat.bidi() as other:
            await other.send(Text("a"))
            await other.__anext__()
            raise RuntimeError("mine")
    await asyncio.wait_for(calls.gate.finished.wait(), SOON)


async def test_C3_cancelling_a_client_stream_closes_its_source(both: Pair, calls: Calls) -> None:
    closed, began = asyncio.Event(), asyncio.Event()

    async def source() -> AsyncIterator[Number]:
        try:
            yield Number(1)
            began.set()
            await asyncio.Event().wait()
        finally:
            closed.set()

    task = asyncio.ensure_future(both.client.client(Calls).total(source()))
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(closed.wait(), SOON)


async def test_C3_thousands_of_cancelled_calls_leave_nothing_behind(both: Pair, calls: Calls) -> None:
    hang = both.client.client(Calls).hang
    before = len(asyncio.all_tasks())
    for _ in range(20):
        batch = [asyncio.ensure_future(hang(Text())) for _ in range(500)]
        await asyncio.sleep(0)
        for task in batch:
            task.cancel()
        await asyncio.gather(*batch, return_exceptions=True)
    watched = weakref.ref(batch[0])
    del batch, task
    # A call made after all others is answered after their cancellation has been seen.
    deadline = time.monotonic() + 20
    while calls.running and time.monotonic() < deadline:
        await both.client.client(Calls).echo(Text("x"))
    assert calls.running == 0
    gc.collect()
    assert watched() is None
    await both.client.client(Calls).echo(Text("x"))
    assert len(asyncio.all_tasks()) <= before + 2


# ---------------------------------------------------------------- C5: interleaving


async def test_C5_a_thousand_concurrent_calls_each_get_their_own_answer(both: Pair) -> None:
    typed = both.client.client(Calls)
    answers = await asyncio.gather(*(typed.echo(Text(str(n))) for n in range(1000)))
    assert [each.text for each in answers] == [str(n) for n in range(1000)]


async def test_C5_a_stalled_stream_does_not_delay_others(both: Pair) -> None:
    typed = both.client.client(Calls)
    stalled = typed.endless.stream(Blob(bytes(60_000)))
    await stalled.__anext__()
    for n in range(100):
        assert (await asyncio.wait_for(typed.echo(Text(str(n))), SOON)).text == str(n)
    await stalled.aclose()


async def test_C5_streams_of_all_kinds_at_once(both: Pair) -> None:
    typed = both.client.client(Calls)

    async def down() -> int:
        return sum([each.n async for each in typed.count.stream(Number(500))])

    async def up() -> int:
        return (await typed.total(numbers(500))).n

    assert await asyncio.gather(*(kind() for _ in range(10) for kind in (down, up))) == [124_750] * 20


# ---------------------------------------------------------------- C6: errors


@pytest.mark.parametrize("code", [code for code in StatusCode if code is not StatusCode.OK])
async def test_C6_code_message_details_and_metadata_survive(both: Pair, code: StatusCode) -> None:
    with pytest.raises(RpcError) as caught:
        await both.client.client(Calls).fail(Number(int(code)))
    error = caught.value
    assert error.code is code
    assert error.message == f"failed with {int(code)}"
    assert error.details == {"code": int(code), "list": [1, None]}
    assert error.metadata["why"] == "asked"
    assert error.origin == "handler"
    assert error.may_have_run
    assert "Calls.fail" in str(error)


async def test_C6_error_classes_on_every_kind(both: Pair) -> None:
    typed = both.client.client(Calls)
    with pytest.raises(NotFound, match="no x"):
        await typed.missing(Text("x"))
    seen = []
    with pytest.raises(NotFound, match="no more"):
        async for each in typed.fail_later.stream(Number(3)):
            seen.append(each.n)  # noqa: PERF401 - it is to fail in the middle
    assert seen == [0, 1, 2], "what was sent before the failure is delivered"
    with pytest.raises(ResourceExhausted, match="too many numbers"):
        await typed.refuse(numbers(10))


@pytest.mark.logs_errors
async def test_C6_unexpected_exception_is_internal_and_hidden_unless_exposed(caplog: pytest.LogCaptureFixture) -> None:
    async with pair(Calls(), server_options={"expose_errors": False}) as (client, _):
        with pytest.raises(Internal) as caught:
            await client.client(Calls).crash(Text())
        assert "secret" not in str(caught.value)
    logged = [each for each in caplog.records if each.name == "aster.server"]
    assert len(logged) == 1
    assert "Calls.crash" in logged[0].getMessage()
    assert logged[0].exc_info is not None
    async with pair(Calls()) as (client, _):
        with pytest.raises(Internal, match="secret"):
            await client.client(Calls).crash(Text())


@pytest.mark.logs_errors
@pytest.mark.parametrize("method", ["wrong_type", "nothing"])
async def test_C6_answer_of_the_wrong_type_is_an_error_of_the_server(both: Pair, method: str) -> None:
    with pytest.raises(Internal):
        await getattr(both.client.proxy("Calls"), method)({})
    assert await both.client.proxy("Calls").echo({"text": "on"}) == {"text": "on"}


async def test_C6_early_answer_and_early_failure_end_a_client_stream(both: Pair) -> None:
    closed = asyncio.Event()

    async def endless() -> AsyncIterator[Number]:
        try:
            yield Number(7)
            await asyncio.Event().wait()
        finally:
            closed.set()

    typed = both.client.client(Calls)
    assert await asyncio.wait_for(typed.first(endless()), SOON) == Number(7)
    await asyncio.wait_for(closed.wait(), SOON)
    closed.clear()
    with pytest.raises(ResourceExhausted):
        await asyncio.wait_for(typed.refuse(endless()), SOON)
    await asyncio.wait_for(closed.wait(), SOON)


async def test_C6_failure_of_the_source_is_the_callers_own(both: Pair) -> None:
    async def failing() -> AsyncIterator[Number]:
        yield Number(1)
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        await both.client.client(Calls).total(failing())


# ---------------------------------------------------------------- S3: bad requests


@pytest.mark.parametrize(
    ("request_", "path"),
    [
        ({}, r"\$\.n: missing required field"),
        ({"n": "x"}, r"\$\.n: expected i64, got string"),
        ({"n": None}, r"\$\.n: expected i64, got null"),
        ({"n": 1.0}, r"\$\.n: expected i64, got float"),
        ({"n": 2**63}, r"\$\.n"),
        ({"n": 1, "m": 2}, r"\$\.m: unknown field"),
        (5, r"value at \$"),
    ],
)
async def test_S3_wrong_requests_are_refused_with_the_path(both: Pair, request_: Any, path: str) -> None:
    dynamic = both.client.proxy("Calls")
    for call in (lambda: dynamic.fail(request_), lambda: dynamic.total([request_])):
        with pytest.raises(InvalidArgument, match=path) as caught:
            await call()
        assert not caught.value.may_have_run
    with pytest.raises(InvalidArgument, match=path):
        async for _ in dynamic.count.stream(request_):
            pass
    with pytest.raises(InvalidArgument, match=r"\$"):
        await dynamic.echo({"text": object()})


async def test_S3_wrong_type_in_a_typed_request(both: Pair) -> None:
    with pytest.raises(InvalidArgument, match=r"\$\.n: expected i64, got string"):
        await both.client.client(Calls).fail(Number("x"))  # type: ignore[arg-type]
    channel = both.client.client(Calls).chat.bidi()
    await channel.open()
    with pytest.raises(InvalidArgument, match=r"\$\.text"):
        await channel.send(Text(5))  # type: ignore[arg-type]
    await channel.send(Text("still open"))
    assert await channel.__anext__() == Text("STILL OPEN")
    await channel.close()
