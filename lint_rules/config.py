"""Settings: `[tool.ckpt-lint]` of the nearest `pyproject.toml`, checked and typed.

Settings are found as ruff finds its own: a file obeys the nearest `pyproject.toml` above it that has the table, and
no other. A `pyproject.toml` without the table is passed over. Patterns are `.gitignore` patterns, relative to the
folder of that `pyproject.toml`.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lint_rules import files, registry, target

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PYPROJECT = "pyproject.toml"
_PROJECT_FILES = (PYPROJECT, "setup.py", "setup.cfg", ".git")
_TOOL = "ckpt-lint"
TABLE = f"tool.{_TOOL}"

#: What ruff leaves out by default, and why `ckpt-lint .` does not read a virtual environment.
DEFAULT_EXCLUDE = (
    ".bzr",
    ".direnv",
    ".eggs",
    ".git",
    ".git-rewrite",
    ".hg",
    ".ipynb_checkpoints",
    ".mypy_cache",
    ".nox",
    ".pants.d",
    ".pyenv",
    ".pytest_cache",
    ".pytype",
    ".ruff_cache",
    ".svn",
    ".tox",
    ".venv",
    ".vscode",
    "__pypackages__",
    "_build",
    "buck-out",
    "build",
    "dist",
    "node_modules",
    "site-packages",
    "venv",
)
DEFAULT_INCLUDE = ("*.py", "*.pyi", "*.pyw", "*.ipynb", "*.md", "*.rst")


class ConfigError(ValueError):
    """A setting cannot be used; the message says where it stands, what it is and what to write."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What applies to one file. Hashable and picklable: it goes to worker processes.

    Attributes:
        select: Selectors of the rules to use; None for those that are on by default.
        extend_select: Selectors of rules to use besides.
        ignore: Selectors of rules not to use.
        per_file_ignores: Pairs of a path pattern and the selectors not to use there.
        exclude: Patterns of paths not to look into; paths that the user names are linted all the same.
        extend_exclude: More of them.
        include: Patterns of the files to read in folders.
        respect_gitignore: Whether to leave out what `.gitignore` files leave out.
        force_exclude: Whether exclusions hold for paths that the user names too, as a pre-commit hook needs it.
        target_torch: The oldest torch that the project supports, as (major, minor); None if unknown.
        strict_guard: Whether CKP301 speaks where the project's torch already defaults to `weights_only=True`.
        origin: The `pyproject.toml` that the settings come from; None if there is none.
    """

    select: tuple[str, ...] | None = None
    extend_select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    per_file_ignores: tuple[tuple[str, tuple[str, ...]], ...] = ()
    exclude: tuple[str, ...] = DEFAULT_EXCLUDE
    extend_exclude: tuple[str, ...] = ()
    include: tuple[str, ...] = DEFAULT_INCLUDE
    respect_gitignore: bool = True
    force_exclude: bool = False
    target_torch: tuple[int, int] | None = None
    strict_guard: bool = False
    origin: Path | None = None

    @property
    def root(self) -> Path | None:
        """The folder that patterns are relative to; None for the working directory."""
        return self.origin.parent if self.origin else None

    @property
    def codes(self) -> tuple[str, ...]:
        """The codes of the rules that are on."""
        return registry.enabled(self.select, self.extend_select, self.ignore)


@dataclass(frozen=True, slots=True)
class Overrides:
    """What the command line says about rules; it wins over every `pyproject.toml`.

    `--select` starts afresh, as in ruff: the settings' own `ignore` then no longer counts.
    """

    select: tuple[str, ...] | None = None
    ignore: tuple[str, ...] = ()
    force_exclude: bool = False

    def apply(self, settings: Settings) -> Settings:
        """Give the settings with the command line's word put over them."""
        if self.select is not None:
            settings = replace(settings, select=self.select, extend_select=(), ignore=())
        return replace(
            settings,
            ignore=(*settings.ignore, *self.ignore),
            force_exclude=settings.force_exclude or self.force_exclude,
        )


