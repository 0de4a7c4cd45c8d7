"""Markdown and reStructuredText: each block of Python is a piece, and a document reads as one script.

A block that does not parse is left out without a word, for documents elide and abbreviate.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from lint_rules.sources import blocks
from lint_rules.sources.base import Piece, Source, decode
from lint_rules.sources.magics import neutralise

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from lint_rules.rule import Edit, Finding
    from lint_rules.sources.blocks import Line


class Document(Source):
    """A document with code in it, which may take for granted what every reader of it knows."""

    prelude: ClassVar = "import torch\nfrom torch import nn, optim\n"

    def __init__(self, data: bytes) -> None:
        self._decoded = decode(data, declares=False)
        self._blocks = tuple(self._find(self._decoded.text.split("\n")))
        pieces = (_piece(at, block) for at, block in enumerate(self._blocks))
        self.pieces = tuple(piece for piece in pieces if piece is not None)

    @staticmethod
    @abstractmethod
    def _find(lines: Sequence[str]) -> Iterator[list[Line]]:
        """Yield the blocks that may be Python."""

    def locate(self, finding: Finding) -> Finding:
        """Translate a place in a block, and the fix, into the document."""
        block = self._blocks[finding.cell or 0]
        first, last = block[finding.line - 1], block[min(finding.end_line, len(block)) - 1]
        fix = finding.fix and replace(finding.fix, edits=tuple(_moved(edit, block) for edit in finding.fix.edits))
        return replace(
            finding,
            cell=None,
            line=first.number + 1,
            column=finding.column + len(first.prefix),
            end_line=last.number + 1,
            end_column=finding.end_column + len(last.prefix),
            fix=fix,
        )

    def texts(self) -> Mapping[int | None, str]:
        """Give the whole document."""
        return {None: self._decoded.text}

    def edited(self, edits: Mapping[int, Sequence[Edit]]) -> bytes:
        """Apply the edits inside the blocks."""
        from lint_rules.fixes import edit

        moved = [_moved(one, self._blocks[number]) for number, each in edits.items() for one in each]
        return self._decoded.encode(edit(self._decoded.text, moved))


class MarkdownSource(Document):
    """A Markdown document."""

    endings: ClassVar = (".md", ".markdown", ".mdx", ".qmd", ".rmd")
    _find = staticmethod(blocks.markdown)


class RestSource(Document):
    """A reStructuredText document."""

    endings: ClassVar = (".rst", ".rest")
    _find = staticmethod(blocks.rest)


class TextSource(Document):
    """A plain text file that the user named: reStructuredText if it has a directive, else Markdown."""

    endings: ClassVar = (".txt",)

    @staticmethod
    def _find(lines: Sequence[str]) -> Iterator[list[Line]]:
        is_rest = any(line.lstrip().startswith(".. ") and "::" in line for line in lines)
        return blocks.rest(lines) if is_rest else blocks.markdown(lines)


def _piece(at: int, block: Sequence[Line]) -> Piece | None:
    """Read a block, which may be written as for a notebook; None if it is no Python."""
    text, error = neutralise("".join(f"{line.code}\n" for line in block))
    shown = frozenset(number for number, line in enumerate(block, 1) if line.printed)
    return Piece(at, text, shown=shown) if error is None else None


def _moved(edit: Edit, block: Sequence[Line]) -> Edit:
    """Translate an edit of a block's code into one of the document; new lines are indented, or prompted, alike."""
    if edit.line > len(block):
        end = len(block[-1].code) + 1
        edit = replace(edit, line=len(block), column=end, end_line=len(block), end_column=end)
        edit = replace(edit, text="\n" + edit.text.removesuffix("\n"))
    start = block[edit.line - 1]
    end_line = min(edit.end_line, len(block))
    end_column = edit.end_column if end_line == edit.end_line else len(block[-1].code) + 1
    first, *further = edit.text.split("\n")
    lines = [first, *((_prefix(start, line) + line).rstrip() for line in further[:-1])]
    lines += [_prefix(start, line) + line for line in further[-1:]]
    return replace(
        edit,
        line=start.number + 1,
        column=edit.column + len(start.prefix),
        end_line=block[end_line - 1].number + 1,
        end_column=end_column + len(block[end_line - 1].prefix),
        text="\n".join(lines),
    )


def _prefix(neighbour: Line, code: str) -> str:
    """Give what a new line of code starts with."""
    margin, prompt, _ = neighbour.prefix.partition(">>>" if ">>>" in neighbour.prefix else "...")
    if not prompt:
        return neighbour.prefix
    return f"{margin}{'...' if code[:1].isspace() else '>>>'} "
