"""CKP503: submodules in a plain list, tuple or dict."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from typing import TYPE_CHECKING

from lint_rules.knowledge import ADDERS, PARAMETERS, PLAIN_CONTAINERS, REGISTERING, REGISTRIES, TELLS_PARTS
from lint_rules.outline import is_dotted, last_name, nodes
from lint_rules.prefilter import is_followed, may_be_notebook, places
from lint_rules.rule import Example, Finding, Fix, Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    import libcst as cst

    from lint_rules.containers import Container
    from lint_rules.engine import Context
    from lint_rules.outline import Outline

_LAYER = rb"(?:\w+\.)*[A-Z]\w*"
#: What may stand in front of the first layer with a state: a name, or a layer that has none.
_LEADING = rb"(?:[a-z_]\w*|(?:\w+\.)*\w*(?:LU|Tanh|Sigmoid|Softmax|Pool\dd)\([^()\n]*\))"
#: What a container that is written down begins with, or a list of what functions make.
_WRITTEN = re.compile(
    rb"= *(?=[\[{(ltdOc])(?:"
    rb"(?:(?:list|tuple|dict|(?:collections\.)?OrderedDict)\(\s*(?:\[?\(?\s*)?|[\[{]{1,2}\s*(?:\*\[\s*)?|\()(?:"
    + _LEADING
    + rb",\s*)*"
    rb"(?:f?\"[^\"\n]*\"[:,] |f?'[^'\n]*'[:,] |\w+=|[\w.]+(?:\([\w.]*\))?: )?(?:[\w.]*(?:deepcopy|_norm)\()?"
    rb"(" + _LAYER + rb")\("
    rb"|\[\s*(?:self\.)?([a-z_]\w*)\("
    rb"|\[\s*(?:copy\.)?deepcopy\(([a-z_]\w*)\))"
)
#: What stands between the layers of a tuple without brackets, and in front of them.
_BETWEEN = re.compile(rb"\), *" + _LAYER + rb"\(")
_FIRST = re.compile(rb"= *(" + _LAYER + rb")\(")
_RETURNED = re.compile(rb"return *[\[(]\s*(" + _LAYER + rb")\(")
_APPENDED = re.compile(rb"\.(?:append|insert|extend)\((?:\d+, )?\[?\s*((?:torch\.)?(?:nn\.)?\w+)\b(?!\.)")
_STORED = re.compile(rb"\][ \t]*=[ \t]*(" + _LAYER + rb")\(")
_LISTED = re.compile(rb"= *[\[(]([\w.,\s]*\w),?\s*[\])]")
#: What stands behind a name that is given a plain container, one that is given a layer, ...
_CONTAINER = re.compile(rb"(?:\s*:[^=\n]*)?\s*=\s*(?:\[|\{|\(|list\(|dict\(|(?:collections\.)?OrderedDict\()")
_MADE = re.compile(rb"[ \t]*=[ \t]*" + _LAYER + rb"\(")
#: ... a class with a base, and one that is handed to a container which registers.
_SUBCLASS = re.compile(rb"\((?!object)")
_CLOSED = re.compile(rb"\s*\)")
#: A name that becomes an attribute.
_KEPT = re.compile(rb"self\.\w+ = (\w+)[ \t]*[#\n]")
_REGISTRY = re.compile(rb"(?:List|Dict|Sequential)\(\s*\*?$")
_LONGEST_REGISTRY = 80  # bytes
_IMPORTED = re.compile(rb"from torch(?:\.nn|_geometric\.nn|vision\.ops)(?:\.\w+)* import (\([^)]*|[^\n]*)")
_STATELESS = re.compile(rb"(?:Pool|Loss|LU|Tanh|Sigmoid|Softmax)\w*$")


def _has_base(data: bytes) -> bool:
    """Tell whether a source may subclass a module, of torch or of a framework."""
    return any(base in data for base in (b"Module", b"PreTrainedModel", b"ModelMixin"))


def _may_hide_modules(data: bytes) -> bool:
    """Tell whether modules may be put into a plain container that becomes an attribute; cheap, and often wrong."""
    if may_be_notebook(data):  # a notebook's JSON breaks lines in its own way
        return True
    candidates = set(_candidates(data))
    kept = frozenset(_KEPT.findall(data) if candidates else ())
    return any(
        (target in kept or target.startswith(b"self."))
        and (written or _is_plain_there(target, data))
        and _may_be_module(name, data)
        and not _is_registered(target, data)
        for target, name, written in candidates
    )


def _candidates(data: bytes) -> Iterator[tuple[bytes, bytes, bool]]:
    """Yield what something is put into, what is called to make it, and whether both stand in one assignment."""
    for pattern in (_WRITTEN, _APPENDED, _STORED):
        for found in pattern.finditer(data):
            yield _word_before(data, found.start()), found[found.lastindex or 0], pattern is _WRITTEN
    if b" = self." in data:
        yield from ((b"self.", found[1], True) for found in _RETURNED.finditer(data))
    for comma in _BETWEEN.finditer(data):
        for found in _FIRST.finditer(data, data.rfind(b"\n", 0, comma.start()) + 1, comma.start()):
            if _is_closed(data, found.end(1), comma.start() + 1):
                yield _word_before(data, found.start()), found[1], True
    for found in _LISTED.finditer(data):
        target = _word_before(data, found.start())
        yield from ((target, name.strip(), True) for name in found[1].split(b",") if b"." not in name)


def _is_closed(data: bytes, start: int, end: int) -> bool:
    """Tell whether every bracket that opens between two places is closed there."""
    return data.count(b"(", start, end) == data.count(b")", start, end)


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
    line = data[data.rfind(b"\n", 0, end) + 1 : end].strip().lstrip(b".> ")  # a prompt
    return line.partition(b":")[0].partition(b"[")[0].rstrip(b"+ ")


def _is_plain_there(target: bytes, data: bytes) -> bool:
    """Tell whether a plain container is made somewhere."""
    return is_followed(data, target, _CONTAINER)


def _hidden(outline: Outline) -> set[str]:
    """Name the attributes in which classes that may be modules may keep layers that they do not see."""
    classes = [each for each in outline.classes if outline.may_be_module_class(each)]
    weights = outline.calls_of(PARAMETERS) if classes else []
    made = frozenset(outline.calls if weights is None else weights)
    return {name for each in classes for name in _hidden_by(each, outline, made)}


def _hidden_by(definition: ast.ClassDef, outline: Outline, weights: frozenset[ast.AST]) -> Iterator[str]:
    """Name the attributes of a class that may be given nothing but plain containers, and layers into one of them."""
    methods = [each for each in definition.body if isinstance(each, ast.FunctionDef)]
    if any(method.name in TELLS_PARTS or any(map(_registers, nodes(method))) for method in methods):
        return
    given: dict[str, list[tuple[ast.expr, _Filled]]] = defaultdict(list)
    filled: set[str] = set()
    for method in methods:
        names = _Filled(method, outline, weights)
        filled |= {name for name in names.filled if name.startswith("self.")}
        for name, value in names.values:
            if name.startswith("self."):
                given[name].append((value, names))
    for name, values in given.items():
        is_plain = all(names.may_be_plain(value) for value, names in values)
        if is_plain and (name in filled or any(names.may_hold(value) for value, names in values)):
            yield name.removeprefix("self.")


def _registers(node: ast.AST) -> bool:
    """Tell whether modules are registered under names that the program makes up."""
    if isinstance(node, ast.Attribute):
        return node.attr in REGISTRIES
    return isinstance(node, ast.Call) and last_name(node.func) in REGISTERING and is_dotted(node.func)


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
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ADDERS
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
            self._may_be_layer(each) or _is_own_call(each) or (isinstance(each, ast.Name) and each.id in self._layers)
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
        return last_name(value.func) in PLAIN_CONTAINERS
    return isinstance(value, (ast.List, ast.Tuple, ast.Dict, ast.ListComp, ast.DictComp))


def _own_name(node: ast.expr) -> str:
    """Spell a name as it is, and an attribute of `self` with its `self.`; nothing for all else."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
        return f"self.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def _is_own_call(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and _own_name(node.func).startswith("self.")


