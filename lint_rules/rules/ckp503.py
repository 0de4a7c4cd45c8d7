"""CKP503: submodules in a plain list, tuple or dict."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lint_rules.knowledge import COPIERS
from lint_rules.outline import is_dotted, last_name, nodes
from lint_rules.prefilter import is_followed, may_be_notebook, places
from lint_rules.rule import Example, Finding, Fix, Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    import libcst as cst

    from lint_rules.engine import Context
    from lint_rules.evidence import Modules
    from lint_rules.names import Names, Scope
    from lint_rules.outline import Outline

_LAYER = rb"(?:\w+\.)*[A-Z]\w*"
#: What a container that is written down begins with, an assignment to several names, or a list of what functions make.
_WRITTEN = re.compile(
    rb"= *(?:"
    rb"(?:(?:list|tuple)\((?:[\[(]\s*)?|[\[{]{1,2}\s*|\()"
    rb"(?:f?\"[^\"\n]*\": |f?'[^'\n]*': |[\w.]+(?:\([\w.]*\))?: )?(?:[\w.]*(?:deepcopy|_norm)\()?(" + _LAYER + rb")\("
    rb"|(" + _LAYER + rb")(?=\([^\n]*\), *" + _LAYER + rb"\()"
    rb"|\[\s*([a-z_]\w*)\("
    rb"|\[\s*(?:copy\.)?deepcopy\(([a-z_]\w*)\))"
)
_APPENDED = re.compile(rb"\.(?:append|insert|extend)\((?:\d+, )?\[?\s*((?:torch\.)?(?:nn\.)?\w+)\b(?!\.)")
_STORED = re.compile(rb"\][ \t]*=[ \t]*(" + _LAYER + rb")\(")
_LISTED = re.compile(rb"= *[\[(]([\w.,\s]*\w),?\s*[\])]")
#: What stands behind a name that is given a plain container, one that is given a layer, ...
_CONTAINER = re.compile(rb"(?:\s*:[^=\n]*)?\s*=\s*(?:\[|\{|\(|list\(|dict\(|(?:collections\.)?OrderedDict\()")
_MADE = re.compile(rb"[ \t]*=[ \t]*" + _LAYER + rb"\(")
#: ... a class with a base, one that is handed to a container which registers, and the rest of a line.
_SUBCLASS = re.compile(rb"\((?!object)")
_CLOSED = re.compile(rb"\s*\)")
_END = re.compile(rb"\n")
_KEPT = re.compile(rb"self\.\w+ = $")
_REGISTRY = re.compile(rb"(?:List|Dict|Sequential)\(\s*\*?$")
_LONGEST_REGISTRY = 80  # bytes
_IMPORTED = re.compile(rb"from torch(?:\.nn|_geometric\.nn|vision\.ops)(?:\.\w+)* import (\([^)]*|[^\n]*)")
_STATELESS = re.compile(rb"(?:Pool|Loss|LU|Tanh|Sigmoid|Softmax)\w*$")
_ADDERS = {"append": 0, "insert": 1, "extend": 0, "update": 0, "add": 0}
_HARMLESS = frozenset(
    f"builtins.{name}"
    for name in ("len", "enumerate", "zip", "reversed", "range", "iter", "print", "next", "isinstance")
)
_REGISTERING = frozenset({"add_module", "register_module", "register_parameter", "setattr", "__setattr__"})
#: Where a module keeps its parts.
_HIDDEN = frozenset({"_modules", "__dict__"})
#: What may register the layers of another object.
_OUTSIDE = re.compile(
    r"regist|add_module|setattr|^(ModuleList|ModuleDict|Sequential|ParameterList)$|parameters$|add_param_group"
)
#: What has no layers of its own to register: the module itself, and settings.
_NO_LAYERS = re.compile(r"self$|cfg$|conf(ig)?$|\w+_(cfg|config)$|args$|opts?$|hparams$|params$")
_CONTAINERS = frozenset({"ModuleList", "ModuleDict", "Sequential", "ParameterList", "ParameterDict"})
_REPLACED = frozenset(
    {"parameters", "named_parameters", "state_dict", "named_children", "_apply", "children", "modules"}
)


def _has_base(data: bytes) -> bool:
    """Tell whether a source may subclass a module, of torch or of a framework."""
    return any(base in data for base in (b"Module", b"PreTrainedModel", b"ModelMixin"))


def _may_hide_modules(data: bytes) -> bool:
    """Tell whether modules may be put into a plain container that becomes an attribute; cheap, and often wrong."""
    if may_be_notebook(data):  # a notebook's JSON breaks lines in its own way
        return True
    return any(
        (target.startswith(b"self.") or _is_kept(target, data))
        and (written or _is_plain_there(target, data))
        and _may_be_module(name, data)
        and not _is_registered(target, data)
        for target, name, written in set(_candidates(data))
    )


def _candidates(data: bytes) -> Iterator[tuple[bytes, bytes, bool]]:
    """Yield what something is put into, what is called to make it, and whether both stand in one assignment."""
    for pattern in (_WRITTEN, _APPENDED, _STORED):
        for found in pattern.finditer(data):
            yield _word_before(data, found.start()), found[found.lastindex or 0], pattern is _WRITTEN
    for found in _LISTED.finditer(data):
        target = _word_before(data, found.start())
        yield from ((target, name.strip(), True) for name in found[1].split(b",") if b"." not in name)


def _is_registered(target: bytes, data: bytes) -> bool:
    """Tell whether a container is handed to one that registers."""
    return any(
        _CLOSED.match(data, start + len(target)) and _REGISTRY.search(data, max(start - _LONGEST_REGISTRY, 0), start)
        for start in places(data, target)
    )


def _may_be_module(name: bytes, data: bytes) -> bool:
    """Tell whether a word may be a layer's class, a function of the file, or a name bound to what a class makes."""
    if _STATELESS.search(name):
        return False
    if b"nn." in name:
        return True
    if name[:1].isupper():
        imported = any(name in found[1] for found in _IMPORTED.finditer(data))
        return imported or is_followed(data, b"class " + name, _SUBCLASS)
    return b"def %s(" % name in data or is_followed(data, name, _MADE)


