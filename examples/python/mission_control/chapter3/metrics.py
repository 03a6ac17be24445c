# metrics.py — streams 10,000 metric points to MissionControl.
# Usage: python metrics.py <aster1...address>
import asyncio
import random
import sys
import time
from aster import AsterClient


async def main():
    if len(sys.argv) < 2:
        print("Usage: python metrics.py <aster1...address>")
        sys.exit(1)

    async with AsterClient(address=sys.argv[1]) as client:
        mc = client.proxy("MissionControl")

        async def metrics():
            for i in range(10_000):
                yield {
                    "name": "cpu.usage",
                    "value": random.random(),
                    "timestamp": time.time(),
                }

        result = await mc.ingestMetrics(metrics())
        print(f"Accepted: {result['accepted']}")


if __name__ == "__main__":
    asyncio.run(main())
