"""Time a round trip beside its floor and its peers, in one run, and measure its memory.

    pip install --no-deps -r tests/bench/requirements-roundtrip.txt    # the peer
    python tests/bench/roundtrip.py [--gigabytes 1] [--rounds 3]

The floor is bare `torch.save`, `torch.load(mmap=True)`, `load_state_dict` into a target that exists already, and one
comparison of bits. The others build their modules from an ordinary factory, random initialisation included: torch's
own functions with `torch.testing.assert_close`, as tests are written by hand, pytest-torch where it is installed, and
`check_module` with every default check. They take turns, and each round gives a ratio to its own floor; the median
counts. So it is for growth, since what a written page costs depends on what the machine did before. Memory is the peak
of a process of its own, beyond that of importing, with the pages of the file that it has mapped, as a multiple of the
module.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.utils import skip_init

from pytest_ckpt import check_module

if TYPE_CHECKING:
    from collections.abc import Callable

WIDTH = 4096
LAYER = 4 * WIDTH * WIDTH
INPUTS = torch.ones(1, WIDTH)


def layers(count: int) -> nn.Module:
    """Give a stack of layers, initialised as torch does it."""
    return nn.Sequential(*(nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(count)))


def empty(count: int) -> nn.Module:
    """Give the stack without initialisation, which would be most of the time."""
    return nn.Sequential(*(skip_init(nn.Linear, WIDTH, WIDTH, bias=False) for _ in range(count)))


def floor(count: int) -> float:
    """Save, map, load, compare the bits: nothing can do with less. The two modules are there before."""
    source, target = empty(count), empty(count)
    for parameter in source.parameters():
        nn.init.constant_(parameter, 0.5)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "checkpoint.pt")
        torch.save(source.state_dict(), path)
        target.load_state_dict(torch.load(path, map_location="cpu", weights_only=True, mmap=True))
        for expected, actual in zip(source.parameters(), target.parameters(), strict=True):
            assert torch.equal(expected.detach().view(torch.int32), actual.detach().view(torch.int32))
        return time.perf_counter() - start


def by_hand(count: int) -> None:
    """Do what a test does that is written by hand: a file, another module, assert_close on states and outputs."""
    source, target = layers(count).eval(), layers(count).eval()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "checkpoint.pt")
        torch.save(source.state_dict(), path)
        target.load_state_dict(torch.load(path, weights_only=True))
    torch.testing.assert_close(dict(target.state_dict()), dict(source.state_dict()), rtol=0, atol=0)
    with torch.no_grad():
        torch.testing.assert_close(target(INPUTS), source(INPUTS))


def pytest_torch(count: int) -> None:
    """Let the nearest peer do its round trip."""
    peer = importlib.import_module("pytest_torch.checkpoint")
    peer.assert_checkpoint_roundtrip(lambda: layers(count), INPUTS)


def every_check(count: int) -> None:
    """Make our round trip, as a fixture makes it without any option."""
    check_module(lambda: layers(count), INPUTS).raise_for_findings()


WAYS: dict[str, Callable[[int], Any]] = {"check_module": every_check, "assert_close by hand": by_hand}
if importlib.util.find_spec("pytest_torch"):
    WAYS["pytest-torch"] = pytest_torch


def seconds(action: Callable[[int], Any], count: int) -> float:
    """Time one call."""
    start = time.perf_counter()
    action(count)
    return time.perf_counter() - start


def peak(way: str, count: int) -> float:
    """Give the peak memory of one call in a process of its own, as a multiple of the module."""
    command = [sys.executable, __file__, "--only", way, "--gigabytes", str(count * LAYER / 2**30)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
    return float(done.stdout)


def resident() -> int:
    """Give the most bytes that this process ever had in memory, mapped files included."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def small() -> nn.Module:
    """Give a module of the size that test suites use."""
    return nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    """Run everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=1.0, help="size of the large module")
    parser.add_argument("--rounds", type=int, default=3, help="how often each takes its turn; the median counts")
    parser.add_argument("--only", choices=WAYS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    count = max(1, round(given.gigabytes * 2**30 / LAYER))
    if given.only:
        WAYS[given.only](1)
        before = resident()
        WAYS[given.only](count)
        say(str((resident() - before + LAYER) / (count * LAYER)))
        return

    for action in WAYS.values():
        action(1)
    rounds = [
        (floor(count), {way: seconds(action, count) for way, action in WAYS.items()}) for _ in range(given.rounds)
    ]
    least = statistics.median(bare for bare, _ in rounds)
    say(f"{count * LAYER / 2**30:.2f} GB, floor {least:.2f} s")
    for way in WAYS:
        times = statistics.median(taken[way] / bare for bare, taken in rounds)
        say(f"{way:22} {times:5.1f} times the floor   memory {peak(way, count):4.2f} times the module")

    if "pytest-torch" not in WAYS:
        say("pytest-torch           is not installed: pip install --no-deps -r tests/bench/requirements-roundtrip.txt")

    turns = [{part: (floor(part), seconds(every_check, part)) for part in sizes(count)} for _ in range(given.rounds)]
    for part in sizes(count):
        times = statistics.median(turn[part][1] / turn[part][0] for turn in turns)
        taken = statistics.median(turn[part][1] for turn in turns)
        say(f"growth: {part:3} layers  {times:5.1f} times the floor   {taken / part:.3f} s a layer")

    inputs = torch.ones(4, 8)
    check_module(small, inputs)
    module = small().eval()
    forward = statistics.median(_of(lambda: module(inputs)) for _ in range(50))
    taken = statistics.median(_of(lambda: check_module(small, inputs)) for _ in range(20))
    say(f"small module: {taken * 1000:.1f} ms with every check, of which one forward is {forward * 1000:.2f} ms")


def sizes(count: int) -> list[int]:
    """Give some sizes up to the largest."""
    return sorted({max(1, count // 4), max(1, count // 2), count})


def _of(action: Callable[[], Any]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
