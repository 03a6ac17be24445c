"""S2: reflection of annotations into shapes, and its errors."""

from __future__ import annotations

import collections.abc
import datetime
import enum
import sys
import typing
import uuid
import warnings
from dataclasses import InitVar, dataclass, field
from typing import (
    Any,
    ClassVar,
    Dict,
    FrozenSet,
    Generic,
    List,
    Literal,
    NamedTuple,
    Optional,
    Set,
    Tuple,
    TypeVar,
    Union,
)

import msgspec
import pytest
from typing_extensions import Annotated, NotRequired, Required, TypedDict

from aster._annotations import Scope
from aster._errors import SchemaError, UntaggedTypeWarning
from aster._schema import Number, UnresolvedAnnotation, f32, i8, shape_of, u64, wire_type
from aster._shapes import (
    MISSING,
    EnumShape,
    ListOf,
    MapOf,
    Nullable,
    Scalar,
    StructKind,
    StructShape,
    TupleOf,
    UnionShape,
)


@wire_type("t/Color")
class Color(enum.Enum):
    RED = 1
    BLUE = 2
    CRIMSON = 1  # noqa: PIE796


@wire_type("t/Point")
@dataclass
class Point:
    """A place."""

    x: int
    y: int = 0
    label: str | None = None
    tags: List[str] = field(default_factory=list)
    shared: ClassVar[int] = 3


@wire_type("t/Node")
@dataclass
class Node:
    value: int
    next: Optional[Node] = None
    children: List[Node] = field(default_factory=list)


@wire_type("t/Circle")
@dataclass
class Circle:
    r: float


def struct(annotation: Any) -> StructShape:
    shape = shape_of(annotation, "T")
    assert isinstance(shape, StructShape)
    return shape


def fields(annotation: Any) -> dict[str, Any]:
    return {each.name: each for each in struct(annotation).fields}


@pytest.mark.parametrize(
    ("annotation", "shape"),
    [
        (bool, Scalar("bool")),
        (int, Scalar("i64")),
        (float, Scalar("f64")),
        (str, Scalar("string")),
        (bytes, Scalar("bytes")),
        (datetime.datetime, Scalar("timestamp")),
        (datetime.timedelta, Scalar("duration")),
        (uuid.UUID, Scalar("uuid")),
        (Any, Scalar("any")),
        (None, Scalar("null")),
        (i8, Scalar("i8")),
        (u64, Scalar("u64")),
        (f32, Scalar("f32")),
        (Annotated[int, Number("u16"), "anything else"], Scalar("u16")),
        (typing.NewType("AgentId", str), Scalar("string")),
        (Optional[int], Nullable(Scalar("i64"))),
        (Union[None, str], Nullable(Scalar("string"))),
        (list, ListOf(Scalar("any"))),
        (dict, MapOf(Scalar("string"), Scalar("any"))),
        (List[int], ListOf(Scalar("i64"))),
        (collections.abc.Sequence, ListOf(Scalar("any"))),
        (Set[str], ListOf(Scalar("string"), "set")),
        (FrozenSet[str], ListOf(Scalar("string"), "frozenset")),
        (Tuple[int, ...], ListOf(Scalar("i64"), "tuple")),
        (Tuple[int, str], TupleOf((Scalar("i64"), Scalar("string")))),
        (Tuple[()], TupleOf(())),
        (Dict[str, List[Optional[int]]], MapOf(Scalar("string"), ListOf(Nullable(Scalar("i64"))))),
        (Dict[uuid.UUID, bool], MapOf(Scalar("uuid"), Scalar("bool"))),
        ("dict[str, int | None]", MapOf(Scalar("string"), Nullable(Scalar("i64")))),
        (List["int | None"], ListOf(Nullable(Scalar("i64")))),
    ],
)
def test_S2_every_unnamed_type_has_a_shape(annotation: Any, shape: Any) -> None:
    assert shape_of(annotation, "T", Scope(globals(), {})) == shape


def test_S2_dataclass_fields_with_defaults_nullable_and_without_class_variables() -> None:
    shape = struct(Point)
    assert (shape.tag, shape.kind, shape.doc) == ("t/Point", StructKind.DATACLASS, "A place.")
    found = fields(Point)
    assert list(found) == ["x", "y", "label", "tags"]
    assert (found["x"].required, found["x"].default) == (True, MISSING)
    assert (found["y"].required, found["y"].default) == (False, 0)
    assert (found["label"].shape, found["label"].nullable, found["label"].required) == (Scalar("string"), True, False)
    assert (found["tags"].required, found["tags"].default) == (False, MISSING)


def test_S2_enum_has_names_without_aliases() -> None:
    shape = shape_of(Color)
    assert isinstance(shape, EnumShape)
    assert (shape.tag, shape.values) == ("t/Color", ("RED", "BLUE"))


def test_S2_self_referring_type_is_one_shape() -> None:
    shape = struct(Node)
    assert fields(Node)["next"].shape is shape
    assert fields(Node)["children"].shape.item is shape
    assert struct(Node) is shape


def test_S2_union_is_named_by_its_members_in_any_order_or_explicitly() -> None:
    one, two = shape_of(Union[Point, Circle]), shape_of(Union[Circle, Point, None])
    assert isinstance(one, UnionShape)
    assert one.tag == "t/Circle.or.t/Point"
    assert isinstance(two, Nullable)
    assert isinstance(two.item, UnionShape)
    assert two.item.tag == one.tag
    named = shape_of(Annotated[Union[Point, Circle], wire_type("t/Figure")])
    assert isinstance(named, UnionShape)
    assert named.tag == "t/Figure"


