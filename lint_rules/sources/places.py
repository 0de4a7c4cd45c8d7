"""Where the values of a JSON document stand in its text, which `json` itself does not tell."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_SPACE = re.compile(r"\s*")
_decode = json.JSONDecoder().raw_decode


def inside(text: str, start: int) -> Iterator[tuple[str, int]]:
    """Yield the key, or nothing in an array, and the start of each value in an object or an array.

    Args:
        text: A valid document.
        start: Where the object or array begins, or the space before it.
    """
    at = _behind_space(text, start)
    is_object = text[at] == "{"
    at = _behind_space(text, at + 1)
    while text[at] not in "]}":
        key = ""
        if is_object:
            key, at = _value(text, at)
            at = _behind_space(text, _behind_space(text, at) + 1)
        yield key, at
        _, at = _value(text, at)
        at = _behind_space(text, at)
        if text[at] == ",":
            at = _behind_space(text, at + 1)


def strings(text: str, start: int) -> Iterator[tuple[str, int]]:
    """Yield the strings of an array, or the only one, and where each of them starts."""
    value, _ = _value(text, start)
    places = [at for _, at in inside(text, start)] if isinstance(value, list) else [start]
    for at in places:
        yield str(_value(text, at)[0]), at


def _value(text: str, start: int) -> tuple[Any, int]:
    """Give a value and where it ends."""
    return _decode(text, start)


def _behind_space(text: str, start: int) -> int:
    found = _SPACE.match(text, start)
    return found.end() if found else start
