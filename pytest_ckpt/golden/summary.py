"""What a session did with goldens, for the terminal: which were written, and which no test used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_ckpt.golden.places import USED, WRITTEN, stale

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest


def write(reporter: pytest.TerminalReporter) -> None:
    """Write a section about goldens if there is anything to say."""
    text = list(_lines(reporter))
    if text:
        reporter.section("checkpoint goldens")
        for line in text:
            reporter.line(line)


def _lines(reporter: pytest.TerminalReporter) -> Iterator[str]:
    reports = [report for reports in reporter.stats.values() for report in reports if hasattr(report, "nodeid")]
    calls = [report for report in reports if getattr(report, "when", None) == "call"]
    written = [value for report in calls for name, value in report.user_properties if name == WRITTEN]
    yield from (f"written: {path}" for path in written)
    used = {str(value) for report in calls for name, value in report.user_properties if name == USED}
    if not _is_whole(reporter.config, reporter.stats):
        return
    root = reporter.config.rootpath
    ran = {_file(root, report) for report in calls}
    failed = [report for report in reports if getattr(report, "outcome", "passed") != "passed"]  # a warning has none
    unsure = {_file(root, report) for report in failed if not _uses_golden(report)}
    yield from (
        f"stale: {path.relative_to(root)} (no test uses it; git rm -r it)" for path in stale(root, used, ran - unsure)
    )


def _uses_golden(report: Any) -> bool:
    return any(name == USED for name, _ in report.user_properties)


def _file(root: Path, report: Any) -> Path:
    return root / str(report.nodeid).partition("::")[0]


def _is_whole(config: pytest.Config, stats: dict[str, Any]) -> bool:
    """Whether every test of the files that were collected has run."""
    chosen = any("::" in str(argument) for argument in config.args)
    option = config.option
    last_failed = any(getattr(option, name, False) for name in ("lf", "last_failed", "stepwise"))
    return not (chosen or last_failed or stats.get("deselected") or stats.get("error") or option.maxfail)
