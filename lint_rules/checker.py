"""One file: its bytes in, a report out. Jobs and reports are plain data, so they cross processes."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lint_rules import engine, registry, suppress
from lint_rules.sources import Problem, UnreadableError, kind_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lint_rules.config import Settings
    from lint_rules.fixes import Plan
    from lint_rules.rule import Finding
    from lint_rules.sources import Source

#: A fix may uncover another finding, or overlap with one; more rounds than this mean that two fixes undo each other.
_ROUNDS = 10

#: Characters of Python beyond which a file is data rather than code: Python's own parser needs 200 times as many bytes.
_LARGEST = 4_000_000

#: Comments are no remedy for a comment too many.
_UNUSED_NOQA = "CKP001"

#: The cell number of what goes without saying; no finding is ever there.
_PRELUDE = -1


@dataclass(frozen=True, slots=True)
class Job:
    """One file to lint.

    Attributes:
        path: The file as findings name it.
        data: Its content.
        codes: The rules to apply.
        settings: The settings of its folder.
        fix: Whether to apply fixes.
        unsafe: Whether to apply unsafe fixes too.
        silence: Whether to add comments that silence what is found, instead.
        key: What the file's content and everything else that decides about the rules are called in the cache.
        is_known: Whether the rules are those that a former run has found out.
    """

    path: str
    data: bytes
    codes: tuple[str, ...]
    settings: Settings
    fix: bool = False
    unsafe: bool = False
    silence: bool = False
    key: str = ""
    is_known: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """What came of one file.

    Attributes:
        path: The file as findings name it.
        findings: What is wrong, in order; after fixing, what is left.
        problems: What could not be linted or fixed.
        fixed: The findings that were fixed, or silenced by a comment that was added.
        before: The text by cell, None for all of a file that has none; empty where there was nothing to report.
        after: The same after fixing.
        read: The content, if fixing changed it.
        data: The new content, if fixing changed it.
    """

    path: str
    findings: tuple[Finding, ...] = ()
    problems: tuple[Problem, ...] = ()
    fixed: tuple[Finding, ...] = ()
    before: Mapping[int | None, str] = field(default_factory=dict)
    after: Mapping[int | None, str] = field(default_factory=dict)
    read: bytes = b""
    data: bytes | None = None


def check(job: Job) -> Report:
    """Lint one file, and fix it in memory where that is wanted; nothing is written, and nothing is raised."""
    try:
        return _check(job)
    except (UnreadableError, engine.SourceError) as error:
        return Report(job.path, problems=(_problem(job.path, error),))
    except Exception as error:  # noqa: BLE001 -- a defect in one rule must not keep the other files from being linted
        import traceback  # not at the start, where every run would pay for it

        fault = traceback.format_exception_only(error)[-1].strip()  # for `str(error)` may raise as well
        return Report(job.path, problems=(Problem(job.path, f"the linter failed ({fault}); please report this"),))


def syntax_problem(path: str, data: bytes) -> Problem | None:
    """Say what keeps a file from being read, although no rule has to see it; None if nothing does."""
    try:
        source = _source(path, data)
        for piece in source.pieces:
            engine.parse(piece.text)
    except (UnreadableError, engine.SourceError) as error:
        return _problem(path, error)
    except RecursionError:
        return Problem(path, "the code is nested too deeply to be read")
    return next((_problem(path, error) for error in source.problems), None)


def _source(path: str, data: bytes) -> Source:
    """Decode a file.

    Raises:
        UnreadableError: It is no such source, or holds more Python than anybody wrote by hand.
    """
    source = kind_of(path)(data)
    size = sum(len(piece.text) for piece in source.pieces)
    if size > _LARGEST:
        most = f"{_LARGEST / 1e6:.0f} MB"
        raise UnreadableError(
            f"holds {size / 1e6:.1f} MB of Python, and no more than {most} is linted; exclude the file"
        )
    return source


def _check(job: Job) -> Report:
    source = _source(job.path, job.data)
    problems = [_problem(job.path, error) for error in source.problems]
    findings = _findings(source, job)
    before = source.texts() if findings else {}
    fixed: list[Finding] = []
    data = None
    for _ in range(_ROUNDS if job.fix else job.silence):
        plans = _plans(source, findings, job)
        if not plans:
            break
        try:
            data_of_round = source.edited({number: plan.edits for number, plan in plans.items()})
            source, findings = _reread(source, data_of_round, job)
        except (UnreadableError, UnicodeEncodeError, engine.SourceError) as error:
            codes = ", ".join(sorted({each.code for plan in plans.values() for each in plan.applied}))
            what, advice = ("comment on", "add it") if job.silence else ("fix of", "fix it")
            problems.append(Problem(job.path, f"the {what} {codes} would spoil the file ({error}); {advice} by hand"))
            break
        data = data_of_round
        applied = (each for plan in plans.values() for each in plan.applied)
        fixed += (each for each in applied if not job.silence or each not in findings)
    return Report(
        path=job.path,
        findings=tuple(sorted(map(source.locate, findings), key=lambda finding: finding.place)),
        problems=tuple(problems),
        fixed=tuple(fixed),
        before=before,
        after=source.texts() if before else {},
        read=b"" if data is None else job.data,
        data=data,
    )


def _findings(source: Source, job: Job) -> list[Finding]:
    """Apply the rules; the findings are placed in the pieces."""
    rules = tuple(map(registry.rule, job.codes))
    if source.is_plain:
        found = engine.lint_text(source.pieces[0].text, job.path, rules, job.settings)
    else:
        together = [piece for piece in source.pieces if not piece.alone]
        found = []
        for script in (together, *([piece] for piece in source.pieces if piece.alone)):
            cells = [(_PRELUDE, source.prelude), *((piece.number, piece.text) for piece in script)]
            shown = {piece.number: piece.shown for piece in script}
            found += engine.lint_cells(cells, job.path, rules, job.settings, shown_in=shown)
    return suppress.keep(found, source.pieces)


def _plans(source: Source, findings: Sequence[Finding], job: Job) -> dict[int, Plan]:
    """Choose what to edit in each piece; pieces without anything to do are left out.

    An import serves all pieces that follow, so those wait for the next round, where they may not need one any more.
    """
    from lint_rules.fixes import plan

    plans: dict[int, Plan] = {}
    for piece in source.pieces:
        inside = [finding for finding in findings if (finding.cell or 0) == piece.number]
        if job.silence:
            chosen = suppress.add(piece.text, [each for each in inside if each.code != _UNUSED_NOQA])
        else:
            chosen = plan(piece.text, inside, unsafe=job.unsafe)
        if chosen.edits:
            plans[piece.number] = chosen
        if not job.silence and any(finding.fix and finding.fix.imports for finding in chosen.applied):
            break
    return plans


def _reread(source: Source, data: bytes, job: Job) -> tuple[Source, list[Finding]]:
    """Read what the fixes have made, and lint it again.

    Raises:
        UnreadableError: Less of it can be read than before.
        SourceError: It cannot be parsed.
    """
    changed = type(source)(data)
    if len(changed.pieces) < len(source.pieces):
        reason = changed.problems[0] if changed.problems else "a block of code no longer parses"
        raise UnreadableError(str(reason))
    return changed, _findings(changed, job)


def _problem(path: str, error: UnreadableError | engine.SourceError) -> Problem:
    if isinstance(error, UnreadableError):
        return Problem(path, str(error), error.line, error.cell)
    if isinstance(error, engine.TooLargeError):
        return Problem(path, f"{error}; exclude the file")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    message = f"not valid Python {version} ({error.message}); repair it, or exclude the file"
    return Problem(path, message, error.line)
