"""Whether a source runs anything that it may have loaded, as Python's own parser tells; see `lint_rules.outline`.

The order of statements is not told apart. A variable is known by its name and the function that binds it, an attribute
by its name behind a dot, and what a function gives, or an object of a class, by the name with `()` behind it. Where two
of these may be the same object, or one may be a part of the other, what is loaded into one is in the other too.
"""

from __future__ import annotations

import ast
import builtins
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from lint_rules import knowledge
from lint_rules.loading import STATE_METHOD, is_copied, is_written
from lint_rules.outline import last_name

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from lint_rules.outline import Outline


def _last_parts(names: Iterable[str]) -> frozenset[str]:
    return frozenset(name.rpartition(".")[2] for name in names)


#: Functions that give what they are given, or an element of it.
_SAME = _last_parts(knowledge.COPIERS | knowledge.SAME_ELEMENTS) | {"enumerate", "zip", "map"}
_ONE = _last_parts(knowledge.ONE_ELEMENT)
#: Methods that give what they are called on, or a part of it.
_OF_ITSELF = knowledge.SAME_MODULE | knowledge.PART_METHODS | {"copy", "get", "items", "pop", "popitem", "values"}
#: Methods that run nothing.
_AT_REST = _OF_ITSELF | knowledge.WEIGHT_METHODS | {"buffers", "named_buffers", "state_dict", STATE_METHOD, "keys"}
_FILLERS = frozenset({"add", "append", "extend", "insert", "setdefault", "update"})
#: Calls that give pairs, of which the second is what they are called on or given.
_PAIRS = frozenset({"items", "enumerate", "named_children", "named_modules"})
#: Attributes of tensors that are neither modules nor parts of one.
_PLAIN = frozenset({"device", "dtype", "shape"})
_PROPERTIES = frozenset({"property", "cached_property"})
_NO_MODULES = _last_parts(knowledge.PLAIN_BASES)
#: Functions that run what they are given.
_BUILTINS = frozenset(dir(builtins))
_CALLERS = _last_parts(knowledge.TRACERS) | {"map"}
#: What `torch.load` gives.
_FROM_FILE = "torch.load()"


class _Value(NamedTuple):
    """What an expression may be, and what that may be a part of."""

    same: frozenset[str] = frozenset()
    wholes: frozenset[str] = frozenset()

    @property
    def all(self) -> frozenset[str]:
        return self.same | self.wholes

    def joined(self, other: _Value) -> _Value:
        return _Value(self.same | other.same, self.wholes | other.wholes)


_NOTHING = _Value()


