"""Source -> narrowed regions -> libcst -> rules -> findings; then everything is dropped.

Importing this module imports neither libcst nor the rules: both wait for the first source that survives the prefilter.
"""

from __future__ import annotations

import ast
import gc
import re
import warnings
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from lint_rules.outline import Outline
from lint_rules.regions import Region, narrow, split_lines
from lint_rules.rule import Edit, Finding, Fix

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import libcst as cst

    from lint_rules.config import Settings
    from lint_rules.flow import Flow
    from lint_rules.names import Names, Scope
    from lint_rules.positions import Positions
    from lint_rules.rule import Rule

#: A continued line that holds nothing, of which libcst loses count; what follows it is indented in the same way.
_LONE_BACKSLASH = re.compile(r"(?<!\\)(?<!\\\r)((?:\A|\r\n|\n|\r)([ \t]*))\\(?=(?:\r\n|\r|\n)\2[^ \t\r\n])")


#: Characters that libcst is given at the most: it takes 900 bytes of memory for each, and 12 seconds for a million.
#: Of 56,000 files, one of torch's own tests needs a million, and all others less than 400,000.
_LARGEST = 1_200_000


class SourceError(Exception):
    """A source that cannot be read as Python.

    Attributes:
        message: What the parser says.
        line: Line of the fault, from 1.
        column: Column of the fault, from 1.
    """

    def __init__(self, message: str, line: int = 1, column: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.column = column


class TooLargeError(SourceError):
    """A source that is valid, but holds too much, or too much inside each other, for libcst to read it."""


class Context:
    """What a rule is given of one source: its tree, names and objects, and a way to report.

    Attributes:
        path: The source as findings name it.
        settings: The settings that apply to it.
        tree: The narrowed source as libcst reads it.
        shown: Lines of expressions whose value the reader sees, as at the end of a notebook's cell.
    """

    shown: frozenset[int] = frozenset()

    def __init__(self, tree: cst.Module, region: Region, text: str, path: str, settings: Settings) -> None:
        self.path = path
        self.settings = settings
        self.tree = tree
        self._region = region
        self._lines = split_lines(text)

    @property
    def line_end(self) -> str:
        """The line end that the source uses."""
        return self.tree.default_newline

    @cached_property
    def names(self) -> Names:
        """What each name stands for."""
        from lint_rules.names import Names

        return Names(self.tree)

    @cached_property
    def flow(self) -> Flow:
        """What happens to each object, in order."""
        from lint_rules.flow import Flow

        return Flow(self.tree, self.names)

    @cached_property
    def _positions(self) -> Positions:
        """Where nodes stand in the narrowed source; computed only once there is something to report."""
        from lint_rules.positions import Positions

        return Positions(self.tree, self._region)

    def span(self, node: cst.CSTNode) -> tuple[int, int, int, int]:
        """Say where a node stands in the source: line, column, end line, end column, from 1, the end exclusive."""
        line, column, end_line, end_column = self._positions.find(node)
        return self._region.origin(line), column + 1, self._region.origin(end_line), end_column + 1

    def text(self, function: cst.FunctionDef | None) -> str:
        """Give the lines of a function as they are in the source, with what was cut out of it; None for all lines."""
        if function is None:
            return "".join(self._lines)
        line, end_line = self._positions.lines(function)
        return "".join(self._lines[line - 1 : end_line])

    def source(self, node: cst.CSTNode) -> str:
        """Give a node as it is written in the source, indentation of further lines included."""
        line, column, end_line, end_column = self.span(node)
        *first, last = self._lines[line - 1 : end_line]
        return "".join((*first, last[: end_column - 1]))[column - 1 :]

    def finding(self, rule: Rule, node: cst.CSTNode, message: str, fix: Fix | None = None) -> Finding:
        """Report a node."""
        return Finding(rule.code, rule.name, self.path, *self.span(node), message, fix)

    def spelling(self, name: str, scope: Scope) -> tuple[str, tuple[str, ...]]:
        """Say how a module, or a member such as `torch.nn`, is spelled in a scope, and what must be imported for it."""
        import libcst as cst

        known = scope.owner(name) is not None or (scope.module.stars and name.isidentifier())
        first = (name,) if known else ()
        for bound in (*first, *(each for each in scope.module.bindings if each != name)):
            owner = scope.owner(bound)
            runs = owner is None or bound not in owner.typing
            if runs and self.names.resolve(cst.Name(bound), scope) == name:
                return bound, ()
        module, _, member = name.rpartition(".")
        if not module:
            return name, (name,)
        spelled, imports = self.spelling(module, scope)
        return f"{spelled}.{member}", imports

    def statement(self, call: cst.Call) -> cst.SimpleStatementLine | None:
        """Find the line that consists of nothing but a call, or an assignment of its result."""
        return self._statements.get(call)

    @cached_property
    def _statements(self) -> dict[cst.CSTNode, cst.SimpleStatementLine]:
        import libcst as cst

        from lint_rules.tree import walk

        found: dict[cst.CSTNode, cst.SimpleStatementLine] = {}
        for line in walk(self.tree):
            if isinstance(line, cst.SimpleStatementLine) and len(line.body) == 1:
                only = line.body[0]
                if isinstance(only, (cst.Expr, cst.Assign)):
                    found[only.value] = line
        return found

    def indent(self, line: int, column: int) -> str:
        """Give the white space in front of a statement."""
        return self._lines[line - 1][: column - 1]

    def add_argument(self, call: cst.Call, text: str) -> Edit | None:
        """Make the edit that appends an argument to a call; None where the call leaves no room for one."""
        import libcst as cst

        if not call.args:
            line, column = self.span(call)[2:]
            return Edit(line, column - 1, line, column - 1, text)
        last = call.args[-1]
        if isinstance(last.value, cst.GeneratorExp) and len(call.args) == 1 and not last.value.lpar:
            return None
        line, column = self.span(last)[2:]
        return Edit(line, column, line, column, f", {text}")

    def wrap(self, node: cst.CSTNode, before: str, after: str) -> tuple[Edit, Edit]:
        """Make the edits that put text around a node."""
        line, column, end_line, end_column = self.span(node)
        return Edit(line, column, line, column, before), Edit(end_line, end_column, end_line, end_column, after)


def lint_text(
    text: str, path: str, rules: Sequence[Rule], settings: Settings, *, shown: frozenset[int] = frozenset()
) -> list[Finding]:
    """Lint one Python source.

    Args:
        text: The source, without a byte order mark.
        path: The file's name, for the findings.
        rules: The rules to apply; those that the prefilter has left.
        settings: The settings that apply to the file.
        shown: Lines on which an expression begins whose value the reader sees.

    Returns:
        The findings, in order of place.

    Raises:
        SourceError: The source cannot be parsed.
    """
    if not rules:
        return []
    with _without_collector():
        try:
            return _lint(text, path, rules, settings, shown)
        except RecursionError:
            raise TooLargeError("is nested too deeply to be followed") from None


def lint_cells(
    cells: Sequence[tuple[int, str]],
    path: str,
    rules: Sequence[Rule],
    settings: Settings,
    *,
    shown_in: Mapping[int, frozenset[int]] | None = None,
) -> list[Finding]:
    """Lint a notebook, its code cells read as one script in order.

    Args:
        cells: For each code cell its index over all of the notebook's cells, from 0, and its source, in which magics
            have been neutralised. A cell that is no Python is passed over.
        path: The notebook's name, for the findings.
        rules: The rules to apply.
        settings: The settings that apply to the notebook.
        shown_in: For each cell the lines on which an expression begins whose value the reader sees, besides the last.

    Returns:
        The findings, each with its `cell` and with lines inside that cell.
    """
    script: list[str] = []
    origin: list[tuple[int, int]] = []
    shown: set[int] = set()
    for index, source in cells:
        try:
            tree = parse(source)
        except (SourceError, RecursionError):
            continue
        if path.endswith(_NOTEBOOK) and tree.body and not source.rstrip().endswith(";"):
            last = tree.body[-1]
            shown |= {len(script) + last.lineno} if isinstance(last, ast.Expr) else set()
        shown |= {len(script) + line for line in (shown_in or {}).get(index, ())}
        lines = split_lines(source if source.endswith("\n") else f"{source}\n")
        script += lines
        origin += [(index, number) for number in range(1, len(lines) + 1)]
    found = lint_text("".join(script), path, rules, settings, shown=frozenset(shown))
    return sorted((_into_cell(finding, origin) for finding in found), key=lambda finding: finding.place)


def parse(text: str) -> ast.Module:
    """Parse a source with Python's own parser, as cheaply as possible.

    Raises:
        SourceError: The source cannot be parsed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree: ast.Module = compile(text, "<source>", "exec", _FLAGS, dont_inherit=True)
            return tree
    except SyntaxError as error:
        raise SourceError(error.msg, error.lineno or 1, error.offset or 1) from None
    except (ValueError, MemoryError, OverflowError) as error:
        raise SourceError(str(error) or "the code is nested too deeply to be read") from None


_FLAGS = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
_NOTEBOOK = ".ipynb"
_QUOTED = frozenset("\"'\\\n#")


def _lint(text: str, path: str, rules: Sequence[Rule], settings: Settings, shown: frozenset[int]) -> list[Finding]:
    outline = Outline(parse(text))
    rules = [rule for rule in rules if rule.may_find(outline)]
    if not rules:
        return []
    region = narrow(text, outline, rules)
    if not region.rules:
        return []
    if len(region.text) > _LARGEST:
        size, most = (f"{number / 1e6:.1f} MB" for number in (len(region.text), _LARGEST))
        raise TooLargeError(f"holds {size} of Python around what loads and saves, and no more than {most} is followed")
    import libcst as cst

    try:
        tree = cst.parse_module(_LONE_BACKSLASH.sub(r"\1 ", region.text))
    except cst.ParserSyntaxError as error:
        raise SourceError(error.message, region.origin(error.raw_line), error.raw_column + 1) from None
    context = Context(tree, region, text, path, settings)
    context.shown = shown
    findings = [
        finding
        for rule in region.rules
        if not rule.needs_all or context.flow.complete
        for finding in rule.check(context)
    ]
    if any(_breaks_strings(finding.fix) for finding in findings):
        strings = _formatted(outline, split_lines(text))
        findings = [replace(each, fix=None) if _spoils(each.fix, strings) else each for each in findings]
    return sorted(findings, key=lambda finding: finding.place)


def _breaks_strings(fix: Fix | None) -> bool:
    """Tell whether a fix writes what an f-string could not hold before Python 3.12."""
    return fix is not None and any(not _QUOTED.isdisjoint(edit.text) for edit in fix.edits)


def _formatted(outline: Outline, lines: Sequence[str]) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Give where each f-string begins and ends: lines and columns from 1."""

    def place(line: int, offset: int) -> tuple[int, int]:
        return line, len(lines[line - 1].encode()[:offset].decode(errors="replace")) + 1

    return [
        (place(node.lineno, node.col_offset), place(node.end_lineno or node.lineno, node.end_col_offset or 0))
        for node in outline.of(ast.JoinedStr)
    ]


def _spoils(fix: Fix | None, strings: Sequence[tuple[tuple[int, int], tuple[int, int]]]) -> bool:
    """Tell whether a fix would write into an f-string what it cannot hold."""
    places = [(edit.line, edit.column) for edit in fix.edits] if fix else []
    return _breaks_strings(fix) and any(start < place < end for start, end in strings for place in places)


def _into_cell(finding: Finding, origin: Sequence[tuple[int, int]]) -> Finding:
    """Move a finding from the script that a notebook was read as into its cell."""
    cell, line = origin[finding.line - 1]
    fix = finding.fix
    if fix is not None:
        edits = [_edit_into_cell(edit, cell, origin) for edit in fix.edits]
        fix = replace(fix, edits=tuple(filter(None, edits))) if all(edits) else None
    return replace(finding, cell=cell, line=line, end_line=origin[finding.end_line - 1][1], fix=fix)


def _edit_into_cell(edit: Edit, cell: int, origin: Sequence[tuple[int, int]]) -> Edit | None:
    """Move an edit into a cell; None if it reaches into another. The end of a cell is the start of a line below it."""
    lines = []
    for line in (edit.line, edit.end_line):
        above = origin[line - 2] if line > 1 else (None, 0)
        if line <= len(origin) and origin[line - 1][0] == cell:
            lines.append(origin[line - 1][1])
        elif above[0] == cell:
            lines.append(above[1] + 1)
    return replace(edit, line=lines[0], end_line=lines[1]) if len(lines) == 2 else None  # noqa: PLR2004 -- both ends


@contextmanager
def _without_collector() -> Iterator[None]:
    """Keep the garbage collector off while a tree of many small nodes is built and dropped."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
