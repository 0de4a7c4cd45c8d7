"""The linter with and without its shortcuts: what they save must be work, never a finding.

Three of them keep files and functions from libcst: the bytes that a rule needs, what a rule tells from Python's own
tree, and the cutting of functions that no rule has to see. Without them every rule sees all of every file, which takes
many times as long. To compare the two on folders, file by file:

    python -m tests.lint_rules.shortcuts FOLDER... [--part 0/4] [--mentions torch]
"""

from __future__ import annotations

import os
import random
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from lint_rules import engine, prefilter, registry
from lint_rules.checker import Job, check
from lint_rules.config import Settings
from lint_rules.regions import Region, split_lines
from lint_rules.rule import Rule

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from lint_rules.outline import Outline
    from lint_rules.rule import Finding

OUTLINE = "outline"
PREFILTER = "prefilter"
REGIONS = "regions"
SHORTCUTS = (PREFILTER, OUTLINE, REGIONS)


def _everything(text: str, outline: Outline, rules: Sequence[Rule]) -> Region:
    return Region(text, tuple(range(1, len(split_lines(text)) + 1)) or (1,), outline.tree, rules)


@contextmanager
def only(taken: Collection[str] = ()) -> Iterator[None]:
    """Let the linter take only some of its shortcuts for a while."""
    with pytest.MonkeyPatch.context() as patch:
        if REGIONS not in taken:
            patch.setattr(engine, "narrow", _everything)
        if PREFILTER not in taken:
            patch.setattr(prefilter, "wanted", lambda _data, rules: tuple(rules))
        if OUTLINE not in taken:
            for rule in registry.all_rules():
                patch.setattr(type(rule), "may_find", Rule.may_find)
        yield


def found(
    data: bytes, name: str, taken: Collection[str] = SHORTCUTS, rules: Sequence[Rule] = registry.all_rules()
) -> tuple[Finding, ...]:
    """Lint one source by some shortcuts only; a source that cannot be read has no findings."""
    with only(taken):
        codes = tuple(rule.code for rule in prefilter.wanted(data, rules))
        report = check(Job(name, data, codes, Settings()))
    failed = [problem for problem in report.problems if "the linter failed" in str(problem)]
    assert not failed, failed
    return report.findings


def differences(data: bytes, name: str) -> list[str]:
    """Say which findings of one source the shortcuts lose or add, with all rules together and with each alone."""
    whole = found(data, name, ())
    told = list(_told(whole, found(data, name), name, "all rules"))
    for rule in registry.all_rules():
        of_rule = [each for each in whole if each.code == rule.code]
        told += _told(of_rule, found(data, name, rules=(rule,)), name, f"{rule.code} alone")
    if told:
        guilty = [each for each in SHORTCUTS if found(data, name, (each,)) != whole]
        told.append(f"{name}: by {' and '.join(guilty) or 'none of the shortcuts for itself'}")
    return told


def _told(whole: Sequence[Finding], quick: Sequence[Finding], name: str, rules: str) -> Iterator[str]:
    for how, findings in (("lost", set(whole) - set(quick)), ("added", set(quick) - set(whole))):
        for each in findings:
            yield f"{name}:{each.line}:{each.column}: {each.code} {how}, with {rules}"


def sources(folders: Iterable[Path], mentions: bytes = b"") -> Iterator[tuple[Path, bytes]]:
    """Yield the files below some folders that mention something, in an order that mixes large and small ones."""
    paths = sorted(
        path for folder in folders for ending in ("py", "ipynb", "md") for path in folder.rglob(f"*.{ending}")
    )
    random.Random(0).shuffle(paths)
    for path in paths:
        if path.is_file() and mentions in (data := path.read_bytes()):
            yield path, data


@click.command(help=__doc__)
@click.argument("folders", nargs=-1, type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--part", default="0/1", help="Which of how many parts of the files to compare, from 0.")
@click.option("--mentions", default="", help="Compare only the files that mention this.")
@click.option("--largest", default=400_000, help="Leave out files of more bytes.")
def main(folders: Sequence[Path], part: str, mentions: str, largest: int) -> None:
    """Compare folders; print each difference when it is found, and the counts at the end."""
    number, parts = map(int, part.split("/"))
    counts: Counter[str] = Counter()
    for index, (path, data) in enumerate(sources(folders, mentions.encode())):
        if index % parts != number or len(data) > largest:
            continue
        told = differences(data, os.fspath(path))
        counts.update(files=1, bytes=len(data), differences=len(told))
        for line in told:
            click.echo(line)
    click.echo(", ".join(f"{count:,} {what}" for what, count in counts.items()))


if __name__ == "__main__":
    main()
