"""What fixes have made of a file, as a diff."""

from __future__ import annotations

import difflib
import io
import os
from typing import TYPE_CHECKING

from lint_rules.files import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lint_rules.checker import Report


def diff(report: Report) -> Iterator[bytes]:
    """Yield the lines of a unified diff of what fixing changes in a file: a patch of its bytes, that `patch` can apply.

    A notebook's is for reading only, cell by cell: its lines are none of the file.
    """
    if report.data is None:
        return
    if None in report.before:
        yield from _unified(shown(report.path), report.read, report.data)
        return
    for cell, before in report.before.items():
        texts = (text.encode(errors="backslashreplace") for text in (before, report.after[cell]))
        yield from _unified(f"{shown(report.path)}:cell {cell}", *texts)


def _unified(name: str, before: bytes, after: bytes) -> Iterator[bytes]:
    named = os.fsencode(f"{name}\t" if " " in name else name)
    old, new = (io.BytesIO(each).readlines() for each in (before, after))
    for line in difflib.diff_bytes(difflib.unified_diff, old, new, named, named):
        yield line if line.endswith(b"\n") else line + b"\n\\ No newline at end of file\n"
