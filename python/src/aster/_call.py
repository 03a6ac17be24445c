"""A method bound to a connection: the call forms that proxies and typed clients share."""

from __future__ import annotations

import asyncio
from typing import Any, Awaitable, Callable, Optional, Protocol, Union

from . import _native
from ._codec import Codec, translate_decode_error
from ._context import current_call
from ._errors import REFUSALS, InvalidArgument, RpcError, UsageError
from ._mirror import unwritable
from ._options import CALL_OPTIONS, call_options, merged
from ._service import Pattern
from ._shapes import Shape, StructKind, StructShape
from ._streams import BidiChannel, ResponseStream, call_client_stream

__all__ = ["Binding", "RemoteCall"]

_RIGHT_FORM = {
    Pattern.UNARY: "is unary: `await {name}({{...}})`",
    Pattern.SERVER_STREAM: "is a server stream: `async for x in {name}.stream({{...}}):`",
    Pattern.CLIENT_STREAM: "is a client stream: `await {name}(async_iterable)`",
    Pattern.BIDI_STREAM: "is a bidirectional stream: `ch = {name}.bidi(); await ch.open(); await ch.send(x); async for r in ch: ...`",
}


class Binding:
    """Everything about one method of one client that does not change from call to call."""

    __slots__ = (
        "client",
        "decode",
        "decode_batch",
        "encode",
        "native",
        "options",
        "parameters",
        "pattern",
        "request",
        "where",
    )

    def __init__(
        self,
        client: _native.Client,
        native: _native.Method,
        pattern: Pattern,
        request: Shape,
        codecs: tuple[Codec, Codec],
        options: Optional[dict[str, Any]],
        parameters: Optional[tuple[str, ...]],
        where: str,
    ) -> None:
        self.client = client
        self.native = native
        self.pattern = pattern
        self.request = request
        self.encode = codecs[0].encode
        self.decode = self._checked(codecs[1].decode)
        self.decode_batch = codecs[1].decode_batch
        self.options = options
        self.parameters = parameters
        """Names of plain parameters, which may be given by position; None when unknown or there is one request."""
        self.where = where

    def _checked(self, decode: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
        def checked(payload: bytes) -> Any:
            try:
                return decode(payload)
            except Exception as error:
                raise translate_decode_error(error, f"{self.where}: the answer") from error

        return checked

    def refused(self, error: Exception, request: Any) -> RpcError:
        """The error for a request that cannot be encoded or does not fit the contract; nothing was sent."""
        if isinstance(error, InvalidArgument):
            refusal = error
        else:
            # The core's texts have the path; an encoder's do not.
            text = str(error)
            refusal = InvalidArgument(text if " at $" in text else unwritable(request) or text)
        refusal.origin = "client"
        refusal.may_have_run = False
        refusal.context = refusal.context or self.where
        return refusal

    def payload(self, request: Any) -> bytes:
        """The encoded request."""
        try:
            return self.encode(request)
        except REFUSALS as error:
            raise self.refused(error, request) from error

    def unary(self, request: Any, options: Optional[dict[str, Any]]) -> asyncio.Future[Any]:
        """Starts a unary call and returns its future; cancelling that cancels the call."""
        try:
            return self.client.unary(self.native, self.encode(request), self.decode, options)
        except REFUSALS as error:
            raise self.refused(error, request) from error

    def start_stream(self, request: Any, options: Optional[dict[str, Any]]) -> _native.ClientCall:
        """Starts a server stream: one request, then nothing more to send."""
        payload = self.payload(request)
        call = self.client.stream(self.native, options)
        try:
            call.send(payload)
            call.half_close()
        except ValueError as error:
            call.cancel()
            raise self.refused(error, request) from error
        return call


class Binder(Protocol):
    """Finds the binding of one method."""

    def now(self) -> Optional[Binding]:
        """The binding, if that takes no waiting."""

    async def later(self) -> Binding:
        """The binding, after loading the contract if need be."""


class RemoteCall:
    """One method of a proxy or typed client, in all its call forms.

    - unary: `await proxy.method({...})`, or with the fields by keyword
    - server stream: `async for x in proxy.method.stream({...})`
    - client stream: `await proxy.method(async_iterable)`; plain iterables too
    - bidirectional: `channel = proxy.method.bidi()`

    Beside a request given by position, `timeout=` (seconds), `metadata=`, `compress=` and `info=` are options of the call.
    """

    __slots__ = ("__weakref__", "_binder", "_binding", "_given", "_name")

    def __init__(
        self,
        name: str,
        binder: Binder,
        given: Optional[dict[str, Any]] = None,
    ) -> None:
        self._name = name
        self._binder = binder
        self._binding: Optional[Binding] = None
        self._given = given or {}

    def __repr__(self) -> str:
        return f"<remote method {self._name}>"

    def with_options(
        self,
        *,
        timeout: Optional[float] = None,
        metadata: Optional[dict[str, Union[str, bytes]]] = None,
        compress: Optional[bool] = None,
        info: Optional[_native.CallInfo] = None,
    ) -> RemoteCall:
        """The same method with options for every call made through what is returned: `timeout` in seconds, `metadata`,
        `compress`, and `info`, a `CallInfo` that is filled with the response's metadata."""
        given = {"timeout": timeout, "metadata": metadata, "compress": compress, "info": info}
        return RemoteCall(self._name, self._binder, merged(self._given, given))

    def forget(self) -> None:
        """Drops the binding; the next call looks at the contract again."""
        self._binding = None

    # ------------------------------------------------------------ the forms

    def __call__(self, *args: Any, **kwargs: Any) -> Awaitable[Any]:
        binding = self._binding
        if binding is None:
            binding = self._binding = self._binder.now()
            if binding is None:
                return self._call_when_bound(args, kwargs)
        # The path that matters: everything known, one request, no options.
        if (
            len(args) == 1
            and not kwargs
            and not self._given
            and binding.pattern is Pattern.UNARY
            and not binding.parameters
        ):
            options = binding.options if current_call.get(None) is None else call_options(binding.options, {})
            return binding.unary(args[0], options)
        return self._call(binding, args, kwargs)

    def stream(self, *args: Any, **kwargs: Any) -> ResponseStream[Any]:
        """Calls a server stream: `async for x in proxy.method.stream({...})`."""

        def start(binding: Binding) -> _native.ClientCall:
            self._require(binding, Pattern.SERVER_STREAM)
            request, given = self._arguments(binding, args, kwargs)
            return binding.start_stream(request, call_options(binding.options, given))

        return ResponseStream(self._binder, start)

    def bidi(
        self,
        *,
        timeout: Optional[float] = None,
        metadata: Optional[dict[str, Union[str, bytes]]] = None,
        compress: Optional[bool] = None,
        info: Optional[_native.CallInfo] = None,
    ) -> BidiChannel[Any, Any]:
        """Makes a channel of a bidirectional stream; it is opened by its `open()`."""
        given = {"timeout": timeout, "metadata": metadata, "compress": compress, "info": info}

        def start(binding: Binding) -> _native.ClientCall:
            self._require(binding, Pattern.BIDI_STREAM)
            return binding.client.stream(binding.native, call_options(binding.options, merged(self._given, given)))

        if self._binding is not None:
            self._require(self._binding, Pattern.BIDI_STREAM)
        return BidiChannel(self._binder, start)

    # ------------------------------------------------------------ inside

    async def bind_client_stream(self, given: dict[str, Any]) -> tuple[Binding, Optional[dict[str, Any]]]:
        """For callers that send by themselves: the binding and the options of a client stream; `UsageError` for another kind."""
        binding = self._binding = await self._binder.later()
        self._require(binding, Pattern.CLIENT_STREAM)
        return binding, call_options(binding.options, merged(self._given, given))

    async def _call_when_bound(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        binding = self._binding = await self._binder.later()
        return await self._call(binding, args, kwargs)

    def _call(self, binding: Binding, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Awaitable[Any]:
        if binding.pattern is Pattern.CLIENT_STREAM:
            if (
                len(args) != 1
                or not (hasattr(args[0], "__aiter__") or hasattr(args[0], "__iter__"))
                or isinstance(args[0], dict)
            ):
                raise UsageError(self._form(binding))
            return call_client_stream(binding, args[0], call_options(binding.options, merged(self._given, kwargs)))
        self._require(binding, Pattern.UNARY)
        request, given = self._arguments(binding, args, kwargs)
        return binding.unary(request, call_options(binding.options, given))

    def _require(self, binding: Binding, pattern: Pattern) -> None:
        if binding.pattern is not pattern:
            raise UsageError(self._form(binding))

    def _form(self, binding: Binding) -> str:
        return f"{binding.where} {_RIGHT_FORM[binding.pattern].format(name=self._name)}"

    def _arguments(self, binding: Binding, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """The request and the call's own options, from what the caller wrote."""
        if not args:
            # Everything by keyword is a field of the request, whatever its name.
            return kwargs, self._given
        names = binding.parameters
        if names is not None and not (len(args) == 1 and isinstance(args[0], dict) and len(names) != 1):
            if len(args) > len(names):
                raise UsageError(
                    f"{binding.where} takes {len(names)} parameters ({', '.join(names)}), and got {len(args)}"
                )
            request = dict(zip(names, args))
            for name in [each for each in kwargs if each in names and each not in request]:
                request[name] = kwargs.pop(name)
            twice = [each for each in kwargs if each in request and each not in CALL_OPTIONS]
            if twice:
                raise UsageError(f"{binding.where} got the parameter {twice[0]!r} by position and by keyword")
            return request, merged(self._given, kwargs)
        if len(args) > 1:
            raise UsageError(
                f"{binding.where} takes one request by position, or its fields by keyword "
                f"({_fields(binding.request)}), and got {len(args)} values"
            )
        return args[0], merged(self._given, kwargs)


def _fields(shape: Shape) -> str:
    if isinstance(shape, StructShape):
        return ", ".join(f"{each.name}=" for each in shape.fields) or "none"
    return StructKind.PLAIN_DICT.value
