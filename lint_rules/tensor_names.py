"""Which names of a function hold a tensor for certain: by what they are bound to last, or by what is done with them.

Names that say so are believed in one place only: in what a loop over a loader unpacks, which nothing else tells.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING

import libcst as cst

from lint_rules.evidence import own, returned
from lint_rules.knowledge import ONLY_TENSORS, PARAMETERS, TENSOR_KEYS
from lint_rules.tensors import PAIRS, Tensors
from lint_rules.tree import argument, dotted, keyword, method_of, name_of, text_of, walk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lint_rules.names import Names, Scope

_TYPES = re.compile(r"torch\.(\w*Tensor)$|(torchtyping|jaxtyping)\.\w+$")
_COLLECTIONS = re.compile(r"(typing|builtins|collections\.abc)\.(Tuple|tuple|List|list|Sequence|Iterable)$")
#: Decorators after which a function gives what it returns.
_HARMLESS = re.compile(r"torch\.|builtins\.staticmethod$")
_LOADER = "torch.utils.data.DataLoader"
#: What a loop over batches calls the tensors that it unpacks, and what it loops over.
_UNPACKED = re.compile(r"(x|y|X|Y|data|img|image|input|label|target)s?$")
#: Packages whose loaders give batches that are moved in place.
_GRAPHS = re.compile(r"(torch_geometric|dgl)(\.|$)")
_BATCHES = re.compile(r"loader|dataloader|batches|data_iter|train_iter|test_iter", re.IGNORECASE)
#: What a batch that is a dict calls the tensors in it; an encoding or a graph in it would be moved in place.
_ENTRIES = re.compile(r"(\w+_)?(img|image|pixel_value|label|target|mask|video|audio|depth)s?$|[xy]$")
#: What gives the weights of a module; the last of each those of its state.
_WEIGHTS = frozenset({"parameters", "buffers", "values"})
_NAMED_WEIGHTS = frozenset({"named_parameters", "named_buffers", "items"})


class TensorAttributes:
    """What the classes of a file assign to attributes of `self`, and what they register as buffers."""

    def __init__(self, tree: cst.Module, names: Names) -> None:
        self._names = names
        self._values: defaultdict[str, list[tuple[cst.BaseExpression, Scope]]] = defaultdict(list)
        self._registered: set[str] = set()
        self._functions: defaultdict[str, list[cst.FunctionDef]] = defaultdict(list)
        self._fields: dict[tuple[str, str], tuple[cst.BaseExpression, Scope]] = {}
        self._helpers: dict[tuple[cst.FunctionDef, tuple[int, int] | None], bool] = {}
        for function in walk(tree):
            if isinstance(function, cst.FunctionDef):
                self._functions[function.name.value].append(function)
            elif isinstance(function, cst.ClassDef):
                for node in own(function.body):
                    if isinstance(node, cst.AnnAssign) and isinstance(node.target, cst.Name):
                        field = function.name.value, node.target.value
                        self._fields[field] = node.annotation.annotation, names.scope(function)
            for node in walk(function.body) if isinstance(function, cst.FunctionDef) else ():
                if isinstance(node, cst.Assign):
                    for target in node.targets:
                        name = name_of(target.target)
                        if name.startswith("self."):
                            self._values[name].append((node.value, names.scope(function)))
                elif isinstance(node, cst.Call) and dotted(node.func) == "self.register_buffer":
                    buffer = argument(node, 0, "name")
                    self._registered.add(f"self.{text_of(buffer) if buffer else None}")

    def is_tensor(self, name: str) -> bool:
        """Tell whether an attribute is given nothing but tensors, or moved ones of its own."""
        return name in self._registered or self._are_tensors(name, self._values.get(name, []))

    def is_global_tensor(self, name: str, scope: Scope) -> bool:
        """Tell whether a function reads a name to which the module binds nothing but tensors."""
        module = scope.module
        if scope.owner(name) is not module:
            return False
        values = module.bindings.get(name, [])
        given = [(value, module) for value in values if isinstance(value, cst.BaseExpression)]
        return len(given) == len(values) and self._are_tensors(name, given)

    def values(self, name: str) -> list[cst.BaseExpression]:
        """Give all that an attribute of `self` is bound to."""
        return [value for value, _ in self._values.get(name, [])]

    def is_tensor_field(self, owner: str, field: str) -> bool:
        """Tell whether a class says that its objects have a tensor under a name."""
        known = self._fields.get((owner, field))
        return known is not None and is_type(*known, self._names)

    def is_tensor_of_helper(self, call: cst.Call, scope: Scope, place: tuple[int, int] | None = None) -> bool:
        """Tell whether a call of a function of the file, or of a method of the same class, gives nothing but tensors.

        With a place, such as the first of two, it is asked of what a tuple has there. The function has to be the only
        one of its name, and no decorator of the program may change what it gives.
        """
        name = name_of(call.func)
        found = self._functions.get(name.removeprefix("self."), [])
        if len(found) != 1:
            return False
        function = found[0]
        is_method = name.startswith("self.")
        home = self._names.class_of("self", scope) if is_method else scope.owner(name)
        if home is None or home is not self._names.scope(function).parent:
            return False
        if home.bindings.get(function.name.value) != [None] or not self._is_as_written(function, home):
            return False
        asked = function, place
        if asked not in self._helpers:
            self._helpers[asked] = False  # what calls itself proves nothing
            self._helpers[asked] = self._returns_tensor(function, place)
        return self._helpers[asked]

    def _is_as_written(self, function: cst.FunctionDef, home: Scope) -> bool:
        """Tell whether a function gives what its body returns: torch's decorators leave that alone, others may not."""
        written = (each.decorator for each in function.decorators)
        called = (each.func if isinstance(each, cst.Call) else each for each in written)
        return all(_HARMLESS.match(self._names.resolve(each, home) or "") for each in called)

    def _returns_tensor(self, function: cst.FunctionDef, place: tuple[int, int] | None) -> bool:
        if function.returns is not None:
            annotation = function.returns.annotation
            if place is not None:
                return _are_of_type(annotation, self._names.module, self._names, place[0])
            return is_type(annotation, self._names.module, self._names)
        names = TensorNames(function, self._names, self)
        values = [value if place is None else _element(value, *place) for value in returned(function)]
        return bool(values) and all(value is not None and names.gives_tensor(value) for value in values)

    def _are_tensors(self, name: str, values: list[tuple[cst.BaseExpression, Scope]]) -> bool:
        """Tell whether all that a name is given are tensors, and one of them not only if the name is one already."""
        return any(self._gives(*value) for value in values) and all(self._gives(*value, name) for value in values)

    def _gives(self, value: cst.BaseExpression, scope: Scope, itself: str = "") -> bool:
        if isinstance(value, cst.Call) and self._names.resolve(value.func, scope) in PARAMETERS:
            return True
        return Tensors(self._names, scope, lambda name: name == itself, moved=True).gives(value)