class Loaded:
    """What a source may load, and where that may be.

    Args:
        outline: The source's calls and statements, and what its names may stand for.
    """

    def __init__(self, outline: Outline) -> None:
        self._outline = outline
        loads = outline.calls_of(knowledge.LOAD)
        self._is_known = loads is not None
        self._loads = frozenset(loads or ())
        self._states = [
            call
            for call in outline.methods(STATE_METHOD)
            if not (is_written(call) if self._loads else is_copied(call, outline))
        ]

    def may_run(self) -> bool:
        """Tell whether a module that may have been loaded, or a part of one, may be called.

        Returns:
            False only where `lint_rules.flow` would see no use of a loaded module.
        """
        if not self._is_known:
            return True
        if not self._loads and not self._states:
            return False
        calls = list(self._candidates())
        if not calls:
            return False
        self._places = _Places(self._outline)
        self._leads: defaultdict[str, set[str]] = defaultdict(set)
        self._aliases: set[str] = set()
        self._connect()
        loaded = self._reached()
        return any(self._runs(call, loaded) for call in calls)

    def _candidates(self) -> Iterator[ast.Call]:
        """Yield the calls of what may be a variable, or an attribute that is no method.

        An attribute that is called, and nothing else anywhere, is a method, unless its name says that it runs a module.
        """
        outline = self._outline
        called = {call.func for call in outline.calls}
        layers = {node.attr for node in outline.of(ast.Attribute) if node not in called}
        layers |= {last_name(each) for node in outline.classes for each in _targets(node)}
        layers |= {node.name for node in outline.of(ast.FunctionDef, ast.AsyncFunctionDef) if _is_property(node)}
        layers |= {"__call__", "module", *_CALLERS}
        imports = (alias for node in outline.of(ast.Import, ast.ImportFrom) for alias in node.names)
        others = {alias.asname or alias.name.partition(".")[0] for alias in imports} | _BUILTINS
        variables = {node.id for node in outline.of(ast.Name) if type(node.ctx) is ast.Store}
        variables |= {node.arg for node in outline.of(ast.arg)}
        functions, others = outline.defined - variables, others - variables
        for call in outline.calls:
            name = last_name(call.func)
            is_layer = name in layers or knowledge.INFERENCE.match(name) is not None
            is_method = isinstance(call.func, ast.Attribute) and (name in _AT_REST or not is_layer)
            is_function = isinstance(call.func, ast.Name) and name in functions
            if name in _CALLERS or not (is_method or is_function or _root(call.func) in others):
                yield call

    def _reached(self) -> set[str]:
        """Give all that what is loaded may go by."""
        receivers = (call.func.value for call in self._states if isinstance(call.func, ast.Attribute))
        loaded = {_FROM_FILE}.union(*(self._value(each).same for each in receivers))
        pending = list(loaded)
        while pending:
            new = self._leads[pending.pop()] - loaded
            loaded |= new
            pending += new
        return loaded

    def _runs(self, call: ast.Call, loaded: Collection[str]) -> bool:
        """Tell whether one of these calls may run something loaded."""
        function = call.func
        if last_name(function) in _CALLERS and any(self._is_among(loaded, arg) for arg in call.args):
            return True
        if isinstance(function, ast.Attribute):
            return f".{function.attr}" in loaded or self._is_among(loaded, function.value)
        return self._is_among(loaded, function)

    def _is_among(self, loaded: Collection[str], node: ast.expr) -> bool:
        return not self._value(node).all.isdisjoint(loaded)

    # What an expression may be

    def _value(self, node: ast.AST | None) -> _Value:
        if isinstance(node, ast.Name):
            return _Value(frozenset({self._places.name(node.id, node.lineno)}))
        if isinstance(node, ast.Attribute):
            return self._attribute(node, self._value(node.value))
        if isinstance(node, ast.Call):
            return self._given_by(node)
        if isinstance(node, (ast.Subscript, ast.Starred, ast.Await)):
            return self._value(node.value)
        found = _NOTHING
        for part in _parts(node):
            found = found.joined(self._value(part))
        return found

    def _attribute(self, node: ast.Attribute, base: _Value) -> _Value:
        if node.attr in _PLAIN:
            return _NOTHING
        same, wholes = frozenset({f".{node.attr}"}), base.all
        if node.attr == "module":  # of what wraps it
            same |= base.same
        if node.attr in self._places.made:  # the constructor's, whatever is loaded into the object
            wholes = frozenset(each for each in wholes if not each.endswith("()"))
        return _Value(same, wholes)

    def _given_by(self, call: ast.Call) -> _Value:
        if call in self._loads:
            return _Value(frozenset({_FROM_FILE}))
        function, name = call.func, self._places.called(call)
        base = self._value(function.value) if isinstance(function, ast.Attribute) else _NOTHING
        called = self._attribute(function, base) if isinstance(function, ast.Attribute) else self._value(function)
        names = (name, *called.same)
        found = _Value(frozenset(f"{each}()" for each in names if self._gives(each)))
        if isinstance(function, ast.Attribute) and name in _OF_ITSELF:
            found = found.joined(base)
        meanings = self._outline.meanings(function)
        passes = name in _SAME or (name in _ONE and len(call.args) == 1)
        passes = passes or any(map(knowledge.WRAPPERS.match, meanings))
        if passes or any(meaning.startswith("torch.nn.") for meaning in meanings):
            for arg in _given(call):
                given = self._value(arg)
                found = found.joined(given if passes else _Value(wholes=given.all))
        return found

    def _gives(self, name: str) -> bool:
        """Tell whether something is a function or class of the source, or another name for one."""
        return name in self._places.functions or name in self._aliases

    # What is bound to what

    def _connect(self) -> None:
        """Note where what is in one place may be found as well."""
        outline = self._outline
        for node in outline.of(ast.Assign):
            self._bind(node.targets, self._value(node.value))
        for node in outline.of(ast.AnnAssign, ast.AugAssign, ast.NamedExpr):
            self._bind([node.target], self._value(node.value))
        for node in outline.of(ast.For, ast.AsyncFor, ast.comprehension):
            self._loop(node.target, node.iter)
        for node in outline.of(ast.withitem):
            if node.optional_vars is not None:
                self._bind([node.optional_vars], self._value(node.context_expr))
        for node in outline.of(ast.Return, ast.Yield, ast.YieldFrom):
            self._bind_names([f"{self._places.function(node)}()"], self._value(node.value))
        for node in outline.of(ast.FunctionDef, ast.AsyncFunctionDef):
            if _is_property(node):
                self._bind_names([f".{node.name}"], _Value(frozenset({f"{node.name}()"})))
        for node in outline.classes:
            self._declare(node)
        for call in outline.calls:
            self._pass(call)

    def _loop(self, target: ast.expr, source: ast.expr) -> None:
        name = last_name(source.func) if isinstance(source, ast.Call) else ""
        if isinstance(target, ast.Tuple) and isinstance(source, ast.Call):
            if name == "zip" and len(target.elts) == len(source.args):
                for each, values in zip(target.elts, source.args, strict=True):
                    self._bind([each], self._value(values))
                return
            if name in _PAIRS:
                target = target.elts[-1]
        self._bind([target], self._value(source))

    def _declare(self, node: ast.ClassDef) -> None:
        """Note what a class inherits in its source, and the attributes that it sets for its objects."""
        for base in map(last_name, node.bases):
            if base in self._outline.defined:
                self._bind_names([f"{node.name}()"], _Value(frozenset({f"{base}()"})))
        for target in _targets(node):
            self._bind_names([f".{last_name(target)}"], self._value(target))

    def _pass(self, call: ast.Call) -> None:
        """Bind what a call of a function or class of the source passes, or what it puts into a container."""
        function, name = call.func, self._places.called(call)
        if isinstance(function, ast.Attribute) and name in _FILLERS:
            for arg in call.args:
                self._bind([function.value], self._value(arg))
        elif isinstance(function, ast.Attribute) and name == "apply":
            for arg in call.args:
                self._bind_names(self._places.taken(arg), self._value(function.value))
        homes, fields = self._places.functions.get(name, ()), self._places.fields.get(name)
        if not homes and not fields:
            return
        of_class = isinstance(function, ast.Attribute) and last_name(function.value) in self._outline.defined
        by_position = [(isinstance(arg, ast.Starred), self._value(arg)) for arg in call.args]
        by_name = [(keyword.arg, self._value(keyword.value)) for keyword in call.keywords]
        for home in homes:
            places = home.parameters[home.is_method and not of_class :]
            for number, (several, value) in enumerate(by_position):
                self._bind_names(places if several else places[number : number + 1], value)
            for given, value in by_name:
                self._bind_names((each for each in places if given in {None, each.rpartition(":")[2]}), value)
        for _, value in (*by_position, *by_name):
            self._bind_names(fields or (), value)

    def _bind(self, targets: Iterable[ast.expr], value: _Value) -> None:
        for target in targets:
            if isinstance(target, (ast.Tuple, ast.List)):
                self._bind(target.elts, value)
            else:
                same = self._value(target).same
                self._bind_names(same, value)
                if isinstance(target, ast.Attribute):
                    for name in same:
                        self._leads[name] |= self._value(target.value).all - self._places.plain

    def _bind_names(self, names: Iterable[str], value: _Value) -> None:
        for name in names:
            self._leads[name] |= value.same
            for each in value.all:
                self._leads[each].add(name)
            for each in (each.lstrip(".") for each in value.same):
                if self._gives(each):
                    self._aliases.add(name)
                    self._leads[f"{name}()"].add(f"{each}()")
                    self._leads[f"{each}()"].add(f"{name}()")