def _word_before(data: bytes, end: int) -> bytes:
    """Give the name or attribute that stands before a place on its line, without an index or an annotation."""
    line = data[data.rfind(b"\n", 0, end) + 1 : end].strip()
    return line.partition(b":")[0].partition(b"[")[0].rstrip(b"+ ")


def _is_plain_there(target: bytes, data: bytes) -> bool:
    """Tell whether a plain container is made somewhere."""
    return is_followed(data, target, _CONTAINER)


def _is_kept(name: bytes, data: bytes) -> bool:
    """Tell whether a local container becomes an attribute."""
    return (
        name.isalnum()
        and b" = %s\n" % name in data
        and any(
            _KEPT.search(data, data.rfind(b"\n", 0, start) + 1, start) and _END.match(data, start + len(name))
            for start in places(data, name)
        )
    )


_PARAMETERS = frozenset({"torch.nn.Parameter", "torch.nn.parameter.Parameter"})
#: What makes a plain container.
_PLAIN = frozenset({"list", "dict", "tuple", "OrderedDict"})


def _may_hide(definition: ast.ClassDef, outline: Outline, weights: frozenset[ast.AST]) -> bool:
    """Tell whether an attribute of a class may be given nothing but plain containers, and layers into one of them."""
    methods = [each for each in definition.body if isinstance(each, ast.FunctionDef)]
    if any(method.name in _REPLACED or any(map(_registers, nodes(method))) for method in methods):
        return False
    given: dict[str, list[tuple[ast.expr, _Filled]]] = defaultdict(list)
    filled: set[str] = set()
    for method in methods:
        names = _Filled(method, outline, weights)
        filled |= {name for name in names.filled if name.startswith("self.")}
        for name, value in names.values:
            if name.startswith("self."):
                given[name].append((value, names))
    return any(
        all(names.may_be_plain(value) for value, names in values)
        and (name in filled or any(names.may_hold(value) for value, names in values))
        for name, values in given.items()
    )


def _registers(node: ast.AST) -> bool:
    """Tell whether modules are registered under names that the program makes up."""
    if isinstance(node, ast.Attribute):
        return node.attr in _HIDDEN
    return isinstance(node, ast.Call) and last_name(node.func) in _REGISTERING and is_dotted(node.func)


class _Filled:
    """What one method assigns to its own names and to attributes of `self`, and which of them it puts layers into.

    Attributes:
        values: Each name, or attribute with its `self.`, with what it is assigned.
        filled: Those that layers are put into later.
    """

    def __init__(self, method: ast.FunctionDef, outline: Outline, weights: frozenset[ast.AST]) -> None:
        self._outline = outline
        self._weights = weights
        every = nodes(method)
        pairs = [(target, node.value) for node in every if isinstance(node, ast.Assign) for target in node.targets]
        pairs += [(node.target, node.value) for node in every if isinstance(node, ast.AnnAssign) and node.value]
        self.values = [(_own_name(target), value) for target, value in pairs if not isinstance(target, ast.Subscript)]
        self._layers = {name for name, value in self.values if self._may_be_layer(value)}
        self._plain = {name for name, value in self.values if _may_be_container(value)}
        puts = [(target.value, value) for target, value in pairs if isinstance(target, ast.Subscript)]
        puts += [(node.target, node.value) for node in every if isinstance(node, ast.AugAssign)]
        puts += [
            (node.func.value, node.args[-1])
            for node in every
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _ADDERS
            if node.args
        ]
        self.filled = {_own_name(place) for place, value in puts if self._has_layer(value)}

    def may_be_plain(self, value: ast.expr) -> bool:
        """Tell whether a value may be a plain container, made by a method perhaps; or None."""
        if isinstance(value, ast.Name):
            return value.id in self._plain
        return _may_be_container(value) or _is_own_call(value) or (isinstance(value, ast.Constant) and not value.value)

    def may_hold(self, value: ast.expr) -> bool:
        """Tell whether a value may be a container that holds layers."""
        if isinstance(value, ast.Name):
            held = (each for name, each in self.values if name == value.id)
            return value.id in self.filled or any(map(self._has_layer, held))
        return _is_own_call(value) or self._has_layer(value)

    def _has_layer(self, value: ast.expr) -> bool:
        return any(
            self._may_be_layer(each) or (isinstance(each, ast.Name) and each.id in self._layers)
            for each in nodes(value)
        )

    def _may_be_layer(self, value: ast.AST) -> bool:
        return value in self._weights or self._outline.may_make_module(value, stateful=True)


def _may_be_container(value: ast.expr) -> bool:
    if isinstance(value, ast.BinOp):
        return _may_be_container(value.left) or _may_be_container(value.right)
    if isinstance(value, ast.IfExp):
        return _may_be_container(value.body) and _may_be_container(value.orelse)
    if isinstance(value, ast.Call):
        return last_name(value.func) in _PLAIN
    return isinstance(value, (ast.List, ast.Tuple, ast.Dict, ast.ListComp, ast.DictComp))


