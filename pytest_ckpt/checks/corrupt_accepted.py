"""Check: a loader that takes a damaged file."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import nn

from pytest_ckpt.checks import Case, Check, Stage
from pytest_ckpt.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_ckpt.trip import Trip


class CorruptAccepted(Check):
    """The loader gives a module for a damaged file.

    ## What it checks

    The user's `load` is given damaged files: the first half of the checkpoint, as a crash leaves it; an empty one; a
    web page or the pointer of Git LFS in its place; an archive of which a record is gone. It must raise.

    ## Why it matters

    A loader that falls back to fresh weights when reading fails starts every run after a crash from nothing, and
    reports success.

    ## How it is found

    By damaging a copy of the file and calling `load`. A loader that goes back to an earlier checkpoint is right.

    ## What to do

    Let the error through: no `except Exception: pass` around `torch.load`.

    ## References

    - [torch.load](https://docs.pytorch.org/docs/stable/generated/torch.load.html)
    """

    name: ClassVar[str] = "corrupt-accepted"
    summary: ClassVar[str] = "the loader gives a module for a damaged file"
    stage: ClassVar[Stage] = Stage.STRICTNESS

    def run(self, trip: Trip) -> Iterator[Finding]:
        if trip.damaged is not None:
            yield Finding(
                self.name,
                "load(path)",
                f"load gave a module for {trip.damaged.key}",
                "let what torch.load(...) raises through, instead of going on with a fresh module",
                trip.damaged.expected,
                trip.damaged.actual,
            )

    @staticmethod
    def failing() -> Case:
        return Case(lambda: nn.Linear(3, 3), key="load(path)", arguments={"load": _load_if_readable})

    @staticmethod
    def passing() -> Case:
        return Case(lambda: nn.Linear(3, 3), arguments={"load": _load})


def _load_if_readable(path: Path) -> nn.Module:
    module = nn.Linear(3, 3)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # noqa: BLE001 -- this is the fault
        return module
    module.load_state_dict(state)
    return module


def _load(path: Path) -> nn.Module:
    module = nn.Linear(3, 3)
    module.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return module
