"""Tails the logs of a control plane, as `./tailLogs agent_id=… level=…` does in the shell.

    python tail.py <aster1...address> [agent_id=edge-node-7] [level=warn]

Prints one line per entry, `#0 {...}`, until Ctrl-C; the handler on the server ends with it.
"""

from __future__ import annotations

import asyncio
import json
import sys

from aster import AsterClient


async def main(address: str, request: dict[str, str]) -> None:
    async with AsterClient(address=address) as client:
        mc = client.proxy("MissionControl")
        number = 0
        async for entry in mc.tailLogs.stream(request):
            print(f"#{number} {json.dumps(entry)}", flush=True)
            number += 1


if __name__ == "__main__":
    fields = [word.partition("=") for word in sys.argv[2:]]
    if len(sys.argv) < 2 or not all(name and equals for name, equals, _ in fields):
        sys.exit("Usage: python tail.py <aster1...address> [agent_id=...] [level=...]")
    try:
        asyncio.run(main(sys.argv[1], {name: value for name, _, value in fields}))
    except KeyboardInterrupt:
        sys.exit(130)
