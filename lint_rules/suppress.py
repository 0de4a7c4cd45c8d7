"""Comments that silence findings.

At the end of the first or of the last line of a finding: `# noqa` for everything, `# noqa: CKP301` or
`# noqa: CKP301, E501` for some codes. On a line of its own, anywhere in the file, for the whole file:
`# ckpt-lint: noqa` or `# ckpt-lint: noqa: CKP301`; ruff's and flake8's own spelling of it counts as well.
"""

from __future__ import annotations

import io
import re
import tokenize
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lint_rules.regions import split_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lint_rules.fixes import Plan
    from lint_rules.rule import Finding
    from lint_rules.sources import Piece

#: One code: letters, then digits. What follows the codes, such as a reason, is a comment.
_CODES = r"(?P<colon>\s*:\s*)?(?P<codes>[A-Z]+[0-9]+(?:[\s,]+[A-Z]+[0-9]+)*)?"
_LINE = re.compile(rf"#\s*noqa{_CODES}", re.IGNORECASE)
_FILE = re.compile(rf"#\s*(?:ckpt-lint|ruff|flake8)\s*:\s*noqa{_CODES}", re.IGNORECASE)
_LINE_END = re.compile(r"\r\n|\r|\n")
#: A string or a comment, whichever begins first: what looks like a comment inside a string is none.
_STRING_OR_COMMENT = re.compile(
    r""""{3}(?:\\.|[^\\])*?"{3}|'{3}(?:\\.|[^\\])*?'{3}"""
    r"""|"(?:\\\r\n|\\.|[^"\\\r\n])*"|'(?:\\\r\n|\\.|[^'\\\r\n])*'|#[^\r\n]*""",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Directive:
    """What one comment silences, and where it says so.

    Attributes:
        codes: The codes; None for all.
        line: Its line in the piece, from 1.
        column: The column of its hash sign, from 1.
        text: The comment from there to the last code.
        is_whole: Whether it is meant for the whole source.
    """

    codes: tuple[str, ...] | None
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
        is_near = self.is_whole or self.line in {finding.line, finding.end_line}
        return is_near and (self.codes is None or finding.code in self.codes)


def read(text: str) -> tuple[Directive, ...]:
    """Read the comments of a piece, in order; a `# noqa` inside a string is none."""
    if not (_LINE.search(text) or _FILE.search(text)):
        return ()
    comments = (found for found in _STRING_OR_COMMENT.finditer(text) if found[0].startswith("#"))
    return tuple(filter(None, map(_directive, comments)))


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
    """Plan the comments that silence findings: at the end of a finding's first line, or else of its last.

    Codes are added to a comment that is there. A line that takes no comment, for it ends inside a string or with a
    backslash, is left alone; a finding on such lines only stays.
    """
    from lint_rules.fixes import Plan
    from lint_rules.rule import Edit

    open_lines = {token.start[0] for token in _tokens(text) if token.type in {tokenize.NEWLINE, tokenize.NL}}
    chosen: dict[int, list[Finding]] = {}
    for finding in findings:
        line = next((each for each in (finding.line, finding.end_line) if each in open_lines), None)
        if line is not None:
            chosen.setdefault(line, []).append(finding)
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


def _directive(comment: re.Match[str]) -> Directive | None:
    """Read a comment; one with a colon and no code says nothing that could be relied on, and silences nothing."""
    found = _FILE.search(comment[0])
    for match in (found,) if found else _LINE.finditer(comment[0]):
        if match["codes"] or not match["colon"]:
            above = [each.end() for each in _LINE_END.finditer(comment.string, 0, comment.start())]
            column = comment.start() - (above[-1] if above else 0)
            if found and comment.string[comment.start() - column : comment.start()].strip():
                return None  # meant for the file, and not on a line of its own
            codes = tuple(re.split(r"[\s,]+", match["codes"].upper())) if match["colon"] else None
            written = match[0] if match["colon"] else match[0].rstrip()
            return Directive(codes, len(above) + 1, column + match.start() + 1, written, is_whole=bool(found))
    return None


def _tokens(text: str) -> Iterator[tokenize.TokenInfo]:
    """Yield the tokens of a piece, as far as it can be read."""
    try:
        yield from tokenize.generate_tokens(io.StringIO(text).readline)
    except (tokenize.TokenError, SyntaxError):
        return