class TensorNames:
    """The tensors among the names of one function, or of a file's code outside of its functions.

    Attributes:
        scope: The scope of the names.
        nodes: The syntax of the code, in its order.
    """

    def __init__(self, body: cst.FunctionDef | cst.Module, names: Names, attributes: TensorAttributes) -> None:
        self.scope = names.scope(body)
        self.nodes = list(own(body))
        self._names = names
        self._attributes = attributes
        self._order = {node: number for number, node in enumerate(self.nodes)}
        self._body = body
        self._parameters = body.params if isinstance(body, cst.FunctionDef) else None
        self._bound: dict[str, list[tuple[int, cst.BaseExpression | bool | None]]] = {}
        self._judged: dict[tuple[str, int], bool] = {}

    def is_tensor(self, node: cst.BaseExpression, statement: cst.CSTNode) -> bool:
        """Tell whether an expression is a tensor for certain where it stands in a statement of the code."""
        if isinstance(node, cst.Name):
            return self._is_name_of_tensor(node.value, self._order[statement]) or self._is_checked(node, statement)
        if isinstance(node, cst.Call):
            return self._is_chained(node)
        if isinstance(node, cst.Subscript):
            if self._is_loaded(node.value) or self._is_checked(node, statement):
                return True
            key = _key(node)
            return key in TENSOR_KEYS or self._is_entry(node)
        if isinstance(node, cst.Attribute):
            if node.attr.value == "timesteps":
                return self._sets_timesteps(node.value)
            if node.attr.value in {"data", "grad"}:
                return self.is_tensor(node.value, statement)
            known = node.attr.value in TENSOR_KEYS or self._attributes.is_tensor(name_of(node))
            return known or self._is_field(node)
        return False

    def gives_tensor(self, value: cst.BaseExpression) -> bool:
        """Tell whether an expression of the code gives a tensor for certain."""
        return self._shows(value, self._order[value]) is True

    def are_weights(self, name: str) -> bool:
        """Tell whether a loop over weights binds a name, so that binding it again changes no weight."""
        return any(isinstance(node, cst.For) and _is_weight(node, name) for node in self.nodes)

    def _is_field(self, node: cst.Attribute) -> bool:
        """Tell whether the class that a parameter is annotated with declares a tensor under this name."""
        annotation = self._annotation(node.value)
        types = self._names.admitted(annotation, self.scope) if annotation is not None else []
        return len(types) == 1 and self._attributes.is_tensor_field(name_of(types[0]), node.attr.value)

    def _annotation(self, node: cst.BaseExpression) -> cst.BaseExpression | None:
        """Give the annotation of a parameter that nothing else is bound to; None for anything else."""
        if not isinstance(node, cst.Name) or self.scope.bindings.get(node.value) != [None]:
            return None
        found = [param for param in self._given() if param.name.value == node.value]
        return found[0].annotation.annotation if found and found[0].annotation is not None else None

    def _given(self) -> list[cst.Param]:
        """Give the parameters of the function."""
        params = self._parameters
        return [*params.posonly_params, *params.params, *params.kwonly_params] if params is not None else []

    def _is_chained(self, call: cst.Call) -> bool:
        """Tell whether a method that only tensors have was called on a name of the code: `loss.detach().cpu()`."""
        if not isinstance(call.func, cst.Attribute) or call.func.attr.value not in ONLY_TENSORS:
            return False
        return self._names.resolve(call.func, self.scope) is None

    def _is_loaded(self, value: cst.BaseExpression) -> bool:
        """Tell whether a name is given to `load_state_dict`, so that it holds tensors under the names of weights."""
        loads = (node for node in self.nodes if isinstance(node, cst.Call) and method_of(node) == "load_state_dict")
        states = (argument(node, 0, "state_dict") for node in loads)
        return isinstance(value, cst.Name) and any(
            isinstance(state, cst.Name) and state.value == value.value for state in states
        )

    def _is_checked(self, asked: cst.BaseExpression, statement: cst.CSTNode) -> bool:
        """Tell whether a statement stands where `isinstance(asked, torch.Tensor)` holds."""
        return any(
            isinstance(node, cst.If)
            and self._asks(node.test, asked)
            and any(each is statement for each in walk(node.body))
            for node in self.nodes
        )

    def _asks(self, test: cst.BaseExpression, about: cst.BaseExpression) -> bool:
        if isinstance(test, cst.BooleanOperation) and isinstance(test.operator, cst.And):
            return self._asks(test.left, about) or self._asks(test.right, about)
        given = [arg.value for arg in test.args] if isinstance(test, cst.Call) else []
        if not isinstance(test, cst.Call) or not any(each.deep_equals(about) for each in given[:1]):
            return False
        asked = self._names.resolve(test.func, self.scope)
        if asked == "builtins.isinstance":
            return any(map(self._is_type, given[1:]))
        return asked == "torch.is_tensor"

    def _sets_timesteps(self, scheduler: cst.BaseExpression) -> bool:
        called = {name_of(node.func) for node in self.nodes if isinstance(node, cst.Call)}
        return f"{name_of(scheduler)}.set_timesteps" in called

    # What a name is bound to

    def _is_name_of_tensor(self, name: str, place: int) -> bool:
        """Judge a name by what it was bound to last, or else by what is done with it."""
        if name not in self._bound:
            self._bound[name] = sorted(self._bindings(name), key=lambda binding: binding[0])
        bindings = [(order, shows) for order, shows in self._bound[name] if order < place]
        if not bindings:
            return self._parameters is not None and self._attributes.is_global_tensor(name, self.scope)
        order, shows = bindings[-1]
        if (name, order) not in self._judged:
            proven = self._shows(shows, order) if isinstance(shows, cst.BaseExpression) else shows
            unsure = proven is None and len(bindings) == 1
            self._judged[name, order] = self._is_used_as_tensor(name) if unsure else bool(proven)
        return self._judged[name, order]

    def _bindings(self, name: str) -> Iterator[tuple[int, cst.BaseExpression | bool | None]]:
        """Yield where a name is bound, to what, or whether that shows a tensor; None where it shows nothing."""
        for param in self._given():
            if param.name.value == name:
                yield -1, (param.annotation is not None and self._is_type(param.annotation.annotation)) or None
        for order, node in enumerate(self.nodes):
            if isinstance(node, cst.Assign):
                for target in node.targets:
                    if isinstance(target.target, cst.Name) and target.target.value == name:
                        yield order, node.value
                    elif _binds(target.target, name):
                        beside = _beside(target.target, node.value, name)
                        of_batch = self._is_of_batch(node.value) or self._is_next_batch(node.value)
                        taken = self._is_taken(target.target, node.value, name)
                        taken = taken or self._is_helped(target.target, node.value, name) or self._is_pair(node.value)
                        yield order, beside or taken or (of_batch and _are_batched(target.target, self._names)) or None
            elif isinstance(node, cst.AnnAssign) and isinstance(node.target, cst.Name) and node.target.value == name:
                yield order, self._is_type(node.annotation.annotation) or None
            elif isinstance(node, cst.For) and _binds(node.target, name):
                shown = self._is_unpacked(node) or (self._is_from_loader(node) and _UNPACKED.match(name) is not None)
                yield order, shown or _is_weight(node, name) or self._is_listed(node) or None
            elif isinstance(node, cst.AsName) and _binds(node.name, name):
                yield order, False

    def _shows(self, value: cst.BaseExpression, place: int) -> bool | None:
        """Tell whether a value is a tensor; None where it does not show."""

        def known(name: str) -> bool:
            return self._attributes.is_tensor(name) if "." in name else self._is_name_of_tensor(name, place)

        if Tensors(self._names, self.scope, known, moved=True).gives(value) or _key(value) in TENSOR_KEYS:
            return True
        if isinstance(value, cst.Subscript) and self._is_entry(value):
            return True
        if isinstance(value, cst.Call) and (
            self._names.resolve(value.func, self.scope) in PARAMETERS
            or self._attributes.is_tensor_of_helper(value, self.scope)
        ):
            return True
        return False if isinstance(value, (cst.Name, cst.Attribute)) else None

    def _is_used_as_tensor(self, name: str) -> bool:
        """Tell whether something is done with a name that only tensors allow."""
        return any(
            isinstance(node, cst.Call)
            and isinstance(node.func, cst.Attribute)
            and node.func.attr.value in ONLY_TENSORS
            and _binds(node.func.value, name)
            for node in self.nodes
        )

    def _is_type(self, annotation: cst.BaseExpression) -> bool:
        return is_type(annotation, self.scope, self._names)

    def _is_pair(self, value: cst.BaseExpression) -> bool:
        """Tell whether a call gives two tensors: `values, places = torch.max(x, 1)`."""
        return (
            isinstance(value, cst.Call) and PAIRS.match(self._names.resolve(value.func, self.scope) or "") is not None
        )

    def _is_taken(self, target: cst.CSTNode, value: cst.BaseExpression, name: str) -> bool:
        """Tell whether a name is given an element of a parameter whose annotation says that it is a tensor."""
        annotation = self._annotation(value)
        if annotation is None or not isinstance(target, (cst.Tuple, cst.List)):
            return False
        return _are_of_type(annotation, self.scope, self._names, _place(target, name))

    def _is_listed(self, loop: cst.For) -> bool:
        """Tell whether a loop goes over a parameter whose annotation says that it is a list of tensors."""
        annotation = self._annotation(_batch(loop)[0])
        return annotation is not None and _are_of_type(annotation, self.scope, self._names)

    def _is_helped(self, target: cst.CSTNode, value: cst.BaseExpression, name: str) -> bool:
        """Tell whether a name is given an element of what a helper gives, and that is a tensor."""
        if not isinstance(value, cst.Call) or not isinstance(target, (cst.Tuple, cst.List)):
            return False
        if any(not isinstance(each.value, cst.Name) for each in target.elements):
            return False
        place = _place(target, name), len(target.elements)
        return self._attributes.is_tensor_of_helper(value, self.scope, place)

    # What a loader gives

    def _is_entry(self, node: cst.Subscript) -> bool:
        """Tell whether a batch that is a dict has a tensor under a key, as its name says."""
        return _ENTRIES.match(_key(node)) is not None and self._is_of_batch(node.value)

    def _is_of_batch(self, value: cst.BaseExpression) -> bool:
        """Tell whether a name is what a loop over a loader gives."""
        batches = (_batch(node) for node in self.nodes if isinstance(node, cst.For))
        return isinstance(value, cst.Name) and any(
            isinstance(batch, cst.Name) and batch.value == value.value and _BATCHES.search(name_of(source))
            for source, batch in batches
        )

    def _is_next_batch(self, value: cst.BaseExpression) -> bool:
        """Tell whether an expression takes one batch from a loader: `next(iter(loader))`."""
        for function in ("builtins.next", "builtins.iter"):
            if (
                not isinstance(value, cst.Call)
                or self._names.resolve(value.func, self.scope) != function
                or not value.args
            ):
                return False
            value = value.args[0].value
        return self._is_loader(value) or _BATCHES.search(name_of(value)) is not None

    def _is_unpacked(self, loop: cst.For) -> bool:
        """Tell whether a loop unpacks what torch's loader collates, or images and labels of some loader."""
        source, batch = _batch(loop)
        if not isinstance(batch, (cst.Tuple, cst.List)):
            return False
        bound: list[str | cst.BaseExpression | None] = [None]
        if isinstance(source, cst.Name) and (owner := self.scope.owner(source.value)) is not None:
            bound = owner.bindings.get(source.value, [])
        made = source if isinstance(source, cst.Call) else bound[0] if len(bound) == 1 else None
        if isinstance(made, cst.Call):
            return self._is_loader(made)
        kept = self._attributes.values(name_of(source))
        if (bool(kept) and all(map(self._is_loader, kept))) or self._is_given_loader(source):
            return True
        return bound == [None] and _are_batched(batch, self._names) and _BATCHES.search(name_of(source)) is not None

    def _is_from_loader(self, loop: cst.For) -> bool:
        """Tell whether a loop unpacks what a parameter gives that is annotated as torch's loader."""
        source, batch = _batch(loop)
        annotation = self._annotation(source)
        types = self._names.admitted(annotation, self.scope) if annotation is not None else []
        is_loader = bool(types) and all(self._names.resolve(each, self.scope) == _LOADER for each in types)
        return is_loader and isinstance(batch, (cst.Tuple, cst.List))

    def _is_given_loader(self, source: cst.BaseExpression) -> bool:
        """Tell whether each call by the function's name passes torch's loader where it loops over a parameter."""
        names = [param.name.value for param in self._given()]
        if not isinstance(source, cst.Name) or source.value not in names or not isinstance(self._body, cst.FunctionDef):
            return False
        is_method = names[0] == "self"
        place = names.index(source.value) - is_method
        called = method_of if is_method else lambda call: dotted(call.func)
        name = self._body.name.value
        calls = [each for each in self._names.calls if each[0].args and called(each[0]) == name]
        return bool(calls) and all(
            (given := argument(call, place, source.value)) is not None
            and self._is_loader(self._names.constant(given, scope))
            for call, scope in calls
        )

    def _is_loader(self, made: cst.BaseExpression) -> bool:
        """Tell whether an expression makes a loader which collates samples in its own way; graphs have another."""
        return (
            isinstance(made, cst.Call)
            and self._names.resolve(made.func, self.scope) == _LOADER
            and keyword(made, "collate_fn") is None
            and not any(arg.star for arg in made.args)
        )


