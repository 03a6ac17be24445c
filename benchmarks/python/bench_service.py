"""The service of the benchmark as a user would write it: dataclasses and decorators, shared by server and client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from aster import bidi_stream, client_stream, rpc, server_stream, service, wire_type


@wire_type("bench/StatusRequest")
@dataclass
class StatusRequest:
    agent_id: str


@wire_type("bench/StatusResponse")
@dataclass
class StatusResponse:
    agent_id: str
    status: str
    uptime_secs: int


@wire_type("bench/MetricPoint")
@dataclass
class MetricPoint:
    name: str
    value: float
    timestamp: float
    tags: dict[str, str] = field(default_factory=dict)


@wire_type("bench/IngestResult")
@dataclass
class IngestResult:
    accepted: int
    total: float


@wire_type("bench/TailRequest")
@dataclass
class TailRequest:
    count: int


@wire_type("bench/LogEntry")
@dataclass
class LogEntry:
    timestamp: float
    level: str
    message: str
    agent_id: str


@wire_type("bench/ChatMessage")
@dataclass
class ChatMessage:
    seq: int
    text: str


@wire_type("bench/Blob")
@dataclass
class Blob:
    data: bytes


@wire_type("bench/DownloadRequest")
@dataclass
class DownloadRequest:
    count: int
    size: int


@service(name="Bench", version=1)
class Bench:
    """`data` is the `data` section of the workload file, as attributes."""

    def __init__(self, data: Any) -> None:
        self._data = data

    @rpc
    async def getStatus(self, req: StatusRequest) -> StatusResponse:
        return StatusResponse(agent_id=req.agent_id, status=self._data.status, uptime_secs=self._data.uptime_secs)

    @client_stream
    async def ingestMetrics(self, stream: AsyncIterator[MetricPoint]) -> IngestResult:
        accepted, total = 0, 0.0
        async for point in stream:
            accepted += 1
            total += point.value
        return IngestResult(accepted=accepted, total=total)

    @server_stream
    async def tailLogs(self, req: TailRequest) -> AsyncIterator[LogEntry]:
        data, pool = self._data, self._data.log_messages
        for i in range(req.count):
            yield LogEntry(
                timestamp=data.timestamp0 + i,
                level=data.log_level,
                message=pool[i % len(pool)],
                agent_id=data.agent_id,
            )

    @bidi_stream
    async def chat(self, messages: AsyncIterator[ChatMessage]) -> AsyncIterator[ChatMessage]:
        async for message in messages:
            yield ChatMessage(seq=message.seq, text=message.text)

    @rpc
    async def echo(self, blob: Blob) -> Blob:
        return Blob(data=blob.data)

    @server_stream
    async def download(self, req: DownloadRequest) -> AsyncIterator[Blob]:
        """`count` messages of `size` bytes, for the memory benchmark."""
        blob = Blob(data=bytes(req.size))
        for _ in range(req.count):
            yield blob


@service(name="BenchSession", version=1, scoped="session")
class BenchSession:
    """One instance per session, as small as a session can be."""

    @rpc
    async def getStatus(self, req: StatusRequest) -> StatusResponse:
        return StatusResponse(agent_id=req.agent_id, status="session", uptime_secs=0)
