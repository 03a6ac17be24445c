"""The workloads for an asyncio client, by the rules of the peer benchmark, for runs without it.

A connection has `status(agent_id)`, `metric(i)`, `ingest(points)`, `tail(count)`, `cancel(stream)`,
`chat()` (with `trip(seq, text)` and `close()`), `echo(payload)` and `close()`. CPU time and memory are
read from /proc, so this runs on Linux only.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

OWN_SPEC = Path(__file__).resolve().parent.parent / "spec" / "workload.json"
TICKS = os.sysconf("SC_CLK_TCK")
# A quick peer repeats W3, W4 and W7 for at least this long, in seconds.
AT_LEAST = 0.5


class Data:
    """The values every peer sends: the `data` section of the workload file, as attributes."""

    log_message_len: int

    def __init__(self, values: dict[str, Any]) -> None:
        vars(self).update(values)
        width = self.log_message_len
        filler, pool = values["log_filler"], values["log_message_pool"]
        self.log_messages = [f"req {i:08d} {filler}".ljust(width, ".")[:width] for i in range(pool)]

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the workload file has no data named {name!r}")


def arguments() -> argparse.ArgumentParser:
    """The options that the runner passes to servers and clients alike."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--security", choices=["tls"], default="tls", help="Aster is always encrypted")
    parser.add_argument("--certs", default="", help="not used: keys take the place of certificates")
    parser.add_argument("--spec", type=Path, default=OWN_SPEC)
    return parser


def parse_server() -> argparse.Namespace:
    """The server's command line; `.data` holds the values to send."""
    args = arguments().parse_args()
    args.data = Data(json.loads(args.spec.read_text(encoding="utf-8"))["data"])
    return args


def announce(address: str) -> None:
    """The one line a server prints once it accepts connections."""
    print(json.dumps({"event": "ready", "address": address, "pids": [os.getpid()]}), flush=True)


def exit_with_parent() -> None:
    """Ends the process when stdin closes, so that no server outlives its runner."""

    def watch() -> None:
        while os.read(0, 4096):
            pass
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


