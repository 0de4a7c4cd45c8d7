"""The rules as a plugin of flake8, whose own options select them and whose own `# noqa` silences them.

flake8 has one configuration for everything, so `select`, `ignore`, `per-file-ignores` and the output are its own. Read
from `[tool.ckpt-lint]` are only the settings that decide what a rule means, such as `target-torch`.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from lint_rules import engine, prefilter, registry
from lint_rules.config import ConfigError, Resolver, Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_STDIN = ("stdin", "-")


class Plugin:
    """What flake8 makes of each file that it reads, and asks for what is wrong with it."""

    name: ClassVar[str] = "pytest-ckpt"
    version: ClassVar[str] = version("pytest-ckpt")

    def __init__(self, tree: object, filename: str, lines: Sequence[str]) -> None:
        """Take one file.

        Args:
            tree: What flake8 has parsed, which says that the file can be parsed; not used beyond that.
            filename: The file as flake8 names it.
            lines: Its lines with their ends.
        """
        del tree
        self._path, self._text = filename, "".join(lines)

    @staticmethod
    def add_options(parser: Any) -> None:
        """Switch the rules off that are off by default; `--extend-select` brings them back."""
        parser.extend_default_ignore([rule.code for rule in registry.all_rules() if not rule.default])

    def run(self) -> Iterator[tuple[int, int, str, type[Plugin]]]:
        """Give line, column from 0, text and plugin of each finding, as flake8 wants them."""
        rules = prefilter.wanted(self._text.encode(), registry.all_rules())
        if not rules:
            return
        try:
            found = engine.lint_text(self._text, self._path, rules, self._settings())
        except engine.SourceError:
            return  # flake8 has parsed it; what libcst alone refuses is no fault of the file
        for finding in found:
            yield finding.line, finding.column - 1, f"{finding.code} {finding.name}: {finding.message}", type(self)

    def _settings(self) -> Settings:
        folder = Path.cwd() if self._path in _STDIN else Path(self._path).absolute().parent
        try:
            return Resolver().complete(folder)
        except ConfigError:
            return Settings()  # ckpt-lint itself says what is wrong with it
