"""The shapes a value on the wire can have.

This is the small, frozen algebra that annotations are reflected into (`_schema`), that a contract
description is read into (`_describe`), and that codecs are compiled from (`_codec`). It knows nothing
of annotations, contracts or encoders.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Any, Iterator, Optional, Union

__all__ = [
    "MISSING",
    "EnumShape",
    "FieldShape",
    "ListOf",
    "MapOf",
    "Nullable",
    "Scalar",
    "Shape",
    "StructKind",
    "StructShape",
    "TupleOf",
    "UnionShape",
    "children",
    "closure",
]


class _Missing(enum.Enum):
    """The type of `MISSING`, the mark for "there is no default"."""

    MISSING = "MISSING"


MISSING = _Missing.MISSING


@dataclass(frozen=True)
class Scalar:
    """A value with no parts: `kind` is the contract's own name (`i64`, `string`, `timestamp`, ...)."""

    kind: str
    constraints: tuple[Any, ...] = ()
    """`msgspec.Meta` constraints of the annotation, enforced when a message is decoded."""


@dataclass(frozen=True)
class ListOf:
    """Values of one shape in order; `container` is the Python type that holds them."""

    item: Shape
    container: str = "list"
    """`list`, `set`, `frozenset` or `tuple` (of any length)."""

    @property
    def unique(self) -> bool:
        """Whether equal items are refused, as in a set."""
        return self.container in ("set", "frozenset")


@dataclass(frozen=True)
class TupleOf:
    """A fixed number of values, each of its own shape."""

    items: tuple[Shape, ...]


@dataclass(frozen=True)
class MapOf:
    """Keys of one shape to values of another."""

    key: Shape
    value: Shape


@dataclass(frozen=True)
class Nullable:
    """A value that may be None."""

    item: Shape


@dataclass(frozen=True)
class FieldShape:
    """One field of a struct."""

    name: str
    """The name on the wire."""
    attribute: str
    """The name in Python; differs from `name` for renamed msgspec and pydantic fields only."""
    shape: Shape
    """Never `Nullable` at the top: see `nullable`."""
    required: bool
    nullable: bool
    default: Any = MISSING
    """The default when it is one plain value."""
    factory: Any = MISSING
    """What makes the default of each new value, for dataclasses and msgspec Structs."""

    @property
    def full_shape(self) -> Shape:
        """The shape with `nullable` folded back in."""
        return Nullable(self.shape) if self.nullable else self.shape


class StructKind(enum.Enum):
    """How the Python values of a struct are made and read."""

    DATACLASS = "dataclass"
    MSGSPEC = "msgspec.Struct"
    PYDANTIC = "pydantic model"
    TYPED_DICT = "TypedDict"
    """A dict with declared keys; also the parameters of a handler that takes plain parameters."""
    PLAIN_DICT = "dict"
    """A dict whose fields are known from a contract only (dynamic proxies)."""


@dataclass(eq=False)
class StructShape:
    """A named record. Compared by identity, because it may contain itself."""

    tag: str
    kind: StructKind
    cls: Optional[type]
    """The Python class; None for `PLAIN_DICT`."""
    fields: tuple[FieldShape, ...] = ()
    doc: str = ""
    writes: bool = True
    """Whether msgspec by itself writes this class as the contract says, its fields apart."""
    reads: bool = True
    """Whether msgspec by itself reads this class as the contract says, its fields apart."""
    cache: dict[str, Any] = field(default_factory=dict, repr=False)
    """Compiled codecs, owned by `_codec`; lives and dies with the shape."""


@dataclass(eq=False)
class EnumShape:
    """A closed set of names; travels by name, whatever the Python values are."""

    tag: str
    cls: Optional[type[enum.Enum]]
    values: tuple[str, ...]
    doc: str = ""


@dataclass(eq=False)
class UnionShape:
    """One of several structs, told apart on the wire by `$type`. Compared by identity, as its members are."""

    tag: str
    members: tuple[StructShape, ...] = ()


Shape = Union[Scalar, ListOf, TupleOf, MapOf, Nullable, StructShape, EnumShape, UnionShape]


def children(shape: Shape) -> Iterator[Shape]:
    """The shapes directly inside `shape`."""
    if isinstance(shape, (ListOf, Nullable)):
        yield shape.item
    elif isinstance(shape, TupleOf):
        yield from shape.items
    elif isinstance(shape, MapOf):
        yield shape.key
        yield shape.value
    elif isinstance(shape, StructShape):
        for each in shape.fields:
            yield each.full_shape
    elif isinstance(shape, UnionShape):
        yield from shape.members


def closure(*roots: Shape) -> list[Shape]:
    """Every shape reachable from `roots`, each once, in the order met."""
    seen: set[int] = set()
    found: list[Shape] = []
    stack: list[Shape] = list(reversed(roots))
    while stack:
        shape = stack.pop()
        if id(shape) in seen:
            continue
        seen.add(id(shape))
        found.append(shape)
        stack.extend(reversed(list(children(shape))))
    return found
