"""What Python's own parser tells of a source, for rules to say that they will find nothing in it.

libcst parses ten times slower than Python's own parser, and the prefilter's tokens also stand in docstrings, comments
and calls that cannot be at fault. Everything here errs on one side: what is said to be absent is absent.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

from lint_rules.knowledge import BASE, MODULE, SAME_MODULE, STATELESS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from lint_rules.origins import Origins

_MODULES = frozenset({"torch", "torch.serialization"})
#: How deep a name of a module is followed, `torch.serialization.load` being two dots deep.
_DEPTH = 4
#: Calls that stand for what their first argument names.
_TRANSPARENT = frozenset({"partial", "partialmethod", "staticmethod", "import_module", "__import__"})


#: Fields that hold text, numbers, operators, or whether a name is read or written.
_PLAIN = frozenset(
    {"arg", "asname", "attr", "conversion", "ctx", "id", "is_async", "kind", "kwd_attrs", "level", "lineno"}
    | {"module", "name", "op", "ops", "rest", "simple", "str", "type_comment", "type_ignores"}
)
_WITHOUT_NODES = frozenset({ast.Constant, ast.Global, ast.Nonlocal, ast.MatchSingleton})
#: Fields that hold lists in which there may be None.
_WITH_GAPS = frozenset({"keys", "kw_defaults"})


class _Fields(dict[type, tuple[str, ...]]):
    """The fields of each class of nodes that hold nodes."""

    def __missing__(self, kind: type[ast.AST]) -> tuple[str, ...]:
        names = () if kind in _WITHOUT_NODES else tuple(name for name in kind._fields if name not in _PLAIN)
        self[kind] = names
        return names


_FIELDS = _Fields()


def nodes(tree: ast.AST) -> list[ast.AST]:
    """Give a tree's nodes in the order of `ast.walk`, in a small part of its time.

    Operators are left out, and so is what tells a name that is read from one that is written.
    """
    found = [tree]
    fields = _FIELDS
    for node in found:
        for name in fields[type(node)]:
            value = getattr(node, name)
            if type(value) is list:
                found += filter(None, value) if name in _WITH_GAPS else value
            elif value is not None:
                found.append(value)
    return found


class Outline:
    """The calls and statements of one source, and what its names may stand for.

    Scopes are not told apart: a name may stand for whatever it is bound to anywhere in the source.

    Attributes:
        tree: The source as Python's own parser reads it.
    """

    def __init__(self, tree: ast.Module) -> None:
        self.tree = tree
        self._of: dict[type[ast.AST], list[Any]] = defaultdict(list)
        for node in nodes(tree):
            self._of[type(node)].append(node)

    def of(self, *kinds: type[ast.AST]) -> Iterator[Any]:
        """Yield every node of some kinds, kind by kind."""
        return chain.from_iterable(self._of[kind] for kind in kinds)

    @property
    def calls(self) -> list[ast.Call]:
        """Every call."""
        return self._of[ast.Call]

    @property
    def classes(self) -> list[ast.ClassDef]:
        """Every class."""
        return self._of[ast.ClassDef]

    @cached_property
    def defined(self) -> frozenset[str]:
        """The names of all classes and functions that the source defines."""
        return frozenset(node.name for node in self.of(ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))

    @cached_property
    def alone(self) -> frozenset[ast.AST]:
        """The expressions that are a statement of their own, so that nothing becomes of their values."""
        return frozenset(node.value for node in self.of(ast.Expr))

    @cached_property
    def members(self) -> frozenset[str]:
        """The names of all functions and methods that the source defines, and of the attributes that it assigns."""
        found = {node.name for node in self.of(ast.FunctionDef, ast.AsyncFunctionDef)}
        found |= {name for node in self.classes for each in node.body for name, _ in _bindings(each)}
        targets = (target for node in self.of(ast.Assign) for target in node.targets)
        return frozenset(found | {target.attr for target in targets if isinstance(target, ast.Attribute)})

    def methods(self, name: str) -> list[ast.Call]:
        """Give the calls of a method, whatever they are called on."""
        return [call for call in self.calls if isinstance(call.func, ast.Attribute) and call.func.attr == name]

    def reached(self, start: Iterable[ast.expr], calls: Collection[ast.Call]) -> list[Any]:
        """Give the functions around some expressions, and those that some calls in them may be of, however far.

        Args:
            start: The expressions.
            calls: The calls that are followed, in these functions and in the code outside of all functions.
        """
        functions = [*self.of(ast.FunctionDef, ast.AsyncFunctionDef)]
        lines = {each: range(each.lineno, each.end_lineno + 1) for each in functions}
        inside = frozenset(chain.from_iterable(lines.values()))
        places = {each.lineno for each in start}
        found = [each for each in functions if not places.isdisjoint(lines[each])]
        called = {last_name(call.func) for call in calls if call.lineno not in inside}
        for each in found:
            called |= {last_name(call.func) for call in calls if call.lineno in lines[each]}
            found += [other for other in functions if other.name in called and other not in found]
        return found

    def calls_of(self, names: Collection[str]) -> list[ast.Call] | None:
        """Give the calls that may be of some functions of torch, such as `torch.load`, by any name.

        Returns:
            The calls; None if others may be too, because a function is handed on or everything of torch is imported.
        """
        functions = _Functions(names, self._known)
        if "torch" in self._stars or any(functions.may_be(arg) for call in self.calls for arg in call.args):
            return None
        found = [call for call in self.calls if functions.may_be(call.func)]
        named = {each.func.id for each in found if isinstance(each.func, ast.Name)}
        unsure = {name for name in named if self._is_unsure(name)}
        return [each for each in found if not (isinstance(each.func, ast.Name) and each.func.id in unsure)]

    def _is_unsure(self, name: str) -> bool:
        """Tell whether a name that is not imported stands for nothing certain, as `Names.resolve` has it.

        That is so where each scope that assigns it also takes it as a parameter, or defines a function of that name.
        """
        if any(name in {each.name, each.asname} for each in self.of(ast.alias)):
            return False
        functions = [*self.of(ast.FunctionDef, ast.AsyncFunctionDef)]
        scopes = sorted((*functions, *self.classes), key=lambda each: each.lineno)

        def home(node: ast.Name | ast.stmt) -> ast.stmt | None:
            around = [each for each in scopes if each is not node and each.lineno <= node.lineno <= each.end_lineno]
            return around[-1] if around else None

        others = {home(each) for each in functions if each.name == name}
        others |= {each for each in functions if any(name == parameter.arg for parameter in _parameters(each.args))}
        assigned = {home(each) for each in self.of(ast.Name) if each.id == name and type(each.ctx) is ast.Store}
        return assigned <= others

    def may_use(self, names: Collection[str]) -> bool:
        """Tell whether a source may refer to one of some functions of torch, or hands on torch itself."""
        functions = _Functions(names, self._known)
        return "torch" in self._stars or self._torch_is_passed or any(map(functions.may_be, self._named))

    def may_make_module(self, node: ast.AST, *, stateful: bool = False) -> bool:
        """Tell whether an expression may make a new module, as `lint_rules.evidence.Modules.makes` has it."""
        while isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in SAME_MODULE:
            node = node.func.value
        if not isinstance(node, ast.Call):
            return False
        if "torch" in self._stars or (isinstance(node.func, ast.Name) and node.func.id in self.defined):
            return True
        makers = (name for name in self.meanings(node.func) if MODULE.match(name))
        return any(not (stateful and STATELESS.match(name.rpartition(".")[2])) for name in makers)

    def may_be_module_class(self, definition: ast.ClassDef) -> bool:
        """Tell whether a class may be a module, as `lint_rules.evidence.Modules.is_module` has it."""
        return "torch" in self._stars or any(
            (isinstance(base, ast.Name) and base.id in self.defined)
            or any(MODULE.match(name) or BASE.match(name) for name in self.meanings(base))
            for base in definition.bases
        )

    @cached_property
    def origins(self) -> Origins:
        """Where the values of names may come from."""
        from lint_rules.origins import Origins

        return Origins(self)

    def is_state_of_module(self, node: ast.expr) -> bool:
        """Tell whether an expression is the state of an object that the source did not load: `other.state_dict()`."""
        return (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "state_dict"
            and "state_dict" not in self.members
            and not self.meanings(node.func.value)
        )

    @cached_property
    def _named(self) -> list[ast.Name | ast.Attribute]:
        return [*self.of(ast.Name, ast.Attribute)]

    @cached_property
    def _stars(self) -> frozenset[str]:
        """The packages of which everything is imported, by their first name."""
        return frozenset(
            (node.module or "").partition(".")[0] for node in self.of(ast.ImportFrom) if node.names[0].name == "*"
        )

    @cached_property
    def _torch_is_passed(self) -> bool:
        """Whether torch itself goes somewhere as a value, where it may be called anything."""
        bases = {node.value for node in self.of(ast.Attribute)}
        named = {node.id for node in self.of(ast.Name) if node not in bases}
        return any(not _MODULES.isdisjoint(self._known.get(name, ())) for name in named) or "torch" in named

    @cached_property
    def _known(self) -> dict[str, set[str]]:
        """The dotted names that each name and attribute may stand for, followed from one to the next."""
        found: dict[str, set[str]] = {}
        links: list[tuple[str, ast.expr]] = []
        for node in self.of(ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign, ast.NamedExpr):
            for name, value in _bindings(node):
                if isinstance(value, str):
                    found.setdefault(name, set()).add(value)
                elif isinstance(value, (ast.Name, ast.Attribute, ast.NamedExpr, ast.Call)):
                    links.append((name, value))
        grows = True
        while grows:
            grows = False
            for name, value in links:
                new = _meanings(value, found) - found.get(name, set())
                if new:
                    found.setdefault(name, set()).update(new)
                    grows = True
        return found

    def meanings(self, node: ast.expr) -> set[str]:
        """Give the dotted names that an expression may stand for; nothing for an object of the program."""
        return _meanings(node, self._known)


class _Functions:
    """Some functions of torch, and the names that they may go by."""

    def __init__(self, names: Collection[str], known: Mapping[str, set[str]]) -> None:
        self._names = names
        self._known = known
        self._last = {name.rpartition(".")[2] for name in names}
        self._last |= {name for name, meanings in known.items() if not meanings.isdisjoint(names)}

    def may_be(self, node: ast.expr) -> bool:
        """Tell whether an expression may stand for one of the functions."""
        if isinstance(node, (ast.Name, ast.Attribute)) and last_name(node) not in self._last:
            return False
        return not _meanings(node, self._known).isdisjoint(self._names)


def _meanings(node: ast.expr, known: Mapping[str, set[str]]) -> set[str]:
    if isinstance(node, ast.Name):
        return known.get(node.id, set()) | ({"torch"} if node.id == "torch" else set())
    if isinstance(node, ast.Attribute):
        bases = _meanings(node.value, known)
        return known.get(node.attr, set()) | {_longer(base, node.attr) for base in bases}
    if isinstance(node, ast.NamedExpr):
        return _meanings(node.value, known)
    if isinstance(node, ast.Call) and node.args:
        called = {last_name(node.func), *(name.rpartition(".")[2] for name in _meanings(node.func, known))}
        if not called.isdisjoint(_TRANSPARENT):
            first = node.args[0]
            return {str(first.value)} if isinstance(first, ast.Constant) else _meanings(first, known)
    return set()


def _longer(name: str, attribute: str) -> str:
    return f"{name}.{attribute}" if name.count(".") < _DEPTH else name


def _parameters(arguments: ast.arguments) -> list[ast.arg]:
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]


def _bindings(node: ast.AST) -> Iterator[tuple[str, str | ast.expr]]:
    """Yield what a node binds."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            root = alias.name.partition(".")[0]
            yield alias.asname or root, alias.name if alias.asname else root
    elif isinstance(node, ast.ImportFrom):
        for alias in node.names:
            yield alias.asname or alias.name, f"{'.' * node.level}{node.module or ''}.{alias.name}"
    elif isinstance(node, ast.Assign):
        for target in node.targets:
            yield from _assigned(target, node.value)
    elif isinstance(node, (ast.AnnAssign, ast.NamedExpr)) and node.value is not None:
        yield last_name(node.target), node.value


def _assigned(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    """Yield what an assignment binds; of several names each to the value that is written in its place."""
    if isinstance(target, (ast.Name, ast.Attribute)):
        yield last_name(target), value
    elif isinstance(target, (ast.Tuple, ast.List)) and isinstance(value, (ast.Tuple, ast.List)):
        for one, other in zip(target.elts, value.elts, strict=False):
            yield from _assigned(one, other)


def is_dotted(node: ast.expr) -> bool:
    """Tell whether an expression is a name or a chain of attributes of one."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name)


def last_name(node: ast.AST) -> str:
    """Give a name, or the last part of a chain of attributes; nothing for all else."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
