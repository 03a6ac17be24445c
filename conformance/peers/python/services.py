"""What the scenarios call. Handlers tell the runner when they start and end, by the key in their call's metadata."""

from __future__ import annotations

import asyncio
import datetime
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any, Callable

from aster import (
    AsterClient,
    CallContext,
    NotFound,
    ResourceExhausted,
    RpcError,
    bidi_stream,
    client_stream,
    f32,
    i8,
    i16,
    i32,
    rpc,
    server_stream,
    service,
    u8,
    u16,
    u32,
    u64,
)
from types_shared import (
    About,
    Blob,
    Fault,
    Item,
    Level,
    Node,
    Number,
    Point,
    Record,
    Relay,
    Shape,
    State,
    Stream,
    Talk,
    Text,
)

KEY = "conf-key"


class Bench:
    """What handlers share with the runner."""

    def __init__(self, tell: Callable[[dict[str, Any]], None]) -> None:
        self.tell = tell
        self.gates: dict[str, asyncio.Event] = {}
        self.seen: dict[str, Any] = {}

    def gate(self, key: str) -> asyncio.Event:
        return self.gates.setdefault(key, asyncio.Event())

    @contextmanager
    def handling(self, ctx: CallContext) -> Iterator[str]:
        key = str(ctx.metadata.get(KEY, ""))
        self.tell({"event": "started", "key": key, "method": ctx.method})
        how = "failed"
        try:
            yield key
            how = "returned"
        except (asyncio.CancelledError, GeneratorExit):
            how = "cancelled"
            raise
        finally:
            self.tell({"event": "ended", "key": key, "method": ctx.method, "how": how})


BENCH: list[Bench] = []
"""The one of this process: instances of session services are made by the SDK, without arguments of ours."""


def bench() -> Bench:
    return BENCH[0]


@service(name="Probe")
class Probe:
    @rpc(idempotent=True)
    async def echo(self, req: Text) -> Text:
        return req

    @rpc
    async def blob(self, req: Blob) -> Blob:
        return req

    @rpc
    async def add(self, a: i32, b: i32 = 10) -> i32:
        return a + b

    @rpc
    async def nothing(self) -> None:
        return None

    @rpc
    async def fail(self, req: Fault) -> Text:
        raise RpcError(req.code, req.message, details=req.details, metadata=req.metadata)

    @rpc
    async def crash(self, req: Text) -> Text:
        raise KeyError(f"secret {req.text}")

    @rpc
    async def about(self, req: Talk, ctx: CallContext) -> About:
        if req.initial:
            ctx.set_response_metadata(req.initial)
        if req.trailing:
            ctx.set_trailing_metadata(req.trailing)
        return about(ctx)

    @rpc
    async def hang(self, req: Text, ctx: CallContext) -> Text:
        with bench().handling(ctx):
            await asyncio.Event().wait()
        return req

    @rpc
    async def hold(self, req: Text, ctx: CallContext) -> Text:
        with bench().handling(ctx) as key:
            await bench().gate(key).wait()
        return req

    @rpc(timeout=0.3)
    async def limited(self, req: Text, ctx: CallContext) -> Text:
        with bench().handling(ctx):
            await asyncio.Event().wait()
        return req

    @rpc
    async def nested(self, req: Relay) -> About:
        async with AsterClient(req.address, preset="local") as client:
            answer: About = await client.client(Probe).about(Talk())
            return answer

    @server_stream
    async def count(self, req: Stream, ctx: CallContext) -> AsyncIterator[Item]:
        with bench().handling(ctx):
            for n in range(req.n):
                yield Item(n, bytes(req.size))
            if req.fail:
                raise NotFound("no more")
            if req.hang:
                await asyncio.Event().wait()

    @client_stream
    async def total(self, numbers: AsyncIterator[Number], ctx: CallContext) -> Number:
        with bench().handling(ctx):
            total = 0
            async for number in numbers:
                total += number.n
        return Number(total)

    @client_stream
    async def first(self, numbers: AsyncIterator[Number]) -> Number:
        async for number in numbers:
            return number
        return Number(-1)

    @client_stream
    async def refuse(self, numbers: AsyncIterator[Number]) -> Number:
        raise ResourceExhausted("no room for numbers")

    @client_stream
    async def weigh(self, blobs: AsyncIterator[Blob], ctx: CallContext) -> Number:
        with bench().handling(ctx) as key:
            await bench().gate(key).wait()
            weight = 0
            async for blob in blobs:
                weight += len(blob.data)
        return Number(weight)

    @bidi_stream
    async def chat(self, texts: AsyncIterator[Text], ctx: CallContext) -> AsyncIterator[Text]:
        with bench().handling(ctx):
            async for text in texts:
                yield Text(f"re: {text.text}")

    @bidi_stream
    async def greet(self, texts: AsyncIterator[Text]) -> AsyncIterator[Text]:
        yield Text("hello")
        async for text in texts:
            yield text


