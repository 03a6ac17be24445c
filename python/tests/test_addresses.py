"""A1, A2, A4, C8: starting, identities, addresses and coming back."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from services import Calls, Number, Plain, Session, Text

from aster import AsterClient, AsterError, AsterServer, RpcError, Unavailable

LOCAL: Any = {"preset": "local", "relay": ""}
SOON = 20.0


async def test_A1_start_and_connect_are_quick_without_a_network() -> None:
    """The aims are 1 s and 100 ms; other work shares the machine."""
    began = time.monotonic()
    async with AsterServer([Plain()], **LOCAL) as server:
        assert time.monotonic() - began < 2
        began = time.monotonic()
        async with AsterClient(server.address, **LOCAL) as client:
            assert await client.proxy("Plain").add(a=1, b=2) == 3
            assert time.monotonic() - began < 2


async def test_A2_identity_keeps_the_endpoint_id_and_the_address(tmp_path: Path) -> None:
    path = tmp_path / "server.identity"
    seen = []
    for _ in range(2):
        async with AsterServer([Plain()], identity=path, **LOCAL) as server:
            seen.append((server.endpoint_id, server.address))
    assert seen[0] == seen[1]
    if sys.platform != "win32":
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    async with AsterServer([Plain()], **LOCAL) as other:
        assert other.endpoint_id != seen[0][0]


async def test_A2_two_servers_on_one_identity_do_not_both_start(tmp_path: Path) -> None:
    path = tmp_path / "server.identity"
    async with AsterServer([Plain()], identity=path, **LOCAL):
        with pytest.raises(AsterError) as caught:
            await AsterServer([Plain()], identity=path, **LOCAL).start()
        assert str(path) in str(caught.value) or "port" in str(caught.value)
    async with AsterServer([Plain()], identity=path, **LOCAL) as again:
        assert again.address


async def test_A4_wrong_addresses_say_what_is_wrong() -> None:
    async with AsterServer([Plain()], **LOCAL) as server:
        good = server.address
        middle = len(good) // 2
        other = "2" if good[middle] != "2" else "3"
        for wrong in (good[:middle] + other + good[middle + 1 :], good[:-3], "https://example.org", "", "aster1"):
            with pytest.raises(AsterError) as caught:
                await AsterClient(wrong, connect_timeout=1, **LOCAL).connect()
            assert "address" in str(caught.value)
        async with AsterClient(f"{good}", **LOCAL) as client:
            assert client.peer == server.endpoint_id


async def test_I3_several_addresses_are_tried() -> None:
    async with AsterServer([Plain()], **LOCAL) as gone:
        dead = gone.address
    async with (
        AsterServer([Plain()], **LOCAL) as server,
        AsterClient([dead, server.address], connect_timeout=3, **LOCAL) as client,
    ):
        assert await client.proxy("Plain").add(a=1, b=2) == 3


async def test_C8_client_reconnects_to_a_restarted_server(tmp_path: Path) -> None:
    path = tmp_path / "server.identity"
    Session.reset()
    async with contextlib.AsyncExitStack() as stack:
        first = await stack.enter_async_context(AsterServer([Plain(), Session], identity=path, **LOCAL))
        client = await stack.enter_async_context(AsterClient(first.address, keep_alive=0.5, idle_timeout=2, **LOCAL))
        plain, session = client.proxy("Plain"), client.proxy("Session")
        assert await plain.add(a=1, b=2) == 3
        assert await session.increment() == 1
        await first.close()
        await stack.enter_async_context(AsterServer([Plain(), Session], identity=path, **LOCAL))

        async def comes_back() -> int:
            while True:
                try:
                    answer: int = await plain.add(a=2, b=2)
                    return answer
                except Unavailable as error:
                    assert not error.may_have_run, "nothing was sent to a server that was not there"

        assert await asyncio.wait_for(comes_back(), SOON) == 4
        # The session was lost with its connection: one call says so, the next begins a new one.
        counts = []
        while not counts:
            try:
                counts.append(await asyncio.wait_for(session.increment(), SOON))
            except RpcError as error:
                assert error.code.name in ("ABORTED", "UNAVAILABLE")
        assert counts == [1]


async def test_C8_proxy_notices_another_contract_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "server.identity"

    from aster import rpc, service

    @service(name="Changing")
    class Before:
        @rpc
        async def m(self, a: int) -> int:
            return a

    @service(name="Changing")
    class After:
        @rpc
        async def m(self, a: int, b: int = 1) -> int:
            return a + b

    async with contextlib.AsyncExitStack() as stack:
        first = await stack.enter_async_context(AsterServer([Before()], identity=path, **LOCAL))
        client = await stack.enter_async_context(AsterClient(first.address, keep_alive=0.5, idle_timeout=2, **LOCAL))
        proxy = client.proxy("Changing")
        assert await proxy.m(a=1) == 1
        await first.close()
        await stack.enter_async_context(AsterServer([After()], identity=path, **LOCAL))
        answers = []
        while not answers:
            try:
                answers.append(await asyncio.wait_for(proxy.m(a=1), SOON))
            except RpcError as error:
                assert error.code.name in ("UNAVAILABLE", "CONTRACT_MISMATCH")
        assert answers == [2]
        assert await proxy.m(a=1, b=5) == 6


async def test_C5_clients_of_one_server_do_not_disturb_each_other() -> None:
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(AsterServer([Calls()], **LOCAL))
        one = await stack.enter_async_context(AsterClient(server.address, **LOCAL))
        two = await stack.enter_async_context(AsterClient(server.address, **LOCAL))
        stream = one.client(Calls).count.stream(Number(1000))
        await stream.__anext__()
        assert await two.client(Calls).echo(Text("a")) == Text("a")
        await two.close()
        assert len([each async for each in stream]) == 999
