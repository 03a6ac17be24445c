"""G3, G4, S1, S6: proxies and typed clients."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import List, Optional

import pytest
from services import Calls, Number, Plain, Text

from aster import (
    AsterClient,
    AsterError,
    ContractMismatch,
    InvalidArgument,
    Proxy,
    RpcError,
    StatusCode,
    UnknownMethod,
    UsageError,
    rpc,
    server_stream,
    service,
    wire_type,
)
from aster.testing import Pair, pair


async def test_G3_proxy_needs_no_await_and_may_be_awaited(both: Pair) -> None:
    proxy = both.client.proxy("Calls")
    assert isinstance(proxy, Proxy)
    assert await proxy.echo({"text": "before loading"}) == {"text": "before loading"}
    assert await proxy is proxy
    assert await both.client.proxy("Plain") is both.client.proxy("Plain")
    assert both.client.proxy("Calls") is proxy
    assert both.client.client(Calls) is both.client.client(Calls)


async def test_G3_many_first_calls_at_once_load_once(both: Pair) -> None:
    proxy = both.client.proxy("Calls")
    answers = await asyncio.gather(*(proxy.echo(text=str(n)) for n in range(50)))
    assert [each["text"] for each in answers] == [str(n) for n in range(50)]


async def test_G4_wrong_form_says_the_right_one(both: Pair) -> None:
    for loaded in (False, True):
        proxy = both.client.proxy("Calls")
        if loaded:
            await proxy
        with pytest.raises(UsageError, match=r"Calls\.count is a server stream: `async for x in count\.stream"):
            await proxy.count({"n": 1})
        with pytest.raises(UsageError, match=r"Calls\.chat is a bidirectional stream: `ch = chat\.bidi\(\)"):
            await proxy.chat({"text": ""})
        with pytest.raises(UsageError, match=r"Calls\.total is a client stream"):
            await proxy.total({"n": 1})
        with pytest.raises(UsageError, match=r"Calls\.echo is unary: `await echo"):
            async for _ in proxy.echo.stream({"text": ""}):
                pass
        with pytest.raises(UsageError, match="is unary"):
            await proxy.echo.bidi().open()


async def test_G4_wrong_form_raises_at_once_when_the_contract_is_known(both: Pair) -> None:
    proxy = await both.client.proxy("Calls")
    with pytest.raises(UsageError, match="server stream"):
        proxy.count({"n": 1})
    with pytest.raises(UsageError, match="unary"):
        proxy.echo.stream({"text": ""})


async def test_G4_unknown_method_names_the_nearest(both: Pair) -> None:
    proxy = both.client.proxy("Calls")
    with pytest.raises(UnknownMethod, match="did you mean echo"):
        await proxy.ehco({"text": ""})
    await proxy
    with pytest.raises(AttributeError) as caught:
        _ = proxy.ehco
    assert isinstance(caught.value, RpcError)
    assert caught.value.code is StatusCode.UNIMPLEMENTED
    assert not hasattr(proxy, "nothing_like_it")
    with pytest.raises(UnknownMethod, match="did you mean echo"):
        _ = both.client.client(Calls).ehco  # type: ignore[attr-defined]


async def test_G4_names_that_are_taken_and_private_ones_are_never_remote(both: Pair) -> None:
    proxy = both.client.proxy("Calls")
    for name in ("_private", "__wrapped__", "__len__"):
        with pytest.raises(AttributeError):
            getattr(proxy, name)
    with pytest.raises(AttributeError, match="cannot be set"):
        proxy.echo = 5  # type: ignore[method-assign,assignment]
    assert await proxy.method("echo")({"text": "a"}) == {"text": "a"}
    assert "echo" in dir(await proxy)
    copy.copy(proxy)


async def test_G4_unknown_service_and_version_list_what_is_offered(both: Pair) -> None:
    with pytest.raises(RpcError, match="Calls"):
        await both.client.proxy("Clals").echo({})
    with pytest.raises(RpcError):
        await both.client.proxy("Calls", version=9).echo({})
    assert {each.name for each in both.client.services()} >= {"Calls", "Plain", "Session", "Types"}


async def test_G4_not_connected_and_closed_clients_say_so(both: Pair) -> None:
    unconnected = AsterClient(both.server.address)
    with pytest.raises(UsageError, match="not connected"):
        await unconnected.proxy("Calls").echo({})
    proxy = both.client.proxy("Calls")
    await both.client.close()
    await both.client.close()
    with pytest.raises(UsageError, match="closed"):
        await proxy.echo({})
    with pytest.raises(UsageError, match="closed"):
        await both.client.connect()


async def test_G4_calls_in_flight_end_when_the_client_closes(both: Pair, calls: Calls) -> None:
    task = asyncio.ensure_future(both.client.client(Calls).hang(Text()))
    await calls.gate.started.wait()
    await both.client.close()
    with pytest.raises((AsterError, asyncio.CancelledError)):
        await task


# ---------------------------------------------------------------- versions and names


@service(name="Versioned", version=1)
class One:
    @rpc
    async def which(self) -> int:
        return 1


@service(name="Versioned", version=2)
class Two:
    @rpc(name="which")
    async def another_name(self) -> int:
        return 2


async def test_S1_versions_live_side_by_side() -> None:
    async with pair(One(), Two()) as (client, _):
        assert await client.proxy("Versioned").which() == 1
        assert await client.proxy("Versioned", version=2).which() == 2
        assert await client.client(One).which() == 1
        assert await client.client(Two).another_name() == 2
    async with pair(Two()) as (client, _):
        assert await client.proxy("Versioned").which() == 2, "the only one offered"


async def test_S1_json_serialization() -> None:
    @service(serialization="json")
    class Json:
        @rpc
        async def back(self, req: Number) -> Number:
            return req

        @server_stream
        async def stream(self, req: Number) -> AsyncIterator[Number]:
            yield req

    async with pair(Json()) as (client, _):
        typed = client.client(Json)
        assert await typed.back(Number(2**60)) == Number(2**60)
        assert [each async for each in typed.stream.stream(Number(1))] == [Number(1)]
        assert await client.proxy("Json").back({"n": 5}) == {"n": 5}


# ---------------------------------------------------------------- S6: typed clients and other contracts


@wire_type("compat/Req")
@dataclass
class Req:
    a: int
    b: Optional[str] = None


@wire_type("compat/Req")
@dataclass
class NewReq:
    a: int
    b: Optional[str] = None
    c: List[int] = field(default_factory=list)


@wire_type("compat/Req")
@dataclass
class OtherReq:
    a: str


@service(name="Compat")
class Old:
    @rpc
    async def m(self, req: Req) -> Req:
        return req


@service(name="Compat")
class New:
    @rpc
    async def m(self, req: NewReq) -> NewReq:
        return NewReq(req.a, req.b, [req.a])

    @rpc
    async def added(self) -> int:
        return 1


@service(name="Compat")
class Other:
    @rpc
    async def m(self, req: OtherReq) -> OtherReq:
        return req


async def test_S6_typed_client_works_with_a_compatible_newer_server() -> None:
    async with pair(New()) as (client, _):
        assert await client.client(Old).m(Req(1, "x")) == Req(1, "x")
        assert await client.client(Old).m(Req(2)) == Req(2)


async def test_S6_breaking_difference_is_readable() -> None:
    async with pair(Other()) as (client, _):
        with pytest.raises(
            ContractMismatch, match=r"m\.request\.a: the client sends i64, the server expects string"
        ) as caught:
            await client.client(Old).m(Req(1))
        assert (caught.value.origin, caught.value.may_have_run) == ("client", False), "nothing was sent"
    async with pair(Old()) as (client, _):
        with pytest.raises(ContractMismatch, match="added"):
            await client.client(New).added()


async def test_S6_call_forms_are_the_same_on_typed_clients(both: Pair) -> None:
    typed = both.client.client(Plain)
    with pytest.raises(UsageError, match="server stream"):
        await typed.upto(3)  # type: ignore[misc]
    with pytest.raises(InvalidArgument):
        await typed.add("x")  # type: ignore[arg-type]
    with pytest.raises(AsterError, match="not a service"):
        both.client.client(int)
    with pytest.raises(UsageError, match="takes the name"):
        both.client.proxy(Plain)  # type: ignore[arg-type]
