"""Options of servers, clients and calls, in the form the core takes: flat, durations in milliseconds."""

from __future__ import annotations

import os
from typing import Any, Mapping, Optional, Union

from ._context import time_left_ms
from ._describe import milliseconds
from ._errors import ConfigurationError, UsageError

__all__ = ["CALL_OPTIONS", "call_options", "endpoint_options", "merged", "seconds"]

CALL_OPTIONS = ("timeout", "metadata", "compress", "info")
"""The keywords that a call takes beside a request given by position."""


def seconds(name: str, value: Optional[float], *, zero: bool = False) -> Optional[int]:
    """Milliseconds of an option in seconds; `ConfigurationError` for what is not a duration above 0 (or 0 if `zero`)."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not (value > 0 or (zero and value == 0)):
        raise ConfigurationError(f"{name}= is a number of seconds {'from' if zero else 'above'} 0, and got {value!r}")
    return 0 if value == 0 else milliseconds(value)


def endpoint_options(
    *,
    identity: Union[str, os.PathLike[str], None],
    relay: Optional[str],
    preset: Optional[str],
    keep_alive: Optional[float],
    idle_timeout: Optional[float],
    connect_timeout: Optional[float] = None,
    compress: Optional[bool] = None,
    max_message_bytes: Optional[int] = None,
    agent: Optional[str] = None,
) -> dict[str, Any]:
    """The options of a server's or client's endpoint. What is None is left to the core: environment, then default."""
    if max_message_bytes is not None and (not isinstance(max_message_bytes, int) or max_message_bytes < 1):
        raise ConfigurationError(f"max_message_bytes= is a whole number of bytes from 1, and got {max_message_bytes!r}")
    options = {
        "identity": None if identity is None else os.path.expanduser(os.fspath(identity)),
        "relay": relay,
        "preset": preset,
        "connect_timeout_ms": seconds("connect_timeout", connect_timeout),
        "keep_alive_ms": seconds("keep_alive", keep_alive),
        "idle_timeout_ms": seconds("idle_timeout", idle_timeout),
        "compress": compress,
        "max_message_bytes": max_message_bytes,
        "agent": agent,
    }
    return {name: value for name, value in options.items() if value is not None}


def merged(earlier: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """A call's keywords over those that `with_options` gave earlier. None says that nothing was given, so it replaces
    nothing; a keyword that is no option stays, whatever its value, for `call_options` to refuse."""
    return {
        **earlier,
        **{name: value for name, value in given.items() if value is not None or name not in CALL_OPTIONS},
    }


def call_options(base: Optional[dict[str, Any]], given: Mapping[str, Any]) -> Optional[dict[str, Any]]:
    """`base`, which is in the core's form already, with a call's own keywords on top, and the time that is left to the
    call being served here, if one is: a nested call inherits its deadline."""
    left = time_left_ms()
    if not given and left is None:
        return base
    options = dict(base or {})
    if left is not None:
        options["within_ms"] = left
    for name, value in given.items():
        if name not in CALL_OPTIONS:
            raise UsageError(
                f"{name!r} is not an option of a call; beside a request by position there are {', '.join(CALL_OPTIONS)}. "
                "Give the fields of the request either all by keyword or all in one object"
            )
        if value is None:
            continue
        if name == "timeout":
            if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
                raise UsageError(f"timeout= is a number of seconds from 0, and got {value!r}")
            options["timeout_ms"] = 0 if value == 0 else milliseconds(value)
        elif name == "metadata":
            options["metadata"] = {**options.get("metadata", {}), **value}
        else:
            options[name] = value
    return options or None
