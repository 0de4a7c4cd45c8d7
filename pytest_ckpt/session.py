"""What all tests of a session reported, gathered where the session is controlled, and written to files at its end.

A test's reports travel on its own pytest report, which pytest-xdist carries from the workers to the controller.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pytest

from pytest_ckpt import reports

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pytest_ckpt.findings import Report

REPORTS = pytest.StashKey[list["Report"]]()
_CARRIED = "ckpt_reports"


def remember(node: pytest.Item, report: Report) -> None:
    """Keep a report until its test is over."""
    node.stash.setdefault(REPORTS, []).append(report)


def attach(item: pytest.Item, report: pytest.TestReport) -> None:
    """Give a test's pytest report what its checking functions reported, as plain data."""
    if report.when == "call" and REPORTS in item.stash:
        setattr(report, _CARRIED, [asdict(one) for one in item.stash[REPORTS]])


class Gatherer:
    """Writes the reports of a session to files at its end: a plugin that is registered where there are any to write."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = files
        self._tests: list[reports.Tested] = []
        self._lines: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take in the report of one test; one that made no check-up has nothing to say."""
        carried: list[dict[str, Any]] = getattr(report, _CARRIED, [])
        if carried:
            self._tests.append(reports.Tested(report.nodeid, report.outcome, report.duration, tuple(carried)))

    def pytest_sessionfinish(self) -> None:
        """Write the files."""
        self._lines += map(self._write, self._files)

    def _write(self, path: Path) -> str:
        try:
            reports.write(path, self._tests)
        except OSError as error:
            return f"{path} could not be written: {error.strerror}"
        return f"written to {path}"

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say where they are."""
        terminalreporter.section("checkpoint reports")
        for line in self._lines:
            terminalreporter.line(line)
