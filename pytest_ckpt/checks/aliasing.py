"""Check: a loaded module that shares memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn

from pytest_ckpt.checks import Case, Check, Stage
from pytest_ckpt.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_ckpt.trip import Trip


class Aliasing(Check):
    """A loaded module uses memory that is not its own.

    ## What it checks

    Two modules that the user's loader gives for one file share no storage, and none with the file; and after
    `module.load_state_dict(state_dict)` the module's entries share none with that dict. A `load_state` of the user's
    own may share with the dict: that is what `assign=True` is for.

    ## Why it matters

    Training one of the two changes the other: an ensemble whose members are one, an EMA copy that follows at once.

    ## How it is found

    By the addresses of storages after loading twice.

    ## What to do

    Copy what a cache gives: `copy.deepcopy(cached)`; in hooks, `copy_` into the module's own tensor instead of
    assigning.

    ## References

    - [torch.nn.Module.load_state_dict, assign](https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html)
    """

    name: ClassVar[str] = "aliasing"
    summary: ClassVar[str] = "a loaded module shares memory with another model or with the state_dict"
    stage: ClassVar[Stage] = Stage.ISOLATION

    def run(self, trip: Trip) -> Iterator[Finding]:
        for one in trip.shared:
            yield Finding(
                self.name,
                one.key,
                "the entry shares its memory, so a change here is a change there",
                "load into memory of its own: load_state_dict without assign=True, or copy.deepcopy of what is cached",
                one.expected,
                one.actual,
            )
        for one in trip.follows:
            yield Finding(
                self.name,
                one.key,
                "the entry is the file's memory: the next checkpoint saved to that path changed the loaded module",
                "load without mmap=True or assign=True, or save to a new file and os.replace(new, path)",
                one.expected,
                one.actual,
            )

    @staticmethod
    def failing() -> Case:
        return Case(lambda: nn.Linear(3, 3), key="weight", arguments={"load": _Loader(copies=False)})

    @staticmethod
    def passing() -> Case:
        return Case(lambda: nn.Linear(3, 3), arguments={"load": _Loader(copies=True)})


class _Loader:
    """Keeps the state_dicts that it has read."""

    def __init__(self, *, copies: bool) -> None:
        self._copies = copies
        self._cache: dict[Path, Any] = {}

    def __call__(self, path: Path) -> nn.Module:
        if path not in self._cache:
            self._cache[path] = torch.load(path, map_location="cpu", weights_only=True)
        module = nn.Linear(3, 3)
        module.load_state_dict(self._cache[path], assign=not self._copies)
        return module
