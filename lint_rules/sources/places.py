"""Where the values of a JSON document stand in its text, which `json` itself does not tell, and changing one there."""

from __future__ import annotations

import difflib
import itertools
import json
import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_SPACE = re.compile(r"\s*")
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_LINE_LITERAL = re.compile(r"(?:[^\\]|\\[^n])*?\\n|(?:[^\\]|\\.)+")
_decode = json.JSONDecoder().raw_decode


def inside(text: str, start: int) -> Iterator[tuple[str, slice]]:
    """Yield the key, or nothing in an array, and the place of each value in an object or an array.

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
            key, at = _decode(text, at)
            at = _behind_space(text, _behind_space(text, at) + 1)
        _, end = _decode(text, at)
        yield key, slice(at, end)
        at = _behind_space(text, end)
        if text[at] == ",":
            at = _behind_space(text, at + 1)


def strings(text: str, place: slice) -> Iterator[tuple[str, slice]]:
    """Yield the strings of an array, or the only one, and the place of each."""
    if text[place.start] == "[":
        for _, each in inside(text, place.start):
            yield str(_decode(text, each.start)[0]), each
    else:
        yield str(_decode(text, place.start)[0]), place


def replaced(text: str, place: slice, new: str) -> str:
    """Give what to write in the place of a string, or of an array with one string a line, so that it says `new`.

    Lines that stay are written as they were, and so is the space around them.
    """
    whole = text[place]
    if whole[0] != "[":
        old = [_Row(json.loads(f'"{line}"'), line, "") for line in _LINE_LITERAL.findall(whole[1:-1])]
        made = [_Row(line, _literal(line, whole)[1:-1], "") for line in _LINE.findall(new)]
        return f'"{_merged(old, made)}"'
    found = list(strings(text, place))
    if not found:
        return json.dumps(new.splitlines(keepends=True)) if new else whole
    places = [each for _, each in found]
    opening, closing = text[place.start : places[0].start], text[places[-1].stop : place.stop]
    between = [text[one.stop : other.start] for one, other in itertools.pairwise(places)]
    usual = between[0] if between else f",{opening[1:]}"
    old = [_Row(line, text[each], after) for (line, each), after in zip(found, [*between, usual], strict=True)]
    made = [_Row(line, _literal(line, whole), usual) for line in new.splitlines(keepends=True) or [""]]
    return opening + _merged(old, made) + closing


class _Row(NamedTuple):
    """A line, how it is written, and what stands between it and the next."""

    value: str
    literal: str
    after: str


def _merged(old: Sequence[_Row], new: Sequence[_Row]) -> str:
    """Write the new rows down, those that stay as they were."""
    rows: list[_Row] = []
    before, after = ([row.value for row in each] for each in (old, new))
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    for tag, old_start, old_end, new_start, new_end in matcher.get_opcodes():
        rows += old[old_start:old_end] if tag == "equal" else new[new_start:new_end]
    return "".join(row.literal + row.after for row in rows[:-1]) + "".join(row.literal for row in rows[-1:])


def _literal(value: str, like: str) -> str:
    """Write a string down, with characters beyond ASCII escaped if they are so elsewhere."""
    return json.dumps(value, ensure_ascii=like.isascii())


def _behind_space(text: str, start: int) -> int:
    found = _SPACE.match(text, start)
    return found.end() if found else start
