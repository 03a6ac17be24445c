"""The Python client of the benchmark: a typed client of `Bench` on uvloop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from aster import AsterClient
from bench_service import Bench, Blob, ChatMessage, MetricPoint, StatusRequest, StatusResponse, TailRequest
from loops import run_async_client


class Chat:
    def __init__(self, channel: Any) -> None:
        self._channel = channel

    async def trip(self, seq: int, text: str) -> ChatMessage:
        await self._channel.send(ChatMessage(seq=seq, text=text))
        reply: ChatMessage = await self._channel.__anext__()
        return reply

    async def close(self) -> None:
        await self._channel.close()


class Connection:
    """One connection, and what the measuring loops do with it."""

    def __init__(self, client: AsterClient, bench: Any, data: Any) -> None:
        self._client, self._bench, self._data = client, bench, data

    def status(self, agent_id: str) -> Awaitable[StatusResponse]:
        answer: Awaitable[StatusResponse] = self._bench.getStatus(StatusRequest(agent_id=agent_id))
        return answer

    def metric(self, i: int) -> MetricPoint:
        d = self._data
        return MetricPoint(name=d.metric_name, value=i * d.metric_value_step, timestamp=d.timestamp0 + i, tags=d.tags)

    async def ingest(self, points: AsyncIterator[MetricPoint]) -> int:
        result = await self._bench.ingestMetrics(points)
        accepted: int = result.accepted
        return accepted

    def tail(self, count: int) -> Any:
        return self._bench.tailLogs.stream(TailRequest(count=count))

    async def cancel(self, stream: Any) -> None:
        await stream.aclose()

    async def chat(self) -> Chat:
        channel = self._bench.chat.bidi()
        await channel.open()
        return Chat(channel)

    async def echo(self, payload: bytes) -> bytes:
        data: bytes = (await self._bench.echo(Blob(data=payload))).data
        return data

    async def close(self) -> None:
        await self._client.close()


def make_connect(args: Any, data: Any) -> Callable[[], Awaitable[Connection]]:
    async def connect() -> Connection:
        # A client of its own for every connection: nothing is shared with those before it.
        client = AsterClient(address=args.address, preset="local")
        await client.connect()
        return Connection(client, client.client(Bench), data)

    return connect


if __name__ == "__main__":
    run_async_client(make_connect, use_uvloop=True)