@dataclass(slots=True, eq=False)
class _Home:
    """A function or lambda, with the names that it binds and those of its parameters; the module has no number."""

    name: str
    owner: str
    number: int
    outer: _Home | None = None
    bound: set[str] = field(default_factory=set)
    parameters: tuple[str, ...] = ()

    @property
    def is_method(self) -> bool:
        """Whether it takes the object, or the class, that it is called on."""
        return self.parameters[:1] in {(f"{self.owner}()",), (self.owner,)}


class _Places:
    """Which function and which class each line of a source stands in.

    Attributes:
        functions: The functions that each name stands for; for a class, its constructors.
        fields: The attributes that each class declares.
        plain: The objects of classes that are no modules.
        made: The attributes that constructors set.
    """

    def __init__(self, outline: Outline) -> None:
        last = max((node.end_lineno or 0 for node in outline.tree.body), default=0)
        self._outline = outline
        self._homes = [_Home("", "", 0)] * (last + 1)
        self._owners = [""] * (last + 1)
        self.functions: defaultdict[str, list[_Home]] = defaultdict(list)
        self.fields: defaultdict[str, list[str]] = defaultdict(list)
        self.plain: set[str] = set()
        self._verdicts: dict[ast.ClassDef, bool] = {}
        self._classes: defaultdict[str, list[ast.ClassDef]] = defaultdict(list)
        for node in outline.classes:
            self._classes[node.name].append(node)
        self._enter([*outline.of(ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)])
        targets = (target for node in outline.of(ast.Assign) for target in node.targets)
        attributes = (target for target in targets if isinstance(target, ast.Attribute))
        self.made = frozenset(each.attr for each in attributes if self.function(each) == "__init__")

    def function(self, node: ast.expr | ast.stmt) -> str:
        """Name the function that a node stands in."""
        return self._homes[node.lineno].name

    def name(self, name: str, line: int) -> str:
        """Give what a variable goes by; `self` and `cls` are known by their class."""
        owner = self._owners[line]
        if owner and name in {"self", "cls"}:
            return f"{owner}()" if name == "self" else owner
        home: _Home | None = self._homes[line]
        while home is not None and home.number and name not in home.bound:
            home = home.outer
        return f"{home.number}:{name}" if home is not None and home.number else name

    def called(self, call: ast.Call) -> str:
        """Name the function, method or class that is called."""
        name = last_name(call.func)
        return self.name(name, call.lineno) if name == "cls" else name

    def taken(self, function: ast.expr) -> Iterator[str]:
        """Yield the parameters of a function that is handed on."""
        if isinstance(function, ast.Lambda):
            yield from self._parameters(function.args)
        for home in self.functions.get(last_name(function), ()):
            yield from home.parameters

    def _enter(self, found: Sequence[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]) -> None:
        homes: list[tuple[_Home, ast.arguments]] = []
        for number, node in enumerate(sorted(found, key=lambda each: each.lineno), 1):
            lines = slice(node.lineno, (node.end_lineno or node.lineno) + 1)
            if isinstance(node, ast.ClassDef):
                self._owners[lines] = [node.name] * (lines.stop - lines.start)
                self._class(node)
                continue
            home = _Home(node.name, self._owners[node.lineno], number, self._homes[node.lineno])
            self._homes[lines] = [home] * (lines.stop - lines.start)
            homes.append((home, node.args))
            self.functions[node.name].append(home)
            if node.name == "__init__":
                self.functions[home.owner].append(home)
        for node in self._outline.of(ast.Assign):
            if isinstance(node.value, ast.Lambda):
                home = _Home("", "", number=self._homes[node.lineno].number)
                homes.append((home, node.value.args))
                for target in node.targets:
                    self.functions[last_name(target)].append(home)
        self._bind_variables()
        for home, arguments in homes:
            home.parameters = tuple(self._parameters(arguments))
        for node in self._outline.classes:
            constructors = self.functions[node.name]
            for base in map(last_name, node.bases):
                constructors += self.functions.get(base, ())
                self.fields[node.name] += self.fields.get(base, ())

    def _class(self, node: ast.ClassDef) -> None:
        declared = (each.target for each in node.body if isinstance(each, ast.AnnAssign))
        self.fields[node.name] += [f".{last_name(each)}" for each in declared]
        if not self._may_be_module(node):
            self.plain.add(f"{node.name}()")

    def _bind_variables(self) -> None:
        for name in self._outline.of(ast.Name):
            if type(name.ctx) is ast.Store:
                self._homes[name.lineno].bound.add(name.id)
        for arg in self._outline.of(ast.arg):
            self._homes[arg.lineno].bound.add(arg.arg)
        for shared in self._outline.of(ast.Global, ast.Nonlocal):
            self._homes[shared.lineno].bound.difference_update(shared.names)

    def _parameters(self, arguments: ast.arguments) -> Iterator[str]:
        """Yield the parameters that take one argument each, those that are given by position first."""
        for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
            yield self.name(each.arg, each.lineno)

    def _may_be_module(self, node: ast.ClassDef) -> bool:
        """Tell whether a class may be a module: one without bases of unknown origin is none."""
        known = self._verdicts.get(node)
        if known is None:
            self._verdicts[node] = True  # while it is not known: its name may be that of one of its bases
            known = self._verdicts[node] = any(map(self._may_be_base, node.bases))
        return known

    def _may_be_base(self, node: ast.expr) -> bool:
        name = last_name(node.value if isinstance(node, ast.Subscript) else node)
        if inherited := self._classes.get(name):
            return any(map(self._may_be_module, inherited))
        return name not in _NO_MODULES and knowledge.SERVERS.search(name) is None


