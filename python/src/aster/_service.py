"""What the decorators record about a service, and the reflection of its handlers."""

from __future__ import annotations

import collections.abc
import enum
import inspect
from dataclasses import dataclass, field
from typing import Any, Callable, Mapping, Optional, Union

from typing_extensions import get_args, get_origin

from ._annotations import Scope, UnresolvedName, evaluate, peel, union_members
from ._context import CallContext
from ._errors import SchemaError
from ._schema import Reflection, UnresolvedAnnotation
from ._shapes import MISSING, FieldShape, Nullable, Shape, StructKind, StructShape, UnionShape

__all__ = ["AccessRule", "HandlerForm", "MethodOptions", "MethodSpec", "Pattern", "ServiceSpec", "service_spec"]

_SPEC = "__aster_service__"
OPTIONS = "__aster_method__"


class Pattern(enum.Enum):
    """How many messages go each way; the values are the contract's names."""

    UNARY = "unary"
    SERVER_STREAM = "server_stream"
    CLIENT_STREAM = "client_stream"
    BIDI_STREAM = "bidi_stream"

    @property
    def streams_requests(self) -> bool:
        """Whether the caller sends any number of messages."""
        return self in (Pattern.CLIENT_STREAM, Pattern.BIDI_STREAM)

    @property
    def streams_responses(self) -> bool:
        """Whether the handler sends any number of messages."""
        return self in (Pattern.SERVER_STREAM, Pattern.BIDI_STREAM)


DECORATORS = {
    Pattern.UNARY: "@rpc",
    Pattern.SERVER_STREAM: "@server_stream",
    Pattern.CLIENT_STREAM: "@client_stream",
    Pattern.BIDI_STREAM: "@bidi_stream",
}


@dataclass(frozen=True)
class AccessRule:
    """Capabilities that a caller must hold; made by `any_of` and `all_of`."""

    kind: str
    """`any_of` or `all_of`."""
    capabilities: tuple[str, ...]


@dataclass(frozen=True)
class MethodOptions:
    """The options of one method's decorator."""

    pattern: Pattern
    name: Optional[str] = None
    timeout: Optional[float] = None
    idempotent: bool = False
    requires: Optional[AccessRule] = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    inline: bool = False


class HandlerForm(enum.Enum):
    """What kind of function a handler is, which decides how it is run."""

    COROUTINE = "async def"
    ASYNC_GENERATOR = "async generator"
    PLAIN = "def"
    GENERATOR = "generator"


@dataclass(frozen=True)
class MethodSpec:
    """One method, its annotations resolved."""

    name: str
    attribute: str
    options: MethodOptions
    form: HandlerForm
    request: Shape
    response: Shape
    parameters: Optional[tuple[str, ...]]
    """The names of plain parameters in their order; None when the handler takes one request object or a stream."""
    request_parameter: Optional[str]
    """The parameter for the request object or the stream."""
    context_parameter: Optional[str]
    doc: str

    @property
    def pattern(self) -> Pattern:
        """How many messages go each way."""
        return self.options.pattern


@dataclass(eq=False)
class ServiceSpec:
    """What `@service` recorded. `methods` resolves annotations, at decoration if every name is defined by then."""

    cls: type
    name: str
    version: int
    session: bool
    requires: Optional[AccessRule]
    serialization: str
    interceptors: tuple[Any, ...]
    metadata: Mapping[str, str]
    names: Mapping[str, Any]
    """Names local to where the class was defined, for its annotations."""
    cache: dict[str, Any] = field(default_factory=dict, repr=False)
    """What clients and servers compile from it, kept with the class."""
    _methods: Optional[tuple[MethodSpec, ...]] = None

    @property
    def methods(self) -> tuple[MethodSpec, ...]:
        """The methods, sorted by name as in the contract. Raises `SchemaError` naming what cannot be sent."""
        if self._methods is None:
            reflection = Reflection(self.names)
            found = [
                _method(self, attribute, function, options, reflection)
                for attribute, function, options in _decorated(self.cls)
            ]
            found.sort(key=lambda each: each.name)
            for one, two in zip(found, found[1:]):
                if one.name == two.name:
                    raise SchemaError(
                        f"{self.name}: {one.attribute} and {two.attribute} are both named {one.name!r} on the wire"
                    )
            if not found:
                raise SchemaError(
                    f"{self.name}: the class {self.cls.__qualname__} has no methods; decorate them with "
                    "@rpc, @server_stream, @client_stream or @bidi_stream"
                )
            self._methods = tuple(found)
        return self._methods


def service_spec(of: Any) -> ServiceSpec:
    """The record of a service class or of an instance of one; `SchemaError` for anything else."""
    cls = of if isinstance(of, type) else type(of)
    spec = getattr(cls, _SPEC, None)
    if not isinstance(spec, ServiceSpec):
        raise SchemaError(f"{cls.__qualname__} is not a service; decorate the class with @service")
    return spec


