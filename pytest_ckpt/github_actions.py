"""Findings as annotations of GitHub Actions, which shows them at the lines of a pull request."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from pytest_ckpt.summary import FINDING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest


def write(reporter: pytest.TerminalReporter) -> None:
    """Write a workflow command for every test that failed with findings, where GitHub Actions runs the session."""
    if os.environ.get("GITHUB_ACTIONS") == "true":
        for report in reporter.stats.get("failed", []):
            for line in lines(report):
                reporter.line(line)


def lines(report: Any) -> Iterator[str]:
    """Give the workflow command for one failed test; nothing if it has no findings."""
    findings = [str(value) for name, value in report.user_properties if name == FINDING]
    if not findings:
        return
    file, line, _ = report.location
    more = f" and {len(findings) - 1} more" if len(findings) > 1 else ""
    crash = getattr(getattr(report, "longrepr", None), "reprcrash", None)
    message = getattr(crash, "message", "\n".join(findings))
    place = f"file={_property(file)},line={(line or 0) + 1},title={_property(findings[0] + more)}"
    yield f"::error {place}::{_data(message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
