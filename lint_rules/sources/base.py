"""What every kind of source has in common: bytes that hold one or more pieces of Python.

A Python file is one piece, a notebook one a code cell, a document one a code block. The pieces of one source are read
as one script, in order.
"""

from __future__ import annotations

import codecs
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from lint_rules.rule import Edit, Finding

#: Bytes in which the two lines that may declare an encoding are looked for.
_COOKIE_REACH = 1000
_NEWLINE = re.compile(r"\r\n|\r|\n")
#: Byte order marks of encodings that no source may have; the one of UTF-32 begins with that of UTF-16.
_WIDE = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


class UnreadableError(ValueError):
    """A source, or a part of it, cannot be read.

    Attributes:
        line: Where, if that is known.
        cell: In which notebook cell.
    """

    def __init__(self, message: str, line: int | None = None, cell: int | None = None) -> None:
        super().__init__(message)
        self.line = line
        self.cell = cell


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of Python inside a source.

    Attributes:
        number: What findings name it by: the cell of a notebook, the block of a document, 0 for a Python file.
        text: Plain Python with line feeds; what only notebooks understand is replaced, line by line.
        alone: Whether it is a script of its own, and no part of the one that the others make.
        shown: Lines of statements whose value the reader sees.
    """

    number: int
    text: str
    alone: bool = False
    shown: frozenset[int] = frozenset()


class Source(ABC):
    """One source, decoded.

    Attributes:
        endings: The endings of the files that are such sources.
        pieces: The Python in it that can be parsed, in order.
        problems: Parts that could not be read, and are left out.
        is_plain: Whether there is just one piece, which is the whole source.
        prelude: Python that goes without saying before the first piece.
    """

    endings: ClassVar[tuple[str, ...]]
    is_plain: ClassVar[bool] = False
    prelude: ClassVar[str] = ""
    pieces: tuple[Piece, ...]
    problems: tuple[UnreadableError, ...] = ()

    @abstractmethod
    def __init__(self, data: bytes) -> None:
        """Decode the bytes.

        Raises:
            UnreadableError: They are no such source.
        """

    def locate(self, finding: Finding) -> Finding:
        """Translate a finding's place in a piece, given by `cell`, into the place that the user sees."""
        return finding

    @abstractmethod
    def texts(self) -> Mapping[int | None, str]:
        """Give what the user sees, and `locate` counts lines in: by cell for a notebook, else one text under None."""

    @abstractmethod
    def edited(self, edits: Mapping[int, Sequence[Edit]]) -> bytes:
        """Give the source's bytes with edits applied to some pieces, and everything else as it was.

        Raises:
            UnicodeEncodeError: The source's encoding lacks a character of the new text.
        """


@dataclass(frozen=True, slots=True)
class Decoded:
    """Text and how it was written down.

    Attributes:
        raw: The text as it stands, without the byte order mark.
        encoding: The codec.
        bom: The byte order mark, or nothing.
    """

    raw: str
    encoding: str
    bom: bytes

    @property
    def text(self) -> str:
        """The text with line feeds for line ends."""
        return _NEWLINE.sub("\n", self.raw) if "\r" in self.raw else self.raw

    def encode(self, text: str) -> bytes:
        """Write a changed text, with line feeds, down as the original was.

        Raises:
            UnicodeEncodeError: The encoding lacks one of the new characters.
        """
        return self.bom + self.with_line_ends(text).encode(self.encoding)

    def with_line_ends(self, text: str) -> str:
        """Give a changed text, with line feeds, the line ends that the original has.

        Lines that were there before, or stand for one, keep its line end; new lines take that of the first line.
        """
        ends = _NEWLINE.findall(self.raw)
        lines = text.split("\n")
        new_ends = [ends[0] if ends else "\n"] * (len(lines) - 1)
        if len(set(ends)) > 1:
            for old, new in _paired(self.text.split("\n")[:-1], lines[:-1]):
                new_ends[new] = ends[old]
        return "".join(line + end for line, end in zip(lines, [*new_ends, ""], strict=True))


def decode(data: bytes, *, declares: bool = True) -> Decoded:
    """Decode source as Python does: byte order mark, then the declared encoding, then UTF-8.

    Args:
        data: The content of a file.
        declares: Whether its first lines may declare an encoding; what looks like that in a document is prose.

    Raises:
        UnreadableError: The bytes are not what they are declared to be, or include null bytes.
    """
    bom = codecs.BOM_UTF8 if data.startswith(codecs.BOM_UTF8) else b""
    body = data[len(bom) :]
    if wide := next((name for mark, name in _WIDE.items() if body.startswith(mark)), None):
        raise UnreadableError(f"is {wide}, which Python does not read; save it as UTF-8", 1)
    if b"\0" in body:
        raise UnreadableError(
            "holds a null byte, which no source may; repair or exclude it", _line(body, body.index(0))
        )
    encoding = _declared(data) if declares and b"coding" in body[:_COOKIE_REACH] else "utf-8"
    try:
        return Decoded(body.decode(encoding), encoding, bom)
    except UnicodeDecodeError as error:
        advice = "save it as UTF-8"
        if declares:
            advice += ", or declare its encoding in the first line: # -*- coding: ... -*-"
        fault = f"byte 0x{body[error.start]:02x} is not valid {encoding}"
        raise UnreadableError(f"{fault}; {advice}", _line(body, error.start)) from None
    except (LookupError, UnicodeError) as error:
        raise UnreadableError(f"cannot be read as {encoding} ({error}); save it as UTF-8", 1) from None


def syntax_error(text: str) -> SyntaxError | None:
    """Give what is wrong with the syntax of some Python; None if nothing is."""
    import ast
    import warnings

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(text)
    except SyntaxError as error:
        return error
    except (RecursionError, MemoryError):
        return SyntaxError("nested too deeply")
    except ValueError as error:  # a null byte, to older versions
        return SyntaxError(str(error))
    return None


def _declared(data: bytes) -> str:
    import io
    import tokenize

    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
    except (SyntaxError, UnicodeDecodeError) as error:
        raise UnreadableError(f"{error}; declare the encoding that it is saved in", 1) from None
    return encoding.removesuffix("-sig")


def _line(data: bytes, offset: int) -> int:
    return data.count(b"\n", 0, offset) + 1


def _paired(old: Sequence[str], new: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield the indices of lines that are equal, or one of which took the place of the other."""
    import difflib

    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    for _, old_start, old_end, new_start, new_end in matcher.get_opcodes():
        yield from zip(range(old_start, old_end), range(new_start, new_end), strict=False)