def _own_name(node: ast.expr) -> str:
    """Spell a name as it is, and an attribute of `self` with its `self.`; nothing for all else."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
        return f"self.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def _is_own_call(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and _own_name(node.func).startswith("self.")


def _touched_from_outside(tree: cst.Module) -> Iterator[str]:
    """Name the attributes of other objects that functions read which register something: those layers perhaps."""
    import libcst as cst

    from lint_rules.evidence import own
    from lint_rules.tree import walk

    for function in walk(tree):
        if isinstance(function, cst.FunctionDef):
            read: set[str] = set()
            registers = False
            for node in own(function.body):
                if isinstance(node, cst.Attribute) and isinstance(node.value, cst.Name):
                    if not _NO_LAYERS.match(node.value.value):
                        read.add(node.attr.value)
                elif isinstance(node, cst.Call):
                    registers = registers or _OUTSIDE.search(_last_name(node.func)) is not None
            if registers:
                yield from read


def _last_name(node: cst.BaseExpression) -> str:
    import libcst as cst

    return node.attr.value if isinstance(node, cst.Attribute) else node.value if isinstance(node, cst.Name) else ""


@dataclass(slots=True)
class _Container:
    """What a class keeps in one attribute, or a method in one local name.

    Attributes:
        name: The attribute without `self.`, or the local name.
        scope: The scope of the method that makes it.
        values: Every expression that is assigned to it.
        places: Where layers are put into it.
        plain: Whether it holds nothing but plain containers.
        given: Whether someone else is given it, who may register what it holds.
        text_keys: Whether every key that it is given is a string.
    """

    name: str
    scope: Scope
    values: list[cst.BaseExpression] = field(default_factory=list)
    places: list[cst.CSTNode] = field(default_factory=list)
    plain: bool = True
    given: bool = False
    text_keys: bool = True


class _Class:
    """One module class: its containers, what is put into them, and what else becomes of them."""

    def __init__(self, definition: cst.ClassDef, modules: Modules, context: Context) -> None:
        import libcst as cst

        self._modules = modules
        self._names = context.names
        self._attributes: dict[str, _Container] = {}
        self._methods = [node for node in definition.body.body if isinstance(node, cst.FunctionDef)]
        self._registers = any(method.name.value in _REPLACED for method in self._methods)

    def hidden(self) -> Iterator[_Container]:
        """Yield the attributes that keep layers out of the module's sight."""
        for method in self._methods:
            self._registers = self._registers or self._registers_itself(method)
        if self._registers:
            return
        helpers = {method.name.value: method for method in self._methods}
        for method in self._methods:
            _Method(method, self._modules, self._names, self._attributes, helpers).read()
        made = (each for each in self._attributes.values() if each.values)
        yield from (each for each in made if each.plain and not each.given and each.places)

    @staticmethod
    def _registers_itself(method: cst.FunctionDef) -> bool:
        """Tell whether a method registers modules under names that it makes up."""
        import libcst as cst

        from lint_rules.tree import dotted, walk

        for node in walk(method.body):
            if isinstance(node, cst.Call):
                name = (dotted(node.func) or "").rpartition(".")[2]
                if name in _REGISTERING:
                    return True
            elif isinstance(node, cst.Attribute) and node.attr.value in _HIDDEN:
                return True
        return False


