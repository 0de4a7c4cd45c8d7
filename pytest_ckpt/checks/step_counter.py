"""Check: a count that a resumed training begins anew."""

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


class StepCounter(Check):
    """A count of steps, updates or epochs starts again, and training depends on it.

    ## What it checks

    Every whole number that the run reaches and that is called like a count (`global_step`, `num_updates`, `epoch`), in
    the run, in objects that it holds, in closures and in globals.

    ## Why it matters

    Warm-up, unfreezing, loss weights and logging follow such a count. With zero again, a warm-up of the learning rate
    stops the training of a finished model for a while.

    ## How it is found

    The uninterrupted run's counts are one by one put into the resumed run, and it trains on. If the two then make the
    same steps, bit for bit, this was what the checkpoint lacked. One that changes nothing is not reported.

    ## What to do

    Save it: `torch.save({"global_step": self.global_step, ...}, path)`, and take it back when loading.

    ## References

    - [The-School-of-AI/LLM#560](https://github.com/The-School-of-AI/LLM/issues/560)
    - [mujocolab/mjlab#484](https://github.com/mujocolab/mjlab/issues/484)
    """

    name: ClassVar[str] = "step-counter"
    summary: ClassVar[str] = "a resumed training counts its steps anew"
    stage: ClassVar[Stage] = Stage.TRAINING

    def resumed(self, resumption: Resumption) -> Iterator[Finding]:
        return resumption.findings(self.name, 'save it, torch.save({{"{key}": ..., ...}}, path), and set it in load')

    @staticmethod
    def failing() -> Case:
        return Case(_training_without, key="updates", judge="check_resume")

    @staticmethod
    def passing() -> Case:
        return Case(_training, judge="check_resume")


def _training() -> Training:
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    return Training(model, optimizer, _step, save=_save, load=_load, updates=0)


def _training_without() -> Training:
    model = nn.Linear(3, 1)
    return Training(model, torch.optim.SGD(model.parameters(), lr=0.01), _step, updates=0)


def _step(run: Any, number: int) -> Any:
    run.updates += 1
    run.optimizer.param_groups[0]["lr"] = 0.01 * min(1.0, run.updates / 4)
    loss = run.model(torch.full((2, 3), number + 1.0)).square().mean()
    run.optimizer.zero_grad()
    loss.backward()
    run.optimizer.step()
    return loss.item()


def _save(run: Any, path: Path) -> None:
    torch.save({"model": run.model.state_dict(), "updates": run.updates}, path)


def _load(run: Any, path: Path) -> None:
    content = torch.load(path, weights_only=True)
    run.model.load_state_dict(content["model"])
    run.updates = content["updates"]
