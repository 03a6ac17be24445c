"""The client: one connection to a server, kept up by the core, and the proxies over it."""

from __future__ import annotations

import asyncio
import os
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple, Optional, Sequence, TypeVar, Union, cast

from . import _native
from ._errors import UsageError
from ._options import endpoint_options, seconds
from ._port import LoopPort, check_process, current_port
from ._proxy import ClientSession, Proxy, ServiceLink, contract_of
from ._service import service_spec

if TYPE_CHECKING:
    from types import TracebackType

    from ._blocking import BlockingClient

__all__ = ["AsterClient", "OfferedService"]

T = TypeVar("T")


class OfferedService(NamedTuple):
    """A service that the peer offers."""

    name: str
    version: int
    contract_id: str
    scope: str
    """`shared` or `session`."""


class AsterClient:
    """A connection to the server at an address.

        async with AsterClient(address="aster1...") as client:
            mc = client.proxy("MissionControl")
            print(await mc.getStatus({"agent_id": "edge-node-7"}))

    - `address`: an `aster1...` address, or several to try in order.
    - `identity`: path of an identity file, made when missing; without one the endpoint id is new each time.
    - `relay`: URL of your own relay, `""` for none; default: `ASTER_RELAY_URL` or `IROH_RELAY_URL`, else the public preset.
    - `preset`: `"default"` or `"local"` (this machine and network only).
    - `connect_timeout`, `keep_alive`, `idle_timeout`: seconds.
    - `compress`: compress large messages unless a call says otherwise.
    - `max_message_bytes`: the largest message taken.

    It reconnects by itself. All of it belongs to the event loop that `connect()` ran in.
    """

    def __init__(
        self,
        address: Union[str, Sequence[str]],
        *,
        identity: Union[str, os.PathLike[str], None] = None,
        relay: Optional[str] = None,
        preset: Optional[str] = None,
        connect_timeout: Optional[float] = None,
        keep_alive: Optional[float] = None,
        idle_timeout: Optional[float] = None,
        compress: Optional[bool] = None,
        max_message_bytes: Optional[int] = None,
        agent: Optional[str] = None,
    ) -> None:
        addresses = [address] if isinstance(address, str) else list(address)
        if not addresses or not all(isinstance(each, str) for each in addresses):
            raise UsageError(f"address= is an aster1... address or several of them, and got {address!r}")
        self._addresses = addresses
        self._options = endpoint_options(
            identity=identity,
            relay=relay,
            preset=preset,
            connect_timeout=connect_timeout,
            keep_alive=keep_alive,
            idle_timeout=idle_timeout,
            compress=compress,
            max_message_bytes=max_message_bytes,
            agent=agent,
        )
        self._native: Optional[_native.Client] = None
        self._port: Optional[LoopPort] = None
        self._connecting: Optional[asyncio.Task[None]] = None
        self._closed = False
        self._proxies: dict[Any, Proxy] = {}
        self._sessions: weakref.WeakSet[ClientSession] = weakref.WeakSet()

    @classmethod
    def blocking(cls, address: Union[str, Sequence[str]], **options: Any) -> BlockingClient:
        """A connected client for scripts and notebooks, with the same proxies and no event loop. Options as for the class."""
        from ._blocking import BlockingClient

        return BlockingClient(address, **options)

    # ------------------------------------------------------------ connection

    async def connect(self) -> AsterClient:
        """Connects; does nothing when connected. Raises `Unavailable` when no address answers in time, and
        what the server refuses with when it does not let this client in."""
        if self._closed:
            raise UsageError("this client is closed; make a new AsterClient")
        if self._native is None:
            if self._connecting is None:
                self._connecting = asyncio.ensure_future(self._connect())
            connecting = self._connecting
            try:
                await asyncio.shield(connecting)
            except asyncio.CancelledError:
                connecting.cancel()
                raise
            finally:
                if connecting.done():
                    self._connecting = None
        return self

    async def _connect(self) -> None:
        port = current_port()
        port.acquire(self)
        try:
            native = await port.native.connect(self._addresses, self._options)
        except BaseException:
            port.release(self)
            raise
        if self._closed:
            await native.close()
            port.release(self)
            raise UsageError("the client was closed while it was connecting")
        self._native, self._port = native, port

    async def close(self) -> None:
        """Ends its sessions and calls and disconnects; the server sees it at once. May be called twice."""
        self._closed = True
        native, port = self._native, self._port
        self._native = None
        if self._connecting is not None:
            self._connecting.cancel()
        if native is None or port is None:
            return
        self._port = None
        try:
            if not port.closed:
                await native.close()
        finally:
            port.release(self)

    async def __aenter__(self) -> AsterClient:
        return await self.connect()

    async def __aexit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        await self.close()

    def require(self) -> _native.Client:
        """The native client; `AsterError` when there is none. For the package's own use."""
        if self._port is not None:
            check_process(self._port, "client")
        if self._native is None:
            if self._closed:
                raise UsageError("this client is closed; make a new AsterClient")
            raise UsageError(
                "this client is not connected; use `async with AsterClient(...)`, or `await client.connect()` first"
            )
        return self._native

    def forget_contracts(self) -> None:
        """Looks at the server's contracts again before the next calls. The core asks for it when they have changed."""
        for proxy in self._proxies.values():
            proxy._link.forget()
        for session in list(self._sessions):
            session._link.forget()

    @property
    def peer(self) -> str:
        """The endpoint id of the server."""
        return self.require().peer

    def services(self) -> list[OfferedService]:
        """What the server offers this client now."""
        return [OfferedService(*each) for each in self.require().services()]

    async def ping(self, timeout: float = 1.5) -> float:
        """Seconds of one round trip, answered by the server's I/O thread whatever its handlers do. Raises `Unavailable`
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
        `.bidi()`. Raises `ContractMismatch`, with the differences, from the first call if the server's contract differs
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
