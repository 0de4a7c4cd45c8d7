"""The checks. One file is one check; this module holds what they have in common.

A check reads what was observed and turns it into findings; it neither saves nor loads. It may look at a round trip
(`run`) or at a resumed training (`resumed`), and has the methods for those in which its fault occurs. Its class
docstring is its page, its two cases are its test: `failing` must be reported by this check, and `passing` by none.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_ckpt.compatibility.search.bench import Cause
    from pytest_ckpt.findings import Finding, Report
    from pytest_ckpt.resume.resumption import Resumption
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
    TRAINING = 10
    VERSIONS = 11


@dataclass(frozen=True)
class Case:
    """A module or a training, perhaps with its own save and load, on which a check is shown and tested.

    Attributes:
        make: What the judging function takes first: gives a fresh module, or a new training run.
        key: What the finding must name; unused for a passing case.
        arguments: Further arguments of the judging function, such as `inputs`.
        judge: Name of the function of `pytest_ckpt` that judges it.
    """

    make: Callable[[], Any]
    key: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    judge: str = "check_module"

    def report(self, **arguments: Any) -> Report:
        """Have the case judged.

        Args:
            arguments: Further arguments of the judging function, for this time.
        """
        import pytest_ckpt

        report: Report = getattr(pytest_ckpt, self.judge)(self.make, **{**self.arguments, **arguments})
        return report


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

    def run(self, trip: Trip) -> Iterator[Finding]:  # noqa: ARG002 -- for those that look at round trips
        """Report what one round trip shows.

        Args:
            trip: What was observed; facts that could not be observed are None or empty.

        Returns:
            Findings of this check's category.
        """
        return iter(())

    def resumed(self, resumption: Resumption) -> Iterator[Finding]:  # noqa: ARG002 -- for those that look at trainings
        """Report what a resumed training shows.

        Args:
            resumption: What was observed.

        Returns:
            Findings of this check's category.
        """
        return iter(())

    def compared(self, cause: Cause) -> Iterator[Finding]:  # noqa: ARG002 -- for those that look at old checkpoints
        """Report why a module of today with an old checkpoint gives other outputs.

        Args:
            cause: A change with which it gives the old ones, or what is most likely at fault.

        Returns:
            Findings of this check's category.
        """
        return iter(())

    @staticmethod
    @abstractmethod
    def failing() -> Case:
        """A case that this check reports, naming `key`."""

    @staticmethod
    @abstractmethod
    def passing() -> Case:
        """A case close to the failing one that is correct: no check reports it."""
