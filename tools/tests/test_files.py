"""The check of lengths and words finds what it is there to find."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import files


@pytest.mark.parametrize(
    "line",
    [
        "// TO" + "DO: later",
        "to" + "do!()",
        "unimpl" + 'emented!("later")',
        "    db" + "g!(x);",
        'open("/ho' + 'me/somebody/file")',
        "cd /ro" + "ot/project",
    ],
)
def test_unfinished_work_and_private_paths_are_found(line: str) -> None:
    found = list(files.problems("core/src/lib.rs", f"fine\n{line}\n"))
    assert len(found) == 1
    assert found[0].startswith("core/src/lib.rs:2: ")


@pytest.mark.parametrize("line", ["let todos = 3;", "~/home/x", "https://example.com/home/x", "a mastodon"])
def test_ordinary_lines_are_not(line: str) -> None:
    assert list(files.problems("a.py", line)) == []


def test_an_allowed_line_is_not() -> None:
    assert list(files.problems("a.py", "# TO" + "DO is a word  # files: allow")) == []


def test_a_long_source_is_found_and_a_long_text_is_not() -> None:
    assert list(files.problems("a.rs", "x\n" * files.MOST_LINES)) == []
    assert list(files.problems("a.rs", "x\n" * (files.MOST_LINES + 1))) == [
        "a.rs: 801 lines, at most 800: split it by what it does"
    ]
    assert list(files.problems("a.md", "x\n" * 5000)) == []


def test_this_repository_holds() -> None:
    assert files.main() == 0
