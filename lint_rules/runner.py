"""Many files: found, sifted by their bytes, linted in this process or in several, reported in the order found."""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from lint_rules import files, prefilter, registry
from lint_rules.cache import Cache, recalled, remembered
from lint_rules.checker import Job, Report, check, syntax_problem
from lint_rules.pool import Pool
from lint_rules.sources import File, Problem, UnreadableError, Walk, decode, ignored_codes, is_excluded, kind_of

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable

    from lint_rules.config import Resolver, Settings
    from lint_rules.rule import Finding, Rule

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
        linted: The files that were linted without a problem.
        verb: What was done to the findings that are no more: `Fixed` or `Silenced`.
    """

    reports: tuple[Report, ...]
    problems: tuple[Problem, ...]
    files: int
    linted: tuple[str, ...] = ()
    verb: str = "Fixed"

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """All findings, in order."""
        return tuple(finding for report in self.reports for finding in report.findings)

    @cached_property
    def fixed(self) -> tuple[Finding, ...]:
        """All findings that were fixed."""
        return tuple(finding for report in self.reports for finding in report.fixed)

    def without(self, hidden: Container[int]) -> Result:
        """Give the result with some findings left out, told by their identity."""
        reports = (
            replace(report, findings=tuple(each for each in report.findings if id(each) not in hidden))
            for report in self.reports
        )
        return replace(self, reports=tuple(reports))

    @property
    def counts(self) -> list[tuple[str, str, int, int]]:
        """Code, name, findings and, of those, safely fixable ones; the most frequent rule first."""
        found = Counter((each.code, each.name) for each in self.findings)
        fixable = Counter(each.code for each in self.findings if each.fix and each.fix.safe)
        ordered = sorted(found.items(), key=lambda item: (-item[1], item[0]))
        return [(code, name, count, fixable[code]) for (code, name), count in ordered]


def _nobody_watches(_done: int, _of: int) -> None:
    return


@dataclass(frozen=True, slots=True)
class Runner:
    """How to run.

    Attributes:
        resolver: Gives the settings of a folder.
        fix: Whether to apply fixes.
        unsafe: Whether to apply unsafe fixes too.
        silence: Whether to add comments that silence what is found, instead.
        write: Whether to write what was fixed; standard input is left to the caller.
        jobs: How many processes to use; None to decide by the amount of work.
        cache: What former runs have found out; None to do without.
        watch: Called with the number of files read, and then with that of the files linted and of all to lint.
        selected: The codes that each selection of rules has turned out to be.
    """

    resolver: Resolver
    fix: bool = False
    unsafe: bool = False
    silence: bool = False
    write: bool = False
    jobs: int | None = None
    cache: Cache = field(default_factory=lambda: Cache(None))
    watch: Callable[[int, int], None] = _nobody_watches
    selected: dict[tuple[object, ...], tuple[str, ...]] = field(default_factory=dict)

    def run(self, paths: Iterable[str]) -> Result:
        """Lint files and folders.

        Raises:
            ConfigError: A `pyproject.toml` on the way cannot be used.
        """
        walk = Walk(self.resolver)
        problems: list[Problem] = []
        found: dict[str, Report] = {}
        todo: dict[str, Job] = {}
        read: list[str] = []
        unseen = _Unseen(self.cache)
        pool = Pool(self.jobs)
        for number, file in enumerate(walk.files(paths), 1):
            self.watch(number, 0)
            read.append(file.path)
            try:
                data = _content(file.absolute)
            except OSError as error:
                problems.append(Problem(file.path, f"cannot be read ({error.strerror})"))
                continue
            job = self._job(file, data)
            if not job.codes:
                unseen.add(job)
            elif report := self._recalled(job):
                found[file.path] = report
            else:
                found[file.path] = Report(file.path)
                todo[file.path] = job
                pool.add(job)
        for number, (job, report) in enumerate(zip(todo.values(), pool.reports(), strict=True), 1):
            self.watch(number, len(todo))
            found[job.path] = report
            self._remember(job, report)
        if self.write:
            for job in todo.values():
                if problem := _written(job, found[job.path]):
                    problems.append(problem)
                    found[job.path] = check(replace(job, fix=False, silence=False))
        reports = tuple(found.values())
        problems += [*walk.problems, *unseen.problems(), *(each for report in reports for each in report.problems)]
        self.cache.save()
        failed = {problem.path for problem in problems}
        return Result(
            reports, tuple(problems), len(read), tuple(path for path in read if path not in failed), self._verb
        )

    def run_text(self, path: str, data: bytes) -> Result:
        """Lint what came through standard input or an editor, as if it were the file of that path.

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
            return Result((), (problem,) if problem else (), 1, () if problem else (path,))
        report = check(job)
        return Result((report,), report.problems, 1, () if report.problems else (path,), self._verb)

    @property
    def _verb(self) -> str:
        return "Silenced" if self.silence else "Fixed"

    def _job(self, file: File, data: bytes) -> Job:
        """Say what is to be done with a file; nothing, if no rule has to see it."""
        dropped = ignored_codes(file.absolute, file.settings) if file.settings.per_file_ignores else frozenset()
        wanted = self._codes(file.settings)
        if dropped:
            wanted = tuple(code for code in wanted if code not in dropped)
        key = self.cache.key(f"{kind_of(file.path).__name__} {' '.join(wanted)}", data)
        codes = self.cache.get(key)
        is_new = codes is None
        if is_new:
            rules = prefilter.wanted(data, _rules(wanted))
            codes = [rule.code for rule in rules]
            if codes:
                self.cache.put(key, codes)
        settings = self.resolver.complete(Path(file.absolute).parent) if codes else file.settings
        return Job(
            file.path, data, tuple(codes), settings, self.fix, self.unsafe, self.silence, key=key, is_known=not is_new
        )

    def _codes(self, settings: Settings) -> tuple[str, ...]:
        """Give the codes that are on; where a former run knows them, no rule has to be imported to ask it."""
        selection = (settings.select, settings.extend_select, settings.ignore)
        found = self.selected.get(selection)
        if found is None:
            key = f"rules {selection}"
            known = self.cache.get(key)
            is_known = isinstance(known, list) and all(code in registry.codes() for code in known)
            found = self.selected[selection] = tuple(known) if is_known else settings.codes
            if not is_known:
                self.cache.put(key, found)
        return found

    def _recalled(self, job: Job) -> Report | None:
        """Give what a former run found in a file; None where that is unknown, or where it is to be edited."""
        value = self.cache.get(_report_key(job))
        if value is None or (value and (self.fix or self.silence)):
            return None
        return recalled(value, job)

    def _remember(self, job: Job, report: Report) -> None:
        if report.data is None and (value := remembered(report)) is not None:
            self.cache.put(_report_key(job), value)


