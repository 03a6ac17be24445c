"""A client in a process of its own: opens a session, starts a call, then ends in the way that the command line says."""

from __future__ import annotations

import asyncio
import os
import sys

from aster import AsterClient

address, ending = sys.argv[1], sys.argv[2]


def end() -> None:
    if ending == "raise":
        raise RuntimeError("an uncaught exception")
    if ending == "exit":
        sys.exit(3)
    if ending == "kill":
        os.kill(os.getpid(), 9)


if ending == "blocking":
    blocking = AsterClient.blocking(address, preset="local", relay="")
    print(blocking.proxy("Watched").hello(), flush=True)
    sys.exit(0)


async def main() -> None:
    client = await AsterClient(address, preset="local", relay="", keep_alive=0.5, idle_timeout=2).connect()
    watched = client.proxy("Watched")
    print(await watched.hello(), flush=True)
    call = asyncio.ensure_future(watched.hang())
    stream = watched.tail.stream()
    print(await stream.__anext__(), flush=True)
    if ending == "wait":
        await call
    end()


asyncio.run(main())
