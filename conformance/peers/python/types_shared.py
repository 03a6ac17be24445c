"""The types of the conformance services, as Python declares them."""

from __future__ import annotations

import datetime
import enum
import uuid
from dataclasses import dataclass, field
from typing import Annotated, Any, Union

from aster import i8, i32, u32, wire_type

NAMED: dict[str, Any] = {}
"""The classes by their wire tags."""


def declared(tag: str) -> Any:
    """`wire_type`, and the class is found again by its tag."""

    def take(cls: Any) -> Any:
        NAMED[tag] = wire_type(tag)(cls)
        return NAMED[tag]

    return take


@declared("conf/Text")
@dataclass
class Text:
    text: str


@declared("conf/Blob")
@dataclass
class Blob:
    data: bytes


@declared("conf/Number")
@dataclass
class Number:
    n: i32


@declared("conf/Fault")
@dataclass
class Fault:
    code: i32
    message: str
    details: Any = None
    metadata: dict[str, str] = field(default_factory=dict)


@declared("conf/Talk")
@dataclass
class Talk:
    initial: dict[str, str] = field(default_factory=dict)
    trailing: dict[str, str] = field(default_factory=dict)


@declared("conf/About")
@dataclass
class About:
    peer: str
    method: str
    metadata: dict[str, str]
    binary: dict[str, bytes]
    session: i32 | None = None
    left_ms: float | None = None


@declared("conf/Stream")
@dataclass
class Stream:
    n: i32
    size: i32 = 0
    hang: bool = False
    fail: bool = False


@declared("conf/Item")
@dataclass
class Item:
    n: i32
    data: bytes = b""


@declared("conf/Relay")
@dataclass
class Relay:
    address: str


@declared("conf/Level")
class Level(enum.Enum):
    low = 1
    high = 2


@declared("conf/Point")
@dataclass
class Point:
    x: i32
    y: i32
    label: str | None = None


@declared("conf/Circle")
@dataclass
class Circle:
    center: Point
    r: float


@declared("conf/Square")
@dataclass
class Square:
    side: float


Shape = Annotated[Union[Circle, Square], wire_type("conf/Shape")]


@declared("conf/Node")
@dataclass
class Node:
    value: i32
    children: list[Node] = field(default_factory=list)


@declared("conf/Record")
@dataclass
class Record:
    id: int
    name: str
    score: float = 0.0
    tags: list[str] = field(default_factory=list)
    level: Level = Level.low
    at: datetime.datetime | None = None
    shape: Shape | None = None
    extra: Any = None
    parts: dict[str, list[Point]] = field(default_factory=dict)
    pair: tuple[i32, i32] | None = None
    raw: bytes = b""


@declared("conf/State")
@dataclass
class State:
    peer: str
    context: str
    session: i32
    count: i32
    order: list[i32]


@declared("conf/Flags")
@dataclass
class Flags:
    a: bool = False
    b: i32 = 0
    c: str = ""


@declared("conf/Maybe")
@dataclass
class Maybe:
    b: str | None
    a: i32 | None = None
    c: Point | None = None


@declared("conf/Egg")
@dataclass
class Egg:
    hen: Hen | None = None


@declared("conf/Hen")
@dataclass
class Hen:
    eggs: list[Egg]


@declared("conf-test/v2.Item")
@dataclass
class DottedItem:
    id: str


@declared("conf/Größe")
@dataclass
class Größe:
    höhe: float
    ширина: float


@declared("conf/Stage")
class Stage(enum.Enum):
    open = "open"
    closed = "closed"
    half_open = "half_open"


@declared("conf/Customer")
@dataclass
class Customer:
    name: str
    tags: set[str]
    email: str | None = None


@declared("conf/Line")
@dataclass
class Line:
    sku: str
    amount: u32
    price: float
    notes: list[str | None] = field(default_factory=list)


@declared("conf/Order")
@dataclass
class Order:
    id: uuid.UUID
    customer: Customer
    lines: list[Line]
    stage: Stage
    at: datetime.datetime
    took: datetime.timedelta = datetime.timedelta(0)
    by_stage: dict[Stage, list[Line]] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    where: tuple[float, float] | None = None


@declared("conf/Wide")
@dataclass
class Wide:
    f00: i8 = 0
    f01: i8 = 0
    f02: i8 = 0
    f03: i8 = 0
    f04: i8 = 0
    f05: i8 = 0
    f06: i8 = 0
    f07: i8 = 0
    f08: i8 = 0
    f09: i8 = 0
    f10: i8 = 0
    f11: i8 = 0
    f12: i8 = 0
    f13: i8 = 0
    f14: i8 = 0
    f15: i8 = 0
    f16: i8 = 0
    f17: i8 = 0
    f18: i8 = 0
    f19: i8 = 0
