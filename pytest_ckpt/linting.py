"""`pytest --ckpt-lint`: each file that pytest collects is linted as one test, with the settings of `ckpt-lint`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lint_rules.config import ConfigError, Resolver
from lint_rules.runner import Runner
from lint_rules.sources import is_excluded, is_included

if TYPE_CHECKING:
    from lint_rules.runner import Result


MARKER = "ckpt_lint"


class Linting:
    """The hooks of `--ckpt-lint`: a plugin that is registered where the option is given."""

    def __init__(self) -> None:
        self._resolver = Resolver()

    def pytest_collect_file(self, file_path: Path, parent: pytest.Collector) -> LintFile | None:
        """Give the collector of a file that the linter reads; None for another, and for one that is excluded.

        Raises:
            pytest.UsageError: The settings that the file obeys cannot be used.
        """
        try:
            settings = self._resolver.settings(file_path.parent)
        except ConfigError as error:
            raise pytest.UsageError(f"--ckpt-lint: {error}") from None
        if not is_included(str(file_path), settings) or is_excluded(file_path, settings):
            return None
        file: LintFile = LintFile.from_parent(parent, path=file_path, resolver=self._resolver)
        return file


class LintFile(pytest.File):
    """A file of which one test is made."""

    def __init__(self, *, resolver: Resolver, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._resolver = resolver

    def collect(self) -> list[pytest.Item]:
        """Give the one test."""
        return [LintItem.from_parent(self, name="ckpt-lint", resolver=self._resolver)]


class LintError(Exception):
    """The linter found something; the message is what it prints."""


class LintItem(pytest.Item):
    """The test that the linter finds nothing in a file."""

    def __init__(self, *, resolver: Resolver, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._resolver = resolver
        self.add_marker(MARKER)

    def runtest(self) -> None:
        """Lint the file.

        Raises:
            LintError: There are findings, or the file cannot be linted.
        """
        here = Path.cwd()
        shown = self.path.relative_to(here) if self.path.is_relative_to(here) else self.path
        result = Runner(self._resolver, jobs=1).run([str(shown)])
        if result.findings or result.problems:
            raise LintError("\n".join(_lines(result)))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Show what the linter says, and no traceback of it."""
        return str(excinfo.value) if excinfo.errisinstance(LintError) else super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, None, str]:
        """Say where the test is, and what stands above its failure: every file's test has the same name."""
        return self.path, None, f"{self.name} {self.nodeid.partition('::')[0]}"


def _lines(result: Result) -> list[str]:
    from lint_rules.output import renderer

    return [*(f"error: {problem}" for problem in result.problems), *renderer("full")(result, color=False)]
