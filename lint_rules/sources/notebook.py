"""Jupyter notebooks: each code cell is a piece; outputs and metadata are never touched."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from lint_rules.sources import places
from lint_rules.sources.base import Decoded, Piece, Source, UnreadableError, decode
from lint_rules.sources.magics import neutralise

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lint_rules.rule import Edit, Finding

#: Cell magics whose body is Python that runs in the notebook; the cell of any other one is no Python.
_PYTHON_CELLS = frozenset({"capture", "debug", "prun", "python", "python3", "pypy", "time", "timeit"})

#: A cell that is written to a Python file rather than run.
_WRITTEN = re.compile(r"\s*%%(?:writefile|file)\s[^\n]*\.py\s*(?:\n|$)")

#: Halves of characters, which JSON can escape and no text can hold; what stands in their place is as long.
_HALVES = re.compile("[\ud800-\udfff]")


class NotebookSource(Source):
    """A notebook of format 3 or 4, in Python."""

    endings: ClassVar = (".ipynb",)

    def __init__(self, data: bytes) -> None:
        self._decoded, self._notebook = _parse(data)
        self._cells = _cells(self._notebook)
        pieces, problems = [], []
        for number, cell in enumerate(self._cells):
            text = _source(cell)
            if cell.get("cell_type") != "code" or _is_foreign(text):
                continue
            plain, error = neutralise(text)
            if error:
                problems.append(UnreadableError(f"{error.msg}; the cell is left out", error.lineno, number))
            else:
                pieces.append(Piece(number, plain, alone=_WRITTEN.match(text) is not None))
        self.pieces, self.problems = tuple(pieces), tuple(problems)

    def locate(self, finding: Finding) -> Finding:
        """Say which line of the file holds the cell's line."""
        return replace(finding, file_line=self._file_line(finding.cell or 0, finding.line))

    def _file_line(self, cell: int, line: int) -> int:
        text = self._decoded.text
        start, reached = 0, 1
        for part, place in places.strings(text, self._place(cell)):
            start = place.start
            reached += _with_line_feeds(part).count("\n")
            if reached > line:
                break
        return text.count("\n", 0, start) + 1

    def _place(self, cell: int) -> slice:
        """Give the place of a cell's code in the text."""
        members = dict(places.inside(self._decoded.text, self._starts[cell]))
        return members["source" if "source" in members else "input"]

    @cached_property
    def _starts(self) -> tuple[int, ...]:
        """Where each cell begins in the text."""
        text = self._decoded.text
        sheets = [dict(places.inside(text, 0))]
        if self._notebook.get("cells") is None:
            above = sheets[0]["worksheets"].start
            sheets = [dict(places.inside(text, sheet.start)) for _, sheet in places.inside(text, above)]
        return tuple(cell.start for sheet in sheets for _, cell in places.inside(text, sheet["cells"].start))

    def texts(self) -> Mapping[int | None, str]:
        """Give the code cells as the user wrote them."""
        return {piece.number: _source(self._cells[piece.number]) for piece in self.pieces}

    def edited(self, edits: Mapping[int, Sequence[Edit]]) -> bytes:
        """Apply the edits to the cells; every other character of the JSON stays."""
        from lint_rules.fixes import edit

        text = self._decoded.text
        for number, each in sorted(edits.items(), reverse=True):
            place = self._place(number)
            written = Decoded(_written(self._cells[number]), self._decoded.encoding, b"")
            new = written.with_line_ends(edit(written.text, each))
            text = text[: place.start] + places.replaced(text, place, new) + text[place.stop :]
        return self._decoded.encode(text)


def _is_foreign(text: str) -> bool:
    """Say whether a cell magic hands the cell to something else than this notebook's Python."""
    magic = re.match(r"\s*%%(\w+)", text) if not _WRITTEN.match(text) else None
    return magic is not None and magic[1] not in _PYTHON_CELLS


def _parse(data: bytes) -> tuple[Decoded, dict[str, Any]]:
    """Read the JSON of a notebook.

    Raises:
        UnreadableError: It is no JSON, or no notebook.
    """
    try:
        decoded = decode(data, declares=False)
        notebook = json.loads(decoded.text)
    except json.JSONDecodeError as error:
        broken = f"its JSON is broken here ({error.msg}, column {error.colno}); repair or restore it"
        fault = broken if data.strip() else "it is empty; delete or restore it"
        raise UnreadableError(f"is no notebook: {fault}", error.lineno) from None
    except RecursionError:
        raise UnreadableError("is no notebook: its JSON is nested too deeply") from None
    if not isinstance(notebook, dict):
        raise UnreadableError(f"is no notebook: its JSON is a {type(notebook).__name__}, and no object with cells")
    return decoded, notebook


def _cells(notebook: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Give the cells of a notebook, of every type, in order; none if the notebook is not in Python.

    Raises:
        UnreadableError: There is no list of cells.
    """
    if notebook.get("cells") is None and isinstance(notebook.get("worksheets"), list):
        lists = [sheet.get("cells") for sheet in notebook["worksheets"] if isinstance(sheet, dict)]
    else:
        lists = [notebook.get("cells")]
    cells = [cell for each in lists if isinstance(each, list) for cell in each]
    if not all(isinstance(each, list) for each in lists) or not all(isinstance(cell, dict) for cell in cells):
        raise UnreadableError("is no notebook: it has no list of cells")
    return cells if _language(notebook) == "python" else []


def _language(notebook: Mapping[str, Any]) -> str:
    metadata = notebook.get("metadata")
    for key, entry in (("language_info", "name"), ("kernelspec", "language")):
        table = metadata.get(key) if isinstance(metadata, dict) else None
        language = table.get(entry) if isinstance(table, dict) else None
        if isinstance(language, str):
            return "python" if language.lower() in {"python", "ipython"} else language
    return "python"


def _source(cell: Mapping[str, Any]) -> str:
    return _HALVES.sub("\ufffd", _with_line_feeds(_written(cell)))


def _written(cell: Mapping[str, Any]) -> str:
    source = cell.get("source", cell.get("input", ""))
    return "".join(map(str, source)) if isinstance(source, list) else str(source)


def _with_line_feeds(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")
