"""Builds and runs the boundary benchmark: what crossing between Rust and Python costs on this machine.

    ./dev bench boundary            or: python benchmarks/boundary/run.py [--rounds 5]

Prints two tables in Markdown. Rates are the median of the rounds, which are interleaved; prices per item
are the fastest of five runs, since what a neighbour on the machine adds is not the code's.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import statistics
import subprocess
import sys
import time
from importlib.machinery import ExtensionFileLoader
from pathlib import Path
from typing import Any, Callable

import msgspec

HERE = Path(__file__).resolve().parent
TARGET = HERE.parent.parent / "target" / "boundary"
MODES = ("descriptor", "descriptor-python", "soon-batch", "soon-each")
DEPTHS = (1, 64, 256)


class Point(msgspec.Struct):
    """A message about as small as real ones are."""

    name: str
    value: float
    sequence: int


def build() -> Any:
    subprocess.run(["cargo", "build", "--release", "--quiet", "--target-dir", str(TARGET)], cwd=HERE, check=True)
    names = {"darwin": "libaster_boundary.dylib", "win32": "aster_boundary.dll"}
    library = TARGET / "release" / names.get(sys.platform, "libaster_boundary.so")
    loader = ExtensionFileLoader("aster_boundary", str(library))
    spec = importlib.util.spec_from_loader("aster_boundary", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def best(function: Callable[[], Any], times: int) -> float:
    """Nanoseconds per item of the fastest of five runs; `function` handles `times` items."""
    fastest = float("inf")
    for _ in range(5):
        start = time.perf_counter_ns()
        function()
        fastest = min(fastest, (time.perf_counter_ns() - start) / times)
    return fastest


async def calls_per_second(native: Any, mode: str, depth: int, seconds: float) -> float:
    loop = asyncio.get_running_loop()
    port = native.Port(loop, mode)
    if mode == "descriptor":
        loop.add_reader(port.fileno(), port.drain)
    elif mode == "descriptor-python":

        def drain() -> None:
            for future, payload in port.drain_list():
                if not future.done():
                    future.set_result(payload)

        loop.add_reader(port.fileno(), drain)
    payload = b"x" * 64
    done = 0
    deadline = time.perf_counter() + seconds

    async def worker() -> None:
        nonlocal done
        while time.perf_counter() < deadline:
            await port.submit(payload)
            done += 1

    start = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(depth)))
    elapsed = time.perf_counter() - start
    if mode.startswith("descriptor"):
        loop.remove_reader(port.fileno())
    port.quit()
    return done / elapsed


def crossings(native: Any, rounds: int) -> None:
    import uvloop

    loops: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
        "asyncio": asyncio.new_event_loop,
        "uvloop": uvloop.new_event_loop,
    }
    found: dict[tuple[str, str, int], list[float]] = {}
    for _ in range(rounds):
        for loop_name, make in loops.items():
            for mode in MODES:
                for depth in DEPTHS:
                    loop = make()
                    try:
                        rate = loop.run_until_complete(calls_per_second(native, mode, depth, 0.3))
                    finally:
                        loop.close()
                    found.setdefault((loop_name, mode, depth), []).append(rate)
    print("| completion | loop | " + " | ".join(f"{depth} in flight" for depth in DEPTHS) + " |")
    print("|---|---|" + "---|" * len(DEPTHS))
    for mode in MODES:
        for loop_name in loops:
            cells = " | ".join(f"{statistics.median(found[loop_name, mode, depth]) / 1000:.0f}k/s" for depth in DEPTHS)
            print(f"| {mode} | {loop_name} | {cells} |")


async def submitting(native: Any) -> list[tuple[str, float]]:
    """The caller's side alone: the futures are created and abandoned."""
    loop = asyncio.get_running_loop()
    port = native.Port(loop, "descriptor")
    payload = b"x" * 64
    count = 20_000

    def repeat(call: Callable[..., Any], *args: Any) -> Callable[[], None]:
        def run() -> None:
            for _ in range(count):
                call(*args)

        return run

    rows = [
        ("a call that does nothing", best(repeat(native.nothing, payload), count)),
        ("loop.create_future()", best(repeat(loop.create_future), count)),
        ("submit, one wake-up per burst", best(repeat(port.submit, payload), count)),
        ("submit, a wake-up per call", best(repeat(port.submit_eager, payload), count)),
    ]
    port.quit()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    native = build()

    print(f"Python {sys.version.split()[0]}, {sys.platform}; 64-byte payloads; echo on the I/O thread\n")
    crossings(native, options.rounds)

    rows = asyncio.run(submitting(native))
    for size in (64, 4096, 65536, 1 << 20):
        payload = b"x" * size
        times = 20_000 if size < 65536 else 500

        def both(payload: bytes = payload, times: int = times) -> None:
            for _ in range(times):
                native.copies(payload)

        rows.append((f"copy in and copy out, {size} B", best(both, times)))
    rows.append(("attach to the interpreter from another thread", native.attach_elsewhere(100_000) * 1e9 / 100_000))

    count, bursts = 64, 100
    sink: list[Any] = []

    def one(call: Any) -> None:
        sink.append(call.request)

    def many(calls: list[Any]) -> None:
        sink.extend([call.request for call in calls])

    def tuples(calls: list[Any]) -> None:
        sink.extend([request for _, _, request in calls])

    for name, dispatch, callback in (
        ("inbound call: one callback each", native.dispatch_each, one),
        ("inbound call: one callback, list of handles", native.dispatch_list, many),
        ("inbound call: one callback, list of tuples", native.dispatch_tuples, tuples),
    ):

        def burst(dispatch: Callable[..., None] = dispatch, callback: Callable[..., None] = callback) -> None:
            for _ in range(bursts):
                dispatch(count, callback)
                sink.clear()

        rows.append((name, best(burst, count * bursts)))

    count = 1000
    message = msgspec.msgpack.encode(Point("engine.temperature", 21.5, 123456))
    single = msgspec.msgpack.Decoder(Point)
    array = msgspec.msgpack.Decoder(list[Point])

    def by_object() -> None:
        for item in native.batch_objects(message, count):
            single.decode(item)

    rows.append((f"stream message ({len(message)} B): bytes each, decoded each", best(by_object, count)))
    by_array = best(lambda: array.decode(native.batch_array(message, count)), count)
    rows.append((f"stream message ({len(message)} B): one array, decoded once", by_array))

    print("\n| per item | ns |\n|---|---|")
    for name, cost in rows:
        print(f"| {name} | {cost:,.0f} |")


if __name__ == "__main__":
    main()
