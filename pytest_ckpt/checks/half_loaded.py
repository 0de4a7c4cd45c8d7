"""Check: a loader that swallows the error of loading."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import nn

from pytest_ckpt.checks import Case, Check, Stage
from pytest_ckpt.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_ckpt.trip import Trip


class HalfLoaded(Check):
    """Loading fails half way, and the loader goes on as if it had not.

    ## What it checks

    A checkpoint in which one parameter is missing or has another shape is given to the loader. `load_state_dict`
    raises, and the loader returns all the same. And where you promise it, `claims=("unchanged-on-error",)`: a load
    that raises leaves the module as it was.

    ## Why it matters

    `load_state_dict` copies every entry that fits before it raises for the others. A loader that catches the error
    leaves a module that is a mix of two models: worse than none, and nobody is told but a log.

    ## How it is found

    While the loader runs, `load_state_dict` is watched for errors that do not reach the caller.

    ## What to do

    Let the error through. Where a fallback is wanted, load into a fresh module and keep the old one until that
    worked: `candidate = Net(); candidate.load_state_dict(state_dict); model = candidate`.

    ## References

    - [torch.nn.Module.load_state_dict](https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html)
    - [stanfordnlp/dspy#9655](https://github.com/stanfordnlp/dspy/issues/9655)
    """

    name: ClassVar[str] = "half-loaded"
    summary: ClassVar[str] = "an error of loading is swallowed, and the module is half old, half new"
    stage: ClassVar[Stage] = Stage.STRICTNESS

    def run(self, trip: Trip) -> Iterator[Finding]:
        for lapse in trip.lapses:
            if lapse.outcome == "swallowed":
                yield Finding(
                    self.name,
                    lapse.key,
                    "load_state_dict raised for this entry, and the loader swallowed it: every other entry is loaded",
                    "let the error through, or use a fresh module only if its load_state_dict(...) returned",
                )
            elif lapse.outcome == "skipped":
                yield Finding(
                    self.name,
                    lapse.key,
                    f"the loader took a checkpoint that {lapse.fault}, and loaded nothing of what fits",
                    "load every entry that fits, or raise",
                )
        if trip.half:
            one = trip.half[0]
            rest = f" and {len(trip.half) - 1} more" if len(trip.half) > 1 else ""
            yield Finding(
                self.name,
                one.key,
                f"a load that raised has changed this entry{rest}, and unchanged-on-error is claimed",
                "compare keys and shapes with module.state_dict() before copying anything, or load into a copy first",
                one.expected,
                one.actual,
            )

    @staticmethod
    def failing() -> Case:
        return Case(lambda: nn.Linear(3, 3), key="weight", arguments={"load": _load_or_log})

    @staticmethod
    def passing() -> Case:
        return Case(lambda: nn.Linear(3, 3), arguments={"load": _load})


def _load_or_log(path: Path) -> nn.Module:
    module = nn.Linear(3, 3)
    state = torch.load(path, map_location="cpu", weights_only=True)
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        logging.getLogger(__name__).warning("could not load %s: %s", path, error)
    return module


def _load(path: Path) -> nn.Module:
    module = nn.Linear(3, 3)
    module.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return module
