"""Bytes that a source must hold before anything is parsed.

Most files of a project never save or load anything. Looking for a few tokens in the raw bytes costs a thousandth of a
parse, so each rule says which tokens its faults cannot do without.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lint_rules.rule import Needle, Rule

#: How torch is imported under another name. A pattern that begins with a word is looked for ten times faster.
_RENAMED = re.compile(rb"import +(?:torch\.)?(torch|nn|serialization) +as +(\w+)")
#: What is imported from torch, behind `from torch`, and what a statement ends with that binds torch to a name.
_IMPORTED = re.compile(rb" +import +(\([^)]*|[^\n]*)")
_ENDS = re.compile(rb"[ \t]*(?:#|\n|\\n)")
_NAME = re.compile(rb"(\w+) *$")
#: Functions of torch that give no tensor, or that rules ask for by these names alone.
_NO_MAKERS = frozenset(
    {b"nn", b"optim", b"as", b"load", b"save", b"device", b"no_grad", b"cuda", b"jit", b"distributed"}
)
_WORD = re.compile(rb"[a-z]\w*")
#: How a notebook's JSON begins, and a cell in one line of it, where line ends and quotes are escaped.
_BEGINS = re.compile(rb"(?:\xef\xbb\xbf)?\s*\{")
_ESCAPED = re.compile(rb"\"source\": ?\[? ?\"[^\"]")
_LETTER = re.compile(rb"\\u[0-9a-fA-F]{4}")
_MARK = b"\xef\xbb\xbf"
#: Letters beyond ASCII may stand in names, so they are taken for one that patterns know.
_LETTERS = bytes(range(128)) + b"x" * 128

#: Bytes beyond which only words are looked for: patterns take seconds then, and so much Python is not linted at all.
_LARGE = 16_000_000


def wanted(data: bytes, rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """Choose the rules that could find anything in a source.

    Args:
        data: The source as it is on disk, in an encoding that agrees with ASCII. A notebook's JSON will do too.
        rules: The rules that are on.

    Returns:
        The rules of which at least one alternative of `needs` occurs in full.
    """
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if not data.endswith(b"\n"):
        data += b"\n"
    if not data.isascii():
        data = data.removeprefix(_MARK).translate(_LETTERS)
    if escaped := may_be_notebook(data):
        data = _LETTER.sub(b"x", data)
    if escaped and _ESCAPED.search(data) is not None:
        data += data.replace(b"\\n", b"\n").replace(b'\\"', b'"')
    if b"torch" in data:
        data = _spelled_out(data)
    seen: dict[Needle, bool] = {}
    return tuple(rule for rule in rules if any(_all_held(data, need, seen) for need in rule.needs))


def _spelled_out(data: bytes) -> bytes:
    """Write `torch.`, `nn.` and `serialization.` where a source has other names for these, or none in front."""
    renamed = {*_RENAMED.findall(data), *((b"torch", name) for name in _bound_to_torch(data))}
    for package, name in renamed:
        if name != package:
            data = re.sub(rb"\b" + name + rb"\.", package + b".", data)
    imported = (_IMPORTED.match(data, start) for start in _behind(data, b"from torch"))
    for name in {word for each in imported if each for word in _WORD.findall(each[1])} - _NO_MAKERS:
        data = data.replace(b" %s(" % name, b" torch.%s(" % name)
    return data


def _bound_to_torch(data: bytes) -> Iterator[bytes]:
    """Yield the names that are given to torch: `lib = torch`."""
    for end in _behind(data, b"= torch"):
        if _ENDS.match(data, end):
            start = end - len(b"= torch")
            name = _NAME.search(data, data.rfind(b"\n", 0, start) + 1, start)
            if name is not None:
                yield name[1]


def _behind(data: bytes, text: bytes) -> Iterator[int]:
    """Yield where a text ends."""
    start = data.find(text)
    while start >= 0:
        yield start + len(text)
        start = data.find(text, start + 1)


def may_be_notebook(data: bytes) -> bool:
    """Tell whether a source may be a notebook's JSON rather than Python."""
    return _BEGINS.match(data) is not None and b'"cells"' in data


def places(data: bytes, word: bytes) -> Iterator[int]:
    """Yield where a word begins, behind anything that is no part of a name.

    To compile a pattern for each word that is met takes longer than to look for the word and then around it.
    """
    start = data.find(word)
    while start >= 0:
        before = data[start - 1 : start]
        if not before.isalnum() and before != b"_":
            yield start
        start = data.find(word, start + 1)


def is_followed(data: bytes, word: bytes, after: re.Pattern[bytes]) -> bool:
    """Tell whether a word stands somewhere with something behind it."""
    return any(after.match(data, start + len(word)) for start in places(data, word))


def _all_held(data: bytes, need: Iterable[Needle], seen: dict[Needle, bool]) -> bool:
    """Look for the tokens of one alternative; several rules ask for the same ones, which are looked for once."""
    for token in need:
        held = seen.get(token)
        if held is None:
            held = seen[token] = _holds(data, token)
        if not held:
            return False
    return True


def _holds(data: bytes, token: Needle) -> bool:
    if isinstance(token, bytes):
        return token in data
    if len(data) > _LARGE:
        return True
    return token(data) if callable(token) else token.search(data) is not None
