"""Builds Aster for release and measures it; `./dev bench` runs this.

    ./dev bench [options of the peer benchmark]    W1 to W8, beside the peers where their benchmark is found
    ./dev bench --quick --workloads W1,W5
    ./dev bench memory                             growth under long streams and many sessions
    ./dev bench boundary                           what crossing between Python and Rust costs

The peer benchmark is looked for in $ASTER_BENCH (default: ../shared/bench). Without it our own rows are
measured alone, by the same rules.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import memory

ROOT = Path(__file__).resolve().parent.parent
BENCHMARKS = ROOT / "benchmarks"
VENV = ROOT / ".cache" / "bench-venv"
PYTHON = VENV / "bin" / "python"
SPEC = BENCHMARKS / "spec" / "workload.json"
RUST = ROOT / "target" / "release" / "aster-bench"
ROUNDS = {"quick": 2, "full": 3}


def say(text: str) -> None:
    print(f"── {text}", file=sys.stderr, flush=True)


def run(*words: str | Path, cwd: Path = ROOT) -> None:
    """Runs a build step and shows what it prints."""
    subprocess.run([str(word) for word in words], cwd=cwd, check=True)


# ---------------------------------------------------------------- build


def build_rust() -> None:
    run("cargo", "build", "--release", "--locked", "--workspace")


def build_python() -> None:
    """The package as a user would install it, in an environment of its own: .venv keeps its development build."""
    if not PYTHON.exists():
        run(sys.executable, "-m", "venv", VENV)
    pip: list[str | Path] = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run(*pip, "-r", BENCHMARKS / "python" / "requirements.txt")
    run(PYTHON, ROOT / "tools" / "native.py", "--release")


# ---------------------------------------------------------------- our rows alone


def peers() -> dict[str, dict[str, Any]]:
    """Name → how to start server and client; what peers.json says, for the environment made here."""
    python = {"PYTHONPATH": str(BENCHMARKS / "python")}
    scripts = {"server": "server.py", "client": "client.py", "memory": "memory_client.py"}
    return {
        "aster-rust": {**{role: [str(RUST), role] for role in scripts}, "environ": {}},
        "aster-python": {
            **{role: [str(PYTHON), str(BENCHMARKS / "python" / script)] for role, script in scripts.items()},
            "environ": python,
        },
    }


@contextmanager
def serving(peer: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A running server; its ready line, with address and process ids."""
    words = [*peer["server"], "--spec", str(SPEC)]
    process = subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **peer["environ"]}
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise SystemExit(f"{' '.join(words)} ended with exit code {process.wait()} before it was ready")
        yield json.loads(line)
    finally:
        process.kill()
        process.wait()


def measure(peer: dict[str, Any], workload: str, mode: str, ready: dict[str, Any]) -> dict[str, Any]:
    """The result line of one workload."""
    words = [*peer["client"], "--spec", str(SPEC), "--address", ready["address"], "--workload", workload]
    words += ["--mode", mode, "--server-pids", ",".join(str(pid) for pid in ready["pids"])]
    answer = subprocess.run(
        words, capture_output=True, text=True, env={**os.environ, **peer["environ"]}, timeout=120, check=False
    )
    if not answer.stdout:
        return {"ok": False, "error": answer.stderr.strip()[-300:] or f"exit code {answer.returncode}"}
    result: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    return result


def alone(words: list[str]) -> int:
    """W1 to W8 of our rows, as one table; 1 if a sample failed."""
    parser = argparse.ArgumentParser(prog="./dev bench", description="our rows alone")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--peers", default="aster-rust,aster-python")
    parser.add_argument("--workloads", default="W1,W2,W3,W4,W5,W6,W7,W8")
    parser.add_argument("--rounds", type=int)
    args = parser.parse_args(words)
    mode = "quick" if args.quick else "full"
    known = peers()
    names = args.peers.split(",")
    for name in names:
        if name not in known:
            parser.error(f"no peer {name} here; known: {', '.join(known)}")
    units = {w: meta["unit"] for w, meta in json.loads(SPEC.read_text(encoding="utf-8"))["workloads"].items()}
    workloads = args.workloads.split(",")
    samples: dict[tuple[str, str], list[float]] = {}
    failed = False
    for round_ in range(args.rounds or ROUNDS[mode]):
        for workload in workloads:
            for name in names if round_ % 2 == 0 else names[::-1]:
                with serving(known[name]) as ready:  # a fresh server each time: W8 needs one
                    result = measure(known[name], workload, mode, ready)
                if result["ok"]:
                    samples.setdefault((name, workload), []).append(result["value"])
                    say(f"[{round_ + 1}] {workload} {name:14} {result['value']:>12} {units[workload]}")
                else:
                    failed = True
                    say(f"[{round_ + 1}] {workload} {name:14} failed: {result['error']}")
    print("| peer | " + " | ".join(f"{w} {units[w]}" for w in workloads) + " |")
    print("|---" * (len(workloads) + 1) + "|")
    for name in names:
        cells = [samples.get((name, w)) for w in workloads]
        print(f"| {name} | " + " | ".join(f"{statistics.median(c):,.2f}" if c else "failed" for c in cells) + " |")
    return 1 if failed else 0


# ---------------------------------------------------------------- the command


def main() -> int:
    words = sys.argv[1:]
    if any(word in ("-h", "--help") for word in words):
        print(__doc__)
        return 0
    if words[:1] == ["boundary"]:
        script = BENCHMARKS / "boundary" / "run.py"
        return subprocess.run([sys.executable, str(script), *words[1:]], check=False).returncode
    build_rust()
    build_python()
    if words[:1] == ["memory"]:
        return memory.main(words[1:], peers(), serving)
    place = Path(os.environ.get("ASTER_BENCH", ROOT.parent / "shared" / "bench"))
    runner = place / "run_peers"
    if not runner.exists():
        say(f"no peer benchmark in {place} (set ASTER_BENCH to its folder): measuring our own rows alone")
        return alone(words)
    extra = [word for name in ("python", "node", "rust") for word in ("--extra", str(BENCHMARKS / name))]
    return subprocess.run([str(runner), *extra, *words], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
