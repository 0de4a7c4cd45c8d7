"""Two entries in one place: names that are written under one key, and names that are one tensor on one side only."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import torch

from pytest_ckpt.compare import difference, words
from pytest_ckpt.trip import Changed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch import Tensor

_WRITTEN_OUT = re.compile(r"[^a-z0-9]")


def collisions(
    lost: Iterable[str], source: Mapping[str, Tensor], loaded: Mapping[str, Tensor], file: Mapping[str, Tensor]
) -> tuple[Changed, ...]:
    """List the lost entries in whose place another entry was written.

    That is so where the file holds the entry's value under no name, and the other's value came back for it, or stands
    under a name that shortens both. Entries that changed places are not lost.

    Args:
        lost: Names of the entries that did not come back.
        source: The live entries on the saving side.
        loaded: The live entries on the loading side; empty where loading raised.
        file: The tensors in the file.
    """
    found = []
    for name in lost:
        if name not in source or any(_same(source[name], value) for value in (*file.values(), *loaded.values())):
            continue
        other = next((key for key in source if key != name and _took(name, key, source, loaded, file)), "")
        if other:
            found.append(Changed(name, "a name of its own", f"the value of {other!r}"))
    return tuple(found)


def _took(
    name: str, other: str, source: Mapping[str, Tensor], loaded: Mapping[str, Tensor], file: Mapping[str, Tensor]
) -> bool:
    """Whether another entry of another value was written in the place of one."""
    value = source[other]
    if _same(source[name], value):
        return False
    if name in loaded:
        return _same(loaded[name], value)
    return any(_shortens(key, name) and _shortens(key, other) and _same(held, value) for key, held in file.items())


def _shortens(key: str, name: str) -> bool:
    """Whether a key is what may be left of a name: its end, or the name without dots and capitals."""
    return f".{name}".endswith(f".{key}") or _WRITTEN_OUT.sub("", key.lower()) == _WRITTEN_OUT.sub("", name.lower())


def strays(lost: Iterable[str], source: Mapping[str, Tensor], file: Mapping[str, Tensor]) -> dict[str, str]:
    """Find the bits of lost entries in the file under names that the module does not have.

    Args:
        lost: Names of the entries that did not come back.
        source: The live entries on the saving side.
        file: The tensors in the file.

    Returns:
        The foreign name of each that was found: that with the same last part, if there is one; for a value that is
        alike in all elements, which may stand there by chance, none but that.
    """
    foreign: dict[tuple[torch.dtype, torch.Size], list[str]] = {}
    for name in sorted(file.keys() - source.keys()):
        foreign.setdefault((file[name].dtype, file[name].shape), []).append(name)
    found = {}
    for key in lost:
        value, last = source[key], key.rpartition(".")[2]
        names = sorted(foreign.get((value.dtype, value.shape), ()), key=lambda name: _last(name) != last)
        name = next((name for name in names if _same(value, file[name])), "")
        if name and (_last(name) == last or not _is_uniform(value)):
            found[key] = name
    return found


def _is_uniform(tensor: Tensor) -> bool:
    """Whether all elements are alike, as in what a constructor fills."""
    if tensor.layout != torch.strided:
        return False
    bits = words(tensor.detach()).flatten()
    return bool((bits == bits[:1]).all())


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def tie_conflicts(
    lost: Iterable[str], source: Mapping[str, Tensor], loaded: Mapping[str, Tensor], file: Mapping[str, Tensor]
) -> tuple[Changed, ...]:
    """List the lost entries that are one tensor with another one on one side, and not so in the file.

    Args:
        lost: Names of the entries that did not come back.
        source: The live entries on the saving side.
        loaded: The live entries on the loading side.
        file: The tensors in the file.
    """
    found = []
    for name in lost:
        if name not in source or name not in loaded:
            continue
        for other in loaded.keys() & source.keys() - {name}:
            tied_there = loaded[name] is loaded[other] and not _same(source[name], source[other])
            tied_here = source[name] is source[other] and name in file and other in file
            if tied_there or (tied_here and not _same(file[name], file[other])):
                found.append(Changed(name, f"apart from {other!r}" if tied_there else f"tied to {other!r}", other))
                break
    return tuple(found)


def _same(one: Tensor, other: Tensor) -> bool:
    return one is other or difference("", one, other) is None
