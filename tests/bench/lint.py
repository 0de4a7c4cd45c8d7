"""Compare the CPU time of `ckpt-lint` with that of `ruff check --select S` over one tree, both in the same run.

    python tests/bench/lint.py [FOLDER] [--rounds N]

FOLDER is the installed `transformers` package if none is given. CPU seconds are those of the process and its children,
user and system; the median of the rounds is printed, and the ratio.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

_FIRST = "CKP101,CKP201,CKP301"


def installed(package: str) -> Path:
    """Find the folder of an installed package without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise SystemExit(f"{package} is not installed; give a folder")
    return Path(spec.origin).parent


def measure(command: list[str]) -> tuple[float, float]:
    """Run a command and give its CPU seconds and its wall seconds; findings are no failure."""
    before, start = os.times(), time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    after = os.times()
    if done.returncode not in {0, 1}:
        raise SystemExit(f"{command} failed:\n{done.stderr.decode()}")
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return spent, time.perf_counter() - start


def main() -> None:
    """Print a table of medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    folder = args.folder or installed("transformers")
    commands = {
        "ruff": [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "S", "--no-cache", str(folder)],
        "ckpt-lint, all default rules": [sys.executable, "-m", "lint_rules", str(folder)],
        f"ckpt-lint, {_FIRST}": [sys.executable, "-m", "lint_rules", "--select", _FIRST, str(folder)],
    }
    rounds = {name: [measure(command) for _ in range(args.rounds)] for name, command in commands.items()}
    cpu = {name: statistics.median(spent for spent, _ in measured) for name, measured in rounds.items()}
    for name, measured in rounds.items():
        wall = statistics.median(seconds for _, seconds in measured)
        ratio = cpu[name] / cpu["ruff"]
        print(f"{name:36} {cpu[name]:6.2f} CPU s  {wall:6.2f} s wall  {ratio:5.2f} times ruff's CPU")  # noqa: T201 -- a script's output


if __name__ == "__main__":
    main()
