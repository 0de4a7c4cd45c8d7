"""A baseline: how many findings of each rule each file may still have, so that a project can adopt the linter at once.

Counts rather than places are kept, for lines move with every edit. Where a file has no more findings of a rule than its
baseline allows, none of them is reported; where it has more, all are, for nobody can tell which of them is new.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lint_rules import files
from lint_rules.config import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from lint_rules.rule import Finding
    from lint_rules.runner import Result

_TOOL = "ckpt-lint"
_VERSION = 1


class BaselineError(ConfigError):
    """A baseline cannot be used; the message says why, and what to do."""


@dataclass(frozen=True)
class Baseline:
    """The findings that a project still has.

    Attributes:
        path: Where it is kept.
        counts: Findings by the file's path, relative to the baseline's folder and with slashes, and by rule.
    """

    path: Path
    counts: Mapping[str, Mapping[str, int]]

    def name(self, path: str) -> str:
        """Give what a file is called here."""
        relative = os.path.relpath(os.path.abspath(path), os.path.abspath(self.path.parent))  # noqa: PTH100 -- for every finding
        return relative.replace(os.sep, "/")

    def hides(self, result: Result) -> frozenset[int]:
        """Give the identities of the findings that it accounts for."""
        grouped: dict[tuple[str, str], list[Finding]] = {}
        for finding in result.findings:
            grouped.setdefault((self.name(finding.path), finding.code), []).append(finding)
        return frozenset(
            id(finding)
            for (name, code), group in grouped.items()
            if len(group) <= self.counts.get(name, {}).get(code, 0)
            for finding in group
        )

    def outdated(self, result: Result) -> int:
        """Count the findings that it allows and the linted files do not have any more."""
        present = Counter((self.name(finding.path), finding.code) for finding in result.findings)
        allowed = {
            (name, code): count
            for name in map(self.name, result.linted)
            for code, count in self.counts.get(name, {}).items()
        }
        return sum(max(count - present[key], 0) for key, count in allowed.items())

    def updated(self, result: Result) -> Baseline:
        """Give the baseline that allows just what was found.

        The files that were not linted keep what they have, if they are still there.
        """
        linted = {self.name(path) for path in result.linted}
        kept = {
            name: dict(codes)
            for name, codes in self.counts.items()
            if name not in linted and (self.path.parent / name).exists()
        }
        for finding in result.findings:
            codes = kept.setdefault(self.name(finding.path), {})
            codes[finding.code] = codes.get(finding.code, 0) + 1
        return Baseline(self.path, kept)

    def write(self) -> None:
        """Write it down, sorted, so that its changes read well in a diff.

        Raises:
            BaselineError: It cannot be written; what was there stays.
        """
        counts = {name: dict(sorted(codes.items())) for name, codes in sorted(self.counts.items())}
        text = json.dumps({"tool": _TOOL, "version": _VERSION, "files": counts}, indent=2, ensure_ascii=False)
        try:
            files.write(self.path.resolve(), f"{text}\n".encode(errors="backslashreplace"))
        except OSError as error:
            raise BaselineError(f"{self.path}: the baseline cannot be written ({error.strerror})") from None


def read(path: Path, *, must_exist: bool) -> Baseline:
    """Read a baseline.

    Args:
        path: Where it is kept.
        must_exist: Whether one that is not there is an error; an empty one is given otherwise.

    Raises:
        BaselineError: There is none, or it is one that this version cannot read.
    """
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        if must_exist:
            raise BaselineError(f"{path}: there is no such baseline; write it with --update-baseline") from None
        return Baseline(path, {})
    except OSError as error:
        raise BaselineError(f"{path}: the baseline must be a file, and cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise _none(path, f"it is not JSON ({error})") from None
    if not isinstance(document, dict) or document.get("tool") != _TOOL:
        raise _none(path, f'it has no "tool": "{_TOOL}"')
    if (version := document.get("version")) != _VERSION:
        advice = "delete it, and write a new one with --update-baseline, or use the version that wrote it"
        raise BaselineError(
            f"{path}: the baseline has version {version!r}, and this {_TOOL} reads {_VERSION}; {advice}"
        )
    if not _is_counts(document.get("files")):
        raise _none(path, 'its "files" do not give a number for each file and rule')
    return Baseline(path, document["files"])


def apply(baseline: Baseline, result: Result, *, update: bool) -> tuple[Result, str]:
    """Leave out of a result what a baseline accounts for.

    Args:
        baseline: The baseline as it was read.
        result: What came of the run.
        update: Whether to write down what was found instead.

    Returns:
        The rest, and what to tell the user about the baseline; nothing where there is nothing to tell.

    Raises:
        BaselineError: The baseline cannot be written.
    """
    if update:
        baseline = baseline.updated(result)
        baseline.write()
        return result.without(baseline.hides(result)), f"{baseline.path}: wrote {_counted(len(result.findings))} down"
    hidden = baseline.hides(result)
    told = [f"{baseline.path} hides {_counted(len(hidden))}"] if hidden else []
    if gone := baseline.outdated(result):
        told.append(f"{baseline.path} allows {_counted(gone)} too many; write it anew with --update-baseline")
    return result.without(hidden), "\n".join(told)


def _none(path: Path, why: str) -> BaselineError:
    return BaselineError(f"{path}: this is no baseline of {_TOOL}: {why}; name another file, or delete it")


def _is_counts(counts: Any) -> bool:
    return isinstance(counts, dict) and all(
        isinstance(codes, dict) and all(type(count) is int and count > 0 for count in codes.values())
        for codes in counts.values()
    )


def _counted(number: int) -> str:
    return f"{number} finding{'' if number == 1 else 's'}"
