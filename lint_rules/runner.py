"""Many files: found, sifted by their bytes, linted in this process or in several, reported in the order found."""

from __future__ import annotations

import io
import os
import sys
from collections import Counter
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from lint_rules import files, prefilter, registry
from lint_rules.checker import Job, Report, check, syntax_problem
from lint_rules.sources import File, Problem, UnreadableError, Walk, decode, ignored_codes, is_excluded, kind_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from concurrent.futures import Future
    from multiprocessing.context import BaseContext

    from lint_rules.config import Resolver, Settings
    from lint_rules.rule import Finding, Rule

#: Bytes of source below which further processes cost more than they save.
_WORTH_A_PROCESS = 2_000_000

#: Where the files that no rule has to see are no more than this together, they are parsed all the same, so that a
#: syntax error in a small project is reported wherever it is. In a large project that would cost more than the linting.
_CHECKED_WHOLE = 300_000


@dataclass(frozen=True)
class Result:
    """What came of a run.

    Attributes:
        reports: What there is to say, file by file, in the order in which the files were found.
        problems: What could not be read at all.
        files: How many files were looked at.
    """

    reports: tuple[Report, ...]
    problems: tuple[Problem, ...]
    files: int

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """All findings, in order."""
        return tuple(finding for report in self.reports for finding in report.findings)

    @cached_property
    def fixed(self) -> tuple[Finding, ...]:
        """All findings that were fixed."""
        return tuple(finding for report in self.reports for finding in report.fixed)

    @property
    def counts(self) -> list[tuple[str, str, int, int]]:
        """Code, name, findings and, of those, safely fixable ones; the most frequent rule first."""
        found = Counter((each.code, each.name) for each in self.findings)
        fixable = Counter(each.code for each in self.findings if each.fix and each.fix.safe)
        ordered = sorted(found.items(), key=lambda item: (-item[1], item[0]))
        return [(code, name, count, fixable[code]) for (code, name), count in ordered]


@dataclass(frozen=True, slots=True)
class Runner:
    """How to run.

    Attributes:
        resolver: Gives the settings of a folder.
        fix: Whether to apply fixes.
        unsafe: Whether to apply unsafe fixes too.
        write: Whether to write what was fixed; standard input is left to the caller.
        jobs: How many processes to use; None to decide by the amount of work.
    """

    resolver: Resolver
    fix: bool = False
    unsafe: bool = False
    write: bool = False
    jobs: int | None = None

    def run(self, paths: Iterable[str]) -> Result:
        """Lint files and folders.

        Raises:
            ConfigError: A `pyproject.toml` on the way cannot be used.
        """
        walk = Walk(self.resolver)
        problems: list[Problem] = []
        todo: list[Job] = []
        unseen = _Unseen()
        number = 0
        for file in walk.files(paths):
            number += 1
            try:
                data = _content(file.absolute)
            except OSError as error:
                problems.append(Problem(file.path, f"cannot be read ({error.strerror})"))
                continue
            job = self._job(file, data)
            if job.codes:
                todo.append(job)
            else:
                unseen.add(file.path, data)
        reports = list(_checked(todo, self.jobs))
        if self.write:
            problems += filter(None, map(_written, todo, reports))
        problems += [*walk.problems, *unseen.problems(), *(each for report in reports for each in report.problems)]
        return Result(tuple(reports), tuple(problems), number)

    def run_text(self, path: str, data: bytes) -> Result:
        """Lint what came through standard input, as if it were the file of that path.

        Raises:
            ConfigError: The `pyproject.toml` above that path cannot be used.
        """
        absolute = Path(path).absolute()
        settings = self.resolver.settings(absolute.parent)
        if settings.force_exclude and is_excluded(absolute, settings):
            return Result((), (), 0)
        job = self._job(File(path, str(absolute), settings), data)
        if not job.codes:
            problem = syntax_problem(path, data)
            return Result((), (problem,) if problem else (), 1)
        report = check(job)
        return Result((report,), report.problems, 1)

    def _job(self, file: File, data: bytes) -> Job:
        dropped = ignored_codes(file.absolute, file.settings) if file.settings.per_file_ignores else frozenset()
        rules = [rule for rule in prefilter.wanted(data, _rules(file.settings)) if rule.code not in dropped]
        settings = self.resolver.complete(Path(file.absolute).parent) if rules else file.settings
        return Job(file.path, data, tuple(rule.code for rule in rules), settings, self.fix, self.unsafe)


def _written(job: Job, report: Report) -> Problem | None:
    """Write a fixed file; give what went wrong."""
    if report.data is None:
        return None
    try:
        files.replace(Path(job.path), job.data, report.data)
    except OSError as error:
        return Problem(job.path, f"the fixes cannot be written ({error.strerror})")
    return None


class _Unseen:
    """The files that no rule has to see: bytes that are no text are noticed always, syntax errors if all is small."""

    def __init__(self) -> None:
        self._unreadable: list[Problem] = []
        self._small: list[tuple[str, bytes]] = []
        self._size = 0

    def add(self, path: str, data: bytes) -> None:
        """Take note of a file."""
        self._size += len(data)
        if self._size <= _CHECKED_WHOLE:
            self._small.append((path, data))
        else:
            self._small.clear()
        if kind_of(path).is_plain and not (data.isascii() and b"\0" not in data):
            try:
                decode(data)
            except UnreadableError as error:
                self._unreadable.append(Problem(path, str(error), error.line))

    def problems(self) -> list[Problem]:
        """Say what is wrong with them."""
        known = {problem.path for problem in self._unreadable}
        found = (syntax_problem(path, data) for path, data in self._small if path not in known)
        return [*self._unreadable, *filter(None, found)]


def _content(path: str) -> bytes:
    """Read a file with as little ado as possible: in most projects that is most of the work."""
    with io.FileIO(path) as file:
        return file.readall()


@lru_cache
def _rules(settings: Settings) -> tuple[Rule, ...]:
    return tuple(map(registry.rule, settings.codes))


def _checked(todo: Sequence[Job], processes: int | None) -> Iterator[Report]:
    """Lint the files, and yield their reports in the same order."""
    size = sum(len(job.data) for job in todo)
    if processes is None:
        processes = min(_available(), size // _WORTH_A_PROCESS)
    processes = min(processes, len(todo))
    if processes <= 1:
        yield from map(check, todo)
        return
    from concurrent.futures import ProcessPoolExecutor

    largest_first = sorted(range(len(todo)), key=lambda at: -len(todo[at].data))
    with ProcessPoolExecutor(processes, mp_context=_context()) as pool:
        futures = {at: pool.submit(check, todo[at]) for at in largest_first}
        yield from (_outcome(job, futures[at]) for at, job in enumerate(todo))


def _outcome(job: Job, future: Future[Report]) -> Report:
    """Wait for one report; a process that died takes its files with it."""
    from concurrent.futures.process import BrokenProcessPool

    try:
        return future.result()
    except BrokenProcessPool:
        advice = "a linting process died, perhaps for want of memory; run again with --jobs 1"
        return Report(job.path, problems=(Problem(job.path, advice),))


def _context() -> BaseContext:
    """Choose how processes start: by forking where that is safe, so that libcst is imported only once."""
    import multiprocessing

    if sys.platform == "linux":
        import libcst.metadata  # noqa: F401 -- imported before the fork, for all processes

        return multiprocessing.get_context("fork")
    return multiprocessing.get_context()


def _available() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
