"""C7 across processes: every way a program ends is seen by its peers. Also fork and Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from aster import AsterClient, RpcError, Unavailable

PROGRAMS = Path(__file__).parent / "programs"
SOON = 20.0
"""Seconds for a process to start or end on a busy machine."""
LOCAL: Any = {"preset": "local", "relay": ""}


class Program:
    """One of the programs, with its output by lines."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def line(self) -> str:
        assert self.process.stdout is not None
        return (await asyncio.wait_for(self.process.stdout.readline(), SOON)).decode().strip()

    async def until(self, wanted: str) -> None:
        while (line := await self.line()) != wanted:
            assert line, f"the program ended before it printed {wanted!r}"

    async def end(self) -> tuple[int, str]:
        """The exit code and what it wrote to stderr."""
        assert self.process.stderr is not None
        errors = (await asyncio.wait_for(self.process.stderr.read(), SOON)).decode()
        return await asyncio.wait_for(self.process.wait(), SOON), errors


@contextlib.asynccontextmanager
async def program(name: str, *arguments: str) -> AsyncIterator[Program]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(PROGRAMS / f"{name}.py"),
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        # The package as this process imports it.
        env={**os.environ, "PYTHONPATH": os.pathsep.join(each for each in sys.path if each)},
    )
    try:
        yield Program(process)
    finally:
        if process.returncode is None:
            process.kill()
        # Reads what is left, so that the pipes are closed with the loop that made them.
        await process.communicate()


@contextlib.asynccontextmanager
async def serving(ending: str = "serve") -> AsyncIterator[tuple[Program, str]]:
    async with program("serve", ending) as server:
        yield server, await server.line()


@pytest.mark.parametrize("ending", ["return", "raise", "exit", "blocking"])
async def test_C7_server_sees_the_normal_and_abnormal_end_of_a_client(ending: str) -> None:
    async with serving() as (server, address), program("call", address, ending) as client:
        assert await client.line() == "hello"
        code, errors = await client.end()
        began = time.monotonic()
        await server.until("closed")
        assert time.monotonic() - began < 3, "told by the client, not found out by keep-alive"
        assert code == {"return": 0, "raise": 1, "exit": 3, "blocking": 0}[ending], errors
        assert ("RuntimeError: an uncaught exception" in errors) == (ending == "raise")
        assert "panicked" not in errors


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
async def test_C7_server_finds_a_killed_client_by_keep_alive() -> None:
    async with serving() as (server, address), program("call", address, "kill") as client:
        await client.end()
        await server.until("closed")


@pytest.mark.parametrize("ending", ["return", "raise", "exit"])
async def test_C7_client_sees_the_end_of_a_server_that_closed_nothing(ending: str) -> None:
    async with serving(ending) as (server, address), AsterClient(address, **LOCAL) as client:
        watched = client.proxy("Watched")
        pending = asyncio.ensure_future(watched.tail.stream().open())
        stream = await pending
        assert await stream.__anext__() == 1
        with contextlib.suppress(RpcError):  # the end may come before the answer
            await watched.end()
        began = time.monotonic()
        with pytest.raises(RpcError) as caught:
            await asyncio.wait_for(stream.__anext__(), SOON)
        assert time.monotonic() - began < 5
        assert caught.value.code.name in ("UNAVAILABLE", "CANCELLED")
        code, errors = await server.end()
        assert code == {"return": 0, "raise": 1, "exit": 3}[ending], errors


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
async def test_C7_client_finds_a_killed_server_and_says_the_call_may_have_run() -> None:
    async with serving() as (server, address), AsterClient(address, keep_alive=0.5, idle_timeout=2, **LOCAL) as client:
        pending = asyncio.ensure_future(client.proxy("Watched").hang())
        await server.until("hanging")
        server.process.kill()
        with pytest.raises(Unavailable) as caught:
            await asyncio.wait_for(pending, SOON)
        assert caught.value.may_have_run
        began = time.monotonic()
        with pytest.raises(RpcError):
            await client.ping(timeout=0.5)
        assert time.monotonic() - began < 5


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_C7_stopping_a_server_is_quiet_and_seen_at_once(number: signal.Signals) -> None:
    async with serving() as (server, address), AsterClient(address, **LOCAL) as client:
        assert await client.proxy("Watched").hello() == "hello"
        server.process.send_signal(number)
        await server.until("closed")
        code, errors = await server.end()
        assert (code, errors) == (0, "")


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
async def test_C7_ctrl_c_ends_a_server_whose_handlers_hang() -> None:
    async with serving() as (server, address), AsterClient(address, **LOCAL) as client:
        pending = asyncio.ensure_future(client.proxy("Watched").hang())
        await server.until("hanging")
        server.process.send_signal(signal.SIGINT)
        await server.until("cancelled")
        with pytest.raises(RpcError):
            await asyncio.wait_for(pending, SOON)
        assert (await server.end())[0] == 0


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
async def test_C7_ctrl_c_in_a_client_cancels_its_calls_on_the_server() -> None:
    async with serving() as (server, address), program("call", address, "wait") as client:
        await server.until("hanging")
        assert [await client.line(), await client.line()] == ["hello", "1"]
        client.process.send_signal(signal.SIGINT)
        await server.until("cancelled")
        code, errors = await client.end()
        assert code != 0
        assert errors.strip().endswith("KeyboardInterrupt")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of os.fork in a process with threads
async def test_C7_fork_is_refused_with_what_to_do() -> None:
    async with serving() as (_, address), program("forked", address) as forked:
        assert "after a fork" in await forked.line()
        assert await forked.line() == "child: hello"
        assert await forked.line() == "parent: hello"
        assert (await forked.end())[0] == 0
