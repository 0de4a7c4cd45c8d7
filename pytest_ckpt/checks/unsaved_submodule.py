"""Check: layers that no state_dict can see."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import nn

from pytest_ckpt.checks import Case, Check, Stage
from pytest_ckpt.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_ckpt.trip import Trip


class UnsavedSubmodule(Check):
    """Layers kept in a plain Python container are invisible to the checkpoint.

    ## What it checks

    A list, tuple, set or dict attribute holds modules that are registered nowhere, and their parameters differ
    between the saved and the loaded module. References to layers that are registered under another name are left
    alone.

    ## Why it matters

    `nn.Module` registers a submodule when it is assigned to an attribute, not when it sits in a container that is.
    Its parameters are then missing from `state_dict()`, from `parameters()`, so the optimizer never trains them, and
    from `.to(device)`.

    ## How it is found

    With inputs: the container is transplanted from the saved into the loaded module, and the outputs agree. Without
    inputs: the parameters of the unregistered modules differ.

    ## What to do

    Use `nn.ModuleList` in place of a list and `nn.ModuleDict` in place of a dict.

    ## References

    - [torch.nn.ModuleList](https://docs.pytorch.org/docs/stable/generated/torch.nn.ModuleList.html)
    - [pytorch/pytorch#38639](https://github.com/pytorch/pytorch/issues/38639)
    """

    name: ClassVar[str] = "unsaved-submodule"
    summary: ClassVar[str] = "layers kept in a plain list, tuple or dict are in no checkpoint"
    stage: ClassVar[Stage] = Stage.VALUES

    def run(self, trip: Trip) -> Iterator[Finding]:
        found = {
            one.key: (one.expected, one.actual, one.type) for one in trip.outputs.culprits if one.kind == "submodule"
        }
        found.update(
            (one.key, (one.expected, one.actual, "dict" if one.expected.startswith("dict") else "list"))
            for one in trip.hidden
        )
        for key, (expected, actual, kind) in found.items():
            name = key.rpartition(".")[2]
            container = "nn.ModuleDict" if kind == "dict" else "nn.ModuleList"
            yield Finding(
                self.name,
                key,
                "these submodules are not registered, so their parameters are in no state_dict",
                f"self.{name} = {container}(self.{name})"
                if kind in {"list", "tuple", "dict"}
                else f"assign the module to an attribute of its own, or use {container}",
                expected,
                actual,
            )

    @staticmethod
    def failing() -> Case:
        return Case(_PlainList, key="layers", arguments={"inputs": torch.ones(2, 3)})

    @staticmethod
    def passing() -> Case:
        return Case(_ModuleList, arguments={"inputs": torch.ones(2, 3)})


class _PlainList(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = [nn.Linear(3, 3), nn.Linear(3, 3)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class _ModuleList(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3)])
        self.order = [self.layers[1], self.layers[0]]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.order:
            x = layer(x)
        return x