def from_table(table: Mapping[str, Any], origin: Path | None = None) -> Settings:
    """Check one `[tool.ckpt-lint]` table.

    Args:
        table: The table as TOML gives it.
        origin: The file that it stands in, for messages and for patterns.

    Raises:
        ConfigError: A setting is unknown, has a value of the wrong type, or names an unknown rule.
    """
    where = f"{origin or PYPROJECT}: [{TABLE}]"
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in _READERS:
            raise ConfigError(f'{where} there is no setting "{key}": {_nearest(key)}')
        try:
            values[key.replace("-", "_")] = _READERS[key](value)
        except registry.UnknownRuleError as error:
            raise ConfigError(f"{where} {key}: {error}") from None
        except _WrongValueError as error:
            raise ConfigError(f"{where} {key}: expected {error}, and found {value!r}") from None
    return Settings(**values, origin=origin)


def read(pyproject: Path) -> Mapping[str, Any]:
    """Parse a `pyproject.toml`; one that is no TOML and no business of this linter's is empty.

    Raises:
        ConfigError: It cannot be read, or is not TOML although it holds the linter's table.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    try:
        data = pyproject.read_bytes()
    except OSError as error:
        raise ConfigError(f"{pyproject}: cannot be read ({error.strerror})") from None
    try:
        document: Mapping[str, Any] = tomllib.loads(data.decode("utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        if TABLE.encode() in data:
            raise ConfigError(f"{pyproject}: this is not valid TOML ({error}); repair it") from None
        return {}
    return document


class Resolver:
    """Gives the settings that apply in a folder, reading each `pyproject.toml` once.

    Folders are absolute paths; they need not exist.
    """

    def __init__(self, overrides: Overrides | None = None) -> None:
        self._overrides = overrides or Overrides()
        self._documents: dict[Path, Mapping[str, Any]] = {}
        self._settings: dict[Path, Settings] = {}
        self._targets: dict[Path, tuple[int, int] | None] = {}
        self._starts = {Path.cwd()}

    def start(self, folder: Path) -> None:
        """Take a folder for a project's if nothing else makes one: the user named it, as the working directory is."""
        self._starts.add(folder)

    def settings(self, folder: Path) -> Settings:
        """Give the settings for the files in a folder, as the tables state them.

        Raises:
            ConfigError: A `pyproject.toml` above it cannot be used.
        """
        if folder not in self._settings:
            self._settings[folder] = self._own(folder) or self._inherited(folder)
        return self._settings[folder]

    def complete(self, folder: Path) -> Settings:
        """Give the settings with the torch that the project asks for, where no table states it.

        Raises:
            ConfigError: A `pyproject.toml` above it cannot be used.
        """
        settings = self.settings(folder)
        return settings if settings.target_torch else replace(settings, target_torch=self._target(folder))

    def _own(self, folder: Path) -> Settings | None:
        tools = self._document(folder).get("tool")
        if not isinstance(tools, dict):
            return None
        if misspelt := next((name for name in tools if _letters(name) == _letters(_TOOL) and name != _TOOL), None):
            raise ConfigError(f"{folder / PYPROJECT}: nobody reads [tool.{misspelt}]: did you mean [{TABLE}]?")
        if _TOOL not in tools:
            return None
        table = tools[_TOOL]
        if not isinstance(table, dict):
            raise ConfigError(f"{folder / PYPROJECT}: [{TABLE}] must be a table, and is {table!r}")
        return self._overrides.apply(from_table(table, folder / PYPROJECT))

    def _inherited(self, folder: Path) -> Settings:
        return self._overrides.apply(Settings()) if folder.parent == folder else self.settings(folder.parent)

    def _target(self, folder: Path) -> tuple[int, int] | None:
        """Look in the folder, then above it up to where the project begins.

        Requirement files count beside the files that make a folder a project. Those of an example or a subfolder say
        what that one was tried with, not what the project promises.
        """
        if folder not in self._targets:
            document = self._document(folder)
            stated = target.stated_by_pyproject(document)
            if stated is None and self._is_project(folder):
                stated = target.stated_by_requirements(folder)
            is_top = "project" in document or files.exists(folder / ".git") or folder.parent == folder
            self._targets[folder] = stated if stated or is_top else self._target(folder.parent)
        return self._targets[folder]

    def _is_project(self, folder: Path) -> bool:
        if _has_project_file(folder):
            return True
        return folder in self._starts and not any(map(_has_project_file, folder.parents))

    def _document(self, folder: Path) -> Mapping[str, Any]:
        if folder not in self._documents:
            pyproject = folder / PYPROJECT
            self._documents[folder] = read(pyproject) if files.is_file(pyproject) else {}
        return self._documents[folder]


