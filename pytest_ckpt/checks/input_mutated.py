"""Check: a load that changes the caller's state_dict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from torch import nn

from pytest_ckpt.checks import Case, Check, Stage
from pytest_ckpt.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_ckpt.trip import Trip


class InputMutated(Check):
    """Loading changes the state_dict that it was given.

    ## What it checks

    The dict passed to `load_state_dict` (or to the user's own `load_state`) has the same keys afterwards, and its
    tensors the same bits.

    ## Why it matters

    The same dict is often loaded twice: into a model and its EMA copy, into several ranks, or kept as the best state.
    If the first load pops keys or rescales tensors in place, the second one gets something else.

    ## How it is found

    By fingerprints of the dict before and after.

    ## What to do

    Work on a copy: `state_dict = dict(state_dict)` before popping, `tensor * scale` rather than `tensor.mul_(scale)`.
    `nn.Module.load_state_dict` already makes a shallow copy before hooks see it, so a pre-hook may pop keys.

    ## References

    - [pytorch/pytorch#188166](https://github.com/pytorch/pytorch/issues/188166)
    """

    name: ClassVar[str] = "input-mutated"
    summary: ClassVar[str] = "loading changes the state_dict that it is given"
    stage: ClassVar[Stage] = Stage.LOAD

    def run(self, trip: Trip) -> Iterator[Finding]:
        for one in trip.dict_changes:
            yield Finding(
                self.name,
                one.key,
                "loading changed this entry of the state_dict that it was given",
                "copy before changing: state_dict = dict(state_dict); and tensor * scale, not tensor.mul_(scale)",
                one.expected,
                one.actual,
            )

    @staticmethod
    def failing() -> Case:
        return Case(_PopsKeys, key="weight")

    @staticmethod
    def passing() -> Case:
        return Case(_PopsKeysOfCopy)


class _PopsKeys(nn.Linear):
    def __init__(self) -> None:
        super().__init__(3, 3)

    def load_state_dict(self, state_dict: Any, *args: Any, **kwargs: Any) -> Any:
        weight = state_dict.pop("weight")
        return super().load_state_dict({**state_dict, "weight": weight}, *args, **kwargs)


class _PopsKeysOfCopy(_PopsKeys):
    def load_state_dict(self, state_dict: Any, *args: Any, **kwargs: Any) -> Any:
        return super().load_state_dict(dict(state_dict), *args, **kwargs)
