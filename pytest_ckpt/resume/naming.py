"""Calls what a resumed run lacks by its name, and puts it into one of the categories."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from pytest_ckpt.compare import describe, equal
from pytest_ckpt.resume.effect import typed
from pytest_ckpt.resume.families import COUNTERS, words
from pytest_ckpt.resume.resumption import Lost
from pytest_ckpt.resume.slots import Reference

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pytest_ckpt.resume.search import Suspect
    from pytest_ckpt.resume.slots import Slot, World

_CATEGORY_OF_KIND = {
    "buffer": "nonpersistent-buffer",
    "mode": "mode-changed",
    "flag": "requires-grad",
    "grad": "unsaved-state",
    "state": "optimizer-state",
    "group": "optimizer-state",
    "held": "optimizer-state",
    "scheduler": "scheduler-state",
    "scaler": "scaler-state",
    "generator": "rng-state",
    "iterator": "data-position",
}
_CATEGORY_OF_FAMILY = {
    "ema": "ema-state",
    "scheduler": "scheduler-state",
    "scaler": "scaler-state",
    "optimizer": "optimizer-state",
}
_SET_BY_SCHEDULERS = frozenset({"lr", "momentum", "betas"})
_FEW = 3  # at the most are told one by one, and no order is shorter


def losses(culprits: Iterable[Suspect], saved: World, fresh: World) -> tuple[Lost, ...]:
    """Name everything that the culprits consist of.

    Args:
        culprits: What makes the resumed run differ.
        saved: What the uninterrupted run held when it was saved.
        fresh: What the resumed run held before loading.
    """
    culprits = list(culprits)
    scheduled = any(
        slot is not None and slot.family == "scheduler" for one in culprits for slot in one.expected.values()
    )
    found = []
    for culprit in culprits:
        slots = [slot for slot in (*culprit.expected.values(), *culprit.actual.values()) if slot is not None]
        part_of_effect = any(map(typed, slots))
        for path, expected in culprit.expected.items():
            actual = culprit.actual[path]
            slot = expected or actual
            if slot is not None and (typed(slot) or not part_of_effect):
                found.append(_lost(slot, expected, actual, saved, fresh.slots.get(path), scheduled=scheduled))
    return tuple(_merged(found))


def _lost(  # noqa: PLR0913 -- the slot on every side
    slot: Slot, expected: Slot | None, actual: Slot | None, saved: World, fresh: Slot | None, *, scheduled: bool
) -> Lost:
    root = slot.path.partition(".")[0].partition("[")[0]
    return Lost(
        category=_category(slot, expected, actual, fresh, scheduled=scheduled),
        key=_key(slot),
        what=_what(slot, expected, actual, saved, fresh),
        expected="where it was when saved" if slot.kind == "generator" else described(expected),
        actual="elsewhere" if slot.kind == "generator" and actual is not None else described(actual),
        part="" if root == slot.path else root,
        kind=slot.kind,
        type=_type_of(slot.value) if slot.kind == "generator" else "",
    )


def _type_of(value: Any) -> str:
    kind = type(value)
    return f"{kind.__module__.partition('.')[0]}.{kind.__name__}"


# ----------------------------------------------------------------------------------------------------------- categories


def _category(slot: Slot, expected: Slot | None, actual: Slot | None, fresh: Slot | None, *, scheduled: bool) -> str:
    if slot.kind == "group" and slot.name in _SET_BY_SCHEDULERS and scheduled:
        return "scheduler-state"
    if slot.kind in _CATEGORY_OF_KIND:
        return _CATEGORY_OF_KIND[slot.kind]
    if slot.family in _CATEGORY_OF_FAMILY:
        return _CATEGORY_OF_FAMILY[slot.family]
    if slot.kind == "entry":
        return _category_of_entry(expected, actual, fresh)
    if slot.kind == "reference":
        return "unsaved-state"
    if _tells_position(slot):
        return "data-position"
    return "step-counter" if _counts(slot) else "unsaved-state"


def _category_of_entry(expected: Slot | None, actual: Slot | None, fresh: Slot | None) -> str:
    if expected is None or actual is None or (fresh is not None and equal(fresh.value, actual.value)):
        return "unsaved-state"
    one, other = expected.value, actual.value
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        if one.dtype != other.dtype:
            return "dtype-changed"
        if one.shape != other.shape:
            return "shape-changed"
    return "value-changed"


def _tells_position(slot: Slot) -> bool:
    """Whether a value says which data come next: a permutation, or what a loader, a sampler or a cursor holds."""
    return slot.family == "data" or is_permutation(slot.value)


def is_permutation(value: Any) -> bool:
    """Whether a value is an order: the numbers from 0 on, each once."""
    if isinstance(value, torch.Tensor):
        integral = not value.is_floating_point() and not value.is_complex() and value.dtype != torch.bool
        value = value.tolist() if integral and value.dim() == 1 else []
    elif is_array(value):
        value = value.tolist() if value.ndim == 1 and value.dtype.kind in "iu" else []
    if not isinstance(value, (list, tuple)) or len(value) < _FEW:
        return False
    return all(type(item) is int for item in value) and sorted(value) == list(range(len(value)))


def is_array(value: Any) -> bool:
    """Whether a value is an array of NumPy, which torch does without."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.ndarray)