def record(cls: type, spec: ServiceSpec) -> None:
    """Attaches the record and resolves annotations now, unless some name is only defined later."""
    setattr(cls, _SPEC, spec)
    try:
        _ = spec.methods
    except UnresolvedAnnotation:
        return  # a class further down the module; resolved, or reported, when the service is first used


def _decorated(cls: type) -> list[tuple[str, Callable[..., Any], MethodOptions]]:
    found = []
    for attribute in dir(cls):
        raw = inspect.getattr_static(cls, attribute)
        function = raw.__func__ if isinstance(raw, (staticmethod, classmethod)) else raw
        options = getattr(function, OPTIONS, None)
        if not isinstance(options, MethodOptions):
            # A subclass may override a handler without decorating it again.
            options = next(
                (
                    inherited
                    for base in cls.__mro__[1:]
                    if isinstance(inherited := getattr(base.__dict__.get(attribute), OPTIONS, None), MethodOptions)
                ),
                None,
            )
            if options is None or not inspect.isfunction(function):
                continue
        if function is not raw:
            raise SchemaError(
                f"{cls.__qualname__}.{attribute}: a handler is a plain method, not a static or class method"
            )
        found.append((attribute, function, options))
    return found


_ASYNC_STREAMS: tuple[Any, ...] = (
    collections.abc.AsyncIterator,
    collections.abc.AsyncIterable,
    collections.abc.AsyncGenerator,
)
_SYNC_STREAMS: tuple[Any, ...] = (collections.abc.Iterator, collections.abc.Iterable, collections.abc.Generator)


def _form(function: Callable[..., Any]) -> HandlerForm:
    if inspect.isasyncgenfunction(function):
        return HandlerForm.ASYNC_GENERATOR
    if inspect.iscoroutinefunction(function):
        return HandlerForm.COROUTINE
    return HandlerForm.GENERATOR if inspect.isgeneratorfunction(function) else HandlerForm.PLAIN


def _method(
    spec: ServiceSpec, attribute: str, function: Callable[..., Any], options: MethodOptions, reflection: Reflection
) -> MethodSpec:
    where = f"{spec.cls.__qualname__}.{attribute}"
    form, pattern = _form(function), options.pattern
    decorator = DECORATORS[pattern]
    if form in (HandlerForm.ASYNC_GENERATOR, HandlerForm.GENERATOR) and not pattern.streams_responses:
        better = "@bidi_stream" if pattern.streams_requests else "@server_stream"
        raise SchemaError(f"{where}: it yields, and {decorator} answers once; use {better}")
    scope = Scope.of(function, {**spec.names, spec.cls.__name__: spec.cls})
    names, context = _parameters(function, where, scope)
    annotations = getattr(function, "__annotations__", {})
    if "return" not in annotations:
        raise SchemaError(f"{where}: it has no return annotation; write -> None if it answers nothing")
    if (
        form is HandlerForm.PLAIN
        and pattern.streams_responses
        and _is_async_stream(annotations["return"], where, scope)
    ):
        form = HandlerForm.ASYNC_GENERATOR  # a `def` that returns one is called and used the same way
    response = _response(annotations["return"], where, scope, reflection, pattern, form)
    if options.inline and (form not in (HandlerForm.PLAIN, HandlerForm.GENERATOR) or pattern.streams_requests):
        raise SchemaError(
            f"{where}: inline=True runs a plain `def` handler on the event loop; this one is {_describe(form, pattern)}"
        )
    name = options.name or attribute
    request: Shape
    plain: Optional[tuple[str, ...]] = None
    single: Optional[str] = None
    if pattern.streams_requests:
        if len(names) != 1:
            raise SchemaError(
                f"{where}: a {decorator} handler takes one stream of requests, and takes {len(names)} parameters"
            )
        single = names[0].name
        request = _stream_item(names[0], where, scope, reflection, form)
    else:
        shapes = {
            each.name: reflection.shape(_annotation(each, where), f"{where}: parameter {each.name!r}", scope)
            for each in names
        }
        if len(names) == 1 and isinstance(shapes[names[0].name], (StructShape, UnionShape)):
            single, request = names[0].name, shapes[names[0].name]
            if names[0].default is not inspect.Parameter.empty:
                raise SchemaError(
                    f"{where}: the request {single!r} has a default, but every call carries a request; give its fields defaults"
                )
        else:
            plain = tuple(each.name for each in names)
            request = _parameter_struct(f"{spec.name}.{name}", names, shapes, where)
    doc = inspect.getdoc(function) or ""
    return MethodSpec(name, attribute, options, form, request, response, plain, single, context, doc)


def _describe(form: HandlerForm, pattern: Pattern) -> str:
    return f"`{form.value}`" if not pattern.streams_requests else "one that takes a stream"


