"""What proves that an expression is a module or a tensor: the classes, functions and annotations of one file.

Names prove nothing here. A class is a module if its bases lead to torch's own, or to a base class of a framework that
everybody subclasses; an expression is one if it calls such a class, or a function of the file that returns nothing
else.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import libcst as cst

from lint_rules import knowledge
from lint_rules.tree import children, method_of, methods_in, walk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lint_rules.names import Names, Scope


class Modules:
    """The module classes of one file, and the expressions that make modules.

    Attributes:
        classes: The classes of the file that are modules for certain.
    """

    def __init__(self, tree: cst.Module, names: Names) -> None:
        self._names = names
        self._named: dict[str, list[cst.ClassDef | cst.FunctionDef]] = defaultdict(list)
        self._verdicts: dict[cst.CSTNode, bool] = {}
        for node in walk(tree):
            if isinstance(node, (cst.ClassDef, cst.FunctionDef)):
                self._named[node.name.value].append(node)
        found = (node for nodes in self._named.values() for node in nodes if isinstance(node, cst.ClassDef))
        self.classes: tuple[cst.ClassDef, ...] = tuple(node for node in found if self.is_module(node))

    def is_module(self, definition: cst.ClassDef) -> bool:
        """Tell whether a class of the file is a module for certain."""
        known = self._verdicts.get(definition)
        if known is None:
            self._verdicts[definition] = False  # a class among its own bases is none
            scope = self._names.scope(definition).parent or self._names.module
            known = any(self._is_base(base.value, scope) for base in definition.bases if not base.star)
            self._verdicts[definition] = known
        return known

    def _is_base(self, node: cst.BaseExpression, scope: Scope) -> bool:
        name = self._names.resolve(node, scope)
        if name is not None:
            return bool(knowledge.MODULE.match(name) or knowledge.BASE.match(name))
        definition = self.definition(node, scope)
        return isinstance(definition, cst.ClassDef) and self.is_module(definition)

    def is_type(self, annotation: cst.BaseExpression, scope: Scope) -> bool:
        """Tell whether an annotation admits nothing but modules (and None)."""
        types = self._names.admitted(annotation, scope)
        return bool(types) and all(self._is_base(each, scope) for each in types)

    def definition(self, node: cst.BaseExpression, scope: Scope) -> cst.ClassDef | cst.FunctionDef | None:
        """Find the class or function of the file that a name stands for; None where it is not certain."""
        if not isinstance(node, cst.Name):
            return None
        found = self._named.get(node.value, [])
        owner = scope.owner(node.value)
        if len(found) != 1 or owner is None or owner.bindings.get(node.value) != [None]:
            return None
        return found[0] if self._names.scope(found[0]).parent is owner else None

    def makes(self, node: cst.BaseExpression, scope: Scope, *, stateful: bool = False) -> bool:
        """Tell whether an expression makes a new module for certain.

        Args:
            node: The expression.
            scope: The scope that it stands in.
            stateful: Whether modules without parameters, buffers and a mode, such as activations, do not count.
        """
        while (
            isinstance(node, cst.Call)
            and method_of(node) in knowledge.SAME_MODULE
            and isinstance(node.func, cst.Attribute)
        ):
            if self._names.resolve(node.func, scope):
                break
            node = node.func.value
        if not isinstance(node, cst.Call):
            return False
        name = self._names.resolve(node.func, scope)
        if name is not None and knowledge.NORMALISERS.match(name) and node.args:
            return self.makes(node.args[0].value, scope, stateful=stateful)
        if name is not None:
            return bool(knowledge.MODULE.match(name)) and not (
                stateful and knowledge.STATELESS.match(name.rpartition(".")[2])
            )
        definition = self.definition(node.func, scope)
        if isinstance(definition, cst.ClassDef):
            return self.is_module(definition) and not (stateful and self._holds_nothing(definition))
        return definition is not None and self._returns_module(definition, stateful=stateful)

    def _holds_nothing(self, definition: cst.ClassDef) -> bool:
        """Tell whether a class has no constructor, its own or an inherited one, that could give it layers."""
        scope = self._names.scope(definition).parent or self._names.module
        bases = {self._names.resolve(base.value, scope) for base in definition.bases}
        methods = {method.name.value for method in methods_in(definition)}
        return bases <= knowledge.MODULES and "__init__" not in methods

    def _returns_module(self, definition: cst.FunctionDef, *, stateful: bool) -> bool:
        known = self._verdicts.get(definition)
        if known is None:
            self._verdicts[definition] = False  # what calls itself proves nothing
            scope = self._names.scope(definition)
            values = list(returned(definition))
            known = bool(values) and all(value and self.makes(value, scope, stateful=stateful) for value in values)
            self._verdicts[definition] = known
        return known


def bodies(tree: cst.Module) -> list[cst.FunctionDef | cst.Module]:
    """Give a file and its functions: `own` tells the code of each from that of the others."""
    return [tree, *(node for node in walk(tree) if isinstance(node, cst.FunctionDef))]


def own(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """Yield what is below a node, parents first, without entering functions and classes that it defines."""
    stack = list(reversed(tuple(children(node))))
    while stack:
        current = stack.pop()
        yield current
        if not isinstance(current, (cst.FunctionDef, cst.ClassDef, cst.Lambda)):
            stack.extend(reversed(tuple(children(current))))


def precedes_init(definition: cst.ClassDef, node: cst.CSTNode) -> bool:
    """Tell whether a node of a constructor stands before its `super().__init__()`: nothing can be registered there."""
    for method in methods_in(definition):
        if method.name.value == "__init__":
            below = list(own(method.body))
            later = below[below.index(node) :] if node in below else []
            return any(isinstance(each, cst.Call) and method_of(each) == "__init__" for each in later)
    return False


def returned(definition: cst.FunctionDef) -> Iterator[cst.BaseExpression | None]:
    """Yield what a function returns; None for a bare `return` and for a generator's `yield`."""
    for node in own(definition.body):
        if isinstance(node, cst.Return):
            yield node.value
        elif isinstance(node, cst.Yield):
            yield None