def _counts(slot: Slot) -> bool:
    number = slot.value
    if isinstance(number, torch.Tensor) and number.numel() == 1 and not number.is_floating_point():
        number = number.item()
    return isinstance(number, int) and not isinstance(number, bool) and bool(words(slot.name) & COUNTERS)


# ---------------------------------------------------------------------------------------------------------------- words


def _key(slot: Slot) -> str:
    if slot.kind == "state":
        return f"{shown(slot.owner)} {slot.name}"
    if slot.kind in {"group", "held"}:
        place = slot.path if slot.kind == "held" else f"{slot.parent} {slot.name}"
        return place.removeprefix("optimizer.")
    if slot.kind == "mode":
        return shown(slot.parent)
    if slot.kind == "flag":
        return shown(slot.parent)
    if slot.kind == "grad":
        return f"{shown(slot.parent)}.grad"
    return shown(slot.path)


def shown(path: str) -> str:
    """Give a path as it is known: within `.model` that is the fully qualified name."""
    return path.removeprefix("model.")


def described(slot: Slot | None) -> str:
    """Give a few words for what a slot holds."""
    if slot is None:
        return "absent"
    if slot.kind == "mode":
        return "training mode" if slot.value else "eval mode"
    if slot.kind == "flag":
        return f"requires_grad={slot.value}"
    if slot.kind == "held":
        return ", ".join(map(shown, slot.value[:_FEW])) + (", …" if len(slot.value) > _FEW else "")
    if slot.kind == "iterator":
        return f"{type(slot.value).__name__} under way"
    if isinstance(slot.value, Reference):
        return f"the run's {slot.value.path}"
    return describe(slot.value)


def _what(slot: Slot, expected: Slot | None, actual: Slot | None, saved: World, fresh: Slot | None) -> str:
    if slot.kind in {"held", "reference", "mode", "flag", "iterator"}:
        return {
            "held": "the optimizer holds other tensors than those of the model, so training changes nothing in it",
            "reference": "it is another object than the one that the run uses",
            "mode": f"loading left it in {described(actual)}",
            "flag": "the parameter trains now" if actual and actual.value else "the parameter is frozen now",
            "iterator": "its position was not restored",
        }[slot.kind]
    if actual is None:
        return "it is not there after loading"
    if expected is None:
        return "it is there after loading, although the uninterrupted run has none"
    one, other = expected.value, actual.value
    tensors = isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor)
    both = tensors or (is_array(one) and is_array(other))
    if both and one.dtype != other.dtype:
        return "it came back in another dtype"
    if both and one.shape != other.shape and (fresh is None or not equal(fresh.value, other)):
        return "it came back in another shape"
    if fresh is not None and equal(fresh.value, other):
        return "it was not restored: it holds what a new run holds" + _behind(one, other)
    twin = _twin(slot, other, saved) if tensors else ""
    return (f"it holds what belongs to {twin}" if twin else "it came back with another value") + _behind(one, other)


def _behind(one: Any, other: Any) -> str:
    if type(one) is int and type(other) is int and one != other:
        apart = abs(one - other)
        return f", {apart} {'behind' if one > other else 'ahead'}"
    return ""


def _twin(slot: Slot, value: Any, saved: World) -> str:
    """Name the slot of the uninterrupted run whose value this is, if it is another one's."""
    if not value.numel() or bool((value == value.flatten()[0]).all()):
        return ""
    for path, other in saved.slots.items():
        if path != slot.path and isinstance(other.value, torch.Tensor) and equal(other.value.detach(), value.detach()):
            return _key(other)
    return ""


# -------------------------------------------------------------------------------------------------------------- merging


def _merged(found: Sequence[Lost]) -> Iterator[Lost]:
    """Report what was lost in the same way under the first one's name."""
    groups: dict[tuple[str, ...], list[Lost]] = {}
    for one in found:
        groups.setdefault(_alike(one), []).append(one)
    for alike in groups.values():
        alike.sort(key=lambda one: "._" in one.key)
        if len(alike) > _FEW or alike[0].kind in {"state", "mode", "scaler"} or alike[0].category == "scheduler-state":
            yield replace(alike[0], others=tuple(one.key for one in alike[1:]))
        else:
            yield from alike


def _alike(one: Lost) -> tuple[str, ...]:
    if one.kind == "state":
        return one.category, one.kind, one.part, one.key.rpartition(" ")[2]
    if one.category == "scheduler-state" and one.kind != "group":
        return one.category, one.part
    if one.kind in {"scaler", "entry", "mode", "flag", "grad"} or (one.kind == "value" and one.part):
        return one.category, one.kind, one.part
    return one.category, one.kind, one.key
