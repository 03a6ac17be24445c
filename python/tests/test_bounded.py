"""C4, G6: memory stays bounded whatever the other side does."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from services import Blob, Calls, Number, Text

from aster.testing import Pair

MIB = 1 << 20
pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def test_C4_producer_of_a_server_stream_is_held_back(both: Pair) -> None:
    """Both ends are in this process, so the bound of 16 MB holds for their sum."""
    message = 65_536
    typed = both.client.client(Calls)
    stream = typed.endless.stream(Blob(bytes(message)))
    await stream.__anext__()
    gc.collect()
    before, peak, taken = resident(), 0, 0
    async for each in stream:
        taken += len(each.data)
        if taken % MIB < message:
            await both.client.ping()  # a reader slower than the writer
            peak = max(peak, resident() - before)
        if taken >= 64 * MIB:
            break
    assert peak < 32 * MIB


async def test_C4_caller_of_a_client_stream_is_held_back(both: Pair, calls: Calls) -> None:
    sent = 0
    payload = bytes(65_536)

    async def blobs() -> AsyncIterator[Blob]:
        nonlocal sent
        for _ in range(1024):
            sent += len(payload)
            yield Blob(payload)

    gc.collect()
    before = resident()
    task = asyncio.ensure_future(both.client.client(Calls).absorb(blobs()))
    await calls.gate.started.wait()
    held = -1
    while held != sent:  # until the source has been held back over some round trips
        held = sent
        for _ in range(50):
            await both.client.ping()
    assert sent < 48 * MIB
    assert resident() - before < 32 * MIB
    calls.gate.release.set()
    assert (await task).n == 64 * MIB


@pytest.mark.timeout(180)
async def test_G6_a_million_items_in_a_client_stream(both: Pair) -> None:
    count = 1_000_000 if sys.platform != "win32" else 100_000

    async def numbers() -> AsyncIterator[Number]:
        for n in range(count):
            yield Number(n)

    await both.client.client(Calls).echo(Text("warm"))
    gc.collect()
    before = resident()
    result = await both.client.client(Calls).total(numbers())
    assert result == Number(count * (count - 1) // 2)
    assert resident() - before < 32 * MIB


async def test_C4_bidi_producer_is_held_back(both: Pair) -> None:
    async with both.client.client(Calls).chat.bidi() as channel:
        sent = 0
        text = "x" * 60_000

        async def send() -> None:
            nonlocal sent
            for _ in range(2000):
                await channel.send(Text(text))
                sent += len(text)

        sender = asyncio.ensure_future(send())
        held = -1
        while held != sent or sent == 0:
            held = sent
            for _ in range(50):
                await both.client.ping()
        assert sent < 64 * MIB, "the answers are not read, so the requests stop"
        received = 0
        while received < held:
            received += len((await channel.__anext__()).text)
        sender.cancel()
        await asyncio.gather(sender, return_exceptions=True)
        channel.cancel()
