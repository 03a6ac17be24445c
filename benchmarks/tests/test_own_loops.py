"""The loops that measure us without the peer benchmark: they count right, and notice a peer that cheats."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "python"))

import own_loops

DATA = own_loops.Data(
    {
        **json.loads(own_loops.OWN_SPEC.read_text(encoding="utf-8"))["data"],
        "settle_seconds": 0.0,
        "echo_bytes": 1000,
    }
)


class Local:
    """A connection that answers by itself; `lose` drops every message with that index."""

    lose = -1

    async def status(self, agent_id: str) -> SimpleNamespace:
        await asyncio.sleep(0)
        return SimpleNamespace(agent_id=agent_id, uptime_secs=DATA.uptime_secs)

    def metric(self, i: int) -> int:
        return i

    async def ingest(self, points: AsyncIterator[int]) -> int:
        return len([point async for point in points if point != self.lose])

    async def tail(self, count: int) -> AsyncIterator[SimpleNamespace]:
        for i in range(count):
            message = DATA.log_messages[i % len(DATA.log_messages)]
            yield SimpleNamespace(message=message[:-1] if i == self.lose else message)

    async def cancel(self, stream: Any) -> None:
        await stream.aclose()

    async def chat(self) -> Local:
        return self

    async def trip(self, seq: int, text: str) -> SimpleNamespace:
        await asyncio.sleep(0)
        return SimpleNamespace(seq=seq, text=text)

    async def echo(self, payload: bytes) -> bytes:
        await asyncio.sleep(0)
        return payload

    async def close(self) -> None:
        pass


class Lossy(Local):
    lose = 3


def run(workload: str, kind: type[Local] = Local, n: int = 200) -> dict[str, Any]:
    async def connect() -> Local:
        return kind()

    loops = own_loops.Workloads(connect, DATA, [os.getpid()])
    result: dict[str, Any] = asyncio.run(getattr(loops, workload)(n, 30.0, 0.01))
    return result


@pytest.mark.parametrize("workload", ["W1", "W2", "W5", "W6", "W8"])
def test_a_workload_does_the_number_asked_for(workload: str) -> None:
    result = run(workload)
    assert result["n"] == 200
    assert result["value"] > 0 or workload == "W8"
    assert ("p50_us" in result) == (workload != "W8")


@pytest.mark.parametrize("workload", ["W3", "W4"])
def test_a_quick_peer_repeats_for_half_a_second(workload: str) -> None:
    result = run(workload, n=100)
    assert result["n"] > 100
    assert result["seconds"] >= 0.5


def test_quick_connections_are_repeated_up_to_twenty_times_as_many() -> None:
    assert 10 < run("W7", n=10)["n"] <= 200


@pytest.mark.parametrize("workload", ["W3", "W4"])
def test_a_peer_that_loses_a_message_fails(workload: str) -> None:
    with pytest.raises(AssertionError, match="wrong result"):
        run(workload, Lossy, n=100)


def test_messages_have_the_length_of_the_workload_file() -> None:
    assert {len(message) for message in DATA.log_messages} == {64}
    with pytest.raises(AttributeError, match="nothing_like_it"):
        _ = DATA.nothing_like_it
