"""S8: the blocking client."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from services import Calls, Number, Plain, Session, Text

from aster import AsterClient, AsterServer, DeadlineExceeded, InvalidArgument, NotFound, Unavailable, UsageError
from aster._blocking import BlockingClient

LOCAL: Any = {"preset": "local", "relay": ""}


@pytest.fixture
def address() -> Iterator[str]:
    """A server in a thread of its own: nothing of it runs in the loop of the client."""
    found: list[str] = []
    ready = threading.Event()
    loops: list[Any] = []

    async def main() -> None:
        Session.reset()
        stop = asyncio.Event()
        async with AsterServer([Calls(), Plain(), Session], **LOCAL) as server:
            found.append(server.address)
            loops.extend((asyncio.get_running_loop(), stop))
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    assert ready.wait(20)
    yield found[0]
    loops[0].call_soon_threadsafe(loops[1].set)
    thread.join(20)


@pytest.fixture
def client(address: str) -> Iterator[BlockingClient]:
    with AsterClient.blocking(address, **LOCAL) as made:
        yield made


def test_S8_unary_calls_by_every_form(client: BlockingClient) -> None:
    proxy, typed = client.proxy("Calls"), client.client(Calls)
    assert proxy.echo({"text": "a"}) == {"text": "a"}
    assert proxy.echo(text="b") == {"text": "b"}
    assert typed.echo(Text("c")) == Text("c")
    assert client.client(Plain).add(1, 2) == 3
    assert client.proxy("Calls") is proxy
    assert proxy.with_options(metadata={"k": "v"}).about(text="")["metadata"]["k"] == "v"
    assert proxy.about.with_options(metadata={"k": "v"})(text="")["metadata"]["k"] == "v"
    assert proxy.method("echo")(text="c") == {"text": "c"}
    assert {each.name for each in client.services()} == {"Calls", "Plain", "Session"}
    assert client.ping() < 5
    assert client.peer


def test_S8_streams(client: BlockingClient) -> None:
    proxy, typed = client.proxy("Calls"), client.client(Calls)
    assert [each["n"] for each in proxy.count.stream(n=2000)] == list(range(2000))
    assert typed.total(Number(n) for n in range(5000)) == Number(12_497_500)
    assert proxy.total([]) == {"n": 0}
    with typed.chat.bidi() as channel:
        channel.send(Text("a"))
        assert next(channel) == Text("A")
        channel.half_close()
        assert list(channel) == []
    with pytest.raises(DeadlineExceeded), proxy.greet.with_options(timeout=0).bidi() as channel:
        next(channel)
    for each in proxy.tail.stream({}):
        assert each == {"text": "first"}
        break
    with proxy.tail.stream({}) as stream:
        assert next(stream) == {"text": "first"}


def test_S8_early_answer_ends_a_source_that_goes_on(client: BlockingClient) -> None:
    def endless() -> Iterator[Number]:
        n = 0
        while True:
            yield Number(n)
            n += 1

    assert client.client(Calls).first(endless()) == Number(0)


def test_S8_errors_come_out_as_they_are(client: BlockingClient) -> None:
    proxy = client.proxy("Calls")
    with pytest.raises(NotFound, match="no x"):
        proxy.missing(text="x")
    with pytest.raises(InvalidArgument, match=r"\$\.n"):
        proxy.total([{"n": "x"}])
    with pytest.raises(DeadlineExceeded):
        proxy.hang({}, timeout=0.1)
    with pytest.raises(UsageError, match="server stream"):
        proxy.count({"n": 1})
    with pytest.raises(ZeroDivisionError):
        proxy.total({"n": 1 // n} for n in (1, 0))


def test_S8_sessions(client: BlockingClient) -> None:
    with client.session("Session") as one, client.session(Session) as two:
        assert [one.increment(), one.increment(), two.increment()] == [1, 2, 1]
    assert client.proxy("Session").increment() == 1


def test_S8_from_many_threads(client: BlockingClient) -> None:
    proxy, answers = client.proxy("Calls"), []
    threads = [threading.Thread(target=lambda n=n: answers.append(proxy.echo(text=str(n)))) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(each["text"] for each in answers) == sorted(str(n) for n in range(20))


def test_S8_closed_and_unreachable_say_so(address: str) -> None:
    made = AsterClient.blocking(address, **LOCAL)
    made.close()
    made.close()
    with pytest.raises(UsageError, match="closed"):
        made.proxy("Calls").echo(text="x")
    before = threading.active_count()
    with pytest.raises(Unavailable):
        AsterClient.blocking(_gone(), connect_timeout=0.5, **LOCAL)
    assert threading.active_count() <= before, "the portal's thread went with its last client"


def _gone() -> str:
    async def main() -> str:
        async with AsterServer([Plain()], **LOCAL) as server:
            return server.address

    return asyncio.run(main())
