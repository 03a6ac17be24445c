"""The services that the end-to-end tests share."""

from __future__ import annotations

import asyncio
import datetime
import enum
import threading
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Dict, FrozenSet, List, Optional, Set, Tuple, Union

from aster import (
    CallContext,
    NotFound,
    RpcError,
    StatusCode,
    bidi_stream,
    client_stream,
    f32,
    i8,
    rpc,
    server_stream,
    service,
    u64,
    wire_type,
)


@wire_type("test/Text")
@dataclass
class Text:
    text: str = ""


@wire_type("test/Number")
@dataclass
class Number:
    n: int


@wire_type("test/Blob")
@dataclass
class Blob:
    data: bytes


class Gate:
    """Lets tests wait for what handlers do, without sleeping."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.release = asyncio.Event()
        self.finished = asyncio.Event()


@service(name="Calls", version=1)
class Calls:
    """All four kinds, and handlers that misbehave."""

    def __init__(self) -> None:
        self.gate = Gate()
        self.running = 0
        self.seen: List[Any] = []

    @rpc
    async def echo(self, req: Text) -> Text:
        return Text(req.text)

    @rpc
    async def blob(self, req: Blob) -> Blob:
        return req

    @rpc(timeout=0.2)
    async def limited(self, req: Text) -> Text:
        await asyncio.Event().wait()
        return req

    @rpc
    async def hang(self, req: Text) -> Text:
        self.running += 1
        self.gate.started.set()
        try:
            await self.gate.release.wait()
        except asyncio.CancelledError:
            self.gate.cancelled.set()
            raise
        finally:
            self.running -= 1
        return req

    @rpc
    async def stubborn(self, req: Text) -> Text:
        """Ignores its cancellation."""
        self.gate.started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.gate.cancelled.set()
        return req

    @server_stream
    async def count(self, req: Number) -> AsyncIterator[Number]:
        for n in range(req.n):
            yield Number(n)

    @server_stream
    async def tail(self, req: Text) -> AsyncIterator[Text]:
        """One message, then nothing until it is cancelled."""
        try:
            yield Text("first")
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.gate.cancelled.set()
            raise
        finally:
            self.gate.finished.set()

    @server_stream
    async def endless(self, req: Blob) -> AsyncIterator[Blob]:
        try:
            while True:
                yield req
        finally:
            self.gate.finished.set()

    @client_stream
    async def total(self, numbers: AsyncIterator[Number]) -> Number:
        total = 0
        async for number in numbers:
            total += number.n
        return Number(total)

    @client_stream
    async def first(self, numbers: AsyncIterator[Number]) -> Number:
        """Answers before the stream ends."""
        async for number in numbers:
            return number
        return Number(-1)

    @client_stream
    async def absorb(self, blobs: AsyncIterator[Blob]) -> Number:
        """Reads as fast as the test lets it."""
        taken = 0
        async for blob in blobs:
            taken += len(blob.data)
            self.gate.started.set()
            await self.gate.release.wait()
        return Number(taken)

    @bidi_stream
    async def chat(self, messages: AsyncIterator[Text]) -> AsyncIterator[Text]:
        try:
            async for message in messages:
                yield Text(message.text.upper())
        finally:
            self.gate.finished.set()

    @bidi_stream
    async def greet(self, messages: AsyncIterator[Text]) -> AsyncIterator[Text]:
        """Speaks first."""
        yield Text("hello")
        async for message in messages:
            yield message

    # -------------------------------------------------------- plain functions

    @rpc
    def blocking(self, req: Text) -> Text:
        return Text(f"{req.text} in {threading.current_thread().name}")

    @rpc(inline=True)
    def inline(self, req: Text) -> Text:
        return Text(f"{req.text} in {threading.current_thread().name}")

    @server_stream
    def blocking_count(self, req: Number) -> Iterator[Number]:
        for n in range(req.n):
            yield Number(n)

    @client_stream
    def blocking_total(self, numbers: Iterator[Number]) -> Number:
        return Number(sum(number.n for number in numbers))

    @bidi_stream
    def blocking_chat(self, messages: Iterator[Text]) -> Iterator[Text]:
        for message in messages:
            yield Text(message.text.upper())

    # -------------------------------------------------------- failures

    @rpc
    async def fail(self, req: Number) -> Text:
        raise RpcError(
            req.n, f"failed with {req.n}", details={"code": req.n, "list": [1, None]}, metadata={"why": "asked"}
        )

    @rpc
    async def missing(self, req: Text) -> Text:
        raise NotFound(f"no {req.text}")

    @rpc
    async def crash(self, req: Text) -> Text:
        raise KeyError("secret")

    @rpc
    async def wrong_type(self, req: Text) -> Text:
        return Text(5)  # type: ignore[arg-type]

    @rpc
    async def nothing(self, req: Text) -> Text:
        return None  # type: ignore[return-value]

    @server_stream
    async def fail_later(self, req: Number) -> AsyncIterator[Number]:
        for n in range(req.n):
            yield Number(n)
        raise NotFound("no more")

    @client_stream
    async def refuse(self, numbers: AsyncIterator[Number]) -> Number:
        raise RpcError(StatusCode.RESOURCE_EXHAUSTED, "too many numbers")

    # -------------------------------------------------------- context

    @rpc
    async def about(self, req: Text, ctx: CallContext) -> Dict[str, Any]:
        ctx.set_response_metadata({"initial": "1", "blob-bin": b"\x00"})
        ctx.set_trailing_metadata({"trailing": "2"})
        current = CallContext.current()
        return {
            "peer": ctx.peer,
            "metadata": {key: value for key, value in ctx.metadata.items() if isinstance(value, str)},
            "time_left": ctx.time_left,
            "session": ctx.session_id,
            "method": f"{ctx.service}.{ctx.method}",
            "same": current.call_id == ctx.call_id,
        }


@service("Plain")
class Plain:
    """Plain parameters instead of a request object."""

    @rpc
    async def add(self, a: int, b: int = 10) -> int:
        return a + b

    @rpc
    async def zero(self) -> str:
        return "nothing needed"

    @rpc
    async def silent(self, text: str) -> None:
        return None

    @rpc
    async def mixed(self, ctx: CallContext, items: List[Number], limit: Optional[float] = None) -> List[Number]:
        assert ctx.peer
        return items if limit is None else items[: int(limit)]

    @rpc
    def sync_add(self, a: int, b: int) -> int:
        return a + b

    @server_stream
    async def upto(self, n: int, step: int = 1) -> AsyncIterator[int]:
        for value in range(0, n, step):
            yield value


@wire_type("test/Level")
class Level(enum.Enum):
    LOW = 1
    HIGH = 2


@wire_type("test/Cat")
@dataclass
class Cat:
    name: str


@wire_type("test/Dog")
@dataclass
class Dog:
    name: str
    friends: List[Union[Cat, Dog]] = field(default_factory=list)


@wire_type("test/Everything")
@dataclass
class Everything:
    flag: bool
    small: i8
    big: u64
    single: f32
    double: float
    text: str
    raw: bytes
    when: datetime.datetime
    took: datetime.timedelta
    id: uuid.UUID
    level: Level
    pet: Union[Cat, Dog]
    numbers: List[int]
    unique: Set[str]
    frozen: FrozenSet[int]
    pair: Tuple[int, str]
    row: Tuple[float, ...]
    by_name: Dict[str, int]
    by_number: Dict[int, List[Level]]
    anything: Any
    maybe: Optional[datetime.datetime] = None
    nested: Optional[Everything] = None
    bare: dict = field(default_factory=dict)  # type: ignore[type-arg]


UTC = datetime.timezone.utc


def everything(nested: Optional[Everything] = None) -> Everything:
    return Everything(
        flag=True,
        small=-128,
        big=2**64 - 1,
        single=0.5,
        double=1e300,
        text="žluťoučký 🐎",
        raw=b"\x00\xff",
        when=datetime.datetime(2026, 1, 31, 12, 0, 0, 250, tzinfo=UTC),
        took=datetime.timedelta(seconds=-1.5),
        id=uuid.UUID(int=7),
        level=Level.HIGH,
        pet=Dog("rex", [Cat("tom"), Dog("pup")]),
        numbers=[-(2**63), 2**63 - 1],
        unique={"a", "b"},
        frozen=frozenset({3}),
        pair=(1, "x"),
        row=(1.0, 2.0),
        by_name={"k": 1},
        by_number={5: [Level.LOW]},
        anything={"a": [1, None, "x", 2.5, b"b"]},
        nested=nested,
        bare={"free": [1]},
    )


@service("Types")
class Types:
    @rpc
    async def back(self, value: Everything) -> Everything:
        assert isinstance(value, Everything)
        assert isinstance(value.pet, (Cat, Dog))
        return value

    @rpc
    async def animal(self, animal: Union[Cat, Dog]) -> Union[Cat, Dog]:
        return animal

    @rpc
    async def level(self, level: Level = Level.LOW) -> Level:
        return level

    @server_stream
    async def repeat(self, value: Everything) -> AsyncIterator[Everything]:
        for _ in range(3):
            yield value


@service(name="Session", version=1, scoped="session")
class Session:
    """Counts, remembers its peer, and tells the class when it is closed."""

    opened: ClassVar[List[Session]] = []
    closed: ClassVar[asyncio.Queue[Session]]

    def __init__(self, peer: Optional[str] = None) -> None:
        self.peer = peer
        self.count = 0
        self.order: List[int] = []
        self.hold = asyncio.Event()
        self.hold.set()
        Session.opened.append(self)

    @classmethod
    def reset(cls) -> None:
        cls.opened = []
        cls.closed = asyncio.Queue()

    @rpc
    async def increment(self, by: int = 1) -> int:
        self.count += by
        return self.count

    @rpc
    async def who(self, ctx: CallContext) -> Dict[str, Any]:
        return {"peer": self.peer, "context": ctx.peer, "session": ctx.session_id}

    @rpc
    async def slow(self, n: int) -> int:
        """Records when it begins; gives others a chance to overtake it."""
        self.order.append(n)
        await asyncio.sleep(0)
        await self.hold.wait()
        self.order.append(n)
        return n

    @rpc
    async def stuck(self) -> None:
        await asyncio.Event().wait()

    @rpc
    async def history(self) -> List[int]:
        return self.order

    @server_stream
    async def upto(self, n: int) -> AsyncIterator[int]:
        for value in range(n):
            self.count += 1
            yield value

    @client_stream
    async def add_all(self, numbers: AsyncIterator[int]) -> int:
        async for number in numbers:
            self.count += number
        return self.count

    @bidi_stream
    async def accumulate(self, numbers: AsyncIterator[int]) -> AsyncIterator[int]:
        async for number in numbers:
            self.count += number
            yield self.count

    async def on_session_close(self) -> None:
        await asyncio.sleep(0)
        Session.closed.put_nowait(self)
