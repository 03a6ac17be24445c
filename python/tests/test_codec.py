"""S2, S3: values to MessagePack and back, in the forms that the specification of values gives."""

from __future__ import annotations

import datetime
import enum
import uuid
from dataclasses import dataclass, field
from typing import Any, Dict, FrozenSet, List, Optional, Set, Tuple, Union

import msgspec
import pytest
from typing_extensions import NotRequired, TypedDict

from aster._codec import Codec, codec_for, translate_decode_error
from aster._describe import read_methods
from aster._errors import InvalidArgument
from aster._schema import shape_of, u8, wire_type
from aster._shapes import Shape

UTC = datetime.timezone.utc
MOMENT = datetime.datetime(2026, 1, 31, 12, 0, 0, 250, tzinfo=UTC)
NANOSECONDS = 1_769_860_800_000_250_000
ID = uuid.UUID("f81d4fae-7dec-11d0-a765-00a0c91e6bf6")


@wire_type("c/Level")
class Level(str, enum.Enum):
    """A str enum whose values differ from its names: names travel."""

    LOW = "low"
    HIGH = "high"


@wire_type("c/Plain")
@dataclass
class Plain:
    name: str
    size: u8 = 3
    ids: Set[uuid.UUID] = field(default_factory=set)


@wire_type("c/Cat")
@dataclass
class Cat:
    name: str


@wire_type("c/Dog")
@dataclass
class Dog:
    name: str
    born: Optional[datetime.datetime] = None
    friends: List[Union[Cat, Dog]] = field(default_factory=list)


@wire_type("c/Rich")
@dataclass
class Rich:
    level: Level
    when: datetime.datetime = MOMENT
    took: datetime.timedelta = datetime.timedelta(0)
    pet: Optional[Union[Cat, Dog]] = None
    by_level: Dict[Level, Tuple[int, Level]] = field(default_factory=dict)
    moments: List[Optional[datetime.datetime]] = field(default_factory=list)
    levels: FrozenSet[Level] = frozenset()
    plain: Optional[Plain] = None


def codec(annotation: Any) -> Codec:
    return codec_for(shape_of(annotation))


def wire(annotation: Any, value: Any) -> Any:
    return msgspec.msgpack.decode(codec(annotation).encode(value))


def round_trip(annotation: Any, value: Any) -> None:
    made = codec(annotation)
    payload = made.encode(value)
    assert made.decode(payload) == value
    batch = b"\x92" + payload + payload
    assert made.decode_batch(batch) == [value, value]


@pytest.mark.parametrize(
    ("annotation", "value", "on_the_wire"),
    [
        (int, 5, 5),
        (bytes, b"\x00", b"\x00"),
        (uuid.UUID, ID, ID.bytes),
        (datetime.datetime, MOMENT, NANOSECONDS),
        (datetime.datetime, MOMENT.astimezone(datetime.timezone(datetime.timedelta(hours=5))), NANOSECONDS),
        (datetime.datetime, datetime.datetime(1900, 1, 1, tzinfo=UTC), -2_208_988_800_000_000_000),
        (datetime.timedelta, datetime.timedelta(seconds=-1.5), -1_500_000_000),
        (Level, Level.HIGH, "HIGH"),
        (List[Level], [Level.LOW], ["LOW"]),
        (Set[int], {4}, [4]),
        (Tuple[int, Level], (1, Level.LOW), [1, "LOW"]),
        (Dict[Level, int], {Level.LOW: 1}, {"LOW": 1}),
        (Dict[uuid.UUID, int], {ID: 1}, {ID.bytes: 1}),
        (Optional[datetime.timedelta], None, None),
        (None, None, None),
        (Union[Cat, Dog], Cat("a"), {"$type": "c/Cat", "name": "a"}),
    ],
)
def test_S2_value_has_the_specified_form_and_comes_back(annotation: Any, value: Any, on_the_wire: Any) -> None:
    assert wire(annotation, value) == on_the_wire
    round_trip(annotation, value)


def test_S2_union_tag_is_the_first_key() -> None:
    assert list(wire(Union[Cat, Dog], Dog("b"))) == ["$type", "name", "born", "friends"]
    assert "$type" not in wire(Dog, Dog("b"))


def test_S2_nested_unions_enums_times_and_containers_round_trip() -> None:
    value = Rich(
        Level.HIGH,
        took=datetime.timedelta(days=2),
        pet=Dog("rex", MOMENT, [Cat("tom"), Dog("pup", friends=[Cat("x")])]),
        by_level={Level.LOW: (1, Level.HIGH)},
        moments=[None, MOMENT],
        levels=frozenset({Level.LOW}),
        plain=Plain("p", 7, {ID}),
    )
    round_trip(Rich, value)
    round_trip(List[Optional[Rich]], [value, None])


def test_S3_missing_optional_field_takes_its_default() -> None:
    assert codec(Plain).decode(msgspec.msgpack.encode({"name": "a"})) == Plain("a")
    assert codec(Rich).decode(msgspec.msgpack.encode({"level": "LOW"})) == Rich(Level.LOW)


