"""What a type checker must accept and refuse; run by test_typing, never imported.

Lines that must be refused end in `# error: <code>`; lines that must be accepted have `reveal_type` or nothing.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from typing_extensions import assert_type

from aster import (
    AsterClient,
    BidiChannel,
    ResponseStream,
    RpcError,
    bidi_stream,
    client_stream,
    rpc,
    server_stream,
    service,
    wire_type,
)
from aster.testing import pair


@wire_type("typing/Item")
@dataclass
class Item:
    n: int = 0


@service(name="Svc", version=1)
class Svc:
    @rpc()
    async def get(self, req: Item) -> Item:
        return req

    @rpc
    async def add(self, a: int, b: int = 1) -> int:
        return a + b

    @server_stream()
    async def tail(self, req: Item) -> AsyncIterator[Item]:
        yield req

    @client_stream()
    async def ingest(self, items: AsyncIterator[Item]) -> int:
        return 0

    @bidi_stream
    async def chat(self, items: AsyncIterator[Item]) -> AsyncIterator[str]:
        async for item in items:
            yield str(item.n)


async def items() -> AsyncIterator[Item]:
    yield Item()


async def use(client: AsterClient) -> None:
    svc = client.client(Svc)
    assert_type(svc, Svc)
    assert_type(await svc.get(Item()), Item)
    assert_type(await svc.add(1), int)
    assert_type(await svc.ingest(items()), int)
    assert_type(svc.tail.stream(Item()), ResponseStream[Item])
    async for item in svc.tail.stream(Item()):
        assert_type(item, Item)
    channel = svc.chat.bidi()
    assert_type(channel, BidiChannel[Item, str])
    async with channel:
        await channel.send(Item())
        async for text in channel:
            assert_type(text, str)
    proxy = client.proxy("Svc")
    await proxy.get({"n": 1})
    async for anything in proxy.tail.stream({"n": 1}):
        print(anything)
    async with pair(Svc()) as (paired, server):
        assert_type(paired, AsterClient)
        assert_type(server.address, str)

    await svc.get(5)  # error: arg-type
    await svc.add("x")  # error: arg-type
    await svc.nothing()  # error: attr-defined
    svc.tail.stream(5)  # error: arg-type
    await channel.send("x")  # error: arg-type
    client.proxy(Svc)  # error: arg-type
    AsterClient()  # error: call-arg
    RpcError(details=1).code = "x"  # error: assignment


@rpc(timeout="long")  # error: call-overload, untyped-decorator
async def wrong(self: Svc, req: Item) -> Item:
    return req
