"""Check: two values for what is one tensor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn

from pytest_ckpt.checks import Case, Check, Stage
from pytest_ckpt.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_ckpt.trip import Trip


class TieConflict(Check):
    """The checkpoint holds two values for names that are one tensor, and the one that is loaded last wins.

    ## What it checks

    An entry comes back with the value of another name, with which it is one tensor after loading and was not before;
    or the file holds different values for two names that are one tensor in the saved module.

    ## Why it matters

    `load_state_dict` writes both into the same memory, one after the other, strictly and without a complaint. An
    output layer that was untied, or fine-tuned apart from the embedding, is overwritten.

    ## How it is found

    By object identity on both sides, where an entry differs after loading.

    ## What to do

    Tie or untie in `__init__` by what is saved: keep the setting with the weights, and call
    `tie_weights()` when loading only where `config.tie_weights` says so.

    ## References

    - [torch.nn.Module.load_state_dict](https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html)
    """

    name: ClassVar[str] = "tie-conflict"
    summary: ClassVar[str] = "two saved values for what is one tensor after loading"
    stage: ClassVar[Stage] = Stage.KEYS

    def run(self, trip: Trip) -> Iterator[Finding]:
        for one in trip.tie_conflicts:
            yield Finding(
                self.name,
                one.key,
                f"the checkpoint holds another value for {one.actual!r}, and both are loaded into one tensor",
                f"tie module.{one.key} = module.{one.actual} on both sides or on neither, by a setting in the file",
                one.expected,
                f"one tensor with {one.actual!r}",
            )

    @staticmethod
    def failing() -> Case:
        return Case(_Tied, key="embedding.weight", arguments={"prepare": _untie})

    @staticmethod
    def passing() -> Case:
        return Case(_Tied, arguments={"prepare": _train})


class _Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(4, 3)
        self.head = nn.Linear(3, 4, bias=False)
        self.head.weight = self.embedding.weight


def _untie(module: Any) -> None:
    module.head.weight = nn.Parameter(torch.randn(4, 3))


def _train(module: Any) -> None:
    with torch.no_grad():
        module.head.weight.add_(torch.randn(4, 3))
