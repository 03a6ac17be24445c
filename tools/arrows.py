"""Holds the arrows of ARCHITECTURE.md: which part may depend on which.

    python tools/arrows.py

Crates: every edge of the workspace, of any kind (normal, build, dev), must be in `ARROWS`; a crate
that is not listed there fails too, so that a new one is placed on purpose. Crates in `PURE` have
further limits: the protocol has no I/O, clock or randomness, and a binding has no runtime.

Python and TypeScript: examples, benchmarks and conformance peers may import the public modules of `aster` and
`@aster-rpc/aster` only. In the TypeScript package only `native/` knows the native module; the rest sees its interface.

Exits 0, or 1 with one line per arrow that is not allowed.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

# A → what A may depend on inside the workspace.
ARROWS: Mapping[str, frozenset[str]] = {
    "aster-proto": frozenset(),
    "aster-rpc": frozenset({"aster-proto"}),
    "aster-bridge": frozenset({"aster-rpc"}),
    "aster-python": frozenset({"aster-bridge"}),
    "aster-node": frozenset({"aster-bridge"}),
    # Programs around the SDKs see what a user sees.
    "aster-bench": frozenset({"aster-rpc"}),
    # Its test plays it against itself.
    "aster-conformance-peer": frozenset({"aster-rpc", "aster-conformance"}),
    # Built from the specification alone, so that a fault of the core can't hide in what tests it.
    "aster-conformance": frozenset(),
}

# What a crate may not depend on directly, besides members of the workspace.
PURE: Mapping[str, frozenset[str]] = {
    # No I/O, no clock, no randomness.
    "aster-proto": frozenset(
        {
            "getrandom",
            "iroh",
            "mio",
            "noq",
            "quinn",
            "rand",
            "rand_core",
            "reqwest",
            "rustls",
            "smol",
            "socket2",
            "tokio",
            "tokio-util",
        }
    ),
    # Converts only: the engine and its runtime are behind the bridge.
    "aster-python": frozenset({"iroh", "iroh-base", "noq", "quinn", "tokio"}),
    "aster-node": frozenset({"iroh", "iroh-base", "noq", "quinn", "tokio"}),
}

# Trees that may see the public modules of the packages only.
OUTSIDE = ("examples", "benchmarks", "conformance/peers")

# What the TypeScript package lets out, and what the rest of it may not see of its native layer.
PACKAGE = "@aster-rpc/aster"
PUBLIC = frozenset({PACKAGE, *(f"{PACKAGE}/{name}" for name in ("testing", "register", "vite"))})
NATIVE = re.compile(r"(^|/)native/(?!(index|types)\.js$)")


@dataclass(frozen=True)
class Crate:
    """A workspace member and the names of the crates it depends on, with the kind of each edge."""

    name: str
    inside: tuple[tuple[str, str], ...]
    outside: tuple[tuple[str, str], ...]


def crates(metadata: Mapping[str, Any]) -> list[Crate]:
    """The members of `cargo metadata --no-deps`; edges to other members are told from the rest by path."""
    members = {package["name"] for package in metadata["packages"]}
    found = []
    for package in metadata["packages"]:
        inside: list[tuple[str, str]] = []
        outside: list[tuple[str, str]] = []
        for dependency in package["dependencies"]:
            edge = (dependency["name"], dependency["kind"] or "normal")
            (inside if dependency["name"] in members else outside).append(edge)
        found.append(Crate(package["name"], tuple(inside), tuple(outside)))
    return found


def wrong_crate_edges(
    members: Iterable[Crate],
    arrows: Mapping[str, frozenset[str]] = ARROWS,
    pure: Mapping[str, frozenset[str]] = PURE,
) -> Iterator[str]:
    """One line per edge that is not allowed."""
    for crate in members:
        if crate.name not in arrows:
            yield f"{crate.name}: not placed in ARROWS of tools/arrows.py; say what it may depend on"
            continue
        for name, kind in crate.inside:
            # A crate may test itself through its own features.
            if name != crate.name and name not in arrows[crate.name]:
                allowed = ", ".join(sorted(arrows[crate.name])) or "nothing in the workspace"
                yield f"{crate.name} → {name} ({kind}): not allowed; {crate.name} may depend on {allowed}"
        for name, kind in crate.outside:
            # Tests may run the pure state machines under a real runtime; the library may not.
            if kind != "dev" and name in pure.get(crate.name, frozenset()):
                yield f"{crate.name} → {name} ({kind}): not allowed, see PURE in tools/arrows.py"


def imports(source: str, filename: str) -> Iterator[tuple[int, str]]:
    """Line and dotted name of every absolute import, `from a import b` as both `a` and `a.b`."""
    for node in ast.walk(ast.parse(source, filename)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.lineno, node.module
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def wrong_imports(root: Path, trees: Iterable[str] = OUTSIDE) -> Iterator[str]:
    """One line per import of a private module of `aster` from a tree that may see the public ones only."""
    for tree in trees:
        for path in sorted((root / tree).rglob("*.py")):
            for line, name in imports(path.read_text(encoding="utf-8"), str(path)):
                parts = name.split(".")
                private = [part for part in parts[1:] if part.startswith("_") and not part.startswith("__")]
                if parts[0] == "aster" and private:
                    where = f"{path.relative_to(root)}:{line}"
                    yield f"{where} imports {name}: not allowed; use the public modules of aster"


SPECIFIER = re.compile(r"""(?:\bfrom|\bimport)\s*\(?\s*["']([^"'\n]+)["']""")


def typescript_files(tree: Path) -> Iterator[Path]:
    """The hand-written TypeScript and JavaScript of a tree."""
    for path in sorted(tree.rglob("*")):
        if path.suffix in {".ts", ".mts", ".js", ".mjs"} and not {"node_modules", "dist", "build"} & set(path.parts):
            yield path


def wrong_typescript_imports(root: Path, trees: Iterable[str] = OUTSIDE) -> Iterator[str]:
    """One line per import that reaches into the TypeScript package, or past its native layer."""
    for tree in trees:
        for path in typescript_files(root / tree):
            for name in SPECIFIER.findall(path.read_text(encoding="utf-8")):
                inside = name.startswith(PACKAGE) and name not in PUBLIC
                if inside or (name.startswith(".") and "typescript/" in name):
                    where = path.relative_to(root)
                    yield f"{where} imports {name}: not allowed; use what {PACKAGE} exports"
    source = root / "typescript" / "src"
    for path in typescript_files(source):
        if source / "native" in path.parents:
            continue
        for name in SPECIFIER.findall(path.read_text(encoding="utf-8")):
            if name.startswith(".") and NATIVE.search(name):
                where = path.relative_to(root)
                yield f"{where} imports {name}: not allowed; the native layer is native/index.js and native/types.js"


def main() -> int:
    command = ["cargo", "metadata", "--no-deps", "--format-version", "1"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        print(f"arrows: `{' '.join(command)}` failed:\n{answer.stderr}", file=sys.stderr)
        return 1
    members = crates(json.loads(answer.stdout))
    wrong = [*wrong_crate_edges(members), *wrong_imports(ROOT), *wrong_typescript_imports(ROOT)]
    for line in wrong:
        print(f"arrows: {line}", file=sys.stderr)
    if not wrong:
        edges = sum(len(crate.inside) for crate in members)
        print(f"arrows: {len(members)} crates, {edges} edges between them, all allowed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
