"""The services of another side: of the server that a client has dialled, or of a caller that offers some."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, NamedTuple, Optional, TypeVar, Union, cast

from ._errors import UsageError
from ._options import seconds
from ._port import LoopPort, check_process
from ._proxy import ClientSession, Proxy, ServiceLink, contract_of
from ._service import service_spec

if TYPE_CHECKING:
    from . import _native

__all__ = ["Caller", "OfferedService", "PeerServices", "caller_of"]

T = TypeVar("T")


class OfferedService(NamedTuple):
    """A service that the peer offers."""

    name: str
    version: int
    contract_id: str
    scope: str
    """`shared` or `session`."""


class PeerServices:
    """Proxies of one other side."""

    def __init__(self) -> None:
        self._proxies: dict[Any, Proxy] = {}
        self._sessions: weakref.WeakSet[ClientSession] = weakref.WeakSet()

    def require(self) -> _native.Client:
        """The native client; `AsterError` when there is none. For the package's own use."""
        raise NotImplementedError

    def forget_contracts(self) -> None:
        """Looks at the peer's contracts again before the next calls. The core asks for it when they have changed."""
        for proxy in self._proxies.values():
            proxy._link.forget()
        for session in list(self._sessions):
            session._link.forget()

    @property
    def peer(self) -> str:
        """The endpoint id of the other side."""
        return self.require().peer

    def services(self) -> list[OfferedService]:
        """What the other side offers now."""
        return [OfferedService(*each) for each in self.require().services()]

    async def ping(self, timeout: float = 1.5) -> float:
        """Seconds of one round trip, answered by the other side's I/O thread whatever its handlers do. Raises `Unavailable`
        when there is no answer in `timeout` seconds."""
        limit = seconds("timeout", timeout)
        assert limit is not None
        return await self.require().ping(limit) / 1000

    # ------------------------------------------------------------ services

    def proxy(self, name: str, version: Optional[int] = None) -> Proxy:
        """The service of this name, called with plain dicts or keyword arguments, its methods known from its contract.

        Without a version it is 1 if offered, else the only one, else an error that lists them. The same name and
        version give the same proxy, which has one session of its own if the service is a session service.
        """
        if not isinstance(name, str):
            raise UsageError(
                f"proxy() takes the name of a service, and got {name!r}; for a service class use client.client(...)"
            )
        key = (name, version)
        proxy = self._proxies.get(key)
        if proxy is None:
            proxy = self._proxies[key] = Proxy(ServiceLink(self, name, version, None, explicit=False))
        return proxy

    def client(self, service: type[T]) -> T:
        """A typed client: the methods of a service class, called with its types and giving instances of them.

        What is returned stands for the class to a type checker. Stream methods have the forms `.stream(...)` and
        `.bidi()`. Raises `ContractMismatch`, with the differences, from the first call if the other side's contract differs
        in a way that breaks calls.
        """
        key = service
        proxy = self._proxies.get(key)
        if proxy is None:
            spec = service_spec(service)
            contract_of(spec)  # so that a class which cannot be sent fails here
            proxy = self._proxies[key] = Proxy(ServiceLink(self, spec.name, spec.version, spec, explicit=False))
        return cast("T", proxy)

    def session(self, service: Union[str, type], version: Optional[int] = None) -> ClientSession:
        """A new session of a session service, by name (dynamic) or by class (typed). Use it in `async with`."""
        if isinstance(service, str):
            link = ServiceLink(self, service, version, None, explicit=True)
        else:
            spec = service_spec(service)
            if version is not None and version != spec.version:
                raise UsageError(
                    f"the class {service.__qualname__} is version {spec.version} of {spec.name}, not {version}"
                )
            contract_of(spec)
            link = ServiceLink(self, spec.name, spec.version, spec, explicit=True)
        session = ClientSession(link)
        self._sessions.add(session)
        return session


class Caller(PeerServices):
    """The peer that called, as `CallContext.caller` gives it: the services that it offers (`AsterClient(services=...)`).

    It is good for as long as the connection of that call, also after the call: a server may keep it to call its clients later. Once
    that connection has ended, calls raise `Unavailable`; a client that connects again is another caller.
    """

    def __init__(self, native: _native.Client, port: LoopPort) -> None:
        super().__init__()
        self._native = native
        self._port = port

    def require(self) -> _native.Client:
        """The native client. For the package's own use."""
        check_process(self._port, "caller")
        return self._native

    async def close(self) -> None:
        """Ends the sessions that this side has with the caller's services. The connection is the caller's and stays."""
        for proxy in [*self._proxies.values(), *self._sessions]:
            await proxy.close()

    def __repr__(self) -> str:
        return f"<Caller {self.peer}>"


_callers: weakref.WeakValueDictionary[int, Caller] = weakref.WeakValueDictionary()
"""By the number of the connection, which is unique in the process."""


def caller_of(call: _native.Call, port: LoopPort) -> Caller:
    """The caller of a call: the same object for all calls of a connection, as long as somebody holds it."""
    caller = _callers.get(call.connection)
    if caller is None or caller._port is not port:
        caller = _callers[call.connection] = Caller(call.caller(), port)
        port.users.add(caller)
    return caller
