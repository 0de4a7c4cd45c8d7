"""What the fixtures return: the checking functions, bound to a test and to the session's settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from pytest_ckpt import progress, session, summary
from pytest_ckpt.findings import UsageError
from pytest_ckpt.resume import check_resume
from pytest_ckpt.roundtrip import check_module

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

    from torch import nn

    from pytest_ckpt.findings import Report
    from pytest_ckpt.options import Settings


class _Fixture:
    """A checking function for one test: options of the command line apply, and findings fail the test."""

    name: ClassVar[str]

    def __init__(self, settings: Settings, node: pytest.Item, terminal: TextIO | None) -> None:
        self._settings, self._node, self._terminal = settings, node, terminal

    def __repr__(self) -> str:
        return self.name

    def _judge(self, check: Callable[..., Report], *arguments: Any, **words: Any) -> Report:
        """Call the checking function, and raise its faults here, so that no traceback shows its inside."""
        __tracebackhide__ = True
        try:
            with progress.shown(self._node.nodeid, self._terminal):
                report = check(*arguments, **words)
        except UsageError as error:
            message = str(error)
        else:
            session.remember(self._node, report)
            self._node.user_properties.extend(summary.properties(report))
            report.raise_for_findings()
            if all(leg.status == "skipped" for leg in report.legs):
                pytest.skip(report.text())
            return report
        raise UsageError(message)


class CkptResume(_Fixture):
    """`check_resume` for one test."""

    name = "ckpt_resume"

    def __call__(self, training: Callable[[], Any], steps: int = 6, resume_at: int = 3, **arguments: Any) -> Report:
        """Resume a training.

        Args:
            training: Gives a new run at each call.
            steps: How many steps the uninterrupted run makes.
            resume_at: How many of them are made before saving.
            arguments: The other arguments of `pytest_ckpt.check_resume`; they come before options of the session.

        Returns:
            The report, if there is nothing to find.

        Raises:
            CheckpointError: Something was not restored; the message is the whole report.
            UsageError: The call cannot be carried out as it was made.
        """
        __tracebackhide__ = True
        given = {"checks": self._settings.checks, "ignore": self._settings.ignore, **arguments}
        return self._judge(check_resume, training, steps, resume_at, **given)


class CkptRoundtrip(_Fixture):
    """`check_module` for one test."""

    name = "ckpt_roundtrip"

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
        return self._judge(check_module, make, inputs, **given)
