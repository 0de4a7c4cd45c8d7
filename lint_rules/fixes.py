"""Edits that remedy findings: which go together, where a missing import belongs, and the text that results."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lint_rules.regions import split_lines
from lint_rules.rule import Edit

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lint_rules.rule import Finding, Fix


@dataclass(frozen=True, slots=True)
class Plan:
    """Edits that can be made at once.

    Attributes:
        edits: The edits in order of place, none of which overlaps another.
        applied: The findings that they remedy; those whose fixes would overlap wait for the next round.
    """

    edits: tuple[Edit, ...] = ()
    applied: tuple[Finding, ...] = ()


def plan(text: str, findings: Iterable[Finding], *, unsafe: bool) -> Plan:
    """Choose the fixes to apply to a source in one round.

    Args:
        text: The source.
        findings: What was found in it.
        unsafe: Whether fixes that may change what the program does are wanted too.
    """
    edits: list[Edit] = []
    applied: list[Finding] = []
    chosen: set[Fix] = set()
    modules: dict[str, None] = {}
    for finding in sorted(findings, key=lambda each: each.place):
        fix = finding.fix
        if fix is None or not (fix.safe or unsafe):
            continue
        if fix not in chosen:  # one fix may remedy several findings
            if any(_clash(new, old) for new in fix.edits for old in edits):
                continue
            chosen.add(fix)
            edits += fix.edits
        applied.append(finding)
        modules |= dict.fromkeys(fix.imports)
    edits += _import_edits(text, modules)
    return Plan(tuple(sorted(edits)), tuple(applied))


def apply(text: str, fixes: Iterable[Fix]) -> str:
    """Apply fixes to a source; one that overlaps an earlier one is left out."""
    edits: list[Edit] = []
    modules: dict[str, None] = {}
    for fix in fixes:
        if not any(_clash(new, old) for new in fix.edits for old in edits):
            edits += fix.edits
            modules |= dict.fromkeys(fix.imports)
    return edit(text, [*edits, *_import_edits(text, modules)])


def edit(text: str, edits: Iterable[Edit]) -> str:
    """Make edits that do not overlap; all places refer to the text as given."""
    lines = split_lines(text)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    for each in sorted(edits, reverse=True):
        start = starts[min(each.line, len(starts)) - 1] + each.column - 1
        end = starts[min(each.end_line, len(starts)) - 1] + each.end_column - 1
        new = each.text
        if each.line > len(lines) and lines and not lines[-1].endswith(("\n", "\r")):
            new = line_end(text) + new.removesuffix(line_end(text))  # below a last line without an end
        text = text[:start] + new + text[end:]
    return text


def line_end(text: str) -> str:
    """Give the line end that a source uses, judged by its first line."""
    first = next(iter(split_lines(text)), "")
    return first[len(first.rstrip("\r\n")) :] or "\n"


def _clash(new: Edit, old: Edit) -> bool:
    """Tell whether two edits overlap; two insertions at one place do, for their order would be a guess."""
    new_start, new_end = (new.line, new.column), (new.end_line, new.end_column)
    old_start, old_end = (old.line, old.column), (old.end_line, old.end_column)
    return new_start == old_start or (new_start < old_end and old_start < new_end)


def _import_edits(text: str, modules: Iterable[str]) -> list[Edit]:
    """Make the one edit that adds missing imports behind the leading ones, or before the first statement."""
    end = line_end(text)
    added = "".join(f"import {module}{end}" for module in modules)
    if not added:
        return []
    line, lead, tail = _import_line(text)
    lines = split_lines(text)
    if lines and line > len(lines) and not lines[-1].endswith(("\n", "\r")):
        column = len(lines[-1]) + 1
        return [Edit(len(lines), column, len(lines), column, f"{end * (lead + 1)}{added}")]
    return [Edit(line, 1, line, 1, f"{end * lead}{added}{end * tail}")]


def _import_line(text: str) -> tuple[int, int, int]:
    """Find the line before which an import belongs, and how many empty lines to put before and behind it."""
    body = ast.parse(text).body
    documented = bool(body) and ast.get_docstring(ast.Module(body[:1], []), clean=False) is not None
    last: ast.stmt | None = None
    for statement in body[documented:]:
        if not isinstance(statement, (ast.Import, ast.ImportFrom)):
            break
        last = statement
    if last is not None:
        only_future = isinstance(last, ast.ImportFrom) and last.module == "__future__"
        return (last.end_lineno or last.lineno) + 1, int(only_future), 0
    if documented:
        return (body[0].end_lineno or 1) + 1, 1, 0
    if not body:
        return 1, 0, 0
    first = body[0]
    decorators = first.decorator_list if isinstance(first, (ast.FunctionDef, ast.ClassDef)) else []
    return min([first.lineno, *(decorator.lineno for decorator in decorators)]), 0, 1