def test_S3_unknown_field_is_ignored_by_a_receiver() -> None:
    assert codec(Plain).decode(msgspec.msgpack.encode({"name": "a", "new": 1})) == Plain("a")
    assert codec(Rich).decode(msgspec.msgpack.encode({"level": "LOW", "new": 1})) == Rich(Level.LOW)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Rich(Level.LOW, when=datetime.datetime(2026, 1, 1)), r"`when` at \$\.when: a datetime without a time zone"),
        (
            Rich(Level.LOW, moments=[None, datetime.datetime(2026, 1, 1)]),
            r"value at \$\.moments\[1\]: a datetime without",
        ),
        (Rich(Level.LOW, took=datetime.timedelta(days=200_000)), r"`took` at \$\.took: .* longer than"),
        (Rich(Level.LOW, when=datetime.datetime(2300, 1, 1, tzinfo=UTC)), r"`when` at \$\.when: .* outside"),
        (Rich(Level.LOW, pet=Plain("x")), r"`pet` at \$\.pet: Plain is not a member of the union"),  # type: ignore[arg-type]
        (Rich(Level.LOW, plain=3), r"\$\.plain"),  # type: ignore[arg-type]
        (Rich(Level.LOW, by_level={Level.LOW: (1,)}), r'value at \$\.by_level\["LOW"\]: expected tuple of 2, got 1'),  # type: ignore[dict-item]
        (5, r"value at \$: expected c/Rich"),
    ],
)
def test_S2_what_cannot_be_written_is_refused_with_its_path(value: Any, text: str) -> None:
    if "plain" in text:
        # Of a plain class msgspec writes whatever it is given, and the core names the path.
        assert wire(Rich, value)["plain"] == 3
        return
    with pytest.raises(InvalidArgument, match=text):
        codec(Rich).encode(value)


def test_S2_dict_stands_for_a_class_when_writing() -> None:
    assert wire(Rich, {"level": Level.LOW, "pet": {"$type": "c/Dog", "name": "d"}})["pet"]["$type"] == "c/Dog"
    with pytest.raises(InvalidArgument, match=r"unknown field 'nmae' of c/Dog"):
        codec(Rich).encode({"level": Level.LOW, "pet": {"$type": "c/Dog", "nmae": "d"}})


def test_S2_subclass_is_written_as_its_declared_class() -> None:
    @wire_type("c/Kitten")
    @dataclass
    class Kitten(Cat):
        age: int = 0

    assert wire(Union[Cat, Dog], Kitten("k", 1)) == {"$type": "c/Cat", "name": "k"}


def test_S2_computed_fields_do_not_travel() -> None:
    @wire_type("c/Area")
    @dataclass
    class Area:
        side: int
        size: int = field(init=False)

        def __post_init__(self) -> None:
            if self.side < 0:
                raise ValueError("a side is not negative")
            self.size = self.side**2

    assert wire(Area, Area(3)) == {"side": 3}
    assert codec(Area).decode(msgspec.msgpack.encode({"side": 4})) == Area(4)
    with pytest.raises(ValueError, match="not negative") as caught:
        codec(Area).decode(msgspec.msgpack.encode({"side": -1}))
    assert "a side is not negative" in str(translate_decode_error(caught.value, "the request"))


def test_S2_msgspec_structs_also_tagged_and_array_like() -> None:
    @wire_type("c/Renamed")
    class Renamed(msgspec.Struct, rename="camel"):
        agent_id: str
        when: datetime.datetime = MOMENT

    @wire_type("c/Array")
    class Array(msgspec.Struct, array_like=True):
        a: int
        b: str = "x"

    @wire_type("c/Tagged")
    class Tagged(msgspec.Struct, tag="own"):
        a: int

    assert wire(Renamed, Renamed("a")) == {"agentId": "a", "when": NANOSECONDS}
    assert wire(Array, Array(1)) == {"a": 1, "b": "x"}
    assert wire(Tagged, Tagged(1)) == {"a": 1}
    assert wire(Union[Tagged, Cat], Tagged(1)) == {"$type": "c/Tagged", "a": 1}
    for annotation, value in ((Renamed, Renamed("a")), (Array, Array(1)), (Tagged, Tagged(1))):
        round_trip(annotation, value)
        round_trip(Union[annotation, Cat], value)  # type: ignore[valid-type]


def test_S2_msgspec_constraints_hold_when_reading() -> None:
    @wire_type("c/Bounded")
    class Bounded(msgspec.Struct):
        n: Small  # noqa: F821 - named below, as in a function that makes types
        level: Level = Level.LOW

    from typing_extensions import Annotated

    from aster._annotations import Scope
    from aster._schema import Reflection

    names = {"Small": Annotated[int, msgspec.Meta(le=10)]}
    made = codec_for(Reflection(names).shape(Bounded, "T", Scope({}, {})))
    with pytest.raises(msgspec.ValidationError) as caught:
        made.decode(msgspec.msgpack.encode({"n": 11}))
    assert "value at $.n: expected `int` <= 10" in str(translate_decode_error(caught.value, "the request"))


