"""Values in the neutral form of the line protocol (conformance/README.md), to and from Python's own.

The form goes by the declared type, which the runner sends along: the description form of docs/spec/contract.md.
"""

from __future__ import annotations

import datetime
import struct
import uuid
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from types_shared import NAMED

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
MICROSECOND = datetime.timedelta(microseconds=1)
INTEGERS = {"i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64"}

Type = Mapping[str, Any]


class Neutral:
    """Knows the named types that the runner has told of."""

    def __init__(self) -> None:
        self.types: dict[str, Mapping[str, Any]] = {}

    def learn(self, types: list[Mapping[str, Any]]) -> None:
        self.types.update({each["tag"]: each for each in types})

    # ------------------------------------------------------------ neutral → Python

    def read(self, ty: Type, given: Any, typed: bool) -> Any:
        """The Python value. `typed`: instances of the peer's classes; otherwise dicts, lists and strings."""
        kind = ty["t"]
        if given is None:
            return None
        if kind in INTEGERS:
            return int(given)
        if kind in ("f32", "f64"):
            return float_of(given)
        if kind == "string":
            return text_of(given)
        if kind == "bytes":
            return bytes.fromhex(given)
        if kind == "timestamp":
            return EPOCH + datetime.timedelta(microseconds=int(given) // 1000)
        if kind == "duration":
            return datetime.timedelta(microseconds=int(given) // 1000)
        if kind == "uuid":
            return uuid.UUID(given)
        if kind == "any":
            return read_any(given)
        if kind == "list":
            items = [self.read(ty["item"], each, typed) for each in given]
            return set(items) if ty.get("unique") else items
        if kind == "tuple":
            return tuple(self.read(item, each, typed) for item, each in zip(ty["items"], given))
        if kind == "map":
            return {self.read(ty["key"], k, typed): self.read(ty["value"], v, typed) for k, v in given}
        if kind == "nullable":
            return self.read(ty["item"], given, typed)
        if kind == "ref":
            return self._read_named(ty["tag"], given, typed)
        return given

    def _read_named(self, tag: str, given: Any, typed: bool) -> Any:
        definition = self.types[tag]
        if definition["kind"] == "enum":
            return NAMED[tag][given] if typed else given
        if definition["kind"] == "union":
            member = given["$type"]
            value = self._read_named(member, {k: v for k, v in given.items() if k != "$type"}, typed)
            return value if typed else {"$type": member, **value}
        known = {each["name"]: each["type"] for each in definition["fields"]}
        # A field that the type does not have goes along as it is: refusing it is what is tested.
        values = {name: self.read(known[name], each, typed) if name in known else each for name, each in given.items()}
        return NAMED[tag](**values) if typed and tag in NAMED else values

    # ------------------------------------------------------------ Python → neutral

    def write(self, ty: Type, value: Any) -> Any:
        kind = ty["t"]
        if value is None:
            return None
        if kind in INTEGERS:
            if type(value) is not int:
                raise TypeError(f"{value!r} is no integer, and {kind} is declared")
            return str(value)
        if kind in ("f32", "f64"):
            if type(value) is not float:
                raise TypeError(f"{value!r} is no float, and {kind} is declared")
            return bits_of(value)
        if kind == "string":
            return value
        if kind == "bytes":
            return bytes(value).hex()
        if kind == "timestamp":
            return str((value - EPOCH) // MICROSECOND * 1000)
        if kind == "duration":
            return str(value // MICROSECOND * 1000)
        if kind == "uuid":
            return str(uuid.UUID(str(value)))
        if kind == "any":
            return write_any(value)
        if kind == "list":
            return [self.write(ty["item"], each) for each in value]
        if kind == "tuple":
            return [self.write(item, each) for item, each in zip(ty["items"], value)]
        if kind == "map":
            return [[self.write(ty["key"], k), self.write(ty["value"], v)] for k, v in value.items()]
        if kind == "nullable":
            return self.write(ty["item"], value)
        if kind == "ref":
            return self._write_named(ty["tag"], value)
        return value

    def _write_named(self, tag: str, value: Any) -> Any:
        definition = self.types[tag]
        if definition["kind"] == "enum":
            return getattr(value, "name", value)
        if definition["kind"] == "union":
            member = value["$type"] if isinstance(value, dict) else tag_of(value)
            return {"$type": member, **self._write_named(member, value)}
        values = value if isinstance(value, dict) else {each.name: getattr(value, each.name) for each in fields(value)}
        known = {each["name"]: each["type"] for each in definition["fields"]}
        return {name: self.write(known[name], each) for name, each in values.items() if name != "$type"}


def tag_of(value: Any) -> str:
    for tag, cls in NAMED.items():
        if is_dataclass(value) and type(value) is cls:
            return tag
    raise TypeError(f"{value!r} is of no declared type")


def float_of(bits: str) -> float:
    number: float = struct.unpack(">d", bytes.fromhex(bits))[0]
    return number


def bits_of(number: float) -> str:
    return struct.pack(">d", number).hex()


def text_of(given: Any) -> str:
    """A text, or `{"utf16": [...]}` for one that is not Unicode."""
    if isinstance(given, dict):
        return b"".join(struct.pack(">H", unit) for unit in given["utf16"]).decode("utf-16-be", "surrogatepass")
    return str(given)


def read_any(given: Any) -> Any:
    """What has no declared type is null, a boolean, or an object with one key that names its kind."""
    if not isinstance(given, dict):
        return given
    ((kind, value),) = given.items()
    if kind == "$int":
        return int(value)
    if kind == "$float":
        return float_of(value)
    if kind == "$str":
        return text_of(value)
    if kind == "$bytes":
        return bytes.fromhex(value)
    if kind == "$list":
        return [read_any(each) for each in value]
    if kind == "$map":
        return {read_any(k): read_any(v) for k, v in value}
    raise TypeError(f"no kind of any: {kind!r}")


def write_any(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return {"$int": str(value)}
    if isinstance(value, float):
        return {"$float": bits_of(value)}
    if isinstance(value, str):
        return {"$str": value}
    if isinstance(value, (bytes, bytearray)):
        return {"$bytes": bytes(value).hex()}
    if isinstance(value, dict):
        return {"$map": [[write_any(k), write_any(v)] for k, v in value.items()]}
    if isinstance(value, (list, tuple)):
        return {"$list": [write_any(each) for each in value]}
    raise TypeError(f"{value!r} is of no kind of any")