class _Method:
    """One method of a module class, read statement by statement."""

    def __init__(
        self,
        method: cst.FunctionDef,
        modules: Modules,
        names: Names,
        attributes: dict[str, _Container],
        helpers: dict[str, cst.FunctionDef],
    ) -> None:
        self._helpers = helpers
        self._method = method
        self._modules = modules
        self._scope = names.scope(method)
        self._names = names
        self._attributes = attributes
        self._locals: dict[str, _Container] = {}
        self._registered: set[str] = set()

    def read(self) -> None:
        """Note what the method puts where."""
        import libcst as cst

        from lint_rules.evidence import own

        nodes = list(own(self._method.body))
        self._hand_on(nodes)
        for node in nodes:
            if isinstance(node, cst.Assign):
                for target in node.targets:
                    if isinstance(node.value, cst.Name) and self._attribute(target.target) is not None:
                        self._registered.add(node.value.value)
        for node in nodes:
            if isinstance(node, cst.Assign):
                if any(self._takes_apart(target.target) for target in node.targets):
                    continue
                for target in node.targets:
                    self._assigned(target.target, node.value, node)
            elif isinstance(node, cst.AnnAssign) and node.value is not None:
                self._assigned(node.target, node.value, node)
            elif isinstance(node, cst.AugAssign):
                self._added(node.target, node.value, node)
            elif isinstance(node, cst.Call):
                self._called(node)

    def _hand_on(self, nodes: list[cst.CSTNode]) -> None:
        """Note the containers whose elements a loop puts into another one, which may register them."""
        import libcst as cst

        from lint_rules.tree import method_of, walk

        for loop in nodes:
            if not isinstance(loop, cst.For):
                continue
            elements = {node.value for node in walk(loop.target) if isinstance(node, cst.Name)}
            calls = (node for node in walk(loop.body) if isinstance(node, cst.Call) and method_of(node) in _ADDERS)
            put = {_last_name(call.args[-1].value) for call in calls if call.args}
            for node in walk(loop.iter) if put & elements else ():
                if isinstance(node, cst.Name):
                    self._locals.setdefault(node.value, _Container(node.value, self._scope)).given = True

    def _takes_apart(self, target: cst.BaseExpression) -> bool:
        """Tell whether an assignment makes each element an attribute of its own, and so registers it."""
        import libcst as cst

        return isinstance(target, (cst.Tuple, cst.List)) and all(
            self._attribute(element.value) is not None for element in target.elements
        )

    def _attribute(self, node: cst.BaseExpression) -> str | None:
        import libcst as cst

        is_own = isinstance(node, cst.Attribute) and isinstance(node.value, cst.Name) and node.value.value == "self"
        return cst.ensure_type(node, cst.Attribute).attr.value if is_own else None

    def _container(self, node: cst.BaseExpression) -> _Container | None:
        import libcst as cst

        attribute = self._attribute(node)
        if attribute is not None:
            return self._attributes.setdefault(attribute, _Container(attribute, self._scope))
        if isinstance(node, cst.Name):
            return self._locals.setdefault(node.value, _Container(node.value, self._scope))
        return None

    def _assigned(self, target: cst.BaseExpression, value: cst.BaseExpression, statement: cst.CSTNode) -> None:
        import libcst as cst

        from lint_rules.tree import text_of

        if isinstance(target, cst.Subscript):
            container = self._container(target.value)
            if container is not None and self._makes(value):
                index = target.slice[0].slice
                container.text_keys &= isinstance(index, cst.Index) and text_of(index.value) is not None
                container.places.append(statement)
            return
        container = self._container(target)
        if container is None:
            return
        container.values.append(value)
        local = self._locals.get(value.value) if isinstance(value, cst.Name) else None
        if local is not None and local.values and all(map(_is_plain, local.values)):
            container.plain &= local.plain
            container.given |= local.given
            container.text_keys &= local.text_keys
            if local.places:
                container.places.append(statement)
        elif self._is_made_by_method(value):
            container.places.append(statement)
        elif not _is_plain(value):
            container.plain = False
        elif any(map(self._makes, _elements(value))):
            container.places.append(statement)

    def _is_made_by_method(self, value: cst.BaseExpression) -> bool:
        """Tell whether a method of the class makes a plain list of layers, and gives it back."""
        import libcst as cst

        from lint_rules.evidence import returned

        if not isinstance(value, cst.Call) or not isinstance(value.func, cst.Attribute):
            return False
        name = self._attribute(value.func)
        method = self._helpers.get(name or "")
        if method is None or method is self._method:
            return False
        given = list(returned(method))
        names = {each.value for each in given if isinstance(each, cst.Name)}
        if len(given) != 1 or not names:
            return False
        helper = _Method(method, self._modules, self._names, {}, {})
        helper.read()
        made = helper.local(names.pop())
        return made is not None and made.plain and not made.given and bool(made.places)

    def local(self, name: str) -> _Container | None:
        """Give what the method keeps under a local name, if that is a plain container."""
        found = self._locals.get(name)
        return found if found is not None and found.values and all(map(_is_plain, found.values)) else None

    def _added(self, target: cst.BaseExpression, value: cst.BaseExpression, statement: cst.CSTNode) -> None:
        container = self._container(target)
        if container is not None and any(map(self._makes, _elements(value))):
            container.places.append(statement)

    def _called(self, call: cst.Call) -> None:
        import libcst as cst

        from lint_rules.tree import dotted, method_of, walk

        if isinstance(call.func, cst.Attribute) and method_of(call) in _ADDERS and call.args:
            value = call.args[-1].value
            container = self._container(call.func.value)
            if container is not None and any(map(self._makes, (value, *_elements(value)))):
                container.places.append(call)
            return
        if self._names.resolve(call.func, self._scope) in _HARMLESS:
            return
        deep = (dotted(call.func) or "").rpartition(".")[2] in _CONTAINERS
        for arg in call.args:
            for node in walk(arg.value) if deep else (arg.value,):
                container = self._container(node) if isinstance(node, (cst.Name, cst.Attribute)) else None
                if container is not None:
                    container.given = True

    def _makes(self, node: cst.BaseExpression) -> bool:
        """Tell whether an expression is a layer that holds something and that nobody has registered."""
        import libcst as cst

        if isinstance(node, cst.Name):
            local = self._locals.get(node.value)
            if local is None or node.value in self._registered or local.given:
                return False
            return bool(local.values) and all(self._is_layer(value) for value in local.values)
        if isinstance(node, cst.Call) and node.args and self._names.resolve(node.func, self._scope) in COPIERS:
            copied = node.args[0].value
            made = self._locals.get(copied.value) if isinstance(copied, cst.Name) else None
            return all(map(self._is_layer, made.values)) if made and made.values else self._is_layer(copied)
        return self._is_layer(node)

    def _is_layer(self, value: cst.BaseExpression) -> bool:
        return _is_parameter(value, self._names, self._scope) or self._modules.makes(value, self._scope, stateful=True)


def _is_parameter(node: cst.CSTNode, names: Names, scope: Scope) -> bool:
    import libcst as cst

    return isinstance(node, cst.Call) and names.resolve(node.func, scope) in _PARAMETERS


