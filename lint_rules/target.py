"""The oldest torch that a project says it supports, read from its own requirements.

torch 2.6 turned `torch.load`'s default to `weights_only=True`, so what is a fault in one project is none in another.
Only a stated lower bound counts: `torch` alone, or `torch<3`, says nothing.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

_LOWER_BOUNDS = ("==", "===", ">=", "~=", ">")
_TORCH_LINE = re.compile(r"^[ \t]*torch(?![\w.-])[^\n#]*", re.MULTILINE)


def stated_by_pyproject(document: Mapping[str, Any]) -> tuple[int, int] | None:
    """Give the lower bound that a parsed `pyproject.toml` sets for torch.

    The dependencies, the extras, the dependency groups and Poetry's own tables are read. Where several state one, the
    lowest counts.
    """
    project = _table(document, "project")
    groups = [
        project.get("dependencies"),
        *_table(project, "optional-dependencies").values(),
        *_table(document, "dependency-groups").values(),
    ]
    lines = [line for group in groups if isinstance(group, list) for line in group if isinstance(line, str)]
    poetry = _table(_table(document, "tool"), "poetry")
    tables = [poetry, *_table(poetry, "group").values()]
    constraints = [_table(table, "dependencies").get("torch") for table in tables if isinstance(table, dict)]
    return _lowest([*lines, *(_from_poetry(constraint) for constraint in constraints if constraint)])


def stated_by_requirements(folder: Path) -> tuple[int, int] | None:
    """Give the lower bound that a folder's `requirements*.txt` set for torch; a file that cannot be read sets none."""
    lines: list[str] = []
    for path in sorted(folder.glob("requirements*.txt")):
        try:
            text = path.read_bytes().decode("utf-8", "replace")
        except OSError:
            continue
        lines += _TORCH_LINE.findall(text)
    return _lowest(lines)


def _lowest(lines: Iterable[str]) -> tuple[int, int] | None:
    return min((bound for line in lines for bound in _bound(line)), default=None)


def _bound(line: str) -> Iterator[tuple[int, int]]:
    """Yield the lower bound of one requirement, if it is one for torch and sets one."""
    if not _TORCH_LINE.match(line):
        return
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.version import InvalidVersion, Version

    requirement_text = re.split(r"\s+(?:--|\\)", line)[0]
    try:
        specifiers = Requirement(requirement_text.strip()).specifier
        versions = [Version(each.version.removesuffix(".*")) for each in specifiers if each.operator in _LOWER_BOUNDS]
    except (InvalidRequirement, InvalidVersion):
        return
    if versions:
        newest = max(versions)
        yield newest.major, newest.minor


def _from_poetry(constraint: object) -> str:
    """Write one of Poetry's constraints, such as `^2.6` or `{ version = "~2.6" }`, as a requirement line."""
    if isinstance(constraint, dict):
        constraint = constraint.get("version", "")
    if not isinstance(constraint, str):
        return ""
    parts = (re.sub(r"^(?:\^|~(?!=))", ">=", part.strip()) for part in constraint.split(","))
    return "torch" + ",".join(f"=={part}" if part[:1].isdigit() else part for part in parts)


def _table(parent: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = parent.get(key)
    return value if isinstance(value, dict) else {}
