"""Check: a tie that came apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from torch import nn

from pytest_ckpt.checks import Case, Check, Stage
from pytest_ckpt.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_ckpt.trip import Trip


class TieBroken(Check):
    """Names that were one tensor before saving are several tensors after loading.

    ## What it checks

    Which names hold one and the same Parameter or buffer object, on both sides. Shared memory is not enough: two
    Parameters over one storage get an optimizer state each.

    ## Why it matters

    An embedding tied to the output layer that comes back untied trains as two matrices, of which only one gets most
    of the gradient; the file of the next checkpoint grows by the difference.

    ## How it is found

    By object identity, in the module that was saved and in the one that was loaded.

    ## What to do

    Tie in `__init__`, which every load then starts from. After `load_state_dict(..., assign=True)` or a construction
    on the meta device, tie again: `model.head.weight = model.embedding.weight`.

    ## References

    - [torch.nn.Module.load_state_dict, assign](https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html)
    - [huggingface/transformers#38870](https://github.com/huggingface/transformers/issues/38870)
    """

    name: ClassVar[str] = "tie-broken"
    summary: ClassVar[str] = "two names that were one tensor are two after loading"
    stage: ClassVar[Stage] = Stage.FLAGS

    def run(self, trip: Trip) -> Iterator[Finding]:
        for names in trip.broken_ties:
            first, *others = names
            yield Finding(
                self.name,
                others[-1],
                f"{' and '.join(map(repr, names))} were one tensor and are several now",
                f"tie again after loading: module.{others[-1]} = module.{first}",
                "one tensor",
                "separate tensors",
            )

    @staticmethod
    def failing() -> Case:
        return Case(_Tied, key="head.weight", arguments={"load_state": _assign})

    @staticmethod
    def passing() -> Case:
        return Case(_Tied)


class _Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(4, 3)
        self.head = nn.Linear(3, 4, bias=False)
        self.head.weight = self.embedding.weight


def _assign(module: nn.Module, state: Any) -> None:
    module.load_state_dict(state, assign=True)
