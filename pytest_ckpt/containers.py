"""What a container holds.

It is read through the class of Python's own that it is, or is derived from: the methods of a class of the user's may
raise, count without end, or make other items than it holds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any
from weakref import WeakSet

CONTAINERS = (dict, list, tuple, set, frozenset, deque)
_OWN = frozenset({"builtins", "collections"})


def items_of(value: Any) -> list[Any]:
    """Give the values of a mapping, or the items of another container; nothing of any other value."""
    if isinstance(value, CONTAINERS):
        own: Any = next(kind for kind in type(value).__mro__ if kind.__module__ in _OWN)
        return list(own.values(value) if isinstance(value, dict) else own.__iter__(value))
    if isinstance(value, WeakSet):
        return list(value)
    if isinstance(value, Mapping):
        try:
            return list(value.values())
        except Exception:  # noqa: BLE001 -- one that reads from a file, which is closed
            return []
    return []


def pairs_of(value: Mapping[Any, Any]) -> list[tuple[Any, Any]]:
    """Give the keys of a dict, or of another mapping, with their values."""
    if not isinstance(value, dict):
        return list(value.items())
    own: Any = next(kind for kind in type(value).__mro__ if kind.__module__ in _OWN)
    return list(own.items(value))
