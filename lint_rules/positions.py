"""Where nodes stand in a narrowed source, computed only for the statements that hold them.

libcst finds positions by writing a whole module out again, which takes longer than everything else that is done to a
file. The start of each statement is known from Python's own parser, so it is enough to write out the innermost
statement that a node belongs to.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import libcst as cst
from libcst.metadata import CodeRange, MetadataWrapper, PositionProvider

from lint_rules.tree import children

if TYPE_CHECKING:
    import ast
    from collections.abc import Iterator, Mapping, Sequence

    from lint_rules.regions import Region


@dataclass(slots=True, eq=False)
class _Statement:
    """One statement.

    Attributes:
        node: The statement.
        syntax: The same statement as Python's own parser reads it; of several on one line the first.
        line: The line of the narrowed source that its first token stands on.
        indents: The indentation of each block around it, None where it is the module's usual one.
        places: Where its nodes stand, once that was asked for.
    """

    node: cst.SimpleStatementLine | cst.BaseCompoundStatement
    syntax: ast.stmt
    line: int
    indents: tuple[str | None, ...]
    places: Mapping[cst.CSTNode, CodeRange] | None = None


class Positions:
    """The positions of a narrowed source's nodes."""

    def __init__(self, tree: cst.Module, region: Region) -> None:
        """Keep what positions are found with.

        Args:
            tree: The narrowed source as libcst reads it.
            region: The narrowed source.
        """
        self._tree = tree
        self._region = region

    def find(self, node: cst.CSTNode) -> tuple[int, int, int, int]:
        """Give a node's line, column, end line and end column in the narrowed source; lines from 1, columns from 0."""
        statement = self._homes[node]
        if statement.places is None:
            statement.places = self._write(statement)
        place = statement.places[node]
        above = statement.line - len(statement.indents) - _lines_above(statement.node) - 1
        return place.start.line + above, place.start.column, place.end.line + above, place.end.column

    def lines(self, function: cst.FunctionDef) -> tuple[int, int]:
        """Give the first and the last line of a function in the source, both from 1; its decorators stand above."""
        syntax = self._homes[function].syntax
        return syntax.lineno, syntax.end_lineno or syntax.lineno

    @cached_property
    def _homes(self) -> dict[cst.CSTNode, _Statement]:
        """The innermost statement for each node."""
        module = self._region.syntax.body
        statements: dict[cst.CSTNode, _Statement] = {
            each.node: each for each in self._statements(self._tree.body, module, ())
        }
        found: dict[cst.CSTNode, _Statement] = {}
        pending: list[tuple[cst.CSTNode, _Statement]] = [(node, statements[node]) for node in self._tree.body]
        while pending:
            node, home = pending.pop()
            found[node] = home = statements.get(node, home)
            pending += [(child, home) for child in children(node)]
        return found

    def _statements(
        self, body: Sequence[cst.CSTNode], syntax: Sequence[ast.stmt], indents: tuple[str | None, ...]
    ) -> Iterator[_Statement]:
        """Pair statements with those of Python's parser."""
        position = 0
        for node in body:
            if not isinstance(node, (cst.SimpleStatementLine, cst.BaseCompoundStatement)):
                continue  # on the line of what it stands in, with which it is written out
            same = syntax[position]
            decorators = getattr(same, "decorator_list", ())
            first = min((same.lineno, *(decorator.lineno for decorator in decorators)))
            yield _Statement(node, same, bisect_left(self._region.lines, first) + 1, indents)
            around = (*indents, node.indent) if isinstance(node, cst.Match) else indents
            for block, inside in _blocks(node, same):
                if isinstance(block, cst.IndentedBlock):
                    yield from self._statements(block.body, inside, (*around, block.indent))
            position += len(node.body) if isinstance(node, cst.SimpleStatementLine) else 1

    def _write(self, statement: _Statement) -> Mapping[cst.CSTNode, CodeRange]:
        """Write a statement out inside as many blocks as it stands in, each of which takes one line more.

        Raises:
            RecursionError: It is nested too deeply.
        """
        node = statement.node
        for indent in reversed(statement.indents):
            node = cst.If(cst.Name("_"), cst.IndentedBlock([node], indent=indent))
        module = cst.Module(
            [node], default_indent=self._tree.default_indent, default_newline=self._tree.default_newline
        )
        try:
            return MetadataWrapper(module, unsafe_skip_copy=True).resolve(PositionProvider)
        except KeyError:  # on the way out of a RecursionError, libcst asks for places that it has not found yet
            raise RecursionError from None


def _blocks(node: cst.CSTNode, same: ast.AST) -> Iterator[tuple[cst.CSTNode, Sequence[ast.stmt]]]:
    """Yield the blocks of a compound statement with what Python's parser has in them; a cut function has none left."""
    if isinstance(node, cst.SimpleStatementLine):
        return
    if isinstance(node, cst.Match):
        for case, same_case in zip(node.cases, same.cases, strict=True):  # type: ignore[attr-defined]
            yield case.body, same_case.body
        return
    yield node.body, same.body  # type: ignore[attr-defined]
    for handler, same_handler in zip(getattr(node, "handlers", ()), getattr(same, "handlers", ()), strict=True):
        yield handler.body, same_handler.body
    otherwise = getattr(node, "orelse", None)
    if isinstance(otherwise, cst.If):
        yield from _blocks(otherwise, same.orelse[0])  # type: ignore[attr-defined]
    elif otherwise is not None:
        yield otherwise.body, same.orelse  # type: ignore[attr-defined]
    if (last := getattr(node, "finalbody", None)) is not None:
        yield last.body, same.finalbody  # type: ignore[attr-defined]


def _lines_above(node: cst.BaseStatement) -> int:
    """Count the lines of comments and blanks that belong to a statement and stand above its first token."""
    above = len(getattr(node, "leading_lines", ()))
    decorators = getattr(node, "decorators", ())
    return above + (len(decorators[0].leading_lines) if decorators else 0)
