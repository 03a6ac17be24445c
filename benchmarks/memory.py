"""Growth of memory under load that must not be buffered: `./dev bench memory`.

Each scenario runs a server and a client process. The client warms up and says so; from then on the
resident memory of both is read every 20 ms, and the growth is the highest reading less the first.

- `ingest`: a client stream of 1,000,000 points to a handler that adds them up.
- `download`: 1 GB in 64 KiB messages from the server to a client that takes 32 MiB a second.
- `sessions`: 5,000 sessions on one connection, each after one call; growth of the server per session.

The limits are those the project has set itself; a reading over its limit fails the command.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

SAMPLE_SECONDS = 0.02
# Scenario → KiB of growth allowed for the client and for the server; per session in `sessions`.
LIMITS: dict[str, tuple[float | None, float]] = {
    "ingest": (16 * 1024, 16 * 1024),
    "download": (16 * 1024, 16 * 1024),
    "sessions": (None, 8),
}


def rss_kib(pid: int) -> int:
    """Resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise ProcessLookupError(f"process {pid} has ended")


class Peak:
    """Highest resident memory of a process since the start of the watch."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.first = self.highest = self.last = rss_kib(pid)

    def look(self) -> None:
        self.last = rss_kib(self.pid)
        self.highest = max(self.highest, self.last)


def watch(peaks: list[Peak], done: threading.Event) -> None:
    """Reads all of them until `done`; an ended process keeps its last reading."""
    while not done.wait(SAMPLE_SECONDS):
        for peak in peaks:
            try:
                peak.look()
            except OSError:
                return


def read_event(client: subprocess.Popen[str], event: str) -> dict[str, Any]:
    """The client's next line, which must be this event."""
    assert client.stdout is not None
    line = client.stdout.readline()
    if not line:
        raise SystemExit(f"the memory client ended with exit code {client.wait()} before {event!r}")
    found: dict[str, Any] = json.loads(line)
    if found.get("event") != event:
        raise SystemExit(f"the memory client said {line.strip()}, expected the event {event!r}")
    return found


def scenario(name: str, peer: dict[str, Any], ready: dict[str, Any]) -> dict[str, Any]:
    """Runs one scenario against a running server and returns its readings, in KiB."""
    words = [*peer["memory"], "--address", ready["address"], "--workload", name]
    client = subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **peer["environ"]}
    )
    assert client.stdin is not None
    try:
        read_event(client, "warm")
        peaks = [Peak(client.pid), Peak(ready["pids"][0])]
        done = threading.Event()
        watcher = threading.Thread(target=watch, args=(peaks, done))
        watcher.start()
        try:
            print("go", file=client.stdin, flush=True)
            outcome = read_event(client, "done")
        finally:
            done.set()
            watcher.join()
        client_peak, server_peak = peaks
        server_peak.look()
        grown = {"client": client_peak.highest - client_peak.first, "server": server_peak.highest - server_peak.first}
        if name == "sessions":
            # What idle sessions hold, not what opening them took for a moment.
            grown = {"client": 0, "server": (server_peak.last - server_peak.first) / outcome["n"]}
        return {**outcome, **grown}
    finally:
        client.kill()
        client.wait()


def main(
    words: list[str],
    peers: dict[str, dict[str, Any]],
    serving: Callable[[dict[str, Any]], AbstractContextManager[dict[str, Any]]],
) -> int:
    """Every scenario for every peer; 1 if a limit is passed."""
    parser = argparse.ArgumentParser(prog="./dev bench memory", description=__doc__)
    parser.add_argument("--peers", default=",".join(peers))
    parser.add_argument("--scenarios", default=",".join(LIMITS))
    args = parser.parse_args(words)
    for known, wanted in ((peers, args.peers), (LIMITS, args.scenarios)):
        unknown = [name for name in wanted.split(",") if name not in known]
        if unknown:
            parser.error(f"unknown: {', '.join(unknown)}; known: {', '.join(known)}")
    over = False
    print("| peer | scenario | operations | seconds | client KiB | server KiB | limit KiB |")
    print("|---|---|---|---|---|---|---|")
    for name in args.peers.split(","):
        for what in args.scenarios.split(","):
            with serving(peers[name]) as ready:
                found = scenario(what, peers[name], ready)
            client_limit, server_limit = LIMITS[what]
            over |= found["server"] > server_limit or (client_limit is not None and found["client"] > client_limit)
            client = f"{found['client']:,}" if client_limit is not None else "-"
            row = [name, what, f"{found['n']:,}", f"{found['seconds']:.1f}", client, f"{found['server']:,.1f}"]
            print("| " + " | ".join([*row, f"{server_limit:,}"]) + " |", flush=True)
    if over:
        print("a reading is over its limit")
    return 1 if over else 0
