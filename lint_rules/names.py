"""What a name stands for: import aliases and rebinding -> dotted name, or None when unsure.

The resolver reads bindings, not the order of execution: a name stands for something only where every binding of it in
its scope agrees, so a conditional import of two different things, a parameter or a loop variable that shadows an
import, and a name that is rebound later are all unknown. Binding a name to `None` besides (`except ImportError:
torch = None`) does not count as disagreement, because a call through it would fail at once.
"""

from __future__ import annotations

import builtins
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, ClassVar

import libcst as cst

from lint_rules.tree import children, dotted, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_BUILTINS = frozenset(vars(builtins))
_PARTIAL = ("functools.partial", "functools.partialmethod")
_IMPORTERS = ("importlib.import_module", "builtins.__import__")
_UNIONS = ("Optional", "Union")
_REMARKS = ("Annotated", "ClassVar", "Final")  # on the type that stands first in them
#: Functions that one may import from either of two modules.
_ALIASES = {"torch.serialization.load": "torch.load", "torch.serialization.save": "torch.save"}
_STAR_EXPORTS = {"torch": frozenset({"load", "save", "device", "no_grad", "tensor", "jit", "nn", "optim"})}


class Place(Enum):
    """What kind of code opens a scope."""

    MODULE = auto()
    CLASS = auto()
    FUNCTION = auto()
    COMPREHENSION = auto()


@dataclass(frozen=True, slots=True)
class Target:
    """What an expression stands for.

    Attributes:
        name: The dotted name of where it is defined, such as `"torch.load"`.
        given: Arguments that `functools.partial` has already bound.
    """

    name: str
    given: tuple[cst.Arg, ...] = ()


