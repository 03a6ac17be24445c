"""Turns values into MessagePack and back, for one shape at a time.

msgspec does the work. Where it reads and writes a type as the contract says, it gets the type itself;
where it falls short (unions of dataclasses, enums by name, timestamps and durations as nanoseconds, pydantic
models, names it cannot evaluate) values go through converters compiled by `_mirror`. The core checks
every payload against the contract at both ends, so nothing is checked twice here: a value of the
wrong type is simply written, and the core names its path.
"""

from __future__ import annotations

from typing import Any, Callable, List, Optional

import msgspec

from ._errors import InvalidArgument
from ._mirror import (
    EncodeFault,
    explain,
    from_wire,
    mirror_hint,
    native_decode,
    native_encode,
    native_hint,
    plain_fields,
    to_wire,
)
from ._shapes import EnumShape, Shape, StructShape, closure

__all__ = ["Codec", "codec_for", "encode_any", "translate_decode_error"]


def _encode_unknown(value: Any) -> Any:
    """What msgspec cannot write by itself; reached by untyped values of dynamic proxies only."""
    fields = plain_fields(value)
    if fields is not None:
        return fields
    raise TypeError(f"a value of type {type(value).__qualname__} cannot be sent")


_ENCODER = msgspec.msgpack.Encoder(enc_hook=_encode_unknown, uuid_format="bytes")

encode_any: Callable[[Any], bytes] = _ENCODER.encode
"""Writes a value by its looks, for types that msgspec writes as every contract says."""


class Codec:
    """Writes and reads the values of one shape.

    `encode(value)` raises `InvalidArgument` or TypeError/OverflowError; `decode(payload)` and
    `decode_batch(array of messages)` raise what msgspec or a class's own checks raise: see
    `translate_decode_error`. A dynamic codec reads into dicts, lists and scalars.
    """

    __slots__ = ("decode", "decode_batch", "encode", "shape")

    def __init__(self, shape: Shape, dynamic: bool = False) -> None:
        self.shape = shape
        self.encode: Callable[[Any], bytes] = encode_any if native_encode(shape) else _converting_encode(shape)
        self.decode: Callable[[bytes], Any]
        self.decode_batch: Callable[[bytes], list[Any]]
        if native_decode(shape, dynamic):
            hint = Any if dynamic else native_hint(shape)
            self.decode = msgspec.msgpack.Decoder(hint).decode
            self.decode_batch = msgspec.msgpack.Decoder(_list_of(hint)).decode
        else:
            self.decode, self.decode_batch = _converting_decode(shape, dynamic)


def _list_of(hint: Any) -> Any:
    return List[hint]


def _converting_encode(shape: Shape) -> Callable[[Any], bytes]:
    convert = to_wire(shape)

    def encode(value: Any) -> bytes:
        try:
            return encode_any(convert(value))
        except Exception as error:
            # The fast converters keep no path; find it now that it is needed.
            fault = explain(shape, value)
            if fault is not None:
                raise InvalidArgument(fault) from error
            if isinstance(error, EncodeFault):
                raise InvalidArgument(f"value at $: {error}") from error
            raise

    return encode


def _converting_decode(shape: Shape, dynamic: bool) -> tuple[Callable[[bytes], Any], Callable[[bytes], list[Any]]]:
    hint = Any if dynamic else mirror_hint(shape)
    convert = from_wire(shape, dynamic)
    read = msgspec.msgpack.Decoder(hint).decode
    read_batch = msgspec.msgpack.Decoder(_list_of(hint)).decode

    def decode(payload: bytes) -> Any:
        return convert(read(payload))

    def decode_batch(payload: bytes) -> list[Any]:
        return [convert(item) for item in read_batch(payload)]

    return decode, decode_batch


_codecs: dict[Any, Codec] = {}


def codec_for(shape: Shape) -> Codec:
    """The codec of a reflected shape; compiled once per class, and once per distinct unnamed shape."""
    if isinstance(shape, StructShape):
        # Kept on the shape, so that a class made in a function goes with its codec.
        kept: Optional[Codec] = shape.cache.get("codec")
        if kept is None:
            kept = shape.cache["codec"] = Codec(shape)
        return kept
    if any(isinstance(each, (StructShape, EnumShape)) for each in closure(shape)):
        return Codec(shape)
    found = _codecs.get(shape)
    if found is None:
        found = _codecs[shape] = Codec(shape)
    return found


def translate_decode_error(error: Exception, what: str) -> InvalidArgument:
    """What a failed decode means to a caller: msgspec's and pydantic's errors name the path already, and those
    of a class's own `__post_init__` say what is wrong."""
    text = str(error) or type(error).__name__
    if isinstance(error, msgspec.ValidationError) and " - at `" in text:
        reason, _, path = text.rpartition(" - at `")
        text = f"value at {path.rstrip('`')}: {reason[:1].lower()}{reason[1:]}"
    return InvalidArgument(f"{what}: {text}")