def test_S2_typed_dict_keeps_absent_keys_absent() -> None:
    @wire_type("c/Options")
    class Options(TypedDict):
        a: int
        when: NotRequired[datetime.datetime]

    assert wire(Options, {"a": 1, "when": MOMENT}) == {"a": 1, "when": NANOSECONDS}
    round_trip(Options, {"a": 1, "when": MOMENT})
    round_trip(Options, {"a": 1})


def test_S2_pydantic_models_nested_both_ways() -> None:
    pydantic = pytest.importorskip("pydantic")

    @wire_type("c/Model")
    class Model(pydantic.BaseModel):
        agent: str = pydantic.Field(alias="agentId")
        level: Level = Level.LOW
        pet: Optional[Cat] = None
        count: int = pydantic.Field(default=1, le=5)

    @wire_type("c/Holder")
    @dataclass
    class Holder:
        models: List[Model]

    from aster._annotations import Scope
    from aster._schema import Reflection

    made = codec_for(Reflection(locals()).shape(Holder, "T", Scope({}, {})))
    value = Holder([Model(agentId="a", pet=Cat("c"), level=Level.HIGH)])
    payload = made.encode(value)
    assert msgspec.msgpack.decode(payload)["models"][0] == {
        "agentId": "a",
        "level": "HIGH",
        "pet": {"name": "c"},
        "count": 1,
    }
    assert made.decode(payload) == value
    with pytest.raises(pydantic.ValidationError, match="count"):
        made.decode(msgspec.msgpack.encode({"models": [{"agentId": "a", "count": 9}]}))


def dynamic(request: dict[str, Any], types: list[dict[str, Any]]) -> Codec:
    method = {"name": "m", "pattern": "unary", "request": request, "response": {"t": "null"}}
    shape: Shape = read_methods({"methods": [method], "types": types})["m"].request
    return Codec(shape, dynamic=True)


def test_C1_dynamic_codec_takes_and_gives_plain_values() -> None:
    types = [
        {"kind": "enum", "tag": "L", "values": ["LOW", "HIGH"]},
        {"kind": "union", "tag": "U", "members": ["A", "B"]},
        {"kind": "struct", "tag": "A", "fields": [{"name": "when", "type": {"t": "timestamp"}, "required": True}]},
        {
            "kind": "struct",
            "tag": "B",
            "fields": [{"name": "u", "type": {"t": "nullable", "item": {"t": "ref", "tag": "U"}}}],
        },
        {
            "kind": "struct",
            "tag": "R",
            "fields": [
                {"name": "id", "type": {"t": "uuid"}},
                {"name": "level", "type": {"t": "ref", "tag": "L"}},
                {"name": "either", "type": {"t": "list", "item": {"t": "ref", "tag": "U"}}},
                {"name": "set", "type": {"t": "list", "item": {"t": "i64"}, "unique": True}},
            ],
        },
    ]
    made = dynamic({"t": "ref", "tag": "R"}, types)
    given = {
        "id": ID,
        "level": Level.HIGH,
        "either": [{"when": MOMENT, "$type": "A"}, {"$type": "B", "u": {"$type": "A", "when": MOMENT}}],
        "set": {1},
        "unknown": 5,
    }
    payload = made.encode(given)
    raw = msgspec.msgpack.decode(payload)
    assert raw == {
        "id": ID.bytes,
        "level": "HIGH",
        "either": [
            {"$type": "A", "when": NANOSECONDS},
            {"$type": "B", "u": {"$type": "A", "when": NANOSECONDS}},
        ],
        "set": [1],
        "unknown": 5,  # stays, for the core to name it
    }
    assert list(raw["either"][0]) == ["$type", "when"]
    back = made.decode(payload)
    assert back["id"] == ID
    assert back["level"] == "HIGH"
    assert back["either"][1]["u"] == {"$type": "A", "when": MOMENT}
    assert given["either"][0]["when"] == MOMENT, "what the caller passed is not changed"


def test_C1_dynamic_codec_takes_instances_of_classes_too() -> None:
    types = [{"kind": "struct", "tag": "c/Dog", "fields": [{"name": "born", "type": {"t": "timestamp"}}]}]
    made = dynamic({"t": "ref", "tag": "c/Dog"}, types)
    assert msgspec.msgpack.decode(made.encode(Dog("x", MOMENT)))["born"] == NANOSECONDS


def test_S3_a_default_taken_when_reading_is_sent_on() -> None:
    """msgspec leaves plain defaults to the class, and would leave them out when it writes the value again."""

    @wire_type("c/Entry")
    @dataclass
    class Entry:
        level: str = "info"
        count: int = 0
        tags: List[str] = field(default_factory=list)

    made = codec(Entry)
    back = made.decode(msgspec.msgpack.encode({"level": "warn"}))
    assert vars(back) == {"level": "warn", "count": 0, "tags": []}
    assert msgspec.msgpack.decode(made.encode(back)) == {"level": "warn", "count": 0, "tags": []}
    again = made.decode(msgspec.msgpack.encode({}))
    again.tags.append("x")
    assert made.decode(msgspec.msgpack.encode({})).tags == []
