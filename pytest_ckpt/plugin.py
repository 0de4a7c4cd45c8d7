"""pytest hooks and fixtures; no logic. Nothing heavy is imported until a fixture is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_ckpt import options, summary

if TYPE_CHECKING:
    from pytest_ckpt.fixtures import CkptRoundtrip

RECORD = pytest.StashKey[summary.Record]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the flags and ini options."""
    options.add(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Start the record of what this session's round trips did."""
    config.stash[RECORD] = summary.Record()


@pytest.fixture
def ckpt_roundtrip(request: pytest.FixtureRequest) -> CkptRoundtrip:
    """Round-trip a module through save and load, and fail with everything that did not come back.

    Call it with the arguments of `pytest_ckpt.check_module`; it returns the report if there is nothing to find::

        def test_checkpoint(ckpt_roundtrip):
            ckpt_roundtrip(lambda: Net(hidden=8), inputs=torch.ones(2, 4))
    """
    from pytest_ckpt.fixtures import CkptRoundtrip

    return CkptRoundtrip(request.config, request.config.stash[RECORD], request.node)


@pytest.hookimpl(trylast=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """Hand a test's legs to its report, which carries them from a worker to the controller."""
    if call.when == "call":
        summary.attach(item)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Nothing to do while tests run: the summary reads the reports that the terminal reporter keeps."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which legs ran, were simulated and were skipped, if any test made a round trip."""
    summary.write(terminalreporter)
