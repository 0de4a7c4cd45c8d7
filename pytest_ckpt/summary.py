"""What the round trips of a session ran, for the terminal.

A test's legs travel as its report's user properties, which pytest-xdist carries from the workers to the controller and
the JUnit writer puts into its file.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import pytest

    from pytest_ckpt.findings import Report

LEG = "ckpt_leg"
FINDING = "ckpt_finding"


def properties(report: Report) -> list[tuple[str, object]]:
    """Give the report of one round trip as user properties of the test that made it."""
    return [
        *((LEG, _leg_text(leg.leg, leg.status, leg.reason)) for leg in report.legs),
        *((FINDING, f"{finding.category}: {finding.key}") for finding in report.findings),
    ]


def _leg_text(leg: str, status: str, reason: str) -> str:
    return f"{leg}: {status}" + (f" ({reason})" if reason else "")


def lines(tests: Iterable[tuple[str, list[tuple[str, object]]]], *, verbose: bool) -> Iterator[str]:
    """Summarise the legs of many tests; nothing if no test made a round trip.

    Args:
        tests: Test ids, each with the user properties of its report.
        verbose: Whether to list the legs of every test as well.
    """
    counts: Counter[str] = Counter()
    each = []
    for nodeid, given in tests:
        legs = [str(value) for name, value in given if name == LEG]
        counts.update(legs)
        if legs:
            each.append((nodeid, legs))
    for leg, count in counts.items():
        name, _, outcome = leg.partition(": ")
        yield f"{name}: {count} {outcome}"
    if verbose:
        for nodeid, legs in each:
            yield nodeid
            yield from (f"  {leg}" for leg in legs)


def write(reporter: pytest.TerminalReporter) -> None:
    """Write the summary of a finished session to its terminal."""
    tests = [
        (report.nodeid, report.user_properties)
        for reports in reporter.stats.values()
        for report in reports
        if getattr(report, "when", None) == "call" and hasattr(report, "user_properties")
    ]
    text = list(lines(tests, verbose=reporter.verbosity > 0))
    if text:
        reporter.section("checkpoint legs")
        for line in text:
            reporter.line(line)