@dataclass(slots=True, eq=False)
class Scope:
    """The names that one module, class, function or comprehension binds.

    Attributes:
        place: What opens it.
        parent: The scope around it; None for the module.
        bindings: For each name everything it is bound to here: a dotted name from an import, an expression, or None
            for anything that cannot be followed (a parameter, a loop variable, a definition).
        outer: Names declared `global` or `nonlocal`, and the scope that they belong to.
        stars: Modules whose names were imported with `*`.
        typing: Names that are bound for annotations only, below `if TYPE_CHECKING`, and missing when the code runs.
    """

    place: Place
    parent: Scope | None = None
    bindings: dict[str, list[str | cst.BaseExpression | None]] = field(default_factory=dict)
    outer: dict[str, Scope] = field(default_factory=dict)
    stars: list[str] = field(default_factory=list)
    typing: set[str] = field(default_factory=set)

    def bind(self, name: str, value: str | cst.BaseExpression | None) -> None:
        """Record one binding of a name."""
        home = self.outer.get(name, self)
        home.bindings.setdefault(name, []).append(value)
        home.typing.discard(name)

    def owner(self, name: str) -> Scope | None:
        """Find the scope that a name read in this one belongs to; None if nothing in the file binds it."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.outer:
                return scope.outer[name]
            if name in scope.bindings and (scope is self or scope.place is not Place.CLASS):
                return scope
            scope = scope.parent
        return None

    @property
    def module(self) -> Scope:
        """The outermost scope."""
        scope = self
        while scope.parent is not None:
            scope = scope.parent
        return scope


class Names:
    """The names of one file.

    Attributes:
        module: The file's outermost scope.
        calls: Every call with the scope that it stands in, in source order.
        assigned_attributes: The name of every attribute that is assigned anywhere.
    """

    def __init__(self, tree: cst.Module) -> None:
        self.module = Scope(Place.MODULE)
        self.calls: list[tuple[cst.Call, Scope]] = []
        self._scopes: dict[int, Scope] = {id(tree): self.module}
        self._known: dict[tuple[int, str], Target | None] = {}
        self._patched: list[tuple[cst.Attribute, Scope]] = []
        self._own: dict[tuple[int, str], list[tuple[cst.BaseExpression | None, Scope]]] = {}
        for statement in tree.body:
            self._read(statement, self.module)
        followed = (self._follow(node, scope) for node, scope in self._patched)
        self.assigned_attributes = frozenset(node.attr.value for node, _ in self._patched)
        self._replaced = frozenset(target.name for target in followed if target)

    def scope(self, node: cst.CSTNode) -> Scope:
        """Give the scope that a module, function, class, lambda or comprehension opens."""
        return self._scopes[id(node)]

    def resolve(self, node: cst.BaseExpression, scope: Scope) -> str | None:
        """Give the dotted name that an expression stands for, or None when unsure; partials are unsure."""
        target = self.target(node, scope)
        return target.name if target and not target.given else None

    def target(self, node: cst.BaseExpression, scope: Scope) -> Target | None:
        """Give what an expression stands for, seen through `functools.partial`, or None when unsure."""
        target = self._follow(node, scope)
        return None if target is None or target.name in self._replaced else target

    def written(self, node: cst.BaseExpression, scope: Scope) -> Target | None:
        """Give what an expression would stand for if the file assigned nothing else to it (`torch.load = ...`)."""
        return self._follow(node, scope)

    def attribute(self, node: cst.BaseExpression, scope: Scope) -> Target | None:
        """Give what an attribute of `self` stands for, if its class sets it to one thing only."""
        if not isinstance(node, cst.Attribute) or not isinstance(node.value, cst.Name):
            return None
        home = self.class_of(node.value.value, scope)
        if home is None:
            return None
        found = {
            self._follow(value, where) if value is not None else None
            for value, where in self._own.get((id(home), node.attr.value), ())
        }
        found |= {self._static(value, home) for value in home.bindings.get(node.attr.value, ())}
        target = found.pop() if len(found) == 1 else None
        return None if target is None or target.name in self._replaced else target

    def admitted(self, annotation: cst.BaseExpression, scope: Scope) -> list[cst.BaseExpression]:
        """Give the types that an annotation admits besides None; unions and quoted annotations are taken apart."""
        text = text_of(annotation)
        if text is not None:
            try:
                return self.admitted(cst.parse_expression(text), scope)
            except cst.ParserSyntaxError:
                return [annotation]
        if isinstance(annotation, cst.BinaryOperation) and isinstance(annotation.operator, cst.BitOr):
            return [each for side in (annotation.left, annotation.right) for each in self.admitted(side, scope)]
        if isinstance(annotation, cst.Subscript):
            inside = [part.slice.value for part in annotation.slice if isinstance(part.slice, cst.Index)]
            name = (self.resolve(annotation.value, scope) or "").removeprefix("typing.")
            if name in _UNIONS or name in _REMARKS:
                return [
                    each for part in inside[: None if name in _UNIONS else 1] for each in self.admitted(part, scope)
                ]
        return [] if dotted(annotation) == "None" else [annotation]

    def _static(self, value: str | cst.BaseExpression | None, scope: Scope) -> Target | None:
        """Give what `staticmethod(...)` in the body of a class makes an attribute; anything else becomes a method."""
        if not isinstance(value, cst.Call) or len(value.args) != 1:
            return None
        maker = self._follow(value.func, scope)
        return self._follow(value.args[0].value, scope) if maker == Target("builtins.staticmethod") else None

    @staticmethod
    def class_of(name: str, scope: Scope) -> Scope | None:
        """Give the class whose method has a name for its object; None if it is no such name."""
        owner = scope.owner(name) if name == "self" else None
        is_method = owner is not None and owner.place is Place.FUNCTION
        home = owner.parent if owner is not None and is_method else None
        return home if home is not None and home.place is Place.CLASS else None

    def constant(self, node: cst.BaseExpression, scope: Scope) -> cst.BaseExpression:
        """Follow a name to the one expression that it is bound to; give the expression itself where there is none."""
        seen: set[str] = set()
        while isinstance(node, cst.Name) and node.value not in seen:
            seen.add(node.value)
            owner = scope.owner(node.value)
            values = owner.bindings.get(node.value, []) if owner is not None else []
            if owner is None or len(values) != 1 or not isinstance(values[0], cst.BaseExpression):
                break
            node, scope = values[0], owner
        return node

    def _follow(self, node: cst.BaseExpression, scope: Scope) -> Target | None:
        if isinstance(node, cst.Name):
            return self._name(node.value, scope)
        if isinstance(node, cst.Attribute):
            base = self._follow(node.value, scope)
            return Target(f"{base.name}.{node.attr.value}") if base and not base.given else None
        if isinstance(node, cst.Call):
            return self._called(node, scope)
        if isinstance(node, cst.NamedExpr):
            return self._follow(node.value, scope)
        return None

    def _called(self, node: cst.Call, scope: Scope) -> Target | None:
        function = self._follow(node.func, scope)
        if function is None or not node.args or node.args[0].star or node.args[0].keyword:
            return None
        first = node.args[0].value
        if function.name in _IMPORTERS:
            module = text_of(first)
            return Target(module) if module and (len(node.args) == 1) else None
        if function.name in _PARTIAL:
            target = self._follow(first, scope)
            return Target(target.name, (*target.given, *node.args[1:])) if target else None
        return None

    def _name(self, name: str, scope: Scope) -> Target | None:
        owner = scope.owner(name)
        if owner is None:
            return self._free(name, scope.module)
        key = (id(owner), name)
        if key not in self._known:
            self._known[key] = None  # what a name is bound to through itself stays unknown
            self._known[key] = self._bound(name, owner)
        return self._known[key]

    def _bound(self, name: str, owner: Scope) -> Target | None:
        found: set[Target | None] = set()
        for value in owner.bindings.get(name, [None]):
            if isinstance(value, str):
                found.add(Target(_ALIASES.get(value, value)))
            elif value is None:
                found.add(None)
            elif not (isinstance(value, cst.Name) and value.value == "None"):
                found.add(self._follow(value, owner))
        return found.pop() if len(found) == 1 else None

    @staticmethod
    def _free(name: str, module: Scope) -> Target | None:
        if name == "torch" and (module.stars or not _knows_torch(module)):  # nothing else goes by this name
            return Target(name)
        if module.stars:
            last = module.stars[-1]
            exported = name in _STAR_EXPORTS.get(last, ())
            if exported:
                return Target(f"{last}.{name}")
            if any(star not in _STAR_EXPORTS for star in module.stars):
                return None
        return Target(f"builtins.{name}") if name in _BUILTINS else None

    def _read(self, node: cst.CSTNode, scope: Scope) -> None:
        handler = self._HANDLERS.get(type(node))
        if handler is None:
            for child in children(node):
                self._read(child, scope)
        else:
            handler(self, node, scope)

    def _import(self, node: cst.Import, scope: Scope) -> None:
        for alias in node.names:
            name = dotted(alias.name) or ""
            if alias.asname:
                self._bind(alias.asname.name, name, scope)
            else:
                root = name.partition(".")[0]
                scope.bind(root, root)

    def _import_from(self, node: cst.ImportFrom, scope: Scope) -> None:
        module = "." * len(node.relative) + ((node.module and dotted(node.module)) or "")
        if isinstance(node.names, cst.ImportStar):
            scope.stars.append(module)
            return
        for alias in node.names:
            name = dotted(alias.name) or ""
            self._bind(alias.asname.name if alias.asname else alias.name, f"{module}.{name}", scope)

    def _assign(self, node: cst.Assign, scope: Scope) -> None:
        self._read(node.value, scope)
        for target in node.targets:
            self._bind(target.target, node.value, scope)

    def _annotated(self, node: cst.AnnAssign, scope: Scope) -> None:
        if node.value is not None:
            self._read(node.value, scope)
            self._bind(node.target, node.value, scope)

    def _augmented(self, node: cst.AugAssign, scope: Scope) -> None:
        self._read(node.value, scope)
        self._bind(node.target, None, scope)

    def _walrus(self, node: cst.NamedExpr, scope: Scope) -> None:
        self._read(node.value, scope)
        while scope.place is Place.COMPREHENSION and scope.parent:
            scope = scope.parent
        self._bind(node.target, node.value, scope)

    def _if(self, node: cst.If, scope: Scope) -> None:
        known = set(scope.bindings)
        self._read(node.test, scope)
        self._read(node.body, scope)
        if (dotted(node.test) or "").rpartition(".")[2] == "TYPE_CHECKING":
            scope.typing |= scope.bindings.keys() - known
        if node.orelse is not None:
            self._read(node.orelse, scope)

    def _for(self, node: cst.For, scope: Scope) -> None:
        self._bind(node.target, None, scope)
        for child in (node.iter, node.body, node.orelse):
            if child is not None:
                self._read(child, scope)

    def _as_name(self, node: cst.AsName, scope: Scope) -> None:
        self._bind(node.name, None, scope)

    def _delete(self, node: cst.Del, scope: Scope) -> None:
        self._read(node.target, scope)

    def _declared(self, node: cst.Global | cst.Nonlocal, scope: Scope) -> None:
        for item in node.names:
            name = item.name.value
            if isinstance(node, cst.Global):
                if scope is not scope.module:
                    scope.outer[name] = scope.module
            elif scope.parent and (owner := scope.parent.owner(name)):
                scope.outer[name] = owner

    def _match_as(self, node: cst.MatchAs | cst.MatchStar, scope: Scope) -> None:
        if node.name is not None:
            scope.bind(node.name.value, None)
        for child in children(node):
            if child is not node.name:
                self._read(child, scope)

    def _function(self, node: cst.FunctionDef, scope: Scope) -> None:
        scope.bind(node.name.value, None)
        for decorator in node.decorators:
            self._read(decorator, scope)
        inner = self._open(node, Place.FUNCTION, scope)
        self._parameters(node.params, inner, scope)
        self._read(node.body, inner)

    def _lambda(self, node: cst.Lambda, scope: Scope) -> None:
        inner = self._open(node, Place.FUNCTION, scope)
        self._parameters(node.params, inner, scope)
        self._read(node.body, inner)

    def _parameters(self, node: cst.Parameters, inner: Scope, outer: Scope) -> None:
        stars = [star for star in (node.star_arg, node.star_kwarg) if isinstance(star, cst.Param)]
        for param in (*node.posonly_params, *node.params, *node.kwonly_params, *stars):
            inner.bind(param.name.value, None)
            if param.default is not None:
                self._read(param.default, outer)

    def _class(self, node: cst.ClassDef, scope: Scope) -> None:
        scope.bind(node.name.value, None)
        for child in (*node.decorators, *node.bases, *node.keywords):
            self._read(child, scope)
        self._read(node.body, self._open(node, Place.CLASS, scope))

    def _comprehension(self, node: cst.BaseComp, scope: Scope) -> None:
        inner = self._open(node, Place.COMPREHENSION, scope)
        clause: cst.CompFor | None = node.for_in
        where = scope
        while clause is not None:
            self._read(clause.iter, where)
            where = inner
            self._bind(clause.target, None, inner)
            for test in clause.ifs:
                self._read(test, inner)
            clause = clause.inner_for_in
        for child in children(node):
            if child is not node.for_in:
                self._read(child, inner)

    def _call(self, node: cst.Call, scope: Scope) -> None:
        self.calls.append((node, scope))
        self._read(node.func, scope)
        for arg in node.args:
            self._read(arg.value, scope)

    def _open(self, node: cst.CSTNode, place: Place, parent: Scope) -> Scope:
        scope = self._scopes[id(node)] = Scope(place, parent)
        return scope

    def _bind(self, target: cst.CSTNode, value: str | cst.BaseExpression | None, scope: Scope) -> None:
        if isinstance(target, cst.Name):
            scope.bind(target.value, value)
        elif isinstance(target, (cst.Tuple, cst.List)):
            for element, part in zip(target.elements, _parts(target, value), strict=True):
                self._bind(element.value, part, scope)
        elif isinstance(target, cst.Attribute):
            self._patched.append((target, scope))
            if isinstance(target.value, cst.Name) and (home := self.class_of(target.value.value, scope)) is not None:
                known = value if isinstance(value, cst.BaseExpression) else None
                self._own.setdefault((id(home), target.attr.value), []).append((known, scope))
            self._read(target, scope)
        else:
            self._read(target, scope)

    _HANDLERS: ClassVar[dict[type[cst.CSTNode], Callable[..., None]]] = {
        cst.Import: _import,
        cst.ImportFrom: _import_from,
        cst.Assign: _assign,
        cst.AnnAssign: _annotated,
        cst.AugAssign: _augmented,
        cst.NamedExpr: _walrus,
        cst.If: _if,
        cst.For: _for,
        cst.AsName: _as_name,
        cst.Del: _delete,
        cst.Global: _declared,
        cst.Nonlocal: _declared,
        cst.MatchAs: _match_as,
        cst.MatchStar: _match_as,
        cst.FunctionDef: _function,
        cst.Lambda: _lambda,
        cst.ClassDef: _class,
        cst.ListComp: _comprehension,
        cst.SetComp: _comprehension,
        cst.GeneratorExp: _comprehension,
        cst.DictComp: _comprehension,
        cst.Call: _call,
    }


def _parts(target: cst.Tuple | cst.List, value: str | cst.BaseExpression | None) -> Sequence[cst.BaseExpression | None]:
    """Give what each element of a target is bound to; None where the value is not written out beside it."""
    values = value.elements if isinstance(value, (cst.Tuple, cst.List)) else ()
    starred = any(isinstance(each, cst.StarredElement) for each in (*target.elements, *values))
    if starred or len(values) != len(target.elements):
        return [None] * len(target.elements)
    return [element.value for element in values]


def _knows_torch(module: Scope) -> bool:
    """Tell whether a file imports something of torch, so that it would import torch itself if it used it."""
    values = (value for bound in module.bindings.values() for value in bound)
    return any(isinstance(value, str) and value.startswith("torch.") for value in values)
