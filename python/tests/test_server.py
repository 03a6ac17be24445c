"""S1, C7, S5: starting, refusing to start, draining, signals, contexts and ports."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import signal
import sys
import threading
from typing import Any

import pytest
from services import Calls, Number, Plain, Text

from aster import (
    AsterClient,
    AsterServer,
    CallContext,
    Cancelled,
    ConfigurationError,
    RpcError,
    SchemaError,
    Unavailable,
    UsageError,
    any_of,
    rpc,
    service,
)
from aster.testing import Pair, pair

SOON = 5.0
LOCAL: Any = {"preset": "local", "relay": ""}


@service
class Guarded:
    @rpc(requires=any_of("a", "b"))
    async def secret(self) -> None: ...


@service(requires="ops")
class GuardedService:
    @rpc
    async def m(self) -> None: ...


@service(interceptors=[object()])
class Intercepted:
    @rpc
    async def m(self) -> None: ...


@service
class Again:
    @rpc
    async def m(self) -> None: ...


@service(name="Again")
class Twin:
    @rpc
    async def m(self) -> None: ...


@pytest.mark.parametrize(
    ("services", "reason"),
    [
        ([Guarded()], r"Guarded\.secret has requires="),
        ([GuardedService()], r"GuardedService.* has requires="),
        ([Intercepted()], "interceptors="),
        ([Again], r"an instance of it: Again\(\)"),
        ([Again(), Twin()], "Again and Twin are both Again version 1"),
        ([Again(), Again()], "twice"),
    ],
)
async def test_S1_what_cannot_be_served_does_not_start_and_says_why(services: list[Any], reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        await AsterServer(services, **LOCAL).start()


async def test_S1_wrong_arguments_of_a_server_say_so() -> None:
    with pytest.raises(SchemaError, match="@service"):
        await AsterServer([object()], **LOCAL).start()
    with pytest.raises(UsageError, match="services="):
        AsterServer("Calls")
    with pytest.raises(ConfigurationError, match="threads="):
        AsterServer([], threads=0)
    with pytest.raises(ConfigurationError, match="keep_alive="):
        AsterServer([], keep_alive=-1)
    with pytest.raises(UsageError, match="not started"):
        _ = AsterServer([]).address
    with pytest.raises(UsageError, match="address="):
        AsterClient([])


async def test_C7_close_may_be_called_twice_and_a_server_starts_once() -> None:
    server = AsterServer([Calls()], **LOCAL)
    await server.start()
    assert server.address.startswith("aster1")
    assert server.endpoint_id
    with pytest.raises(UsageError, match="started already"):
        await server.start()
    await asyncio.gather(server.close(), server.close())
    await server.close()
    with pytest.raises(Unavailable):
        await AsterClient(server.address, connect_timeout=1, **LOCAL).connect()


async def test_C7_pending_calls_fail_unavailable_when_the_server_closes(both: Pair, calls: Calls) -> None:
    task = asyncio.ensure_future(both.client.client(Calls).hang(Text()))
    await calls.gate.started.wait()
    await both.server.close()
    with pytest.raises(RpcError) as caught:
        await asyncio.wait_for(task, SOON)
    assert caught.value.code.name in ("UNAVAILABLE", "CANCELLED")
    assert caught.value.may_have_run
    await asyncio.wait_for(calls.gate.cancelled.wait(), SOON)


async def test_I3_drain_lets_running_calls_finish(both: Pair, calls: Calls) -> None:
    task = asyncio.ensure_future(both.client.client(Calls).hang(Text("kept")))
    await calls.gate.started.wait()
    draining = asyncio.ensure_future(both.server.drain(grace=SOON))
    with pytest.raises(Unavailable) as caught:
        while True:  # until the drain has been told to this side
            await both.client.client(Calls).echo(Text("new"))
    assert not caught.value.may_have_run
    calls.gate.release.set()
    assert await asyncio.wait_for(task, SOON) == Text("kept")
    await asyncio.wait_for(draining, SOON)


async def test_I3_drain_cancels_what_outlasts_the_grace(both: Pair, calls: Calls) -> None:
    task = asyncio.ensure_future(both.client.client(Calls).hang(Text()))
    await calls.gate.started.wait()
    await asyncio.wait_for(both.server.drain(grace=0), SOON)
    with pytest.raises(RpcError):
        await task
    await asyncio.wait_for(calls.gate.cancelled.wait(), SOON)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_C7_serve_drains_on_signals_chains_and_restores_handlers(number: signal.Signals) -> None:
    seen: list[int] = []
    before = signal.signal(number, lambda received, _: seen.append(received))
    mine = signal.getsignal(number)
    try:
        async with AsterServer([Calls()], **LOCAL) as server:
            serving = asyncio.ensure_future(server.serve())
            await asyncio.sleep(0)  # lets serve() take its first step, which sets the handlers
            os.kill(os.getpid(), number)
            await asyncio.wait_for(serving, SOON)
            assert seen == [number]
            assert signal.getsignal(number) is mine
    finally:
        signal.signal(number, before)


async def test_C7_serve_returns_when_the_server_is_closed_and_leaves_signals_alone_in_threads() -> None:
    async with AsterServer([Calls()], **LOCAL) as server:
        serving = asyncio.ensure_future(server.serve())
        await asyncio.sleep(0)
        await server.close()
        await asyncio.wait_for(serving, SOON)

    failures: list[BaseException] = []

    async def elsewhere() -> None:
        async with AsterServer([Calls()], **LOCAL) as other:
            task = asyncio.ensure_future(other.serve())
            await asyncio.sleep(0)
            await other.drain(0)
            await asyncio.wait_for(task, SOON)

    def run() -> None:
        try:
            asyncio.run(elsewhere())
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    await asyncio.get_running_loop().run_in_executor(None, thread.join)
    assert not failures


# ---------------------------------------------------------------- S5 and contexts

tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="none")


@service
class Contexts:
    @rpc
    async def tenant(self) -> str:
        found = tenant.get()
        tenant.set("changed by a call")
        return found

    @rpc
    def in_thread(self) -> str:
        return f"{tenant.get()} {CallContext.current().call_id > 0}"

    @rpc(inline=True)
    def inline(self) -> str:
        return f"{tenant.get()} {CallContext.current().call_id > 0}"

    @rpc
    async def late_metadata(self, ctx: CallContext) -> bool:
        assert ctx.capabilities == frozenset()
        assert ctx.attributes == {}
        assert not ctx.cancelled
        assert "Contexts.late_metadata" in repr(ctx)
        return ctx.time_left is None


async def test_S5_handlers_run_in_a_copy_of_the_context_of_the_start() -> None:
    tenant.set("acme")
    async with pair(Contexts()) as (client, _):
        tenant.set("later")
        proxy = client.proxy("Contexts")
        assert await proxy.tenant() == "acme"
        assert await proxy.tenant() == "acme", "what one call sets, no other sees"
        assert await proxy.in_thread() == "acme True"
        assert await proxy.inline() == "acme True"
        assert await proxy.late_metadata()


async def test_S5_current_outside_of_a_handler_says_so() -> None:
    with pytest.raises(UsageError, match="outside of a handler"):
        CallContext.current()


async def test_S5_tasks_of_a_handler_know_their_call(both: Pair) -> None:
    @service
    class Tasks:
        @rpc
        async def m(self, ctx: CallContext) -> bool:
            async def inner() -> int:
                return CallContext.current().call_id

            return await asyncio.ensure_future(inner()) == ctx.call_id

    async with pair(Tasks()) as (client, _):
        assert await client.proxy("Tasks").m()


# ---------------------------------------------------------------- loops and ports


def test_S7_several_loops_one_after_another_and_at_once() -> None:
    async def once() -> int:
        async with pair(Plain()) as (client, _):
            answer: int = await client.proxy("Plain").add(a=1, b=2)
            return answer

    assert [asyncio.run(once()) for _ in range(3)] == [3, 3, 3]
    answers: list[int] = []
    threads = [threading.Thread(target=lambda: answers.append(asyncio.run(once()))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert answers == [3, 3, 3]


def test_S7_loop_that_ends_without_closing_closes_everything(recwarn: pytest.WarningsRecorder) -> None:
    kept: list[Any] = []

    async def careless() -> str:
        server = await AsterServer([Calls()], **LOCAL).start()
        client = await AsterClient(server.address, **LOCAL).connect()
        kept.extend((server, client, client.proxy("Calls")))
        await client.proxy("Calls").echo(text="x")
        return server.address

    address = asyncio.run(careless())

    async def look() -> None:
        with pytest.raises(Unavailable):
            await AsterClient(address, connect_timeout=0.5, **LOCAL).connect()

    asyncio.run(look())


@pytest.mark.skipif(sys.platform == "win32", reason="uvloop has no Windows version")
def test_S7_uvloop() -> None:
    uvloop = pytest.importorskip("uvloop")

    async def main() -> int:
        async with pair(Calls(), Plain()) as (client, _):
            assert len([each async for each in client.client(Calls).count.stream(Number(1000))]) == 1000
            answer: int = await client.proxy("Plain").add(a=2, b=2)
            return answer

    loop = uvloop.new_event_loop()
    try:
        assert loop.run_until_complete(main()) == 4
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()


# ---------------------------------------------------------------- calls that nobody awaits


@pytest.mark.parametrize("how", ["client", "port"])
async def test_C7_closing_says_nothing_of_calls_that_nobody_awaits(how: str) -> None:
    told: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: told.append(context))
    calls = Calls()
    async with pair(calls) as made:
        hang = made.client.client(Calls).hang
        left: Any = [hang(Text()) for _ in range(3)]
        kept = hang(Text())
        awaited = asyncio.ensure_future(asyncio.wait_for(hang(Text()), SOON))
        await asyncio.wait_for(calls.gate.started.wait(), SOON)
        if how == "client":
            await made.client.close()
        else:
            port = made.client._port
            assert port is not None
            port.close()
        for each in (kept, awaited):
            with pytest.raises(Cancelled, match="was closed"):
                await each
        assert all(each.done() for each in left)
        del left
        gc.collect()
        await asyncio.sleep(0)
    assert told == []


async def test_C7_a_failure_that_nobody_awaits_and_nobody_here_caused_is_logged() -> None:
    told: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: told.append(context))
    calls = Calls()
    async with pair(calls) as made:
        left: Any = made.client.client(Calls).hang(Text())
        await asyncio.wait_for(calls.gate.started.wait(), SOON)
        await made.server.close()
        await asyncio.wait([left], timeout=SOON)
        del left
        gc.collect()
        await asyncio.sleep(0)
    assert [type(each["exception"]) for each in told] == [Unavailable]
