"""Every supported Python imports the package, serves and calls: the same native module in all of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from programs import MISSION_CONTROL

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tools"))

from interpreters import SUPPORTED, prepared  # noqa: E402  (tools/ is not a package)

INTERPRETERS = prepared()


def demo(python: Path) -> subprocess.CompletedProcess[str]:
    """demo.py under this interpreter, its server too; a warning is an error."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "python" / "src"), "PYTHONWARNINGS": "error"}
    words = [str(python), str(MISSION_CONTROL / "demo.py")]
    return subprocess.run(
        words, capture_output=True, text=True, encoding="utf-8", env=environment, timeout=60, check=False
    )


def check(outcome: subprocess.CompletedProcess[str]) -> None:
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    lines = outcome.stdout.splitlines()
    assert lines[0].startswith("control plane at aster1")
    assert [line.split("→")[0].split()[0] for line in lines[1:-1]] == ["unary", "server", "client", "session", "bidi"]
    assert '{"accepted": 10000, "dropped": 0}' in lines[3]
    assert '"stdout": "hello from the agent\\n"' in lines[5]
    assert lines[-1] == "control plane stopped"
    assert outcome.stderr == ""


def test_S7_the_interpreters_are_prepared() -> None:
    # Which versions a machine lacks is printed by tools/interpreters.py; continuous integration has all of them.
    assert INTERPRETERS, "no environments in .cache/interpreters: run ./dev test, or tools/interpreters.py"
    if "CI" in os.environ:
        assert set(SUPPORTED) <= set(INTERPRETERS)


@pytest.mark.parametrize("version", list(INTERPRETERS))
def test_S7_import_serve_and_call_on(version: str) -> None:
    check(demo(INTERPRETERS[version]))


def test_G8_the_demo_ends_with_calls_of_all_four_kinds_answered() -> None:
    check(demo(Path(sys.executable)))
