"""Converters between Python values and what msgspec can read or write, for shapes where they differ.

Writing: `to_wire` turns a value into dicts, lists and scalars. Reading: msgspec decodes into private
*mirror* structs (`mirror_hint`), and `from_wire` builds the values from those. Both are compiled to
Python functions once per class; they keep no path, and `explain` finds it after a failure.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
import re
import uuid
from typing import Any, Callable, Dict, FrozenSet, List, Optional, Set, Tuple, Union

import msgspec
from typing_extensions import Annotated

from ._shapes import (
    MISSING,
    EnumShape,
    FieldShape,
    ListOf,
    MapOf,
    Nullable,
    Scalar,
    Shape,
    StructKind,
    StructShape,
    TupleOf,
    UnionShape,
    closure,
)

__all__ = [
    "EncodeFault",
    "explain",
    "from_wire",
    "mirror_hint",
    "native_decode",
    "native_encode",
    "native_hint",
    "plain_fields",
    "to_wire",
    "unwritable",
]

_PYTHON_TYPES: dict[str, Any] = {
    "bool": bool,
    "f32": float,
    "f64": float,
    "string": str,
    "bytes": bytes,
    "uuid": uuid.UUID,
    "any": Any,
    "null": None,
    # On the wire; native_decode is false for these two.
    "timestamp": int,
    "duration": int,
}
_CONTAINERS: dict[str, Any] = {"list": List, "set": Set, "frozenset": FrozenSet}
_TIMES = ("timestamp", "duration")
_UNTYPED_READ = ("timestamp", "duration", "uuid")
"""Scalars that an untyped decode leaves in their wire form."""


class EncodeFault(ValueError):
    """A value that cannot be written; the text says why, without the path."""


# ---------------------------------------------------------------- what msgspec does by itself


def native_encode(shape: Shape) -> bool:
    """Whether msgspec writes every value of `shape` as the contract says."""
    return all(_writes(each) for each in closure(shape))


def native_decode(shape: Shape, dynamic: bool = False) -> bool:
    """Whether msgspec reads every value of `shape` as wanted: into the Python types declared, or when `dynamic`,
    into dicts, lists and scalars."""
    return all(_reads(each, dynamic) for each in closure(shape))


def _writes(shape: Shape) -> bool:
    if isinstance(shape, Scalar):
        return shape.kind not in _TIMES
    if isinstance(shape, StructShape):
        return shape.writes
    return not isinstance(shape, (EnumShape, UnionShape))


def _reads(shape: Shape, dynamic: bool) -> bool:
    if isinstance(shape, Scalar):
        return shape.kind not in (_UNTYPED_READ if dynamic else _TIMES)
    if isinstance(shape, StructShape):
        return shape.reads
    # A name and a map with "$type" are what a dynamic proxy shows for an enum and a union.
    return dynamic or not isinstance(shape, (EnumShape, UnionShape))


def native_hint(shape: Shape) -> Any:
    """The type to give msgspec for a shape that `native_decode` holds for."""
    if isinstance(shape, StructShape):
        return shape.cls
    return _hint(shape, native_hint)


def _hint(shape: Shape, inner: Callable[[Shape], Any]) -> Any:
    """The hint of an unnamed shape, given those of what is inside."""

    if isinstance(shape, Scalar):
        found = _PYTHON_TYPES.get(shape.kind, int)
        if not shape.constraints:
            return found
        arguments = (found, *shape.constraints)
        return Annotated[arguments]
    if isinstance(shape, ListOf):
        if shape.container == "tuple":
            return Tuple[inner(shape.item), ...]
        return _CONTAINERS[shape.container][inner(shape.item)]
    if isinstance(shape, TupleOf):
        return Tuple[tuple(inner(each) for each in shape.items)] if shape.items else Tuple[()]
    if isinstance(shape, MapOf):
        return Dict[inner(shape.key), inner(shape.value)]  # type: ignore[misc]
    if isinstance(shape, Nullable):
        return Optional[inner(shape.item)]
    assert isinstance(shape, EnumShape)
    return str


# ---------------------------------------------------------------- times

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
_MICROSECOND = datetime.timedelta(microseconds=1)
_I64 = range(-(1 << 63), 1 << 63)


def _nanoseconds(microseconds: int) -> Optional[int]:
    """Nanoseconds as they travel; None if out of range. The earliest moment is not whole in microseconds: read rounded down,
    it must be possible to send again."""
    nanoseconds = microseconds * 1000
    if _I64.start - 1000 < nanoseconds < _I64.start:
        return _I64.start
    return nanoseconds if nanoseconds in _I64 else None


def _timestamp_to_wire(value: Any) -> Any:
    if not isinstance(value, datetime.datetime):
        return value  # the core says what it expected
    if value.tzinfo is None or value.utcoffset() is None:
        raise EncodeFault(
            "a datetime without a time zone does not name a moment; use datetime.now(timezone.utc), or .astimezone() for local time"
        )
    nanoseconds = _nanoseconds((value - _EPOCH) // _MICROSECOND)
    if nanoseconds is None:
        raise EncodeFault(f"{value.isoformat()} is outside what a timestamp can hold (years 1678 to 2261)")
    return nanoseconds


def _timestamp_from_wire(nanoseconds: int) -> datetime.datetime:
    return _EPOCH + datetime.timedelta(microseconds=nanoseconds // 1000)


def _duration_to_wire(value: Any) -> Any:
    if not isinstance(value, datetime.timedelta):
        return value
    nanoseconds = _nanoseconds(value // _MICROSECOND)
    if nanoseconds is None:
        raise EncodeFault(f"{value} is longer than a duration can hold (292 years)")
    return nanoseconds


def _duration_from_wire(nanoseconds: int) -> datetime.timedelta:
    return datetime.timedelta(microseconds=nanoseconds // 1000)


def _uuid_from_wire(value: bytes) -> uuid.UUID:
    return uuid.UUID(bytes=value)


_SCALAR_READERS: dict[str, Callable[[Any], Any]] = {
    "timestamp": _timestamp_from_wire,
    "duration": _duration_from_wire,
    "uuid": _uuid_from_wire,
}


# ---------------------------------------------------------------- structs as plain fields


def plain_fields(value: Any) -> Optional[dict[str, Any]]:
    """The fields of a class instance by wire name, one level deep; None for what has no declared fields."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {each.name: getattr(value, each.name) for each in dataclasses.fields(value) if each.init}
    if isinstance(value, msgspec.Struct):
        return {
            wire: getattr(value, name) for name, wire in zip(value.__struct_fields__, value.__struct_encode_fields__)
        }
    fields = getattr(type(value), "model_fields", None)
    if fields is not None:
        return {info.validation_alias or name: getattr(value, name) for name, info in fields.items()}
    return None


