"""The bench on which changes are tried: one module, its inputs, and the outputs that it should give."""

from __future__ import annotations

import time
from contextlib import contextmanager, nullcontext
from copy import copy
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

import torch

from pytest_ckpt.outputs import ForwardError, leaves

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager

    from torch import nn

    from pytest_ckpt.compatibility.agreement import Agreement
    from pytest_ckpt.outputs import Runner

#: How many forwards a search may take, and how long together, in seconds of this thread: other work decides no result.
MOST_RUNS = 4000
MOST_SECONDS = 20.0

_DECADES = tuple(10.0**power for power in range(-12, 5))
_FACTORS = (0.5, 2.0, 0.1, 10.0, 0.01, 100.0, -1.0, 1e-3, 1e3)
_GOLDEN = 0.6180339887498949  # of an interval, in the golden-section search
_STEPS = 48  # of that search: more than a float32 tells apart
_DIGITS = (1, 2, 3, 4, 6)


class Exhausted(Exception):  # noqa: N818 -- not an error: the search ends without a result
    """The search has used all the runs that it may take."""


@dataclass(frozen=True, slots=True)
class Cause:
    """A change that brings the old outputs back.

    Attributes:
        category: `semantics`, or `value-changed` where a migration is at fault.
        key: The setting, the submodule or the entry.
        expected: What the older version must have had there.
        actual: What stands there today.
        message: What was found.
        hint: What to type.
    """

    category: str
    key: str
    expected: str
    actual: str
    message: str
    hint: str


@contextmanager
def _checked_attention() -> Iterator[None]:
    """Keep torch's encoder from the kernel that takes the number of heads as it comes, and divides by it."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


class Bench:
    """A loaded module, and how far its outputs are from the old ones.

    Attributes:
        module: The module that changes are tried on.
    """

    def __init__(self, module: nn.Module, runner: Runner, agreement: Agreement) -> None:
        self.module = module
        self._runner, self._agreement = runner, agreement
        self._runs, self._until = count(1), time.thread_time() + MOST_SECONDS
        self._around: Callable[[], AbstractContextManager[Any]] = nullcontext

    def under(self, around: Callable[[], AbstractContextManager[Any]]) -> Bench:
        """Give the same bench with every forward within a context."""
        other = copy(self)
        other._around = around  # noqa: SLF001 -- its own copy
        return other

    def distance(self) -> float:
        """Run forward and give the distance to the old outputs; infinite where it raises.

        Raises:
            Exhausted: There have been enough runs.
        """
        if next(self._runs) > MOST_RUNS or time.thread_time() > self._until:
            raise Exhausted
        try:
            with self._around(), _checked_attention():
                outputs = self._runner(self.module)
            return self._agreement.distance(leaves(outputs))
        except ForwardError:
            return float("inf")

    def agrees(self) -> bool:
        """Whether the outputs are the old ones."""
        return self.distance() == 0

    def solve(self, put: Callable[[float], Any], value: float) -> float | None:
        """Find the number with which the outputs are the old ones.

        Args:
            put: Makes forward use a number.
            value: The number of today; it is put back.

        Returns:
            The number, with as few digits as do; None where there is none.
        """

        def distance(candidate: float) -> float:
            put(candidate)
            return self.distance()

        try:
            today = distance(value)
            probes = {distance(value * 1.5 + 1e-3), distance(value * 0.5 - 1e-3)}
            if probes <= {today, float("inf")}:
                return None  # it has no influence
            found = _scan(distance, value)
            return None if found is None else _shortest(distance, found)
        finally:
            put(value)

    def first(self, candidates: Iterable[Any], put: Callable[[Any], Any], value: Any) -> Any:
        """Give the first of some values with which the outputs are the old ones; None where there is none."""
        try:
            for candidate in candidates:
                put(candidate)
                if self.agrees():
                    return candidate
        finally:
            put(value)
        return None


def _scan(distance: Callable[[float], float], value: float) -> float | None:
    grid = sorted({0.0, 1.0, *_DECADES, *(value * factor for factor in _FACTORS), value})
    distances = [distance(point) for point in grid]
    if 0 in distances:
        return grid[distances.index(0)]
    order = sorted(range(len(grid)), key=distances.__getitem__)
    for at in order[:2]:
        low, high = grid[max(at - 1, 0)], grid[min(at + 1, len(grid) - 1)]
        found = _refine(distance, low, high)
        if found is not None:
            return found
    return None


def _refine(distance: Callable[[float], float], low: float, high: float) -> float | None:
    """Search for the smallest distance between two numbers by golden sections."""
    one, other = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_one, at_other = distance(one), distance(other)
    for _ in range(_STEPS):
        if at_one == 0:
            return one
        if at_other == 0:
            return other
        if at_one < at_other:
            high, other, at_other = other, one, at_one
            one = high - _GOLDEN * (high - low)
            at_one = distance(one)
        else:
            low, one, at_one = one, other, at_other
            other = low + _GOLDEN * (high - low)
            at_other = distance(other)
    return None


def _shortest(distance: Callable[[float], float], found: float) -> float:
    for digits in _DIGITS:
        short = float(f"{found:.{digits}g}")
        if distance(short) == 0:
            return short
    return found
