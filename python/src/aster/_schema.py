"""Reflects Python annotations into shapes.

Every error names the class, the field and why. Shapes of classes are cached on the class, so that a
type means the same in every service that uses it.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime
import enum
import inspect
import uuid
import warnings
from typing import Any, Mapping, Optional, Tuple, Union

import msgspec
import typing_extensions
from typing_extensions import Annotated, get_args, get_origin, is_typeddict

from ._annotations import Scope, UnresolvedName, class_annotations, peel, union_members
from ._errors import SchemaError, UntaggedTypeWarning
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
)

__all__ = [
    "Number",
    "Reflection",
    "UnresolvedAnnotation",
    "WireTag",
    "f32",
    "i8",
    "i16",
    "i32",
    "i64",
    "shape_of",
    "u8",
    "u16",
    "u32",
    "u64",
    "wire_type",
]


class UnresolvedAnnotation(SchemaError):
    """An annotation names something that is not defined yet; resolved again at first use."""


@dataclasses.dataclass(frozen=True)
class Number:
    """`Annotated` metadata that gives a Python number its width on the wire."""

    kind: str


i8 = Annotated[int, Number("i8")]
i16 = Annotated[int, Number("i16")]
i32 = Annotated[int, Number("i32")]
i64 = Annotated[int, Number("i64")]
u8 = Annotated[int, Number("u8")]
u16 = Annotated[int, Number("u16")]
u32 = Annotated[int, Number("u32")]
u64 = Annotated[int, Number("u64")]
f32 = Annotated[float, Number("f32")]

_TAG = "__aster_wire_tag__"
_SHAPE = "__aster_shape__"
_DICT_BASES = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
_LIST_BASES = (list, collections.abc.Sequence, collections.abc.MutableSequence, collections.abc.Collection)
_SET_BASES = (set, collections.abc.Set, collections.abc.MutableSet)
_SCALARS: dict[Any, str] = {
    bool: "bool",
    int: "i64",
    float: "f64",
    str: "string",
    bytes: "bytes",
    datetime.datetime: "timestamp",
    datetime.timedelta: "duration",
    uuid.UUID: "uuid",
    Any: "any",
    type(None): "null",
    None: "null",
}
_HINTS: dict[Any, str] = {
    object: "write typing.Any for a value of any type",
    bytearray: "use bytes",
    memoryview: "use bytes",
    complex: "use two floats",
    datetime.date: "use datetime.datetime, or str",
    datetime.time: "use datetime.timedelta, or str",
    collections.abc.Callable: "functions do not travel",
}


class WireTag:
    """The decorator that `wire_type` returns; also `Annotated` metadata that names a union."""

    def __init__(self, tag: str) -> None:
        self.tag = tag

    def __call__(self, cls: Any) -> Any:
        if not isinstance(cls, type):
            raise SchemaError(
                f"@wire_type({self.tag!r}) marks a class, and got {cls!r}; name a union by Annotated[A | B, wire_type(...)]"
            )
        setattr(cls, _TAG, self.tag)
        return cls


def wire_type(tag: str) -> WireTag:
    """Names a dataclass, enum, msgspec Struct, pydantic model or TypedDict on the wire.

    The tag is part of the contract and must be the same in every language, so it outlives a rename of
    the class. By habit it is `area/Name`. A type without one goes by its bare class name, with an
    `UntaggedTypeWarning`. A union is named by the sorted tags of its members with `.or.` between them, unless
    `Annotated[A | B, wire_type("tag")]` names it.
    """
    if not isinstance(tag, str) or not tag or tag != tag.strip():
        raise SchemaError(
            f"@wire_type takes the name of the type on the wire, such as 'mission/Status', and got {tag!r}"
        )
    return WireTag(tag)


def shape_of(annotation: Any, where: str = "type", scope: Optional[Scope] = None) -> Shape:
    """The shape of an annotation. `where` begins the text of an error."""
    return Reflection().shape(annotation, where, scope or Scope({}, {}))


class Reflection:
    """One pass over annotations. Shapes of classes are published only when the whole pass succeeds, so
    that an error or a name not yet defined leaves nothing half made."""

    def __init__(self, names: Optional[Mapping[str, Any]] = None) -> None:
        self._names = dict(names or {})
        self._new: dict[type, Union[StructShape, EnumShape]] = {}
        self._depth = 0

    def shape(self, annotation: Any, where: str, scope: Scope) -> Shape:
        """The shape of one annotation."""
        self._depth += 1
        try:
            shape = self._shape(annotation, where, scope)
        except UnresolvedName as error:
            raise UnresolvedAnnotation(f"{where}: the name {str(error)!r} in its annotation is not defined") from error
        finally:
            self._depth -= 1
            if self._depth == 0:
                pending, self._new = self._new, {}
        if self._depth == 0:
            for cls, made in pending.items():
                setattr(cls, _SHAPE, made)
        return shape

    def _shape(self, annotation: Any, where: str, scope: Scope) -> Shape:
        inner, metadata = peel(annotation, scope)
        numbers = [each for each in metadata if isinstance(each, Number)]
        tags = [each.tag for each in metadata if isinstance(each, WireTag)]
        constraints = tuple(each for each in metadata if isinstance(each, msgspec.Meta))
        members = union_members(inner)
        if members is not None:
            return self._union(inner, members, tags, where, scope)
        if tags:
            raise SchemaError(
                f"{where}: Annotated[..., wire_type({tags[0]!r})] names a union; decorate the class instead"
            )
        try:
            kind = _SCALARS.get(inner)
        except TypeError:  # not hashable, so not a type
            kind = None
        if kind is not None:
            if numbers and kind in ("i64", "f64"):
                kind = numbers[0].kind
            return Scalar(kind, constraints)
        origin = get_origin(inner) or inner
        arguments = get_args(inner)
        if isinstance(origin, type):
            found = self._container(inner, origin, arguments, where, scope)
            if found is not None:
                return found
            if isinstance(inner, type):
                return self._named(inner, where)
        raise SchemaError(f"{where}: {_show(inner)} cannot be sent: {_advice(inner)}")

    def _union(self, annotation: Any, members: tuple[Any, ...], tags: list[str], where: str, scope: Scope) -> Shape:
        rest = [each for each in members if each is not type(None)]
        nullable = len(rest) < len(members)
        if len(rest) == 1 and not tags:
            item = self._shape(rest[0], where, scope)
            return item if isinstance(item, Nullable) else Nullable(item)
        structs: list[StructShape] = []
        for each in rest:
            shape = self._shape(each, where, scope)
            if isinstance(shape, UnionShape):
                structs.extend(shape.members)
            elif isinstance(shape, StructShape):
                structs.append(shape)
            else:
                raise SchemaError(
                    f"{where}: {_show(annotation)} cannot be sent: a union is X | None, or of classes that @wire_type "
                    f"tells apart, and {_show(each)} is neither; use typing.Any for a value of any type"
                )
        structs = list({id(each): each for each in structs}.values())
        names = [each.tag for each in structs]
        if len(set(names)) < len(names):
            raise SchemaError(f"{where}: two members of {_show(annotation)} have one wire type among {sorted(names)}")
        # The name must not depend on the order written, since another language may write another.
        structs.sort(key=lambda each: each.tag)
        union = UnionShape(tags[0] if tags else ".or.".join(each.tag for each in structs), tuple(structs))
        return Nullable(union) if nullable else union

    def _container(
        self, inner: Any, origin: type, arguments: tuple[Any, ...], where: str, scope: Scope
    ) -> Optional[Shape]:
        def argument(index: int, part: str) -> Shape:
            if not arguments or isinstance(arguments[index], typing_extensions.TypeVar):
                return Scalar("any")
            return self._shape(arguments[index], f"{where}{part}", scope)

        if origin is tuple:
            if inner in (tuple, Tuple):
                return ListOf(Scalar("any"), "tuple")
            if len(arguments) == 2 and arguments[1] is Ellipsis:
                return ListOf(argument(0, "[]"), "tuple")
            if arguments == ((),):  # Tuple[()] on Python 3.9 and 3.10
                return TupleOf(())
            return TupleOf(tuple(argument(index, f"[{index}]") for index in range(len(arguments))))
        if origin in _LIST_BASES:
            return ListOf(argument(0, "[]"))
        if origin in _SET_BASES:
            return ListOf(argument(0, "[]"), "set")
        if origin is frozenset:
            return ListOf(argument(0, "[]"), "frozenset")
        if origin in _DICT_BASES:
            key = argument(0, " key")
            if not arguments:
                key = Scalar("string")
            elif not isinstance(key, (Scalar, EnumShape)) or (isinstance(key, Scalar) and key.kind in _NOT_A_KEY):
                raise SchemaError(
                    f"{where}: {_show(arguments[0])} cannot be the key of a map; use str, int, bool, a UUID or an enum"
                )
            return MapOf(key, argument(1, " value"))
        return None

    def _named(self, cls: type, where: str) -> Shape:
        published = cls.__dict__.get(_SHAPE)
        if published is not None:
            return published  # type: ignore[no-any-return]
        if cls in self._new:
            return self._new[cls]
        if issubclass(cls, enum.Enum):
            return self._enum(cls)
        if is_typeddict(cls):
            return self._struct(cls, StructKind.TYPED_DICT, _typed_dict_fields)
        if issubclass(cls, msgspec.Struct):
            return self._struct(cls, StructKind.MSGSPEC, _msgspec_fields)
        if dataclasses.is_dataclass(cls):
            return self._struct(cls, StructKind.DATACLASS, _dataclass_fields)
        if hasattr(cls, "model_fields") and hasattr(cls, "model_validate"):
            return self._struct(cls, StructKind.PYDANTIC, _pydantic_fields)
        raise SchemaError(f"{where}: {_show(cls)} cannot be sent: {_advice(cls)}")

    def _enum(self, cls: type[enum.Enum]) -> EnumShape:
        if issubclass(cls, enum.Flag):
            raise SchemaError(
                f"{cls.__qualname__}: a Flag cannot be sent, since a combination has no name; use a list of an Enum"
            )
        values = tuple(member.name for member in cls)
        if not values:
            raise SchemaError(f"{cls.__qualname__}: an Enum with no members cannot be sent")
        shape = EnumShape(_tag_of(cls), cls, values, _doc_of(cls))
        self._new[cls] = shape
        return shape

    def _struct(self, cls: type, kind: StructKind, read: Any) -> StructShape:
        if getattr(cls, "__parameters__", ()):
            raise SchemaError(
                f"{cls.__qualname__}: a generic class cannot be sent, since each of its forms needs a name on the wire; "
                "make a class without type parameters"
            )
        shape = StructShape(_tag_of(cls), kind, cls, doc=_doc_of(cls))
        self._new[cls] = shape  # before its fields: a class may contain itself
        rows, shape.writes = read(cls, self._names)
        fields: list[FieldShape] = []
        for row in rows:
            where = f"{cls.__qualname__}.{row.attribute}"
            try:
                full = self._shape(row.annotation, where, row.scope)
            except UnresolvedName as error:
                raise UnresolvedAnnotation(
                    f"{where}: the name {str(error)!r} in its annotation is not defined"
                ) from error
            nullable = isinstance(full, Nullable)
            item = full.item if isinstance(full, Nullable) else full
            if item == Scalar("null"):
                raise SchemaError(f"{where}: a field that is always None carries nothing; remove it or give it a type")
            if row.default is None and not nullable and not _holds_null(item):
                raise SchemaError(
                    f"{where}: the default is None, so the annotation must be {_show(row.annotation)} | None"
                )
            fields.append(FieldShape(row.name, row.attribute, item, row.required, nullable, row.default, row.factory))
        names = [each.name for each in fields]
        if len(set(names)) < len(names):
            raise SchemaError(f"{cls.__qualname__}: two fields have one name on the wire among {sorted(names)}")
        shape.fields = tuple(fields)
        # msgspec leaves a dataclass's plain defaults to the class, so that they are missing when the value is sent on.
        leaves_out = kind is StructKind.DATACLASS and any(row.default is not MISSING for row in rows)
        shape.reads = shape.writes and not leaves_out and _msgspec_understands(cls)
        return shape


_NOT_A_KEY = ("f32", "f64", "bytes", "timestamp", "duration", "any", "null")


@dataclasses.dataclass
class _Row:
    """One field as its class declares it."""

    name: str
    attribute: str
    annotation: Any
    scope: Scope
    required: bool
    default: Any = MISSING
    factory: Any = MISSING


def _dataclass_fields(cls: type, names: Mapping[str, Any]) -> tuple[list[_Row], bool]:
    annotations = class_annotations(cls, names)
    rows: list[_Row] = []
    writes = True
    for pseudo in cls.__dataclass_fields__.values():  # type: ignore[attr-defined]
        if pseudo._field_type is dataclasses._FIELD_INITVAR:  # type: ignore[attr-defined]
            raise SchemaError(
                f"{cls.__qualname__}.{pseudo.name}: an InitVar cannot be sent, since it is not kept; make it a field"
            )
    for each in dataclasses.fields(cls):
        if not each.init:
            # Computed by the class itself, so neither sent nor read; msgspec would do both.
            writes = False
            continue
        annotation, scope = annotations.get(each.name, (each.type, Scope.of(cls, names)))
        default = MISSING if each.default is dataclasses.MISSING else each.default
        factory = MISSING if each.default_factory is dataclasses.MISSING else each.default_factory
        required = default is MISSING and factory is MISSING
        rows.append(_Row(each.name, each.name, annotation, scope, required, default, factory))
    return rows, writes


def _msgspec_fields(cls: type, names: Mapping[str, Any]) -> tuple[list[_Row], bool]:
    annotations = class_annotations(cls, names)
    config = cls.__struct_config__  # type: ignore[attr-defined]
    rows: list[_Row] = []
    # Read from the class itself: `msgspec.structs.fields` evaluates annotations, which fails for local names.
    struct: Any = cls
    defaults = dict(zip(reversed(struct.__struct_fields__), reversed(struct.__struct_defaults__)))
    for attribute, name in zip(struct.__struct_fields__, struct.__struct_encode_fields__):
        annotation, scope = annotations[attribute]
        default = defaults.get(attribute, msgspec.NODEFAULT)
        required = default is msgspec.NODEFAULT
        made = getattr(default, "factory", MISSING) if type(default).__name__ == "Factory" else MISSING
        plain = MISSING if required or made is not MISSING else default
        rows.append(_Row(name, attribute, annotation, scope, required, plain, made))
    return rows, not config.array_like and config.tag is None


def _typed_dict_fields(cls: type, names: Mapping[str, Any]) -> tuple[list[_Row], bool]:
    typed: Any = cls
    rows = []
    for name, (annotation, scope) in class_annotations(cls, names).items():
        required = name in typed.__required_keys__
        # Under PEP 563 on Python 3.9 and 3.10 the class could not see these, as strings, when it was made.
        outer = _qualifier(annotation, scope)
        if outer is typing_extensions.NotRequired:
            required = False
        elif outer is typing_extensions.Required:
            required = True
        rows.append(_Row(name, name, annotation, scope, required))
    return rows, True


def _qualifier(annotation: Any, scope: Scope) -> Any:
    from ._annotations import evaluate

    return get_origin(evaluate(annotation, scope))


def _pydantic_fields(cls: type, names: Mapping[str, Any]) -> tuple[list[_Row], bool]:
    model: Any = cls
    if not hasattr(model, "__pydantic_complete__"):
        raise SchemaError(f"{cls.__qualname__}: models need pydantic 2")
    if getattr(model, "__pydantic_root_model__", False):
        raise SchemaError(f"{cls.__qualname__}: a RootModel cannot be sent; use a model with fields")
    if not model.__pydantic_complete__:
        model.model_rebuild(_types_namespace=dict(names), raise_errors=False)
    rows = []
    for attribute, info in model.model_fields.items():
        where = f"{cls.__qualname__}.{attribute}"
        if isinstance(info.annotation, (str, typing_extensions.TypeVar)) or not model.__pydantic_complete__:
            raise UnresolvedAnnotation(f"{where}: pydantic has not resolved its annotation yet")
        read = info.validation_alias or attribute
        if not isinstance(read, str) or (info.serialization_alias or read) != read:
            raise SchemaError(f"{where}: its aliases for reading and writing differ; a field has one name on the wire")
        annotation = info.annotation
        if info.metadata:
            arguments = (annotation, *info.metadata)
            annotation = Annotated[arguments]
        default = MISSING if info.is_required() or info.default_factory is not None else info.default
        rows.append(_Row(read, attribute, annotation, Scope.of(cls, names), info.is_required(), default))
    return rows, False


def _msgspec_understands(cls: type) -> bool:
    """Whether msgspec can evaluate the class's annotations: not for names local to a function, nor for
    `X | None` in a string on Python 3.9."""
    try:
        msgspec.msgpack.Decoder(cls)
    except (TypeError, NameError, AttributeError):
        return False
    return True


def _holds_null(shape: Shape) -> bool:
    return isinstance(shape, Scalar) and shape.kind == "any"


_warned: set[str] = set()


def _tag_of(cls: type) -> str:
    tag = cls.__dict__.get(_TAG)
    if tag is not None:
        return str(tag)
    key = f"{cls.__module__}.{cls.__qualname__}"
    if key not in _warned:
        _warned.add(key)
        warnings.warn(
            f"{key} has no @wire_type, so its name on the wire is {cls.__name__!r} and renaming the class would change "
            f'the contract; decorate it with @wire_type("your-area/{cls.__name__}")',
            UntaggedTypeWarning,
            stacklevel=2,
        )
    return cls.__name__


def _doc_of(cls: type) -> str:
    text = cls.__dict__.get("__doc__") or ""
    # `@dataclass` and Enum write a text of their own where the class has none.
    if text.startswith(f"{cls.__name__}(") or text == "An enumeration.":
        return ""
    return inspect.cleandoc(text)


def _show(annotation: Any) -> str:
    if isinstance(annotation, type) and not get_args(annotation):
        return annotation.__qualname__
    return str(annotation).replace("typing.", "").replace("typing_extensions.", "")


def _advice(annotation: Any) -> str:
    try:
        advice = _HINTS.get(get_origin(annotation) or annotation)
    except TypeError:
        advice = None
    if advice:
        return advice
    if isinstance(annotation, typing_extensions.TypeVar):
        return "a type variable stands for no one type"
    if get_origin(annotation) is typing_extensions.Literal:
        return "use an Enum, or the plain type"
    if isinstance(annotation, type) and issubclass(annotation, tuple):
        return "a named tuple has no field names on the wire; use a dataclass"
    return (
        "use bool, int, float, str, bytes, datetime, timedelta, UUID, Enum, list, set, tuple, dict, X | None, "
        "a dataclass, msgspec.Struct, pydantic model or TypedDict, or a union of those classes"
    )
