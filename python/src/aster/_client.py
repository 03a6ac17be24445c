"""The client: one connection to a server, kept up by the core, and the proxies over it."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any, Callable, Mapping, Optional, Sequence, Union

from . import _native
from ._errors import UsageError
from ._options import endpoint_options
from ._peer import OfferedService, PeerServices
from ._port import LoopPort, check_process, current_port
from ._serving import Serving

if TYPE_CHECKING:
    from types import TracebackType

    from ._blocking import BlockingClient
    from ._dispatch import Dispatcher

__all__ = ["AsterClient", "OfferedService"]


class AsterClient(PeerServices):
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
    - `services`: what this side serves to the server, whose handlers reach it by `CallContext.current().caller`; with `factories`,
      `threads` and `expose_errors` as of `AsterServer`.

    It reconnects by itself: with the next call, or at once if it has services. All of it belongs to the event loop that
    `connect()` ran in.
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
        services: Sequence[Any] = (),
        factories: Optional[Mapping[type, Callable[..., Any]]] = None,
        threads: Optional[int] = None,
        expose_errors: bool = False,
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
        super().__init__()
        self._serving = Serving("AsterClient", services, factories, threads, expose_errors)
        self._dispatcher: Optional[Dispatcher] = None
        self._native: Optional[_native.Client] = None
        self._port: Optional[LoopPort] = None
        self._connecting: Optional[asyncio.Task[None]] = None
        self._closed = False

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
        served, dispatcher = self._serving.on(port.loop)
        port.acquire(self)
        try:
            native = await port.native.connect(
                self._addresses, self._options, served, dispatcher.on_calls, dispatcher.on_session_close
            )
        except BaseException:
            dispatcher.close()
            port.release(self)
            raise
        dispatcher.attach(native)
        if self._closed:
            await native.close()
            dispatcher.close()
            port.release(self)
            raise UsageError("the client was closed while it was connecting")
        self._native, self._port, self._dispatcher = native, port, dispatcher

    async def close(self) -> None:
        """Ends its sessions and calls and disconnects; the server sees it at once. May be called twice."""
        self._closed = True
        native, port, dispatcher = self._native, self._port, self._dispatcher
        self._native = None
        if self._connecting is not None:
            self._connecting.cancel()
        if native is None or port is None:
            return
        self._port = None
        assert dispatcher is not None
        try:
            if not port.closed:
                await native.close()
                await dispatcher.sessions_closed()
        finally:
            dispatcher.close()
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
