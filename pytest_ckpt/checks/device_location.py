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

_ATTRIBUTE = 'self.register_buffer("{name}", ..., persistent=False), or .to(x.device) where it is used'
_FACTORY = "name the device where forward makes a tensor: torch.zeros(..., device=x.device)"


class DeviceLocation(Check):
    """A file written on an accelerator does not load on a machine without one.

    ## What it checks

    The file carries the tag of another device, as a GPU host would write it, and the user's loader meets it on the
    CPU; and the loaded module's entries are where they should be. On a leg to an accelerator, forward finds all its
    tensors there: a tensor in a plain attribute is not moved by `module.to`.

    ## Why it matters

    `torch.load` puts each storage back on the device that its tag names. Without `map_location` a checkpoint of a GPU
    host raises on every machine without CUDA: laptops, CI, CPU inference.

    ## How it is found

    While saving, storages are tagged `cuda:0` by way of `torch.serialization.register_package`, so the file is what a
    GPU host writes. The leg is reported as simulated.

    Without the accelerator, forward runs on stand-ins for its tensors (`FakeTensor`), which have a shape and a device
    but no values. What is named is what makes forward run when it is moved too. This is a finding where the devices
    were named, by `devices` or `--ckpt-devices`; else a note, for a module may be meant for the CPU alone.

    ## What to do

    `torch.load(path, map_location="cpu", weights_only=True)`, then move the module. Keep constants as buffers,
    `self.register_buffer("table", table, persistent=False)`, and make tensors in forward with `device=x.device`.

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

        for left in trip.behind:
            name = left.key.rpartition(".")[2]
            yield Finding(
                self.name,
                left.key,
                f"it stays on the CPU when the module goes to {trip.leg.loaded_on}; forward raises at {left.actual}",
                _FACTORY if name == "forward" else _ATTRIBUTE.format(name=name),
                left.expected,
                "cpu",
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
