"""Programs run as a user runs them: in processes of their own, watched through what they print."""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType

# A job in the background of a shell ignores SIGINT, and hands that down to the programs it starts. These tests
# send it, as a user at a terminal does.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

MISSION_CONTROL = Path(__file__).resolve().parent.parent / "mission_control"
# Long enough for a loaded machine; a test that needs a bound of its own says so.
PATIENCE = 30.0


class Program:
    """A running Python program; its output arrives line by line, and it never outlives its `with` block."""

    def __init__(self, script: str, *arguments: str, python: Path | None = None) -> None:
        self.name = script
        words = [str(python or sys.executable), str(MISSION_CONTROL / script), *arguments]
        # A terminal would show each line at once; a pipe does so only when Python is told to.
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        self._process = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8", env=environment
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._errors: list[str] = []
        self._readers = [
            threading.Thread(target=self._read_lines, daemon=True),
            threading.Thread(target=self._read_errors, daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def _read_lines(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        self._errors.extend(self._process.stderr)

    @property
    def errors(self) -> str:
        """What the program has written to stderr so far; all of it once it has ended."""
        return "".join(self._errors)

    def line(self, within: float = PATIENCE) -> str:
        """The next line of stdout."""
        try:
            line = self._lines.get(timeout=within)
        except queue.Empty:
            raise AssertionError(f"{self.name} printed nothing for {within:.0f} s; stderr:\n{self.errors}") from None
        if line is None:
            self._lines.put(None)
            code = self._process.wait(timeout=within)
            raise AssertionError(f"{self.name} ended with exit code {code}; stderr:\n{self.errors}")
        return line

    def lines(self, count: int) -> list[str]:
        """The next lines of stdout."""
        return [self.line() for _ in range(count)]

    def rest(self, within: float = PATIENCE) -> list[str]:
        """All lines that are left, when the program ends by itself."""
        end = time.monotonic() + within
        found: list[str] = []
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"{self.name} did not end within {within:.0f} s; it printed {found}") from None
            if line is None:
                self._lines.put(None)
                return found
            found.append(line)

    def interrupt(self) -> None:
        """What Ctrl-C sends."""
        self._process.send_signal(signal.SIGINT)

    def exit_code(self, within: float = PATIENCE) -> int:
        """Waits for the end and all output; negative for a signal."""
        try:
            code = self._process.wait(timeout=within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} still ran after {within:.0f} s; stderr:\n{self.errors}") from None
        for reader in self._readers:
            reader.join(timeout=PATIENCE)
        return code

    def __enter__(self) -> Program:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for reader in self._readers:
            reader.join(timeout=PATIENCE)
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()


def control(chapter: int, python: Path | None = None) -> Program:
    """A chapter's control plane, not yet ready: `address` waits for it."""
    return Program(f"chapter{chapter}/control.py", python=python)


def address(server: Program) -> str:
    """The address that a control plane prints first."""
    line = server.line()
    assert re.fullmatch(r"aster1[1-9A-HJ-NP-Za-km-z]+", line), f"not an address: {line!r}"
    return line


def json_of(line: str, before: str) -> str:
    """The text behind `before`, which the line must start with."""
    assert line.startswith(before), f"expected {before!r} at the start of {line!r}"
    return line[len(before) :]
