"""Files: their names on one line, whether they are there, and writing them at once or not at all."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

#: Characters that a file's name may hold and that break a line, or tell a terminal what to do.
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def shown(path: str) -> str:
    """Give a path as it is written on a line: what would break the line is escaped as in Python."""
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), path)


# pathlib's own questions raise where a folder may not be looked into; to the linter, nothing is there.


def exists(path: Path) -> bool:
    """Say whether something is there."""
    return os.path.exists(path)  # noqa: PTH110 -- see above


def is_file(path: Path) -> bool:
    """Say whether a file is there."""
    return os.path.isfile(path)  # noqa: PTH113 -- see above


def is_folder(path: Path) -> bool:
    """Say whether a folder is there."""
    return os.path.isdir(path)  # noqa: PTH112 -- see above


def replace(path: Path, expected: bytes, data: bytes) -> None:
    """Replace a file's content at once or not at all; its mode stays, and a link to it stays a link.

    Args:
        path: The file.
        expected: What it held when it was read.
        data: What it is to hold.

    Raises:
        OSError: It cannot be written, or someone else has changed it in the meantime; it is then as it was.
    """
    target = path.resolve()
    if target.read_bytes() != expected:
        raise OSError(None, "it was changed by someone else in the meantime")
    if not os.access(target, os.W_OK):
        raise PermissionError(None, "it is write-protected")
    write(target, data)


def write(target: Path, data: bytes) -> None:
    """Write a file at once or not at all; the mode of one that is there stays.

    Raises:
        OSError: It cannot be written; what was there is then as it was.
    """
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        if target.exists():
            shutil.copymode(target, name)
        else:
            Path(name).chmod(0o666 & ~_umask())
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _umask() -> int:
    """Give the mode bits that new files are not to have; they cannot be asked for without being set."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
