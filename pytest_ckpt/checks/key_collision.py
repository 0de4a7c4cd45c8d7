"""Check: two entries that are written under one name."""

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


class KeyCollision(Check):
    """Two entries are written under one name, so one of them is lost.

    ## What it checks

    An entry did not come back; the file holds its value nowhere, and another entry's value stands in its place.

    ## Why it matters

    `{**encoder.state_dict(), **decoder.state_dict()}` holds one `weight`, the decoder's. Names that are shortened,
    put into lower case, or stripped of a prefix with `str.replace` meet in the same way. Both parts load without a
    complaint, and both hold the weights of one.

    ## How it is found

    Entries are moved a little before saving, so no two of them hold the same bits. The value that came back for the
    lost entry is looked up among the others.

    ## What to do

    Save under the full names, `module.state_dict()`, or give each part a dict of its own:
    `{"encoder": encoder.state_dict(), "decoder": decoder.state_dict()}`.

    ## References

    - [torch.nn.Module.state_dict, prefix](https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html)
    """

    name: ClassVar[str] = "key-collision"
    summary: ClassVar[str] = "two entries are written under one name, and one is lost"
    stage: ClassVar[Stage] = Stage.KEYS

    def run(self, trip: Trip) -> Iterator[Finding]:
        for one in trip.collisions:
            yield Finding(
                self.name,
                one.key,
                f"the entry was written under the name of another, so {one.actual} stands in its place",
                'save under full names, module.state_dict(), or a dict for each part: {"encoder": ..., "decoder": ...}',
                one.expected,
                one.actual,
            )

    @staticmethod
    def failing() -> Case:
        return Case(_Pair, key="encoder.weight", arguments={"save": _save_merged, "load": _load_merged})

    @staticmethod
    def passing() -> Case:
        return Case(_Pair, arguments={"save": _save_parts, "load": _load_parts})


class _Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)


def _save_merged(module: _Pair, path: Path) -> None:
    torch.save({**module.encoder.state_dict(), **module.decoder.state_dict()}, path)


def _load_merged(path: Path) -> nn.Module:
    module, state = _Pair(), torch.load(path, map_location="cpu", weights_only=True)
    module.encoder.load_state_dict(state)
    module.decoder.load_state_dict(state)
    return module


def _save_parts(module: _Pair, path: Path) -> None:
    torch.save({"encoder": module.encoder.state_dict(), "decoder": module.decoder.state_dict()}, path)


def _load_parts(path: Path) -> nn.Module:
    module, state = _Pair(), torch.load(path, map_location="cpu", weights_only=True)
    module.encoder.load_state_dict(state["encoder"])
    module.decoder.load_state_dict(state["decoder"])
    return module