def _make_enum_to_wire(shape: EnumShape) -> Callable[[Any], Any]:
    def to_wire(value: Any) -> Any:
        # A str enum is a str too, so the type decides, not the looks.
        return value.name if isinstance(value, enum.Enum) else value

    return to_wire


def to_wire(shape: Shape) -> Callable[[Any], Any]:
    """A function from a value to what msgspec writes as the contract says."""
    return _function(shape, _Writer())


def from_wire(shape: Shape, dynamic: bool = False) -> Callable[[Any], Any]:
    """A function from what msgspec decoded (by `mirror_hint`, or untyped when `dynamic`) to the value."""
    return _function(shape, _Reader(dynamic))


def explain(shape: Shape, value: Any) -> Optional[str]:
    """The first reason, with its path, why `value` cannot be written; None if it can."""
    return _explain(shape, value, "$")


# ---------------------------------------------------------------- compiling


def _function(shape: Shape, side: _Side) -> Callable[[Any], Any]:
    if isinstance(shape, StructShape) and not side.leaves_alone(shape):
        return side.struct(shape)
    code = _Code(side)
    return code.build(f"return {code.convert(shape, 'v')}")


class _Code:
    """Source of one converter and the constants it uses."""

    def __init__(self, side: _Side) -> None:
        self.side = side
        self.names: dict[str, Any] = {}
        self._count = 0

    def constant(self, value: Any) -> str:
        """A name for an object that the source refers to."""
        self._count += 1
        name = f"c{self._count}"
        self.names[name] = value
        return name

    def variable(self) -> str:
        self._count += 1
        return f"x{self._count}"

    def convert(self, shape: Shape, value: str) -> str:
        """An expression for the conversion of the expression `value`."""
        if self.side.leaves_alone(shape):
            return value
        if isinstance(shape, Nullable):
            if value.isidentifier():
                return f"(None if {value} is None else {self.convert(shape.item, value)})"
            name = self.variable()
            return f"(None if ({name} := {value}) is None else {self.convert(shape.item, name)})"
        if isinstance(shape, ListOf):
            item = self.variable()
            body = f"{self.convert(shape.item, item)} for {item} in {value}"
            return self.side.collect(shape.container, body)
        if isinstance(shape, TupleOf):
            name = self.variable()
            checked = self.constant(_exactly(len(shape.items)))
            parts = ", ".join(self.convert(each, f"{name}[{index}]") for index, each in enumerate(shape.items))
            return f"[({parts},) for {name} in ({checked}({value}),)][0]"
        if isinstance(shape, MapOf):
            key, item = self.variable(), self.variable()
            return f"{{{self.convert(shape.key, key)}: {self.convert(shape.value, item)} for {key}, {item} in {value}.items()}}"
        return f"{self.constant(self.side.leaf(shape))}({value})"

    def build(self, *lines: str) -> Callable[[Any], Any]:
        source = "def convert(v):\n" + "".join(f"    {line}\n" for line in lines)
        exec(compile(source, "<aster codec>", "exec"), self.names)
        convert: Callable[[Any], Any] = self.names["convert"]
        return convert


