# logs.py — submits one log entry per second so tailLogs has something to stream.
# Usage: python logs.py <aster1...address>
import asyncio
import sys
import time
from aster import AsterClient


async def main():
    if len(sys.argv) < 2:
        print("Usage: python logs.py <aster1...address>")
        sys.exit(1)

    async with AsterClient(address=sys.argv[1]) as client:
        mc = client.proxy("MissionControl")
        levels = ["info", "warn", "error"]
        messages = ["disk 92% full", "health check failed", "cpu spike detected"]
        i = 0
        while True:
            await mc.submitLog({
                "timestamp": time.time(),
                "level": levels[i % len(levels)],
                "message": messages[i % len(messages)],
                "agent_id": "edge-node-7",
            })
            print(f"submitted log #{i + 1}")
            i += 1
            await asyncio.sleep(1)


if __name__ == "__main__":
    asyncio.run(main())
