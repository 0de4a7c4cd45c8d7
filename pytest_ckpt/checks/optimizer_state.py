"""Check: state of an optimizer that a resumed training lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn

from pytest_ckpt import Training
from pytest_ckpt.checks import Case, Check, Stage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_ckpt.findings import Finding
    from pytest_ckpt.resume.resumption import Resumption


class OptimizerState(Check):
    """An optimizer goes on without what it had gathered, or with that of another parameter.

    ## What it checks

    What an optimizer keeps for each parameter (momentum, moments, step counts, curvature), the settings of its
    parameter groups, and whether it holds the very parameters of the model. All are compared by the name that the
    parameter has in the model, so that state which has come to another parameter shows.

    ## Why it matters

    Adam without its moments makes steps of the full learning rate in any direction. An optimizer that holds the
    parameters from before the load trains tensors that nobody reads, and the loss stays where it is.

    ## How it is found

    The uninterrupted run's state is put into the resumed run, and it trains on. If the two then make the same steps,
    bit for bit, this was what the checkpoint lacked.

    ## What to do

    Save `optimizer.state_dict()` beside the model's. When resuming, first load the model, then build the optimizer,
    then `optimizer.load_state_dict(...)`; and let both runs list the parameters in the same order.

    ## References

    - [torch.optim.Optimizer.load_state_dict](https://docs.pytorch.org/docs/stable/generated/torch.optim.Optimizer.load_state_dict.html)
    - [pytorch/pytorch#1489](https://github.com/pytorch/pytorch/issues/1489)
    - [pytorch/pytorch#121158](https://github.com/pytorch/pytorch/issues/121158)
    """

    name: ClassVar[str] = "optimizer-state"
    summary: ClassVar[str] = "a resumed training has not the optimizer's state or settings"
    stage: ClassVar[Stage] = Stage.TRAINING

    def resumed(self, resumption: Resumption) -> Iterator[Finding]:
        return resumption.findings(
            self.name,
            "save optimizer.state_dict(), and call optimizer.load_state_dict(...) once the model is loaded",
        )

    @staticmethod
    def failing() -> Case:
        return Case(_training_without, key="weight momentum_buffer", judge="check_resume")

    @staticmethod
    def passing() -> Case:
        return Case(_training, judge="check_resume")


def _training() -> Training:
    model = nn.Linear(3, 1)
    return Training(model, torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9), _step)


def _training_without() -> Training:
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    return Training(model, optimizer, _step, save=_save, load=_load)


def _step(run: Any, number: int) -> Any:
    loss = run.model(torch.full((2, 3), number + 1.0)).square().mean()
    run.optimizer.zero_grad()
    loss.backward()
    run.optimizer.step()
    return loss.item()


def _save(run: Any, path: Path) -> None:
    torch.save(run.model.state_dict(), path)


def _load(run: Any, path: Path) -> None:
    run.model.load_state_dict(torch.load(path, weights_only=True))
