"""State dicts that one method of a class keeps for another: their classes tell it, whoever calls the methods."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import libcst as cst

from lint_rules.tree import dotted, method_of, methods_in, name_of, walk

if TYPE_CHECKING:
    from collections.abc import Iterator

_NO_MODULE = re.compile(r"(?:optim|sched|scaler)\w*$")
_STARTS = re.compile(r"on_(fit|train(_epoch|_batch)?)_start$")
_ENDS = re.compile(r"on_(fit|train(_epoch|_batch)?|validation(_epoch)?)_end$")
_HOOK = re.compile(r"on_\w+$|\w+_(begin|start|end)$")


def kept_by_hooks(tree: cst.Module) -> Iterator[cst.Call]:
    """Yield what a hook keeps when training starts and another one uses when it ends."""
    for definition in walk(tree):
        if not isinstance(definition, cst.ClassDef):
            continue
        methods = methods_in(definition)
        later = [node for method in methods if _ENDS.match(method.name.value) for node in walk(method.body)]
        used = set(map(name_of, later))
        for method in methods:
            for node in walk(method.body) if _STARTS.match(method.name.value) else ():
                if isinstance(node, cst.Assign) and isinstance(node.value, cst.Call):
                    target = name_of(node.targets[0].target)
                    if target.startswith("self.") and target in used and is_module_state(node.value):
                        yield node.value


def kept_as_best(tree: cst.Module) -> Iterator[cst.Call]:
    """Yield what a class keeps as the best state under a condition, for another method or its caller to use."""
    for definition in walk(tree):
        if not isinstance(definition, cst.ClassDef):
            continue
        methods = methods_in(definition)
        for method in methods:
            inside = [node for test in walk(method.body) if isinstance(test, cst.If) for node in walk(test)]
            used = {dotted(node.value) for node in walk(method.body) if isinstance(node, cst.Arg)}
            for node in inside:
                if isinstance(node, cst.Assign) and isinstance(node.value, cst.Call):
                    target = name_of(node.targets[0].target)
                    best = target.startswith("self.") and "best" in target.lower()
                    if best and target not in used and is_module_state(node.value):
                        yield node.value


def kept_to_restore(tree: cst.Module) -> Iterator[cst.Call]:
    """Yield what a method of a class keeps for another one to give back to the same module.

    Whatever lies between the two has changed the module, or giving the state back would do nothing. The module may be
    made anew in between; where it is passed to both, that is so unless the state is kept under a condition or by hooks.
    """
    for definition in walk(tree):
        if not isinstance(definition, cst.ClassDef):
            continue
        methods = {method: list(walk(method.body)) for method in methods_in(definition)}
        restored = {(each, *pair) for each, nodes in methods.items() for pair in _restored(nodes)}
        changed = {name for each, nodes in methods.items() for name in _changed(nodes, each.name.value)}
        for method, nodes in methods.items():
            asked = _asked(method, methods)
            for target, call in _held(nodes):
                module = dotted(call.func.value) if isinstance(call.func, cst.Attribute) else None
                later = [each for each, kept, other in restored if (kept, other) == (target, module)]
                if module is None or changed & {target, module} or method in later:
                    continue
                hooks = all(_HOOK.match(each.name.value) for each in (method, *later))
                if later and (module.startswith("self.") or hooks or call in asked or method in asked):
                    yield call


def _held(nodes: list[cst.CSTNode]) -> Iterator[tuple[str, cst.Call]]:
    """Yield the attributes of `self` that are given a state, alone or as an element, and the call that gives it."""
    for node in nodes:
        if isinstance(node, cst.Assign):
            target, value = name_of(node.targets[0].target), node.value
        elif isinstance(node, cst.Call) and method_of(node) == "append" and node.args:
            target, value = name_of(node.func).removesuffix(".append"), node.args[0].value
        else:
            continue
        parts: list[cst.BaseExpression] = [value]
        if isinstance(value, (cst.Tuple, cst.List, cst.Dict)):
            parts = [element.value for element in value.elements]
        for part in parts if target.startswith("self.") and target.count(".") == 1 else ():
            if isinstance(part, cst.Call) and is_module_state(part):
                yield target, part


def _restored(nodes: list[cst.CSTNode]) -> Iterator[tuple[str, str]]:
    """Yield the attributes of `self` that are loaded, whole or an element of them, and into what."""
    names: dict[str, str] = {}
    for node in nodes:
        if isinstance(node, cst.Assign):
            target = node.targets[0].target
            elements = [each.value for each in target.elements] if isinstance(target, cst.Tuple) else [target]
            names |= {each.value: _root(node.value) for each in elements if isinstance(each, cst.Name)}
        elif isinstance(node, cst.Call) and method_of(node) == "load_state_dict" and node.args:
            module = name_of(node.func)
            state = _root(node.args[0].value)
            yield names.get(state, state), module.removesuffix(".load_state_dict")


def _root(node: cst.BaseExpression) -> str:
    """Give the name or attribute that an element is taken from."""
    while isinstance(node, cst.Subscript):
        node = node.value
    return name_of(node)


def _changed(nodes: list[cst.CSTNode], method: str) -> Iterator[str]:
    """Yield what a method makes anew, unless it is the constructor, and what it changes the entries of."""
    for node in nodes:
        if isinstance(node, (cst.Assign, cst.AugAssign, cst.Del)):
            targets = [each.target for each in node.targets] if isinstance(node, cst.Assign) else [node.target]
            for target in targets:
                name = _root(target)
                is_state = isinstance(node, cst.Assign) and any(name == held for held, _ in _held([node]))
                is_none = isinstance(node, cst.Assign) and dotted(node.value) == "None"
                if isinstance(target, cst.Subscript) or not (method == "__init__" or is_state or is_none):
                    yield name
        elif isinstance(node, cst.Call) and method_of(node) == "update":
            yield name_of(node.func).removesuffix(".update")


def _asked(method: cst.FunctionDef, methods: dict[cst.FunctionDef, list[cst.CSTNode]]) -> set[cst.CSTNode]:
    """Give what happens in a method under a condition that compares, and the method if all of it does."""
    tests = [node for nodes in methods.values() for node in nodes if isinstance(node, cst.If)]
    found = {node for test in tests if _compares(test.test) for node in walk(test)}
    name = f"self.{method.name.value}"
    called = any(isinstance(node, cst.Call) and dotted(node.func) == name for node in found)
    return found | ({method} if called else set())


def _compares(test: cst.BaseExpression) -> bool:
    """Tell whether a condition compares which of two values is larger."""
    larger = (cst.LessThan, cst.LessThanEqual, cst.GreaterThan, cst.GreaterThanEqual)
    return any(isinstance(node, larger) for node in walk(test))


def is_module_state(call: cst.Call) -> bool:
    """Tell whether a call asks for the state of something that is no optimizer by its name."""
    if not isinstance(call.func, cst.Attribute) or call.func.attr.value != "state_dict":
        return False
    return _NO_MODULE.search(name_of(call.func.value)) is None
