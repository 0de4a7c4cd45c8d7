"""Check: a parameter that comes back frozen or unfrozen."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from torch import nn

from pytest_ckpt.checks import Case, Check, Stage
from pytest_ckpt.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_ckpt.resume.resumption import Resumption
    from pytest_ckpt.trip import Trip


class RequiresGrad(Check):
    """A parameter comes back with another `requires_grad`.

    ## What it checks

    `requires_grad` of every parameter on both sides. A loader that returns the whole module frozen and in eval mode
    is left alone: that is a module for inference.

    ## Why it matters

    A state_dict does not carry the flag. A backbone that `prepare` froze trains again after loading, a head that a
    loader assigns without its flag never trains at all.

    ## How it is found

    By comparing the flags.

    ## What to do

    Freeze in `__init__`, or save which parameters are frozen beside the weights and freeze them again when loading.

    ## References

    - [torch.Tensor.requires_grad_](https://docs.pytorch.org/docs/stable/generated/torch.Tensor.requires_grad_.html)
    """

    name: ClassVar[str] = "requires-grad"
    summary: ClassVar[str] = "requires_grad of a parameter differs after loading"
    stage: ClassVar[Stage] = Stage.FLAGS

    def run(self, trip: Trip) -> Iterator[Finding]:
        for one in trip.grad_flags:
            yield Finding(
                self.name,
                one.key,
                "the parameter was frozen and trains now"
                if one.expected == "False"
                else "the parameter trained and is frozen now",
                f'module.get_parameter("{one.key}").requires_grad_({one.expected}) after loading, or in __init__',
                f"requires_grad={one.expected}",
                f"requires_grad={one.actual}",
            )

    def resumed(self, resumption: Resumption) -> Iterator[Finding]:
        yield from resumption.save_findings(self.name, "requires_grad_(...) at the end of save, for {key}")
        yield from resumption.findings(self.name, "save which parameters are frozen, and requires_grad_(...) in load")

    @staticmethod
    def failing() -> Case:
        return Case(lambda: nn.Linear(3, 3), key="bias", arguments={"prepare": _freeze})

    @staticmethod
    def passing() -> Case:
        return Case(_Frozen)


def _freeze(module: nn.Linear) -> None:
    module.bias.requires_grad = False


class _Frozen(nn.Linear):
    def __init__(self) -> None:
        super().__init__(3, 3)
        _freeze(self)
