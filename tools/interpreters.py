"""Makes one environment per Python version of this machine, for the tests that run on all of them.

    .venv/bin/python tools/interpreters.py

Looks for CPython 3.9 and newer on PATH and under pyenv, makes `.cache/interpreters/3.x` for each with
the dependencies of the package (the package itself is used from python/src: the native module is the
same file for all versions), and prints what it found. Quick when nothing has changed.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / ".cache" / "interpreters"
PINS = ROOT / "tools" / "requirements.txt"
MINORS = range(9, 15)
# 3.14 and later are tried where they are installed; these must be there in continuous integration.
SUPPORTED = ("3.9", "3.10", "3.11", "3.12", "3.13")


def candidates(minor: int) -> Iterator[Path]:
    """Places where this version may be, best first."""
    if sys.version_info[:2] == (3, minor):
        yield Path(sys.executable)
    on_path = shutil.which(f"python3.{minor}")
    if on_path:
        yield Path(on_path)
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from sorted((pyenv / "versions").glob(f"3.{minor}.*/bin/python"), reverse=True)


def runs(python: Path, minor: int) -> bool:
    """Whether this is the version it claims to be: a pyenv shim may be there without its interpreter."""
    code = f"import sys; sys.exit(sys.version_info[:2] != (3, {minor}) or sys.implementation.name != 'cpython')"
    try:
        return subprocess.run([python, "-c", code], capture_output=True, timeout=30, check=False).returncode == 0
    except OSError:
        return False


def prepare(version: str, python: Path, needs: list[str]) -> Path:
    """The interpreter of an environment that has `needs`, made or brought up to date."""
    home = HOME / version
    inside = home / "bin" / "python"
    stamp = home / "installed"
    wanted = "\n".join([*needs, PINS.read_text(encoding="utf-8")])
    if not (inside.exists() and stamp.exists() and stamp.read_text(encoding="utf-8") == wanted):
        subprocess.run([python, "-m", "venv", "--clear", home], check=True)
        install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-c", str(PINS), *needs]
        subprocess.run([str(inside), *install], check=True)
        stamp.write_text(wanted, encoding="utf-8")
    return inside


def prepared() -> dict[str, Path]:
    """What `main` has made: version → interpreter."""
    places = {f"3.{minor}": HOME / f"3.{minor}" / "bin" / "python" for minor in MINORS}
    return {version: python for version, python in places.items() if python.exists()}


def main() -> int:
    needs = importlib.metadata.requires("aster-rpc") or []
    needs = [need for need in needs if "extra ==" not in need]
    found = []
    for minor in MINORS:
        python = next((c for c in candidates(minor) if runs(c, minor)), None)
        if python is not None:
            prepare(f"3.{minor}", python, needs)
            found.append(f"3.{minor}")
    missing = [version for version in SUPPORTED if version not in found]
    print(f"interpreters: {', '.join(found)}" + (f"; not on this machine: {', '.join(missing)}" if missing else ""))
    return 0


if __name__ == "__main__":
    sys.exit(main())
