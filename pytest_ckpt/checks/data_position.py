"""Check: the place in the data that a resumed training lacks."""

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


class DataPosition(Check):
    """A resumed training reads other batches: some twice, some never.

    ## What it checks

    What says which data come next: the order in which an epoch goes through the examples, the position in it, the epoch
    of a sampler, an iterator that is under way.

    ## Why it matters

    An epoch that starts over after every interruption trains on its first batches again and again; the last ones are
    hardly ever seen.

    ## How it is found

    The uninterrupted run's order, position and iterators are one by one put into the resumed run, and it trains on. If
    the two then make the same steps, bit for bit, this was what the checkpoint lacked.

    ## What to do

    Save the order and the position in it, or what both follow from: the epoch and the seed; `StatefulDataLoader` of
    torchdata does so with `state_dict()`.

    ## References

    - [torchdata.stateful_dataloader](https://meta-pytorch.org/data/beta/torchdata.stateful_dataloader.html)
    - [huggingface/accelerate#2016](https://github.com/huggingface/accelerate/issues/2016)
    - [huggingface/accelerate#4195](https://github.com/huggingface/accelerate/issues/4195)
    """

    name: ClassVar[str] = "data-position"
    summary: ClassVar[str] = "a resumed training reads other batches"
    stage: ClassVar[Stage] = Stage.TRAINING

    def resumed(self, resumption: Resumption) -> Iterator[Finding]:
        return resumption.findings(
            self.name,
            "save {key}, or what it follows from, or use torchdata.stateful_dataloader.StatefulDataLoader",
        )

    @staticmethod
    def failing() -> Case:
        return Case(_training_without, key="position", judge="check_resume")

    @staticmethod
    def passing() -> Case:
        return Case(_training, judge="check_resume")


DATA = torch.linspace(-1.0, 1.0, 24).reshape(8, 3)


def _training() -> Training:
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    order = torch.randperm(8).tolist()
    return Training(model, optimizer, _step, save=_save, load=_load, order=order, position=0)


def _training_without() -> Training:
    run = _training()
    return Training(run.model, run.optimizer, _step, order=run.order, position=0)


def _step(run: Any, _number: int) -> Any:
    example = DATA[run.order[run.position]]
    run.position += 1
    loss = (run.model(example) - 1.0).square().mean()
    run.optimizer.zero_grad()
    loss.backward()
    run.optimizer.step()
    return loss.item()


def _save(run: Any, path: Path) -> None:
    states = {"model": run.model.state_dict(), "optimizer": run.optimizer.state_dict()}
    torch.save({**states, "order": run.order, "position": run.position}, path)


def _load(run: Any, path: Path) -> None:
    content = torch.load(path, weights_only=True)
    run.model.load_state_dict(content["model"])
    run.optimizer.load_state_dict(content["optimizer"])
    run.order, run.position = content["order"], content["position"]