def about(ctx: CallContext) -> About:
    left = ctx.time_left
    return About(
        peer=ctx.peer,
        method=f"{ctx.service}.{ctx.method}",
        metadata={k: v for k, v in ctx.metadata.items() if isinstance(v, str) and k != KEY},
        binary={k: v for k, v in ctx.metadata.items() if isinstance(v, bytes)},
        session=ctx.session_id,
        left_ms=None if left is None else left * 1000,
    )


@service(name="Probe", version=2)
class Probe2:
    @rpc
    async def echo(self, req: Text) -> Text:
        return Text(f"{req.text} of version 2")


@service(name="Account", scoped="session")
class Account:
    def __init__(self, peer: str) -> None:
        self.peer = peer
        self.count = 0
        self.order: list[int] = []
        self.key = ""

    def _remember(self, ctx: CallContext) -> None:
        self.key = self.key or str(ctx.metadata.get(KEY, ""))

    @rpc
    async def increment(self, ctx: CallContext, by: i32 = 1) -> i32:
        self._remember(ctx)
        self.count += by
        return self.count

    @rpc
    async def state(self, ctx: CallContext) -> State:
        return State(self.peer, ctx.peer, ctx.session_id or 0, self.count, self.order)

    @rpc
    async def hold(self, ctx: CallContext, n: i32) -> i32:
        """Runs until it is released, and notes its beginning and its end."""
        self._remember(ctx)
        self.order.append(n)
        with bench().handling(ctx) as key:
            await bench().gate(key).wait()
        self.order.append(n)
        return n

    @rpc
    async def blob(self, req: Blob) -> i32:
        self.order.append(len(req.data))
        return len(req.data)

    @server_stream
    async def upto(self, req: Number) -> AsyncIterator[Number]:
        for n in range(req.n):
            self.count += 1
            yield Number(n)

    @client_stream
    async def gather(self, numbers: AsyncIterator[Number]) -> Number:
        async for number in numbers:
            self.count += number.n
        return Number(self.count)

    @bidi_stream
    async def gain(self, numbers: AsyncIterator[Number], ctx: CallContext) -> AsyncIterator[Number]:
        self._remember(ctx)
        with bench().handling(ctx):
            async for number in numbers:
                self.count += number.n
                yield Number(self.count)

    async def on_session_close(self) -> None:
        bench().tell({"event": "session_closed", "key": self.key, "count": self.count})


@service(name="Text", serialization="json")
class ByJson:
    @rpc
    async def record(self, req: Record) -> Record:
        return keep(req)  # type: ignore[no-any-return]


# ---------------------------------------------------------------- values


def keep(value: Any) -> Any:
    """Puts aside what the handler got, for the runner to ask for."""
    bench().seen[str(CallContext.current().metadata.get(KEY, ""))] = value
    return value


