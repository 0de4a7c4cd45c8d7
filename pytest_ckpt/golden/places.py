"""Where the goldens of a test are, and which of them no test has used.

Beside the test file is a folder `ckpt_goldens`; in it one for the test file, and in that one for each test.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from pytest_ckpt.findings import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    import pytest

FOLDER = "ckpt_goldens"
#: The user property by which a test says which goldens it used, and which it wrote.
USED, WRITTEN = "ckpt_golden", "ckpt_golden_written"
_LONGEST = 100  # characters of a file's name


def folder_of(node: pytest.Item, name: str | None, taken: dict[Path, str]) -> Path:
    """Give the folder for the goldens of one call of a fixture.

    Args:
        node: The test.
        name: A name that the call gives; the default is the test's.
        taken: Folders that other calls of this session use, with the tests that made them; this one is added.

    Raises:
        UsageError: Another call uses it already.
    """
    if name is not None and not str(name).strip():
        raise UsageError(f"name must be a word for the golden's folder, but {name!r} was given")
    inner = node.nodeid.partition("::")[2].replace("::", ".")
    folder = node.path.parent / FOLDER / node.path.stem / _file_name(f"{inner}.{name}" if name else inner)
    if folder in taken:
        raise UsageError(
            f"{taken[folder]} and this call use the same golden, {'/'.join(folder.parts[-2:])}: give each call a name "
            "of its own, such as name='encoder'"
        )
    taken[folder] = node.nodeid
    return folder


def _file_name(name: str) -> str:
    """Give a name that every file system takes; one that had to be changed ends with a piece of its hash."""
    plain = re.sub(r"[^\w.\[\]=+-]+", "-", name, flags=re.ASCII)
    if plain == name and len(name) <= _LONGEST:
        return name
    return f"{plain[: _LONGEST - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def stale(root: Path, used: Iterable[str], tested: Iterable[Path]) -> Iterator[Path]:
    """Give goldens that no test has used.

    Args:
        root: What the paths of used goldens are relative to.
        used: Folders that tests used.
        tested: Test files all of whose tests ran.
    """
    known = {root / path for path in used}
    files = set(tested)
    for folder in sorted({file.parent / FOLDER for file in files}):
        for golden in sorted({path.parent for path in folder.glob("*/*/v*.toml")} - known):
            file = folder.parent / f"{golden.parent.name}.py"
            if file in files or not file.exists():
                yield golden
