"""The guide's Python programs, chapters 1 to 4, against each other, in separate processes."""

from __future__ import annotations

import asyncio
import json
import re
import time
from typing import Any

import pytest
from aster import AsterClient
from programs import Program, address, control, json_of

CHAPTERS = (1, 2, 3, 4)
# The bound of "Ctrl-C ends it": what a person would call at once, on a loaded machine.
AT_ONCE = 2.0


def call(where: str, method: str, request: dict[str, Any]) -> Any:
    """One unary call of MissionControl from this process."""

    async def main() -> Any:
        async with AsterClient(address=where) as client:
            return await getattr(client.proxy("MissionControl"), method)(request)

    return asyncio.run(main())


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_G1_every_chapter_answers_get_status(chapter: int) -> None:
    with control(chapter) as server:
        assert call(address(server), "getStatus", {"agent_id": "edge-node-7"}) == {
            "agent_id": "edge-node-7",
            "status": "running",
            "uptime_secs": 3600,
        }


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_G1_ctrl_c_ends_the_server_cleanly(chapter: int) -> None:
    with control(chapter) as server:
        call(address(server), "getStatus", {"agent_id": "x"})
        began = time.monotonic()
        server.interrupt()
        assert server.exit_code() == 0
        assert time.monotonic() - began < AT_ONCE
        assert "Traceback" not in server.errors
        assert server.rest() == []


def test_G1_ctrl_c_ends_the_server_although_a_stream_is_open() -> None:
    with control(2) as server:
        where = address(server)
        with Program("chapter2/tail.py", where, "level=debug") as tail:
            call(where, "submitLog", {"level": "info", "message": "seen"})
            tail.line()  # the stream is open now, and would be for ever
            began = time.monotonic()
            server.interrupt()
            assert server.exit_code() == 0
            assert time.monotonic() - began < AT_ONCE
            assert "Traceback" not in server.errors
            # The one who tails is told why it ended.
            assert tail.exit_code() != 0
            assert "UNAVAILABLE" in tail.errors or "CANCELLED" in tail.errors


def test_G1_a_restart_gives_a_new_address_and_ends_the_old_one() -> None:
    with control(1) as first:
        old = address(first)
        # An answer shows that `serve()` is running, and with it the handling of Ctrl-C.
        call(old, "getStatus", {"agent_id": "a"})
        first.interrupt()
        assert first.exit_code() == 0
    with control(1) as second:
        new = address(second)
        assert new != old
        assert call(new, "getStatus", {"agent_id": "a"})["agent_id"] == "a"


def test_G1_chapter2_three_terminals() -> None:
    began = time.time()
    with control(2) as server:
        where = address(server)
        with (
            Program("chapter2/tail.py", where, "agent_id=edge-node-7", "level=warn") as tail,
            Program("chapter2/logs.py", where) as logs,
        ):
            entries = [json.loads(json_of(line, f"#{i} ")) for i, line in enumerate(tail.lines(4))]
            submitted = logs.lines(6)
            tail.interrupt()
            assert tail.exit_code() == 130
            assert tail.errors == ""
            # Ctrl-C on one consumer is nothing to the others.
            assert logs.line() == "submitted log #7"

    assert submitted == [f"submitted log #{i}" for i in range(1, 7)]
    # Two of every three: info is below the level asked for.
    assert [(e["level"], e["message"], e["agent_id"]) for e in entries] == [
        ("warn", "health check failed", "edge-node-7"),
        ("error", "cpu spike detected", "edge-node-7"),
    ] * 2
    times = [e["timestamp"] for e in entries]
    assert times == sorted(times)
    assert began <= times[0] <= times[-1] <= time.time()
    assert all(set(e) == {"timestamp", "level", "message", "agent_id"} for e in entries)


def test_G1_chapter2_filters_by_agent() -> None:
    with control(2) as server:
        where = address(server)
        with Program("chapter2/tail.py", where, "agent_id=mine", "level=info") as tail:
            call(where, "submitLog", {"level": "error", "message": "theirs", "agent_id": "other"})
            call(where, "submitLog", {"level": "debug", "message": "too low", "agent_id": "mine"})
            call(where, "submitLog", {"level": "INFO", "message": "wanted", "agent_id": "mine"})
            assert json.loads(json_of(tail.line(), "#0 "))["message"] == "wanted"


def test_G5_a_stopped_tail_takes_no_further_entry() -> None:
    with control(2) as server:
        where = address(server)
        for turn in range(3):
            # A handler left behind by the tail before would stand first in the queue and swallow this entry.
            with Program("chapter2/tail.py", where, "level=debug") as tail:
                message = f"entry {turn}"
                assert call(where, "submitLog", {"message": message}) == {"accepted": True}
                assert json.loads(json_of(tail.line(), "#0 "))["message"] == message
                tail.interrupt()
                assert tail.exit_code() == 130


def test_G1_chapter3_ten_thousand_metrics() -> None:
    with control(3) as server:
        where = address(server)
        for _ in range(2):
            with Program("chapter3/metrics.py", where) as metrics:
                assert metrics.rest() == ["Accepted: 10000"]
                assert metrics.exit_code() == 0
                assert metrics.errors == ""


def test_G1_chapter4_registers_and_runs_commands_in_one_session() -> None:
    with control(4) as server:
        commands = ["df -h", "printf one; printf two >&2; exit 3", "true"]
        with Program("chapter4/agent.py", address(server), *commands) as agent:
            answers = [json.loads(json_of(line, "← ")) for line in agent.rest()]
            assert agent.exit_code() == 0
            assert agent.errors == ""
    assert answers[0] == {"task_id": "train-42", "command": "python train.py"}
    assert answers[1]["stdout"].startswith("Filesystem")
    assert (answers[1]["stderr"], answers[1]["exit_code"]) == ("", 0)
    assert answers[2] == {"stdout": "one", "stderr": "two", "exit_code": 3}
    assert answers[3] == {"stdout": "", "stderr": "", "exit_code": 0}
    assert len(answers) == 4


@pytest.mark.parametrize("script", ["chapter2/logs.py", "chapter2/tail.py", "chapter3/metrics.py", "chapter4/agent.py"])
def test_G1_a_client_without_an_address_shows_its_usage(script: str) -> None:
    with Program(script) as program:
        assert program.exit_code() == 1
        assert re.search(r"Usage: python \w+\.py <aster1\.\.\.address>", program.errors + "\n".join(program.rest()))


def test_G1_a_mistyped_address_says_so() -> None:
    with control(1) as server:
        where = address(server)
    wrong = where[:-1] + ("2" if where[-1] != "2" else "3")
    with Program("chapter3/metrics.py", wrong) as metrics:
        assert metrics.exit_code() == 1
        last = metrics.errors.strip().splitlines()[-1]
        assert "aster" in last
        assert re.search(r"checksum|mistyped|typo", last), last
