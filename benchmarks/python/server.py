"""The Python server of the benchmark: `Bench` on uvloop, in the form the runner expects."""

from __future__ import annotations

import uvloop
from aster import AsterServer
from bench_service import Bench, BenchSession
from loops import announce, exit_with_parent, parse_server


async def main() -> None:
    args = parse_server()
    exit_with_parent()
    async with AsterServer(services=[Bench(args.data), BenchSession], preset="local") as server:
        announce(server.address)
        await server.serve()


uvloop.run(main())
