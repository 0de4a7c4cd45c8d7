"""The checks. One file is one check; this module holds what they have in common.

A check reads what a round trip observed and turns it into findings; it neither saves nor loads. Its class docstring
is its page, its two cases are its test: `failing` must be reported by this check, and `passing` by none.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import nn

    from pytest_ckpt.findings import Finding
    from pytest_ckpt.trip import Trip


class Stage(IntEnum):
    """When a check looks, in the order in which causes come before their consequences."""

    SAVE = 1
    FILE = 2
    LOAD = 3
    KEYS = 4
    STRUCTURE = 5
    VALUES = 6
    FLAGS = 7
    ISOLATION = 8
    STRICTNESS = 9


@dataclass(frozen=True)
class Case:
    """A module, perhaps with its own save and load, on which a check is shown and tested.

    Attributes:
        make: Gives a fresh module.
        arguments: Further arguments of `check_module`, such as `inputs`.
        key: What the finding must name; unused for a passing case.
    """

    make: Callable[[], nn.Module]
    key: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)


class Check(ABC):
    """One check. The class docstring is its page, in MyST Markdown.

    Attributes:
        name: The category of its findings; the file's name with hyphens.
        summary: One line for tables: what it finds.
        stage: When it looks.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    stage: ClassVar[Stage]

    @abstractmethod
    def run(self, trip: Trip) -> Iterator[Finding]:
        """Report what one round trip shows.

        Args:
            trip: What was observed; facts that could not be observed are None or empty.

        Yields:
            Findings of this check's category.
        """

    @staticmethod
    @abstractmethod
    def failing() -> Case:
        """A case that this check reports, naming `key`."""

    @staticmethod
    @abstractmethod
    def passing() -> Case:
        """A case close to the failing one that is correct: no check reports it."""
