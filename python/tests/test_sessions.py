"""X1 to X3: session services."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from services import Session

from aster import Aborted, AsterServer, ConfigurationError, RpcError, StatusCode, UsageError, rpc, service
from aster.testing import Pair, pair

SOON = 5.0


async def closed() -> Session:
    return await asyncio.wait_for(Session.closed.get(), SOON)


async def test_X1_state_persists_and_sessions_are_independent(both: Pair) -> None:
    async with both.client.session("Session") as one, both.client.session(Session) as two:
        assert [await one.increment(), await one.increment(by=5), await two.increment(2)] == [1, 6, 2]
        assert one.session_id != two.session_id
    assert len(Session.opened) == 2
    assert {(await closed()).count, (await closed()).count} == {6, 2}
    assert Session.closed.empty()


async def test_X1_proxy_and_typed_client_have_one_implicit_session_each(both: Pair) -> None:
    proxy, typed = both.client.proxy("Session"), both.client.client(Session)
    assert both.client.proxy("Session") is proxy
    assert [await proxy.increment(), await proxy.increment(), await typed.increment()] == [1, 2, 1]
    await proxy.close()
    assert (await closed()).count == 2
    assert await proxy.increment() == 1, "the next call begins a new session"
    assert len(Session.opened) == 3


async def test_X1_peer_is_passed_and_is_the_callers(both: Pair) -> None:
    async with both.client.session("Session") as session:
        who = await session.who()
        assert who["peer"] == who["context"] != ""
        assert who["session"] == session.session_id


async def test_X1_close_hook_runs_once_on_every_kind_of_end(both: Pair) -> None:
    session = both.client.session("Session")
    await session.increment()
    await session.close()
    await session.close()
    assert (await closed()) is Session.opened[0]
    with pytest.raises((UsageError, RpcError)):
        await session.increment()
    await both.client.proxy("Session").increment()
    await both.client.close()
    assert (await closed()) is Session.opened[1]
    await both.server.close()
    assert Session.closed.empty()


async def test_X1_server_shutdown_runs_the_hook() -> None:
    Session.reset()
    async with pair(Session()) as (client, server):
        await client.proxy("Session").increment()
        await server.close()
        assert (await closed()).count == 1
    assert Session.closed.empty()


async def test_X2_all_four_kinds_in_a_session(both: Pair) -> None:
    for session in (both.client.session("Session"), both.client.session(Session)):
        async with session:
            assert await session.increment() == 1
            assert [each async for each in session.upto.stream(n=3)] == [0, 1, 2]
            assert await session.add_all([10, 20]) == 34
            async with session.accumulate.bidi() as channel:
                await channel.send(1)
                assert await channel.__anext__() == 35
            assert await session.increment() == 36
        instance = await closed()
        assert instance.count == 36


async def test_X3_unary_calls_run_in_the_order_issued_also_when_some_are_cancelled(both: Pair) -> None:
    async with both.client.session("Session") as session:
        await session.increment()
        instance = Session.opened[-1]
        instance.hold.clear()
        tasks = [asyncio.ensure_future(session.slow(n=n)) for n in range(20)]
        while not instance.order:
            await both.client.ping()
        for n in range(5, 10):
            tasks[n].cancel()
        await both.client.ping()
        instance.hold.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        kept = [n for n in range(20) if not 5 <= n < 10]
        assert [each for each in results if isinstance(each, int)] == kept
        assert await session.history() == [n for each in kept for n in (each, each)], "one after another"


async def test_X3_waiting_counts_against_the_deadline(both: Pair) -> None:
    async with both.client.session("Session") as session:
        stuck = asyncio.ensure_future(session.stuck())
        with pytest.raises(RpcError) as caught:
            await session.increment.with_options(timeout=0.2)()
        assert caught.value.code is StatusCode.DEADLINE_EXCEEDED
        stuck.cancel()
        assert await session.increment() == 1, "a call that timed out in the queue never ran"


async def test_X3_many_sessions_on_one_connection(both: Pair) -> None:
    for _ in range(10):
        sessions = [both.client.session("Session") for _ in range(50)]
        assert await asyncio.gather(*(each.increment() for each in sessions)) == [1] * 50
        await asyncio.gather(*(each.close() for each in sessions))
    assert len(Session.opened) == 500
    assert len({id(await closed()) for _ in range(500)}) == 500
    assert Session.closed.empty()


async def test_X1_session_is_lost_with_its_connection(tmp_path: Path) -> None:
    Session.reset()
    options = {"identity": tmp_path / "server.identity"}
    async with pair(Session, server_options=options) as (client, server):
        session = client.session("Session")
        assert await session.increment() == 1
        await server.close()
        async with AsterServer([Session], preset="local", relay="", **options):
            for _ in range(2):
                with pytest.raises(Aborted) as caught:
                    await session.increment.with_options(timeout=20)()
                assert not caught.value.may_have_run
            assert len(Session.opened) == 1, "a lost session is not made anew"


# ---------------------------------------------------------------- how instances are made


@service(scoped="session")
class Needy:
    def __init__(self, database: Any, peer: str) -> None:
        self.database, self.peer = database, peer

    @rpc
    async def name(self) -> str:
        return f"{self.database} for {self.peer}"


async def test_X1_factory_makes_instances_whose_constructor_takes_more() -> None:
    made = {Needy: lambda peer: Needy("db", peer)}
    async with pair(Needy, server_options={"factories": made}) as (client, _):
        assert (await client.proxy("Needy").name()).startswith("db for ")


async def test_X1_constructor_that_cannot_be_called_is_refused_at_the_start() -> None:
    with pytest.raises(ConfigurationError, match=r"Needy.*factories=\{Needy: lambda peer"):
        await AsterServer([Needy]).start()
    with pytest.raises(ConfigurationError, match="factories="):
        await AsterServer([], factories={Needy: Needy}).start()


@pytest.mark.logs_errors
async def test_X1_constructor_that_raises_fails_the_call() -> None:
    @service(scoped="session")
    class Fragile:
        def __init__(self) -> None:
            raise OSError("no database")

        @rpc
        async def m(self) -> None: ...

    async with pair(Fragile) as (client, _):
        with pytest.raises(RpcError, match="no database"):
            await client.proxy("Fragile").m()


async def test_X1_sync_close_hook_and_no_hook() -> None:
    seen = []

    @service(scoped="session")
    class Sync:
        @rpc
        async def m(self) -> None: ...

        def on_session_close(self) -> None:
            seen.append(self)

    @service(scoped="session")
    class Without:
        @rpc
        async def m(self) -> None: ...

    async with pair(Sync, Without) as (client, _):
        for name in ("Sync", "Without"):
            async with client.session(name) as session:
                await session.m()
    assert len(seen) == 1


async def test_X1_shared_service_has_no_sessions(both: Pair) -> None:
    with pytest.raises(UsageError, match="shared service"):
        async with both.client.session("Calls"):
            pass
