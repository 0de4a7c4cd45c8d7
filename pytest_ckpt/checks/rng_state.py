"""Check: position of a random number generator that a resumed training lacks."""

from __future__ import annotations

import random
from dataclasses import replace
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

_HINTS = {
    "torch": "save torch.get_rng_state(), and call torch.set_rng_state(...) at the end of load",
    "cuda": "save torch.cuda.get_rng_state_all(), and call torch.cuda.set_rng_state_all(...) at the end of load",
    "python": "save random.getstate(), and call random.setstate(...) at the end of load",
    "numpy": "save numpy.random.get_state(), and call numpy.random.set_state(...) at the end of load",
}
_HINTS_OF_TYPES = {
    "random.Random": "save {key}.getstate(), and call {key}.setstate(...) in load",
    "numpy.Generator": "save {key}.bit_generator.state, and set it in load",
}
_HINT = "save {key}.get_state(), and call {key}.set_state(...) in load"


class RngState(Check):
    """A resumed training draws other random numbers than an uninterrupted one.

    ## What it checks

    The generators of the process (`torch`, `cuda`, `python`, `numpy`), and every `torch.Generator`, `random.Random` and
    NumPy generator that the run has. One from which nothing is drawn after resuming is left alone.

    ## Why it matters

    Dropout masks, augmentation and noise repeat or jump, and no two trainings can be compared: a fault that shows only
    after resuming cannot be reproduced.

    ## How it is found

    All generators of the process are seeded differently before the new run is built, as they are in a new process.
    The uninterrupted run's generators are one by one put into the resumed run, and it trains on. If the two then make
    the same steps, bit for bit, this was what the checkpoint lacked.

    ## What to do

    Save `torch.get_rng_state()`, `torch.cuda.get_rng_state_all()`, `random.getstate()` and `numpy.random.get_state()`,
    and the state of each generator of your own: `generator.get_state()` of torch's, `generator.bit_generator.state` of
    NumPy's, `generator.getstate()` of Python's. Set them after everything else was loaded. They must stay on the CPU:
    `torch.load(path, map_location="cpu")`.

    ## References

    - [Reproducibility](https://docs.pytorch.org/docs/stable/notes/randomness.html)
    - [huggingface/transformers#46628](https://github.com/huggingface/transformers/issues/46628)
    - [lanl/hippynn#12](https://github.com/lanl/hippynn/issues/12)
    """

    name: ClassVar[str] = "rng-state"
    summary: ClassVar[str] = "a resumed training draws other random numbers"
    stage: ClassVar[Stage] = Stage.TRAINING

    def resumed(self, resumption: Resumption) -> Iterator[Finding]:
        types = {one.key: one.type for one in resumption.lost}
        for one in resumption.findings(self.name, ""):
            hint = _HINTS.get(one.key) or _HINTS_OF_TYPES.get(types[one.key], _HINT)
            yield replace(one, hint=hint.format(key=one.key))

    @staticmethod
    def failing() -> Case:
        return Case(_training_without, key="python", judge="check_resume")

    @staticmethod
    def passing() -> Case:
        return Case(_training, judge="check_resume")


def _training() -> Training:
    model = nn.Linear(3, 1)
    return Training(model, torch.optim.SGD(model.parameters(), lr=0.01), _step)


def _training_without() -> Training:
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    return Training(model, optimizer, _step, save=_save, load=_load)


def _step(run: Any, number: int) -> Any:
    flip = random.choice([-1.0, 1.0])  # noqa: S311 -- it is augmentation
    loss = (run.model(flip * torch.full((2, 3), number + 1.0)) - flip).square().mean()
    run.optimizer.zero_grad()
    loss.backward()
    run.optimizer.step()
    return loss.item()


def _save(run: Any, path: Path) -> None:
    states = {"model": run.model.state_dict(), "optimizer": run.optimizer.state_dict()}
    torch.save({**states, "torch": torch.get_rng_state()}, path)


def _load(run: Any, path: Path) -> None:
    content = torch.load(path, weights_only=True)
    run.model.load_state_dict(content["model"])
    run.optimizer.load_state_dict(content["optimizer"])
    torch.set_rng_state(content["torch"])