def is_type(annotation: cst.BaseExpression, scope: Scope, names: Names) -> bool:
    """Tell whether an annotation admits nothing but tensors (and None)."""
    types = names.admitted(annotation, scope)
    return bool(types) and all(_TYPES.match(names.resolve(each, scope) or "") for each in types)


def _are_of_type(annotation: cst.BaseExpression, scope: Scope, names: Names, place: int | None = None) -> bool:
    """Tell whether an annotation admits nothing but collections of tensors, or with tensors at one place."""
    types = names.admitted(annotation, scope)
    for each in types:
        if not isinstance(each, cst.Subscript) or not _COLLECTIONS.match(names.resolve(each.value, scope) or ""):
            return False
        inside = [part.slice.value for part in each.slice if isinstance(part.slice, cst.Index)]
        same = len(inside) == 1 or any(isinstance(part, cst.Ellipsis) for part in inside)
        taken = inside[:1] if same else inside if place is None else inside[place : place + 1]
        if not taken or not all(is_type(kind, scope, names) for kind in taken):
            return False
    return bool(types)


def _place(target: cst.Tuple | cst.List, name: str) -> int:
    """Give the place of a name among several that are bound at once."""
    return next(number for number, each in enumerate(target.elements) if _binds(each.value, name))


def _element(value: cst.BaseExpression | None, place: int, length: int) -> cst.BaseExpression | None:
    """Give what stands at a place of a tuple of some length; None for anything else."""
    if not isinstance(value, cst.Tuple) or len(value.elements) != length:
        return None
    return value.elements[place].value


