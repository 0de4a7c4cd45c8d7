"""Check: keys of the file that nobody asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import nn

from pytest_ckpt.checks import Case, Check, Stage
from pytest_ckpt.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_ckpt.trip import Trip


class KeyMismatch(Check):
    """The names in the file are not those of the module, and the loader does not mind.

    ## What it checks

    An entry was not restored although the file holds it under a wrapper's prefix (`module.` of DataParallel and
    DistributedDataParallel, `_orig_mod.` of torch.compile) or under another name that the module does not have; or the
    loaded module has other entries than the saved one.

    ## Why it matters

    With `strict=False` a checkpoint in which every key is unexpected loads without a word, and the model keeps its
    random weights.

    ## How it is found

    By reading the file beside the user's loader and comparing its keys with the entries that were not restored.

    ## What to do

    Save the inner module: `model.module.state_dict()` for DataParallel, `model._orig_mod.state_dict()` for a compiled
    model. When loading, strip the prefix with `torch.nn.modules.utils.consume_prefix_in_state_dict_if_present`, and
    load strictly.

    ## References

    - [torch.nn.DataParallel in the saving and loading tutorial](https://docs.pytorch.org/tutorials/beginner/saving_loading_models.html)
    - [pytorch/pytorch#94575](https://github.com/pytorch/pytorch/issues/94575)
    """

    name: ClassVar[str] = "key-mismatch"
    summary: ClassVar[str] = "the file's keys are not the module's, so entries are not restored"
    stage: ClassVar[Stage] = Stage.KEYS

    def run(self, trip: Trip) -> Iterator[Finding]:
        for one in trip.of_category(self.name):
            name = trip.foreign_name(one.key)
            if name:
                message = f"the file holds this entry as {name!r}, and the loader did not restore it"
                hint = _hint(name, one.key)
            elif one.aspect == "value":
                message, hint = (
                    f"the loader gave load_state_dict {min(trip.misnamed)!r} and the like, which no module has",
                    "rename keys by their prefix alone, key.removeprefix(prefix), and load strictly",
                )
            elif one.aspect == "missing":
                message, hint = (
                    "the loaded module has no such entry",
                    "build in load(path) the architecture that was saved",
                )
            else:
                message, hint = (
                    "the saved module has no such entry",
                    "build in load(path) the architecture that was saved",
                )
            yield Finding(self.name, one.key, message, hint, one.expected, one.actual)
        for lapse in trip.lapses:
            if lapse.outcome == "kept" and lapse.kind in {"prefixed", "nested"}:
                yield Finding(
                    self.name,
                    lapse.key,
                    f"the loader took a checkpoint that {lapse.fault}, loaded nothing, and said nothing",
                    "raise if a checkpoint has none of the module's keys",
                )

    @staticmethod
    def failing() -> Case:
        return Case(lambda: nn.Linear(3, 3), key="weight", arguments={"save": _save_wrapped, "load": _load_leniently})

    @staticmethod
    def passing() -> Case:
        return Case(lambda: nn.Linear(3, 3), arguments={"save": _save_inner, "load": _load})


def _hint(name: str, key: str) -> str:
    """Say how an entry comes back that the file holds under another name."""
    prefix = name.removesuffix(f".{key}")
    if prefix != name:
        return (
            f"save the module inside the wrapper, or strip '{prefix}.' when loading with\n"
            f'consume_prefix_in_state_dict_if_present(state_dict, "{prefix}."), and load strictly'
        )
    if name.replace("_orig_mod.", "") == key:
        return 'save before torch.compile, or rename when loading, key.replace("_orig_mod.", ""), and load strictly'
    return f'rename it when loading, state_dict["{key}"] = state_dict.pop("{name}"), and load strictly'


def _save_wrapped(module: nn.Module, path: Path) -> None:
    torch.save(nn.DataParallel(module).state_dict(), path)


def _save_inner(module: nn.Module, path: Path) -> None:
    torch.save(nn.DataParallel(module).module.state_dict(), path)


def _load(path: Path) -> nn.Module:
    module = nn.Linear(3, 3)
    module.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return module


def _load_leniently(path: Path) -> nn.Module:
    module = nn.Linear(3, 3)
    module.load_state_dict(torch.load(path, map_location="cpu", weights_only=True), strict=False)
    return module