def _fix(attribute: Container, definition: cst.ClassDef, context: Context) -> Fix | None:
    """Put the container that registers around the only value that the attribute is given."""
    import libcst as cst

    from lint_rules.containers import is_dict, is_nested, is_parameter
    from lint_rules.evidence import precedes_init
    from lint_rules.tree import text_of, walk

    value = attribute.values[0]
    if len(attribute.values) > 1 or isinstance(value, (cst.Tuple, cst.IfExp, cst.DictComp)):
        return None
    if precedes_init(definition, value) or is_nested(value):
        return None
    if any(is_parameter(node, context.names, attribute.scope) for place in attribute.places for node in walk(place)):
        return None
    written = value.elements if isinstance(value, cst.Dict) else ()
    has_text_keys = all(isinstance(each, cst.DictElement) and text_of(each.key) for each in written)
    if attribute.keyed and not (is_dict(value) and has_text_keys and attribute.text_keys):
        return None
    nn, imports = context.spelling("torch.nn", attribute.scope)
    before = f"{nn}.ModuleDict(" if is_dict(value) else f"{nn}.ModuleList("
    return Fix(context.wrap(value, before, ")"), safe=False, imports=imports)


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
    marks = frozenset()

    def may_find(self, outline: Outline) -> bool:
        """Tell whether a class may keep layers in a plain container."""
        return bool(_hidden(outline))

    def lines_in(self, outline: Outline) -> set[int]:
        """Give the lines of what may be hidden, and of the functions that may make it."""
        hidden = _hidden(outline)
        mentioned = [node for node in outline.of(ast.Attribute) if node.attr in hidden]
        makers = [call for call in outline.calls if isinstance(call.func, ast.Name) or _is_own_call(call)]
        return {node.lineno for node in (*mentioned, *outline.reached(mentioned, makers))}

    def check(self, context: Context) -> Iterator[Finding]:
        """Report each place where a module puts layers into a plain container of its own.

        Args:
            context: The source.

        Yields:
            One finding a place.
        """
        from lint_rules.containers import hiding, read_to_register
        from lint_rules.evidence import Modules

        modules = Modules(context.tree, context.names)
        touched = set(read_to_register(context.tree)) if modules.classes else set()
        for definition in modules.classes:
            for attribute in hiding(definition, modules, context.names):
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
            from torch import nn


            def run(layers, x):
                for layer in layers:
                    x = layer(x)
                return x


            class Net(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.layers = [nn.Linear(2, 2), nn.Linear(2, 2)]

                def forward(self, x):
                    return self.step(x)

                def step(self, x):
                    return run(self.layers, x)
            """,
            why="a function runs them",
            lines=(13,),
            fixed="""
            from torch import nn


            def run(layers, x):
                for layer in layers:
                    x = layer(x)
                return x


            class Net(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.layers = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])

                def forward(self, x):
                    return self.step(x)

                def step(self, x):
                    return run(self.layers, x)
            """,
        ),
        Example(
            """
            from torch import nn


            class Net(nn.Module):
                def __init__(self, widths):
                    super().__init__()
                    self.layers = []
                    self.grow(widths)

                def grow(self, widths):
                    for width in widths:
                        self.layers.append(nn.Linear(width, width))
            """,
            why="another method fills it",
            lines=(12,),
            fixed="""
            from torch import nn


            class Net(nn.Module):
                def __init__(self, widths):
                    super().__init__()
                    self.layers = nn.ModuleList([])
                    self.grow(widths)

                def grow(self, widths):
                    for width in widths:
                        self.layers.append(nn.Linear(width, width))
            """,
        ),
        Example(
            """
            from collections import OrderedDict

            from torch import nn


            class Net(nn.Module):
                def __init__(self, widths):
                    super().__init__()
                    self.parts = dict(one=nn.Linear(2, 2), two=nn.Linear(2, 2))
            """,
            why="a dict of keywords",
            lines=(9,),
        ),
        Example(
            """
            from collections import OrderedDict

            from torch import nn


            class Net(nn.Module):
                def __init__(self, widths):
                    super().__init__()
                    self.parts = [*[nn.Linear(width, width) for width in widths], nn.ReLU()]
            """,
            why="a list that is unpacked",
            lines=(9,),
        ),
        Example(
            """
            from collections import OrderedDict

            from torch import nn


            class Net(nn.Module):
                def __init__(self, widths):
                    super().__init__()
                    self.parts = OrderedDict([("one", nn.Linear(2, 2)), ("two", nn.Linear(2, 2))])
            """,
            why="a dict of pairs",
            lines=(9,),
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
                    all_layers = []
                    for width in widths:
                        all_layers.append(nn.Linear(width, width))
                        all_layers.append(nn.ReLU())
                    self.layers = all_layers  # in order
            """,
            why="a local list becomes the attribute",
            lines=(11,),
            fixed="""
            import torch.nn as nn


            class Net(nn.Module):
                def __init__(self, widths):
                    super().__init__()
                    all_layers = []
                    for width in widths:
                        all_layers.append(nn.Linear(width, width))
                        all_layers.append(nn.ReLU())
                    self.layers = nn.ModuleList(all_layers)  # in order
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


            class Net(nn.Module):
                def __init__(self, names):
                    super().__init__()
                    heads = {}
                    for name in names:
                        heads[name] = nn.Linear(8, 1)
                    self.heads = heads
                    self.tails = self.make()
                    self.depth = max(len(self.heads), len(self.tails))
                    print(self.heads)

                def make(self):
                    tails = {0: nn.Linear(8, 1)}
                    return tails
            """,
            why="dicts that a local name, or a method, holds first; no list takes their place",
            lines=(10, 11),
            fixed="""
            from torch import nn


            class Net(nn.Module):
                def __init__(self, names):
                    super().__init__()
                    heads = {}
                    for name in names:
                        heads[name] = nn.Linear(8, 1)
                    self.heads = heads
                    self.tails = self.make()
                    self.depth = max(len(self.heads), len(self.tails))
                    print(self.heads)

                def make(self):
                    tails = {0: nn.Linear(8, 1)}
                    return tails
            """,
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
        Example(
            """
            import copy

            from torch import nn

            from tools import build, shared


            class Hidden(nn.Module):
                def __init__(self, widths, layer, block, other):
                    super().__init__()
                    self.layers = None
                    self.heads: list[nn.Module]
                    if widths:
                        self.layers = [nn.Linear(width, width) for width in widths]
                    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
                    self.heads = [first, second, lambda x: x]
                    self.heads.append(nn.Linear(2, 2))
                    self.names = []
                    self.names.append("head")
                    self.names[0] = "tail"
                    self.tails = self.make_names()
                    self.copies = [copy.deepcopy(layer) for _ in widths]
                    block.append(nn.Linear(2, 2))
                    self.blocks = [block]
                    other.names = [nn.Linear(2, 2)]
                    shared().append(nn.Linear(2, 2))
                    shared()["layer"] = nn.Linear(2, 2)
                    self.names += build(nn.Linear(2, 2))
                    self.names.append(len(self.layers))
                    self.names.update()

                def make_names(self):
                    names = ["tail"]
                    return names


            class Named(nn.Module):
                def __init__(self, count):
                    super().__init__()
                    self.layers = [nn.Linear(2, 2) for _ in range(count)]
                    for number, layer in enumerate(self.layers):
                        self.add_module(f"layer{number}", layer)


            class Kept(nn.Module):
                def __init__(self, count):
                    super().__init__()
                    self.layers = [nn.Linear(2, 2) for _ in range(count)]
                    for number, layer in enumerate(self.layers):
                        self._modules[f"layer{number}"] = layer


            class Told(nn.Module):
                def __init__(self, count):
                    super().__init__()
                    self.layers = [nn.Linear(2, 2) for _ in range(count)]

                def modules(self):
                    yield from self.layers


            class Given(nn.Module):
                def __init__(self, layers):
                    super().__init__()
                    layers.append(nn.Linear(2, 2))
                    self.layers = layers


            class Chained(nn.Module):
                def __init__(self, widths, pools):
                    super().__init__()
                    layers = [nn.Linear(width, width) for width in widths]
                    sequence = []
                    for layer, pool in zip(layers, pools):
                        sequence.append(layer)
                    self.net = nn.Sequential(*sequence)
                    self.layers = layers


            class Either(nn.Module):
                def __init__(self, deep):
                    super().__init__()
                    self.layers = [nn.Linear(2, 2)] if deep else nn.ModuleList()
                    self.heads = nn.ModuleList() if deep else [nn.Linear(2, 2)]


            class Handed(nn.Module):
                def __init__(self, layers, deep):
                    super().__init__()
                    layer = nn.Linear(2, 2)
                    self.net = build(layer)
                    self.layers = [layer]
                    self.heads = self.pick(deep)
                    self.names = self.same(layers)
                    self.tails = self.built()

                def pick(self, deep):
                    heads = [nn.Linear(2, 2)]
                    if deep:
                        return heads
                    return build(deep)

                def same(self, layers):
                    print(self.layers)
                    return layers

                def built(self):
                    return build(len(self.layers))
            """,
            why="beside what is seen, what holds no layers, and what somebody else may have registered",
            lines=(14, 17),
        ),
        Example(
            """
            from torch import nn
            from tqdm import tqdm


            class Net(nn.Module):
                def __init__(self, widths, given):
                    super().__init__()
                    layers = list(given)
                    bar = tqdm(widths)
                    for width in bar:
                        layers.append(nn.Linear(width, width))
                        bar.update()
                    self.names = []
                    for layer in layers:
                        print(layer)
                        self.names.append(str(layer))
                    self.layers = layers
                    self.heads = dict(one=nn.Linear(2, 2), two=nn.Linear(2, 2))
                    self.tails = [*[nn.Linear(2, 2) for _ in widths], nn.ReLU()]
            """,
            why="a list of what is given and more, a call of `dict`, and a list taken apart",
            lines=(17, 18, 19),
        ),
        Example(
            """
            from torch import nn


            class Bank(nn.Module):
                def __init__(self):
                    super().__init__()
                    conv = nn.Conv1d(4, 4, 3)
                    self.layers = []
                    self.layers += [conv, nn.ReLU(), nn.BatchNorm1d(4)]
            """,
            why="behind a name and a layer without a state",
            lines=(9,),
        ),
        Example(
            """
            from torch import nn


            class Bank(nn.Module):
                def __init__(self, first):
                    super().__init__()
                    self.layers = [first, nn.ReLU(), nn.BatchNorm1d(4)]
            """,
            why="behind a name, in one list",
            lines=(7,),
        ),
        Example(
            """
            from torch import nn


            class Net(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.made = [self._make(i) for i in range(3)]

                def _make(self, i):
                    return nn.Linear(i, i)
            """,
            why="made by a method of the class",
            lines=(7,),
        ),
        Example(
            """
            from torch import nn


            class Net(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.layers = [nn.Linear(1, 1) if i else nn.Identity() for i in range(3)]
            """,
            why="in one of two cases",
            lines=(7,),
        ),
        Example(
            """
            from torch import nn


            class Net(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.stages = self._stages()

                def _stages(self):
                    return [nn.Linear(1, 1) for _ in range(3)]
            """,
            why="written where a method returns them",
            lines=(7,),
        ),
    )
    valid = (
        Example(
            """
            from torch import nn


            class Words(nn.Module):
                def __init__(self, vectors):
                    super().__init__()
                    self.given = [nn.Embedding(*vectors.shape)]
                    self.given[0].weight.data = vectors
                    self.given[0].weight.requires_grad = False
            """,
            why="frozen by hand, so that somebody else has trained it",
        ),
        Example(
            """
            from torch import nn


            class Parts(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.layers = [nn.Linear(2, 2), nn.Linear(2, 2)]


            class Whole(nn.Module):
                def __init__(self, parts):
                    super().__init__()
                    self.held = nn.ModuleList(parts.layers)
            """,
            why="another module registers them",
        ),
        Example(
            """
            from torch import nn

            from blocks import stack


            class Net(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.layers = [nn.Linear(2, 2), nn.Linear(2, 2)]
                    self.net = stack(self.layers)
            """,
            why="a function that builds is given them",
        ),
        Example(
            """
            from torch import nn

            from blocks import adopt


            class Net(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.layers = [nn.Linear(2, 2), nn.Linear(2, 2)]
                    self.finish()

                def finish(self):
                    adopt(self, self.layers)
            """,
            why="what the constructor calls gives them to a function, which may register them",
        ),
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

            from layers import build


            class Net(nn.Module):
                def __init__(self, given):
                    super().__init__()
                    self.first = [nn.Linear(2, 2)]
                    self.first = build(self)
                    second = build(2)
                    second.append(nn.Linear(2, 2))
                    self.second = second
                    self.third = self.make()
                    self.inherited.append(nn.Linear(2, 2))
                    self.left, self.right = [nn.Linear(2, 2)], [nn.Linear(2, 2)]
                    self.left = [nn.Linear(2, 2)]
                    self.both = nn.ModuleList([*self.left, nn.ReLU()])

                def make(self):
                    third = build(2)
                    third.append(nn.Linear(2, 2))
                    return third
            """,
            why="what may be a container that registers, and one whose layers are put into such a one",
        ),
        Example(
            """
            from torch import nn


            class Net(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.layers = [nn.Linear(2, 2) for _ in range(2)]
                    for i in range(2):
                        self.add_module(f"layer{i}", self.layers[i])
            """,
            why="each is registered by its place",
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
        Example(
            """
            from torch import nn


            class Parts(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.layers = [nn.Linear(2, 2), nn.Linear(2, 2)]


            class Whole(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.parts = Parts()
                    self.held = nn.ModuleList(self.parts.layers)
            """,
            why="the module that holds it registers them",
        ),
        Example(
            """
            from torch import nn


            class Bank(nn.Module):
                def __init__(self, first):
                    super().__init__()
                    layers = [first, nn.ReLU(), nn.BatchNorm1d(4)]
                    self.layers = nn.Sequential(*layers)
                    self.plain = [first, nn.ReLU()]
            """,
            why="behind a name and a layer without a state, registered",
        ),
        Example(
            """
            from torch import nn


            class Net(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.sizes = [self._size(i) for i in range(3)]
                    self.made = nn.ModuleList([self._make(i) for i in range(3)])
                    self.acts = self._acts()
                    self.parts = self._parts()
                    self.ways = [nn.ReLU() if i else nn.Identity() for i in range(3)]
                    self.either = [self._either(i) for i in range(3)]

                def _size(self, i):
                    return i

                def _make(self, i):
                    return nn.Linear(i, i)

                def _either(self, i):
                    if i == 0:
                        return self.made[0]
                    return nn.Linear(i, i)

                def _acts(self):
                    return [nn.ReLU(), nn.GELU()]

                def _parts(self):
                    return nn.ModuleList() + [nn.Linear(1, 1)]
            """,
            why="methods that give no layers, register them, or return activations",
        ),
    )
