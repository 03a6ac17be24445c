"""Checks that hold for every file of the repository: length and words.

    python tools/files.py

- A hand-written source file has at most 800 lines: a longer one does more than one thing.
- Nothing unfinished is committed: no to-do markers, no macro that stands in for code or prints for debugging.
- No path of somebody's machine, which can only work there.

A line that must hold such a word ends with `files: allow`. Exits 0, or 1 with one line per finding.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MOST_LINES = 800
SOURCES = {".rs", ".py", ".pyi", ".sh", ".toml", ".yml", ".ts"}
TEXTS = SOURCES | {".md", ".json", ".in", ".txt", ""}
ALLOW = "files: allow"

WORDS = (
    (re.compile(r"\b(TODO|FIXME|XXX|HACK)\b"), "unfinished work: finish it, or open an issue"),  # files: allow
    (re.compile(r"\b(todo|unimplemented|dbg)!\s*\("), "a macro that has no place in committed code"),  # files: allow
    (re.compile(r"(?<![\w.~$}/-])/(root|home|Users|work|tmp)/\w"), "a path of one machine"),  # files: allow
)


def problems(name: str, text: str) -> Iterator[str]:
    """One line per finding in the file `name`, which is relative to the repository."""
    lines = text.splitlines()
    if Path(name).suffix in SOURCES and len(lines) > MOST_LINES:
        yield f"{name}: {len(lines)} lines, at most {MOST_LINES}: split it by what it does"
    for number, line in enumerate(lines, 1):
        if ALLOW in line:
            continue
        for pattern, why in WORDS:
            found = pattern.search(line)
            if found:
                yield f"{name}:{number}: {found.group(0)!r} is {why}"


def tracked(root: Path) -> list[str]:
    """Files that are in the repository or would be added to it."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    answer = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    return sorted({name for name in answer.stdout.split("\0") if name})


def main() -> int:
    names = [n for n in tracked(ROOT) if Path(n).suffix in TEXTS and (ROOT / n).is_file()]
    found = [line for name in names for line in problems(name, (ROOT / name).read_text(encoding="utf-8"))]
    for line in found:
        print(f"files: {line}", file=sys.stderr)
    if not found:
        print(f"files: {len(names)} files, none too long, none unfinished")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