def _beside(target: cst.CSTNode, value: cst.BaseExpression, name: str) -> cst.BaseExpression | None:
    """Give what stands in the place of a name where several are assigned at once; None if that is not written."""
    if not isinstance(target, (cst.Tuple, cst.List)) or not isinstance(value, (cst.Tuple, cst.List)):
        return None
    if len(target.elements) != len(value.elements):
        return None
    pairs = zip(target.elements, value.elements, strict=True)
    return next(given.value for element, given in pairs if _binds(element.value, name))


def _key(node: cst.BaseExpression) -> str:
    """Give the name under which an attribute, or an entry of a dict, is read."""
    if isinstance(node, cst.Attribute):
        return node.attr.value
    index = node.slice[0].slice if isinstance(node, cst.Subscript) else None
    return (text_of(index.value) or "") if isinstance(index, cst.Index) else ""


def _batch(loop: cst.For) -> tuple[cst.BaseExpression, cst.BaseExpression]:
    """Give what a loop goes over, seen through `enumerate` and `tqdm`, and what it calls one of these things."""
    source: cst.BaseExpression = loop.iter
    target: cst.BaseExpression = loop.target
    while isinstance(source, cst.Call) and source.args and dotted(source.func) in {"enumerate", "tqdm"}:
        if dotted(source.func) == "enumerate" and isinstance(target, cst.Tuple):
            target = target.elements[-1].value
        source = source.args[0].value
    return source, target


