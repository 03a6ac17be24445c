"""A server in a process of its own. Prints its address, then what happens to its sessions and handlers, one per line."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

from aster import AsterServer, rpc, server_stream, service

ending = sys.argv[1] if len(sys.argv) > 1 else "serve"


def say(text: str) -> None:
    print(text, flush=True)


@service(scoped="session")
class Watched:
    @rpc
    async def hello(self) -> str:
        return "hello"

    @rpc
    async def hang(self) -> None:
        say("hanging")
        try:
            await asyncio.Event().wait()
        finally:
            say("cancelled")

    @server_stream
    async def tail(self) -> AsyncIterator[int]:
        yield 1
        await asyncio.Event().wait()

    @rpc
    async def end(self) -> None:
        """Ends this process in the way that the command line says, without closing anything."""
        asyncio.get_running_loop().call_soon(finish)

    def on_session_close(self) -> None:
        say("closed")


def finish() -> None:
    if ending == "raise":
        done.set_exception(RuntimeError("an uncaught exception"))
    elif ending == "exit":
        done.set_exception(SystemExit(3))
    elif ending == "return":
        done.set_result(None)


async def main() -> None:
    global done
    done = asyncio.get_running_loop().create_future()
    server = AsterServer([Watched], preset="local", relay="")
    await server.start()
    say(server.address)
    if ending == "serve":
        await server.serve()
    else:
        await done


asyncio.run(main())
