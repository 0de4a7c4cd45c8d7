"""Check: a value that comes back different."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn

from pytest_ckpt.checks import Case, Check, Stage
from pytest_ckpt.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_ckpt.resume.resumption import Resumption
    from pytest_ckpt.trip import Trip


class ValueChanged(Check):
    """An entry comes back with other values than it was saved with.

    ## What it checks

    Every entry, bit for bit: NaN equals the same NaN, -0.0 is not 0.0. What is compared are the live tensors of both
    modules, not two state_dicts, so a hook that changes a value on the way out must undo it on the way in.

    ## Why it matters

    A weight that is transposed, shifted by one, rounded to half precision or put into its neighbour's place still has
    the right name, shape and dtype.

    ## How it is found

    By comparing the integers that the bits stand for, after loading into a fresh module.

    ## What to do

    Make the load hook (`register_load_state_dict_pre_hook`) the exact inverse of the save hook, and copy by name, not
    by position: `target[name].copy_(state_dict[name])`.

    ## References

    - [pytorch/pytorch#75287](https://github.com/pytorch/pytorch/issues/75287)
    - [pytorch/pytorch#8282](https://github.com/pytorch/pytorch/issues/8282)
    """

    name: ClassVar[str] = "value-changed"
    summary: ClassVar[str] = "an entry comes back with other bits"
    stage: ClassVar[Stage] = Stage.VALUES

    def run(self, trip: Trip) -> Iterator[Finding]:
        for one in trip.of_category(self.name):
            message, hint = _CAME_BACK[
                "rounded" if one.key in trip.rounded else "mixed" if one.key in trip.mixed else "changed"
            ]
            detail = f": {one.detail}" if one.detail else ""
            yield Finding(self.name, one.key, message + detail, hint, one.expected, one.actual)

    def resumed(self, resumption: Resumption) -> Iterator[Finding]:
        return resumption.findings(self.name, "save {part}.state_dict() as it is while it trains, and load it by name")

    @staticmethod
    def failing() -> Case:
        return Case(_Shifted, key="weight", arguments={"inputs": torch.ones(2, 3)})

    @staticmethod
    def passing() -> Case:
        return Case(_ShiftedAndBack, arguments={"inputs": torch.ones(2, 3)})


_CAME_BACK = {
    "changed": (
        "the value came back different",
        "undo in self.register_load_state_dict_pre_hook(...) what saving did, and copy by name",
    ),
    "mixed": (
        "the loader mixed the saved value with what the new module held",
        "load_state_dict(state_dict) before anything else, and average with models that were loaded too",
    ),
    "rounded": ("the value was rounded to a narrower dtype and back", "save the entry in its own dtype"),
}


class _Shifted(nn.Module):
    """Stores its weight as one plus an offset, and saves the sum."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3))
        self.register_state_dict_post_hook(_add_one)  # type: ignore[no-untyped-call]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * (1 + self.weight)


class _ShiftedAndBack(_Shifted):
    def __init__(self) -> None:
        super().__init__()
        with torch.no_grad():
            self.weight.fill_(0.5)  # one more and one less is exact for it
        self.register_load_state_dict_pre_hook(_subtract_one)  # type: ignore[no-untyped-call]


def _add_one(_module: Any, state: Any, prefix: str, _metadata: Any) -> None:
    state[f"{prefix}weight"] = state[f"{prefix}weight"] + 1


def _subtract_one(_module: Any, state: Any, prefix: str, *_rest: Any) -> None:
    state[f"{prefix}weight"] = state[f"{prefix}weight"] - 1
