"""Opens one session of AgentSession, registers and runs commands in it, as `session AgentSession` does in the shell.

    python agent.py <aster1...address> [command ...]

Prints one line per answer, `← {...}`. Without commands it runs `df -h` and `uptime`, as the guide does.
"""

from __future__ import annotations

import asyncio
import json
import sys

from aster import AsterClient


def show(answer: object) -> None:
    print(f"← {json.dumps(answer)}", flush=True)


async def main(address: str, commands: list[str]) -> None:
    async with AsterClient(address=address) as client, client.session("AgentSession") as session:
        # Both calls reach the same instance: a session keeps its state until it is closed.
        show(await session.register({"agent_id": "edge-7", "capabilities": ["gpu"]}))

        channel = session.runCommand.bidi()
        await channel.open()
        waiting = list(reversed(commands))
        await channel.send({"command": waiting.pop()})
        async for result in channel:
            show(result)
            if not waiting:
                break
            await channel.send({"command": waiting.pop()})
        await channel.close()


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("Usage: python agent.py <aster1...address> [command ...]")
    try:
        asyncio.run(main(sys.argv[1], sys.argv[2:] or ["df -h", "uptime"]))
    except KeyboardInterrupt:
        sys.exit(130)