def _exactly(count: int) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if len(value) != count:
            raise EncodeFault(f"expected tuple of {count}, got {len(value)} items")
        return value

    return check


class _Side:
    """One direction: what needs conversion and into what."""

    name: str

    def leaves_alone(self, shape: Shape) -> bool:
        raise NotImplementedError

    def collect(self, container: str, body: str) -> str:
        raise NotImplementedError

    def leaf(self, shape: Shape) -> Callable[[Any], Any]:
        raise NotImplementedError

    def struct(self, shape: StructShape) -> Callable[[Any], Any]:
        """The converter of a class, through a level of indirection while it is being made: it may contain itself."""
        found = shape.cache.get(self.name)
        if found is None:
            cell: list[Callable[[Any], Any]] = []
            shape.cache[self.name] = lambda value: cell[0](value)
            try:
                found = self.make_struct(shape)
            except BaseException:
                del shape.cache[self.name]
                raise
            cell.append(found)
            shape.cache[self.name] = found
        return found

    def make_struct(self, shape: StructShape) -> Callable[[Any], Any]:
        raise NotImplementedError


class _Writer(_Side):
    name = "to_wire"

    def leaves_alone(self, shape: Shape) -> bool:
        return native_encode(shape)

    def collect(self, container: str, body: str) -> str:
        return f"[{body}]"

    def leaf(self, shape: Shape) -> Callable[[Any], Any]:
        if isinstance(shape, Scalar):
            return _timestamp_to_wire if shape.kind == "timestamp" else _duration_to_wire
        if isinstance(shape, EnumShape):
            return _make_enum_to_wire(shape)
        if isinstance(shape, UnionShape):
            return self._union(shape)
        assert isinstance(shape, StructShape)
        return self.struct(shape)

    def _union(self, shape: UnionShape) -> Callable[[Any], Any]:
        by_class = {member.cls: member for member in shape.members if _is_instance_kind(member)}
        by_tag = {member.tag: member for member in shape.members}
        writers = {member.tag: self.struct(member) for member in shape.members}

        def to_wire(value: Any) -> Any:
            member = _member_of(value, by_class, by_tag)
            fields = writers[member.tag](value)
            return {"$type": member.tag, **{name: each for name, each in fields.items() if name != "$type"}}

        return to_wire

    def make_struct(self, shape: StructShape) -> Callable[[Any], Any]:
        code = _Code(self)
        if not _is_instance_kind(shape):
            return self._dict(shape, code)
        cls, coerce = code.constant(shape.cls), code.constant(_coercion(shape))
        parts = ", ".join(
            f"{each.name!r}: {code.convert(each.full_shape, f'v.{each.attribute}')}" for each in shape.fields
        )
        return code.build(f"if type(v) is not {cls}: v = {coerce}(v)", f"return {{{parts}}}")

    def _dict(self, shape: StructShape, code: _Code) -> Callable[[Any], Any]:
        """A dict is copied with the fields that need it converted; keys that are not fields stay, for the core to name."""
        lines = [
            f"if {each.name!r} in d: d[{each.name!r}] = {code.convert(each.full_shape, f'd[{each.name!r}]')}"
            for each in shape.fields
            if not self.leaves_alone(each.full_shape)
        ]
        return code.build(f"d = {code.constant(_as_dict)}(v)", *lines, "return d")


