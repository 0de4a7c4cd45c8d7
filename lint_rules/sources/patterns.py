"""Path patterns as `.gitignore` writes them, matched by pathspec and imported only where they need it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pathspec import GitIgnoreSpec, PathSpec, Pattern

_NEGATED_SET = re.compile(r"(?<!\\)\[\^")
_SPECIAL = frozenset("*?[]!\\/# ")


class Patterns:
    """A set of patterns that one path at a time is matched against.

    Plain names (`node_modules`) and endings (`*.py`), which make up nearly every list, are looked up; only what is
    left is a matter for pathspec. Lists with a negation go to pathspec whole, for there order matters.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        every = [pattern for pattern in patterns if pattern]
        negated = any(pattern.startswith("!") for pattern in every)
        self._names = frozenset(each for each in every if not negated and _SPECIAL.isdisjoint(each))
        self._endings = tuple(
            each[1:] for each in every if not negated and each[:2] == "*." and _SPECIAL.isdisjoint(each[1:])
        )
        rest = [each for each in every if each not in self._names and not (self._endings and each[1:] in self._endings)]
        self._spec = _compile(rest) if rest else None

    def match(self, path: str, *, folder: bool = False) -> bool:
        """Say whether a path is meant.

        Args:
            path: Relative to where the patterns stand, with slashes.
            folder: Whether it is a folder, for patterns such as `build/`.
        """
        name = path.rpartition("/")[2]
        if name in self._names or name.endswith(self._endings):
            return True
        return self._spec is not None and bool(self._spec.match_file(path + "/" if folder else path))


@lru_cache(maxsize=64)
def patterns(lines: tuple[str, ...]) -> Patterns:
    """Give the compiled form of a list of patterns."""
    return Patterns(lines)


@dataclass(frozen=True, slots=True)
class IgnoreFiles:
    """The `.gitignore` files that hold in one folder.

    Attributes:
        levels: For each a folder's absolute path, with a separator at its end, and what the file in it says of files
            and of folders; the nearest folder first.
    """

    levels: tuple[tuple[str, GitIgnoreSpec, PathSpec[Pattern]], ...] = ()

    def match(self, path: str, *, folder: bool = False) -> bool:
        """Say whether an absolute path is ignored; the nearest file that has a word on it decides, as in git."""
        for prefix, files, folders in self.levels:
            relative = path[len(prefix) :].replace(os.sep, "/")
            verdict = (folders.check_file(relative + "/") if folder else files.check_file(relative)).include
            if verdict is not None:
                return verdict
        return False

    def within(self, folder: str) -> IgnoreFiles:
        """Give what holds in a folder below, with its own `.gitignore`; one that cannot be read says nothing."""
        from pathspec import PathSpec

        try:
            text = Path(folder, ".gitignore").read_text(encoding="utf-8-sig", errors="replace")
        except OSError:
            return self
        spec = _compile(text.splitlines())
        # For a folder itself the last pattern counts: a GitIgnoreSpec takes `!*/` to be about what is in it.
        level = (folder.rstrip(os.sep) + os.sep, spec, PathSpec(spec.patterns))
        return IgnoreFiles((level, *self.levels))

    def without(self, path: str) -> IgnoreFiles:
        """Give what is left when the files that ignore a folder, which the user named all the same, do not count."""
        return IgnoreFiles(tuple(level for level in self.levels if not IgnoreFiles((level,)).match(path, folder=True)))


def _compile(lines: Iterable[str]) -> GitIgnoreSpec:
    """Compile patterns, leaving out what is none, as git does; to git, `[^a]` is what `[!a]` is to pathspec as well."""
    from pathspec import GitIgnoreSpec

    def is_pattern(line: str) -> bool:
        try:
            GitIgnoreSpec.from_lines([line])
        except ValueError:
            return False
        return True

    lines = [_NEGATED_SET.sub("[!", line) for line in lines]
    try:
        return GitIgnoreSpec.from_lines(lines)
    except ValueError:
        return GitIgnoreSpec.from_lines(filter(is_pattern, lines))
