"""Check: an entry that comes back in another shape."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import nn

from pytest_ckpt.checks import Case, Check, Stage
from pytest_ckpt.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_ckpt.resume.resumption import Resumption
    from pytest_ckpt.trip import Trip


class ShapeChanged(Check):
    """An entry comes back in another shape or layout.

    ## What it checks

    Shape and layout (strided, sparse COO, CSR) of every live entry on both sides; and that a loader of the user's own
    does not spread a single element, or a single row, over a whole entry.

    ## Why it matters

    A loader that assigns or copies entry by entry does not check shapes: `copy_` broadcasts, and an assigned tensor
    takes the place of one of another shape until the first forward that notices, if one does.

    ## How it is found

    By comparing the live tensors after loading.

    ## What to do

    Load with `load_state_dict`, which refuses another shape, or compare `tensor.shape` before copying.

    ## References

    - [pytorch/pytorch#8282](https://github.com/pytorch/pytorch/issues/8282)
    """

    name: ClassVar[str] = "shape-changed"
    summary: ClassVar[str] = "an entry changes its shape or layout"
    stage: ClassVar[Stage] = Stage.STRUCTURE

    def run(self, trip: Trip) -> Iterator[Finding]:
        for one in trip.of_category(self.name):
            yield Finding(
                self.name,
                one.key,
                "the shape changed" if one.aspect == "shape" else "the layout changed",
                "load with module.load_state_dict(state_dict), which refuses entries that do not fit",
                one.expected,
                one.actual,
            )
        for lapse in trip.lapses:
            if lapse.outcome == "broadcast":
                yield Finding(
                    self.name,
                    lapse.key,
                    "the loader took a checkpoint in which this entry has fewer elements, and spread them over it",
                    "compare before copying: if value.shape != tensor.shape: raise RuntimeError(name)",
                )

    def resumed(self, resumption: Resumption) -> Iterator[Finding]:
        return resumption.findings(
            self.name, "build {part} in training() as it was when it was saved, then {part}.load_state_dict(...)"
        )

    @staticmethod
    def failing() -> Case:
        return Case(lambda: nn.Linear(3, 3), key="weight", arguments={"load": _load_flat})

    @staticmethod
    def passing() -> Case:
        return Case(lambda: nn.Linear(3, 3), arguments={"load": _load})


def _load_flat(path: Path) -> nn.Module:
    module = nn.Linear(3, 3)
    for name, value in torch.load(path, map_location="cpu", weights_only=True).items():
        setattr(module, name, nn.Parameter(value.flatten()))
    return module


def _load(path: Path) -> nn.Module:
    module = nn.Linear(3, 3)
    module.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return module