def _report_key(job: Job) -> str:
    """Name what decides what the rules find."""
    return f"{job.key} {job.settings.target_torch} {job.settings.strict_guard}"


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

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._unreadable: list[Problem] = []
        self._small: list[Job] = []
        self._size = 0

    def add(self, job: Job) -> None:
        """Take note of a file."""
        self._size += len(job.data)
        if self._size <= _CHECKED_WHOLE:
            self._small.append(job)
        else:
            self._small.clear()
        if job.is_known:
            return
        if kind_of(job.path).is_plain and not (job.data.isascii() and b"\0" not in job.data):
            try:
                decode(job.data)
            except UnreadableError as error:
                self._unreadable.append(Problem(job.path, str(error), error.line))
                return
        self._cache.put(job.key, [])

    def problems(self) -> list[Problem]:
        """Say what is wrong with them."""
        known = {problem.path for problem in self._unreadable}
        found = (self._syntax_problem(job) for job in self._small if job.path not in known)
        return [*self._unreadable, *filter(None, found)]

    def _syntax_problem(self, job: Job) -> Problem | None:
        key = f"{job.key} parses"
        if self._cache.get(key):
            return None
        problem = syntax_problem(job.path, job.data)
        if problem is None:
            self._cache.put(key, True)  # noqa: FBT003 -- a value among others
        return problem


def _content(path: str) -> bytes:
    """Read a file with as little ado as possible: in most projects that is most of the work."""
    with io.FileIO(path) as file:
        return file.readall()


@lru_cache
def _rules(codes: tuple[str, ...]) -> tuple[Rule, ...]:
    return tuple(map(registry.rule, codes))
