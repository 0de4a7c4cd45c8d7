"""Check: position of a schedule that a resumed training lacks."""

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


class SchedulerState(Check):
    """A learning rate schedule starts again, or goes on from another place.

    ## What it checks

    All attributes of every scheduler that the run has, the optimizer that it drives, and the learning rates that it has
    set.

    ## Why it matters

    The warm-up runs a second time, in the middle of training, or the learning rate that had decayed is high again: the
    loss jumps, and often never comes back to where it was.

    ## How it is found

    The uninterrupted run's schedule is put into the resumed run, and it trains on. If the two then make the same steps,
    bit for bit, this was what the checkpoint lacked.

    ## What to do

    Save `scheduler.state_dict()`. Build the scheduler before anything is loaded, since building it sets the learning
    rate of its optimizer; then call `scheduler.load_state_dict(...)`.

    ## References

    - [torch.optim](https://docs.pytorch.org/docs/stable/optim.html)
    - [pytorch/pytorch#65342](https://github.com/pytorch/pytorch/issues/65342)
    - [meta-pytorch/torchtune#2730](https://github.com/meta-pytorch/torchtune/issues/2730)
    """

    name: ClassVar[str] = "scheduler-state"
    summary: ClassVar[str] = "a resumed training begins its learning rate schedule anew"
    stage: ClassVar[Stage] = Stage.TRAINING

    def resumed(self, resumption: Resumption) -> Iterator[Finding]:
        return resumption.findings(
            self.name,
            "save scheduler.state_dict(), and call scheduler.load_state_dict(...) on one built before loading",
        )

    @staticmethod
    def failing() -> Case:
        return Case(_training_without, key="scheduler.last_epoch", judge="check_resume")

    @staticmethod
    def passing() -> Case:
        return Case(_training, judge="check_resume")


def _training() -> Training:
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    return Training(model, optimizer, _step, scheduler=torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5))


def _training_without() -> Training:
    run = _training()
    return Training(run.model, run.optimizer, _step, save=_save, load=_load, scheduler=run.scheduler)


def _step(run: Any, number: int) -> Any:
    loss = run.model(torch.full((2, 3), number + 1.0)).square().mean()
    run.optimizer.zero_grad()
    loss.backward()
    run.optimizer.step()
    run.scheduler.step()
    return loss.item()


def _save(run: Any, path: Path) -> None:
    torch.save({"model": run.model.state_dict(), "optimizer": run.optimizer.state_dict()}, path)


def _load(run: Any, path: Path) -> None:
    content = torch.load(path, weights_only=True)
    run.model.load_state_dict(content["model"])
    run.optimizer.load_state_dict(content["optimizer"])
