"""What decorated stream methods look like to a type checker. At run time they stay plain functions.

A typed client is declared as the service class itself (`client.client(MissionControl)` is a
`MissionControl`), so the methods that are called in another form than the handler is written need it said.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, AsyncIterator, Generic, TypeVar, overload

from typing_extensions import ParamSpec

if TYPE_CHECKING:
    from typing import Callable

    from typing_extensions import Concatenate

    from ._streams import BidiChannel, ResponseStream

__all__ = ["BidiStreamMethod", "BoundBidiStream", "BoundServerStream", "ServerStreamMethod"]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class BoundServerStream(Generic[P, T]):
    """A server stream of an instance: callable as the handler is, and by `.stream(...)` on a client."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
        """The handler itself, as called on an instance of the service."""
        raise NotImplementedError

    def stream(self, *args: P.args, **kwargs: P.kwargs) -> ResponseStream[T]:
        """Calls the method over the wire, on a typed client."""
        raise NotImplementedError


class ServerStreamMethod(Generic[P, T]):
    """A method decorated with `@server_stream`."""

    @overload
    def __get__(self, instance: None, owner: type) -> Callable[Concatenate[Any, P], AsyncIterator[T]]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> BoundServerStream[P, T]: ...
    def __get__(self, instance: Any, owner: type) -> Any:
        raise NotImplementedError


class BoundBidiStream(Generic[R, T]):
    """A bidirectional stream of an instance: callable as the handler is, and by `.bidi()` on a client."""

    def __call__(self, requests: AsyncIterator[R], /) -> AsyncIterator[T]:
        """The handler itself, as called on an instance of the service."""
        raise NotImplementedError

    def bidi(self) -> BidiChannel[R, T]:
        """Calls the method over the wire, on a typed client."""
        raise NotImplementedError


class BidiStreamMethod(Generic[R, T]):
    """A method decorated with `@bidi_stream`."""

    @overload
    def __get__(self, instance: None, owner: type) -> Callable[[Any, AsyncIterator[R]], AsyncIterator[T]]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> BoundBidiStream[R, T]: ...
    def __get__(self, instance: Any, owner: type) -> Any:
        raise NotImplementedError
