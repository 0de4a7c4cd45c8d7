"""Check: a file that only loads where it was written."""

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


class DeviceLocation(Check):
    """A file written on an accelerator does not load on a machine without one.

    ## What it checks

    The file carries the tag of another device, as a GPU host would write it, and the user's loader meets it on the
    CPU; and the loaded module's entries are where they should be.

    ## Why it matters

    `torch.load` puts each storage back on the device that its tag names. Without `map_location` a checkpoint of a GPU
    host raises on every machine without CUDA: laptops, CI, CPU inference.

    ## How it is found

    While saving, storages are tagged `cuda:0` by way of `torch.serialization.register_package`, so the file is what a
    GPU host writes. The leg is reported as simulated.

    ## What to do

    `torch.load(path, map_location="cpu", weights_only=True)`, then move the module.

    ## References

    - [torch.load, map_location](https://docs.pytorch.org/docs/stable/generated/torch.load.html)
    - [torch.serialization.register_package](https://docs.pytorch.org/docs/stable/notes/serialization.html)
    """

    name: ClassVar[str] = "device-location"
    summary: ClassVar[str] = "a file of an accelerator host does not load on the CPU"
    stage: ClassVar[Stage] = Stage.LOAD

    def run(self, trip: Trip) -> Iterator[Finding]:
        if trip.device_refused:
            yield Finding(
                self.name,
                f"torch.load on {trip.leg.loaded_on}",
                f"the file was written on {trip.leg.saved_on}, and load raised {trip.short_load_error}",
                'torch.load(path, map_location="cpu", weights_only=True)',
                trip.leg.saved_on,
                trip.leg.loaded_on,
            )
        for one in trip.of_category(self.name):
            yield Finding(
                self.name,
                one.key,
                "the entry is on another device after loading; on meta it holds no data at all",
                'pass map_location, or assign=True where the module was built on "meta"',
                one.expected,
                one.actual,
            )

    @staticmethod
    def failing() -> Case:
        return Case(lambda: nn.Linear(3, 3), key="torch.load on cpu", arguments={"load": _load_as_tagged})

    @staticmethod
    def passing() -> Case:
        return Case(lambda: nn.Linear(3, 3), arguments={"load": _load_on_cpu})


def _load_as_tagged(path: Path) -> nn.Module:
    module = nn.Linear(3, 3)
    module.load_state_dict(torch.load(path, weights_only=True))
    return module


def _load_on_cpu(path: Path) -> nn.Module:
    module = nn.Linear(3, 3)
    module.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return module
