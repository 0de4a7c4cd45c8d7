"""Check: state of a gradient scaler that a resumed training lacks."""

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


class ScalerState(Check):
    """A gradient scaler starts again with the scale of the beginning.

    ## What it checks

    `state_dict()` of every `GradScaler` of the run: the scale, how it grows and shrinks, and the count of steps since
    it last changed.

    ## Why it matters

    The scale of the beginning is mostly far too high: the first steps after resuming overflow and are skipped, while
    the schedule goes on.

    ## How it is found

    The uninterrupted run's scale is put into the resumed run, and it trains on. If the two then make the same steps,
    bit for bit, this was what the checkpoint lacked.

    ## What to do

    Save `scaler.state_dict()` and call `scaler.load_state_dict(...)` on the scaler that is used from then on.

    ## References

    - [torch.amp.GradScaler](https://docs.pytorch.org/docs/stable/amp.html#gradient-scaling)
    - [mosaicml/composer#1376](https://github.com/mosaicml/composer/issues/1376)
    """

    name: ClassVar[str] = "scaler-state"
    summary: ClassVar[str] = "a resumed training has not the gradient scaler's scale"
    stage: ClassVar[Stage] = Stage.TRAINING

    def resumed(self, resumption: Resumption) -> Iterator[Finding]:
        return resumption.findings(
            self.name, "save {part}.state_dict(), and call {part}.load_state_dict(...) on the scaler that trains"
        )

    @staticmethod
    def failing() -> Case:
        return Case(_training_without, key="scaler.scale", judge="check_resume")

    @staticmethod
    def passing() -> Case:
        return Case(_training, judge="check_resume")


def _training() -> Training:
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    return Training(model, optimizer, _step, scaler=torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=2))


def _training_without() -> Training:
    run = _training()
    return Training(run.model, run.optimizer, _step, save=_save, load=_load, scaler=run.scaler)


def _step(run: Any, number: int) -> Any:
    loss = run.model(torch.full((2, 3), number + 1.0)).square().mean()
    run.optimizer.zero_grad()
    run.scaler.scale(loss).backward()
    run.scaler.step(run.optimizer)
    run.scaler.update()
    return loss.item()


def _save(run: Any, path: Path) -> None:
    torch.save({"model": run.model.state_dict(), "optimizer": run.optimizer.state_dict()}, path)


def _load(run: Any, path: Path) -> None:
    content = torch.load(path, weights_only=True)
    run.model.load_state_dict(content["model"])
    run.optimizer.load_state_dict(content["optimizer"])
