"""Time a round trip beside its floor: bare save, load, load_state_dict and one comparison of bits, in the same run.

    python tests/bench/roundtrip.py [--gigabytes 1] [--repeat 3]

Two rows are printed: a large module, as a multiple of the floor, and a small one with every check, as milliseconds
beyond what its forwards cost.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.utils import skip_init

from pytest_ckpt import check_module

if TYPE_CHECKING:
    from collections.abc import Callable

WIDTH = 4096


def layers(count: int) -> nn.Module:
    """Give a stack of layers without their random initialisation, which would be most of the time."""
    return nn.Sequential(*(skip_init(nn.Linear, WIDTH, WIDTH) for _ in range(count)))


def filled(count: int) -> nn.Module:
    """Give the stack with values in it."""
    module = layers(count)
    for parameter in module.parameters():
        nn.init.constant_(parameter, 0.5)
    return module


def floor(source: nn.Module, target: nn.Module) -> None:
    """Save, load by mapping, load into a module that exists, compare the bits: nothing can do with less."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "checkpoint.pt")
        torch.save(source.state_dict(), path)
        target.load_state_dict(torch.load(path, map_location="cpu", weights_only=True, mmap=True))
    for expected, actual in zip(source.parameters(), target.parameters(), strict=True):
        assert torch.equal(expected.detach().view(torch.int32), actual.detach().view(torch.int32))


def timed(action: Callable[[], Any], repeat: int) -> float:
    """Give the median time of an action in seconds."""
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def small() -> nn.Module:
    """Give a module of the size that test suites use."""
    return nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))


def main() -> None:
    """Run both comparisons and print them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=1.0, help="size of the large module")
    parser.add_argument("--repeat", type=int, default=3, help="how often each is run; the median counts")
    arguments = parser.parse_args()

    count = max(1, round(arguments.gigabytes * 2**30 / (4 * WIDTH * WIDTH)))
    least = timed(partial(floor, filled(count), layers(count)), arguments.repeat)
    taken = timed(lambda: check_module(lambda: filled(count), devices=["cpu"]).raise_for_findings(), arguments.repeat)
    size = count * 4 * WIDTH * WIDTH / 2**30
    sys.stdout.write(f"{size:.2f} GB: {taken:.2f} s, {taken / least:.1f} times the floor of {least:.2f} s\n")

    inputs = torch.ones(4, 8)
    module = small().eval()
    check_module(small, inputs)
    forward = timed(lambda: module(inputs), 50)
    taken = timed(lambda: check_module(small, inputs).raise_for_findings(), 20)
    sys.stdout.write(f"small: {taken * 1000:.1f} ms, of which one forward {forward * 1000:.2f} ms\n")


if __name__ == "__main__":
    main()
