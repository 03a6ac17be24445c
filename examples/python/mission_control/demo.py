"""Starts chapter 4's control plane, calls it in all four ways, prints the answers and stops it.

    python demo.py

This is what `./dev demo` runs. The server is a process of its own, reached through the address it
prints, exactly as from another terminal or another machine.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from aster import AsterClient

CONTROL = Path(__file__).parent / "chapter4" / "control.py"
START_SECONDS = 20.0
STOP_SECONDS = 5.0


def show(kind: str, call: str, answer: object) -> None:
    print(f"{kind:14} {call:26} → {json.dumps(answer)}", flush=True)


async def call_everything(address: str) -> None:
    async with AsterClient(address=address) as client:
        mc = client.proxy("MissionControl")

        show("unary", "getStatus", await mc.getStatus({"agent_id": "edge-node-7"}))

        entry = {"timestamp": time.time(), "level": "warn", "message": "disk 92% full", "agent_id": "edge-node-7"}
        await mc.submitLog(entry)
        async for received in mc.tailLogs.stream({"level": "warn"}):
            show("server stream", "tailLogs", received)
            break  # leaving the loop cancels the handler, which would otherwise wait for more

        async def points() -> AsyncIterator[dict[str, Any]]:
            for i in range(10_000):
                yield {"name": "cpu.usage", "value": i / 10_000, "timestamp": time.time()}

        show("client stream", "ingestMetrics (10,000)", await mc.ingestMetrics(points()))

        async with client.session("AgentSession") as session:
            show("session", "register", await session.register({"agent_id": "edge-7", "capabilities": ["gpu"]}))
            channel = session.runCommand.bidi()
            await channel.open()
            await channel.send({"command": "echo hello from the agent"})
            async for result in channel:
                show("bidi stream", "runCommand", result)
                break
            await channel.close()


async def main() -> int:
    server = await asyncio.create_subprocess_exec(sys.executable, "-u", str(CONTROL), stdout=asyncio.subprocess.PIPE)
    if server.stdout is None:
        raise RuntimeError("the control plane was started without a pipe for its output")
    try:
        line = await asyncio.wait_for(server.stdout.readline(), START_SECONDS)
        address = line.decode().strip()
        if not address:
            print(f"{CONTROL} ended before it printed its address; see the error above", file=sys.stderr)
            return 1
        print(f"control plane at {address}", flush=True)
        await call_everything(address)
    finally:
        if server.returncode is None:
            server.terminate()
            try:
                await asyncio.wait_for(server.wait(), STOP_SECONDS)
            except asyncio.TimeoutError:
                server.kill()
                await server.wait()
    if server.returncode != 0:
        print(f"the control plane ended with exit code {server.returncode} on Ctrl-C, expected 0", file=sys.stderr)
        return 1
    print("control plane stopped", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
