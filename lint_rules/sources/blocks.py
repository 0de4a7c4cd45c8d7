"""Where the Python stands in a document: pure functions from lines to blocks of code.

Fenced and indented blocks, directives, literal blocks and doctest prompts are found, however deeply they are nested,
and comments, which no reader sees, are left out. What is found may still be no Python; only a parser can tell.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: What documents call Python. No name at all counts too: what then parses as Python is some.
_PYTHON = frozenset(
    {"", "default", "doctest", "ipython", "ipython3", "jupyter-execute", "py", "py3", "pycon", "pyi", "python"}
    | {"python3", "testcode", "testsetup"}
)

#: Directives of MyST whose argument is the language.
_CODE_DIRECTIVES = frozenset({"code-block", "code-cell", "code", "sourcecode"})

_FENCE = re.compile(
    r"(?P<margin>[ \t>]*(?:(?:[-*+]|\d+[.)])[ \t]+)*)(?P<fence>`{3,}|~{3,}|:{3,}(?= *\{))(?P<info>[^`]*)"
)
_INFO = re.compile(r"\s*(?:\{\s*(?P<dot>\.?)(?P<name>[\w-]+)[^}]*\})?\s*(?P<word>[\w+#-]*)")
_DIRECTIVE = re.compile(
    r"(?P<margin>\s*)\.\. +(?:(?:code-block|sourcecode|code|ipython):: *(?P<language>\S*)"
    r"|(?:testcode|testsetup|testcleanup|doctest|jupyter-execute)::).*"
)
#: What begins like a directive, and is none, nor a target, a footnote or a substitution.
_COMMENT = re.compile(r"(?P<margin>\s*)\.\.(?: +(?![\[_|])(?!.*::).*)?")
_OPTION = re.compile(r"\s*:[\w-]+:(?:\s.*)?")
_PROMPT = re.compile(r"\s*(?P<kind>>>>|\.\.\.)(?: |$)")
_QUOTE = re.compile(r"[ \t]*(?:>[ \t]?)*")


@dataclass(frozen=True, slots=True)
class Line:
    """A line of code in a document.

    Attributes:
        number: Its line in the document, from 0.
        prefix: What stands before the code: indentation, quotation marks, a prompt.
        code: The rest.
        printed: Whether the document shows what the statement that begins here has printed, or its value.
    """

    number: int
    prefix: str
    code: str
    printed: bool = False

    def cut(self, width: int) -> Line:
        """Give the line with some more of it taken for prefix."""
        return replace(self, prefix=self.prefix + self.code[:width], code=self.code[width:])


def markdown(lines: Sequence[str]) -> Iterator[list[Line]]:
    """Yield the blocks of a CommonMark document, with what Sphinx, Quarto and Jupyter Book add to its fences."""
    return _finished(_markdown(lines, 0, len(lines)))


def rest(lines: Sequence[str]) -> Iterator[list[Line]]:
    """Yield the blocks of a reStructuredText document, with the directives of Sphinx and its extensions."""
    return _finished(_rest(lines))


def _markdown(lines: Sequence[str], at: int, end: int) -> Iterator[list[Line]]:
    while at < end:
        start, line = at, lines[at]
        at += 1
        if fence := _FENCE.fullmatch(line):
            closing = _closing(lines, at, end, fence["fence"])
            language = _language(fence["info"])
            if language is None:
                yield from _markdown(lines, at, closing)
            elif language in _PYTHON:
                body = _slice(lines, at, closing)
                yield _without_options([_unquoted(each) for each in body] if ">" in fence["margin"] else body)
            at = closing + 1
        elif line.lstrip().startswith("<!--"):
            at = next((number + 1 for number in range(start, end) if "-->" in lines[number]), at)
        elif _begins_session(line):
            at = _paragraph(lines, start, end)
            yield _slice(lines, start, at)
        elif line.startswith(("    ", "\t")) and line.strip() and not (start and lines[start - 1].strip()):
            at = _below(lines, start, 3 if line[0] == " " else 0)
            yield _slice(lines, start, at)


def _rest(lines: Sequence[str]) -> Iterator[list[Line]]:
    at, end = 0, len(lines)
    while at < end:
        start, line = at, lines[at]
        at += 1
        if directive := _DIRECTIVE.fullmatch(line):
            at = _below(lines, at, len(directive["margin"]))
            if (directive["language"] or "").lower() in _PYTHON:
                yield _without_options(_slice(lines, start + 1, at))
        elif comment := _COMMENT.fullmatch(line):
            if line.strip() != ".." or (at < end and lines[at].strip()):  # alone above a blank line, it ends a block
                at = _below(lines, at, len(comment["margin"]))
        elif line.rstrip().endswith("::") and not line.lstrip().startswith(".. "):
            at = _below(lines, at, _indent(line))
            yield _slice(lines, start + 1, at)
        elif _begins_session(line):
            at = _paragraph(lines, start, end)
            yield _slice(lines, start, at)


def _closing(lines: Sequence[str], at: int, end: int, fence: str) -> int:
    """Give the line in which a fence closes; an open one reaches to the end."""
    closing = re.compile(rf"[ \t>]*{re.escape(fence[0])}{{{len(fence)},}}\s*")
    return next((number for number in range(at, end) if closing.fullmatch(lines[number])), end)


def _below(lines: Sequence[str], at: int, margin: int) -> int:
    """Give where the lines indented by more than a margin end; blank lines among them are in."""
    end = at
    for number in range(at, len(lines)):
        if lines[number].strip():
            if _indent(lines[number]) <= margin:
                break
            end = number + 1
    return end


def _begins_session(line: str) -> bool:
    prompt = _PROMPT.match(line)
    return prompt is not None and prompt["kind"] == ">>>"


def _paragraph(lines: Sequence[str], at: int, end: int) -> int:
    """Give where the paragraph that begins in a line ends."""
    return next((number for number in range(at, end) if not lines[number].strip()), end)


def _slice(lines: Sequence[str], start: int, end: int) -> list[Line]:
    return [Line(number, "", lines[number]) for number in range(start, end)]


def _language(info: str) -> str | None:
    """Read what follows a fence: its language in lower case; None for a directive that holds further Markdown."""
    read = _INFO.match(info)
    if not read or not read["name"]:
        return read["word"].lower() if read else ""
    name = read["name"].lower()
    if name in _CODE_DIRECTIVES:
        return read["word"].lower()
    return name if read["dot"] or name in _PYTHON else None


def _without_options(block: list[Line]) -> list[Line]:
    """Drop a directive's options, which stand before its code as a field list or between dashes."""
    filled = [index for index, line in enumerate(block) if line.code.strip()]
    if filled and block[filled[0]].code.strip() == "---":
        closing = [index for index in filled[1:] if block[index].code.strip() == "---"]
        return block[closing[0] + 1 :] if closing else block
    code = next((index for index, line in enumerate(block) if not _OPTION.fullmatch(line.code)), len(block))
    return block[code:]


def _finished(blocks: Iterator[list[Line]]) -> Iterator[list[Line]]:
    """Take what is code out of each block: behind the prompts if it has any, and without the common indentation."""
    for block in blocks:
        typed = _typed(block)
        margin = min((_indent(line.code) for line in block if line.code.strip()), default=0)
        code = typed or [line.cut(margin) for line in block]
        if code:
            yield code


def _typed(block: list[Line]) -> list[Line]:
    """Keep the lines of a doctest session that were typed, and drop what was printed; nothing if it is no session."""
    typed: list[Line] = []
    previous, start = -1, 0
    for index, line in enumerate(block):
        prompt = _PROMPT.match(line.code)
        if prompt and (prompt["kind"] == ">>>" or (typed and previous == index - 1)):
            start = len(typed) if prompt["kind"] == ">>>" else start
            typed.append(line.cut(prompt.end()))
            previous = index
        elif typed and previous == index - 1 and line.code.strip():
            typed[start] = replace(typed[start], printed=True)
    return typed


def _unquoted(line: Line) -> Line:
    mark = _QUOTE.match(line.code)
    return line.cut(mark.end()) if mark else line


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
