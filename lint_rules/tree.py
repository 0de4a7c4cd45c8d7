"""Small helpers to walk libcst trees: syntax only, in source order, without libcst's own visitor machinery.

libcst's visitors copy every node that they pass and its metadata providers cost many times the parse. The rules only
read, so a plain walk over the fields that hold syntax is enough.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import libcst as cst

if TYPE_CHECKING:
    from collections.abc import Iterator

_LAYOUT = (
    "whitespace",
    "lpar",
    "rpar",
    "lbracket",
    "rbracket",
    "lbrace",
    "rbrace",
    "comma",
    "semicolon",
    "equal",
    "colon",
    "dot",
    "header",
    "footer",
    "leading_lines",
    "lines_after",
    "trailing_whitespace",
    "asynchronous",
    "relative",
    "posonly_ind",
)

#: What a syntactic field may hold besides nodes.
_PLAIN = frozenset({str, bool, type(None), cst.MaybeSentinel})


@cache
def syntax_fields(kind: type[cst.CSTNode]) -> tuple[str, ...]:
    """Name the fields of a node class that may hold syntax, leaving out layout such as whitespace and commas."""
    return tuple(
        name for name in kind.__dataclass_fields__ if not name.startswith(("_", *_LAYOUT)) and name != "__slots__"
    )


def children(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """Yield a node's direct syntactic children."""
    for name in syntax_fields(type(node)):
        value = getattr(node, name)
        kind = type(value)
        if kind is list or kind is tuple:
            yield from value
        elif kind not in _PLAIN:  # asking isinstance of an abstract class takes ten times longer
            yield value


def walk(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """Yield a node and everything below it, parents first."""
    stack = [node]
    while stack:
        current = stack.pop()
        yield current
        below: list[cst.CSTNode] = []
        for name in syntax_fields(type(current)):  # `children` written out, for all rules walk every tree
            value = getattr(current, name)
            kind = type(value)
            if kind is list or kind is tuple:
                below += value
            elif kind not in _PLAIN:
                below.append(value)
        below.reverse()
        stack += below


def is_false(node: cst.BaseExpression | None) -> bool:
    """Tell whether an expression is written `False`, or `0`, which a flag takes for the same.

    Args:
        node: The expression; None where an argument is not given.

    Returns:
        True if so.
    """
    return isinstance(node, (cst.Name, cst.Integer)) and node.value in {"False", "0"}


def dotted(node: cst.BaseExpression) -> str | None:
    """Spell a name or a chain of attributes as written, such as `"self.model"`; None for any other expression."""
    parts: list[str] = []
    while isinstance(node, cst.Attribute):
        parts.append(node.attr.value)
        node = node.value
    if not isinstance(node, cst.Name):
        return None
    return ".".join((node.value, *reversed(parts)))


def name_of(node: cst.CSTNode) -> str:
    """Spell a name or a chain of attributes as `dotted` does; nothing for any other syntax."""
    return (dotted(node) if isinstance(node, cst.BaseExpression) else None) or ""


def methods_in(definition: cst.ClassDef) -> list[cst.FunctionDef]:
    """Give the functions that a class defines in its body."""
    return [node for node in definition.body.body if isinstance(node, cst.FunctionDef)]


def text_of(node: cst.BaseExpression) -> str | None:
    """Give the value of a plain string literal, or None (also for bytes and f-strings)."""
    if isinstance(node, (cst.SimpleString, cst.ConcatenatedString)):
        value = node.evaluated_value
        return value if isinstance(value, str) else None
    return None


def keyword(call: cst.Call, name: str) -> cst.Arg | None:
    """Find the argument of a call that is given by a keyword."""
    return next((arg for arg in call.args if arg.keyword and arg.keyword.value == name), None)


def argument(call: cst.Call, index: int, name: str) -> cst.BaseExpression | None:
    """Find an argument by position or keyword; None where it is absent or hidden behind `*` or `**`."""
    for position, arg in enumerate(call.args):
        if arg.star or arg.keyword:
            break
        if position == index:
            return arg.value
    named = keyword(call, name)
    return named.value if named else None


def method_of(call: cst.Call) -> str | None:
    """Name the method that a call calls, the last part of its attribute chain; None for a bare function."""
    return call.func.attr.value if isinstance(call.func, cst.Attribute) else None
