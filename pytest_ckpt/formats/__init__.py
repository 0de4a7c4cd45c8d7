"""The formats. One file is one format: how a module's state is written by default, and how it is read back.

A name may say more after an `@`: for files what saving and loading are given (`torch_zip@buffer`), for `dcp` how many
ranks save and how many load (`dcp@2:1`).
"""

from __future__ import annotations

import pkgutil
from abc import ABC, abstractmethod
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pytest_ckpt import places
from pytest_ckpt.findings import UsageError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import nn


class Unfit(Exception):  # noqa: N818 -- not an error: the leg is skipped
    """The format cannot hold this state, which is not the module's fault; the message says why."""


class Format(ABC):
    """One format.

    Attributes:
        name: Its name in options and legs; the file's name.
        summary: One line for tables: what writes and reads it.
        suffix: What a file of this format ends with; empty for a folder.
        tagged: Whether torch.save writes a device beside each storage.
        into: Whether it reads into the state_dict of a fresh module, whose keys the file must have.
        needs: The packages that have to be installed besides torch.
        variants: What may stand after the `@`.
        variant: What does; empty for nothing.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    suffix: ClassVar[str]
    tagged: ClassVar[bool] = False
    into: ClassVar[bool] = False
    needs: ClassVar[tuple[str, ...]] = ()
    variants: ClassVar[tuple[str, ...]] = places.PLACES

    def __init__(self, variant: str = "") -> None:
        self.variant = variant

    @property
    def place(self) -> str:
        """What a save and a load are given, one of `places.PLACES`."""
        return self.variant if self.variant in places.PLACES else places.PLACES[0]

    @property
    def ranks(self) -> tuple[int, int] | None:
        """With how many ranks it is saved and loaded; None for this process alone."""
        return None

    @abstractmethod
    def save(self, module: nn.Module, target: Any) -> None:
        """Write the module's state.

        Args:
            module: The module.
            target: A path, or what `variant` says.

        Raises:
            Unfit: The format cannot hold it.
        """

    @abstractmethod
    def load(self, source: Any, device: str, template: Callable[[], Mapping[str, Any]]) -> Any:
        """Read what `save` wrote, or what the user's own save wrote in this format.

        Args:
            source: A path, or what `variant` says.
            device: Device type on which the tensors come.
            template: Gives the state_dict of the module that will be loaded, for a format that reads into one.

        Returns:
            A state_dict, or a whole module.

        Raises:
            pickle.UnpicklingError: The file holds more than weights.
        """

    @classmethod
    def accepts(cls, variant: str) -> bool:
        """Whether the words may stand after the `@`."""
        return variant in cls.variants

    def write(self, module: nn.Module, path: Path) -> None:
        """Save to a path, the way that `variant` says."""
        with places.writing(path, self.place) as target:
            self.save(module, target)

    def read(self, path: Path, device: str, template: Callable[[], Mapping[str, Any]]) -> Any:
        """Load from a path, the way that `variant` says."""
        with places.reading(path, self.place) as source:
            return self.load(source, device, template)

    def recognises(self, path: Path) -> bool:
        """Whether what the user's own save wrote can be of this format; where in doubt, loading it will tell."""
        del path
        return True

    def binds(self, module: nn.Module) -> tuple[str, str] | None:
        """Give what in the module this format cannot write, its name and what it is; None if the format knows no more.

        Asked only after saving has raised.
        """
        del module
        return None

    @property
    def absent(self) -> str:
        """Why the format cannot be used here; empty if it can."""
        return missing(self.needs)


def missing(packages: Sequence[str]) -> str:
    """Say which packages are not installed, and how to install them; empty if all are."""
    absent = [name for name in packages if find_spec(name) is None]
    verb = "is" if len(absent) == 1 else "are"
    return f"{' and '.join(absent)} {verb} not installed: pip install {' '.join(absent)}" if absent else ""


def location(device: str) -> str:
    """Give what torch.load takes as `map_location` for a device type; the CPU where it can put nothing on that type.

    torch-xla's device is such a one: its tensors come over the CPU.
    """
    import torch

    if device == "cpu":
        return device
    place = str(torch.empty(0, device=device).device)
    try:
        torch.serialization.default_restore_location(torch.empty(1).untyped_storage(), place)
    except RuntimeError:
        return "cpu"
    return place


@cache
def names() -> tuple[str, ...]:
    """Names of all formats, sorted; nothing is imported for it."""
    return tuple(sorted(found.name for found in pkgutil.iter_modules([str(Path(__file__).parent)])))


def require(given: Sequence[str]) -> tuple[str, ...]:
    """Return the names if all are names of formats, perhaps with a variant; each once.

    Raises:
        UsageError: One is not; the message has the nearest name.
    """
    if isinstance(given, str):
        raise UsageError(f"formats takes a list of names, not the string {given!r}: write [{given!r}]")
    for one in given:
        name, at, variant = one.partition("@")
        if name not in names():
            meant = did_you_mean(name, names())
            raise UsageError(f"there is no format {one!r}: {meant}the formats are {', '.join(names())}")
        if at and not _kind(name).accepts(variant):
            known = ", ".join(f"{name}@{other}" for other in _kind(name).variants)
            raise UsageError(f"there is no format {one!r}: besides {name} alone there are {known}")
    return tuple(dict.fromkeys(given))


@cache
def get(name: str) -> Format:
    """Give the format of one name.

    Raises:
        UsageError: There is none; the message has the nearest name.
    """
    require([name])
    kind, _, variant = name.partition("@")
    return _kind(kind)(variant)


def _kind(name: str) -> type[Format]:
    module = import_module(f"pytest_ckpt.formats.{name}")
    found: type[Format] = next(
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Format) and value.__module__ == module.__name__
    )
    return found
