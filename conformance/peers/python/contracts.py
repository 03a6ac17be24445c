"""The services of the contract table that nothing calls: they are served, and typed clients are made of them.

Annotations here are objects, not texts, so that the services of one form can be made by a function.
"""

import datetime
import uuid
from collections.abc import AsyncIterator
from typing import Any, Optional, Union

from aster import (
    Unimplemented,
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
    Circle,
    Customer,
    DottedItem,
    Egg,
    Flags,
    Größe,
    Hen,
    Level,
    Maybe,
    Node,
    Number,
    Order,
    Point,
    Shape,
    Square,
    Text,
    Wide,
)

NEVER = Unimplemented("services of the contract table are not called")


def of_parameter(name: str, annotation: Any, **options: Any) -> type:
    """A service with one method `get` that takes a parameter `value` and answers with the like."""

    @service(name=name, **options)
    class OfParameter:
        @rpc
        async def get(self, value: annotation) -> annotation:
            raise NEVER

    return OfParameter


def of_struct(name: str, request: Any, response: Any, **options: Any) -> type:
    """A service with one method `get` from one struct to another."""

    @service(name=name, **options)
    class OfStruct:
        @rpc
        async def get(self, req: request) -> response:
            raise NEVER

    return OfStruct


@service(name="K01")
class NothingAtAll:
    @rpc
    async def ping(self) -> None:
        raise NEVER


@service(name="K24")
class NullableParameter:
    @rpc
    async def get(self, value: Optional[i32] = None) -> Optional[i32]:
        raise NEVER


@service(name="K34")
class Watch:
    @server_stream
    async def watch(self, req: Number) -> AsyncIterator[Text]:
        raise NEVER
        yield


@service(name="K35")
class Push:
    @client_stream
    async def push(self, texts: AsyncIterator[Text]) -> Number:
        raise NEVER


@service(name="K36")
class Chat:
    @bidi_stream
    async def chat(self, texts: AsyncIterator[Text]) -> AsyncIterator[Text]:
        raise NEVER
        yield


@service(name="K39")
class Idempotent:
    @rpc(idempotent=True)
    async def get(self, req: Number) -> Number:
        raise NEVER


@service(name="K40")
class AllKinds:
    @rpc(idempotent=True)
    async def a(self, req: Text) -> Text:
        raise NEVER

    @server_stream
    async def b(self, req: Text) -> AsyncIterator[Number]:
        raise NEVER
        yield

    @client_stream
    async def c(self, numbers: AsyncIterator[Number]) -> Text:
        raise NEVER

    @bidi_stream
    async def d(self, numbers: AsyncIterator[Number]) -> AsyncIterator[Number]:
        raise NEVER
        yield


@service(name="K41")
class Orders:
    @rpc
    async def place(self, req: Order) -> Customer:
        raise NEVER


@service(name="K42")
class Zähler:
    @rpc
    async def zähle(self, req: Größe) -> Größe:
        raise NEVER


@service(name="K52")
class Mixed:
    @rpc
    async def mix(self, a: i32, b: str = "", c: Optional[Point] = None) -> Point:
        raise NEVER


SCALARS = [bool, i8, i16, i32, int, u8, u16, u32, u64, f32, float, str, bytes]
SCALARS += [datetime.datetime, datetime.timedelta, uuid.UUID, Any]

CONTRACTS: dict[tuple[str, int], type] = {
    ("K01", 1): NothingAtAll,
    **{(f"K{number:02}", 1): of_parameter(f"K{number:02}", annotation) for number, annotation in enumerate(SCALARS, 2)},
    ("K19", 1): of_parameter("K19", list[str]),
    ("K20", 1): of_parameter("K20", set[str]),
    ("K21", 1): of_parameter("K21", tuple[i32, str]),
    ("K22", 1): of_parameter("K22", dict[str, i32]),
    ("K23", 1): of_parameter("K23", dict[i32, str]),
    ("K24", 1): NullableParameter,
    ("K25", 1): of_parameter("K25", list[list[float]]),
    ("K26", 1): of_parameter("K26", dict[uuid.UUID, list[u8]]),
    ("K27", 1): of_parameter("K27", Level),
    ("K28", 1): of_struct("K28", Point, Point),
    ("K29", 1): of_struct("K29", Flags, Flags),
    ("K30", 1): of_struct("K30", Maybe, Maybe),
    ("K31", 1): of_parameter("K31", Shape),
    ("K32", 1): of_struct("K32", Node, Node),
    ("K33", 1): of_struct("K33", Hen, Egg),
    ("K34", 1): Watch,
    ("K35", 1): Push,
    ("K36", 1): Chat,
    ("K37", 1): of_struct("K37", Number, Number, scoped="session"),
    ("K38", 7): of_struct("K38", Number, Number, version=7),
    ("K39", 1): Idempotent,
    ("K40", 1): AllKinds,
    ("K41", 1): Orders,
    ("K42", 1): Zähler,
    ("K43", 1): of_struct("K43", DottedItem, DottedItem),
    ("K44", 1): of_parameter("K44", dict[bool, i32]),
    ("K45", 1): of_parameter("K45", dict[Level, str]),
    ("K46", 1): of_parameter("K46", list[Optional[i32]]),
    ("K47", 1): of_parameter("K47", tuple[tuple[i32, i32], list[str]]),
    ("K48", 1): of_parameter("K48", set[i32]),
    ("K49", 1): of_parameter("K49", list[Shape]),
    ("K50", 1): of_parameter("K50", dict[str, Any]),
    ("K51", 1): of_parameter("K51", list[Any]),
    ("K52", 1): Mixed,
    ("K53", 1): of_struct("K53", Wide, Wide),
    ("K54", 1): of_parameter("K54", Union[Circle, Square]),
}
