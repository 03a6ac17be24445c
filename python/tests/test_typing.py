"""P3: the public API is typed: what must be accepted is, and what must be refused is refused."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

CASES = Path(__file__).parent / "typing_cases.py"
PACKAGE = Path(__file__).parents[1]


@pytest.mark.timeout(240)
@pytest.mark.skipif(sys.version_info < (3, 10), reason="mypy for 3.9 is older; what it checks is the same")
def test_P3_positive_and_negative_typing_cases() -> None:
    pytest.importorskip("mypy")
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--config-file",
        str(PACKAGE / "pyproject.toml"),
        "--show-error-codes",
        str(CASES),
    ]
    printed = subprocess.run(command, capture_output=True, text=True, cwd=PACKAGE).stdout
    found = {
        (int(line), code)
        for line, code in re.findall(r"typing_cases\.py:(\d+): error: .*\[([\w-]+)\]$", printed, re.MULTILINE)
    }
    wanted = {
        (number, code)
        for number, line in enumerate(CASES.read_text().splitlines(), 1)
        for codes in re.findall(r"# error: ([\w, -]+)$", line)
        for code in codes.split(", ")
    }
    assert len(wanted) > 8
    assert found == wanted, printed
