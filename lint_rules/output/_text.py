"""What the formats for people have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lint_rules.files import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lint_rules.rule import Finding
    from lint_rules.runner import Result


def paint(text: str, color_name: str, *, color: bool) -> str:
    """Colour a text where colours are shown."""
    return click.style(text, fg=color_name, bold=True) if color else text


def headline(finding: Finding, *, color: bool) -> str:
    """Write a finding on one line; `[*]` marks one that `--fix` remedies."""
    cell = "" if finding.cell is None else f"cell {finding.cell}:"
    place = f"{shown(finding.path)}:{cell}{finding.line}:{finding.column}:"
    mark = "[*] " if finding.fix and finding.fix.safe else ""
    code = paint(finding.code, "red", color=color)
    return f"{place} {code} {mark}{finding.name}: {finding.message}"


def summary(result: Result) -> Iterator[str]:
    """Say how many findings there are, and what can be done about them."""
    files = _count(result.files, "file")
    if result.fixed:
        yield f"{result.verb} {_count(len(result.fixed), 'finding')}."
    if not result.findings:
        yield f"No findings in {files}."
        return
    touched = sum(1 for report in result.reports if report.findings)
    yield f"Found {_count(len(result.findings), 'finding')} in {touched} of {files}."
    safe = sum(1 for finding in result.findings if finding.fix and finding.fix.safe)
    unsafe = sum(1 for finding in result.findings if finding.fix and not finding.fix.safe)
    if safe:
        yield f"[*] {safe} can be fixed with --fix."
    if unsafe:
        yield f"{unsafe}{' more' * bool(safe)} can be fixed with --fix --unsafe-fixes."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
