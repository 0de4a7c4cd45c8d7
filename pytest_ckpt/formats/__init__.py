"""The formats. One file is one format: how a module's state is written by default, and how it is read back."""

from __future__ import annotations

import pkgutil
from abc import ABC, abstractmethod
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pytest_ckpt.findings import UsageError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn


class Format(ABC):
    """One file format.

    Attributes:
        name: Its name in options and legs; the file's name.
        suffix: What a file of this format ends with.
    """

    name: ClassVar[str]
    suffix: ClassVar[str]

    @abstractmethod
    def save(self, module: nn.Module, path: Path) -> None:
        """Write the module's state_dict."""

    @abstractmethod
    def load(self, path: Path, device: str) -> Any:
        """Read what `save` wrote, or what the user's own save wrote in this format, onto a device.

        Raises:
            pickle.UnpicklingError: The file holds more than weights.
        """


@cache
def names() -> tuple[str, ...]:
    """Names of all formats, sorted; nothing is imported for it."""
    return tuple(sorted(found.name for found in pkgutil.iter_modules([str(Path(__file__).parent)])))


def require(given: Sequence[str]) -> tuple[str, ...]:
    """Return the names if all are names of formats.

    Raises:
        UsageError: One is not; the message has the nearest name.
    """
    if isinstance(given, str):
        raise UsageError(f"formats takes a list of names, not the string {given!r}: write [{given!r}]")
    for name in given:
        if name not in names():
            meant = did_you_mean(name, names())
            raise UsageError(f"there is no format {name!r}: {meant}The formats are {', '.join(names())}")
    return tuple(given)


@cache
def get(name: str) -> Format:
    """Give the format of one name.

    Raises:
        UsageError: There is none; the message has the nearest name.
    """
    require([name])
    module = import_module(f"pytest_ckpt.formats.{name}")
    found: Format = next(
        value()
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Format) and value.__module__ == module.__name__
    )
    return found
