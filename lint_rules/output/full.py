"""Each finding with the lines it stands in, and carets below."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

from lint_rules.output._text import headline, paint, summary

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lint_rules.rule import Finding
    from lint_rules.runner import Result

#: Lines shown before a finding, and the most that are shown of it.
_BEFORE = 2
_MOST = 6
_TAB = 4

#: What a terminal would obey is shown by its picture, if it has one, which takes one column as well.
_PICTURES = {code: 0x2400 + code for code in range(0x20)} | {0x7F: 0x2421} | dict.fromkeys(range(0x80, 0xA0), 0xFFFD)

#: What changes the character before it, or how the text runs, and takes no column of its own.
_WITHOUT_COLUMN = frozenset({"Mn", "Me", "Cf"})


def render(result: Result, *, color: bool) -> Iterator[str]:
    """Yield the findings with their source, and a summary."""
    for report in result.reports:
        for finding in report.findings:
            yield headline(finding, color=color)
            yield from _excerpt(finding, report.after.get(finding.cell, "").split("\n"), color=color)
            yield ""
    yield from summary(result)


def _excerpt(finding: Finding, lines: list[str], *, color: bool) -> Iterator[str]:
    """Yield the finding's lines and some before it, numbered, with carets below what is meant."""
    first, last = max(finding.line - _BEFORE, 1), min(finding.end_line, finding.line + _MOST - 1, len(lines))
    margin = len(str(last))
    bar = paint("|", "blue", color=color)
    yield f"{'':{margin}} {bar}"
    for number in range(first, last + 1):
        text = lines[number - 1]
        yield f"{paint(f'{number:>{margin}}', 'blue', color=color)} {bar} {_visible(text)}".rstrip()
        if number < finding.line:
            continue
        indent = len(text) - len(text.lstrip())
        start = finding.column - 1 if number == finding.line else indent
        end = finding.end_column - 1 if number == finding.end_line else len(text.rstrip())
        skipped, meant = _width(text, start), _width(text, max(end, start + 1))
        yield f"{'':{margin}} {bar} {' ' * skipped}{paint('^' * max(meant - skipped, 1), 'red', color=color)}"
    yield f"{'':{margin}} {bar}"


def _visible(text: str) -> str:
    return text.expandtabs(_TAB).translate(_PICTURES)


def _width(text: str, end: int) -> int:
    """Give how many columns of a terminal the first characters of a line take."""
    return sum(_columns(character) for character in text[:end].expandtabs(_TAB))


def _columns(character: str) -> int:
    if unicodedata.category(character) in _WITHOUT_COLUMN:
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
