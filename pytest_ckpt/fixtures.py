"""What the fixtures return: the checking functions, bound to a test and to the session's settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_ckpt import summary
from pytest_ckpt.findings import UsageError
from pytest_ckpt.roundtrip import check_module

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from pytest_ckpt.findings import Report
    from pytest_ckpt.options import Settings


class CkptRoundtrip:
    """`check_module` for one test: options of the command line apply, and findings fail the test."""

    def __init__(self, settings: Settings, node: pytest.Item) -> None:
        self._settings, self._node = settings, node

    def __repr__(self) -> str:
        return "ckpt_roundtrip"

    def __call__(self, make: Callable[[], nn.Module], inputs: Any = None, **arguments: Any) -> Report:
        """Make the round trip.

        Args:
            make: Gives a fresh module at each call.
            inputs: What forward takes.
            arguments: The other arguments of `pytest_ckpt.check_module`; they come before options of the session.

        Returns:
            The report, if there is nothing to find.

        Raises:
            CheckpointError: Something did not come back; the message is the whole report.
            UsageError: The call cannot be carried out as it was made.
        """
        __tracebackhide__ = True
        settings = self._settings
        given: dict[str, Any] = {
            "devices": settings.devices,
            "formats": settings.formats,
            "checks": settings.checks,
            "ignore": settings.ignore,
            **arguments,
        }
        try:
            report = check_module(make, inputs, **given)
        except UsageError as error:
            message = str(error)
        else:
            self._node.user_properties.extend(summary.properties(report))
            report.raise_for_findings()
            if all(leg.status == "skipped" for leg in report.legs):
                pytest.skip(report.text())
            return report
        raise UsageError(message)
