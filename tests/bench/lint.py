"""Compare `ckpt-lint` with other linters over whole projects, all in the same run.

    python -m venv .venv-bench
    .venv-bench/bin/pip install -r tests/bench/requirements-lint.txt
    pip download --no-deps diffusers timm && unzip ...
    python tests/bench/lint.py FOLDER... [--peers .venv-bench] [--slow NAME] [--rounds N]

A folder is what a wheel unpacks to, such as `transformers`; its name heads a table. Wall and CPU seconds are those of
the process and its children, the median of the rounds; the memory is the largest resident set of one process. Every
run but the one named so is without a cache, and all have their bytecode, as what pip installs has. The last rows lint
two and four copies of the folder, so the time should double each time.

bandit runs with its one rule for `torch.load`, Fixit and TorchFix with all that they bring. These two take minutes
where others take seconds, so they run on the folders that are named for them. Only ruff and `ckpt-lint` run more than
once.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_OURS = [sys.executable, "-m", "lint_rules"]
_UNCACHED = [*_OURS, "--no-cache"]
_RUFF = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "S", "--no-cache"]


@dataclass(frozen=True)
class Cost:
    """What one run took: wall seconds, CPU seconds and mebibytes."""

    wall: float
    cpu: float
    memory: float


def measure(command: Sequence[str], folder: Path) -> Cost:
    """Run a command in a folder; findings, and files that a linter cannot read, are no failure."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    start = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in {0, 1, 2}:
        raise SystemExit(f"{command} failed with {process.returncode}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def median(costs: Sequence[Cost]) -> Cost:
    """Give the median of each figure."""
    return Cost(*(statistics.median(getattr(cost, name) for cost in costs) for name in ("wall", "cpu", "memory")))


def runs(name: str, work: Path, peers: Path | None, slow: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield what to run on a project, ruff first, and what to call it."""
    yield "ruff check --select S", [*_RUFF, name]
    yield "ckpt-lint", [*_UNCACHED, name]
    yield "ckpt-lint, one process", [*_UNCACHED, "--jobs", "1", name]
    yield "ckpt-lint, from cache", [*_OURS, name]
    yield "ckpt-lint, one changed file", [*_UNCACHED, str(changed(work / name).relative_to(work))]
    if peers:
        yield "bandit -t B614", [str(peers / "bin/bandit"), "-q", "-r", "-t", "B614", name]
    if peers and name in slow:
        yield "fixit lint", [str(peers / "bin/fixit"), "lint", name]
        yield "torchfix", [str(peers / "bin/torchfix"), "--select", "ALL", name]
    for times in (2, 4):
        yield f"ckpt-lint, {times} copies", [*_UNCACHED, *(f"copy{number}" for number in range(times))]


def changed(folder: Path) -> Path:
    """Choose the file that is linted alone: the largest that loads something, which is the hardest case."""
    loading = (path for path in folder.rglob("*.py") if b"torch.load" in path.read_bytes())
    return max(loading, key=lambda path: path.stat().st_size)


def table(name: str, rows: dict[str, Cost]) -> Iterator[str]:
    """Yield a Markdown table; the first row is what the others are compared with."""
    first = next(iter(rows.values()))
    yield f"| {name} | wall s | CPU s | MiB | times ruff's wall |"
    yield "|---|---|---|---|---|"
    for label, cost in rows.items():
        ratio = cost.wall / first.wall
        yield f"| {label} | {cost.wall:.2f} | {cost.cpu:.2f} | {cost.memory:.0f} | {ratio:.1f} |"


def main(say: Callable[[str], None]) -> None:
    """Print a table for each folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--peers", type=Path, help="a virtual environment with tests/bench/requirements-lint.txt")
    parser.add_argument("--slow", action="append", default=[], help="the name of a folder for Fixit and TorchFix")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    for folder in args.folders:
        with tempfile.TemporaryDirectory() as made:
            work, name = Path(made), folder.resolve().name
            for copy in (name, *(f"copy{number}" for number in range(4))):
                shutil.copytree(folder, work / copy)
            commands = dict(runs(name, work, args.peers and args.peers.absolute(), args.slow))
            measure([*_OURS, name], work)  # fills the cache
            costs: dict[str, list[Cost]] = {label: [] for label in commands}
            for number in range(args.rounds):
                for label, command in commands.items():
                    if not number or label.startswith(("ruff", "ckpt-lint")):
                        costs[label].append(measure(command, work))
            for line in table(name, {label: median(each) for label, each in costs.items()}):
                say(line)
            say("")


if __name__ == "__main__":
    main(lambda line: print(line, flush=True))  # noqa: T201 -- a script's output
