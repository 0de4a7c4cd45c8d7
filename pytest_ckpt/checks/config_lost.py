"""Check: a setting that the loader does not bring back."""

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


class ConfigLost(Check):
    """The loader rebuilds the module with other settings than those that it was saved with.

    ## What it checks

    A number, a flag or a string that the constructor sets differs between the saved and the loaded module, and the
    outputs depend on it. The weights fit all the same: eight attention heads or four, an eps or a scale change no
    shape.

    ## Why it matters

    The checkpoint loads without a complaint, strictly even, and the model computes something else.

    ## How it is found

    The setting is transplanted from the saved into the loaded module, and the outputs agree. In the saved module it
    still is what the factory gave, so it is a setting and not a state.

    ## What to do

    Save the settings with the weights, `{"config": {...}, "state_dict": module.state_dict()}`, and build the module
    from them when loading.

    ## References

    - [Lightning-AI/pytorch-lightning#19906](https://github.com/Lightning-AI/pytorch-lightning/issues/19906)
    """

    name: ClassVar[str] = "config-lost"
    summary: ClassVar[str] = "the loader builds the module with another setting than it was saved with"
    stage: ClassVar[Stage] = Stage.VALUES

    def run(self, trip: Trip) -> Iterator[Finding]:
        for culprit in trip.outputs.culprits:
            if culprit.kind == "config":
                name = culprit.key.rpartition(".")[2]
                yield Finding(
                    self.name,
                    culprit.key,
                    f"the loader builds the module with another {name}, and the outputs depend on it ({culprit.place})",
                    f'save {{"config": {{"{name}": ...}}, "state_dict": ...}}, and build the module from it in load',
                    culprit.expected,
                    culprit.actual,
                )

    @staticmethod
    def failing() -> Case:
        return Case(lambda: _Scaled(2.0), key="factor", arguments={"inputs": torch.ones(2, 3), "load": _load_default})

    @staticmethod
    def passing() -> Case:
        return Case(
            lambda: _Scaled(2.0), arguments={"inputs": torch.ones(2, 3), "save": _save_config, "load": _load_config}
        )


class _Scaled(nn.Module):
    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.factor = factor
        self.linear = nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.linear(x) * self.factor
        return result


def _load_default(path: Path) -> nn.Module:
    module = _Scaled()
    module.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return module


def _save_config(module: _Scaled, path: Path) -> None:
    torch.save({"factor": module.factor, "state_dict": module.state_dict()}, path)


def _load_config(path: Path) -> nn.Module:
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    module = _Scaled(checkpoint["factor"])
    module.load_state_dict(checkpoint["state_dict"])
    return module