def _is_plain(node: cst.BaseExpression) -> bool:
    """Tell whether an expression is a plain container, or None, which a container may replace."""
    import libcst as cst

    from lint_rules.tree import dotted

    if isinstance(node, cst.Call):
        return (dotted(node.func) or "").removeprefix("collections.") in _PLAIN and all(
            arg.keyword is not None
            or isinstance(arg.value, (cst.GeneratorExp, cst.List, cst.Tuple, cst.Dict, cst.ListComp))
            for arg in node.args
        )
    if isinstance(node, cst.Name):
        return node.value == "None"
    if isinstance(node, cst.BinaryOperation):
        sides = (_is_plain(node.left), _is_plain(node.right))
        return all(sides) if isinstance(node.operator, cst.Add) else any(sides)
    if isinstance(node, cst.IfExp):
        return _is_plain(node.body) and _is_plain(node.orelse)
    return isinstance(node, (cst.List, cst.Tuple, cst.Dict, cst.ListComp, cst.DictComp))


def _elements(node: cst.BaseExpression) -> list[cst.BaseExpression]:
    """Give what a written container holds, containers inside taken apart."""
    import libcst as cst

    if isinstance(node, cst.Call):
        parts = [arg.value for arg in node.args] if _is_plain(node) else []
        return [each for part in parts for each in (_elements(part) or [part])]
    if isinstance(node, cst.BinaryOperation):
        return [*_elements(node.left), *_elements(node.right)]
    if isinstance(node, cst.IfExp):
        return [*_elements(node.body), *_elements(node.orelse)]
    if isinstance(node, (cst.List, cst.Tuple)):
        held = [element.value for element in node.elements if isinstance(element, cst.Element)]
    elif isinstance(node, cst.Dict):
        held = [element.value for element in node.elements if isinstance(element, cst.DictElement)]
    elif isinstance(node, (cst.ListComp, cst.GeneratorExp)):
        held = [node.elt]
    else:
        held = [node.value] if isinstance(node, cst.DictComp) else []
    return [each for value in held for each in (value, *(_elements(value) if _is_plain(value) else []))]


def _fix(attribute: _Container, definition: cst.ClassDef, context: Context) -> Fix | None:
    """Put the container that registers around the only value that the attribute is given."""
    import libcst as cst

    from lint_rules.evidence import precedes_init
    from lint_rules.tree import text_of, walk

    if len(attribute.values) != 1 or precedes_init(definition, attribute.values[0]):
        return None
    value = attribute.values[0]
    if any(_is_parameter(node, context.names, attribute.scope) for place in attribute.places for node in walk(place)):
        return None
    keyed = isinstance(value, (cst.Dict, cst.DictComp)) or (isinstance(value, cst.Call) and _is_dict(value))
    if isinstance(value, cst.Dict):
        keys = [element.key if isinstance(element, cst.DictElement) else None for element in value.elements]
        attribute.text_keys &= all(key is not None and text_of(key) is not None for key in keys)
    if (
        isinstance(value, (cst.Tuple, cst.IfExp))
        or _is_nested(value)
        or (keyed and (not attribute.text_keys or isinstance(value, cst.DictComp)))
    ):
        return None
    nn, imports = _nn(context, attribute.scope)
    before = f"{nn}.ModuleDict(" if keyed else f"{nn}.ModuleList("
    return Fix(context.wrap(value, before, ")"), safe=False, imports=imports)


def _is_nested(value: cst.BaseExpression) -> bool:
    """Tell whether a container is no list or dict of layers but something that holds such."""
    import libcst as cst

    if isinstance(value, cst.Call):
        return bool(value.args)
    return any(
        isinstance(each, (cst.List, cst.Tuple, cst.Dict, cst.ListComp, cst.DictComp)) for each in _elements(value)
    )


def _is_dict(call: cst.Call) -> bool:
    from lint_rules.tree import dotted

    return (dotted(call.func) or "").endswith(("dict", "Dict"))


def _nn(context: Context, scope: Scope) -> tuple[str, tuple[str, ...]]:
    """Say how `torch.nn` is spelled, and what must be imported for that."""
    import libcst as cst

    for name in scope.module.bindings:
        if context.names.resolve(cst.Name(name), scope) == "torch.nn":
            return name, ()
    torch, imports = context.spelling("torch", scope)
    return f"{torch}.nn", imports


