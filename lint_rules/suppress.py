"""Comments that silence findings.

At the end of the first or of the last line of a finding: `# noqa` for everything, `# noqa: CKP301` or
`# noqa: CKP301, E501` for some codes. Where that line is continued by a backslash or a long string, it is at the end
of what continues it. On a line of its own, anywhere in the file, for the whole file: `# ckpt-lint: noqa` or
`# ckpt-lint: noqa: CKP301`; ruff's and flake8's own spelling of it counts as well.
"""

from __future__ import annotations

import io
import re
import tokenize
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lint_rules.regions import split_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lint_rules.fixes import Plan
    from lint_rules.rule import Finding
    from lint_rules.sources import Piece

#: Letters, then digits.
_CODE = "[A-Z]+[0-9]+"
#: What follows the codes, such as a reason, is a comment; a comma too many or too few is forgiven, as by ruff.
_CODES = rf"(?P<colon>\s*:[\s,]*)?(?P<codes>{_CODE}(?:[\s,]*{_CODE})*)?"
_LINE = re.compile(rf"#\s*noqa{_CODES}", re.IGNORECASE)
_FILE = re.compile(rf"#\s*(?:ckpt-lint|ruff|flake8)\s*:\s*noqa{_CODES}", re.IGNORECASE)
_LINE_END = re.compile(r"\r\n|\r|\n")
#: A string, a comment or a continued line, whichever begins first: what looks like a comment inside a string is none.
_TOKEN = re.compile(
    r""""{3}(?:\\.|[^\\])*?"{3}|'{3}(?:\\.|[^\\])*?'{3}"""
    r"""|"(?:\\\r\n|\\.|[^"\\\r\n])*"|'(?:\\\r\n|\\.|[^'\\\r\n])*'|#[^\r\n]*|\\(?:\r\n|\r|\n)""",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Directive:
    """What one comment silences, and where it says so.

    Attributes:
        codes: The codes; None for all.
        first: The first line that it ends, from 1; before its own where no comment can stand at the ends of those, for
            they are continued, or end inside a string.
        line: Its line in the piece, from 1.
        column: The column of its hash sign, from 1.
        text: The comment from there to the last code.
        is_whole: Whether it is meant for the whole source.
    """

    codes: tuple[str, ...] | None
    first: int
    line: int
    column: int
    text: str
    is_whole: bool

    @property
    def end_column(self) -> int:
        """The column behind the last code."""
        return self.column + len(self.text)

    def silences(self, finding: Finding) -> bool:
        """Say whether a finding of the same piece, or of the same source if it is meant whole, is silenced by it."""
        lines = range(self.first, self.line + 1)
        is_near = self.is_whole or finding.line in lines or finding.end_line in lines
        return is_near and (self.codes is None or finding.code in self.codes)


def read(text: str) -> tuple[Directive, ...]:
    """Read the comments of a piece, in order; a `# noqa` inside a string is none."""
    if not (_LINE.search(text) or _FILE.search(text)):
        return ()
    starts = [0, *(end.end() for end in _LINE_END.finditer(text))]
    first: dict[int, int] = {}
    found = []
    for token in _TOKEN.finditer(text):
        line, end_line = bisect_right(starts, token.start()), bisect_right(starts, token.end())
        if not token[0].startswith("#"):
            first[end_line] = first.get(line, line)
        elif directive := _directive(token[0], text[starts[line - 1] : token.start()], line, first.get(line, line)):
            found.append(directive)
    return tuple(found)


def keep(findings: Iterable[Finding], pieces: Iterable[Piece]) -> list[Finding]:
    """Give the findings that no comment silences.

    Args:
        findings: What the rules found, placed in the pieces: `cell` is the piece's number, or None for the only one.
        pieces: The source's Python.
    """
    findings = list(findings)
    if not findings:
        return []
    comments = {piece.number: read(piece.text) for piece in pieces}
    whole = [each for directives in comments.values() for each in directives if each.is_whole]
    return [
        finding
        for finding in findings
        if not any(each.silences(finding) for each in (*comments[finding.cell or 0], *whole))
    ]


def add(text: str, findings: Iterable[Finding]) -> Plan:
    """Plan the comments that silence findings: at the end of a finding's first line.

    Where that takes no comment, for it ends inside a string or with a backslash, it goes to the end of the line
    that continues it. Codes are added to a comment that is there.
    """
    from lint_rules.fixes import Plan
    from lint_rules.rule import Edit

    open_lines = [token.start[0] for token in _tokens(text) if token.type in {tokenize.NEWLINE, tokenize.NL}]
    chosen: dict[int, list[Finding]] = {}
    for finding in findings:
        at = bisect_left(open_lines, finding.line)
        if at < len(open_lines):
            chosen.setdefault(open_lines[at], []).append(finding)
    lines = split_lines(text)
    present = {each.line: each for each in read(text) if not each.is_whole}
    edits = []
    for line, silenced in chosen.items():
        codes = ", ".join(dict.fromkeys(each.code for each in silenced))
        if directive := present.get(line):
            column = directive.end_column
            edits.append(Edit(line, column, line, column, f", {codes}"))
        else:
            written = lines[line - 1].rstrip("\r\n")
            edits.append(Edit(line, len(written.rstrip()) + 1, line, len(written) + 1, f"  # noqa: {codes}"))
    return Plan(tuple(edits), tuple(finding for silenced in chosen.values() for finding in silenced))


def _directive(comment: str, before: str, line: int, first: int) -> Directive | None:
    """Read a comment; one with a colon and no code says nothing that could be relied on, and silences nothing.

    Args:
        comment: The comment.
        before: What stands before it on its line.
        line: Its line.
        first: The first line that it ends.
    """
    whole = _FILE.search(comment)
    for match in (whole,) if whole else _LINE.finditer(comment):
        if match["codes"] or not match["colon"]:
            if whole and before.strip():
                return None  # meant for the file, and not on a line of its own
            codes = tuple(re.findall(_CODE, match["codes"].upper())) if match["colon"] else None
            written = match[0] if match["colon"] else match[0].rstrip()
            return Directive(codes, first, line, len(before) + match.start() + 1, written, is_whole=bool(whole))
    return None


def _tokens(text: str) -> Iterator[tokenize.TokenInfo]:
    """Yield the tokens of a piece, as far as it can be read."""
    try:
        yield from tokenize.generate_tokens(io.StringIO(text).readline)
    except (tokenize.TokenError, SyntaxError):
        return
