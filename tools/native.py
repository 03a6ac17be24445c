"""Builds the workspace and puts the package of python/ into the environment that runs this.

    .venv/bin/python tools/native.py                editable, as `./dev setup` does
    python tools/native.py --release                a copy, optimised, as benchmarks use

It does what maturin does, with one difference: cargo is asked for the whole workspace, so the native modules, the tests
and the programs share one build of their dependencies. Asked for one crate, cargo would choose other features for some
of them, and build nearly everything again. Wheels for others are made by maturin.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "python" / "src"
MODULE = "_native.abi3.so"


def build(profile: list[str]) -> tuple[Path, str]:
    """The native module as cargo built it, and its version."""
    command = ["cargo", "build", "--workspace", *profile, "--message-format=json-render-diagnostics"]
    answer = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if answer.returncode != 0:
        raise SystemExit(answer.returncode)
    for line in answer.stdout.splitlines():
        message = json.loads(line)
        if message["reason"] == "compiler-artifact" and message["target"]["name"] == "_native":
            library = next(Path(name) for name in message["filenames"] if name.endswith((".so", ".dylib")))
            # path+file:///…/bindings/python#aster-python@0.1.0
            return library, message["package_id"].rpartition("@")[2]
    raise SystemExit(f"{' '.join(command)} built no library named _native")


def place(library: Path, package: Path) -> None:
    """Whoever runs the old module keeps it: writing over a module that is loaded would crash the program."""
    new = package / f"{MODULE}.{os.getpid()}.new"
    shutil.copyfile(library, new)
    os.replace(new, package / MODULE)


def install(library: Path, version: str, editable: bool) -> None:
    """Has the package imported, from where it lies or from a copy, and known to pip."""
    site = Path(sysconfig.get_path("purelib"))
    for old in site.glob("aster_rpc-*.dist-info"):
        shutil.rmtree(old)
    if editable:
        (site / "aster_rpc.pth").write_text(f"{SOURCE}\n", encoding="utf-8")
        place(library, SOURCE / "aster")
    else:
        shutil.rmtree(site / "aster", ignore_errors=True)
        unwanted = shutil.ignore_patterns("_native*.so*", "__pycache__")
        shutil.copytree(SOURCE / "aster", site / "aster", ignore=unwanted)
        place(library, site / "aster")
    record(site, version)


def requirements() -> list[str]:
    """What the package needs to run. (The standard library reads TOML from Python 3.11 on only.)"""
    text = (ROOT / "python" / "pyproject.toml").read_text(encoding="utf-8")
    found = re.search(r"^dependencies = (\[[^\]]*\])", text, re.MULTILINE)
    assert found is not None, "python/pyproject.toml lists its dependencies in a form that is not understood here"
    listed: list[str] = json.loads(found.group(1))
    return listed


def record(site: Path, version: str) -> None:
    """What pip and importlib.metadata read of an installed package."""
    info = site / f"aster_rpc-{version}.dist-info"
    info.mkdir()
    lines = ["Metadata-Version: 2.1", "Name: aster-rpc", f"Version: {version}"]
    lines += [f"Requires-Dist: {each}" for each in requirements()]
    (info / "METADATA").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    (info / "INSTALLER").write_text("aster-dev\n", encoding="utf-8")
    files = [
        "aster_rpc.pth",
        f"aster/{MODULE}",
        *(f"{info.name}/{name}" for name in ("METADATA", "INSTALLER", "RECORD")),
    ]
    (info / "RECORD").write_text("".join(f"{name},,\n" for name in files), encoding="utf-8")


def main() -> int:
    if sys.prefix == sys.base_prefix:
        print("native: run this with the interpreter of a virtual environment, as ./dev setup does", file=sys.stderr)
        return 2
    release = sys.argv[1:] == ["--release"]
    if sys.argv[1:] and not release:
        print(f"native: unknown option in {sys.argv[1:]}; there is --release", file=sys.stderr)
        return 2
    library, version = build(["--release"] if release else [])
    install(library, version, editable=not release)
    return 0


if __name__ == "__main__":
    sys.exit(main())