def _root(node: ast.expr) -> str:
    """Give the name that a chain of attributes begins with."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return last_name(node)


def _is_property(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any(last_name(each) in _PROPERTIES for each in node.decorator_list)


def _targets(node: ast.ClassDef) -> Iterator[ast.expr]:
    """Yield what a class binds for all its objects, or declares for each."""
    for each in node.body:
        if isinstance(each, ast.Assign):
            yield from each.targets
        elif isinstance(each, ast.AnnAssign):
            yield each.target


def _given(call: ast.Call) -> Iterator[ast.expr]:
    yield from call.args
    yield from (keyword.value for keyword in call.keywords)


def _parts(node: ast.AST | None) -> Sequence[ast.AST | None]:
    """Give the expressions one of which an expression gives, or all of which it holds."""
    if isinstance(node, ast.NamedExpr):
        return (node.target, node.value)
    if isinstance(node, ast.IfExp):
        return (node.body, node.orelse)
    if isinstance(node, (ast.BoolOp, ast.Dict)):
        return node.values
    if isinstance(node, (ast.Tuple, ast.List, ast.Set)):
        return node.elts
    if isinstance(node, ast.DictComp):
        return (node.value,)
    if isinstance(node, (ast.ListComp, ast.SetComp, ast.GeneratorExp)):
        return (node.elt,)
    return (node.body,) if isinstance(node, ast.Lambda) else ()
