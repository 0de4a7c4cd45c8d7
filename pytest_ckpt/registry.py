"""Finds the checks: one file in `pytest_ckpt/checks/` is one check.

Names come from the files alone, so that options can be validated without importing torch, which the checks'
modules do for the tiny modules that they carry.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_ckpt.findings import UsageError, did_you_mean

if TYPE_CHECKING:
    from pytest_ckpt.checks import Check

_FOLDER = Path(__file__).parent / "checks"


@cache
def names() -> tuple[str, ...]:
    """Names of all checks, sorted, such as `unsaved-state` for `checks/unsaved_state.py`."""
    return tuple(sorted(found.name.replace("_", "-") for found in pkgutil.iter_modules([str(_FOLDER)])))


@cache
def check(name: str) -> Check:
    """Give the check of one name.

    Raises:
        UsageError: There is none; the message has the nearest names.
    """
    from pytest_ckpt.checks import Check

    require([name])
    module = import_module(f"pytest_ckpt.checks.{name.replace('-', '_')}")
    own = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Check) and value.__module__ == module.__name__
    ]
    if len(own) != 1 or own[0].name != name:
        raise TypeError(f"{module.__name__} must define exactly one Check, named {name!r}")
    return own[0]()


def all_checks() -> tuple[Check, ...]:
    """All checks in the order in which they look at a round trip: by stage, then by name."""
    return tuple(sorted(map(check, names()), key=lambda one: (one.stage, one.name)))


def select(checks: Iterable[str] | None, ignore: Iterable[str], looks: str = "run") -> tuple[Check, ...]:
    """Give the checks that are asked for, in running order.

    Args:
        checks: Names to run; None for all.
        ignore: Names to leave out.
        looks: The method of `Check` that will be called; checks that leave it as it is are left out.

    Raises:
        UsageError: A name is unknown, or nothing is left.
    """
    wanted = set(names() if checks is None else require(checks)) - set(require(ignore))
    chosen = tuple(one for one in all_checks() if one.name in wanted and _overrides(one, looks))
    if not chosen:
        raise UsageError("checks and ignore leave no check to run: name at least one check, or ignore fewer")
    return chosen


def _overrides(one: Check, method: str) -> bool:
    from pytest_ckpt.checks import Check

    return getattr(type(one), method) is not getattr(Check, method)


def require(given: Iterable[str]) -> list[str]:
    """Return the names if all are names of checks.

    Raises:
        UsageError: One is not; the message has the nearest names.
    """
    if isinstance(given, str):
        raise UsageError(f"checks and ignore take a list of names, not the string {given!r}: write [{given!r}]")
    if not isinstance(given, Iterable):
        raise UsageError(f"checks and ignore take a list of names, but {given!r} was given")
    given = list(given)
    for name in given:
        if name not in names():
            meant = did_you_mean(name, names())
            raise UsageError(f"there is no check named {name!r}: {meant}The checks are {', '.join(names())}")
    return given
