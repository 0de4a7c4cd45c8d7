"""SARIF 2.1.0, the format of OASIS for results of static analysis, which code scanning services read.

A notebook's file holds its lines as strings, so a finding in a cell stands on the line of the file with that string.
The cell is its logical location, and its fix, which is none of the file's text, is left out.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from lint_rules import registry
from lint_rules.pages import page
from lint_rules.regions import split_lines
from lint_rules.rule import DOCS_URL

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lint_rules.checker import Report
    from lint_rules.rule import Edit, Finding, Rule
    from lint_rules.runner import Result
    from lint_rules.sources import Problem

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_ROOT = "%SRCROOT%"
_LEVEL = "warning"


def render(result: Result, *, color: bool) -> Iterator[str]:
    """Yield one log with one run, in ASCII."""
    del color
    yield json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [_run(result)]}, indent=2)


def _run(result: Result) -> dict[str, Any]:
    codes = sorted({finding.code for finding in result.findings})
    seen: Counter[str] = Counter()
    return {
        "tool": {"driver": _driver(codes)},
        "invocations": [_invocation(result)],
        "originalUriBaseIds": {_ROOT: {"uri": f"{Path.cwd().as_uri().rstrip('/')}/"}},
        "columnKind": "unicodeCodePoints",
        "results": [
            _result(finding, codes.index(finding.code), report, seen)
            for report in result.reports
            for finding in report.findings
        ],
    }


def _driver(codes: list[str]) -> dict[str, Any]:
    return {
        "name": "ckpt-lint",
        "semanticVersion": version("pytest-ckpt"),
        "informationUri": DOCS_URL,
        "rules": [_rule(registry.rule(code)) for code in codes],
    }


def _rule(rule: Rule) -> dict[str, Any]:
    """Describe a rule; what code scanning shows besides is named in GitHub's "SARIF support for code scanning"."""
    text = page(rule)
    return {
        "id": rule.code,
        "name": "".join(map(str.capitalize, rule.name.split("-"))),
        "shortDescription": {"text": rule.summary},
        "fullDescription": {"text": (type(rule).__doc__ or "").partition("\n")[0]},
        "help": {"text": text, "markdown": text},
        "helpUri": f"{DOCS_URL}{rule.code}.html",
        "defaultConfiguration": {"level": _LEVEL, "enabled": rule.default},
        "properties": {
            "tags": ["pytorch", "checkpoint"],
            "precision": "very-high",
            "problem.severity": _LEVEL,
        },
    }


def _invocation(result: Result) -> dict[str, Any]:
    return {
        "executionSuccessful": not result.problems,
        "toolExecutionNotifications": [_notification(problem) for problem in result.problems],
    }


def _notification(problem: Problem) -> dict[str, Any]:
    location: dict[str, Any] = {"artifactLocation": _artifact(problem.path)}
    if problem.line is not None and problem.cell is None:
        location["region"] = {"startLine": problem.line}
    cell = "" if problem.cell is None else f"cell {problem.cell}, line {problem.line}: "
    message = {"text": f"{cell}{problem.message}"}
    return {"level": "error", "message": message, "locations": [{"physicalLocation": location}]}


def _result(finding: Finding, index: int, report: Report, seen: Counter[str]) -> dict[str, Any]:
    lines = split_lines(report.after.get(finding.cell, ""))
    made: dict[str, Any] = {
        "ruleId": finding.code,
        "ruleIndex": index,
        "level": _LEVEL,
        "message": {"text": f"{_cell(finding)}{finding.message}"},
        "locations": [_location(finding, lines)],
        "partialFingerprints": {"ckptLint/v1": _fingerprint(finding, lines, seen)},
    }
    if finding.fix and finding.cell is None and (edits := _edits(finding, report)):
        made["fixes"] = [_fix(finding, edits)]
    return made


def _location(finding: Finding, lines: list[str]) -> dict[str, Any]:
    region: dict[str, Any] = {"startLine": finding.file_line}
    if finding.file_line is None:
        region = _region(finding.line, finding.column, finding.end_line, finding.end_column)
    region["snippet"] = {"text": "".join(lines[finding.line - 1 : finding.end_line])}
    made: dict[str, Any] = {"physicalLocation": {"artifactLocation": _artifact(finding.path), "region": region}}
    if finding.cell is not None:
        made["logicalLocations"] = [{"name": f"cell {finding.cell}", "kind": "module"}]
        made["properties"] = {"cell": finding.cell, "line": finding.line, "column": finding.column}
    return made


def _edits(finding: Finding, report: Report) -> tuple[Edit, ...]:
    """Give the edits of a fix with those that add its imports; none where the place of an import is not known."""
    from lint_rules.fixes import plan
    from lint_rules.sources import kind_of

    if not (finding.fix and finding.fix.imports):
        return finding.fix.edits if finding.fix else ()
    return plan(report.after[None], [finding], unsafe=True).edits if kind_of(finding.path).is_plain else ()


def _fix(finding: Finding, edits: tuple[Edit, ...]) -> dict[str, Any]:
    kind = "safe" if finding.fix and finding.fix.safe else "unsafe: it may change what the program does"
    return {
        "description": {"text": f"{finding.name} ({kind})"},
        "artifactChanges": [
            {
                "artifactLocation": _artifact(finding.path),
                "replacements": [
                    {
                        "deletedRegion": _region(edit.line, edit.column, edit.end_line, edit.end_column),
                        "insertedContent": {"text": edit.text},
                    }
                    for edit in edits
                ],
            }
        ],
    }


def _region(line: int, column: int, end_line: int, end_column: int) -> dict[str, Any]:
    return {"startLine": line, "startColumn": column, "endLine": end_line, "endColumn": end_column}


def _artifact(path: str) -> Mapping[str, str]:
    """Name a file: below the working directory relative to it, elsewhere by an address of its own."""
    absolute = Path(os.path.normpath(Path(path).absolute()))
    if absolute.is_relative_to(Path.cwd()):
        return {"uri": quote(os.fsencode(absolute.relative_to(Path.cwd()).as_posix())), "uriBaseId": _ROOT}
    return {"uri": absolute.as_uri()}


def _cell(finding: Finding) -> str:
    return "" if finding.cell is None else f"cell {finding.cell}, line {finding.line}: "


def _fingerprint(finding: Finding, lines: list[str], seen: Counter[str]) -> str:
    """Tell a finding from others by what moves with it: its rule, its file and the text of its lines."""
    text = "".join(line.strip() for line in lines[finding.line - 1 : finding.end_line])
    told = f"{finding.code}\n{finding.path}\n{text}".encode(errors="surrogateescape")
    digest = hashlib.blake2b(told, digest_size=8).hexdigest()
    seen[digest] += 1
    return f"{digest}:{seen[digest]}"
