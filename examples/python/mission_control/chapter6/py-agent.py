# py-agent.py — Python client calling a TypeScript control plane.
# Usage: python py-agent.py <aster1...address>
import asyncio
import random
import sys
from aster import AsterClient


async def main():
    if len(sys.argv) < 2:
        print("Usage: python py-agent.py <aster1...address>")
        sys.exit(1)

    async with AsterClient(address=sys.argv[1]) as client:
        mc = client.proxy("MissionControl")
        status = await mc.getStatus({"agent_id": "py-worker-1"})
        print(f"Status: {status['agent_id']} is {status['status']}")

        # Stream metrics from Python to the TypeScript control plane
        async def metrics():
            for i in range(1000):
                yield {"name": "gpu.temp", "value": 72 + random.random() * 10}

        result = await mc.ingestMetrics(metrics())
        print(f"Accepted: {result['accepted']}")


if __name__ == "__main__":
    asyncio.run(main())
