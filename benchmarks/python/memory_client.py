"""The client side of the memory scenarios; benchmarks/memory.py starts it and says what they are."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator

import uvloop
from aster import AsterClient
from bench_service import Bench, BenchSession, DownloadRequest, MetricPoint, StatusRequest

POINTS = 1_000_000
MESSAGE = 64 * 1024
DOWNLOAD = 1_000_000_000
BYTES_PER_SECOND = 32 * 1024 * 1024
SESSIONS = 5_000


async def points(count: int) -> AsyncIterator[MetricPoint]:
    tags = {"host": "edge-0017", "region": "eu-west-1"}
    for i in range(count):
        yield MetricPoint(name="cpu.usage.total", value=i * 0.5, timestamp=1_700_000_000.0 + i, tags=tags)


async def ingest(client: AsterClient, count: int) -> int:
    accepted: int = (await client.client(Bench).ingestMetrics(points(count))).accepted
    if accepted != count:
        raise AssertionError(f"{accepted} points accepted of {count}")
    return accepted


async def download(client: AsterClient, size: int) -> int:
    count = -(-size // MESSAGE)
    got, started = 0, time.perf_counter()
    async for blob in client.client(Bench).download.stream(DownloadRequest(count=count, size=MESSAGE)):
        got += len(blob.data)
        # The slow reader: no more than so many bytes a second.
        await asyncio.sleep(max(0.0, got / BYTES_PER_SECOND - (time.perf_counter() - started)))
    if got != count * MESSAGE:
        raise AssertionError(f"{got} bytes received of {count * MESSAGE}")
    return got


async def sessions(client: AsterClient, count: int) -> int:
    for _ in range(count):
        # Kept open until the client closes: closing is what this does not measure.
        session = await client.session(BenchSession)
        await session.getStatus(StatusRequest(agent_id="a"))
        KEPT.append(session)
    return count


KEPT: list[object] = []
SCENARIOS = {
    "ingest": (ingest, 10_000, POINTS),
    "download": (download, 4 * 1024 * 1024, DOWNLOAD),
    "sessions": (sessions, 50, SESSIONS),
}


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", required=True)
    parser.add_argument("--workload", required=True, choices=list(SCENARIOS))
    args = parser.parse_args()
    run, warm, full = SCENARIOS[args.workload]
    async with AsterClient(address=args.address, preset="local") as client:
        await run(client, warm)
        print(json.dumps({"event": "warm"}), flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        started = time.perf_counter()
        n = await run(client, full)
        print(json.dumps({"event": "done", "n": n, "seconds": time.perf_counter() - started}), flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)


uvloop.run(main())
