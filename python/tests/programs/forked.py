"""Forks while connected: the child is told what to do, and may connect anew; the parent goes on."""

from __future__ import annotations

import asyncio
import os
import sys
import traceback

from aster import AsterClient, AsterError

address = sys.argv[1]
options = {"preset": "local", "relay": ""}


async def fresh() -> str:
    async with AsterClient(address, **options) as client:
        answer: str = await client.proxy("Watched").hello()
        return answer


def child(client: AsterClient) -> int:
    async def inherited() -> None:
        await client.proxy("Watched").hello()

    try:
        asyncio.run(inherited())
    except AsterError as error:
        print(f"child: {error}", flush=True)
    else:
        return 1
    print(f"child: {asyncio.run(fresh())}", flush=True)
    return 0


async def main() -> int:
    async with AsterClient(address, **options) as client:
        await client.proxy("Watched").hello()
        pid = os.fork()
        if pid == 0:
            # The child inherits a running loop; a new thread has none.
            import threading

            status: list[int] = []

            def run() -> None:
                try:
                    status.append(child(client))
                except BaseException:
                    traceback.print_exc()

            thread = threading.Thread(target=run)
            thread.start()
            thread.join(20)
            sys.stdout.flush()
            os._exit(status[0] if status else 2)
        _, code = await asyncio.get_running_loop().run_in_executor(None, os.waitpid, pid, 0)
        print(f"parent: {await client.proxy('Watched').hello()}", flush=True)
        return os.waitstatus_to_exitcode(code)


sys.exit(asyncio.run(main()))
