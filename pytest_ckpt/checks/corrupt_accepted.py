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

    The first half of the checkpoint, as a crash or a full disk leaves it, is given to the user's `load`. It must
    raise.

    ## Why it matters

    A loader that falls back to fresh weights when reading fails starts every run after a crash from nothing, and
    reports success.

    ## How it is found

    By truncating a copy of the file and calling `load`.

    ## What to do

    Let the error through: no `except Exception: pass` around `torch.load`.

    ## References

    - [torch.load](https://docs.pytorch.org/docs/stable/generated/torch.load.html)
    """

    name: ClassVar[str] = "corrupt-accepted"
    summary: ClassVar[str] = "the loader gives a module for a file that was cut in half"
    stage: ClassVar[Stage] = Stage.STRICTNESS

    def run(self, trip: Trip) -> Iterator[Finding]:
        if trip.truncated:
            yield Finding(
                self.name,
                "load(path)",
                "load gave a module for the first half of the file, as a crash while saving leaves it",
                "let what torch.load(...) raises through, instead of going on with a fresh module",
                "an error",
                trip.truncated,
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
