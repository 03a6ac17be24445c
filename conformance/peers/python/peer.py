"""The Python peer of the conformance suite: a client or a server that does what the runner asks.

    peer.py client|server

One JSON object per line on standard input and output; conformance/README.md describes them. It is written against
the public package only, as a program of a user.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable
from typing import Any, Callable

from aster import AsterClient, AsterError, AsterServer, CallInfo, ContractMismatch, RpcError
from contracts import CONTRACTS
from differing import Clash, Drift, OldClash, OldDrift
from neutral import Neutral, write_any
from services import BENCH, Account, Bench, ByJson, Probe, Probe2, Values

# Of a session service the class is served, of others an instance.
SERVED = [Probe(), Probe2(), Account, Values(), ByJson(), Drift(), Clash()]
SERVED += [cls if name == "K37" else cls() for (name, _), cls in CONTRACTS.items()]
CALLED: dict[tuple[str, int], type] = {
    ("Probe", 1): Probe,
    ("Probe", 2): Probe2,
    ("Account", 1): Account,
    ("Values", 1): Values,
    ("Text", 1): ByJson,
    ("Drift", 1): OldDrift,
    ("Clash", 1): OldClash,
    **CONTRACTS,
}

Command = dict[str, Any]
Answer = dict[str, Any]


def say(line: Answer) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def metadata_out(metadata: Any) -> Answer:
    return {key: value if isinstance(value, str) else {"hex": value.hex()} for key, value in dict(metadata).items()}


def metadata_in(metadata: Answer) -> dict[str, str | bytes]:
    return {key: value if isinstance(value, str) else bytes.fromhex(value["hex"]) for key, value in metadata.items()}


def failure(error: AsterError) -> Answer:
    """An error of the SDK as the runner compares it."""
    if not isinstance(error, RpcError):
        return {"code": "USAGE", "message": str(error), "class": type(error).__name__}
    return {
        "code": error.code.name if error.code_number == error.code else f"CODE_{error.code_number}",
        "message": error.message,
        "details": write_any(error.details),
        "metadata": metadata_out(error.metadata),
        "origin": error.origin,
        "may_have_run": error.may_have_run,
        "retry_after_ms": None if error.retry_after is None else round(error.retry_after * 1000),
        "class": type(error).__name__,
    }


class Server:
    """The serving side."""

    def __init__(self) -> None:
        self.neutral = Neutral()
        self.bench = Bench(say)
        self.server: AsterServer | None = None
        BENCH.append(self.bench)

    async def types(self, command: Command) -> Answer:
        self.neutral.learn(command["types"])
        return {}

    async def serve(self, command: Command) -> Answer:
        self.server = AsterServer(SERVED, preset="local", **command.get("options", {}))
        await self.server.start()
        return {"address": self.server.address}

    async def address(self, command: Command) -> Answer:
        assert self.server is not None
        return {"address": self.server.address}

    async def release(self, command: Command) -> Answer:
        self.bench.gate(command["key"]).set()
        return {}

    async def seen(self, command: Command) -> Answer:
        return {"value": self.neutral.write(command["type"], self.bench.seen.pop(command["key"]))}

    async def drain(self, command: Command) -> Answer:
        assert self.server is not None
        await self.server.drain(command["grace_ms"] / 1000)
        return {}

    async def close(self, command: Command) -> Answer:
        assert self.server is not None
        await self.server.close()
        return {}


class Outgoing:
    """The messages of a client stream, as the runner sends them."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Any] = asyncio.Queue()

    async def __aiter__(self) -> Any:
        while True:
            more, message = await self.queue.get()
            if not more:
                return
            yield message


class Stream:
    """One streaming call of the client."""

    def __init__(self, command: Command) -> None:
        self.gives = command["gives_type"]
        self.takes = command["type"]
        self.typed = command["form"] == "typed"
        self.incoming: Any = None
        self.outgoing: Outgoing | None = None
        self.answer: asyncio.Future[Any] | None = None
        self.info: CallInfo | None = None


