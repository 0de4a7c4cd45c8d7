"""Check: a file that holds a whole module."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import nn

from pytest_ckpt.checkpoint_file import is_module_class
from pytest_ckpt.checks import Case, Check, Stage
from pytest_ckpt.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_ckpt.trip import Trip


class PickledModule(Check):
    """The whole module is pickled, so the file is bound to the module's class and its place in the code.

    ## What it checks

    The file holds an object of a subclass of `nn.Module`, and loading needs `weights_only=False`.

    ## Why it matters

    `torch.save(model, path)` writes the class by its name: after a rename or a move of the file the checkpoint is
    dead. A class from `__main__` or a notebook loads nowhere else, a lambda in an attribute does not save at all, and
    loading runs whatever code the file asks for.

    ## How it is found

    By the names of classes in the file, and by loading it once more with `TORCH_FORCE_WEIGHTS_ONLY_LOAD` set.

    ## What to do

    `torch.save(model.state_dict(), path)`, and build the module from code when loading. Where a whole module is
    wanted on purpose, ignore this check: `ignore=["pickled-module"]`.

    ## References

    - [Saving and loading models](https://docs.pytorch.org/tutorials/beginner/saving_loading_models.html)
    - [pytorch/pytorch#2762](https://github.com/pytorch/pytorch/issues/2762)
    """

    name: ClassVar[str] = "pickled-module"
    summary: ClassVar[str] = "the file is a pickle of the module itself, bound to its class"
    stage: ClassVar[Stage] = Stage.FILE

    def run(self, trip: Trip) -> Iterator[Finding]:
        classes = [name for name in trip.unsafe_globals if is_module_class(name)]
        if classes:
            own = f"{type(trip.source).__module__}.{type(trip.source).__qualname__}"
            refused = ", and load raised: torch.load refuses it by default since 2.6" if trip.load_error else ""
            yield Finding(
                self.name,
                own if own in classes else classes[0],
                f"the file holds the module itself, bound to {len(classes)} class{'es' * (len(classes) != 1)}{refused}",
                "torch.save(model.state_dict(), path), and build the model from code when loading;\n"
                "for a file of your own, torch.load(path, weights_only=False)",
            )

    @staticmethod
    def failing() -> Case:
        return Case(
            _Small, key="pytest_ckpt.checks.pickled_module._Small", arguments={"save": _save_whole, "load": _load_whole}
        )

    @staticmethod
    def passing() -> Case:
        return Case(_Small, arguments={"save": _save_state, "load": _load_state})


class _Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)


def _save_whole(module: nn.Module, path: Path) -> None:
    torch.save(module, path)


def _load_whole(path: Path) -> nn.Module:
    module: nn.Module = torch.load(path, map_location="cpu", weights_only=False)
    return module


def _save_state(module: nn.Module, path: Path) -> None:
    torch.save(module.state_dict(), path)


def _load_state(path: Path) -> nn.Module:
    module = _Small()
    module.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return module
