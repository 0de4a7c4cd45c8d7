"""What came of a file, kept for the next run: by its content, the linter's own sources, and the settings that count.

The cache is one file of JSON, for reading it must run nothing. It begins with a digest of the rest, and one that does
not agree with it, or does not hold what it should, counts as empty. A run reads it once and replaces it at once at its
end, with what another run has written in the meantime; where that is not possible, as in a tree that cannot be written
to, the run does without.
"""

from __future__ import annotations

import json
import sys
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lint_rules.checker import Job, Report
    from lint_rules.rule import Finding

FOLDER = ".ckpt_lint_cache"

#: Entries beyond this many are dropped, the longest unused first.
_MOST = 50_000

#: Files written by other versions of the linter that are kept, for several may take turns in one tree.
_OTHER_VERSIONS = 4

_DIGEST = 16


class Cache:
    """What former runs have found out, looked up by keys that say everything that it depends on.

    A value is a list of the codes that have to see a file, or a report without its file's name. Without a folder,
    nothing is kept.
    """

    def __init__(self, folder: Path | None) -> None:
        """Read what there is.

        Args:
            folder: The project that the cache is for; None for none.
        """
        self._path = folder / FOLDER / f"{_version()}.json" if folder else None
        self._entries = _read(self._path) if self._path else {}
        self._used: dict[str, Any] = {}
        self._is_changed = False

    def key(self, context: str, data: bytes) -> str:
        """Give the key of some content; none where nothing is kept.

        Args:
            context: Whatever else counts: the kind of file, the rules, the settings.
            data: The file's content.
        """
        if not self._path:
            return ""
        digest = _begun(context).copy()
        digest.update(data)
        return digest.hexdigest()

    def get(self, key: str) -> Any:
        """Give what is known; None if nothing is."""
        value = self._entries.get(key)
        if value is not None:
            self._used[key] = value
        return value

    def put(self, key: str, value: Any) -> None:
        """Remember something."""
        if self._path:
            self._used[key] = value
            self._is_changed = True

    def save(self) -> None:
        """Write down what this run has found out, if it can be written."""
        if not (self._path and self._is_changed):
            return
        from lint_rules import files

        entries = {key: value for key, value in _read(self._path).items() if key not in self._used} | self._used
        kept = dict(list(entries.items())[-_MOST:])
        body = json.dumps(kept, separators=(",", ":")).encode()
        try:
            _prepare(self._path.parent)
            files.write(self._path, _digest(body) + b"\n" + body)
        except OSError:
            return


def remembered(report: Report) -> list[Any] | None:
    """Give a report as the cache keeps it; None for one that is better made anew, for something went wrong."""
    return None if report.problems else [_packed(finding) for finding in report.findings]


def recalled(value: Any, job: Job) -> Report | None:
    """Give the report that the cache holds for a file; None if it is none."""
    from lint_rules.checker import Report
    from lint_rules.sources import kind_of

    try:
        findings = tuple(_unpacked(each, job.path) for each in value)
        texts = kind_of(job.path)(job.data).texts() if findings else {}
    except (TypeError, ValueError):
        return None
    return Report(job.path, findings, before=texts, after=texts)


def _packed(finding: Finding) -> list[Any]:
    fix = finding.fix
    place = [finding.line, finding.column, finding.end_line, finding.end_column, finding.cell, finding.file_line]
    edits = fix and [[e.line, e.column, e.end_line, e.end_column, e.text] for e in fix.edits]
    return [finding.code, finding.name, finding.message, place, fix and [edits, fix.safe, fix.imports]]


def _unpacked(value: Any, path: str) -> Finding:
    from lint_rules.rule import Edit, Finding, Fix

    code, name, message, (line, column, end_line, end_column, cell, file_line), packed = value
    fix = None
    if packed is not None:
        edits, safe, imports = packed
        fix = Fix(tuple(Edit(*edit) for edit in edits), safe=safe, imports=tuple(imports))
    return Finding(code, name, path, line, column, end_line, end_column, message, fix, cell, file_line)


def _read(path: Path) -> dict[str, Any]:
    try:
        digest, _, body = path.read_bytes().partition(b"\n")
        entries = json.loads(body) if digest == _digest(body) else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return entries if isinstance(entries, dict) else {}


def _prepare(folder: Path) -> None:
    """Make the folder, which says of itself that it is for no repository and no backup, and make room in it."""
    folder.mkdir(exist_ok=True)
    for name, text in _MARKERS.items():
        if not (folder / name).exists():
            (folder / name).write_text(text, encoding="utf-8")
    others = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in others[_OTHER_VERSIONS:]:
        path.unlink(missing_ok=True)


_MARKERS = {
    ".gitignore": "# Written by ckpt-lint.\n*\n",
    "CACHEDIR.TAG": "Signature: 8a477f597d28d172789f06886806bc55\n",
}


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=_DIGEST).hexdigest().encode()


@cache
def _begun(context: str) -> blake2b:
    return blake2b(context.encode(), digest_size=_DIGEST)


@cache
def _version() -> str:
    """Give a digest of everything besides files and settings that findings depend on: the sources of the linter."""
    digest = blake2b(sys.version.encode(), digest_size=_DIGEST)
    for path in _sources():
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _sources() -> Iterator[Path]:
    """Yield the linter's own files, and the one that names the version of its parser, without importing it."""
    from importlib.util import find_spec

    yield from sorted(Path(__file__).parent.rglob("*.py"))
    parser = find_spec("libcst")
    if parser and parser.origin:
        yield Path(parser.origin).with_name("_version.py")
