"""Check: a file that holds more than weights."""

from __future__ import annotations

import argparse
import re
import sys
from typing import TYPE_CHECKING, Any, ClassVar

from torch import nn

from pytest_ckpt.checkpoint_file import is_module_class
from pytest_ckpt.checks import Case, Check, Stage
from pytest_ckpt.findings import Finding

_NAMED = re.compile(r"GLOBAL ([\w.]+)")
_ALLOW = ", or torch.serialization.add_safe_globals([{}]) where you load"  # of no use for a class within another

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_ckpt.resume.resumption import Resumption
    from pytest_ckpt.trip import Trip


class NotWeightsOnly(Check):
    """The file cannot be loaded with `weights_only=True`.

    ## What it checks

    The file that was written loads with `torch.load(path, weights_only=True)`, torch's default since 2.6. If not, the
    globals that stand in the way are named.

    ## Why it matters

    With `weights_only=False`, loading runs whatever code the file asks for: nobody can load a stranger's checkpoint
    safely. And it breaks when a class that was pickled along is renamed or moved.

    ## How it is found

    By loading it, and by `torch.serialization.get_unsafe_globals_in_checkpoint`. A `load` of the user's own is called
    once more while torch is told to load only weights (`TORCH_FORCE_WEIGHTS_ONLY_LOAD`); a loader that allows its
    classes with `safe_globals` passes.

    ## What to do

    Save plain data: `vars(args)` for an argparse.Namespace, `dataclasses.asdict(config)` for a dataclass, `str(path)`
    for a path. Where the class is yours and stays, allow it by `torch.serialization.add_safe_globals([Config])`.

    ## References

    - [torch.load](https://docs.pytorch.org/docs/stable/generated/torch.load.html)
    - [torch.serialization.add_safe_globals](https://docs.pytorch.org/docs/stable/notes/serialization.html)
    """

    name: ClassVar[str] = "not-weights-only"
    summary: ClassVar[str] = "the file needs weights_only=False"
    stage: ClassVar[Stage] = Stage.FILE

    def run(self, trip: Trip) -> Iterator[Finding]:
        if any(map(is_module_class, trip.unsafe_globals)):
            return  # the whole module was pickled, which pickled-module reports
        for one in trip.unsafe_globals:
            yield Finding(
                self.name,
                one,
                "the file holds this class or function, so torch.load(weights_only=True) refuses it",
                "save plain data instead" + (_ALLOW.format(one) if one.rpartition(".")[0] in sys.modules else ""),
            )

    def resumed(self, resumption: Resumption) -> Iterator[Finding]:
        if resumption.load_refused:
            yield Finding(
                self.name,
                next(iter(_NAMED.findall(resumption.load_error)), "load"),
                f"run.load(path) raised {resumption.load_error}",
                "save plain data, or torch.serialization.add_safe_globals([...]) in load",
                leg=resumption.leg,
            )

    @staticmethod
    def failing() -> Case:
        return Case(_Config, key="argparse.Namespace")

    @staticmethod
    def passing() -> Case:
        return Case(_PlainConfig)


class _Config(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.config = argparse.Namespace(width=3)

    def get_extra_state(self) -> Any:
        return self.config

    def set_extra_state(self, state: Any) -> None:
        self.config = state


class _PlainConfig(_Config):
    def get_extra_state(self) -> Any:
        return vars(self.config)

    def set_extra_state(self, state: Any) -> None:
        self.config = argparse.Namespace(**state)
