"""Fixtures of the end-to-end tests: a server and a client in one loop, over real endpoints."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Optional

import pytest
import pytest_asyncio
from services import Calls, Plain, Session, Types

from aster.testing import Pair, pair

# A job in the background of a shell ignores SIGINT, and hands that down to the programs it starts. These tests
# send it, as a user at a terminal does.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest_asyncio.fixture
async def calls() -> Calls:
    return Calls()  # in the loop: on Python 3.9 events belong to the loop they are made in


@pytest_asyncio.fixture
async def both(calls: Calls) -> AsyncIterator[Pair]:
    Session.reset()
    async with pair(calls, Plain(), Types(), Session) as made:
        yield made


@pytest.fixture(autouse=True)
def no_unexpected_errors(caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest) -> Iterator[None]:
    """An error in the log that a test did not announce by `@pytest.mark.logs_errors` is a failure."""
    yield
    if request.node.get_closest_marker("logs_errors") is None:
        errors = [each.getMessage() for each in caplog.get_records("call") if each.levelno >= logging.ERROR]
        assert not errors, errors


def _loop_of_this_thread() -> Optional[asyncio.AbstractEventLoop]:
    try:
        return asyncio.get_event_loop_policy().get_event_loop()
    except RuntimeError:
        return None


if sys.version_info < (3, 12):

    @pytest.fixture(autouse=True)
    def loop_that_asyncio_run_replaces(request: pytest.FixtureRequest) -> Iterator[None]:
        """Before 3.12, pytest-asyncio leaves a loop to the thread for as long as the tests run. A test that uses `asyncio.run`
        takes that loop away, nobody closes it, and the warning about it would fail some later test."""
        if asyncio.iscoroutinefunction(request.function):
            yield
            return
        before = _loop_of_this_thread()
        yield
        if before is not None and _loop_of_this_thread() is not before:
            before.close()