def _has_project_file(folder: Path) -> bool:
    return any(files.exists(folder / name) for name in _PROJECT_FILES)


def describe(settings: Settings) -> str:
    """Write settings as the TOML table that gives them, below a comment that says where they come from."""
    values: dict[str, Any] = {field.name.replace("_", "-"): getattr(settings, field.name) for field in fields(settings)}
    values["select"] = settings.codes
    values["per-file-ignores"] = settings.per_file_ignores or None
    if settings.target_torch:
        values["target-torch"] = ".".join(map(str, settings.target_torch))
    rows = [f"{key} = {_toml(values[key])}" for key in _READERS if values[key] is not None]
    return "\n".join([f"# from {settings.origin or 'the defaults'}", f"[{TABLE}]", *rows])


def _toml(value: object) -> str:
    """Write one of the settings' values as TOML: a flag, a string, a list of strings, or pairs of pattern and list."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if not isinstance(value, tuple):
        raise TypeError(f"no setting holds {value!r}")
    if value and isinstance(value[0], tuple):
        return "{ " + ", ".join(f"{_toml(pattern)} = {_toml(codes)}" for pattern, codes in value) + " }"
    return "[" + ", ".join(map(_toml, value)) + "]"


def _nearest(key: str) -> str:
    import difflib

    near = difflib.get_close_matches(key.replace("_", "-"), _READERS, n=1, cutoff=0.5)
    return f'did you mean "{near[0]}"?' if near else f"the settings are {', '.join(_READERS)}"


def _letters(name: str) -> str:
    return re.sub(r"[-_.\s]", "", name).lower()


class _WrongValueError(ValueError):
    """Says what was expected, with an example."""


def _strings(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _WrongValueError('a list of strings, such as ["..."]')
    return tuple(value)


def _selectors(value: object) -> tuple[str, ...]:
    selectors = _strings(value)
    for selector in selectors:
        registry.expand(selector)
    return selectors


def _per_file(value: object) -> tuple[tuple[str, tuple[str, ...]], ...]:
    if not isinstance(value, dict):
        raise _WrongValueError('a table of patterns, such as { "tests/**" = ["CKP301"] }')
    return tuple((pattern, _selectors(selectors)) for pattern, selectors in value.items())


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise _WrongValueError("true or false")
    return value


def _version(value: object) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)\.(\d+)(\.\d+)*", value) if isinstance(value, str) else None
    if not match:
        raise _WrongValueError('a version of torch as a string, such as "2.6"')
    return int(match[1]), int(match[2])


_READERS: Mapping[str, Callable[[object], Any]] = {
    "select": _selectors,
    "extend-select": _selectors,
    "ignore": _selectors,
    "per-file-ignores": _per_file,
    "exclude": _strings,
    "extend-exclude": _strings,
    "include": _strings,
    "respect-gitignore": _flag,
    "force-exclude": _flag,
    "target-torch": _version,
    "strict-guard": _flag,
}
