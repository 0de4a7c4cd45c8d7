"""Findings that are right: faults of the libraries under test, each proven with plain torch in a test of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_ckpt import Report


@dataclass(frozen=True)
class Fault:
    """A fault of the library's own: what a report must say of it, and why that is right."""

    category: str
    keys: tuple[str, ...]
    reason: str


def judge(report: Report, fault: Fault | None) -> None:
    """Hold a report to the known fault of its module, or to none."""
    expected = [(fault.category, key) for key in fault.keys] if fault else []
    assert [(one.category, one.key) for one in report.findings] == expected, report.text()
