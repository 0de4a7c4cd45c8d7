"""Check: a file that holds far more than the module shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import nn

from pytest_ckpt.checks import Case, Check, Stage
from pytest_ckpt.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_ckpt.trip import Trip


class StorageBloat(Check):
    """The file holds a storage of which the module uses a small part.

    ## What it checks

    For each storage in the file, what all entries together show of it. A finding means that less than half is shown
    and that at least 4 KiB are written for nothing.

    ## Why it matters

    A tensor that was cut out of a large one (`table[:4]`, one row of a batch, a slice of a memory bank) shares its
    storage, and `torch.save` writes storages whole. Checkpoints of a few megabytes become gigabytes.

    ## How it is found

    By comparing the bytes of each storage with the elements that its entries show.

    ## What to do

    Clone what is kept: `self.register_buffer("first", table[:4].clone())`, or the entries that are saved: `{name:
    tensor.clone() for name, tensor in module.state_dict().items()}`.

    ## References

    - [Tensor views in torch.save](https://docs.pytorch.org/docs/stable/notes/serialization.html)
    - [pytorch/pytorch#40157](https://github.com/pytorch/pytorch/issues/40157)
    """

    name: ClassVar[str] = "storage-bloat"
    summary: ClassVar[str] = "a small view drags its whole storage into the file"
    stage: ClassVar[Stage] = Stage.FILE

    def run(self, trip: Trip) -> Iterator[Finding]:
        for one in trip.bloat:
            yield Finding(
                self.name,
                one.key,
                "the entry is a small view of a large storage, and the file holds all of it",
                "keep a copy of its own: tensor.clone() where the view is made, or where it is saved",
                one.expected,
                one.actual,
            )

    @staticmethod
    def failing() -> Case:
        return Case(_View, key="first")

    @staticmethod
    def passing() -> Case:
        return Case(_Copy)


class _View(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("first", torch.rand(1000, 8)[:4])


class _Copy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("first", torch.rand(1000, 8)[:4].clone())
