"""The parts of a source that the rules have to see, cut out before libcst reads them.

libcst parses ten times slower than Python's own parser, and most functions of most files neither load nor save. A
function that no rule needs becomes `def name(): ...` on one line; everything else stays as it is, and a table leads
each line back to the line it came from.

Which functions are needed is told by the words in them: those that hold a mark of a rule. A rule that follows objects
through calls also needs the functions that those call and that call them, however far; each is found by its name
being mentioned, which can only keep too much.
"""

from __future__ import annotations

import ast
import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from lint_rules.literals import shortened
from lint_rules.marks import marked_lines
from lint_rules.outline import last_name, nodes

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from lint_rules.outline import Outline
    from lint_rules.rule import Rule


#: Names in the functions to follow beyond which that is not tried; see `Rule.needs_all`. None of the 187 findings that
#: such rules had in 250 repositories stood where there were more than 1,800, and it would take seconds.
_FOLLOWED = 2_500


@dataclass(frozen=True, slots=True)
class Region:
    """What is left of a source, and where each line came from.

    Attributes:
        text: Valid Python, with parameters and body of each function that no rule needs replaced by `(): ...`.
        lines: For each line of `text`, counted from 0, its line in the source, counted from 1.
        syntax: The whole source as Python's own parser reads it.
        rules: The rules that it holds everything for.
    """

    text: str
    lines: tuple[int, ...]
    syntax: ast.Module
    rules: Sequence[Rule]

    def origin(self, line: int) -> int:
        """Lead a line of `text` back to its line in the source; both count from 1."""
        return self.lines[min(line, len(self.lines)) - 1]


@dataclass(slots=True, eq=False)
class _Function:
    """A function with its lines, all counted from 1 and inclusive.

    Attributes:
        start: Where its first decorator stands, or else the function itself.
        head: What is to stand in its place on line `line` where nobody needs it.
        size: How many names it mentions, each as often as it does.
        words: The names that it mentions.
        shared: Those of them that may stand for what it loads.
        bound: Those that it binds itself.
        free: Those of these that are bound around it.
        family: The class of this file that its class, or itself, inherits from in the end.
    """

    name: str
    owner: str | None
    start: int
    line: int
    end: int
    head: str = ""
    outer: _Function | None = None
    needed: bool = False
    size: int = 0
    words: set[str] = field(default_factory=set)
    shared: set[str] = field(default_factory=set)
    bound: set[str] = field(default_factory=set)
    free: set[str] = field(default_factory=set)
    family: str | None = None

    def need(self) -> None:
        """Note that it is needed, and so are the functions around it."""
        function: _Function | None = self
        while function is not None:
            function.needed = True
            function = function.outer

    def mention(self, name: str) -> None:
        """Note a name that it mentions."""
        self.words.add(name)
        self.size += 1

    def share(self, *places: ast.expr) -> None:
        """Note that what is loaded may be found in some places: under names, as attributes or as elements of them."""
        for place in places:
            holder = place
            while isinstance(holder, (ast.Subscript, ast.Starred)):
                holder = holder.value
            if isinstance(holder, (ast.Tuple, ast.List)):
                self.share(*holder.elts)
            elif isinstance(holder, ast.Name):
                self.free.add(holder.id)
            self.shared.add(last_name(holder))


def split_lines(text: str) -> list[str]:
    r"""Split at the line ends that Python knows (`\n`, `\r\n`, `\r`) and keep them.

    `str.splitlines` also splits at form feeds and Unicode separators, which are no line ends to the parser.
    """
    return io.StringIO(text, newline="").readlines()


def narrow(text: str, outline: Outline, rules: Sequence[Rule]) -> Region:
    """Cut out of a source what the rules need.

    Args:
        text: The source.
        outline: What Python's own parser tells of it.
        rules: The rules that the prefilter has left.

    Returns:
        The region; the whole source where nothing can be left out.
    """
    lines = split_lines(text)
    functions = list(_functions(outline))
    top = _Function("", None, 0, 0, 0, needed=True)
    inside = _Homes(functions, top, len(lines))
    if following := [rule for rule in rules if rule.follows_in(outline)]:
        _mark(inside, outline, following)
        _read(outline, functions, inside)
        if not _close([*functions, top]):
            rules = [rule for rule in rules if not rule.needs_all]
            for function in functions:
                function.needed = False
    _mark(inside, outline, rules)
    for function in functions:
        if function.needed:
            function.need()
    text, origin = _cut(lines, functions, shortened(outline, lines))
    return Region(text, origin, outline.tree, rules)


