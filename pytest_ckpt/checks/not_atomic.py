"""Check: a save that loses the previous checkpoint when it fails."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import nn

from pytest_ckpt.checks import Case, Check, Stage
from pytest_ckpt.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_ckpt.trip import Trip


class NotAtomic(Check):
    """A save that fails half way takes the previous checkpoint with it.

    ## What it checks

    Where you promise it, `claims=("atomic",)`: after a crash or a full disk in the middle of a save over an earlier
    checkpoint, `load` gives that one or the new one, whole.

    ## Why it matters

    `torch.save(state_dict, path)` empties the file before it writes. Whoever is killed in that moment, by a scheduler,
    by the end of memory or of the disk, has neither the old nor the new checkpoint.

    ## How it is found

    A forked process saves twice to one path. In the second save the system refuses the write at a byte in the middle,
    at the first and at the last one, or kills the process there (`RLIMIT_FSIZE`); and it is killed or refused at each
    opening, renaming and removal of a file. What is on the disk then is loaded. Whether the data has left the cache of
    the system, `os.fsync`, cannot be seen in this way.

    ## What to do

    Write to a file beside it, and put it into place in one step: `torch.save(state_dict, f"{path}.tmp")`, then
    `os.replace(f"{path}.tmp", path)`.

    ## References

    - [Lightning-AI/pytorch-lightning#688](https://github.com/Lightning-AI/pytorch-lightning/issues/688)
    - [os.replace](https://docs.python.org/3/library/os.html#os.replace)
    """

    name: ClassVar[str] = "not-atomic"
    summary: ClassVar[str] = "a save that fails takes the previous checkpoint with it (if claimed)"
    stage: ClassVar[Stage] = Stage.STRICTNESS

    def run(self, trip: Trip) -> Iterator[Finding]:
        if trip.torn is not None:
            yield Finding(
                self.name,
                "save(module, path)",
                f"a save {trip.torn.how} lost the checkpoint that was there before",
                'torch.save(..., f"{path}.tmp"), then os.replace(f"{path}.tmp", path)',
                "the previous checkpoint or the new one",
                trip.torn.outcome,
            )

    @staticmethod
    def failing() -> Case:
        return Case(
            lambda: nn.Linear(3, 3),
            key="save(module, path)",
            arguments={"save": _save_in_place, "claims": ("atomic",)},
        )

    @staticmethod
    def passing() -> Case:
        return Case(lambda: nn.Linear(3, 3), arguments={"save": _save_beside, "claims": ("atomic",)})


def _save_in_place(module: nn.Module, path: Path) -> None:
    torch.save(module.state_dict(), path)


def _save_beside(module: nn.Module, path: Path) -> None:
    beside = path.with_suffix(".tmp")
    torch.save(module.state_dict(), beside)
    os.replace(beside, path)  # noqa: PTH105 -- as everybody writes it
