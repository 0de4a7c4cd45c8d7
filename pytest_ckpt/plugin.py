"""pytest hooks and fixtures; no logic. Nothing heavy is imported until a fixture is used."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_ckpt import github_actions, options, parametrize, progress, session, summary
from pytest_ckpt.golden import summary as goldens
from pytest_ckpt.items import module_items, only_modules
from pytest_ckpt.options import SETTINGS, TERMINAL

if TYPE_CHECKING:
    from collections.abc import Generator

    from pytest_ckpt.fixtures import CkptRegression, CkptResume, CkptRoundtrip, CkptStrict

GOLDENS = pytest.StashKey[dict[Path, str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the flags and ini options."""
    options.add(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Read the options, so that an unknown name stops the session before it begins."""
    config.stash[SETTINGS] = settings = options.read(config)
    config.stash[GOLDENS] = {}
    is_worker = hasattr(config, "workerinput")
    config.stash[TERMINAL] = None if is_worker else progress.terminal(always=config.option.verbose > 0)
    if settings.reports and not is_worker:
        config.pluginmanager.register(session.Gatherer(settings.reports), "ckpt-reports")
    if config.getoption("ckpt_lint"):
        from pytest_ckpt import linting

        config.addinivalue_line("markers", f"{linting.MARKER}: the tests of --ckpt-lint, one a file")
        config.pluginmanager.register(linting.Linting(), "ckpt-lint")
    config.addinivalue_line("markers", options.MARKER_HELP)
    only_modules(config)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Close what was opened."""
    stream = config.stash.get(TERMINAL, None)
    if stream is not None:
        stream.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let a test's reports travel with pytest's own."""
    report = yield
    session.attach(item, report)
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, items: list[pytest.Item]) -> None:
    """Add a test for each module of `--ckpt-module`, before other plugins deselect or sort."""
    items.extend(module_items(session))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tell a check of `parametrize_with_checkpoint_checks` which test it runs in."""
    parametrize.bind(item, item.config.stash[SETTINGS])


@pytest.fixture
def ckpt_roundtrip(request: pytest.FixtureRequest) -> CkptRoundtrip:
    """Round-trip a module through save and load, and fail with everything that did not come back.

    Call it with the arguments of `pytest_ckpt.check_module`; it returns the report if there is nothing to find:

        def test_checkpoint(ckpt_roundtrip):
            ckpt_roundtrip(lambda: Net(hidden=8), inputs=torch.ones(2, 4))
    """
    from pytest_ckpt.fixtures import CkptRoundtrip

    return CkptRoundtrip(request.config.stash[SETTINGS], request.node, request.config.stash[TERMINAL])


@pytest.fixture
def ckpt_resume(request: pytest.FixtureRequest) -> CkptResume:
    """Save a training on its way, continue it in a new run, and fail with everything that was not restored.

    Call it with the arguments of `pytest_ckpt.check_resume`; it returns the report if there is nothing to find:

        def test_resume(ckpt_resume):
            ckpt_resume(lambda: Trainer(Config()), steps=6, resume_at=3)
    """
    from pytest_ckpt.fixtures import CkptResume

    return CkptResume(request.config.stash[SETTINGS], request.node, request.config.stash[TERMINAL])


@pytest.fixture
def ckpt_regression(request: pytest.FixtureRequest) -> CkptRegression:
    """Hold the checkpoints that older versions of the code wrote, kept beside the test, against today's code.

    Call it with a factory and inputs; `pytest --ckpt-update-new-only` writes the first golden, which is committed:

        def test_old_checkpoints(ckpt_regression):
            ckpt_regression(lambda: Net(hidden=8), inputs=torch.ones(2, 4))
    """
    from pytest_ckpt.fixtures import CkptRegression

    stash = request.config.stash
    return CkptRegression(stash[SETTINGS], request.node, stash[TERMINAL], stash[GOLDENS])


@pytest.fixture
def ckpt_strict(request: pytest.FixtureRequest) -> CkptStrict:
    """Give a loader checkpoints that do not fit, drawn by Hypothesis, and fail if it keeps quiet about any.

    Call it with the arguments of `pytest_ckpt.check_strict`; it returns the report if there is nothing to find:

        def test_strictness(ckpt_strict):
            ckpt_strict(Net, save=save_checkpoint, load=load_checkpoint)
    """
    from pytest_ckpt.fixtures import CkptStrict

    return CkptStrict(request.config.stash[SETTINGS], request.node, request.config.stash[TERMINAL])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which legs ran, were simulated and were skipped, if any test made a round trip."""
    summary.write(terminalreporter)
    goldens.write(terminalreporter)
    github_actions.write(terminalreporter)