def _mark(inside: _Homes, outline: Outline, rules: Sequence[Rule]) -> None:
    """Note which functions hold a mark of a rule, or a line that it asks for."""
    marks: frozenset[str] = frozenset().union(*(rule.marks_in(outline) for rule in rules))
    lines = marked_lines(outline, marks) if rules else set()
    for line in lines.union(*(rule.lines_in(outline) for rule in rules)):
        inside.on(line).need()


def _functions(outline: Outline) -> Iterator[_Function]:
    """Yield every function of more than one line, in the order of the source."""
    around: list[tuple[ast.stmt, _Function | None]] = []
    found = outline.of(ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    for node in sorted(found, key=lambda each: (each.lineno, each.col_offset)):
        while around and (around[-1][0].end_lineno or 0) < node.lineno:
            around.pop()
        scope, outer = around[-1] if around else (None, None)
        if isinstance(node, ast.ClassDef):
            around.append((node, outer))
            continue
        owner = scope.name if isinstance(scope, ast.ClassDef) else None
        start = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
        kind = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
        end = node.end_lineno or node.lineno
        function = _Function(node.name, owner, start, node.lineno, end, f"{kind} {node.name}(): ...\n", outer)
        around.append((node, function))
        if node.body[0].lineno > node.lineno:
            yield function


def _read(outline: Outline, functions: Sequence[_Function], inside: _Homes) -> None:
    """Note for each function the names that its code mentions, and of what it loads; the rest is the module's."""
    classes = {node.name for node in outline.classes}
    bases = {node.name: name for node in outline.classes for name in map(last_name, node.bases) if name in classes}
    for function in functions:
        function.family = _family(function.owner, bases)
    for node in outline.of(ast.Name):
        home = inside.at(node)
        home.mention(node.id)
        if type(node.ctx) is ast.Store:
            home.bound.add(node.id)
    for node in outline.of(ast.arg):
        inside.at(node).bound.add(node.arg)
    for node in outline.of(ast.Attribute):
        inside.at(node).mention(node.attr)
    for node in outline.of(ast.Global):
        inside.at(node).words.add("global")
    _share(outline, inside, {function.name for function in functions if function.needed})
    for function in reversed(functions):
        function.free -= function.bound
        if function.outer is not None:
            function.outer.words |= function.words
            function.outer.shared |= function.shared
            function.outer.free |= function.free


def _family(owner: str | None, bases: Mapping[str, str]) -> str | None:
    """Give the class that a class of the source, or itself, inherits from in the end."""
    seen = {owner}
    while owner is not None and (base := bases.get(owner)) is not None and base not in seen:
        owner = base
        seen.add(base)
    return owner


def _share(outline: Outline, inside: _Homes, needed: Collection[str]) -> None:
    """Note what a function loads, saves or keeps, and where it is put from there, until nothing is added."""
    loaders = {"load", "load_state_dict", "state_dict", *needed}
    for node in outline.methods("load_state_dict"):
        inside.at(node).share(_unwrapped(cast("ast.Attribute", node.func).value))
    for node in outline.of(ast.Assign):
        if any(last_name(each) in loaders for each in nodes(node.value)):
            inside.at(node).share(*node.targets)
    for node in outline.methods("save"):
        inside.at(node).share(*node.args[:1])
    for node in outline.methods("append"):
        if any(last_name(each) in loaders for arg in node.args for each in nodes(arg)):
            inside.at(node).share(cast("ast.Attribute", node.func).value)
    stored = [(inside.at(places[0]), names, places) for names, places in _stored(outline) if names and places]
    grows = True
    while grows:
        reached = [each for each in stored if each[0].shared & each[1]]
        stored = [each for each in stored if not each[0].shared & each[1]]
        grows = bool(reached)
        for home, _, places in reached:
            home.share(*places)


class _Homes:
    """The innermost function around each line; the module where there is none."""

    def __init__(self, functions: Sequence[_Function], top: _Function, lines: int) -> None:
        self._inside = [top] * (lines + 2)
        for function in functions:
            self._inside[function.start : function.end + 1] = [function] * (function.end + 1 - function.start)

    def at(self, node: ast.expr | ast.stmt | ast.arg) -> _Function:
        """Give the function that a node stands in."""
        return self._inside[node.lineno]

    def on(self, line: int) -> _Function:
        """Give the function that a line stands in, from 1."""
        return self._inside[line]


def _stored(outline: Outline) -> Iterator[tuple[set[str], Sequence[ast.expr]]]:
    """Yield what may be put somewhere, or taken from there, and these places.

    As in `models[key] = model`, `encoder = model.encoder`, `net = Sequential(*model)`, `models.append(model)` and
    `for model in models`.
    """
    for node in outline.of(ast.Assign):
        if isinstance(node.value, (ast.Name, ast.Attribute, ast.Subscript)):
            yield _names(node.value), node.targets
        elif isinstance(node.value, ast.Call) and last_name(node.value.func)[:1].isupper():
            yield _names(*node.value.args, *(each.value for each in node.value.keywords)), node.targets
    for node in outline.methods("append"):
        yield _names(*node.args), [cast("ast.Attribute", node.func).value]
    for node in outline.of(ast.For, ast.AsyncFor):
        yield _names(node.target), _sources(node.iter)


def _names(*found: ast.AST) -> set[str]:
    return {last_name(node) for each in found for node in nodes(each)} - {"", "self"}


def _sources(node: ast.expr) -> list[ast.expr]:
    """Give what a loop may take its objects from: `models`, `models.values()`, `zip(models, names)`, `(one, two)`."""
    if isinstance(node, (ast.Tuple, ast.List)):
        return node.elts
    if not isinstance(node, ast.Call):
        return [node]
    return [*node.args, *([node.func.value] if isinstance(node.func, ast.Attribute) else [])]


def _unwrapped(node: ast.expr) -> ast.expr:
    """Give the object whose `.module` or `._orig_mod` an expression is, or the expression itself."""
    return node.value if isinstance(node, ast.Attribute) and node.attr in {"module", "_orig_mod"} else node


def _close(functions: Sequence[_Function]) -> bool:
    """Add what the needed functions call, what calls them, and the methods that share a class's attributes.

    Returns:
        Whether that is all; it ends where there is more to follow than is tried.
    """
    named = frozenset(function.name for function in functions)
    evaluating = {(function.owner, function.name) for function in functions if "eval" in function.words}
    pending = [function for function in functions if function.needed]
    waiting = [function for function in functions if not function.needed]
    size = sum(function.size for function in pending)
    while pending and size <= _FOLLOWED:
        function = pending.pop()
        called = (function.words & named) - {function.name}
        reached = [
            other
            for other in waiting
            if other.name in called
            or function.name in other.words
            or _shares_objects(function, other)
            or (other.owner in function.words and _is_made_for_inference(other, evaluating))
        ]
        for other in reached:
            other.needed = True
            size += other.size
        if reached:
            waiting = [other for other in waiting if not other.needed]
            pending += reached
    return size <= _FOLLOWED


def _is_made_for_inference(function: _Function, evaluating: set[tuple[str | None, str]]) -> bool:
    """Tell whether a constructor may put what it makes into evaluation mode, by a method of the class or itself."""
    if function.name != "__init__":
        return False
    return "eval" in function.words or any((function.owner, word) in evaluating for word in function.words)


def _shares_objects(function: _Function, other: _Function) -> bool:
    """Tell whether another function can meet what this one loads: by a name around both, or by a class's attribute."""
    if not function.name or "global" in function.words or _is_around(function, other):
        return bool(function.shared & other.words)
    if function.free & other.words:
        return True
    if function.owner is None or function.family != other.family:
        return False
    return other.name == "__init__" or bool(function.shared & other.words)


def _is_around(function: _Function, other: _Function) -> bool:
    outer = other.outer
    while outer is not None and outer is not function:
        outer = outer.outer
    return outer is function


def _cut(
    lines: list[str], functions: Iterable[_Function], literals: Iterable[tuple[int, int, str]]
) -> tuple[str, tuple[int, ...]]:
    """Give the text that is left, and for each of its lines where it came from."""
    kept: list[str] = []
    origin: list[int] = []
    position = 0
    cut = (
        (each.line, each.end, f"{_indentation(lines[each.line - 1])}{each.head}")
        for each in functions
        if not each.needed
    )
    for first, last, text in sorted((*cut, *literals)):
        if first - 1 >= position:
            kept += (*lines[position : first - 1], text)
            origin += range(position + 1, first + 1)
            position = last
    kept += lines[position:]
    origin += range(position + 1, len(lines) + 1)
    return "".join(kept), tuple(origin) or (1,)


def _indentation(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]
