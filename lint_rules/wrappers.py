"""Which names of a file are bound to a module in a wrapper, whose state has a prefix before each key."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, NamedTuple

import libcst as cst

from lint_rules.evidence import bodies, own, returned
from lint_rules.names import Place
from lint_rules.tree import argument, children, method_of, methods_in, name_of, text_of, walk

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lint_rules.names import Names, Scope

#: Wrappers, and the attribute that holds the module and prefixes every key.
_PARALLEL = re.compile(
    r"torch\.nn\.(DataParallel|parallel\.(data_parallel\.)?DataParallel|parallel\.(distributed\.)?DistributedDataParallel)$"
    r"|apex\.parallel\.(distributed\.)?DistributedDataParallel$"
)
_COMPILE = "torch.compile"
_KEEPS = frozenset({"to", "cuda", "cpu", "train", "eval", "float", "half"})
_ANY = "[]"
_SAVES = re.compile(r"(^|[._])(save|dump)(_|$)|save$|^save|checkpoint", re.IGNORECASE)


class Wrap(NamedTuple):
    """How a name was wrapped: which attribute holds the module, and whether that is so on every path."""

    holder: str
    always: bool


class _Bound(NamedTuple):
    """One binding of a name, an attribute or a parameter.

    Attributes:
        order: When in the source it is bound.
        value: To what.
        always: Whether under no condition.
        scope: Where the value stands.
        at: When in the source that is read.
        part: Which element of the value it is bound to; None for all of it.
    """

    order: int
    value: cst.BaseExpression
    always: bool
    scope: Scope
    at: int
    part: int | None = None


class Wrapped:
    """What the names, attributes and parameters of one file are bound to, in the order of the source."""

    def __init__(self, tree: cst.Module, names: Names) -> None:
        self._names = names
        self._order = {node: number for number, node in enumerate(walk(tree))}
        self._bound: defaultdict[tuple[int, str], list[_Bound]] = defaultdict(list)
        self._unwrapped: set[tuple[int, str]] = set()
        self._following: set[_Bound | cst.FunctionDef | cst.ClassDef] = set()
        defined = [node for node in self._order if isinstance(node, (cst.FunctionDef, cst.ClassDef))]
        times = Counter(node.name.value for node in defined)
        self._classes = {names.scope(node): node for node in defined if isinstance(node, cst.ClassDef)}
        self._defined = {node.name.value: node for node in defined if times[node.name.value] == 1}
        for body in bodies(tree):
            scope = names.scope(body)
            self._read(body, scope, always=True)
            self._unwrapped |= {self._key(name, scope) for name in _unwrapped(body)}
        for call, scope in names.calls:
            self._pass(call, scope)

    def binding(self, receiver: str, call: cst.Call, scope: Scope) -> Wrap | None:
        """Find the wrapper that a name or attribute is bound to where its state is taken."""
        if self._key(receiver, scope) in self._unwrapped:
            return None
        return self._bound_to(receiver, self._order[call], scope)

    def _key(self, name: str, scope: Scope) -> tuple[int, str]:
        """Tell names of different scopes apart, and attributes of `self` of classes that are not related."""
        home: Scope | None = scope
        holder = name.partition("[")[0]
        if "." not in holder:
            return id(scope.owner(holder)), name
        while home is not None and home.place is not Place.CLASS:
            home = home.parent
        if home is None or not name.startswith("self."):
            return 0, name
        seen = set()
        while home not in seen:
            seen.add(home)
            bases = (self._defined.get(name_of(base.value)) for base in self._classes[home].bases)
            base = next((base for base in bases if base in self._classes.values()), None)
            home = self._names.scope(base) if base is not None else home
        return id(home), name

    def _bound_to(self, name: str, at: int, scope: Scope, part: int | None = None) -> Wrap | None:
        """Find the last wrapper that a name is bound to before a place in the source, or at all in other scopes.

        None where the module itself is on the other of two branches.
        """
        key = self._key(name, scope)
        found = [each for each in self._bound.get(key, []) if not self._keeps(each, key)]
        if scope.owner(name) is scope:
            found = [each for each in found if each.order < at]
        last = max((each.order for each in found if each.always), default=0)
        if any(_is_inside(each.value) and each.order > last for each in found):
            return None
        for each in sorted(found, key=lambda bound: bound.order, reverse=True):
            if each in self._following:
                continue  # what is bound to itself, by way of another name
            self._following.add(each)
            wrap = self._wrap(each.value, each.at, each.scope, part if each.part is None else each.part)
            self._following.discard(each)
            if wrap is not None:
                return Wrap(wrap.holder, wrap.always and each.always)
            if each.always:
                return None
        return None

    def _keeps(self, bound: _Bound, key: tuple[int, str]) -> bool:
        """Tell whether a binding only moves what the name is bound to already: `model = model.to(device)`."""
        return self._key(_spelled(_unmoved(bound.value)), bound.scope) == key

    def _read(self, body: cst.CSTNode, scope: Scope, *, always: bool) -> None:
        """Note the assignments of one function, or of the module outside its functions."""
        for node in children(body):
            if isinstance(node, cst.Assign):
                for target in node.targets:
                    self._assign(target.target, node.value, node, scope, always=always)
            elif isinstance(node, cst.AnnAssign) and node.value is not None:
                self._assign(node.target, node.value, node, scope, always=always)
            elif isinstance(node, cst.Expr):
                self._register(node, scope, always=always)
            elif isinstance(node, (cst.If, cst.Else, cst.Try, cst.TryStar, cst.Match)):
                self._read(node, scope, always=isinstance(node, cst.If) and _is_main(node))
            elif not isinstance(node, (cst.FunctionDef, cst.ClassDef, cst.BaseExpression)):
                self._read(node, scope, always=always)

    def _assign(
        self, target: cst.CSTNode, value: cst.BaseExpression, statement: cst.CSTNode, scope: Scope, *, always: bool
    ) -> None:
        order = self._order[statement]
        targets = target.elements if isinstance(target, (cst.Tuple, cst.List)) else ()
        parts: list[tuple[int | None, cst.CSTNode]] = [(None, target), *enumerate(each.value for each in targets)]
        for part, node in parts:
            if name := _spelled(node):
                known = always and not name.endswith(_ANY)
                self._bound[self._key(name, scope)].append(_Bound(order, value, known, scope, order, part))

    def _register(self, node: cst.Expr, scope: Scope, *, always: bool) -> None:
        """Note what becomes an attribute by its name: `self.add_module("net", net)`."""
        call = node.value
        if not isinstance(call, cst.Call) or name_of(call.func) not in {"self.add_module", "self.register_module"}:
            return
        name, value = argument(call, 0, "name"), argument(call, 1, "module")
        if name is not None and value is not None and (text := text_of(name)):
            order = self._order[node]
            self._bound[self._key(f"self.{text}", scope)].append(_Bound(order, value, always, scope, order))

    def _pass(self, call: cst.Call, scope: Scope) -> None:
        """Bind the parameters of a function of the file to what one call gives it."""
        function = self._function(call.func)
        if isinstance(function, cst.ClassDef):
            function = next((each for each in methods_in(function) if each.name.value == "__init__"), None)
        if function is None or any(arg.star for arg in call.args):
            return
        inner = self._names.scope(function)
        params = [param.name.value for param in (*function.params.params, *function.params.kwonly_params)]
        places = iter(params[params[:1] == ["self"] :])
        for arg in call.args:
            name = arg.keyword.value if arg.keyword else next(places, "")
            if not _is_tested(name, function):
                bound = _Bound(self._order[function], arg.value, always=False, scope=scope, at=self._order[call])
                self._bound[id(inner), name].append(bound)

    def _function(self, node: cst.BaseExpression) -> cst.FunctionDef | cst.ClassDef | None:
        """Find the function, method or class of the file that is called."""
        return self._defined.get(name_of(node).removeprefix("self."))

    def _wrap(self, value: cst.BaseExpression, at: int, scope: Scope, part: int | None) -> Wrap | None:
        """Find the wrapper that an expression gives."""
        value = _unmoved(value)
        if isinstance(value, (cst.Tuple, cst.List)) and part is not None and part < len(value.elements):
            return self._wrap(value.elements[part].value, at, scope, None)
        if isinstance(value, cst.IfExp):
            return self._either((value.body, value.orelse), at, scope, part)
        if isinstance(value, (cst.Name, cst.Attribute, cst.Subscript)):
            return self._bound_to(_spelled(value), at, scope, part)
        if not isinstance(value, cst.Call):
            return None
        if holder := self._holder(value.func, scope):
            return Wrap(holder, always=True)
        function = self._function(value.func)
        if not isinstance(function, cst.FunctionDef) or function in self._following:
            return None
        self._following.add(function)
        inner = self._names.scope(function)
        given = [each for each in returned(function) if each is not None]
        wrap = self._either(given, len(self._order), inner, part)
        self._following.discard(function)
        return wrap

    def _holder(self, wrapper: cst.BaseExpression, scope: Scope) -> str:
        """Name the attribute that a wrapper, or a class of the file that is derived from one, keeps the module in."""
        definition = self._function(wrapper)
        if not isinstance(definition, cst.ClassDef):
            name = self._names.resolve(wrapper, scope) or ""
            return "module" if _PARALLEL.match(name) else "_orig_mod" if name == _COMPILE else ""
        methods = {method.name.value for method in methods_in(definition)}
        if "state_dict" in methods or definition in self._following:
            return ""
        self._following.add(definition)
        found = (self._holder(base.value, self._names.scope(definition)) for base in definition.bases)
        holder = next(filter(None, found), "")
        self._following.discard(definition)
        return holder

    def _either(self, values: Sequence[cst.BaseExpression], at: int, scope: Scope, part: int | None) -> Wrap | None:
        """Find the wrapper that one of several expressions gives; none where another one is the module in it."""
        wraps = [self._wrap(each, at, scope, part) for each in values]
        found = [wrap for wrap in wraps if wrap is not None]
        if not found or any(map(_is_inside, values)):
            return None
        return Wrap(found[0].holder, len(found) == len(wraps) and all(wrap.always for wrap in found))


def _unmoved(value: cst.BaseExpression) -> cst.BaseExpression:
    """Give the module that methods move, or put into a mode, and give back."""
    while isinstance(value, cst.Call) and isinstance(value.func, cst.Attribute) and method_of(value) in _KEEPS:
        value = value.func.value
    return value


def _unwrapped(body: cst.FunctionDef | cst.Module) -> Iterator[str]:
    """Name what some code saves the state of the wrapped module of, on the other of two branches perhaps."""
    for call, receiver in saved_states(body):
        if isinstance(call.func, cst.Attribute) and _is_inside(call.func.value):
            yield receiver.rpartition(".")[0]


def _is_tested(name: str, function: cst.FunctionDef) -> bool:
    """Tell whether a function asks whether what it is given is a wrapper."""
    calls = (node for node in walk(function.body) if isinstance(node, cst.Call))
    asked = (arg for call in calls if name_of(call.func) in {"isinstance", "hasattr"} for arg in call.args[:1])
    return any(name_of(arg.value) == name for arg in asked)


def _is_inside(value: cst.BaseExpression) -> bool:
    """Tell whether an expression is the module in a wrapper."""
    return isinstance(value, cst.Attribute) and value.attr.value in {"module", "_orig_mod"}


def saved_states(body: cst.FunctionDef | cst.Module) -> Iterator[tuple[cst.Call, str]]:
    """Yield each `state_dict()` that one block of code saves, and of what it is."""
    nodes = list(own(body))
    saved = [
        part
        for node in nodes
        if isinstance(node, cst.Call) and _SAVES.search(name_of(node.func))
        for arg in node.args
        for part in _parts(arg.value)
    ]
    names = {part.value for part in saved if isinstance(part, cst.Name)}
    for node in nodes:
        if isinstance(node, cst.Assign) and any(_target(target.target) in names for target in node.targets):
            saved += _parts(node.value)
    for part in saved:
        if isinstance(part, cst.Call) and isinstance(part.func, cst.Attribute) and part.func.attr.value == "state_dict":
            yield part, _spelled(part.func.value)


def _parts(node: cst.BaseExpression) -> Iterator[cst.BaseExpression]:
    """Yield an expression and what it puts into a container as it is."""
    yield node
    if isinstance(node, cst.DictComp):
        yield from _parts(node.value)
    elif isinstance(node, cst.Dict):
        for element in node.elements:
            yield from _parts(element.value)
    elif isinstance(node, (cst.Tuple, cst.List)):
        for item in node.elements:
            yield from _parts(item.value)
    elif isinstance(node, cst.Call) and name_of(node.func) in {"dict", "OrderedDict", "collections.OrderedDict"}:
        for arg in node.args:
            yield from _parts(arg.value)


def _spelled(node: cst.CSTNode) -> str:
    """Spell a name, an attribute, or an entry: `nets[g]`; `nets[]` where the key is no text that stands there."""
    if not isinstance(node, (cst.Attribute, cst.Subscript)):
        return name_of(node)
    holder = _spelled(node.value)
    if not holder or isinstance(node, cst.Attribute):
        return f"{holder}.{cst.ensure_type(node, cst.Attribute).attr.value}" if holder else ""
    index = node.slice[0].slice
    key = text_of(index.value) if isinstance(index, cst.Index) else None
    return f"{holder}[{key or ''}]"


def _target(target: cst.BaseExpression) -> str:
    """Spell what an assignment binds, or puts an entry into."""
    return name_of(target.value if isinstance(target, cst.Subscript) else target)


def _is_main(node: cst.If) -> bool:
    return isinstance(node.test, cst.Comparison) and name_of(node.test.left) == "__name__"