def _is_instance_kind(shape: StructShape) -> bool:
    return shape.kind not in (StructKind.TYPED_DICT, StructKind.PLAIN_DICT)


def _as_dict(value: Any) -> dict[str, Any]:
    fields = plain_fields(value)
    return dict(value) if fields is None else fields


def _coercion(shape: StructShape) -> Callable[[Any], Any]:
    """What to do with a value that is not exactly of the class: subclasses pass, a dict gives the fields."""
    cls: Any = shape.cls

    def coerce(value: Any) -> Any:
        if isinstance(value, cls):
            return value
        if isinstance(value, dict):
            names = {each.name: each.attribute for each in shape.fields}
            unknown = [key for key in value if key not in names and key != "$type"]
            if unknown:
                raise EncodeFault(f"unknown field {unknown[0]!r} of {shape.tag}")
            if shape.kind is StructKind.PYDANTIC:
                return cls(**{key: each for key, each in value.items() if key != "$type"})
            return cls(**{names[key]: each for key, each in value.items() if key != "$type"})
        raise EncodeFault(f"expected {cls.__qualname__}, got {type(value).__qualname__}")

    return coerce


def _member_of(value: Any, by_class: dict[Optional[type], StructShape], by_tag: dict[str, StructShape]) -> StructShape:
    for cls in type(value).__mro__:
        if cls in by_class:
            return by_class[cls]
    tag = value.get("$type") if isinstance(value, dict) else type(value).__dict__.get("__aster_wire_tag__")
    if tag in by_tag:
        return by_tag[tag]
    if isinstance(value, dict):
        raise EncodeFault(f'a dict for a union needs the key "$type" with one of {sorted(by_tag)}, and has {tag!r}')
    raise EncodeFault(f"{type(value).__qualname__} is not a member of the union; its members are {sorted(by_tag)}")


class _Reader(_Side):
    name = "from_wire"

    def __init__(self, dynamic: bool) -> None:
        self._dynamic = dynamic

    def leaves_alone(self, shape: Shape) -> bool:
        return native_decode(shape, self._dynamic)

    def collect(self, container: str, body: str) -> str:
        return f"[{body}]" if container == "list" else f"{container}({body})"

    def leaf(self, shape: Shape) -> Callable[[Any], Any]:
        if isinstance(shape, Scalar):
            return _SCALAR_READERS[shape.kind]
        if isinstance(shape, EnumShape):
            return _as_it_is if shape.cls is None else {each.name: each for each in shape.cls}.__getitem__
        if isinstance(shape, UnionShape):
            return self._union(shape)
        assert isinstance(shape, StructShape)
        return self.struct(shape)

    def _union(self, shape: UnionShape) -> Callable[[Any], Any]:
        readers = {member.tag: self.struct(member) for member in shape.members}
        if self._dynamic:
            return lambda value: readers[value["$type"]](value)
        by_mirror = {_mirror(member, tagged=True): readers[member.tag] for member in shape.members}
        return lambda value: by_mirror[type(value)](value)

    def make_struct(self, shape: StructShape) -> Callable[[Any], Any]:
        code = _Code(self)
        if shape.kind is StructKind.PLAIN_DICT:
            return self._plain_dict(shape, code)
        if shape.kind in (StructKind.DATACLASS, StructKind.MSGSPEC):
            # By keyword, since dataclasses may have keyword-only fields; by position it would be no faster.
            parts = ", ".join(
                f"{each.attribute}={self._with_default(code, each, i)}" for i, each in enumerate(shape.fields)
            )
            return code.build(f"return {code.constant(shape.cls)}({parts})")
        unset, lines = code.constant(msgspec.UNSET), ["d = {}"]
        for index, each in enumerate(shape.fields):
            # pydantic models are made by alias, which is the name on the wire.
            guard = "" if each.required else f"if v.f{index} is not {unset}: "
            lines.append(f"{guard}d[{each.name!r}] = {code.convert(each.full_shape, f'v.f{index}')}")
        made = "d" if shape.kind is StructKind.TYPED_DICT else f"{code.constant(shape.cls)}(**d)"
        return code.build(*lines, f"return {made}")

    def _with_default(self, code: _Code, field: FieldShape, index: int) -> str:
        value = code.convert(field.full_shape, f"v.f{index}")
        if field.required or _mirrors_default(field):
            return value
        default = f"{code.constant(field.factory)}()" if field.default is MISSING else code.constant(field.default)
        return f"({default} if v.f{index} is {code.constant(msgspec.UNSET)} else {value})"

    def _plain_dict(self, shape: StructShape, code: _Code) -> Callable[[Any], Any]:
        lines = [
            f"if {each.name!r} in v: v[{each.name!r}] = {code.convert(each.full_shape, f'v[{each.name!r}]')}"
            for each in shape.fields
            if not self.leaves_alone(each.full_shape)
        ]
        return code.build(*lines, "return v")