def _annotation(parameter: inspect.Parameter, where: str) -> Any:
    if parameter.annotation is inspect.Parameter.empty:
        raise SchemaError(
            f"{where}: the parameter {parameter.name!r} has no annotation; use typing.Any if any value will do"
        )
    return parameter.annotation


def _parameters(
    function: Callable[..., Any], where: str, scope: Scope
) -> tuple[list[inspect.Parameter], Optional[str]]:
    """The parameters that travel, and the name of the one that takes the context."""
    _, *parameters = inspect.signature(function).parameters.values()
    context: Optional[str] = None
    found = []
    for each in parameters:
        if each.kind in (
            inspect.Parameter.VAR_POSITIONAL,
            inspect.Parameter.VAR_KEYWORD,
            inspect.Parameter.POSITIONAL_ONLY,
        ):
            raise SchemaError(
                f"{where}: the parameter {each} has no name on the wire; handlers take named parameters only"
            )
        if _is_context(each.annotation, where, each.name, scope):
            if context is not None:
                raise SchemaError(f"{where}: it takes the context twice, as {context!r} and {each.name!r}")
            context = each.name
        else:
            found.append(each)
    return found, context


def _is_context(annotation: Any, where: str, name: str, scope: Scope) -> bool:
    try:
        evaluated = evaluate(annotation, scope)
    except UnresolvedName as error:
        raise UnresolvedAnnotation(
            f"{where}: the name {str(error)!r} in the annotation of {name!r} is not defined"
        ) from error
    return evaluated is CallContext or CallContext in (union_members(evaluated) or ())


def _streamed(annotation: Any, where: str, scope: Scope) -> tuple[Any, Any]:
    """The stream type and the annotation of its items; (None, None) for what is not a stream."""
    try:
        inner, _ = peel(annotation, scope)
    except UnresolvedName as error:
        raise UnresolvedAnnotation(f"{where}: the name {str(error)!r} in its annotation is not defined") from error
    origin = get_origin(inner) or inner
    if origin not in _ASYNC_STREAMS + _SYNC_STREAMS:
        return None, None
    arguments = get_args(inner)
    return origin, arguments[0] if arguments else Any


def _is_async_stream(annotation: Any, where: str, scope: Scope) -> bool:
    return _streamed(annotation, f"{where}: its answer", scope)[0] in _ASYNC_STREAMS


def _stream_item(
    parameter: inspect.Parameter, where: str, scope: Scope, reflection: Reflection, form: HandlerForm
) -> Shape:
    where = f"{where}: parameter {parameter.name!r}"
    origin, item = _streamed(_annotation(parameter, where), where, scope)
    is_async = form in (HandlerForm.COROUTINE, HandlerForm.ASYNC_GENERATOR)
    wanted = "AsyncIterator" if is_async else "Iterator"
    if origin not in (_ASYNC_STREAMS if is_async else _SYNC_STREAMS):
        raise SchemaError(
            f"{where}: the requests of a stream come to `{form.value}` handlers as {wanted}[T]; annotate it so"
        )
    return reflection.shape(item, f"{where}[]", scope)


def _response(
    annotation: Any, where: str, scope: Scope, reflection: Reflection, pattern: Pattern, form: HandlerForm
) -> Shape:
    where = f"{where}: its answer"
    origin, item = _streamed(annotation, where, scope)
    if not pattern.streams_responses:
        if origin is not None and origin in _ASYNC_STREAMS:
            raise SchemaError(
                f"{where} is a stream, and {DECORATORS[pattern]} answers once; use @server_stream or @bidi_stream"
            )
        return reflection.shape(annotation, where, scope)
    if origin is None:
        raise SchemaError(f"{where} is a stream under {DECORATORS[pattern]}; annotate it -> AsyncIterator[T]")
    if form is HandlerForm.GENERATOR and origin not in _SYNC_STREAMS:
        raise SchemaError(f"{where}: a generator is an Iterator[T]; annotate it so, or make the handler `async def`")
    return reflection.shape(item, f"{where}[]", scope)


def _parameter_struct(tag: str, names: list[inspect.Parameter], shapes: Mapping[str, Shape], where: str) -> StructShape:
    fields = []
    for each in names:
        shape = shapes[each.name]
        nullable = isinstance(shape, Nullable)
        required = each.default is inspect.Parameter.empty
        if each.default is None and not nullable and shape.__class__.__name__ != "Scalar":
            raise SchemaError(f"{where}: the default of {each.name!r} is None, so its annotation must allow None")
        inner = shape.item if isinstance(shape, Nullable) else shape
        fields.append(
            FieldShape(each.name, each.name, inner, required, nullable, MISSING if required else each.default)
        )
    # Not native: there is no class for msgspec to read it into, so it goes through a mirror into a dict.
    return StructShape(tag, StructKind.TYPED_DICT, None, tuple(fields), reads=False)


Requirement = Union[AccessRule, str, enum.Enum]
