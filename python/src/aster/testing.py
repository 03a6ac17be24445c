"""For tests: a server and a connected client in one event loop, over real endpoints on this machine.

from aster.testing import pair

async def test_status():
    async with pair(MissionControl()) as (client, server):
        status = await client.client(MissionControl).getStatus(StatusRequest(agent_id="a"))
"""

from __future__ import annotations

import contextlib
from typing import Any, AsyncIterator, Mapping, NamedTuple, Optional

from ._client import AsterClient
from ._server import AsterServer

__all__ = ["Pair", "pair"]


class Pair(NamedTuple):
    """What `pair` gives: a connected client and its server."""

    client: AsterClient
    server: AsterServer


@contextlib.asynccontextmanager
async def pair(
    *services: Any,
    client_options: Optional[Mapping[str, Any]] = None,
    server_options: Optional[Mapping[str, Any]] = None,
) -> AsyncIterator[Pair]:
    """Serves `services` and connects a client to them; both are closed at the end of the block.

    Nothing leaves this machine, and unexpected exceptions of handlers reach the client with their text
    (`expose_errors=True`), unless the options say otherwise.
    """
    local = {"preset": "local", "relay": ""}
    for_server: dict[str, Any] = {**local, "expose_errors": True, **(server_options or {})}
    for_client: dict[str, Any] = {**local, **(client_options or {})}
    async with AsterServer(list(services), **for_server) as server, AsterClient(server.address, **for_client) as client:
        yield Pair(client, server)
