"""What a stretch of training comes to: its losses, and what models, optimizers and schedulers hold at its end.

Two stretches that come to the same are the same training. What is no part of it (a counter that nobody reads, the
position of a generator that nobody draws from) may differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from pytest_ckpt.compare import equal, spread
from pytest_ckpt.outputs import close, first_difference
from pytest_ckpt.resume.slots import Reference, same

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from pytest_ckpt.resume.run import Trace
    from pytest_ckpt.resume.slots import Slot, World

_TYPED = frozenset({"entry", "mode", "flag", "state", "group", "held", "scheduler", "scaler"})
_SETTINGS_OF_CONSTRUCTION = frozenset({"initial_lr", "max_lr", "min_lr", "foreach", "fused", "params", "param_names"})


def typed(slot: Slot) -> bool:
    """Whether a slot is part of what a training comes to by what it is, whoever reads it."""
    if slot.kind == "group":
        return slot.name not in _SETTINGS_OF_CONSTRUCTION
    if slot.kind == "value" and slot.family == "ema":
        return isinstance(slot.value, torch.Tensor)
    if slot.kind in {"value", "reference"} and slot.family == "scheduler":
        return slot.kind == "reference" or not callable(slot.value)
    return slot.kind in _TYPED


@dataclass(frozen=True, slots=True)
class Effect:
    """What a stretch of training came to.

    Attributes:
        trace: Its losses, and what it raised.
        end: A copy of what the run held at its end.
    """

    trace: Trace
    end: World

    def differences(self, other: Effect, first: int = 0) -> Iterator[str]:
        """Give the places in which another stretch differs: steps, then what the runs hold.

        Args:
            other: The other stretch.
            first: The number of the first step that is compared.
        """
        for number, loss in self.trace.losses.items():
            if number >= first and not equal(loss, other.trace.losses.get(number)):
                yield step_place(number)
        if self.trace.error != other.trace.error:
            yield "error"
        if first_difference(self.trace.observed, other.trace.observed) is not None:
            yield "observable()"
        for path, slot in self.end.slots.items():
            if typed(slot) and not _agree(slot, other.end.slots.get(path)):
                yield path

    def negligible(self, other: Effect, places: list[str]) -> bool:
        """Whether what differs is a few units in the last place, as kernels on differently aligned memory give it."""
        for place in places:
            one, two = self._tensor(place), other._tensor(place)
            if one is None or two is None or not close(one, two):
                return False
        return True

    def _tensor(self, place: str) -> Tensor | None:
        """Give what stands in a place, as far as it can be compared with a tolerance; losses in single precision."""
        number = step_number(place)
        if number is not None:
            return torch.tensor(self.trace.losses.get(number, ()))
        value = getattr(self.end.slots.get(place), "value", None)
        return value if isinstance(value, torch.Tensor) else None


def step_place(number: int) -> str:
    """Give the place of a step's loss."""
    return f"step {number}"


def step_number(place: str) -> int | None:
    """Give the number of the step whose place this is; None for any other place."""
    head, _, number = place.partition(" ")
    return int(number) if head == "step" and number.isdigit() else None


def _agree(one: Slot, other: Slot | None) -> bool:
    if one.kind == "held" and other is not None:
        return set(one.value) == set(other.value)
    if other is not None and isinstance(one.value, Reference) != isinstance(other.value, Reference):
        return False
    return same(one, other)


def drift(reference: Effect, resumed: Effect, first: int) -> str:
    """Say from which step on two stretches differ, and by how much; of equal losses, by how much the weights do.

    Args:
        reference: The uninterrupted one.
        resumed: The resumed one.
        first: The number of the first step that both made.
    """
    if resumed.trace.error:
        return f"after loading, {resumed.trace.error}"
    losses = reference.trace.losses
    apart = [number for number in resumed.trace.losses if not equal(losses[number], resumed.trace.losses[number])]
    if apart:
        number = apart[0]
        pairs = zip(losses[number], resumed.trace.losses[number], strict=False)
        one, other = next((pair for pair in pairs if not equal(*pair)), (losses[number][0], float("nan")))
        after = number - first
        when = "at once" if not after else f"{after} step{'s' * (after != 1)} after resuming"
        return f"the loss differs {when}, at step {number}: {one:.6g} -> {other:.6g}"
    largest = _largest(reference.end, resumed.end)
    return largest and f"after step {max(losses)}, {largest}"


def _largest(expected: World, actual: World) -> str:
    worst: tuple[float, str] = (0.0, "")
    for path, slot in expected.slots.items():
        other = actual.slots.get(path)
        if slot.kind != "entry" or other is None or not _comparable(slot.value, other.value):
            continue
        apart = float((slot.value.detach().double() - other.value.detach().double()).abs().max())
        if apart > worst[0]:
            worst = (apart, f"{path}: {spread(slot.value, other.value)}")
    return worst[1]


def _comparable(one: Any, other: Any) -> bool:
    both = isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor)
    return (
        both and one.shape == other.shape and one.numel() > 0 and one.is_floating_point() and other.is_floating_point()
    )
