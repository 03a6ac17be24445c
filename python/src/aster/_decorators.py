"""`@service`, `@rpc`, `@server_stream`, `@client_stream`, `@bidi_stream`, `any_of` and `all_of`."""

from __future__ import annotations

import enum
import math
import sys
from typing import (
    TYPE_CHECKING,
    Any,
    AsyncIterator,
    Callable,
    Iterator,
    Mapping,
    Optional,
    Sequence,
    TypeVar,
    Union,
    overload,
)

from typing_extensions import Concatenate, ParamSpec

from ._errors import SchemaError
from ._service import DECORATORS, OPTIONS, AccessRule, MethodOptions, Pattern, Requirement, ServiceSpec, record

if TYPE_CHECKING:
    from ._typing import BidiStreamMethod, ServerStreamMethod

__all__ = ["all_of", "any_of", "bidi_stream", "client_stream", "rpc", "server_stream", "service"]

C = TypeVar("C", bound=type)
F = TypeVar("F", bound=Callable[..., Any])
P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")


def any_of(*capabilities: Union[str, enum.Enum]) -> AccessRule:
    """The caller must hold at least one of these capabilities."""
    return AccessRule("any_of", _capabilities("any_of", capabilities))


def all_of(*capabilities: Union[str, enum.Enum]) -> AccessRule:
    """The caller must hold every one of these capabilities."""
    return AccessRule("all_of", _capabilities("all_of", capabilities))


def _capabilities(name: str, given: Sequence[Union[str, enum.Enum]]) -> tuple[str, ...]:
    if not given:
        raise SchemaError(f"{name}() names no capability, so nobody could tell whom it lets in; name at least one")
    found = []
    for each in given:
        text = each.value if isinstance(each, enum.Enum) else each
        if not isinstance(text, str) or not text:
            raise SchemaError(
                f"{name}({each!r}): a capability is a string that is not empty, or an Enum member with such a value"
            )
        found.append(text)
    return tuple(found)


def _rule(where: str, requires: Optional[Requirement]) -> Optional[AccessRule]:
    if requires is None or isinstance(requires, AccessRule):
        return requires
    if isinstance(requires, (str, enum.Enum)):
        return all_of(requires)
    raise SchemaError(f"{where}: requires= takes a capability, any_of(...) or all_of(...), and got {requires!r}")


def _notes(where: str, metadata: Optional[Mapping[str, str]]) -> dict[str, str]:
    notes = dict(metadata or {})
    for key, value in notes.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise SchemaError(f"{where}: metadata= maps str to str, and has {key!r}: {value!r}")
    return notes


@overload
def service(name: C, /) -> C: ...
@overload
def service(
    name: Optional[str] = None,
    *,
    version: int = 1,
    scoped: str = "shared",
    requires: Optional[Requirement] = None,
    serialization: str = "msgpack",
    interceptors: Sequence[Any] = (),
    metadata: Optional[Mapping[str, str]] = None,
) -> Callable[[C], C]: ...
def service(
    name: Any = None,
    *,
    version: int = 1,
    scoped: str = "shared",
    requires: Optional[Requirement] = None,
    serialization: str = "msgpack",
    interceptors: Sequence[Any] = (),
    metadata: Optional[Mapping[str, str]] = None,
) -> Any:
    """Makes a class a service. Bare, with the name, or with keywords.

    - `name`: on the wire; the class's name by default.
    - `version`: from 1; several versions of a name may be served side by side.
    - `scoped`: `"shared"`, one instance for all callers, or `"session"`, one per session of a caller.
    - `requires`: a capability, `any_of(...)` or `all_of(...)` that every caller needs.
    - `serialization`: `"msgpack"` or `"json"`, what typed clients of this class send. Both are always served.
    - `interceptors`: around every call of this service.
    - `metadata`: notes shown to whoever inspects the service.

    Raises `SchemaError` when a type cannot be sent, naming class, field and why.
    """
    names = _local_names()

    def decorate(cls: Any, given: Optional[str]) -> Any:
        if not isinstance(cls, type):
            raise SchemaError(f"@service decorates a class, and got {cls!r}")
        where = f"@service {given or cls.__name__}"
        if not isinstance(version, int) or isinstance(version, bool) or version < 1:
            raise SchemaError(f"{where}: version= is a whole number from 1, and got {version!r}")
        if scoped not in ("shared", "session"):
            raise SchemaError(f'{where}: scoped= is "shared" or "session", and got {scoped!r}')
        if serialization not in ("msgpack", "json"):
            raise SchemaError(f'{where}: serialization= is "msgpack" or "json", and got {serialization!r}')
        spec = ServiceSpec(
            cls=cls,
            name=given or cls.__name__,
            version=version,
            session=scoped == "session",
            requires=_rule(where, requires),
            serialization=serialization,
            interceptors=tuple(interceptors),
            metadata=_notes(where, metadata),
            names=names,
        )
        record(cls, spec)
        return cls

    if isinstance(name, type):
        return decorate(name, None)
    if name is not None and (not isinstance(name, str) or not name):
        raise SchemaError(f"@service: the name is a string that is not empty, and got {name!r}")
    return lambda cls: decorate(cls, name)


def _local_names() -> dict[str, Any]:
    """Names of the function that defines the service, for annotations that refer to classes made in it."""
    frame = sys._getframe(2)
    return {} if frame.f_locals is frame.f_globals else dict(frame.f_locals)


def _is_time_limit(timeout: Any) -> bool:
    number = isinstance(timeout, (int, float)) and not isinstance(timeout, bool)
    return number and 0 < timeout < math.inf


