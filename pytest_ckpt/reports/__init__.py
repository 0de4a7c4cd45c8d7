"""The files that a session can be reported in. One file is one format, chosen by the ending of the path."""

from __future__ import annotations

import os
import pkgutil
import tempfile
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

#: The version of the data that both formats hold; it grows where a field changes its meaning or goes away.
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Tested:
    """What one test reported.

    Attributes:
        nodeid: pytest's name of the test.
        outcome: `passed`, `failed` or `skipped`.
        seconds: How long it took.
        reports: What each checking function that it called reported, as `Report.as_dict` gives it.
    """

    nodeid: str
    outcome: str
    seconds: float
    reports: tuple[dict[str, Any], ...]


def suffixes() -> tuple[str, ...]:
    """Give the endings that there is a format for, such as `.json`."""
    return tuple(sorted(f".{found.name}" for found in pkgutil.iter_modules([str(Path(__file__).parent)])))


def write(path: Path, tests: Sequence[Tested]) -> None:
    """Write the report of a session; the file is complete or, after an error, as it was before.

    Args:
        path: The file; its folder is made where it is missing.
        tests: What there is to report.

    Raises:
        OSError: The file cannot be written.
    """
    text = import_module(f"pytest_ckpt.reports.{path.suffix.removeprefix('.')}").render(tests, _versions())
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        Path(name).chmod(0o666 & ~_umask())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink()
        raise


def _versions() -> dict[str, str]:
    """Give the versions that a report depends on."""
    return {"pytest-ckpt": version("pytest-ckpt"), "torch": version("torch")}


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
