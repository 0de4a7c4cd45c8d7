"""Legs of a round trip: where it is saved, where it is loaded, in which format; real, simulated or skipped.

A leg that this machine cannot run is never passed in silence: it is simulated, and says so, or skipped with a reason.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

import torch

from pytest_ckpt import formats
from pytest_ckpt.findings import LegResult, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch.types import Storage


@dataclass(frozen=True, slots=True)
class Leg:
    """One way through save and load.

    Attributes:
        saved_on: Device type on which the module is saved, such as `cpu` or `cuda`.
        loaded_on: Device type on which it is loaded.
        format: Name of the format, such as `torch_zip`.
        simulated: Whether `saved_on` is only a tag in the file, or forward on `loaded_on` runs on stand-ins.
        skipped: Why the leg cannot run; empty if it can.
    """

    saved_on: str
    loaded_on: str
    format: str
    simulated: bool = False
    skipped: str = ""

    def __str__(self) -> str:
        return f"{self.saved_on}->{self.loaded_on} {self.format}"

    @property
    def elsewhere(self) -> bool:
        """Whether it is a forward on a device that is not here."""
        return self.simulated and self.loaded_on != "cpu"

    def result(self, reason: str = "") -> LegResult:
        """Give what became of the leg, for the report.

        Args:
            reason: Why it could not be judged after all; empty if it was.
        """
        if self.skipped or reason:
            return LegResult(str(self), "skipped", self.skipped or reason)
        if self.elsewhere:
            return LegResult(str(self), "simulated", f"forward on stand-ins for tensors of {self.loaded_on}")
        if self.simulated:
            return LegResult(str(self), "simulated", f"saved on the CPU, tagged {self.saved_on}:0")
        return LegResult(str(self), "real")


def accelerator() -> str | None:
    """Give the device type of this machine's accelerator, such as `cuda` or `mps`; None if there is none."""
    if not torch.accelerator.is_available():
        return None
    device = torch.accelerator.current_accelerator()
    return device.type if device is not None else None


def available(device: str) -> bool:
    """Whether torch can put tensors on a device type here: the accelerator, or one that another package brings."""
    if device in {"cpu", accelerator()}:
        return True
    try:
        return torch.empty(0, device=device).device.type not in {"cpu", "meta"}
    except (RuntimeError, NotImplementedError, AssertionError, ImportError):
        return False


def plan(devices: Sequence[str] | None, names: Sequence[str], *, forward: bool = False) -> tuple[Leg, ...]:
    """List the legs.

    Args:
        devices: Device types to go between; None for the CPU and the machine's accelerator, or `cuda` without one.
        names: Names of formats.
        forward: Whether there are inputs, so that a forward on a device that is not here can be simulated.

    Raises:
        UsageError: A device is not the name of a device type.
    """
    present = accelerator()
    wanted = ("cpu", present or "cuda") if devices is None else tuple(dict.fromkeys(map(device_type, devices)))
    return tuple(_leg(saved, loaded, name, forward=forward) for name in names for saved in wanted for loaded in wanted)


def device_type(name: str) -> str:
    """Give the device type of a device's name: `cuda` for `cuda:0`.

    Raises:
        UsageError: torch knows no such device.
    """
    try:
        return torch.device(name).type
    except (RuntimeError, TypeError):
        known = ("cpu", "cuda", "mps", "xpu", "xla", "mtia", "hpu")
        near = ["cuda"] if name == "gpu" else get_close_matches(str(name), known, n=1)
        meant = f"did you mean {near[0]!r}?" if near else f"use one of {', '.join(known)}"
        raise UsageError(f"devices: there is no device {name!r}: {meant}") from None


def _leg(saved_on: str, loaded_on: str, name: str, *, forward: bool) -> Leg:
    written = formats.get(name)
    if written.absent:
        return Leg(saved_on, loaded_on, name, skipped=written.absent)
    absent = [device for device in (saved_on, loaded_on) if not available(device)]
    if not absent:
        return Leg(saved_on, loaded_on, name)
    if (loaded_on == "cpu" and written.tagged) or (saved_on == "cpu" and forward):
        return Leg(saved_on, loaded_on, name, simulated=True)
    return Leg(saved_on, loaded_on, name, skipped=f"{absent[0]} is not available here: {_why_absent(absent[0])}")


def _why_absent(device: str) -> str:
    if device == "cuda" and not torch.backends.cuda.is_built():
        return f"torch {torch.__version__} is built without CUDA"
    return f"torch {torch.__version__} sees no {device} device"


class Tagger:
    """Makes torch.save write another device's tag beside each storage, while it is active.

    Attributes:
        tagged: How many storages were tagged; none if the file was not written by torch.save.
    """

    def __init__(self, device: str) -> None:
        self.tagged = 0
        self._tag = f"{device}:0"
        self._active = False

    def __call__(self, storage: Storage) -> str | None:
        """Give the tag for one storage on the CPU, None for all others (torch's contract for taggers)."""
        if not self._active or storage.device.type != "cpu":
            return None
        self.tagged += 1
        return self._tag

    @contextmanager
    def active(self) -> Iterator[Tagger]:
        """Register with torch.serialization for the duration of a `with` block, and leave nothing behind."""
        registry = torch.serialization._package_registry  # noqa: SLF001 -- there is no public way to unregister
        first = min(priority for priority, *_ in registry) - 1  # the lowest is asked first, and no two may be equal
        self._active = True
        try:
            torch.serialization.register_package(first, self, _restore_nothing)  # type: ignore[arg-type]
            yield self
        finally:
            self._active = False
            registry[:] = [other for other in registry if other[1] is not self]


def _restore_nothing(_storage: object, _location: str) -> None:
    """Leave restoring to torch: this entry only tags."""
