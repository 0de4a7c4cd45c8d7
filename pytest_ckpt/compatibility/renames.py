"""Guesses which entry of today's code an old entry has become: by shape, by name, and by order.

A guess is a rule, `fc` -> `head`, applied to parts of names, and a rule that explains more entries comes first: one
renamed submodule is one rule, whatever it holds.
"""

from __future__ import annotations

from collections import defaultdict
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch import Tensor

_ALIKE = 0.5  # likeness of two names, from 0 to 1, from which it counts
_MOST_PAIRS = 4096

Rule = tuple[tuple[str, ...], tuple[str, ...]]


def guess(old: Mapping[str, Tensor], new: Mapping[str, Tensor]) -> dict[str, str]:
    """Pair old entries that nobody asks for with new ones that the checkpoint lacks.

    Args:
        old: Entries of the checkpoint without a place, in the order of the file.
        new: Entries of the module without a value, in the order of the module.

    Returns:
        Old names and the new ones that they have probably become; each name at most once.
    """
    pairs: dict[str, str] = {}
    places = _places(old), _places(new)
    left, wanted = dict(old), dict(new)
    while left and wanted:
        rules = _rules(left, wanted)
        best = max(rules, key=lambda rule: _worth(rules[rule], places), default=None)
        if best is None:
            break
        for name, renamed in rules[best].items():
            pairs[name] = renamed
            del left[name], wanted[renamed]
    return {name: pairs[name] for name in old if name in pairs}


def renumbered(old: Mapping[str, Tensor], new: Mapping[str, Tensor]) -> dict[str, str]:
    """Pair the entries of numbered layers whose numbers have moved, in their order.

    A layer without entries, such as a Dropout, that was inserted into a `Sequential` moves all behind it: what was 1
    and 2 is 2 and 3 today. By names alone only 1 would look gone and only 3 new.

    Args:
        old: The checkpoint's tensors.
        new: Today's entries.

    Returns:
        Old names and today's where they differ; empty where every old number is still there.
    """
    pairs: dict[str, str] = {}
    before, after = _numbered(old), _numbered(new)
    for container in before.keys() & after.keys():
        one, other = before[container], after[container]
        if one.keys() <= other.keys():
            continue
        numbers = sorted(one), sorted(other)
        matching = SequenceMatcher(
            None, [one[at] for at in numbers[0]], [other[at] for at in numbers[1]], autojunk=False
        )
        for block in matching.get_matching_blocks():
            for at in range(block.size):
                moved = numbers[0][block.a + at], numbers[1][block.b + at]
                if moved[0] != moved[1]:
                    start, end = (f"{container}{number}." for number in moved)
                    pairs.update((name, end + name[len(start) :]) for name in old if name.startswith(start))
    return pairs


def _numbered(entries: Mapping[str, Tensor]) -> dict[str, dict[int, tuple[Any, ...]]]:
    """Give for each container of numbered layers what each layer holds: names and shapes of its entries."""
    found: defaultdict[str, defaultdict[int, tuple[Any, ...]]] = defaultdict(lambda: defaultdict(tuple))
    for name, tensor in entries.items():
        parts = name.split(".")
        for at, part in enumerate(parts[:-1]):
            if part.isdecimal():
                container = ".".join([*parts[:at], ""]) if at else ""
                found[container][int(part)] += ((".".join(parts[at + 1 :]), tuple(tensor.shape)),)
    return {container: dict(layers) for container, layers in found.items()}


def _rules(old: Mapping[str, Tensor], new: Mapping[str, Tensor]) -> dict[Rule, dict[str, str]]:
    """Give every rule that makes an old name a new one of the same shape, with the pairs that it makes."""
    by_shape: defaultdict[tuple[int, ...], list[str]] = defaultdict(list)
    for name, tensor in new.items():
        by_shape[shape_key(tensor)].append(name)
    rules: dict[Rule, dict[str, str]] = {}
    budget = _MOST_PAIRS
    for name, tensor in old.items():
        for renamed in by_shape[shape_key(tensor)]:
            rule = _rule(name, renamed)
            if rule not in rules and budget:
                budget -= 1
                rules[rule] = _applied(rule, old, new)
    return {rule: pairs for rule, pairs in rules.items() if pairs}


def shape_key(tensor: Tensor) -> tuple[int, ...]:
    """Give a shape without its ones: a gain of shape (4,) may have become one of shape (4, 1)."""
    return tuple(size for size in tensor.shape if size != 1)


def _rule(old: str, new: str) -> Rule:
    """Give the parts in which two names differ, common beginning and end left out."""
    one, other = old.split("."), new.split(".")
    while one and other and one[-1] == other[-1]:
        one, other = one[:-1], other[:-1]
    while one and other and one[0] == other[0]:
        one, other = one[1:], other[1:]
    return tuple(one), tuple(other)


def _applied(rule: Rule, old: Mapping[str, Tensor], new: Mapping[str, Tensor]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for name, tensor in old.items():
        for renamed in _replaced(name, rule):
            if renamed in new and renamed not in pairs.values() and shape_key(new[renamed]) == shape_key(tensor):
                pairs[name] = renamed
                break
    return pairs


def _replaced(name: str, rule: Rule) -> Iterable[str]:
    """Give the names that come of replacing one occurrence of the rule's old parts; of an empty one, at any place."""
    parts, (before, after) = name.split("."), rule
    for start in range(len(parts) - len(before) + 1):
        if tuple(parts[start : start + len(before)]) == before:
            yield ".".join([*parts[:start], *after, *parts[start + len(before) :]])


def _places(entries: Mapping[str, Tensor]) -> dict[str, int]:
    """Give each entry its place among those of its shape."""
    counts: defaultdict[tuple[int, ...], int] = defaultdict(int)
    places = {}
    for name, tensor in entries.items():
        places[name] = counts[shape_key(tensor)]
        counts[shape_key(tensor)] += 1
    return places


def _worth(pairs: Mapping[str, str], places: tuple[Mapping[str, int], Mapping[str, int]]) -> tuple[float, ...]:
    """Say how likely a rule is: by entries explained, then by how alike the names are, then by their order."""
    alike = sum(likeness(name, renamed) for name, renamed in pairs.items()) / len(pairs)
    shifted = sum(abs(places[0][name] - places[1][renamed]) for name, renamed in pairs.items()) / len(pairs)
    return len(pairs), alike if alike > _ALIKE else 0.0, -shifted


def likeness(old: str, new: str) -> float:
    """Say how alike two names are, from 0 to 1; the last part, which says what an entry is, counts twice."""
    return (SequenceMatcher(None, old, new).ratio() + 2 * _last_part(old, new)) / 3


def _last_part(old: str, new: str) -> float:
    return SequenceMatcher(None, old.rpartition(".")[2], new.rpartition(".")[2]).ratio()


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """Give a key by which `layers.2` comes before `layers.10`."""
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in name.split("."))
