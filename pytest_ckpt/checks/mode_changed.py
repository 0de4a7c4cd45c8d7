"""Check: a mode that saving or loading changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import nn

from pytest_ckpt.checks import Case, Check, Stage
from pytest_ckpt.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_ckpt.resume.resumption import Resumption
    from pytest_ckpt.trip import Trip


class ModeChanged(Check):
    """Saving or loading leaves the module, or a part of it, in another mode.

    ## What it checks

    `training` of every submodule before and after saving; before and after `load_state_dict`; and where the user's
    own loader gives a module whose parts are in different modes, that these are the saved module's. A loader may well
    return the whole module in eval mode.

    ## Why it matters

    A save function that calls `eval()` and never goes back switches dropout and batch statistics off for the rest of
    the training.

    ## How it is found

    By comparing the flags.

    ## What to do

    Remember `was_training = model.training` and end with `model.train(was_training)`.

    ## References

    - [torch.nn.Module.train](https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html)
    """

    name: ClassVar[str] = "mode-changed"
    summary: ClassVar[str] = "saving or loading leaves the module in another mode"
    stage: ClassVar[Stage] = Stage.FLAGS

    def run(self, trip: Trip) -> Iterator[Finding]:
        for changes, what, verb in ((trip.save_modes, "saving", "save"), (trip.modes, "loading", "load")):
            for one in changes:
                yield Finding(
                    self.name,
                    one.key,
                    f"{what} left it in {one.actual} mode",
                    f"was_training = module.training at the start of {verb}, module.train(was_training) at its end",
                    f"{one.expected} mode",
                    f"{one.actual} mode",
                )

    def resumed(self, resumption: Resumption) -> Iterator[Finding]:
        yield from resumption.save_findings(self.name, "model.train() at the end of save, if it was in training mode")
        yield from resumption.findings(self.name, "model.train() at the end of load, or at the start of step")

    @staticmethod
    def failing() -> Case:
        return Case(lambda: nn.Dropout(0.5), key="Dropout", arguments={"save": _save_in_eval})

    @staticmethod
    def passing() -> Case:
        return Case(lambda: nn.Dropout(0.5), arguments={"save": _save_in_eval_and_back})


def _save_in_eval(module: nn.Module, path: Path) -> None:
    module.eval()
    torch.save(module.state_dict(), path)


def _save_in_eval_and_back(module: nn.Module, path: Path) -> None:
    was_training = module.training
    module.eval()
    torch.save(module.state_dict(), path)
    module.train(was_training)