class Client:
    """The calling side."""

    def __init__(self) -> None:
        self.neutral = Neutral()
        self.clients: dict[str, AsterClient] = {}
        self.sessions: dict[str, Any] = {}
        self.calls: dict[str, asyncio.Future[Any]] = {}
        self.streams: dict[str, Stream] = {}

    async def types(self, command: Command) -> Answer:
        self.neutral.learn(command["types"])
        return {}

    # ------------------------------------------------------------ connections

    async def connect(self, command: Command) -> Answer:
        options = {
            name[: -len("_ms")] if name.endswith("_ms") else name: value / 1000 if name.endswith("_ms") else value
            for name, value in command.get("options", {}).items()
        }
        client = AsterClient(command["addresses"], preset="local", **options)
        await client.connect()
        self.clients[command["client"]] = client
        return {"peer": client.peer}

    async def disconnect(self, command: Command) -> Answer:
        await self.clients.pop(command["client"]).close()
        return {}

    async def ping(self, command: Command) -> Answer:
        await self.clients[command["client"]].ping(command.get("timeout_ms", 1500) / 1000)
        return {}

    async def services(self, command: Command) -> Answer:
        offered = self.clients[command["client"]].services()
        return {"services": [[each.name, each.version, each.contract_id, each.scope] for each in offered]}

    async def contracts(self, command: Command) -> Answer:
        """What becomes of a typed client of each service of the table."""
        client = self.clients[command["client"]]
        outcomes = []
        for (name, version), cls in CALLED.items():
            try:
                await client.client(cls)  # type: ignore[misc]
                outcome = "ok"
            except ContractMismatch as error:
                outcome = f"CONTRACT_MISMATCH: {error.message}"
            outcomes.append([name, version, outcome])
        return {"contracts": outcomes}

    # ------------------------------------------------------------ calls

    def _proxy(self, command: Command) -> Any:
        if "session" in command:
            return self.sessions[command["session"]]
        client = self.clients[command["client"]]
        name, version = command["service"], command.get("version")
        if command["form"] == "typed":
            return client.client(CALLED[name, version or 1])
        return client.proxy(name, version)

    @staticmethod
    def _options(command: Command) -> dict[str, Any]:
        timeout = command.get("timeout_ms")
        return {
            "timeout": None if timeout is None else timeout / 1000,
            "metadata": metadata_in(command.get("metadata", {})),
            "compress": command.get("compress"),
        }

    def _method(self, command: Command, info: CallInfo | None) -> Any:
        return self._proxy(command).method(command["method"]).with_options(**self._options(command), info=info)

    def _request(self, command: Command) -> Any:
        """The arguments of a call: one object, or keywords where the parameters have no class."""
        ty, typed = command["type"], command["form"] == "typed"
        value = self.neutral.read(ty, command["request"], typed)
        if typed and isinstance(value, dict):
            return (), value  # plain parameters, which have no class
        return (value,), {}

    async def call(self, command: Command) -> Answer:
        info = CallInfo()
        args, kwargs = self._request(command)
        future = asyncio.ensure_future(self._method(command, info)(*args, **kwargs))
        if "call" in command:
            self.calls[command["call"]] = future
        try:
            response = await future
        except asyncio.CancelledError:
            return {"cancelled": True}
        return {
            "response": self.neutral.write(command["gives_type"], response),
            "metadata": metadata_out(info.metadata),
            "trailing": metadata_out(info.trailing_metadata),
        }

    async def cancel(self, command: Command) -> Answer:
        self.calls[command["call"]].cancel()
        return {}

    async def burst(self, command: Command) -> Answer:
        """Many calls at once: how many got the answer that is theirs."""
        proxy, n = self._proxy(command), command["n"]
        answers = await asyncio.gather(*(proxy.add(a=i, b=1) for i in range(n)))
        return {"right": sum(answer == i + 1 for i, answer in enumerate(answers))}

    # ------------------------------------------------------------ streams

    async def open(self, command: Command) -> Answer:
        stream = self.streams[command["stream"]] = Stream(command)
        pattern = command["pattern"]
        if pattern == "client_stream":
            stream.info = CallInfo()
            stream.outgoing = Outgoing()
            stream.answer = asyncio.ensure_future(self._method(command, stream.info)(stream.outgoing))
            return {}
        method = self._method(command, None)
        if pattern == "server_stream":
            args, kwargs = self._request(command)
            stream.incoming = method.stream(*args, **kwargs)
        elif command.get("beforehand"):
            stream.incoming = method.bidi()
        else:
            stream.incoming = self._proxy(command).method(command["method"]).bidi(**self._options(command))
        await stream.incoming.open()
        return {}

    async def send(self, command: Command) -> Answer:
        stream = self.streams[command["stream"]]
        message = self.neutral.read(stream.takes, command["message"], stream.typed)
        if stream.outgoing is not None:
            stream.outgoing.queue.put_nowait((True, message))
        else:
            await stream.incoming.send(message)
        return {}

    async def half_close(self, command: Command) -> Answer:
        stream = self.streams[command["stream"]]
        if stream.outgoing is not None:
            stream.outgoing.queue.put_nowait((False, None))
        else:
            await stream.incoming.half_close()
        return {}

    async def next(self, command: Command) -> Answer:
        """At most `most` messages, or those until the end."""
        stream = self.streams[command["stream"]]
        messages: list[Any] = []
        while len(messages) < command["most"]:
            try:
                message = await stream.incoming.__anext__()
            except StopAsyncIteration:
                return {
                    "messages": messages,
                    "end": True,
                    "metadata": metadata_out(stream.incoming.metadata),
                    "trailing": metadata_out(stream.incoming.trailing_metadata),
                }
            except RpcError as error:
                return {"messages": messages, "error": failure(error)}
            messages.append(self.neutral.write(stream.gives, message))
        return {"messages": messages, "end": False}

    async def answer(self, command: Command) -> Answer:
        stream = self.streams[command["stream"]]
        assert stream.answer is not None
        assert stream.info is not None
        try:
            response = await stream.answer
        except asyncio.CancelledError:
            return {"cancelled": True}
        return {
            "response": self.neutral.write(stream.gives, response),
            "metadata": metadata_out(stream.info.metadata),
            "trailing": metadata_out(stream.info.trailing_metadata),
        }

    async def cancel_stream(self, command: Command) -> Answer:
        stream = self.streams[command["stream"]]
        if stream.answer is not None:
            stream.answer.cancel()
        else:
            stream.incoming.cancel()
        return {}

    # ------------------------------------------------------------ sessions

    async def open_session(self, command: Command) -> Answer:
        client = self.clients[command["client"]]
        name = command["service"]
        session = client.session(CALLED[name, 1] if command["form"] == "typed" else name)
        await session.__aenter__()
        self.sessions[command["session"]] = session
        return {}

    async def close_session(self, command: Command) -> Answer:
        await self.sessions[command["session"]].close()
        return {}


async def exit_process(command: Command) -> Answer:
    """Ends without closing anything first: what is open is for the SDK to end."""
    if command["how"] == "kill":
        os.kill(os.getpid(), 9)
    sys.exit(0)


async def perform(side: Client | Server, command: Command) -> None:
    number = command["id"]
    action: Callable[[Command], Awaitable[Answer]] = (
        exit_process if command["do"] == "exit" else getattr(side, command["do"])
    )
    try:
        say({"id": number, "ok": await action(command)})
    except AsterError as error:
        say({"id": number, "error": failure(error)})
    except Exception as error:
        say({"id": number, "fault": f"{type(error).__name__}: {error}"})


async def main() -> None:
    side: Client | Server = Client() if sys.argv[1] == "client" else Server()
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader(limit=64 << 20)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    running = set()
    while True:
        line = await lines.readline()
        if not line:
            return
        task = asyncio.ensure_future(perform(side, json.loads(line)))
        running.add(task)
        task.add_done_callback(running.discard)


if __name__ == "__main__":
    asyncio.run(main())