def _as_it_is(value: Any) -> Any:
    return value


# ---------------------------------------------------------------- mirrors


def mirror_hint(shape: Shape) -> Any:
    """The type for msgspec to decode into, before `from_wire`."""
    if native_decode(shape):
        return native_hint(shape)
    if isinstance(shape, ListOf):
        # Whatever the container: the converter builds it from the list, and mirrors are not hashable.
        return List[mirror_hint(shape.item)]  # type: ignore[misc]
    if isinstance(shape, TupleOf):
        return Tuple[tuple(mirror_hint(each) for each in shape.items)]
    if isinstance(shape, MapOf):
        return Dict[mirror_hint(shape.key), mirror_hint(shape.value)]  # type: ignore[misc]
    if isinstance(shape, Nullable):
        return Optional[mirror_hint(shape.item)]
    if isinstance(shape, UnionShape):
        return Union[tuple(_mirror(member, tagged=True) for member in shape.members)]
    if isinstance(shape, StructShape):
        return _mirror(shape, tagged=False)
    return _hint(shape, mirror_hint)


def _mirror(shape: StructShape, *, tagged: bool) -> Any:
    """The private struct that msgspec decodes this class into; inside a union, one that reads `$type`."""
    key = "tagged mirror" if tagged else "mirror"
    found = shape.cache.get(key)
    if found is not None:
        return found
    name = "M" + re.sub(r"\W", "_", shape.tag)
    placeholders: list[tuple[Any, ...]] = []
    for index, each in enumerate(shape.fields):
        # The type by name, so that a struct may contain itself: msgspec looks names up in the class when first used.
        label: tuple[Any, ...] = (f"f{index}", f"h{index}")
        if not each.required:
            label += (_mirror_default(shape, each),)
        placeholders.append(label)
    options: dict[str, Any] = {"tag": shape.tag, "tag_field": "$type"} if tagged else {}
    made: Any = msgspec.defstruct(
        name,
        placeholders,
        kw_only=True,
        gc=False,
        rename={f"f{index}": each.name for index, each in enumerate(shape.fields)},
        **options,
    )
    shape.cache[key] = made
    for index, each in enumerate(shape.fields):
        hint = mirror_hint(each.full_shape)
        setattr(made, f"h{index}", hint if each.required else Union[hint, msgspec.UnsetType])
    return made


def _mirrors_default(field: FieldShape) -> bool:
    """Whether the mirror itself can hold the field's default: where the value needs no conversion."""
    return native_decode(field.full_shape) and (field.default is not MISSING or field.factory is not MISSING)


def _mirror_default(shape: StructShape, field: FieldShape) -> Any:
    if shape.kind in (StructKind.DATACLASS, StructKind.MSGSPEC) and _mirrors_default(field):
        return (
            msgspec.field(default_factory=field.factory)
            if field.default is MISSING
            else msgspec.field(default=field.default)
        )
    return msgspec.UNSET


