"""Linting in this process, or in several where there is enough to do."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from lint_rules.checker import Job, Report, check
from lint_rules.sources import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future, ProcessPoolExecutor
    from multiprocessing.context import BaseContext

#: Bytes of source that have to see a rule below which further processes cost more than they save.
_WORTH_PROCESSES = 200_000


class Pool:
    """Takes files to lint and gives their reports in the same order.

    Further processes start as soon as it is clear that they pay, while files are still being read.
    """

    def __init__(self, processes: int | None) -> None:
        """Keep how many processes to use.

        Args:
            processes: How many; None to decide by the amount of work.
        """
        self._wanted = processes
        self._jobs: list[Job] = []
        self._futures: list[Future[Report]] = []
        self._size = 0
        self._executor: ProcessPoolExecutor | None = None

    def add(self, job: Job) -> None:
        """Take a file, and begin with it at once if there are processes for it."""
        self._jobs.append(job)
        self._size += len(job.data)
        if self._executor is None and self._pays():
            self._executor = _executor(self._wanted or _available())
        if self._executor is not None:
            waiting = self._jobs[len(self._futures) :]
            self._futures += [_submitted(self._executor, each) for each in waiting]

    def reports(self) -> Iterator[Report]:
        """Yield what came of the files."""
        if self._executor is None:
            yield from map(check, self._jobs)
            return
        with self._executor:
            yield from map(_outcome, self._jobs, self._futures)

    def _pays(self) -> bool:
        if self._wanted is not None:
            return self._wanted > 1 < len(self._jobs)
        return self._size >= _WORTH_PROCESSES and len(self._jobs) > 1 < _available()


def _executor(processes: int) -> ProcessPoolExecutor:
    from concurrent.futures import ProcessPoolExecutor

    return ProcessPoolExecutor(processes, mp_context=_context())


def _submitted(executor: ProcessPoolExecutor, job: Job) -> Future[Report]:
    from concurrent.futures import Future
    from concurrent.futures.process import BrokenProcessPool

    try:
        return executor.submit(check, job)
    except BrokenProcessPool as error:
        failed: Future[Report] = Future()
        failed.set_exception(error)
        return failed


def _outcome(job: Job, future: Future[Report]) -> Report:
    """Wait for one report; a process that died takes its files with it."""
    from concurrent.futures.process import BrokenProcessPool

    try:
        return future.result()
    except BrokenProcessPool:
        advice = "a linting process died, perhaps for want of memory; run again with --jobs 1"
        return Report(job.path, problems=(Problem(job.path, advice),))


def _context() -> BaseContext:
    """Choose how processes start: by forking where that is safe, so that what all of them need is imported once."""
    import multiprocessing

    if sys.platform == "linux":
        import lint_rules.evidence
        import lint_rules.flow
        import lint_rules.positions  # noqa: F401

        return multiprocessing.get_context("fork")
    return multiprocessing.get_context()


def _available() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