def cpu_seconds(pids: list[int]) -> float:
    """User and system time of these processes, 10 ms grain."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def rss_kib(pids: list[int]) -> int:
    """Resident memory of these processes."""
    total = 0
    for pid in pids:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
        total += next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
    return total


def percentile(values: list[float], fraction: float) -> float:
    """The value below which `fraction` of the values lie."""
    return sorted(values)[min(len(values) - 1, int(len(values) * fraction))]


def check(holds: bool, what: str) -> None:
    if not holds:
        raise AssertionError(f"the peer returned the wrong result: {what}")


class Clock:
    """Wall time, and CPU time of both sides, of one section."""

    def __init__(self, server_pids: list[int]) -> None:
        self._pids = server_pids
        self._before = (cpu_seconds([os.getpid()]), cpu_seconds(server_pids))
        self.started = time.perf_counter()

    def stop(self) -> None:
        self.seconds = time.perf_counter() - self.started
        self._client = cpu_seconds([os.getpid()]) - self._before[0]
        self._server = cpu_seconds(self._pids) - self._before[1]

    def fields(self, value: float, digits: int, n: int, latencies: list[float] | None = None) -> dict[str, Any]:
        out: dict[str, Any] = {"value": round(value, digits)}
        if latencies:
            out["p50_us"] = round(percentile(latencies, 0.50) * 1e6, 1)
            out["p99_us"] = round(percentile(latencies, 0.99) * 1e6, 1)
        out.update(n=n, seconds=round(self.seconds, 4), cpu_client_us=round(self._client / max(n, 1) * 1e6, 2))
        if self._pids:
            out["cpu_server_us"] = round(self._server / max(n, 1) * 1e6, 2)
        return out


class Workloads:
    """W1 to W8; each warms up, is bounded by operations and time, and checks what it gets back."""

    def __init__(self, connect: Callable[[], Awaitable[Any]], data: Any, server_pids: list[int]) -> None:
        self._connect, self._data, self._pids = connect, data, server_pids

    async def _repeat(
        self, call: Callable[[int], Awaitable[Any]], n: int, limit: float, warm: float
    ) -> tuple[Clock, list[float]]:
        end = time.perf_counter() + warm
        while time.perf_counter() < end:
            await call(0)
        clock, latencies = Clock(self._pids), list[float]()
        before = time.perf_counter()
        while len(latencies) < n and before < clock.started + limit:
            await call(len(latencies))
            now = time.perf_counter()
            latencies.append(now - before)
            before = now
        clock.stop()
        return clock, latencies

    async def W1(self, n: int, limit: float, warm: float) -> dict[str, Any]:
        connection, agent = await self._connect(), self._data.agent_id
        reply = await connection.status(agent)
        check(reply.agent_id == agent and reply.uptime_secs == self._data.uptime_secs, "status")
        clock, latencies = await self._repeat(lambda _: connection.status(agent), n, limit, warm)
        await connection.close()
        return clock.fields(len(latencies) / clock.seconds, 1, len(latencies), latencies)

    async def W2(self, n: int, limit: float, warm: float) -> dict[str, Any]:
        connection, agent = await self._connect(), self._data.agent_id

        async def fan_out(end: float) -> list[float]:
            left, latencies = n, list[float]()

            async def caller() -> None:
                nonlocal left
                before = time.perf_counter()
                while left > 0 and before < end:
                    left -= 1
                    await connection.status(agent)
                    now = time.perf_counter()
                    latencies.append(now - before)
                    before = now

            await asyncio.gather(*(caller() for _ in range(self._data.concurrency)))
            return latencies

        await fan_out(time.perf_counter() + warm)
        clock = Clock(self._pids)
        latencies = await fan_out(clock.started + limit)
        clock.stop()
        await connection.close()
        return clock.fields(len(latencies) / clock.seconds, 1, len(latencies), latencies)

    async def W3(self, n: int, limit: float, warm: float) -> dict[str, Any]:
        connection = await self._connect()
        sent = 0

        async def points(count: int, end: float) -> AsyncIterator[Any]:
            nonlocal sent
            for i in range(count):
                if not i & 63 and time.perf_counter() > end:
                    return
                sent += 1
                yield connection.metric(i)

        await connection.ingest(points(int(warm), time.perf_counter() + limit))
        sent, accepted, clock = 0, 0, Clock(self._pids)
        while not accepted or time.perf_counter() < clock.started + AT_LEAST:
            accepted += await connection.ingest(points(n, clock.started + limit))
        clock.stop()
        check(accepted == sent, f"{accepted} accepted of {sent}")
        await connection.close()
        return clock.fields(accepted / clock.seconds, 1, accepted)

    async def W4(self, n: int, limit: float, warm: float) -> dict[str, Any]:
        connection, size, got = await self._connect(), 0, 0
        async for _ in connection.tail(int(warm)):
            pass
        clock, late = Clock(self._pids), None
        end = clock.started + limit
        while not got or time.perf_counter() < clock.started + AT_LEAST:
            stream = connection.tail(n)
            async for entry in stream:
                size += len(entry.message)
                got += 1
                if not got & 63 and time.perf_counter() > end:
                    late = stream
                    break
        clock.stop()
        if late is not None:
            await connection.cancel(late)
        check(size == got * self._data.log_message_len, "log entries")
        await connection.close()
        return clock.fields(got / clock.seconds, 1, got)

    async def W5(self, n: int, limit: float, warm: float) -> dict[str, Any]:
        connection, text = await self._connect(), self._data.chat_text
        chat = await connection.chat()
        reply = await chat.trip(7, text)
        check(reply.seq == 7 and reply.text == text, "chat")
        clock, latencies = await self._repeat(lambda i: chat.trip(i, text), n, limit, warm)
        await chat.close()
        await connection.close()
        return clock.fields(len(latencies) / clock.seconds, 1, len(latencies), latencies)

    async def W6(self, n: int, limit: float, warm: float) -> dict[str, Any]:
        connection, payload = await self._connect(), os.urandom(self._data.echo_bytes)
        check(await connection.echo(payload) == payload, "echo")
        clock, latencies = await self._repeat(lambda _: connection.echo(payload), n, limit, warm)
        await connection.close()
        megabytes = len(latencies) * len(payload) / 1e6
        return clock.fields(megabytes / clock.seconds, 2, len(latencies), latencies)

    async def _fresh(self) -> Any:
        connection = await self._connect()
        await connection.status(self._data.agent_id)
        return connection

    async def W7(self, n: int, limit: float, warm: float) -> dict[str, Any]:
        end = time.perf_counter() + warm
        while time.perf_counter() < end:
            await (await self._fresh()).close()
        clock, latencies = Clock(self._pids), list[float]()
        while True:
            done, spent = len(latencies), time.perf_counter() - clock.started
            wanted = done < n or (spent < AT_LEAST and done < 20 * n)
            if done >= 5 and (not wanted or spent > limit):
                break
            before = time.perf_counter()
            connection = await self._fresh()
            latencies.append(time.perf_counter() - before)
            await connection.close()
        clock.stop()
        return clock.fields(percentile(latencies, 0.5) * 1e3, 3, len(latencies), latencies)

    async def W8(self, n: int, limit: float, warm: float) -> dict[str, Any]:
        check(bool(self._pids), "W8 needs --server-pids")
        first = await self._connect()
        for _ in range(20):
            await first.status(self._data.agent_id)
        await asyncio.sleep(self._data.settle_seconds)
        before, clock = rss_kib(self._pids), Clock(self._pids)
        held: list[Any] = []
        while len(held) < n and time.perf_counter() < clock.started + limit:
            held.append(await self._fresh())
        clock.stop()
        await asyncio.sleep(self._data.settle_seconds)
        growth = rss_kib(self._pids) - before
        for connection in (held[0], held[-1]):  # still alive
            await connection.status(self._data.agent_id)
        return {**clock.fields(growth / len(held), 2, len(held)), "rss_base_kib": before}


def run_async_client(make_connect: Callable[[Any, Any], Callable[[], Awaitable[Any]]], *, use_uvloop: bool) -> None:
    """Runs the workloads asked for on the command line and prints one JSON line each."""
    parser = arguments()
    parser.add_argument("--address", required=True)
    parser.add_argument("--workload", default="all")
    parser.add_argument("--mode", choices=["full", "quick"], default="full")
    parser.add_argument("--n", type=int)
    parser.add_argument("--max-seconds", type=float)
    parser.add_argument("--warmup-scale", type=float, default=1.0)
    parser.add_argument("--server-pids", default="")
    args = parser.parse_args()
    spec = json.loads(args.spec.read_text(encoding="utf-8"))
    data = Data(spec["data"])
    names = list(spec["workloads"]) if args.workload == "all" else args.workload.split(",")
    pids = [int(pid) for pid in args.server_pids.split(",") if pid]

    async def main() -> None:
        workloads = Workloads(make_connect(args, data), data, pids)
        for name in names:
            meta = spec["workloads"][name]
            bounds = meta[args.mode]
            warm = bounds.get("warmup_seconds", bounds.get("warmup_messages", 0)) * args.warmup_scale
            line = {"workload": name, "security": "tls", "unit": meta["unit"], "better": meta["better"]}
            try:
                sizes = (args.n or bounds["n"], args.max_seconds or bounds["max_seconds"], warm)
                line.update(ok=True, **await getattr(workloads, name)(*sizes))
            except Exception as error:  # the failure of one workload is a result
                line.update(ok=False, error=f"{type(error).__name__}: {error}"[:300])
            print(json.dumps(line), flush=True)

    if use_uvloop:
        import uvloop

        uvloop.run(main())
    else:
        asyncio.run(main())
    sys.stdout.flush()
