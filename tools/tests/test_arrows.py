"""The check of the arrows finds what it is there to find."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import arrows


def member(name: str, *dependencies: tuple[str, str | None]) -> dict[str, Any]:
    return {"name": name, "dependencies": [{"name": n, "kind": k} for n, k in dependencies]}


def wrong(*packages: dict[str, Any]) -> list[str]:
    return list(arrows.wrong_crate_edges(arrows.crates({"packages": list(packages)})))


def test_allowed_edges_pass() -> None:
    assert (
        wrong(
            member("aster-proto", ("serde", None), ("tokio", "dev")),
            member("aster-rpc", ("aster-proto", None), ("tokio", None)),
            member("aster-bridge", ("aster-rpc", None)),
            member("aster-python", ("aster-bridge", None), ("pyo3", None)),
        )
        == []
    )


def test_an_edge_that_skips_a_layer_fails() -> None:
    found = wrong(member("aster-rpc"), member("aster-bridge"), member("aster-python", ("aster-rpc", None)))
    assert found == ["aster-python → aster-rpc (normal): not allowed; aster-python may depend on aster-bridge"]


def test_an_edge_upwards_fails_even_for_tests() -> None:
    found = wrong(member("aster-rpc"), member("aster-proto", ("aster-rpc", "dev")))
    assert found == ["aster-proto → aster-rpc (dev): not allowed; aster-proto may depend on nothing in the workspace"]


def test_a_crate_without_a_place_fails() -> None:
    found = wrong(member("aster-extra", ("serde", None)))
    assert len(found) == 1
    assert found[0].startswith("aster-extra: not placed")


def test_the_protocol_may_not_use_a_runtime_or_randomness() -> None:
    found = wrong(member("aster-proto", ("tokio", None), ("rand", "build")))
    assert [line.split(":")[0] for line in found] == ["aster-proto → tokio (normal)", "aster-proto → rand (build)"]


def test_private_modules_of_the_package_are_refused_outside(tmp_path: Path) -> None:
    example = tmp_path / "examples" / "python" / "bad.py"
    example.parent.mkdir(parents=True)
    example.write_text(
        "import aster\nimport aster._native\nfrom aster import service, _codec\n"
        "from aster._port import Port\nfrom aster.testing import pair\nfrom asterisk import _thing\n"
    )
    found = list(arrows.wrong_imports(tmp_path))
    assert [line.split(": ")[0] for line in found] == [
        "examples/python/bad.py:2 imports aster._native",
        "examples/python/bad.py:3 imports aster._codec",
        "examples/python/bad.py:4 imports aster._port",
        "examples/python/bad.py:4 imports aster._port.Port",
    ]


def test_this_workspace_holds() -> None:
    assert arrows.main() == 0


def test_reaching_into_the_typescript_package_is_refused(tmp_path: Path) -> None:
    def write(name: str, text: str) -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    write("examples/typescript/good.ts", 'import { AsterServer } from "@aster-rpc/aster";\nimport "./local.ts";\n')
    write("examples/typescript/bad.ts", "export { x } from '@aster-rpc/aster/dist/codec.js';\n")
    write("benchmarks/node/bad.mjs", 'const { y } = await import("../../typescript/dist/index.js");\n')
    write("typescript/src/good.ts", 'import { native } from "./native/index.js";\n')
    write("typescript/src/native/port.ts", 'import { x } from "./records.js";\n')
    write("typescript/src/bad.ts", 'import { x } from "./native/records.js";\n')
    assert [line.split(":")[0] for line in arrows.wrong_typescript_imports(tmp_path)] == [
        "examples/typescript/bad.ts imports @aster-rpc/aster/dist/codec.js",
        "benchmarks/node/bad.mjs imports ../../typescript/dist/index.js",
        "typescript/src/bad.ts imports ./native/records.js",
    ]
