"""Markdown and reStructuredText: each block of Python is a piece, and a document reads as one script.

Fenced and indented blocks, directives, literal blocks and doctest prompts are read, however deeply they are nested.
A block that does not parse is left out without a word, for documents elide and abbreviate.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from lint_rules.sources.base import Piece, Source, decode, syntax_error

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from lint_rules.rule import Edit, Finding

#: What documents call Python. No name at all counts too: what then parses as Python is some.
_PYTHON = frozenset(
    {"", "default", "doctest", "ipython", "ipython3", "jupyter-execute", "py", "py3", "pycon", "pyi", "python"}
    | {"python3", "testcode", "testsetup"}
)

_FENCE = re.compile(
    r"(?P<margin>[ \t>]*(?:(?:[-*+]|\d+[.)])[ \t]+)*)(?P<fence>`{3,}|~{3,}|:{3,}(?= *\{))(?P<info>[^`]*)"
)
#: Directives of MyST whose argument is the language.
_CODE_DIRECTIVES = frozenset({"code-block", "code-cell", "code", "sourcecode"})
_DIRECTIVE = re.compile(
    r"(?P<margin>\s*)\.\. +(?:(?:code-block|sourcecode|code|ipython):: *(?P<language>\S*)"
    r"|(?:testcode|testsetup|testcleanup|doctest|jupyter-execute)::).*"
)
_OPTION = re.compile(r"\s*:[\w-]+:(?:\s.*)?")
_PROMPT = re.compile(r"\s*(?:>>>|\.\.\.)(?: |$)")
_QUOTE = re.compile(r"[ \t]*(?:>[ \t]?)*")


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of code in a document.

    Attributes:
        number: Its line in the document, from 0.
        prefix: What stands before the code: indentation, quotation marks, a prompt.
        code: The rest.
    """

    number: int
    prefix: str
    code: str

    def cut(self, width: int) -> _Line:
        """Give the line with some more of it taken for prefix."""
        return _Line(self.number, self.prefix + self.code[:width], self.code[width:])


class Document(Source):
    """A document with code in it."""

    def __init__(self, data: bytes) -> None:
        self._decoded = decode(data)
        self._lines = self._decoded.text.split("\n")
        self._code = tuple(filter(None, map(_code, self._blocks())))
        pieces = (Piece(at, "".join(f"{line.code}\n" for line in block)) for at, block in enumerate(self._code))
        self.pieces = tuple(piece for piece in pieces if syntax_error(piece.text) is None)

    @abstractmethod
    def _blocks(self) -> Iterator[list[_Line]]:
        """Yield the lines of every block that may be Python."""

    def locate(self, finding: Finding) -> Finding:
        """Translate a place in a block, and the fix, into the document."""
        block = self._code[finding.cell or 0]
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

        moved = [_moved(one, self._code[number]) for number, each in edits.items() for one in each]
        return self._decoded.encode(edit(self._decoded.text, moved))

    def _below(self, start: int, margin: int) -> int:
        """Give where the lines indented by more than a margin end; blank lines among them are in."""
        end = start
        for index in range(start, len(self._lines)):
            line = self._lines[index]
            if line.strip():
                if _indent(line) <= margin:
                    break
                end = index + 1
        return end

    def _plain(self, start: int, end: int) -> list[_Line]:
        return [_Line(number, "", self._lines[number]) for number in range(start, end)]

    def _session(self, start: int, end: int) -> int:
        """Give where the doctest session that begins in a line ends: at the next blank line."""
        return next((at for at in range(start, end) if not self._lines[at].strip()), end)


class MarkdownSource(Document):
    """CommonMark with what Sphinx, Quarto and Jupyter Book add to its fences."""

    endings: ClassVar = (".md", ".markdown", ".mdx", ".qmd", ".rmd")

    def _blocks(self) -> Iterator[list[_Line]]:
        return self._scan(0, len(self._lines))

    def _scan(self, at: int, end: int) -> Iterator[list[_Line]]:
        while at < end:
            start, line = at, self._lines[at]
            at += 1
            if fence := _FENCE.fullmatch(line):
                closing = self._closing(start, end, fence["fence"])
                language = _language(fence["info"])
                if language is None:
                    yield from self._scan(at, closing)
                elif language in _PYTHON:
                    yield _without_options(self._fenced(at, closing, quoted=">" in fence["margin"]))
                at = closing + 1
            elif _PROMPT.match(line) and line.lstrip().startswith(">>>"):
                at = self._session(start, end)
                yield self._plain(start, at)
            elif line.startswith(("    ", "\t")) and line.strip() and not (start and self._lines[start - 1].strip()):
                at = self._below(start, 3 if line[0] == " " else 0)
                yield self._plain(start, at)

    def _closing(self, start: int, end: int, fence: str) -> int:
        """Give the line in which a fence closes; an open one reaches to the end."""
        closing = re.compile(rf"[ \t>]*{re.escape(fence[0])}{{{len(fence)},}}\s*")
        return next((at for at in range(start + 1, end) if closing.fullmatch(self._lines[at])), end)

    def _fenced(self, start: int, end: int, *, quoted: bool) -> list[_Line]:
        lines = self._plain(start, end)
        return [_unquoted(line) for line in lines] if quoted else lines


