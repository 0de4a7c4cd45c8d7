"""Finding the files: what the user named, and what is in the folders among it."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lint_rules import files
from lint_rules.sources.patterns import IgnoreFiles, patterns

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lint_rules.config import Resolver, Settings


@dataclass(frozen=True, slots=True)
class File:
    """A file to lint.

    Attributes:
        path: As the user named it, or as it was found below a folder that the user named.
        absolute: The same, from the root.
        settings: The settings of its folder.
    """

    path: str
    absolute: str
    settings: Settings


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that could not be linted, on one line of standard error.

    Attributes:
        path: What.
        message: Why, and what to do.
        line: Where, if that is known.
        cell: In which notebook cell.
    """

    path: str
    message: str
    line: int | None = None
    cell: int | None = None

    def __str__(self) -> str:
        cell = "" if self.cell is None else f":cell {self.cell}"
        line = "" if self.line is None else f":{self.line}"
        return f"{files.shown(self.path)}{cell}{line}: {self.message}"


class Walk:
    """One walk over paths that the user named.

    Links to files are read, links to folders are not followed, so there are no loops. A file that is reached twice is
    linted once. What the user names is linted even where an exclusion or a `.gitignore` covers it, as with ruff,
    unless the exclusions are forced.

    Attributes:
        problems: What could not be read, once the walk is over.
    """

    def __init__(self, resolver: Resolver) -> None:
        self.problems: list[Problem] = []
        self._resolver = resolver
        self._seen: set[str] = set()

    def files(self, named: Iterable[str]) -> Iterator[File]:
        """Yield the files of some paths, in the order of the paths, and of names within a folder.

        Raises:
            ConfigError: A `pyproject.toml` on the way cannot be used.
        """
        for path in named:
            if not path:
                self.problems.append(Problem('""', "an empty path names no file; the working directory is ."))
                continue
            absolute = Path(os.path.normpath(Path(path).absolute()))
            try:
                is_folder = stat.S_ISDIR(absolute.stat().st_mode)
            except FileNotFoundError:
                self.problems.append(Problem(path, "there is no such file or folder; check the spelling"))
                continue
            except OSError as error:
                self.problems.append(Problem(path, f"cannot be read ({error.strerror})"))
                continue
            folder = absolute if is_folder else absolute.parent
            self._resolver.start(folder)
            settings = self._resolver.settings(folder)
            if settings.force_exclude and is_excluded(absolute, settings, folder=is_folder):
                continue
            if is_folder:
                yield from self._below(path, str(absolute), settings)
            elif self._is_new(os.path.realpath(absolute)):
                yield File(path, str(absolute), settings)

    def _below(self, path: str, absolute: str, settings: Settings) -> Iterator[File]:
        ignored = _ignore_files_above(Path(absolute), settings).without(absolute)
        shown = "" if path in {".", "." + os.sep} else path.rstrip(os.sep) + os.sep if path != os.sep else path
        folders = [(shown, absolute, ignored)]
        while folders:
            shown, absolute, ignored = folders.pop()
            settings = self._resolver.settings(Path(absolute))
            real = os.path.realpath(absolute)
            entries = self._entries(shown, absolute)
            if settings.respect_gitignore and any(entry.name == ".gitignore" for entry in entries):
                ignored = ignored.within(absolute)
            below = []
            for entry in entries:
                is_folder = entry.is_dir(follow_symlinks=False)
                if _matches_exclusion(entry.path, settings, folder=is_folder):
                    continue
                if settings.respect_gitignore and ignored.match(entry.path, folder=is_folder):
                    continue
                if is_folder:
                    below.append((shown + entry.name + os.sep, entry.path, ignored))
                elif is_included(entry.path, settings) and self._is_file(shown, entry):
                    target = os.path.realpath(entry.path) if entry.is_symlink() else real + os.sep + entry.name
                    if self._is_new(target):
                        yield File(shown + entry.name, entry.path, settings)
            folders += reversed(below)

    def _entries(self, shown: str, absolute: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(absolute) as entries:
                return sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            self.problems.append(Problem(shown or ".", f"the folder cannot be read ({error.strerror})"))
            return []

    def _is_file(self, shown: str, entry: os.DirEntry[str]) -> bool:
        try:
            return entry.is_file()
        except OSError as error:
            self.problems.append(Problem(shown + entry.name, f"cannot be read ({error.strerror})"))
            return False

    def _is_new(self, real: str) -> bool:
        """Say whether a file, told by its path without links, is met for the first time."""
        is_new = real not in self._seen
        self._seen.add(real)
        return is_new


def ignored_codes(absolute: str, settings: Settings) -> frozenset[str]:
    """Give the codes that `per-file-ignores` turns off for a file; `!` before a pattern means all other files."""
    from lint_rules import registry

    path = _relative(absolute, settings)
    return frozenset(
        code
        for pattern, selectors in settings.per_file_ignores
        if patterns((pattern.removeprefix("!"),)).match(path) is not pattern.startswith("!")
        for selector in selectors
        for code in registry.expand(selector)
    )


def is_excluded(absolute: Path, settings: Settings, *, folder: bool = False) -> bool:
    """Say whether a path, or a folder that it is in, is excluded."""
    root = settings.root or Path.cwd()
    above = (each for each in absolute.parents if each.is_relative_to(root) and each != root)
    return _matches_exclusion(str(absolute), settings, folder=folder) or any(
        _matches_exclusion(str(each), settings, folder=True) for each in above
    )


def _matches_exclusion(absolute: str, settings: Settings, *, folder: bool) -> bool:
    lines = settings.exclude + settings.extend_exclude
    return patterns(lines).match(_relative(absolute, settings), folder=folder)


def is_included(absolute: str, settings: Settings) -> bool:
    """Say whether a file is of a kind that is linted."""
    return patterns(settings.include).match(_relative(absolute, settings))


def _relative(absolute: str, settings: Settings) -> str:
    """Give a path relative to the folder of its settings, with slashes; outside of it, from the root."""
    prefix = (str(settings.root) if settings.root else os.getcwd()).rstrip(os.sep) + os.sep  # noqa: PTH109 -- for every path
    return absolute.removeprefix(prefix).replace(os.sep, "/").lstrip("/")


def _ignore_files_above(folder: Path, settings: Settings) -> IgnoreFiles:
    """Collect the `.gitignore` files above a folder, from the top of its repository, or of its project."""
    if not settings.respect_gitignore:
        return IgnoreFiles()
    chain = [folder, *folder.parents]
    tops = [at for at, each in enumerate(chain) if files.exists(each / ".git") or each == settings.root]
    found = IgnoreFiles()
    for each in reversed(chain[1 : tops[0] + 1] if tops else []):
        found = found.within(str(each))
    return found
