"""Check: averaged weights that a resumed training lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from pytest_ckpt import Training
from pytest_ckpt.checks import Case, Check, Stage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_ckpt.findings import Finding
    from pytest_ckpt.resume.resumption import Resumption


class EmaState(Check):
    """Averaged weights start again, or are averaged with another decay.

    ## What it checks

    What belongs to an average of the weights: `torch.optim.swa_utils.AveragedModel`, and whatever is called `ema`,
    `swa`, `shadow` or `average`. That is its weights, its update count and its decay.

    ## Why it matters

    The averaged weights are those that are evaluated and shipped. An average that starts from the weights of a fresh
    model carries them on for thousands of steps, and so does one whose warm-up starts again, with a decay near zero.

    ## How it is found

    The uninterrupted run's average is put into the resumed run, and it trains on. If the two then make the same steps,
    bit for bit, this was what the checkpoint lacked.

    ## What to do

    Save the average with everything in it: `ema.state_dict()` for an `AveragedModel`, which holds `n_averaged` as well;
    the shadow weights and the update count for one of your own.

    ## References

    - [Weight averaging](https://docs.pytorch.org/docs/stable/optim.html#weight-averaging-swa-and-ema)
    - [lightly-ai/lightly-train#892](https://github.com/lightly-ai/lightly-train/issues/892)
    - [ai2cm/ace#349](https://github.com/ai2cm/ace/issues/349)
    """

    name: ClassVar[str] = "ema-state"
    summary: ClassVar[str] = "a resumed training has not the averaged weights or their update count"
    stage: ClassVar[Stage] = Stage.TRAINING

    def resumed(self, resumption: Resumption) -> Iterator[Finding]:
        return resumption.findings(
            self.name, "save {part}.state_dict() with the update count, and restore both after the model"
        )

    @staticmethod
    def failing() -> Case:
        return Case(_training_without, key="ema.n_averaged", judge="check_resume")

    @staticmethod
    def passing() -> Case:
        return Case(_training, judge="check_resume")


def _training() -> Training:
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    return Training(model, optimizer, _step, ema=AveragedModel(model))


def _training_without() -> Training:
    run = _training()
    return Training(run.model, run.optimizer, _step, save=_save, load=_load, ema=run.ema)


def _step(run: Any, number: int) -> Any:
    loss = run.model(torch.full((2, 3), number + 1.0)).square().mean()
    run.optimizer.zero_grad()
    loss.backward()
    run.optimizer.step()
    run.ema.update_parameters(run.model)
    return loss.item()


def _save(run: Any, path: Path) -> None:
    states = {"model": run.model.state_dict(), "optimizer": run.optimizer.state_dict()}
    torch.save({**states, "ema": run.ema.module.state_dict()}, path)


def _load(run: Any, path: Path) -> None:
    content = torch.load(path, weights_only=True)
    run.model.load_state_dict(content["model"])
    run.optimizer.load_state_dict(content["optimizer"])
    run.ema.module.load_state_dict(content["ema"])