class UnregisteredSubmodules(Rule):
    """Finds layers kept in a plain list, tuple or dict, where the module does not see them.

    ## What it does

    Reports layers, and parameters, that a subclass of `nn.Module` puts into a list, tuple or dict that is an attribute
    of `self`: written there, appended, or collected in a local list that becomes the attribute. What is registered
    besides, by `add_module`, in an `nn.ModuleList` or as attributes of their own, is left alone, and so are activations
    and other layers that hold nothing.

    ## Why is this bad

    A module registers what is assigned to its attributes, and does not look into containers. Such layers are missing
    from `state_dict()`, so a checkpoint does not hold them, and from `parameters()`, so no optimizer trains them;
    `to()` and `eval()` do not reach them. Nothing fails: after loading they are as random as they were when made.

    ## Fix safety

    Puts `nn.ModuleList(...)` or `nn.ModuleDict(...)` around the container, unless it is a tuple, holds parameters or
    stands before `super().__init__()`. The fix is unsafe: checkpoints saved so far lack these layers and no longer load
    with `strict=True`.

    ## References

    - [nn.ModuleList](https://docs.pytorch.org/docs/stable/generated/torch.nn.ModuleList.html)
    - [nn.ModuleDict](https://docs.pytorch.org/docs/stable/generated/torch.nn.ModuleDict.html)
    """

    code = "CKP503"
    name = "unregistered-submodules"
    summary = "Layers are kept in a plain list, which hides them from the checkpoint"
    needs = ((b"torch", _has_base, _may_hide_modules),)
    marks = frozenset(
        {
            "__init__",
            "append",
            "extend",
            "insert",
            "add_module",
            "register_module",
            "register_parameter",
            "setattr",
            "ModuleList",
            "ModuleDict",
        }
        | {"Sequential", "Linear", "Conv1d", "Conv2d", "Conv3d", "Parameter"}
    )

    def may_find(self, outline: Outline) -> bool:
        """Tell whether a class may keep layers in a plain container."""
        classes = [each for each in outline.classes if outline.may_be_module_class(each)]
        weights = outline.calls_of(_PARAMETERS) if classes else []
        return weights is None or any(_may_hide(each, outline, frozenset(weights)) for each in classes)

    def check(self, context: Context) -> Iterator[Finding]:
        """Report each place where a module puts layers into a plain container of its own.

        Args:
            context: The source.

        Yields:
            One finding a place.
        """
        from lint_rules.evidence import Modules

        modules = Modules(context.tree, context.names)
        touched = set(_touched_from_outside(context.tree)) if modules.classes else set()
        for definition in modules.classes:
            for attribute in _Class(definition, modules, context).hidden():
                if attribute.name in touched:
                    continue
                fix = _fix(attribute, definition, context)
                for place in attribute.places:
                    yield context.finding(
                        self,
                        place,
                        f"`self.{attribute.name}` is a plain container, so its layers are missing from `state_dict()` "
                        "and `parameters()`; use `nn.ModuleList` or `nn.ModuleDict`",
                        fix,
                    )

    invalid = (
        Example(
            """
            from torch import nn


            class Net(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.layers = [nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2)]

                def forward(self, x):
                    for layer in self.layers:
                        x = layer(x)
                    return x
            """,
            why="a list",
            lines=(7,),
            fixed="""
            from torch import nn


            class Net(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.layers = nn.ModuleList([nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2)])

                def forward(self, x):
                    for layer in self.layers:
                        x = layer(x)
                    return x
            """,
        ),
        Example(
            """
            import torch


            class Net(torch.nn.Module):
                def __init__(self, depth):
                    super().__init__()
                    self.blocks = [torch.nn.Linear(8, 8).to("cpu") for _ in range(depth)]
                    self.heads = {"a": torch.nn.Linear(8, 1), "b": torch.nn.Linear(8, 1)}
                    self.pair = (torch.nn.Linear(8, 8), torch.nn.BatchNorm1d(8))
            """,
            why="a comprehension, a dict and a tuple",
            lines=(7, 8, 9),
            fixed="""
            import torch


            class Net(torch.nn.Module):
                def __init__(self, depth):
                    super().__init__()
                    self.blocks = torch.nn.ModuleList([torch.nn.Linear(8, 8).to("cpu") for _ in range(depth)])
                    self.heads = torch.nn.ModuleDict({"a": torch.nn.Linear(8, 1), "b": torch.nn.Linear(8, 1)})
                    self.pair = (torch.nn.Linear(8, 8), torch.nn.BatchNorm1d(8))
            """,
        ),
        Example(
            """
            from torch import nn


            class Block(nn.Module):
                def __init__(self, width):
                    super().__init__()
                    self.linear = nn.Linear(width, width)


            class Net(nn.Module):
                def __init__(self, depth, width):
                    super().__init__()
                    self.blocks = []
                    for number in range(depth):
                        block = Block(width)
                        print(number)
                        print(width)
                        self.blocks.append(block)
            """,
            why="a class of the same file, appended in a loop",
            lines=(18,),
            fixed="""
            from torch import nn


            class Block(nn.Module):
                def __init__(self, width):
                    super().__init__()
                    self.linear = nn.Linear(width, width)


            class Net(nn.Module):
                def __init__(self, depth, width):
                    super().__init__()
                    self.blocks = nn.ModuleList([])
                    for number in range(depth):
                        block = Block(width)
                        print(number)
                        print(width)
                        self.blocks.append(block)
            """,
        ),
        Example(
            """
            import torch.nn as nn


            class Net(nn.Module):
                def __init__(self, widths):
                    super().__init__()
                    layers = []
                    for width in widths:
                        layers.append(nn.Linear(width, width))
                        layers.append(nn.ReLU())
                    self.layers = layers
            """,
            why="a local list becomes the attribute",
            lines=(11,),
            fixed="""
            import torch.nn as nn


            class Net(nn.Module):
                def __init__(self, widths):
                    super().__init__()
                    layers = []
                    for width in widths:
                        layers.append(nn.Linear(width, width))
                        layers.append(nn.ReLU())
                    self.layers = nn.ModuleList(layers)
            """,
        ),
        Example(
            """
            from torch import nn


            class Net(nn.Module):
                def __init__(self, names):
                    super().__init__()
                    self.heads = {}
                    for name in names:
                        self.heads[name] = nn.Linear(8, 1)
            """,
            why="a dict that is filled in a loop",
            lines=(9,),
        ),
        Example(
            """
            from torch import nn


            def conv(width):
                return nn.Sequential(nn.Conv2d(width, width, 3), nn.ReLU())


            class Base(nn.Module):
                pass


            class Net(Base):
                def __init__(self):
                    super().__init__()
                    self.layers: list[nn.Module] = [conv(3)]
                    self.layers += [nn.Conv2d(3, 3, 1)]
                    self.layers.extend([nn.Conv2d(3, 3, 1) for _ in range(2)])
            """,
            why="a helper of the same file, and a base class between",
            lines=(15, 16, 17),
        ),
        Example(
            """
            from torch import nn


            class Net(nn.Module):
                def __init__(self, depth):
                    super().__init__()
                    self.blocks = self._make(depth)
                    self.heads = list(nn.Linear(8, 1) for _ in range(depth))
                    self.pairs = [[nn.Linear(8, 8), nn.ReLU()] for _ in range(depth)]

                def _make(self, depth):
                    blocks = []
                    for _ in range(depth):
                        blocks.append(nn.Linear(8, 8))
                    return blocks


            class Other(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.inner = nn.Linear(8, 8)
                    self.add_module("outer", nn.Linear(8, 8))


            class Runner:
                def show(self, options):
                    print(options.blocks, options.heads)
            """,
            why="what a method makes, a call of `list`, lists in a list; others that have nothing to do with it",
            lines=(7, 8, 9),
        ),
        Example(
            """
            from torch import nn


            class Net(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.pair = nn.Linear(2, 2), nn.Linear(2, 2)
                    self.first, self.second = nn.Linear(2, 2), nn.Linear(2, 2)
                    self.activations = nn.ReLU(), nn.Tanh()
                    self.experts = {str(i): nn.Linear(2, 2) for i in range(4)}
            """,
            why="a tuple without brackets, a dict whose keys are computed",
            lines=(7, 10),
        ),
        Example(
            """
            from torch import nn


            class Net(nn.Module):
                def __init__(self):
                    self.layers = [nn.Linear(2, 2), nn.Linear(2, 2)]
                    super().__init__()
            """,
            why="before the module is set up, where no ModuleList can be assigned",
            lines=(6,),
            fixed="""
            from torch import nn


            class Net(nn.Module):
                def __init__(self):
                    self.layers = [nn.Linear(2, 2), nn.Linear(2, 2)]
                    super().__init__()
            """,
        ),
        Example(
            """
            from collections import OrderedDict

            from torch import nn


            class Experts(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.experts = OrderedDict()
                    for number in range(3):
                        self.experts[f"expert{number}"] = nn.Linear(2, 2)
            """,
            why="a dict that keeps its order",
            lines=(11,),
        ),
        Example(
            """
            import torch
            from torch import nn


            class Mixed(nn.Module):
                def __init__(self, count):
                    super().__init__()
                    self.weights = [nn.Parameter(torch.zeros(3)) for _ in range(count)]
                    self.scales = {}
                    for name in "abc":
                        scale = torch.nn.Parameter(torch.ones(1))
                        self.scales[name] = scale
            """,
            why="parameters",
            lines=(8, 12),
        ),
        Example(
            """
            from torch import nn


            class Tower(nn.Module):
                def __init__(self, count):
                    super().__init__()
                    self.norms = [nn.LayerNorm(8)] * count
                    self.layers = [nn.Linear(8, 8)] + [nn.Linear(8, 8) for _ in range(count)]
            """,
            why="lists that are repeated and added",
            lines=(7, 8),
            fixed="""
            from torch import nn


            class Tower(nn.Module):
                def __init__(self, count):
                    super().__init__()
                    self.norms = nn.ModuleList([nn.LayerNorm(8)] * count)
                    self.layers = nn.ModuleList([nn.Linear(8, 8)] + [nn.Linear(8, 8) for _ in range(count)])
            """,
        ),
        Example(
            """
            import copy
            from copy import deepcopy

            from torch import nn


            class Net(nn.Module):
                def __init__(self, depth):
                    super().__init__()
                    layer = nn.Linear(2, 2)
                    self.copies = [copy.deepcopy(layer) for _ in range(depth)]
                    self.more = [deepcopy(nn.Linear(2, 2)) for _ in range(depth)]
            """,
            why="copies",
            lines=(11, 12),
        ),
        Example(
            """
            from torch import nn
            from torch.nn.utils import weight_norm
            from torch_geometric.nn import GCNConv


            class Net(nn.Module):
                def __init__(self, sizes):
                    super().__init__()
                    self.convs = [weight_norm(nn.Conv1d(size, size, 3)) for size in sizes]
                    self.graphs = [GCNConv(size, size) for size in sizes]
            """,
            why="layers under weight normalisation, and of another library",
            lines=(9, 10),
        ),
        Example(
            """
            import torch.nn as tnn


            class Net(tnn.Module):
                def __init__(self):
                    super().__init__()
                    self.layers = [tnn.Linear(2, 2)]
            """,
            why="under another name",
            lines=(7,),
        ),
        Example(
            """
            from torch import nn
            from transformers import PreTrainedModel


            class Model(PreTrainedModel):
                def __init__(self, config):
                    super().__init__(config)
                    self.layers = [nn.Linear(8, 8) for _ in range(config.depth)]
                    self.more = [nn.Linear(8, 8)] if config.deep else []
            """,
            why="a model of a framework, and a list that may be empty",
            lines=(8, 9),
        ),
        Example(
            """
            from torch import nn


            class Model(nn.Module):
                def __init__(self, config):
                    super().__init__()
                    self.layers = nn.ModuleList([nn.Linear(8, 8) for _ in range(config.layers)])
                    self.heads = [nn.Linear(8, 1) for _ in range(config.heads)]
            """,
            why="a setting of the same name beside a list that registers",
            lines=(8,),
        ),
    )
    valid = (
        Example(
            """
            from torch import nn


            class Tower(nn.Module):
                def __init__(self, count):
                    super().__init__()
                    self.layers = nn.ModuleList([nn.Linear(8, 8)])
                    self.more = self.layers + [nn.Linear(8, 8)]
            """,
            why="a list that is added to one that registers",
        ),
        Example(
            """
            import torch
            from torch import nn


            class Encoder(nn.Module):
                def __init__(self, widths, pools):
                    super().__init__()
                    convolutions = [nn.Conv2d(width, width, 3) for width in widths]
                    sequence = []
                    for convolution, pool in zip(convolutions, pools):
                        sequence.append(convolution)
                        if pool > 1:
                            sequence.append(nn.MaxPool2d(pool))
                    self.state = nn.Sequential(*sequence)
                    self.convolutions = convolutions
            """,
            why="registered one by one through another list",
        ),
        Example(
            """
            import torch
            from torch import nn


            class Mixed(nn.Module):
                def __init__(self, count):
                    super().__init__()
                    self.first, self.second = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(3))
                    self.both = [self.first, self.second]
                    weights = [nn.Parameter(torch.zeros(3)) for _ in range(count)]
                    self.weights = nn.ParameterList(weights)
                    self.starts = [torch.zeros(3)]


            class Named(nn.Module):
                def __init__(self, count):
                    super().__init__()
                    self.weights = [nn.Parameter(torch.zeros(3)) for _ in range(count)]
                    for number, weight in enumerate(self.weights):
                        self.register_parameter(f"weight{number}", weight)
            """,
            why="parameters that are registered",
        ),
        Example(
            """
            from torch import nn


            class Pair(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.one, self.two = self.both = nn.Linear(2, 2), nn.Linear(2, 2)
            """,
            why="each is an attribute of its own in the same line",
        ),
        Example(
            """
            from torch import nn


            class Net(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.layers = nn.ModuleList([nn.Linear(2, 2)])
                    self.layers.append(nn.Linear(2, 2))
                    self.heads = nn.ModuleDict({"a": nn.Linear(2, 2)})
                    self.body = nn.Sequential(*[nn.Linear(2, 2) for _ in range(3)])
            """,
            why="containers that register",
        ),
        Example(
            """
            from torch import nn


            class Net(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.layers = [nn.Linear(2, 2), nn.ReLU()]
                    for number, layer in enumerate(self.layers):
                        self.add_module(str(number), layer)


            class Other(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.layers = []
                    for number in range(3):
                        layer = nn.Linear(2, 2)
                        setattr(self, f"layer{number}", layer)
                        self.layers.append(layer)
            """,
            why="each is registered by name",
        ),
        Example(
            """
            from torch import nn


            class Net(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.parts = [nn.Linear(2, 2)]
                    self.parts.append(nn.Linear(2, 2))
                    self.body = nn.Sequential(*self.parts)


            class Other(nn.Module):
                def __init__(self):
                    super().__init__()
                    layers = [nn.Linear(2, 2)]
                    self.body = nn.Sequential(*layers)
                    self.layers = layers
            """,
            why="the list is wrapped afterwards",
        ),
        Example(
            """
            from torch import nn


            class Net(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.layers = []
                    self.layers.append(nn.Linear(2, 2))
                    self.layers = nn.ModuleList(self.layers)
            """,
            why="the attribute becomes a ModuleList",
        ),
        Example(
            """
            from torch import nn

            from layers import Adapter


            class Linear(nn.Module, Adapter):
                def add(self, name):
                    self.adapters[name] = nn.Linear(2, 2)
            """,
            why="a container that a base class makes",
        ),
        Example(
            """
            from torch import nn


            class Net(nn.Module):
                def __init__(self, teacher):
                    super().__init__()
                    self.one = nn.Linear(2, 2)
                    two = nn.Linear(2, 2)
                    self.two = two
                    self.layers = [self.one, two]
                    self.teacher = [teacher]
            """,
            why="layers that are attributes too, and one hidden on purpose",
        ),
        Example(
            """
            from torch import nn


            class Net(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.layers = []
                    self.layers.append(nn.Linear(2, 2))


            class Model(Base):
                def prepare(self, module):
                    for layer in module.layers:
                        if isinstance(layer, nn.Linear):
                            module.register(layer)
            """,
            why="another class sees to it",
        ),
        Example(
            """
            from torch import nn


            class Boxes(nn.Module):
                def forward(self, x):
                    return x.sigmoid()


            class Net(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.activations = [nn.ReLU(), nn.Tanh(), nn.MaxPool2d(2)]
                    self.sizes = [nn.Parameter, 3]
                    self.last = {"boxes": Boxes()}
            """,
            why="layers that hold nothing",
        ),
        Example(
            """
            from torch import nn


            class Ensemble:
                def __init__(self):
                    self.members = [nn.Linear(2, 2) for _ in range(3)]


            class Task(Unknown):
                def __init__(self):
                    self.members = [nn.Linear(2, 2) for _ in range(3)]
            """,
            why="a class that is no module, or perhaps none",
        ),
        Example(
            """
            from torch import nn


            class Net(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.layers = [nn.Linear(2, 2)]
                    self.register(self.layers)


            class Own(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.layers = [nn.Linear(2, 2)]

                def parameters(self):
                    return [p for layer in self.layers for p in layer.parameters()]
            """,
            why="the class sees to it itself",
        ),
    )
