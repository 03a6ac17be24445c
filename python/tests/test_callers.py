"""Services that a client offers to the server it dials: handlers call their callers back."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any, Dict, List, Optional

import pytest
from services import Blob, Calls, Number, Session, Text

from aster import (
    AsterClient,
    AsterServer,
    CallContext,
    Caller,
    Cancelled,
    ConfigurationError,
    NotFound,
    Unavailable,
    Unimplemented,
    UsageError,
    rpc,
    service,
)
from aster.testing import Pair, pair

LOCAL: Dict[str, Any] = {"preset": "local", "relay": ""}
SOON = 5.0


@service(name="Hub", version=1)
class Hub:
    """Knows its callers, and asks them."""

    def __init__(self) -> None:
        self.callers: List[Caller] = []

    @rpc()
    async def enter(self) -> int:
        self.callers.append(CallContext.current().caller)
        return len(self.callers)

    @rpc()
    async def ask(self, text: str, ctx: CallContext) -> str:
        answer: Text = await ctx.caller.client(Calls).echo(Text(text))
        return answer.text

    @rpc()
    def ask_in_a_thread(self, ctx: CallContext) -> str:
        return ctx.caller.peer


async def closed() -> Session:
    return await asyncio.wait_for(Session.closed.get(), SOON)


class Both:
    """A server with a hub, and a client with services as the hub sees it."""

    def __init__(self, made: Pair, hub: Hub, calls: Calls) -> None:
        self.client, self.server = made
        self.hub, self.calls = hub, calls
        self.caller = hub.callers[0]


@pytest.fixture
async def both(calls: Calls) -> AsyncIterator[Both]:
    Session.reset()
    hub = Hub()
    async with pair(hub, client_options={"services": [calls, Session]}) as made:
        await made.client.proxy("Hub").enter()
        yield Both(made, hub, calls)


async def test_C1_a_server_makes_calls_of_all_four_kinds_to_its_caller(both: Both) -> None:
    typed, dynamic = both.caller.client(Calls), both.caller.proxy("Calls")
    assert [each.name for each in both.caller.services()] == ["Calls", "Session"]
    assert await typed.echo(Text("a")) == Text("a")
    assert await dynamic.echo({"text": "b"}) == {"text": "b"}
    data = bytes(100_000)
    assert (await typed.blob(Blob(data))).data == data
    assert [each async for each in dynamic.count.stream({"n": 3})] == [{"n": 0}, {"n": 1}, {"n": 2}]

    async def numbers() -> AsyncIterator[Number]:
        for n in range(4):
            yield Number(n)

    assert (await typed.total(numbers())).n == 6
    async with dynamic.chat.bidi() as channel:
        await channel.send({"text": "up"})
        assert await channel.__anext__() == {"text": "UP"}


async def test_C5_calls_within_calls_go_both_ways_at_once(both: Both) -> None:
    hub = both.client.proxy("Hub")
    texts = [str(number) for number in range(100)]
    assert await asyncio.gather(*(hub.ask(text=text) for text in texts)) == texts


async def test_C1_a_caller_is_one_object_for_all_calls_of_its_connection(both: Both) -> None:
    await both.client.proxy("Hub").enter()
    assert both.hub.callers[0] is both.hub.callers[1]
    async with AsterClient(both.server.address, **LOCAL) as other:
        await other.proxy("Hub").enter()
        assert both.hub.callers[2] is not both.caller
        assert both.hub.callers[2].services() == []
    assert both.caller.peer != both.hub.callers[2].peer


async def test_C3_cancelling_a_call_to_a_caller_cancels_its_handler(both: Both) -> None:
    call = asyncio.ensure_future(both.caller.client(Calls).hang(Text()))
    await asyncio.wait_for(both.calls.gate.started.wait(), SOON)
    call.cancel()
    await asyncio.wait_for(both.calls.gate.cancelled.wait(), SOON)


async def test_C6_errors_of_a_callers_handler_keep_what_they_are(both: Both) -> None:
    with pytest.raises(NotFound, match="no agent") as info:
        await both.caller.proxy("Calls").missing({"text": "agent"})
    assert info.value.origin == "handler"


async def test_X1_a_server_has_sessions_with_its_caller(both: Both) -> None:
    async with both.caller.session(Session) as first, both.caller.session("Session") as second:
        assert [await first.increment(), await first.increment(by=5), await second.increment(by=2)] == [1, 6, 2]
        assert (await first.who())["peer"] == both.server.endpoint_id
    assert {(await closed()).count, (await closed()).count} == {6, 2}
    # The implicit one of a proxy ends with the connection, on the side where it is.
    assert await both.caller.proxy("Session").increment() == 1
    await both.client.close()
    assert (await closed()).count == 1


async def test_C7_a_callers_end_fails_the_calls_to_it(both: Both) -> None:
    call = asyncio.ensure_future(both.caller.client(Calls).hang(Text()))
    await asyncio.wait_for(both.calls.gate.started.wait(), SOON)
    await both.client.close()
    with pytest.raises(Unavailable) as info:
        await asyncio.wait_for(call, SOON)
    assert info.value.may_have_run
    with pytest.raises(Unavailable, match="the caller is gone") as info:
        await both.caller.proxy("Calls").echo({"text": ""})
    assert not info.value.may_have_run


async def test_C7_a_servers_end_cancels_the_handlers_of_its_callers(both: Both) -> None:
    call = asyncio.ensure_future(both.caller.client(Calls).hang(Text()))
    await asyncio.wait_for(both.calls.gate.started.wait(), SOON)
    await both.server.close()
    await asyncio.wait_for(both.calls.gate.cancelled.wait(), SOON)
    with pytest.raises((Cancelled, Unavailable)):
        await call


async def test_C8_a_client_with_services_comes_back_by_itself(tmp_path: Any, calls: Calls) -> None:
    hub = Hub()
    options = {"identity": tmp_path / "id", **LOCAL}
    async with AsterServer([hub], **options) as first:
        client = AsterClient(first.address, services=[calls], **LOCAL)
        await client.connect()
        await client.proxy("Hub").enter()
    async with AsterServer([hub], **options):
        try:
            await client.proxy("Hub").enter()
            old, new = hub.callers
            with pytest.raises(Unavailable, match="the caller is gone"):
                await old.proxy("Calls").echo({"text": ""})
            assert await new.proxy("Calls").echo({"text": "again"}) == {"text": "again"}
        finally:
            await client.close()


async def test_C9_a_caller_that_offers_nothing_says_so(calls: Calls) -> None:
    hub = Hub()
    async with pair(hub) as (client, _):
        await client.proxy("Hub").enter()
        with pytest.raises(Unimplemented, match="this peer offers none"):
            await hub.callers[0].proxy("Calls").echo({"text": ""})
        with pytest.raises(Unimplemented, match="this peer offers none"):
            await client.proxy("Hub").ask(text="")


@pytest.mark.logs_errors
async def test_S1_a_plain_handler_is_told_that_it_cannot_call_back(both: Both) -> None:
    with pytest.raises(Exception, match="make the handler `async def`"):
        await both.client.proxy("Hub").ask_in_a_thread()


async def test_S1_what_a_client_cannot_serve_is_refused_when_it_connects() -> None:
    @service(name="Needs", version=1)
    class Needs:
        @rpc(requires="admin")
        async def m(self) -> None: ...

    async with AsterServer([Hub()], **LOCAL) as server:
        with pytest.raises(ConfigurationError, match="requires="):
            await AsterClient(server.address, services=[Needs()], **LOCAL).connect()
        with pytest.raises(ConfigurationError, match="twice"):
            hub = Hub()
            await AsterClient(server.address, services=[hub, hub], **LOCAL).connect()
    with pytest.raises(UsageError, match="services= is a list"):
        AsterClient("aster1", services="Hub")


async def test_C7_a_caller_that_nobody_holds_is_let_go(both: Both) -> None:
    both.hub.callers.clear()
    both.caller = None  # type: ignore[assignment]
    gc.collect()
    seen: Optional[str] = await both.client.proxy("Hub").ask(text="still")
    assert seen == "still"


async def test_C1_a_blocking_client_offers_services_too() -> None:
    hub = Hub()
    async with AsterServer([hub], **LOCAL) as server:

        def call(address: str) -> str:
            # The handlers of a blocking client run in its own thread's loop, while its calls wait.
            calls = Calls.__new__(Calls)
            with AsterClient.blocking(address, services=[calls], **LOCAL) as client:
                answer: str = client.proxy("Hub").ask(text="from a thread")
                return answer

        loop = asyncio.get_running_loop()
        assert await loop.run_in_executor(None, call, server.address) == "from a thread"
