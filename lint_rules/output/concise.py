"""One line a finding: path, line, column, code, message."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lint_rules.output._text import headline, summary

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lint_rules.runner import Result


def render(result: Result, *, color: bool) -> Iterator[str]:
    """Yield the findings and a summary."""
    for finding in result.findings:
        yield headline(finding, color=color)
    yield from summary(result)