def test_S2_local_classes_resolve_in_their_own_scope() -> None:
    @wire_type("t/Inner")
    @dataclass
    class Inner:
        n: int

    @wire_type("t/Outer")
    @dataclass
    class Outer:
        inner: Inner
        more: list[Inner | None]

    with pytest.raises(UnresolvedAnnotation, match="Inner"):
        shape_of(Outer)
    from aster._schema import Reflection

    shape = Reflection(locals()).shape(Outer, "T", Scope({}, {}))
    assert isinstance(shape, StructShape)
    assert shape.fields[0].shape is shape_of(Inner)


def test_S2_msgspec_struct_with_renamed_fields() -> None:
    @wire_type("t/S")
    class S(msgspec.Struct, rename="camel"):
        agent_id: str
        load_avg: float = 0.5
        tags: list = []

    found = fields(S)
    assert list(found) == ["agentId", "loadAvg", "tags"]
    assert (found["agentId"].attribute, found["agentId"].required) == ("agent_id", True)
    assert (found["loadAvg"].default, found["tags"].required, found["tags"].default) == (0.5, False, MISSING)


def test_S2_typed_dict_with_required_and_not_required() -> None:
    @wire_type("t/TD")
    class TD(TypedDict):
        a: int
        b: NotRequired[str]

    @wire_type("t/TD2")
    class TD2(TypedDict, total=False):
        c: Required[int]
        d: Optional[float]

    assert {name: each.required for name, each in fields(TD).items()} == {"a": True, "b": False}
    assert {name: (each.required, each.nullable) for name, each in fields(TD2).items()} == {
        "c": (True, False),
        "d": (False, True),
    }


def test_S2_pydantic_model_by_alias() -> None:
    pydantic = pytest.importorskip("pydantic")

    @wire_type("t/M")
    class M(pydantic.BaseModel):
        agent: str = pydantic.Field(alias="agentId")
        count: int = 3
        when: Optional[datetime.datetime] = None

    found = fields(M)
    assert (found["agentId"].attribute, found["agentId"].required) == ("agent", True)
    assert (found["count"].default, found["when"].nullable) == (3, True)


@wire_type("t/Flags")
class Flags(enum.Flag):
    A = 1


@wire_type("t/Nt")
class Nt(NamedTuple):
    x: int


X = TypeVar("X")


@wire_type("t/Page")
@dataclass
class Page(Generic[X]):
    items: List[X]


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        (object, "typing.Any"),
        (complex, "two floats"),
        (datetime.date, "datetime"),
        (bytearray, "bytes"),
        (typing.Callable[[], int], "functions"),
        (Literal["a"], "Enum" if sys.version_info >= (3, 10) else "cannot be sent"),
        (Union[int, str], "wire_type"),
        (Union[Point, int], "wire_type"),
        (Dict[float, int], "key of a map"),
        (Dict[bytes, int], "key of a map"),
        (Dict[Point, int], "key of a map"),
        (Flags, "combination"),
        (Nt, "dataclass"),
        (Page, "generic"),
        (X, "type variable"),
        (3, "cannot be sent"),
    ],
)
def test_S2_unsupported_annotation_fails_and_says_why(annotation: Any, reason: str) -> None:
    with pytest.raises(SchemaError, match=reason):
        shape_of(annotation, "Svc.method: parameter 'x'")


def test_S2_error_names_class_and_field() -> None:
    @wire_type("t/Bad")
    @dataclass
    class Bad:
        ok: int
        wrong: complex

    with pytest.raises(SchemaError, match=r"Bad\.wrong: complex cannot be sent"):
        shape_of(List[Bad])
    # Nothing half made is kept: the second time it is the same error.
    with pytest.raises(SchemaError, match=r"Bad\.wrong"):
        shape_of(List[Bad])


def test_S2_init_variables_and_none_defaults_are_refused() -> None:
    @wire_type("t/Iv")
    @dataclass
    class Iv:
        a: InitVar[int]

    @wire_type("t/Nd")
    @dataclass
    class Nd:
        a: str = None  # type: ignore[assignment]

    with pytest.raises(SchemaError, match=r"Iv\.a: an InitVar"):
        shape_of(Iv)
    with pytest.raises(SchemaError, match=r"Nd\.a: the default is None"):
        shape_of(Nd)


def test_S2_missing_tag_is_the_bare_name_with_one_warning() -> None:
    @dataclass
    class Untagged:
        a: int

    with pytest.warns(UntaggedTypeWarning, match=r"Untagged has no @wire_type"):
        assert struct(Untagged).tag == "Untagged"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert struct(Untagged).tag == "Untagged"


def test_S2_subclass_does_not_inherit_the_tag() -> None:
    @wire_type("t/Base")
    @dataclass
    class Base:
        a: int

    @dataclass
    class Derived(Base):
        b: int = 0

    with pytest.warns(UntaggedTypeWarning):
        assert struct(Derived).tag == "Derived"
    assert struct(Base).tag == "t/Base"


@pytest.mark.parametrize("tag", ["", " x", 3, None])
def test_S2_wire_type_refuses_what_is_not_a_name(tag: Any) -> None:
    with pytest.raises(SchemaError, match="wire_type"):
        wire_type(tag)
