"""Check: a save that changes the live module."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import nn

from pytest_ckpt.checks import Case, Check, Stage
from pytest_ckpt.compare import entries
from pytest_ckpt.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_ckpt.resume.resumption import Resumption
    from pytest_ckpt.trip import Trip


_ENTRY = """convert copies of the tensors, not the module:
{name: tensor.half() for name, tensor in module.state_dict().items()}"""
_ATTRIBUTE = "work on a copy.deepcopy(...) of it, or set it again before save returns"


class SaveMutates(Check):
    """Saving changes the module that is still in use.

    ## What it checks

    After saving, the live module's entries, non-persistent buffers, gradients and requires_grad flags are bit for bit
    what they were before, and the global generators of torch and Python have not moved.

    ## Why it matters

    A save function that calls `model.half()` and `model.float()` again, that moves the model to the CPU and back or
    that strips it for release rounds or replaces the weights in the middle of training, once a checkpoint.

    ## How it is found

    By fingerprints of every tensor before and after.

    ## What to do

    Convert copies: `{name: tensor.half() for name, tensor in model.state_dict().items()}`.

    ## References

    - [MultimediaTechLab/YOLO#97](https://github.com/MultimediaTechLab/YOLO/issues/97)
    """

    name: ClassVar[str] = "save-mutates"
    summary: ClassVar[str] = "saving changes the module that is being trained"
    stage: ClassVar[Stage] = Stage.SAVE

    def run(self, trip: Trip) -> Iterator[Finding]:
        for one in trip.save_changes:
            if one.key.endswith("()"):
                yield Finding(
                    self.name,
                    one.key,
                    "saving draws from the global random number generator, so training goes on with other numbers",
                    "with torch.random.fork_rng(): ... around what draws in save",
                )
            else:
                yield Finding(
                    self.name,
                    one.key,
                    "saving changed it in the live module",
                    self._hint(one.key, trip),
                    one.expected,
                    one.actual,
                )

    @staticmethod
    def _hint(key: str, trip: Trip) -> str:
        known = entries(trip.bare)
        if key not in known and key.removesuffix(".grad") in known:
            return "leave zero_grad() and backward() to the training loop: a state_dict holds no gradients"
        return _ENTRY if key in known else _ATTRIBUTE

    def resumed(self, resumption: Resumption) -> Iterator[Finding]:
        return resumption.save_findings(
            self.name, "let save(path) work on copies, or end it with what undoes its changes"
        )

    @staticmethod
    def failing() -> Case:
        return Case(lambda: nn.Linear(3, 3), key="weight", arguments={"save": _save_half})

    @staticmethod
    def passing() -> Case:
        return Case(lambda: nn.Linear(3, 3), arguments={"save": _save_copies})


def _save_half(module: nn.Module, path: Path) -> None:
    module.half()
    torch.save(module.state_dict(), path)
    module.float()


def _save_copies(module: nn.Module, path: Path) -> None:
    torch.save({name: tensor.clone() for name, tensor in module.state_dict().items()}, path)