# ---------------------------------------------------------------- finding the path of a fault


def _explain(shape: Shape, value: Any, path: str) -> Optional[str]:
    """Walks a value as the writers do, keeping the path; slow, and only used when they failed."""
    if isinstance(shape, Nullable):
        return None if value is None else _explain(shape.item, value, path)
    if isinstance(shape, Scalar):
        try:
            if shape.kind in _TIMES:
                (_timestamp_to_wire if shape.kind == "timestamp" else _duration_to_wire)(value)
            else:
                msgspec.msgpack.encode(value, enc_hook=plain_fields)
        except (EncodeFault, OverflowError, UnicodeEncodeError) as error:
            return _fault(path, str(error))
        except TypeError:
            return _fault(path, f"expected {shape.kind}, got {type(value).__qualname__}")
        return None
    if isinstance(shape, (ListOf, TupleOf)):
        return _explain_items(shape, value, path)
    if isinstance(shape, MapOf):
        if not hasattr(value, "items"):
            return _fault(path, f"expected map, got {type(value).__qualname__}")
        for key, each in value.items():
            shown = key.name if isinstance(key, enum.Enum) else key
            at = f"{path}[{json.dumps(shown) if isinstance(shown, str) else shown}]"
            found = _explain(shape.key, key, path) or _explain(shape.value, each, at)
            if found:
                return found
        return None
    if isinstance(shape, UnionShape):
        by_class = {member.cls: member for member in shape.members if _is_instance_kind(member)}
        try:
            member = _member_of(value, by_class, {each.tag: each for each in shape.members})
        except EncodeFault as error:
            return _fault(path, str(error))
        return _explain(member, value, path)
    if isinstance(shape, StructShape):
        return _explain_struct(shape, value, path)
    return None


def _explain_items(shape: Union[ListOf, TupleOf], value: Any, path: str) -> Optional[str]:
    if isinstance(value, (str, bytes)) or not hasattr(value, "__iter__"):
        return _fault(path, f"expected list, got {type(value).__qualname__}")
    items = list(value)
    if isinstance(shape, TupleOf) and len(items) != len(shape.items):
        return _fault(path, f"expected tuple of {len(shape.items)}, got {len(items)} items")
    for index, each in enumerate(items):
        item = shape.items[index] if isinstance(shape, TupleOf) else shape.item
        found = _explain(item, each, f"{path}[{index}]")
        if found:
            return found
    return None


def _explain_struct(shape: StructShape, value: Any, path: str) -> Optional[str]:
    try:
        if _is_instance_kind(shape):
            instance = _coercion(shape)(value)
            fields = {each.name: getattr(instance, each.attribute) for each in shape.fields}
        else:
            fields = _as_dict(value)
    except (EncodeFault, TypeError, ValueError, AttributeError) as error:
        return _fault(path, f"expected {shape.tag}: {error}")
    for each in shape.fields:
        if each.name in fields:
            found = _explain(each.full_shape, fields[each.name], f"{path}.{each.name}")
            if found:
                return found
    return None


def unwritable(value: Any, path: str = "$") -> Optional[str]:
    """The first part of a value that msgspec cannot write whatever its declared type, with its path; None if it can."""
    fields = plain_fields(value)
    if fields is not None:
        value = fields
    if isinstance(value, dict):
        parts = [(each, f"{path}.{key}" if isinstance(key, str) else f"{path}[{key}]") for key, each in value.items()]
    elif isinstance(value, (list, tuple, set, frozenset)):
        parts = [(each, f"{path}[{index}]") for index, each in enumerate(value)]
    else:
        try:
            msgspec.msgpack.encode(value)
        except (TypeError, ValueError, OverflowError) as error:
            return _fault(
                path,
                str(error)
                .replace("Encoding objects of type", "a value of type")
                .replace("unsupported", "not sendable"),
            )
        return None
    return next((found for each, at in parts if (found := unwritable(each, at)) is not None), None)


def _fault(path: str, text: str) -> str:
    name = re.search(r"\.(\w+)$", path)
    return f"`{name.group(1)}` at {path}: {text}" if name else f"value at {path}: {text}"
