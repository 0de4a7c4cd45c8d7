"""Check: an old checkpoint that fits, and means something else today."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import nn

from pytest_ckpt.checks import Case, Check, Stage
from pytest_ckpt.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_ckpt.compatibility.search.bench import Cause


class Semantics(Check):
    """An old checkpoint loads without a complaint, and the module computes something else with it.

    ## What it checks

    The outputs of a module of today with an old checkpoint against those that the older version gave for the same
    inputs. It belongs to `check_compatibility` and `ckpt_regression`, which know an older version.

    ## Why it matters

    The epsilon of a norm, the number of heads, an activation, the order in which equal layers are applied: none of
    these is in a state_dict. When a default changes, every checkpoint that users have still loads with `strict=True`,
    and its predictions are others.

    ## How it is found

    One change after another is made to the loaded module until one brings the old outputs back: settings of
    submodules, numbers solved for to their last digit; layers and entries that change places; layers skipped;
    activations, reductions and numbers in the calls that forward makes. What is reported is the change that worked.

    ## What to do

    Build the module as the checkpoint was made, and save with the weights what decides how it is built:
    `torch.save({"settings": model.settings, "state": model.state_dict()}, path)`, or `get_extra_state`.

    ## References

    - [torch.nn.Module, get_extra_state](https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html)
    - [Lightning-AI/pytorch-lightning#19906](https://github.com/Lightning-AI/pytorch-lightning/issues/19906)
    """

    name: ClassVar[str] = "semantics"
    summary: ClassVar[str] = "an old checkpoint fits today's code, and the outputs are others"
    stage: ClassVar[Stage] = Stage.VERSIONS

    def compared(self, cause: Cause) -> Iterator[Finding]:
        yield Finding(self.name, cause.key, cause.message, cause.hint, cause.expected, cause.actual)

    @staticmethod
    def failing() -> Case:
        return Case(
            lambda: _Net(eps=0.01),
            key="norm.eps",
            arguments={"checkpoint": _old().state_dict(), "inputs": _INPUTS, "outputs": _old()(_INPUTS)},
            judge="check_compatibility",
        )

    @staticmethod
    def passing() -> Case:
        return Case(
            lambda: _Net(eps=1e-5),
            arguments={"checkpoint": _old().state_dict(), "inputs": _INPUTS, "outputs": _old()(_INPUTS)},
            judge="check_compatibility",
        )


class _Net(nn.Module):
    def __init__(self, eps: float) -> None:
        super().__init__()
        self.norm, self.head = nn.LayerNorm(4, eps=eps), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(x))  # type: ignore[no-any-return]


@cache
def _old() -> _Net:
    return _Net(eps=1e-5).eval()


_INPUTS = torch.linspace(-1.0, 1.0, 8).reshape(2, 4)