@service(name="Values")
class Values:
    """One method per type: the value comes as a parameter and goes as the answer."""

    @rpc
    async def boolean(self, value: bool) -> bool:
        return keep(value)  # type: ignore[no-any-return]

    @rpc
    async def int8(self, value: i8) -> i8:
        return keep(value)  # type: ignore[no-any-return]

    @rpc
    async def int16(self, value: i16) -> i16:
        return keep(value)  # type: ignore[no-any-return]

    @rpc
    async def int32(self, value: i32) -> i32:
        return keep(value)  # type: ignore[no-any-return]

    @rpc
    async def int64(self, value: int) -> int:
        return keep(value)  # type: ignore[no-any-return]

    @rpc
    async def uint8(self, value: u8) -> u8:
        return keep(value)  # type: ignore[no-any-return]

    @rpc
    async def uint16(self, value: u16) -> u16:
        return keep(value)  # type: ignore[no-any-return]

    @rpc
    async def uint32(self, value: u32) -> u32:
        return keep(value)  # type: ignore[no-any-return]

    @rpc
    async def uint64(self, value: u64) -> u64:
        return keep(value)  # type: ignore[no-any-return]

    @rpc
    async def float32(self, value: f32) -> f32:
        return keep(value)  # type: ignore[no-any-return]

    @rpc
    async def float64(self, value: float) -> float:
        return keep(value)  # type: ignore[no-any-return]

    @rpc
    async def text(self, value: str) -> str:
        return keep(value)  # type: ignore[no-any-return]

    @rpc
    async def raw(self, value: bytes) -> bytes:
        return keep(value)  # type: ignore[no-any-return]

    @rpc
    async def moment(self, value: datetime.datetime) -> datetime.datetime:
        return keep(value)  # type: ignore[no-any-return]

    @rpc
    async def span(self, value: datetime.timedelta) -> datetime.timedelta:
        return keep(value)  # type: ignore[no-any-return]

    @rpc
    async def ident(self, value: uuid.UUID) -> uuid.UUID:
        return keep(value)  # type: ignore[no-any-return]

    @rpc
    async def free(self, value: Any) -> Any:
        return keep(value)  # type: ignore[no-any-return]

    @rpc
    async def words(self, value: list[str]) -> list[str]:
        return keep(value)  # type: ignore[no-any-return]

    @rpc
    async def matrix(self, value: list[list[i32]]) -> list[list[i32]]:
        return keep(value)  # type: ignore[no-any-return]

    @rpc
    async def longs(self, value: list[int]) -> list[int]:
        return keep(value)  # type: ignore[no-any-return]

    @rpc
    async def bag(self, value: set[str]) -> set[str]:
        return keep(value)  # type: ignore[no-any-return]

    @rpc
    async def codes(self, value: set[i32]) -> set[i32]:
        return keep(value)  # type: ignore[no-any-return]

    @rpc
    async def triple(self, value: tuple[i32, str, float]) -> tuple[i32, str, float]:
        return keep(value)  # type: ignore[no-any-return]

    @rpc
    async def scores(self, value: dict[str, i32]) -> dict[str, i32]:
        return keep(value)  # type: ignore[no-any-return]

    @rpc
    async def names(self, value: dict[int, str]) -> dict[int, str]:
        return keep(value)  # type: ignore[no-any-return]

    @rpc
    async def flags(self, value: dict[bool, i32]) -> dict[bool, i32]:
        return keep(value)  # type: ignore[no-any-return]

    @rpc
    async def owners(self, value: dict[uuid.UUID, str]) -> dict[uuid.UUID, str]:
        return keep(value)  # type: ignore[no-any-return]

    @rpc
    async def levels(self, value: dict[Level, i32]) -> dict[Level, i32]:
        return keep(value)  # type: ignore[no-any-return]

    @rpc
    async def level(self, value: Level) -> Level:
        return keep(value)  # type: ignore[no-any-return]

    @rpc
    async def point(self, value: Point) -> Point:
        return keep(value)  # type: ignore[no-any-return]

    @rpc
    async def shape(self, value: Shape) -> Shape:
        return keep(value)  # type: ignore[no-any-return]

    @rpc
    async def tree(self, value: Node) -> Node:
        return keep(value)  # type: ignore[no-any-return]

    @rpc
    async def record(self, value: Record) -> Record:
        return keep(value)  # type: ignore[no-any-return]

    @rpc
    async def open(self, value: dict[str, Any]) -> dict[str, Any]:
        return keep(value)  # type: ignore[no-any-return]

    @rpc
    async def moments(self, value: list[datetime.datetime]) -> list[datetime.datetime]:
        return keep(value)  # type: ignore[no-any-return]

    @rpc
    async def spans(self, value: dict[str, datetime.timedelta]) -> dict[str, datetime.timedelta]:
        return keep(value)  # type: ignore[no-any-return]

    @rpc
    async def shapes(self, value: list[Shape]) -> list[Shape]:
        return keep(value)  # type: ignore[no-any-return]

    @rpc
    async def maybe(self, value: i32 | None = None) -> i32 | None:
        return keep(value)  # type: ignore[no-any-return]
