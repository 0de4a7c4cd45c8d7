"""Tests without a test file: one for each module of `--ckpt-module`."""

from __future__ import annotations

import sys
from contextlib import suppress
from functools import reduce
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest

from pytest_ckpt import options
from pytest_ckpt.findings import CheckpointError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator


ARGUMENTS = "ckpt_arguments"
_ALONE = "ckpt_module_alone"


def only_modules(config: pytest.Config) -> None:
    """Collect nothing else where the command line names modules, but neither files nor folders.

    A worker of pytest-xdist is told by the controller, whose options it gets.
    """
    targets = options.modules(config)
    typed = any(str(argument).startswith("--ckpt-module") for argument in config.invocation_params.args)
    alone = typed and config.args_source is not pytest.Config.ArgsSource.ARGS
    if targets and (alone or getattr(config.option, _ALONE, False)):
        setattr(config.option, _ALONE, True)
        config.args = []


def module_items(session: pytest.Session) -> Iterator[pytest.Item]:
    """Give a test for each module that the options name."""
    for target in options.modules(session.config):
        yield ModuleItem.from_parent(session, name=target, nodeid=target)


class ModuleItem(pytest.Item):
    """The round trip of one module, which is imported when the test runs."""

    def runtest(self) -> None:
        """Import the factory, and make its round trip."""
        from pytest_ckpt.fixtures import CkptRoundtrip

        roundtrip = CkptRoundtrip(self.config.stash[options.SETTINGS], self, self.config.stash[options.TERMINAL])
        roundtrip(**arguments(self.name, str(self.config.invocation_params.dir)))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Show the report or the message alone: there is no line of a test to show."""
        if isinstance(excinfo.value, (CheckpointError, UsageError)):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[str, None, str]:
        """Say where the test is: nowhere but in its name."""
        return self.name, None, self.name


def arguments(target: str, folder: str) -> dict[str, Any]:
    """Import a factory, and give the arguments of `check_module` for it.

    Args:
        target: `package.module:factory`.
        folder: Where pytest was started; modules there can be imported.

    Returns:
        The factory as `make`, its inputs if it gives them together with the module, and what it has in an attribute
        `ckpt_arguments`.

    Raises:
        UsageError: It cannot be imported, or there is no such factory.
    """
    factory = _import(target, folder)
    given = getattr(factory, ARGUMENTS, {})
    if not isinstance(given, dict):
        raise UsageError(f"{target}.{ARGUMENTS} must be a dict with arguments of check_module, not {given!r}")
    return {**_parts(factory), **given}


def _import(target: str, folder: str) -> Any:
    module, _, name = target.partition(":")
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        return reduce(getattr, name.split("."), import_module(module))
    except Exception as error:  # noqa: BLE001 -- whatever importing raises is what is to be said
        what = f"there is no {name!r} in {module}" if isinstance(error, AttributeError) else f"cannot import {module}"
        raise UsageError(
            f"--ckpt-module {target}: {what} ({type(error).__name__}: {error}); it takes an importable module and "
            f"the name of a factory in it. Modules are looked for in {folder} and on sys.path"
        ) from None


def _parts(factory: Any) -> dict[str, Any]:
    """Give a factory that returns a module and its inputs as two arguments."""
    if isinstance(factory, type) or not callable(factory) or hasattr(factory, "state_dict"):
        return {"make": factory}
    first = None
    with suppress(Exception):  # the round trip will say what it raises
        first = factory()
    if isinstance(first, tuple) and len(first) == 2:  # noqa: PLR2004 -- a module and its inputs
        return {"make": lambda: factory()[0], "inputs": first[1]}
    return {"make": factory}
