"""Check: a buffer that was told not to be saved."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import nn

from pytest_ckpt.checks import Case, Check, Stage
from pytest_ckpt.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_ckpt.resume.resumption import Resumption
    from pytest_ckpt.trip import Trip


class NonpersistentBuffer(Check):
    """A buffer registered with `persistent=False` holds something that cannot be made again.

    ## What it checks

    A non-persistent buffer differs between the saved and the loaded module, and the outputs depend on it.

    ## Why it matters

    `persistent=False` is right for what the constructor always computes alike, such as a rotary table. A random
    projection, a running statistic or anything that training moves is lost with it.

    ## How it is found

    The buffer is transplanted from the saved into the loaded module, and the outputs agree. A table that is the same
    in every instance never differs, so it stays silent.

    ## What to do

    Register it without `persistent=False`. Where old checkpoints must still load, add the missing key in a
    `register_load_state_dict_pre_hook`.

    ## References

    - [torch.nn.Module.register_buffer](https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html)
    - [pytorch/pytorch#18056](https://github.com/pytorch/pytorch/issues/18056)
    """

    name: ClassVar[str] = "nonpersistent-buffer"
    summary: ClassVar[str] = "a buffer with persistent=False decides the outputs"
    stage: ClassVar[Stage] = Stage.VALUES

    def run(self, trip: Trip) -> Iterator[Finding]:
        for culprit in trip.outputs.culprits:
            if culprit.kind == "buffer":
                name = culprit.key.rpartition(".")[2]
                yield Finding(
                    self.name,
                    culprit.key,
                    f"the buffer is registered with persistent=False, and the outputs depend on it ({culprit.place})",
                    f'self.register_buffer("{name}", ...) without persistent=False',
                    culprit.expected,
                    culprit.actual,
                )

    def resumed(self, resumption: Resumption) -> Iterator[Finding]:
        return resumption.findings(self.name, "register_buffer(..., persistent=True) for {key}, or save it by itself")

    @staticmethod
    def failing() -> Case:
        return Case(_Projection, key="projection", arguments={"inputs": torch.ones(2, 3)})

    @staticmethod
    def passing() -> Case:
        return Case(_Table, arguments={"inputs": torch.ones(2, 3)})


class _Projection(nn.Module):
    projection: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("projection", torch.randn(3, 3), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.projection


class _Table(nn.Module):
    table: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", torch.arange(3.0).exp(), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.table