def _mark(
    function: Any,
    pattern: Pattern,
    name: Optional[str],
    timeout: Optional[float],
    idempotent: bool,
    requires: Optional[Requirement],
    metadata: Optional[Mapping[str, str]],
    inline: bool,
) -> Any:
    decorator = DECORATORS[pattern]

    def decorate(decorated: Any) -> Any:
        if isinstance(decorated, (staticmethod, classmethod)):
            raise SchemaError(f"{decorator}: a handler is a plain method, not a static or class method")
        if not callable(decorated) or isinstance(decorated, type):
            raise SchemaError(f"{decorator} decorates a method, and got {decorated!r}")
        where = f"{decorator} {getattr(decorated, '__qualname__', decorated)}"
        if timeout is not None and not _is_time_limit(timeout):
            raise SchemaError(
                f"{where}: timeout= is a number of seconds above 0, or None for no limit, and got {timeout!r}"
            )
        if name is not None and (not isinstance(name, str) or not name):
            raise SchemaError(f"{where}: name= is a string that is not empty, and got {name!r}")
        options = MethodOptions(
            pattern, name, timeout, bool(idempotent), _rule(where, requires), _notes(where, metadata), bool(inline)
        )
        setattr(decorated, OPTIONS, options)
        return decorated

    return decorate if function is None else decorate(function)


@overload
def rpc(function: F, /) -> F: ...
@overload
def rpc(
    *,
    name: Optional[str] = None,
    timeout: Optional[float] = None,
    idempotent: bool = False,
    requires: Optional[Requirement] = None,
    metadata: Optional[Mapping[str, str]] = None,
    inline: bool = False,
) -> Callable[[F], F]: ...
def rpc(
    function: Any = None,
    /,
    *,
    name: Optional[str] = None,
    timeout: Optional[float] = None,
    idempotent: bool = False,
    requires: Optional[Requirement] = None,
    metadata: Optional[Mapping[str, str]] = None,
    inline: bool = False,
) -> Any:
    """A method with one request and one answer.

    - `name`: on the wire; the method's own by default.
    - `timeout`: seconds after which the server ends a call, and typed clients give up. None: no limit.
    - `idempotent`: calling twice does no more than calling once, so a failed call may be retried.
    - `requires`: a capability, `any_of(...)` or `all_of(...)` that callers need, besides the service's own.
    - `metadata`: notes shown to whoever inspects the service.
    - `inline`: run a plain `def` handler on the event loop instead of a thread. Only for one that never blocks.
    """
    return _mark(function, Pattern.UNARY, name, timeout, idempotent, requires, metadata, inline)


@overload
def server_stream(
    function: Callable[Concatenate[Any, P], Union[AsyncIterator[T], Iterator[T]]], /
) -> ServerStreamMethod[P, T]: ...
@overload
def server_stream(
    *,
    name: Optional[str] = None,
    timeout: Optional[float] = None,
    idempotent: bool = False,
    requires: Optional[Requirement] = None,
    metadata: Optional[Mapping[str, str]] = None,
    inline: bool = False,
) -> Callable[[Callable[Concatenate[Any, P], Union[AsyncIterator[T], Iterator[T]]]], ServerStreamMethod[P, T]]: ...
def server_stream(
    function: Any = None,
    /,
    *,
    name: Optional[str] = None,
    timeout: Optional[float] = None,
    idempotent: bool = False,
    requires: Optional[Requirement] = None,
    metadata: Optional[Mapping[str, str]] = None,
    inline: bool = False,
) -> Any:
    """A method with one request and a stream of answers: an async generator. Options as for `rpc`."""
    return _mark(function, Pattern.SERVER_STREAM, name, timeout, idempotent, requires, metadata, inline)


@overload
def client_stream(function: F, /) -> F: ...
@overload
def client_stream(
    *,
    name: Optional[str] = None,
    timeout: Optional[float] = None,
    idempotent: bool = False,
    requires: Optional[Requirement] = None,
    metadata: Optional[Mapping[str, str]] = None,
) -> Callable[[F], F]: ...
def client_stream(
    function: Any = None,
    /,
    *,
    name: Optional[str] = None,
    timeout: Optional[float] = None,
    idempotent: bool = False,
    requires: Optional[Requirement] = None,
    metadata: Optional[Mapping[str, str]] = None,
) -> Any:
    """A method that takes a stream of requests, as an async iterator, and answers once. Options as for `rpc`."""
    return _mark(function, Pattern.CLIENT_STREAM, name, timeout, idempotent, requires, metadata, False)


@overload
def bidi_stream(
    function: Callable[[Any, AsyncIterator[R]], Union[AsyncIterator[T], Iterator[T]]], /
) -> BidiStreamMethod[R, T]: ...
@overload
def bidi_stream(
    *,
    name: Optional[str] = None,
    timeout: Optional[float] = None,
    idempotent: bool = False,
    requires: Optional[Requirement] = None,
    metadata: Optional[Mapping[str, str]] = None,
) -> Callable[[Callable[[Any, AsyncIterator[R]], Union[AsyncIterator[T], Iterator[T]]]], BidiStreamMethod[R, T]]: ...
def bidi_stream(
    function: Any = None,
    /,
    *,
    name: Optional[str] = None,
    timeout: Optional[float] = None,
    idempotent: bool = False,
    requires: Optional[Requirement] = None,
    metadata: Optional[Mapping[str, str]] = None,
) -> Any:
    """A method that takes a stream of requests and answers with a stream, each at its own pace: an async generator
    with one parameter, an async iterator. Options as for `rpc`."""
    return _mark(function, Pattern.BIDI_STREAM, name, timeout, idempotent, requires, metadata, False)
