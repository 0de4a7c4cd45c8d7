"""Faulty and correct modules and loaders, as real code has them, for the round trip to judge.

Each is declared where it is written, by a decorator on its class or factory: `@faulty("unsaved-state", key="offset")`
says what the report must hold, `@correct()` that it must hold nothing.
"""

from __future__ import annotations

import pkgutil
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from pytest_ckpt import check_module
from tests.generators import unmoved

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_ckpt.findings import Finding, Report

    Make = TypeVar("Make", bound=Callable[[], Any])


@dataclass(frozen=True)
class Case:
    """One module or loader, and what is to be said of it.

    Attributes:
        name: Module and name of the factory, shown as the test's id.
        make: Gives a fresh module.
        arguments: Further arguments of `check_module`.
        categories: Categories that fit the fault, any of which is right; empty where the code is correct.
        keys: Names of the culprit, any of which is right.
        alone: Whether nothing else may be accused.
        says: What the finding's message or hint must say.
    """

    name: str
    make: Callable[[], Any]
    arguments: dict[str, Any]
    categories: frozenset[str] = frozenset()
    keys: frozenset[str] = frozenset()
    alone: bool = False
    says: str = ""

    def __str__(self) -> str:
        return self.name

    def check(self) -> Report:
        """Round-trip the module, on one thread: several only wait for each other over tensors of four elements."""
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with unmoved():
                return check_module(self.make, **self.arguments)
        finally:
            torch.set_num_threads(threads)

    def named(self, report: Report) -> list[Finding]:
        """Give the findings that name the culprit in a fitting category."""
        return [one for one in report.findings if one.category in self.categories and one.key in self.keys]


FAULTY: list[Case] = []
CORRECT: list[Case] = []


def collect() -> None:
    """Import every module of this package, so that `FAULTY` and `CORRECT` are complete."""
    for module in pkgutil.iter_modules(__path__):
        import_module(f"{__name__}.{module.name}")


def faulty(
    *categories: str, key: str | tuple[str, ...], alone: bool = False, says: str = "", **arguments: Any
) -> Callable[[Make], Make]:
    """Declare a class or factory faulty.

    Args:
        *categories: The categories that fit; the report must hold one of them.
        key: The culprit's name, or all the names that point at it.
        alone: Whether nothing else may be accused.
        says: What the finding's message or hint must say, where a check has several.
        **arguments: Further arguments of `check_module`.
    """
    keys = frozenset([key] if isinstance(key, str) else key)

    def declare(make: Make) -> Make:
        FAULTY.append(Case(_name(make), make, arguments, frozenset(categories), keys, alone, says))
        return make

    return declare


def correct(**arguments: Any) -> Callable[[Make], Make]:
    """Declare a class or factory correct.

    Args:
        **arguments: Further arguments of `check_module`.
    """

    def declare(make: Make) -> Make:
        CORRECT.append(Case(_name(make), make, arguments))
        return make

    return declare


def _name(make: Any) -> str:
    return f"{make.__module__.rpartition('.')[2]}.{make.__name__}"
