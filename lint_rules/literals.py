"""Tables of numbers and words, which libcst does not have to read in full.

A file of labels or categories can be megabytes of one literal, each number of which libcst makes several objects of. A
few of its elements tell as much as all of them.
"""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from lint_rules.outline import nodes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lint_rules.outline import Outline

#: Characters beyond which a literal is shortened, and how many elements are left of each container in it.
_LONG = 10_000
_KEPT = 3
_PARTS = (ast.List, ast.Tuple, ast.Set, ast.Dict, ast.Constant, ast.UnaryOp)
_END_OF_LINE = re.compile(rb"\s*(#.*)?$", re.DOTALL)


def shortened(outline: Outline, lines: Sequence[str]) -> Iterator[tuple[int, int, str]]:
    """Give the lines that stand for long literals in which there is no name.

    Args:
        outline: What Python's own parser tells of the source.
        lines: Its lines, with their ends.

    Yields:
        The first and the last line of a literal that is assigned, from 1, and the line to put in their place.
    """
    for node in outline.of(ast.Assign, ast.AnnAssign):
        value = node.value
        if not isinstance(value, (ast.List, ast.Tuple, ast.Set, ast.Dict)):
            continue
        first, last = value.lineno, value.end_lineno or value.lineno
        if sum(map(len, lines[first - 1 : last])) < _LONG or not all(isinstance(each, _PARTS) for each in nodes(value)):
            continue
        before = lines[first - 1].encode()[: value.col_offset].decode()
        behind = lines[last - 1].encode()[value.end_col_offset :]
        if _END_OF_LINE.match(behind):
            yield first, last, f"{before}{ast.unparse(_short(value))}\n"


def _short(node: ast.expr) -> ast.expr:
    """Make a literal with the first elements of each container in it."""
    if isinstance(node, ast.Dict):
        keys = [each and _short(each) for each in node.keys[:_KEPT]]
        return ast.Dict(keys, [_short(each) for each in node.values[:_KEPT]])
    if not isinstance(node, (ast.List, ast.Tuple, ast.Set)):
        return node
    elements = [_short(each) for each in node.elts[:_KEPT]]
    return ast.Set(elements) if isinstance(node, ast.Set) else type(node)(elements, ast.Load())
