"""What a module class keeps in plain containers: lists, tuples and dicts, which hide the layers in them from it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import libcst as cst

from lint_rules.evidence import own, returned
from lint_rules.knowledge import (
    ADDERS,
    BUILDING,
    COPIERS,
    PARAMETERS,
    PLAIN_CONTAINERS,
    REGISTERING,
    REGISTRIES,
    TELLS_PARTS,
)
from lint_rules.tree import is_false, method_of, methods_in, name_of, text_of, walk

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lint_rules.evidence import Modules
    from lint_rules.names import Names, Scope

#: Functions that keep nothing of what they are given.
_HARMLESS = frozenset(
    f"builtins.{name}"
    for name in ("len", "enumerate", "zip", "reversed", "range", "iter", "print", "next", "isinstance")
)
_REGISTERS_ELEMENTS = frozenset({"ModuleList", "ModuleDict", "Sequential", "ParameterList", "ParameterDict"})
#: What may register the layers of another object.
_OUTSIDE = re.compile(
    r"regist|add_module|setattr|^(ModuleList|ModuleDict|Sequential|ParameterList)$|parameters$|add_param_group"
)
#: What has no layers of its own to register: the module itself, and settings.
_NO_LAYERS = re.compile(r"self$|cfg$|conf(ig)?$|\w+_(cfg|config)$|args$|opts?$|hparams$|params$")
_WRITTEN = (cst.List, cst.Tuple, cst.Dict, cst.ListComp, cst.DictComp)


@dataclass(slots=True)
class Container:
    """What a class keeps in one attribute, or a method under one local name.

    Attributes:
        name: The attribute without `self.`, or the local name.
        scope: The scope of the method that makes it.
        values: Every expression that is assigned to it.
        places: Where layers are put into it.
        plain: Whether it holds nothing but plain containers.
        given: Whether someone else is given it, who may register what it holds.
        keyed: Whether it may be a dict.
        text_keys: Whether every key that it is given is a string.
    """

    name: str
    scope: Scope
    values: list[cst.BaseExpression] = field(default_factory=list)
    places: list[cst.CSTNode] = field(default_factory=list)
    plain: bool = True
    given: bool = False
    keyed: bool = False
    text_keys: bool = True

    @property
    def hides_layers(self) -> bool:
        """Whether it holds layers that nobody has registered."""
        return bool(self.values) and self.plain and not self.given and bool(self.places)

    @property
    def is_plain(self) -> bool:
        """Whether everything that is assigned to it is a plain container."""
        return bool(self.values) and all(map(is_plain, self.values))


def hiding(definition: cst.ClassDef, modules: Modules, names: Names) -> list[Container]:
    """Give the attributes in which a module class keeps layers out of its own sight."""
    methods = methods_in(definition)
    if any(method.name.value in TELLS_PARTS or any(map(_registers, walk(method.body))) for method in methods):
        return []
    attributes: dict[str, Container] = {}
    helpers = {method.name.value: method for method in methods}
    for method in _builders(methods):
        _Method(method, modules, names, attributes, helpers).read()
    frozen = {_frozen(node) for method in methods for node in walk(method.body)}
    return [each for each in attributes.values() if each.hides_layers and each.name not in frozen]


def _frozen(node: cst.CSTNode) -> str:
    """Name the attribute in an element of which weights are frozen: `self.words[0].weight.requires_grad = False`.

    Such a layer is hidden on purpose, for somebody else has trained it.
    """
    if not isinstance(node, cst.Assign) or not is_false(node.value):
        return ""
    place: cst.BaseExpression = node.targets[0].target
    frozen = isinstance(place, cst.Attribute) and place.attr.value == "requires_grad"
    while isinstance(place, cst.Attribute):
        place = place.value
    return _own_attribute(place.value) if frozen and isinstance(place, cst.Subscript) else ""


def _registers(node: cst.CSTNode) -> bool:
    """Tell whether a method registers modules under names that it makes up."""
    if isinstance(node, cst.Attribute):
        return node.attr.value in REGISTRIES
    return isinstance(node, cst.Call) and _last_name(node.func) in REGISTERING


def _builders(methods: Sequence[cst.FunctionDef]) -> list[cst.FunctionDef]:
    """Give the constructor, what it calls, and the methods that may make layers; others only hand them on."""
    made = (node for method in methods if method.name.value == "__init__" for node in walk(method.body))
    called = {"__init__", *(_own_attribute(node.func) for node in made if isinstance(node, cst.Call))}
    return [
        method
        for method in methods
        if method.name.value in called or any(_last_name(node) in BUILDING for node in walk(method))
    ]


def read_to_register(tree: cst.Module) -> Iterator[str]:
    """Name the attributes of other objects that functions read which register something: those layers perhaps."""
    for function in walk(tree):
        nodes = list(own(function.body)) if isinstance(function, cst.FunctionDef) else []
        if any(isinstance(node, cst.Call) and _OUTSIDE.search(_last_name(node.func)) for node in nodes):
            read = (node for node in nodes if isinstance(node, cst.Attribute))
            yield from (node.attr.value for node in read if not _NO_LAYERS.match(_last_name(node.value)))


class _Method:
    """One method of a module class, read statement by statement."""

    def __init__(
        self,
        method: cst.FunctionDef,
        modules: Modules,
        names: Names,
        attributes: dict[str, Container],
        helpers: dict[str, cst.FunctionDef],
    ) -> None:
        self._method = method
        self._modules = modules
        self._names = names
        self._scope = names.scope(method)
        self._attributes = attributes
        self._helpers = helpers
        self._locals: dict[str, Container] = {}
        self._registered: set[str] = set()

    def read(self) -> None:
        """Note what the method puts where."""
        nodes = list(own(self._method.body))
        self._hand_on(nodes)
        self._registered = {
            node.value.value
            for node in nodes
            if isinstance(node, cst.Assign) and isinstance(node.value, cst.Name)
            if any(_own_attribute(target.target) for target in node.targets)
        }
        for node in nodes:
            if isinstance(node, cst.Assign):
                targets = [target.target for target in node.targets]
                takes_apart = any(isinstance(target, (cst.Tuple, cst.List)) for target in targets)
                for target in () if takes_apart else targets:  # each element is then an attribute of its own
                    self._assigned(target, node.value, node)
            elif isinstance(node, cst.AnnAssign) and node.value is not None:
                self._assigned(node.target, node.value, node)
            elif isinstance(node, cst.AugAssign):
                self._put(node.target, elements(node.value), node)
            elif isinstance(node, cst.Call):
                self._called(node)

    def _hand_on(self, nodes: Sequence[cst.CSTNode]) -> None:
        """Note the containers whose elements a loop puts into another one, which may register them."""
        for loop in nodes:
            if not isinstance(loop, cst.For):
                continue
            bound = {node.value for node in walk(loop.target) if isinstance(node, cst.Name)}
            calls = (node for node in walk(loop.body) if isinstance(node, cst.Call) and method_of(node) in ADDERS)
            put = {_last_name(call.args[-1].value) for call in calls if call.args}
            for node in walk(loop.iter) if put & bound else ():
                if isinstance(node, cst.Name):
                    self._local(node.value).given = True

    def _local(self, name: str) -> Container:
        return self._locals.setdefault(name, Container(name, self._scope))

    def _container(self, node: cst.CSTNode) -> Container | None:
        if attribute := _own_attribute(node):
            return self._attributes.setdefault(attribute, Container(attribute, self._scope))
        return self._local(node.value) if isinstance(node, cst.Name) else None

    def _assigned(self, target: cst.BaseExpression, value: cst.BaseExpression, statement: cst.CSTNode) -> None:
        if isinstance(target, cst.Subscript):
            container = self._put(target.value, [value], statement)
            if container is not None:
                index = target.slice[0].slice
                container.text_keys &= isinstance(index, cst.Index) and text_of(index.value) is not None
            return
        container = self._container(target)
        if container is None:
            return
        container.values.append(value)
        local = self._locals.get(value.value) if isinstance(value, cst.Name) else None
        if local is not None and local.is_plain:
            container.given |= local.given
            container.keyed |= any(map(is_dict, local.values))
            holds = bool(local.places)
        else:
            made = self._is_made_by_method(value)
            container.plain &= made or is_plain(value)
            container.keyed |= made or is_dict(value)
            holds = made or any(map(self._makes, elements(value)))
        if holds:
            container.places.append(statement)

    def _is_made_by_method(self, value: cst.BaseExpression) -> bool:
        """Tell whether a method of the class makes a plain container of layers, and gives it back."""
        method = self._helpers.get(_own_attribute(value.func)) if isinstance(value, cst.Call) else None
        given = list(returned(method)) if method is not None else []
        if method is None or len(given) != 1 or given[0] is None:
            return False
        helper = _Method(method, self._modules, self._names, {}, {})
        helper.read()
        if not isinstance(given[0], cst.Name):
            return is_plain(given[0]) and any(map(helper._makes, elements(given[0])))
        made = helper._locals.get(given[0].value)
        return made is not None and made.hides_layers

    def _put(
        self, place: cst.BaseExpression, values: Sequence[cst.BaseExpression], statement: cst.CSTNode
    ) -> Container | None:
        """Note what is put into a container; give the container if there is a layer among it."""
        container = self._container(place)
        if container is None or not any(map(self._makes, values)):
            return None
        container.places.append(statement)
        return container

    def _called(self, call: cst.Call) -> None:
        if isinstance(call.func, cst.Attribute) and method_of(call) in ADDERS and call.args:
            value = call.args[-1].value
            self._put(call.func.value, [value, *elements(value)], call)
            return
        if self._names.resolve(call.func, self._scope) in _HARMLESS:
            return
        deep = _last_name(call.func) in _REGISTERS_ELEMENTS
        for arg in call.args:
            for node in walk(arg.value) if deep else (arg.value,):
                container = self._container(node)
                if container is not None:
                    container.given = True

    def _makes(self, node: cst.BaseExpression) -> bool:
        """Tell whether an expression is a layer that holds something and that nobody has registered."""
        if isinstance(node, cst.Name):
            local = self._locals.get(node.value)
            if local is None or node.value in self._registered or local.given:
                return False
            return self._are_layers(local.values)
        if isinstance(node, cst.IfExp):
            return self._makes(node.body) or self._makes(node.orelse)
        if isinstance(node, cst.Call) and (method := self._helpers.get(_own_attribute(node.func))) is not None:
            scope, values = self._names.scope(method), list(returned(method))
            return bool(values) and all(value and self._modules.makes(value, scope, stateful=True) for value in values)
        if isinstance(node, cst.Call) and node.args and self._names.resolve(node.func, self._scope) in COPIERS:
            node = node.args[0].value
            if isinstance(node, cst.Name) and node.value in self._locals:
                return self._are_layers(self._locals[node.value].values)
        return self._are_layers([node])

    def _are_layers(self, values: Sequence[cst.BaseExpression]) -> bool:
        return bool(values) and all(
            is_parameter(value, self._names, self._scope) or self._modules.makes(value, self._scope, stateful=True)
            for value in values
        )


def _own_attribute(node: cst.CSTNode) -> str:
    """Give the name of an attribute of `self`, and nothing for all else."""
    is_own = isinstance(node, cst.Attribute) and isinstance(node.value, cst.Name) and node.value.value == "self"
    return cst.ensure_type(node, cst.Attribute).attr.value if is_own else ""


def _last_name(node: cst.CSTNode) -> str:
    return node.attr.value if isinstance(node, cst.Attribute) else node.value if isinstance(node, cst.Name) else ""


def is_parameter(node: cst.CSTNode, names: Names, scope: Scope) -> bool:
    """Tell whether a node makes a parameter."""
    return isinstance(node, cst.Call) and names.resolve(node.func, scope) in PARAMETERS


def is_plain(node: cst.BaseExpression) -> bool:
    """Tell whether an expression is a plain container, or None, which a container may replace."""
    if isinstance(node, cst.Call):
        return name_of(node.func).removeprefix("collections.") in PLAIN_CONTAINERS
    if isinstance(node, cst.Name):
        return node.value == "None"
    if isinstance(node, cst.BinaryOperation):
        sides = (is_plain(node.left), is_plain(node.right))
        return all(sides) if isinstance(node.operator, cst.Add) else any(sides)
    if isinstance(node, cst.IfExp):
        return is_plain(node.body) and is_plain(node.orelse)
    return isinstance(node, _WRITTEN)


def elements(node: cst.BaseExpression) -> list[cst.BaseExpression]:
    """Give what a written container holds, and what containers in it hold."""
    if isinstance(node, cst.Call):
        parts = [arg.value for arg in node.args] if is_plain(node) else []
        return [each for part in parts for each in (elements(part) or [part])]
    if isinstance(node, cst.BinaryOperation):
        return [*elements(node.left), *elements(node.right)]
    if isinstance(node, cst.IfExp):
        return [*elements(node.body), *elements(node.orelse)]
    if isinstance(node, (cst.List, cst.Tuple, cst.Dict)):
        held = [element.value for element in node.elements]
    elif isinstance(node, (cst.ListComp, cst.GeneratorExp)):
        held = [node.elt]
    else:
        held = [node.value] if isinstance(node, cst.DictComp) else []
    return [each for value in held for each in (value, *elements(value))]


def is_nested(node: cst.BaseExpression) -> bool:
    """Tell whether a container is no list or dict of layers but something that holds such."""
    if isinstance(node, cst.Call):
        return bool(node.args)
    return any(isinstance(each, _WRITTEN) for each in elements(node))


def is_dict(node: cst.BaseExpression) -> bool:
    """Tell whether a container is a dict."""
    if isinstance(node, cst.Call):
        return name_of(node.func).endswith(("dict", "Dict"))
    return isinstance(node, (cst.Dict, cst.DictComp))
