"""What only IPython understands: magics and commands of the shell, in notebooks and in documents that show some."""

from __future__ import annotations

import re

from lint_rules.sources.base import syntax_error

#: Line magics whose argument is Python that runs in the notebook, with their options.
_PYTHON_LINE = re.compile(r"(?P<magic>%(?:time|timeit|prun|memit)\s+(?:-\w+\s+(?:\d+\s+)?)*)(?P<code>\S.*)")
#: What is a magic without its sign, too.
_COMMANDS = r"(?:cat|cd|conda|cp|ls|mkdir|mv|pip|rm|rmdir)\s"
_MAGIC = re.compile(rf"\s*(?:[%!?]|[\w.\[\]]+\?{{1,2}}\s*$|{_COMMANDS})")
_ASSIGNED = re.compile(r"(?P<target>\s*[\w., ]+=\s*)[%!].*")

#: What stands for a cell magic: as a docstring, it keeps its place above an import that a fix may add.
_CELL_MAGIC = '""'


def neutralise(text: str) -> tuple[str, SyntaxError | None]:
    """Replace what only IPython understands, line by line, so that lines and columns of the rest stay.

    The parser says where Python ends: only a line that it stumbles over and that looks like a magic is replaced, so a
    `%` that continues an expression, or stands in a string, is left alone.

    Args:
        text: A cell.

    Returns:
        The cell as plain Python, and what is wrong with it if it is none even so.
    """
    lines = text.split("\n")
    tried: dict[int, int] = {}
    while error := syntax_error("\n".join(lines)):
        at = (error.lineno or 0) - 1
        plain = _plain(lines[at], tried.get(at, 0)) if 0 <= at < len(lines) else None
        if plain is None:
            return text, error
        tried[at] = tried.get(at, 0) + 1
        while lines[at].endswith("\\") and at + 1 < len(lines):
            lines[at], at, plain = plain, at + 1, ""
        lines[at] = plain
    return "\n".join(lines), None


def _plain(line: str, attempt: int) -> str | None:
    """Give Python in place of a line with a magic; None if it has none, or if the first attempt was the best."""
    indent = line[: len(line) - len(line.lstrip())]
    if attempt:
        return indent + "pass" if attempt == 1 else None
    if assigned := _ASSIGNED.fullmatch(line):
        timed = _PYTHON_LINE.fullmatch(line[assigned.end("target") :])
        value = " " * len(timed["magic"]) + timed["code"] if timed else "None"
        return assigned["target"] + value
    if not _MAGIC.match(line):
        return None
    if line.startswith("%%"):
        return _CELL_MAGIC
    if timed := _PYTHON_LINE.fullmatch(line.strip()):
        return indent + "pass;".ljust(len(timed["magic"])) + timed["code"]
    return indent + "pass"
