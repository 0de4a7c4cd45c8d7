"""Check: a save that writes what it wrote before."""

from __future__ import annotations

import copy
import weakref
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn

from pytest_ckpt.checks import Case, Check, Stage
from pytest_ckpt.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_ckpt.trip import Trip


class StaleSave(Check):
    """A later save writes what the first one wrote.

    ## What it checks

    After the first save the module's entries are moved and saved again, to another path. The second file must hold
    the new values.

    ## Why it matters

    A `state_dict()` or a save function that keeps its first result writes the same checkpoint for the rest of the
    training.

    ## How it is found

    By reading the second file beside the live module.

    ## What to do

    Ask for `module.state_dict()` anew at each save, and do not cache it: not in an attribute, not with
    `functools.cache`.

    ## References

    - [torch.nn.Module.state_dict](https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html)
    """

    name: ClassVar[str] = "stale-save"
    summary: ClassVar[str] = "a second save writes the entries of the first"
    stage: ClassVar[Stage] = Stage.ISOLATION

    def run(self, trip: Trip) -> Iterator[Finding]:
        for one in trip.stale:
            yield Finding(
                self.name,
                one.key,
                "a second save, after the entry had changed, wrote its former value",
                "call module.state_dict() anew at each save instead of keeping its copy",
                one.expected,
                one.actual,
            )

    @staticmethod
    def failing() -> Case:
        return Case(lambda: nn.Linear(3, 3), key="weight", arguments={"save": _Saver(keeps=True)})

    @staticmethod
    def passing() -> Case:
        return Case(lambda: nn.Linear(3, 3), arguments={"save": _Saver(keeps=False)})


class _Saver:
    """Copies the state of each module that it saves."""

    def __init__(self, *, keeps: bool) -> None:
        self._keeps = keeps
        self._copies: weakref.WeakKeyDictionary[nn.Module, Any] = weakref.WeakKeyDictionary()

    def __call__(self, module: nn.Module, path: Path) -> None:
        if not self._keeps or module not in self._copies:
            self._copies[module] = copy.deepcopy(module.state_dict())
        torch.save(self._copies[module], path)
