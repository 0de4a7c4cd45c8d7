"""Check: an entry that comes back in another dtype."""

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


class DtypeChanged(Check):
    """An entry comes back in another dtype, or is saved in one that rounds it.

    ## What it checks

    The dtype of every live entry on both sides, before any value; and where values differ, whether `state_dict()`
    gave the entry in another dtype than the module holds.

    ## Why it matters

    `load_state_dict` copies into what is there: a bfloat16 checkpoint in a float32 module doubles its memory, an
    integer counter in a float32 buffer stops at 16777216, a complex buffer in a real one loses its imaginary part.
    None of it raises.

    ## How it is found

    By comparing dtypes first: `torch.equal` calls a bfloat16 and a float32 tensor of the same values equal.

    ## What to do

    Build the module in the dtype that it is used in (`Net().to(torch.bfloat16)` in the factory too), or load with
    `load_state_dict(state_dict, assign=True)`; save every entry in its own dtype.

    ## References

    - [pytorch/pytorch#187138](https://github.com/pytorch/pytorch/issues/187138)
    - [torch.nn.Module.load_state_dict, assign](https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html)
    """

    name: ClassVar[str] = "dtype-changed"
    summary: ClassVar[str] = "an entry changes its dtype, or is saved in a narrower one"
    stage: ClassVar[Stage] = Stage.STRUCTURE

    def run(self, trip: Trip) -> Iterator[Finding]:
        for one in trip.of_category(self.name):
            if one.aspect == "dtype":
                message, hint = (
                    "the dtype changed",
                    "build the fresh module in the saved dtype, or load_state_dict(..., assign=True)",
                )
            else:
                saved = str(trip.state[one.key].dtype).removeprefix("torch.")
                message = f"state_dict() gives this entry in another dtype than the module holds, {saved}: {one.detail}"
                hint = "return the entry from state_dict() in the dtype that the module holds"
            yield Finding(self.name, one.key, message, hint, one.expected, one.actual)

    def resumed(self, resumption: Resumption) -> Iterator[Finding]:
        return resumption.findings(
            self.name, "{part}.load_state_dict(...) into a {part} of the same dtype as the one that was saved"
        )

    @staticmethod
    def failing() -> Case:
        return Case(_Counter, key="seen", arguments={"prepare": _Counter.count})

    @staticmethod
    def passing() -> Case:
        return Case(_IntegerCounter, arguments={"prepare": _IntegerCounter.count})


class _Counter(nn.Module):
    seen: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def count(self) -> None:
        self.seen = torch.tensor(2**24 + 1)


class _IntegerCounter(_Counter):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