def _are_batched(target: cst.BaseExpression, names: Names) -> bool:
    """Tell whether several names are called as what a loader collates is called, which must not be graphs."""
    bound = (value for values in names.module.bindings.values() for value in values)
    if any(isinstance(value, str) and _GRAPHS.match(value) for value in bound):
        return False
    elements = [each.value for each in target.elements] if isinstance(target, cst.Tuple) else []
    called = [each.value for each in elements if isinstance(each, cst.Name)]
    return len(called) > 1 and all(map(_UNPACKED.match, called))


def _is_weight(loop: cst.For, name: str) -> bool:
    """Tell whether a loop over the parameters or buffers of a module gives one of them this name."""
    method = method_of(loop.iter) if isinstance(loop.iter, cst.Call) else None
    if method in {"items", "values"} and isinstance(loop.iter, cst.Call) and isinstance(loop.iter.func, cst.Attribute):
        owner = loop.iter.func.value
        if not isinstance(owner, cst.Call) or method_of(owner) != "state_dict":
            return False
    if method in _NAMED_WEIGHTS and isinstance(loop.target, cst.Tuple):
        return _binds(loop.target.elements[-1].value, name)
    return method in _WEIGHTS and _binds(loop.target, name)


def _binds(target: cst.CSTNode, name: str) -> bool:
    """Tell whether a target is, or has among its parts, a name."""
    if isinstance(target, (cst.Tuple, cst.List)):
        return any(_binds(element.value, name) for element in target.elements)
    return isinstance(target, cst.Name) and target.value == name
