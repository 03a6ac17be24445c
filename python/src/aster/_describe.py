"""Shapes to the core's contract description, and a contract description to shapes for dynamic proxies."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any, Mapping

from ._service import AccessRule, MethodSpec, Pattern, ServiceSpec
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

__all__ = ["RemoteMethod", "describe_service", "read_methods"]


def describe_service(spec: ServiceSpec) -> dict[str, Any]:
    """The description to hand to the core, which validates, normalises and hashes it."""
    methods = spec.methods
    roots = [each for method in methods for each in (method.request, method.response)]
    named: list[Any] = [each for each in closure(*roots) if isinstance(each, (StructShape, EnumShape, UnionShape))]
    return {
        "name": spec.name,
        "version": spec.version,
        "scope": "session" if spec.session else "shared",
        "methods": [
            {
                "name": method.name,
                "pattern": method.pattern.value,
                "request": _type(method.request),
                "response": _type(method.response),
                "idempotent": method.options.idempotent,
            }
            for method in methods
        ],
        "types": [_definition(shape) for shape in named],
        "manifest": _manifest(spec, methods, named),
    }


def _type(shape: Shape) -> dict[str, Any]:
    if isinstance(shape, Scalar):
        return {"t": shape.kind}
    if isinstance(shape, ListOf):
        return {"t": "list", "item": _type(shape.item), "unique": shape.unique}
    if isinstance(shape, TupleOf):
        return {"t": "tuple", "items": [_type(each) for each in shape.items]}
    if isinstance(shape, MapOf):
        return {"t": "map", "key": _type(shape.key), "value": _type(shape.value)}
    if isinstance(shape, Nullable):
        return {"t": "nullable", "item": _type(shape.item)}
    return {"t": "ref", "tag": shape.tag}


def _definition(shape: Shape) -> dict[str, Any]:
    if isinstance(shape, EnumShape):
        return {"kind": "enum", "tag": shape.tag, "values": list(shape.values)}
    if isinstance(shape, UnionShape):
        return {"kind": "union", "tag": shape.tag, "members": [each.tag for each in shape.members]}
    assert isinstance(shape, StructShape)
    fields = [
        {"name": each.name, "type": _type(each.shape), "required": each.required, "nullable": each.nullable}
        for each in shape.fields
    ]
    return {"kind": "struct", "tag": shape.tag, "fields": fields}


def _manifest(spec: ServiceSpec, methods: tuple[MethodSpec, ...], named: list[Any]) -> dict[str, Any]:
    manifest: dict[str, Any] = {"methods": {}, "types": {}}
    doc = spec.cls.__dict__.get("__doc__")
    if doc:
        manifest["doc"] = doc.strip()
    if spec.metadata:
        manifest["metadata"] = dict(spec.metadata)
    if spec.requires is not None:
        manifest["requires"] = _requirement(spec.requires)
    for method in methods:
        entry: dict[str, Any] = {}
        if method.doc:
            entry["doc"] = method.doc
        if method.options.timeout is not None:
            entry["timeout_ms"] = milliseconds(method.options.timeout)
        if method.options.metadata:
            entry["metadata"] = dict(method.options.metadata)
        if method.options.requires is not None:
            entry["requires"] = _requirement(method.options.requires)
        if entry:
            manifest["methods"][method.name] = entry
    for shape in named:
        entry = {"doc": shape.doc} if getattr(shape, "doc", "") else {}
        if isinstance(shape, StructShape):
            defaults = {
                each.name: {"default": _shown(each.default)} for each in shape.fields if _can_show(each.default)
            }
            if defaults:
                entry["fields"] = defaults
        if entry:
            manifest["types"][shape.tag] = entry
    return manifest


def _requirement(rule: AccessRule) -> Any:
    return rule.capabilities[0] if len(rule.capabilities) == 1 else {rule.kind: list(rule.capabilities)}


def _can_show(default: Any) -> bool:
    return default is None or isinstance(default, (bool, int, float, str, bytes, enum.Enum))


def _shown(default: Any) -> Any:
    return default.name if isinstance(default, enum.Enum) else default


def milliseconds(seconds: float) -> int:
    """Whole milliseconds, at least 1, so that a very short time limit does not become none or zero."""
    return max(1, round(seconds * 1000))


@dataclass(frozen=True)
class RemoteMethod:
    """One method as a contract that came over the wire describes it."""

    name: str
    pattern: Pattern
    request: Shape
    response: Shape


def read_methods(description: Mapping[str, Any]) -> dict[str, RemoteMethod]:
    """The methods of a description, by name. Structs become dicts (`StructKind.PLAIN_DICT`)."""
    definitions = {each["tag"]: each for each in description["types"]}
    named: dict[str, Shape] = {}

    def read(given: Mapping[str, Any]) -> Shape:
        kind = given["t"]
        if kind == "list":
            return ListOf(read(given["item"]))
        if kind == "tuple":
            return TupleOf(tuple(read(each) for each in given["items"]))
        if kind == "map":
            return MapOf(read(given["key"]), read(given["value"]))
        if kind == "nullable":
            return Nullable(read(given["item"]))
        return resolve(given["tag"]) if kind == "ref" else Scalar(kind)

    def resolve(tag: str) -> Shape:
        if tag in named:
            return named[tag]
        given = definitions[tag]
        if given["kind"] == "enum":
            named[tag] = EnumShape(tag, None, tuple(given["values"]))
        elif given["kind"] == "union":
            union = UnionShape(tag)
            named[tag] = union
            union.members = tuple(_struct(resolve(each)) for each in given["members"])
        else:
            struct = StructShape(tag, StructKind.PLAIN_DICT, None)
            named[tag] = struct  # before its fields: it may contain itself
            struct.fields = tuple(
                FieldShape(
                    each["name"],
                    each["name"],
                    read(each["type"]),
                    each.get("required", False),
                    each.get("nullable", False),
                    MISSING,
                )
                for each in given["fields"]
            )
        return named[tag]

    def _struct(shape: Shape) -> StructShape:
        assert isinstance(shape, StructShape)  # the core accepts no other members
        return shape

    return {
        method["name"]: RemoteMethod(
            method["name"], Pattern(method["pattern"]), read(method["request"]), read(method["response"])
        )
        for method in description["methods"]
    }