class RestSource(Document):
    """reStructuredText with the directives of Sphinx and its extensions."""

    endings: ClassVar = (".rst", ".rest")

    def _blocks(self) -> Iterator[list[_Line]]:
        at, end = 0, len(self._lines)
        while at < end:
            start, line = at, self._lines[at]
            at += 1
            if directive := _DIRECTIVE.fullmatch(line):
                at = self._below(at, len(directive["margin"]))
                if (directive["language"] or "").lower() in _PYTHON:
                    yield _without_options(self._plain(start + 1, at))
            elif line.rstrip().endswith("::") and not line.lstrip().startswith(".."):
                at = self._below(at, _indent(line))
                yield self._plain(start + 1, at)
            elif _PROMPT.match(line) and line.lstrip().startswith(">>>"):
                at = self._session(start, end)
                yield self._plain(start, at)


def _language(info: str) -> str | None:
    """Read what follows a fence: its language in lower case; None for a directive that holds further Markdown."""
    directive = re.match(r"\s*\{\s*\.?(?P<name>[\w-]+)[^}]*\}\s*(?P<argument>[\w-]*)", info)
    if not directive:
        word = re.match(r"\s*([\w+#.-]*)", info)
        return word[1].lower() if word else ""
    name = directive["name"].lower()
    if name in _CODE_DIRECTIVES:
        return directive["argument"].lower()
    return name if name in _PYTHON or (info.strip().endswith("}") and not directive["argument"]) else None


def _without_options(block: list[_Line]) -> list[_Line]:
    """Drop a directive's options, which stand before its code as a field list or between dashes."""
    filled = [index for index, line in enumerate(block) if line.code.strip()]
    if filled and block[filled[0]].code.strip() == "---":
        closing = [index for index in filled[1:] if block[index].code.strip() == "---"]
        return block[closing[0] + 1 :] if closing else block
    code = next((index for index, line in enumerate(block) if not _OPTION.fullmatch(line.code)), len(block))
    return block[code:]


def _code(block: list[_Line]) -> list[_Line]:
    """Take what is code out of a block: behind the prompts if there are any, and without the common indentation."""
    if any(line.code.lstrip().startswith(">>>") for line in block):
        return _prompted(block)
    margin = min((_indent(line.code) for line in block if line.code.strip()), default=0)
    return [line.cut(margin) for line in block]


def _prompted(block: list[_Line]) -> list[_Line]:
    """Keep the lines of a doctest session that were typed, and drop what was printed."""
    typed: list[_Line] = []
    previous = -1
    for index, line in enumerate(block):
        prompt = _PROMPT.match(line.code)
        if prompt and (">>>" in prompt[0] or (typed and previous == index - 1)):
            typed.append(line.cut(prompt.end()))
            previous = index
    return typed


def _moved(edit: Edit, block: Sequence[_Line]) -> Edit:
    """Translate an edit of a block's code into one of the document; new lines are indented, or prompted, alike."""
    if edit.line > len(block):
        end = len(block[-1].code) + 1
        edit = replace(edit, line=len(block), column=end, end_line=len(block), end_column=end)
        edit = replace(edit, text="\n" + edit.text.removesuffix("\n"))
    start = block[edit.line - 1]
    end_line = min(edit.end_line, len(block))
    end_column = edit.end_column if end_line == edit.end_line else len(block[-1].code) + 1
    lines = edit.text.split("\n")
    between = ((_prefix(start, line) + line).rstrip() for line in lines[1:-1])
    last = [_prefix(start, line) + line for line in lines[1:][-1:]]
    return replace(
        edit,
        line=start.number + 1,
        column=edit.column + len(start.prefix),
        end_line=block[end_line - 1].number + 1,
        end_column=end_column + len(block[end_line - 1].prefix),
        text="\n".join([lines[0], *between, *last]),
    )


def _prefix(neighbour: _Line, code: str) -> str:
    """Give what a new line of code starts with."""
    margin, prompt, _ = neighbour.prefix.partition(">>>" if ">>>" in neighbour.prefix else "...")
    if not prompt:
        return neighbour.prefix
    return f"{margin}{'...' if code[:1].isspace() else '>>>'} "


def _unquoted(line: _Line) -> _Line:
    mark = _QUOTE.match(line.code)
    return line.cut(mark.end()) if mark else line


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
