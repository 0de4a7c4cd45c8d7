"""Workflow commands of GitHub Actions: each finding becomes an annotation of its line.

What a command is made of, and which characters its parts cannot hold, is said in "Workflow commands for GitHub
Actions" and in the source of its toolkit, `packages/core/src/command.ts`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from lint_rules.output._text import headline

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lint_rules.rule import Finding
    from lint_rules.runner import Result

_DATA = {"%": "%25", "\r": "%0D", "\n": "%0A"}
_PROPERTY = _DATA | {":": "%3A", ",": "%2C"}


def render(result: Result, *, color: bool) -> Iterator[str]:
    """Yield one command a finding."""
    del color
    for finding in result.findings:
        properties = ",".join(f"{name}={_escaped(value, _PROPERTY)}" for name, value in _properties(finding))
        yield f"::error {properties}::{_escaped(headline(finding, color=False), _DATA)}"


def _properties(finding: Finding) -> Iterator[tuple[str, str]]:
    """Yield what places an annotation.

    Columns mean something only within one line, and not at all in a notebook, whose file holds its lines as strings:
    there, the cell and the line stand in the message.
    """
    yield "title", f"{finding.code} {finding.name}"
    yield "file", _from_workspace(finding.path)
    if finding.file_line is not None:
        yield "line", str(finding.file_line)
        return
    yield "line", str(finding.line)
    yield "endLine", str(finding.end_line)
    if finding.line == finding.end_line:
        yield "col", str(finding.column)
        yield "endColumn", str(finding.end_column)


def _from_workspace(path: str) -> str:
    """Give a path relative to the top of the repository, which is where GitHub looks for it."""
    top = os.environ.get("GITHUB_WORKSPACE")
    absolute = Path(os.path.normpath(Path(path).absolute()))
    inside = top and absolute.is_relative_to(top)
    return (absolute.relative_to(top) if top and inside else Path(path)).as_posix()


def _escaped(text: str, replacements: dict[str, str]) -> str:
    return "".join(replacements.get(character, character) for character in text)
