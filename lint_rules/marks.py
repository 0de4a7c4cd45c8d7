"""On which lines of a source a word stands that a rule waits for, or another name for what that word means."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from lint_rules.outline import last_name, nodes

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from lint_rules.outline import Outline


def marked_lines(outline: Outline, marks: Collection[str]) -> set[int]:
    """Find the lines that mention a mark.

    A mark counts as a name, as an attribute and as the name of a function; so do the names that it goes by in this
    source, as in `import load as ld`, `ld = torch.load` and `ld = partial(torch.load, ...)`. A statement that binds
    names of the code around a function counts as well.

    Args:
        outline: What Python's own parser tells of the source.
        marks: The words.

    Returns:
        Lines, from 1. Those inside an f-string count where that begins, for Python's parser misplaces them.
    """
    found = list(_mentions(outline, marks))
    called = {call.func for call in outline.calls}
    values = frozenset(node for node in found if isinstance(node, ast.expr) and node not in called)
    if others := set(_other_names(outline, marks, values)) - set(marks):
        found += _mentions(outline, others)
        found += [node for node in outline.of(ast.arg, ast.keyword) if node.arg in others]
    found += outline.of(ast.Global, ast.Nonlocal)
    found += [
        node
        for node in outline.of(ast.JoinedStr)
        if any(last_name(each) in marks or last_name(each) in others for each in nodes(node))
    ]
    return {node.lineno for node in found}


def _mentions(outline: Outline, words: Collection[str]) -> Iterator[ast.expr | ast.stmt]:
    yield from (node for node in outline.of(ast.Attribute) if node.attr in words)
    yield from (node for node in outline.of(ast.Name) if node.id in words)
    yield from (node for node in outline.of(ast.FunctionDef, ast.AsyncFunctionDef) if node.name in words)


def _other_names(outline: Outline, marks: Collection[str], values: frozenset[ast.expr]) -> Iterator[str]:
    """Yield the names that are bound to a mark, or to something made of it, anywhere in the source.

    Args:
        outline: What Python's own parser tells of the source.
        marks: The words.
        values: Where they are mentioned, and not called.
    """
    for alias in outline.of(ast.alias):
        if alias.asname and alias.name.rpartition(".")[2] in marks:
            yield alias.asname
    if not values:
        return
    lines = {node.lineno for node in values}
    for node in outline.of(ast.Assign, ast.AnnAssign, ast.NamedExpr):
        span = range(node.lineno, node.end_lineno + 1)
        if node.value is not None and not lines.isdisjoint(span) and not values.isdisjoint(nodes(node.value)):
            yield from map(last_name, node.targets if isinstance(node, ast.Assign) else [node.target])
    for node in outline.of(ast.keyword):
        if node.arg and node.value in values:
            yield node.arg
    for node in outline.of(ast.arguments):
        by_position = [*node.posonlyargs, *node.args]
        given = [
            *zip(by_position[::-1], node.defaults[::-1], strict=False),
            *zip(node.kwonlyargs, node.kw_defaults, strict=True),
        ]
        yield from (arg.arg for arg, default in given if default in values)
