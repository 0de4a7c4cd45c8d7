"""Where the values of a source's names may come from, as Python's own parser tells; see `lint_rules.outline`.

Neither scopes nor the order of statements are told apart: a name may be whatever is bound to it anywhere in the source,
be it a variable, an attribute, a parameter or a function, which stands for what it returns.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from functools import cached_property
from typing import TYPE_CHECKING

from lint_rules import knowledge
from lint_rules.outline import last_name, nodes

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
    from typing import TypeAlias

    from lint_rules.outline import Outline

#: An expression, and whether it is asked for its own value or for what that holds.
Asked: TypeAlias = "tuple[ast.AST, bool]"


def _last_parts(names: Iterable[str]) -> frozenset[str]:
    return frozenset(name.rpartition(".")[2] for name in names)


_TYPES = _last_parts(knowledge.TEXT_TYPES)
_GIVE_TEXT = _last_parts((knowledge.TEXT | knowledge.FILES) - {"os.environ.get"}) | knowledge.TEXT_METHODS
_GIVE_TEXTS = _last_parts(knowledge.TEXT_COLLECTIONS) | knowledge.TEXT_LIST_METHODS
_ARE_TEXT = _last_parts(knowledge.TEXT_ATTRIBUTES)
_HOLD_TEXT = _last_parts(knowledge.TEXT_COLLECTIONS) | {"environ"}
_TESTS = _last_parts(knowledge.TEXT_TESTS)
_METHOD_TESTS = frozenset({"endswith", "startswith", "exists", "is_file"})
_UNIONS = frozenset({"Optional", "Union"})
_REMARKS = frozenset({"Annotated", "ClassVar", "Final"})  # on the type that stands first in them
#: Functions that give an element of what they are given, a collection of the same elements, or the same again.
_ONE = _last_parts(knowledge.ONE_ELEMENT)
_SAME = _last_parts(knowledge.SAME_ELEMENTS | knowledge.COPIERS) | {"dict", "OrderedDict", "enumerate", "zip", "map"}
_ADDS = (ast.Add, ast.Mult, ast.BitOr)
_GETTERS = frozenset({"get", "pop", "popitem", "setdefault"})
_SETTERS = frozenset({"append", "add", "insert", "setdefault"})
_MERGERS = frozenset({"extend", "update"})


class Origins:
    """What may be bound to each name of a source."""

    def __init__(self, outline: Outline) -> None:
        self._outline = outline

    def may_be_text(self, node: ast.expr) -> bool:
        """Tell whether an expression may give a string, a path or an open file."""
        return any(self._is_text(*each) for each in _followed([(node, False)], self._sources))

    def may_be_module(self, node: ast.expr) -> bool:
        """Tell whether an expression may give a module, or something that holds one; what a call gives may be one."""
        asked: list[Asked] = [(node, False), (node, True)]
        return any(self._is_module(*each) for each in _followed(asked, self._sources_of_modules))

    def _is_module(self, node: ast.AST, holds: bool) -> bool:  # noqa: FBT001 -- the parts of `Asked`
        """Tell whether an expression may be, or hold, a module, as far as that depends on itself alone."""
        if isinstance(node, (ast.Name, ast.Attribute)):
            return not self._bound[last_name(node), holds]
        if isinstance(node, ast.Call):
            return not self._gives_tensors(node)
        return isinstance(node, (ast.arg, ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))

    def _sources_of_modules(self, node: ast.AST, holds: bool) -> Iterable[Asked]:  # noqa: FBT001 -- the parts of `Asked`
        if isinstance(node, ast.Call) and self._gives_tensors(node):
            return ()
        if isinstance(node, (ast.Dict, ast.DictComp)) and holds:
            values = node.values if isinstance(node, ast.Dict) else [node.value]
            return [(value, inside) for value in values for inside in (False, True)]
        return self._sources(node, holds)

    def _gives_tensors(self, call: ast.Call) -> bool:
        """Tell whether a call gives a tensor, or the state of a module, whatever it is called on."""
        name = last_name(call.func)
        is_state = name == "state_dict" and name not in self._outline.members
        return isinstance(call.func, ast.Attribute) and (is_state or name in knowledge.ONLY_TENSORS)

    def _is_text(self, node: ast.AST, holds: bool) -> bool:  # noqa: FBT001 -- the parts of `Asked`
        """Tell whether an expression is, or holds, a text by itself."""
        if isinstance(node, ast.Call):
            return self._means(node.func, _GIVE_TEXTS if holds else _GIVE_TEXT)
        if isinstance(node, ast.arg):
            return not holds and node.annotation is not None and self._admits_text(node.annotation)
        if isinstance(node, (ast.Name, ast.Attribute)):
            is_property = isinstance(node, ast.Attribute) and node.attr in knowledge.TEXT_PROPERTIES
            return (is_property and not holds) or self._means(node, _HOLD_TEXT if holds else _ARE_TEXT)
        return not holds and (
            isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))
        )

    def _sources(self, node: ast.AST, holds: bool) -> Iterator[Asked]:  # noqa: FBT001 -- the parts of `Asked`
        """Yield what the value of an expression may be; or what may be in it."""
        if isinstance(node, (ast.Name, ast.Attribute)):
            yield from self._bound[last_name(node), holds]
        elif isinstance(node, ast.Call):
            yield from self._given_by(node, holds=holds)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield ast.arg("", node.returns), holds
            yield from (
                (each.value, holds)
                for each in nodes(node)
                if isinstance(each, (ast.Return, ast.Yield)) and each.value is not None
            )
        elif isinstance(node, ast.Lambda):
            yield node.body, holds
        elif isinstance(node, (ast.NamedExpr, ast.Await, ast.Starred)):
            yield node.value, holds
        elif isinstance(node, ast.Subscript):
            yield from self._taken_by(node, holds=holds)
        elif isinstance(node, ast.IfExp):
            yield from ((node.body, holds), (node.orelse, holds))
        elif isinstance(node, ast.BoolOp):
            yield from ((each, holds) for each in node.values)
        elif isinstance(node, ast.BinOp) and isinstance(node.op, _ADDS if holds else ast.operator):
            yield from ((node.left, holds), (node.right, holds))
        elif holds:
            yield from _elements(node)

    def _taken_by(self, node: ast.Subscript, *, holds: bool) -> Iterator[Asked]:
        yield node.value, True
        if not _is_key(node.slice):
            yield node.value, holds
        elif isinstance(node.slice, ast.Constant) and self._options_are_dict:
            yield ast.Name(str(node.slice.value)), holds

    def _given_by(self, call: ast.Call, *, holds: bool) -> Iterator[Asked]:
        called = last_name(call.func)
        yield call.func, holds
        if isinstance(call.func, ast.Attribute) and (holds or called in _GETTERS):
            yield call.func.value, True
        given = (*call.args, *(keyword.value for keyword in call.keywords))
        if called in _ONE:
            yield from ((each, True) for each in given)
            yield from ((each, holds) for each in given)
        elif called in _SAME:
            yield from ((each, holds) for each in given)
            if holds:
                yield from ((each, False) for each in given)
        elif called == "partial" or "functools.partial" in self._outline.meanings(call.func):
            yield from ((each, holds) for each in call.args[:1])

    def _admits_text(self, annotation: ast.AST) -> bool:
        """Tell whether an annotation, or a tuple of types, admits nothing but strings and paths, and None."""
        if isinstance(annotation, ast.Subscript) and self._means(annotation.value, _UNIONS):
            annotation = annotation.slice
        elif isinstance(annotation, ast.Subscript) and self._means(annotation.value, _REMARKS):
            inside = annotation.slice
            return self._admits_text(inside.elts[0] if isinstance(inside, ast.Tuple) else inside)
        if isinstance(annotation, ast.Constant):
            return isinstance(annotation.value, str)
        if isinstance(annotation, (ast.BinOp, ast.Tuple)):
            parts = annotation.elts if isinstance(annotation, ast.Tuple) else (annotation.left, annotation.right)
            known = [part for part in parts if not (isinstance(part, ast.Constant) and part.value is None)]
            return bool(known) and all(map(self._admits_text, known))
        base = annotation.value if isinstance(annotation, ast.Subscript) else annotation
        return self._means(base, _TYPES)

    def _means(self, node: ast.AST, names: Collection[str]) -> bool:
        """Tell whether an expression may stand for something of one of some names, whatever module it is from."""
        known = self._outline.meanings(node) if isinstance(node, ast.expr) else ()
        return last_name(node) in names or not _last_parts(known).isdisjoint(names)

    @cached_property
    def _options_are_dict(self) -> bool:
        """Whether the options of a command line may be read by `args["name"]`."""
        return any(last_name(call.func) == "vars" for call in self._outline.calls)

    @cached_property
    def _bound(self) -> defaultdict[tuple[str, bool], list[Asked]]:
        """What each name may be, and what it may hold."""
        found: defaultdict[tuple[str, bool], list[Asked]] = defaultdict(list)
        for target, value, of in self._bindings():
            _bind(found, target, value, of)
        return found

    def _bindings(self) -> Iterator[tuple[ast.AST, ast.AST, str]]:
        """Yield what is bound: a target, a value, and which is part of which."""
        outline = self._outline
        for node in outline.of(ast.Assign):
            yield from ((target, node.value, _SELF) for target in node.targets)
        for node in outline.of(ast.AnnAssign, ast.AugAssign, ast.NamedExpr):
            if node.value is not None:
                yield node.target, node.value, _SELF
        for node in outline.of(ast.AnnAssign):
            yield node.target, ast.arg("", node.annotation), _SELF
        for node in outline.of(ast.Match):
            yield from (each for case in node.cases for each in _captured(case.pattern, node.subject, _SELF))
        for node in outline.of(ast.For, ast.AsyncFor, ast.comprehension):
            yield node.target, node.iter, _ITEM
        for node in outline.of(ast.withitem):
            if node.optional_vars is not None:
                yield node.optional_vars, node.context_expr, _SELF
        for node in outline.of(ast.FunctionDef, ast.AsyncFunctionDef):
            yield ast.Name(node.name), node, _SELF
        for node in outline.of(ast.arguments):
            yield from _parameters(node)
        for call in outline.calls:
            yield from self._passed(call)

    def _passed(self, call: ast.Call) -> Iterator[tuple[ast.AST, ast.AST, str]]:
        """Yield what a call binds to parameters and fields, puts into a container, or tells of its arguments."""
        called = last_name(call.func)
        places, several = self._by_position, [ast.Name(name) for name in self._by_position[called, _SEVERAL]]
        for number, value in enumerate(call.args):
            if isinstance(value, ast.Starred):
                yield from ((ast.Name(name), value.value, _ITEM) for name in places[called, _ANY])
                yield from ((name, value.value, _SELF) for name in several)
            else:
                yield from ((ast.Name(name), value, _SELF) for name in places[called, number])
                yield from ((name, value, _HELD) for name in several)
        for keyword in call.keywords:
            yield ast.Name(keyword.arg or ""), keyword.value, _SELF
            yield from ((name, keyword.value, _HELD) for name in several)
        if called == "add_argument":
            options = [each for each in call.args if isinstance(each, ast.Constant)]
            options += [each.value for each in call.keywords if isinstance(each.value, ast.Constant)]
            for option in options:
                yield ast.Name(str(option.value).lstrip("-").replace("-", "_")), _SOME_TEXT, _SELF
        elif call.args and (called in _TESTS or (called == "isinstance" and self._admits_text(call.args[-1]))):
            yield call.args[0], _SOME_TEXT, _SELF
        elif isinstance(call.func, ast.Attribute):
            if called in _METHOD_TESTS:
                yield call.func.value, _SOME_TEXT, _SELF
            elif called in _SETTERS:
                yield from ((call.func.value, value, _HELD) for value in call.args)
            elif called in _MERGERS:
                yield from ((call.func.value, value, _SELF) for value in call.args)

    @cached_property
    def _by_position(self) -> defaultdict[tuple[str, int], set[str]]:
        """The parameters of each function, and parameters or fields of each class, by place.

        Whether a call passes `self` cannot be told, so a method's parameters stand in two places.
        """
        found: defaultdict[tuple[str, int], set[str]] = defaultdict(set)
        for node in self._outline.of(ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda):
            _place(found, node.name if not isinstance(node, ast.Lambda) else "", node.args)
        for node in self._outline.classes:
            for each in node.body:
                if isinstance(each, ast.FunctionDef) and each.name in {"__init__", "__new__"}:
                    _place(found, node.name, each.args)
            fields = [last_name(each.target) for each in node.body if isinstance(each, ast.AnnAssign)]
            for number, name in enumerate(fields):
                found[node.name, number].add(name)
                found[node.name, _ANY].add(name)
        return found


#: How a target and a value belong together: they are the same, the target is an element of the value, or holds it.
_SELF, _ITEM, _HELD = "same", "item", "held"
#: The places of all parameters that take one argument, and of those that take several.
_ANY, _SEVERAL = -1, -2
_SOME_TEXT = ast.Constant("")


def _followed(asked: list[Asked], sources: Callable[[ast.AST, bool], Iterable[Asked]]) -> Iterator[Asked]:
    """Yield expressions, and all that they may get their values from."""
    seen = {*asked}
    for each in asked:
        yield each
        new = set(sources(*each)) - seen
        seen |= new
        asked += new


def _bind(found: dict[tuple[str, bool], list[Asked]], target: ast.AST, value: ast.AST, of: str) -> None:
    if isinstance(target, (ast.Tuple, ast.List)):
        for each in target.elts:
            _bind(found, each, value, _ITEM)
        return
    while isinstance(target, (ast.Subscript, ast.Starred)):
        of = _HELD if isinstance(target, ast.Subscript) else of
        target = target.value
    name = last_name(target)
    if of == _HELD:
        found[name, True] += [(value, False), (value, True)]
    else:
        found[name, False].append((value, of == _ITEM))
        found[name, True].append((value, True))


def _captured(pattern: ast.pattern, subject: ast.expr, of: str) -> Iterator[tuple[ast.AST, ast.AST, str]]:
    """Yield what a pattern binds to what it matches, or to an element of that."""
    if isinstance(pattern, ast.MatchAs):
        if pattern.name is not None:
            yield ast.Name(pattern.name), subject, of
        if pattern.pattern is not None:
            yield from _captured(pattern.pattern, subject, of)
    elif isinstance(pattern, ast.MatchSequence):
        yield from (each for part in pattern.patterns for each in _captured(part, subject, _ITEM))


def _parameters(arguments: ast.arguments) -> Iterator[tuple[ast.AST, ast.AST, str]]:
    """Yield parameters with themselves, whose annotations may say what they are, and with their defaults."""
    by_position = [*arguments.posonlyargs, *arguments.args]
    for arg in (*by_position, *arguments.kwonlyargs):
        yield ast.Name(arg.arg), arg, _SELF
    for arg, default in zip(by_position[::-1], arguments.defaults[::-1], strict=False):
        yield ast.Name(arg.arg), default, _SELF
    for arg, given in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        if given is not None:
            yield ast.Name(arg.arg), given, _SELF


def _place(found: dict[tuple[str, int], set[str]], function: str, arguments: ast.arguments) -> None:
    by_position = [arg.arg for arg in (*arguments.posonlyargs, *arguments.args)]
    is_method = by_position[:1] in (["self"], ["cls"])
    for number, name in enumerate(by_position[is_method:]):
        for place in (number, number + is_method, _ANY):
            found[function, place].add(name)
    for each in (arguments.vararg, arguments.kwarg):
        if each is not None:
            found[function, _SEVERAL].add(each.arg)


def _elements(node: ast.AST) -> Iterator[Asked]:
    """Yield what a written container holds, and what that holds in turn."""
    held: Sequence[ast.expr | None] = ()
    if isinstance(node, (ast.Tuple, ast.List, ast.Set)):
        held = node.elts
    elif isinstance(node, ast.Dict):
        held = [*node.keys, *node.values]
    elif isinstance(node, ast.DictComp):
        held = [node.key, node.value]
    elif isinstance(node, (ast.ListComp, ast.SetComp, ast.GeneratorExp)):
        held = [node.elt]
    yield from ((each, inside) for each in held if each is not None for inside in (False, True))


def _is_key(index: ast.AST) -> bool:
    """Tell whether an index is a text, by which a text cannot be cut."""
    return isinstance(index, ast.JoinedStr) or (isinstance(index, ast.Constant) and isinstance(index.value, str))
