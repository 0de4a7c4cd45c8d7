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

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from lint_rules.rule import Finding
    from lint_rules.sources import Piece

#: One code: letters, then digits. What follows the codes, such as a reason, is a comment.
_CODES = r"(?P<colon>\s*:\s*)?(?P<codes>[A-Z]+[0-9]+(?:[\s,]+[A-Z]+[0-9]+)*)?"
_LINE = re.compile(rf"#\s*noqa{_CODES}", re.IGNORECASE)
_FILE = re.compile(rf"#\s*(?:ckpt-lint|ruff|flake8)\s*:\s*noqa{_CODES}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Directive:
    """What one comment silences.

    Attributes:
        codes: The codes; None for all.
    """

    codes: frozenset[str] | None

    def silences(self, code: str) -> bool:
        """Say whether findings of a code are meant."""
        return self.codes is None or code in self.codes


@dataclass(frozen=True, slots=True)
class Suppressions:
    """The comments of one piece of Python.

    Attributes:
        lines: What the comment on a line silences.
        whole: What is silenced in the whole source.
    """

    lines: Mapping[int, Directive]
    whole: tuple[Directive, ...]

    def silence(self, finding: Finding) -> bool:
        """Say whether a finding in this piece is silenced by a comment on its first or last line."""
        nearby = (self.lines.get(line) for line in {finding.line, finding.end_line})
        return any(directive.silences(finding.code) for directive in nearby if directive)


def read(text: str) -> Suppressions:
    """Read the comments of a piece; a `# noqa` inside a string is none."""
    if not (_LINE.search(text) or _FILE.search(text)):
        return Suppressions({}, ())
    lines: dict[int, Directive] = {}
    whole: list[Directive] = []
    for token in _comments(text):
        if found := _directive(_FILE.search(token.string)):
            if not token.line[: token.start[1]].strip():
                whole.append(found)
        elif found := _directive(_LINE.search(token.string)):
            lines[token.start[0]] = found
    return Suppressions(lines, tuple(whole))


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
    whole = [directive for each in comments.values() for directive in each.whole]
    return [
        finding
        for finding in findings
        if not comments[finding.cell or 0].silence(finding)
        and not any(directive.silences(finding.code) for directive in whole)
    ]


def _directive(match: re.Match[str] | None) -> Directive | None:
    """Read a comment; one with a colon and no code says nothing that could be relied on, and silences nothing."""
    if match is None or (match["colon"] and not match["codes"]):
        return None
    if not match["colon"]:
        return Directive(None)
    return Directive(frozenset(re.split(r"[\s,]+", match["codes"].upper())))


def _comments(text: str) -> Iterator[tokenize.TokenInfo]:
    try:
        yield from (
            token for token in tokenize.generate_tokens(io.StringIO(text).readline) if token.type == tokenize.COMMENT
        )
    except (tokenize.TokenError, SyntaxError):
        return
