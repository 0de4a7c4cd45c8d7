"""CKP502: a tensor kept as a plain attribute of a module."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from lint_rules.rule import Edit, Example, Finding, Fix, Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    import libcst as cst

    from lint_rules.engine import Context

_ASSIGNED = re.compile(
    rb"\bself\.\w+\s*(?::[^=\n]*)?=(?![^\n]*Parameter\()[^=\n]*"
    rb"(?:\btorch\.(?!nn\.|device|jit|load|compile|optim|Generator|float|int|bool|long|half|bfloat)[\w.]+\(|Tensor\()"
)
_MADE = re.compile(rb"\b(\w+)\s*(?::[^=\n]*)?=[^=\n]*\btorch\.(?!nn\.|device|jit|load|compile|optim|Generator)[\w.]+\(")
_RENAMED = re.compile(rb"\bself\.\w+\s*(?::[^=\n]*)?=([^=\n(]+)")
_WORD = re.compile(rb"\w+")


def _keeps_tensor(data: bytes) -> bool:
    """Tell whether a tensor may be made an attribute, at once or by a local name; cheap, and often wrong."""
    if _ASSIGNED.search(data) is not None:
        return True
    made = set(_MADE.findall(data))
    return bool(made) and any(made.intersection(_WORD.findall(found[1])) for found in _RENAMED.finditer(data))


#: Methods that only Lightning's modules have, which know their device and make tensors where they are needed.
_LIGHTNING = frozenset({"training_step", "configure_optimizers"})
#: As a buffer, a complex table would lose its imaginary part in `half()`.
_COMPLEX = re.compile(r"torch\.(polar|complex|view_as_complex)$")
#: What makes a tensor of a size, and what makes one of its elements.
_SIZED = re.compile(r"torch\.(empty|zeros|ones|\w*Tensor)$")
_FILLED = re.compile(r"torch\.(tensor|as_tensor|\w*Tensor)$")
_PARAMETERS = re.compile(r"torch\.nn\.(parameter\.)?(Parameter|Buffer|UninitializedParameter|UninitializedBuffer)$")
#: Attributes by which frameworks ask for an example of the input.
_EXAMPLES = frozenset({"example_input_array", "dummy_inputs", "dummy_input", "example_inputs"})


def _taken(definition: cst.ClassDef) -> Counter[str]:
    """Count how often the body of a class and its `__init__` assign a name, which a buffer cannot have then."""
    import libcst as cst

    from lint_rules.evidence import own

    found: Counter[str] = Counter()
    for node in own(definition.body):
        if isinstance(node, cst.AssignTarget):
            found[_spelled(node.target)] += 1
        elif isinstance(node, cst.FunctionDef) and node.name.value == "__init__":
            targets = (each.target for each in own(node.body) if isinstance(each, cst.AssignTarget))
            found.update(_spelled(target).removeprefix("self.") for target in targets)
    return found


def _tensors(definition: cst.ClassDef, context: Context) -> Iterator[tuple[cst.Assign | cst.AnnAssign, str]]:
    """Yield the assignments by which a class makes tensors its attributes, and the attributes' names."""
    from lint_rules.tree import methods_in

    methods = {method.name.value: method for method in methods_in(definition)}
    init = methods.get("__init__")
    scope = context.names.scope(definition).parent or context.names.module
    bases = [context.names.resolve(base.value, scope) or "" for base in definition.bases]
    lightning = _LIGHTNING & methods.keys() or any(base.endswith(".LightningModule") for base in bases)
    if init is not None and not lightning:
        yield from _Init(init, context).tensors()


class _Init:
    """What one `__init__` makes, under local names and as attributes."""

    def __init__(self, init: cst.FunctionDef, context: Context) -> None:
        from lint_rules.evidence import own
        from lint_rules.tensors import Tensors

        self._names = context.names
        self._scope = context.names.scope(init)
        self._nodes = list(own(init.body))
        self._tensors = Tensors(context.names, self._scope, self._is_tensor)
        self._registered: set[str] = set()
        self._judged: dict[str, bool] = {}
        for node in self._nodes:
            self._registered |= set(self._registers(node))

    def tensors(self) -> Iterator[tuple[cst.Assign | cst.AnnAssign, str]]:
        """Yield the assignments that make an attribute a tensor which the module does not know."""
        for node, target, value in self._assignments():
            owner, _, name = target.partition(".")
            hidden = owner == "self" and name.isidentifier() and name not in _EXAMPLES | self._registered
            if hidden and self._makes(value):
                yield node, name

    def _assignments(self) -> Iterator[tuple[cst.Assign | cst.AnnAssign, str, cst.BaseExpression]]:
        """Yield what is assigned, tuples taken apart."""
        import libcst as cst

        for node in self._nodes:
            if isinstance(node, cst.AnnAssign) and node.value is not None:
                yield node, _spelled(node.target), node.value
            elif isinstance(node, cst.Assign):
                for each in node.targets:
                    target, value = each.target, node.value
                    if isinstance(target, cst.Tuple) and isinstance(value, cst.Tuple):
                        for left, right in zip(target.elements, value.elements, strict=False):
                            yield node, _spelled(left.value), right.value
                    else:
                        yield node, _spelled(target), value

    def _registers(self, node: cst.CSTNode) -> Iterator[str]:
        """Name what a call registers, and what is assigned as a parameter."""
        import libcst as cst

        from lint_rules.tree import text_of

        if isinstance(node, cst.Assign) and isinstance(node.value, cst.Call):
            if _PARAMETERS.match(self._names.resolve(node.value.func, self._scope) or ""):
                yield from (_spelled(target.target).removeprefix("self.") for target in node.targets)
                yield from (_spelled(arg.value).removeprefix("self.") for arg in node.value.args)
        elif isinstance(node, cst.Call) and _spelled(node.func) in {"self.register_buffer", "self.register_parameter"}:
            yield from ((text_of(arg.value) or _spelled(arg.value)).removeprefix("self.") for arg in node.args)

    def _is_tensor(self, name: str) -> bool:
        """Tell whether a local name stands for a tensor made here, or computed from it, which nothing registers."""
        if name not in self._judged:
            self._judged[name] = False
            values = [] if name in self._registered else self._scope.bindings.get(name, [])
            for value in values:  # the later ones may be computed from the first
                self._judged[name] = value is not None and not isinstance(value, str) and self._makes(value)
                if not self._judged[name]:
                    break
        return self._judged[name]

    def _makes(self, value: cst.BaseExpression) -> bool:
        return self._tensors.gives(value) and self._is_fresh(value) and not self._is_empty(value)

    def _is_empty(self, value: cst.BaseExpression) -> bool:
        """Tell whether a tensor has no elements, and so nothing to lose: `torch.empty(0)`, in place of what comes."""
        import libcst as cst

        if not isinstance(value, cst.Call):
            return False
        made = self._names.resolve(value.func, self._scope) or ""
        given = [arg.value for arg in value.args if arg.keyword is None and not arg.star]
        if not given:
            return made.endswith("Tensor") and not value.args
        if isinstance(given[0], cst.List):
            return not given[0].elements and _FILLED.match(made) is not None
        return isinstance(given[0], cst.Integer) and given[0].value == "0" and _SIZED.match(made) is not None

    def _is_fresh(self, value: cst.BaseExpression) -> bool:
        """Tell whether a tensor is made here, of nothing that the module has registered."""
        import libcst as cst

        from lint_rules.tensors import FRESH
        from lint_rules.tree import walk

        nodes = list(walk(value))
        calls = {node: self._names.resolve(node.func, self._scope) for node in nodes if isinstance(node, cst.Call)}
        made = [name or "" for name in calls.values()]
        spelled = {_spelled(node) for node in nodes}
        if any(map(_COMPLEX.match, made)) or any(f"self.{name}" in spelled for name in self._registered):
            return False
        is_clear = all(name or self._tensors.gives(call) for call, name in calls.items())
        return any(map(FRESH.match, made)) or (is_clear and any(map(self._is_tensor, spelled)))


def _spelled(node: cst.CSTNode) -> str:
    import libcst as cst

    from lint_rules.tree import dotted

    return (dotted(node) if isinstance(node, cst.BaseExpression) else None) or ""


def _fix(node: cst.Assign | cst.AnnAssign, name: str, context: Context) -> Fix | None:
    import libcst as cst

    if node.value is None or not isinstance(node, cst.Assign) or _spelled(node.targets[0].target) != f"self.{name}":
        return None
    if len(node.targets) > 1 or isinstance(node.value, cst.IfExp):
        return None
    line, column, _, _ = context.span(node)
    start_line, start_column, end_line, end_column = context.span(node.value)
    return Fix(
        (
            Edit(line, column, start_line, start_column, f'self.register_buffer("{name}", '),
            Edit(end_line, end_column, end_line, end_column, ")"),
        ),
        safe=False,
    )


class TensorAttribute(Rule):
    """Finds tensors that a module keeps outside its state.

    ## What it does

    Reports `self.name = torch.tensor(...)`, and other calls of torch that make a tensor, in the `__init__` of a
    subclass of `nn.Module`. Tables that are computed from other tensors, complex ones, which `half()` would spoil if
    they were buffers, empty ones, which only hold a place, and examples of the input are left alone, and so are
    Lightning's modules, which know their device. Off by default: for a constant that `__init__` makes anew, leaving it
    out of the checkpoint may be meant.

    ## Why is this bad

    A module knows its parameters and buffers. A tensor that is a plain attribute is missing from `state_dict()`, so
    what was learnt or counted in it is lost, and `to(device)` leaves it behind, so forward fails on an accelerator.

    ## Fix safety

    Registers the tensor, `self.register_buffer("name", ...)`, where that is possible: not before `super().__init__()`,
    and not under a name that the class or `__init__` assigns besides. The fix is unsafe: checkpoints saved so far lack
    the entry. Where it is a constant, `persistent=False` keeps it out of them.

    ## References

    - [PyTorch: Module.register_buffer](https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html)
    """

    code = "CKP502"
    name = "tensor-attribute"
    summary = "A tensor is a plain attribute of a module, missing from its state; off by default"
    default = False
    needs = ((b"torch", b"__init__", _keeps_tensor),)
    marks = frozenset({"__init__", "register_buffer"})

    def check(self, context: Context) -> Iterator[Finding]:
        """Report each attribute that is a tensor.

        Args:
            context: The source.

        Yields:
            One finding an assignment.
        """
        from lint_rules.evidence import Modules, precedes_init

        for definition in Modules(context.tree, context.names).classes:
            taken = _taken(definition)
            for node, name in _tensors(definition, context):
                can_register = taken[name] == 1 and not precedes_init(definition, node)
                yield context.finding(
                    self,
                    node,
                    f"`self.{name}` is missing from `state_dict()`, and `to()` leaves it behind; use `register_buffer`",
                    _fix(node, name, context) if can_register else None,
                )

    invalid = (
        Example(
            """
            import torch
            from torch import nn


            class Normalize(nn.Module):
                def __init__(self, mean):
                    super().__init__()
                    self.mean = torch.tensor(mean)
                    self.count = torch.zeros(1).long()
                    self.step = torch.tensor(0)
            """,
            why="made by torch",
            lines=(8, 9, 10),
            fixed="""
            import torch
            from torch import nn


            class Normalize(nn.Module):
                def __init__(self, mean):
                    super().__init__()
                    self.register_buffer("mean", torch.tensor(mean))
                    self.register_buffer("count", torch.zeros(1).long())
                    self.register_buffer("step", torch.tensor(0))
            """,
        ),
        Example(
            """
            import torch
            import torch.nn as nn


            class Base(nn.Module):
                pass


            class Codebook(Base):
                def __init__(self, size, flat):
                    super().__init__()
                    if flat:
                        self.scale = 1.0
                    else:
                        self.scale = torch.tensor([1.0, size])
                    self.usage = torch.zeros(
                        size,
                    )
            """,
            why="through a base class, a number otherwise, over several lines",
            lines=(15, 16),
        ),
        Example(
            """
            import torch
            from torch import nn


            class Scaled(nn.Module):
                def __init__(self, width, mean):
                    super().__init__()
                    self.scale = torch.sqrt(torch.FloatTensor([width])).to("cuda")
                    self.noise: torch.Tensor = torch.randn(width) * 0.02
                    self.mean = torch.tensor(mean) if mean else None
                    self.low, self.high = torch.zeros(1), -torch.ones(1)
                    mask = torch.ones(width, width).tril()
                    self.mask = mask

                def setup(self, stage):
                    return stage
            """,
            why="computed, annotated, optional, two at once, through a local name",
            lines=(8, 9, 10, 11, 11, 13),
        ),
        Example(
            """
            import torch
            from torch import nn


            class Detect(nn.Module):
                anchors = None

                def __init__(self, levels):
                    self.texts = torch.zeros(1, 80, 512)
                    super().__init__()
                    self.stride = None
                    self.stride = torch.zeros(levels)
                    self.anchors = torch.zeros(levels, 2)
            """,
            why="before the module is set up, and under names that are taken: no buffer can be registered there",
            lines=(9, 12, 13),
            fixed="""
            import torch
            from torch import nn


            class Detect(nn.Module):
                anchors = None

                def __init__(self, levels):
                    self.texts = torch.zeros(1, 80, 512)
                    super().__init__()
                    self.stride = None
                    self.stride = torch.zeros(levels)
                    self.anchors = torch.zeros(levels, 2)
            """,
        ),
        Example(
            """
            import torch
            from torch import nn


            class Blur(nn.Module):
                def __init__(self, weights):
                    super().__init__()
                    kernel = torch.tensor(weights)
                    kernel = kernel / torch.sum(kernel)
                    row = torch.reshape(kernel, (1, 1, 1, -1))
                    self.rows = torch.cat([row, row, row], dim=0)
            """,
            why="computed in several steps",
            lines=(11,),
            fixed="""
            import torch
            from torch import nn


            class Blur(nn.Module):
                def __init__(self, weights):
                    super().__init__()
                    kernel = torch.tensor(weights)
                    kernel = kernel / torch.sum(kernel)
                    row = torch.reshape(kernel, (1, 1, 1, -1))
                    self.register_buffer("rows", torch.cat([row, row, row], dim=0))
            """,
        ),
        Example(
            """
            import torch as t
            from torch import nn


            class Position(nn.Module):
                def __init__(self, length, size):
                    super().__init__()
                    table = t.zeros(length, size)
                    self.table = table.unsqueeze(0)
            """,
            why="a local tensor in another shape, under another name of torch",
            lines=(9,),
        ),
        Example(
            """
            import torch
            from torch import nn


            class Normalise(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.均值 = torch.zeros(3)
                    self.方差 = torch.ones(3)
            """,
            why="a name of letters beyond ASCII",
            lines=(
                8,
                9,
            ),
        ),
        Example(
            """
            from torch import nn, ones, zeros


            class Net(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.shift = zeros(3)
                    self.scale = 2 * ones(3)
            """,
            why="a function of torch without torch in front",
            lines=(
                7,
                8,
            ),
        ),
    )
    valid = (
        Example(
            """
            import torch
            from torch import nn


            class Recorder(nn.Module):
                def __init__(self, module):
                    super().__init__()
                    self.module = module
                    self.output = torch.empty(0)
                    self.mask = torch.tensor([])
                    self.seen = torch.FloatTensor()

                def forward(self, x):
                    self.output = self.module(x)
                    return self.output
            """,
            why="without elements, so that there is nothing to lose",
        ),
        Example(
            """
            import torch
            from torch import nn


            class Rotary(nn.Module):
                def __init__(self, width):
                    super().__init__()
                    position = torch.arange(width)
                    self.table = torch.cat([self.rotations(position), self.rotations(-position)], dim=1)
                    self.turned = torch.polar(torch.ones(width), torch.linspace(0, 1, width))

                def rotations(self, position):
                    angles = torch.outer(position, torch.linspace(0, 1, 8))
                    return torch.polar(torch.ones_like(angles), angles)

                def forward(self, x):
                    return x * self.table.to(x.device) * self.turned.to(x.device)
            """,
            why="complex tables, which a buffer would lose half of",
        ),
        Example(
            """
            import torch
            from torch import nn


            class Blur(nn.Module):
                def __init__(self, weights):
                    super().__init__()
                    kernel = torch.tensor(weights)
                    kernel = weights
                    self.rows = torch.cat([kernel, kernel])
                    start = torch.zeros(3)
                    start = start + 1
                    self.start = nn.Parameter(start)
                    self.shown = torch.cat([start, start])
            """,
            why="bound to something else again, and a parameter",
        ),
        Example(
            """
            import torch
            from torch import nn


            class Net(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.register_buffer("mean", torch.zeros(3))
                    self.weight = nn.Parameter(torch.ones(3))
                    self.size = torch.tensor(3).item()
                    self.table = torch.cat([self.mean, self.mean])
                    self.device = torch.device("cpu")
            """,
            why="registered, and no tensors",
        ),
        Example(
            """
            import torch
            from torch import nn


            class Net(nn.Module):
                def __init__(self, model):
                    super().__init__()
                    self.weight = torch.empty(3)
                    self.weight = nn.Parameter(self.weight)
                    start = torch.zeros(3)
                    self.start = nn.Parameter(start)
                    table = torch.zeros(3)
                    self.register_buffer("table", table)
                    self.double = 2 * self.table
                    self.both = torch.cat([model.low, model.high])
                    self.model = model.requires_grad_(False)
                    self.target = model.target.detach() * 3
                    self.width = float(torch.prod(torch.tensor([3, 4])))
            """,
            why="registered in the end, computed from what is given or registered, a number",
        ),
        Example(
            """
            import torch
            from lightning.pytorch import LightningModule


            class Net(LightningModule):
                def __init__(self):
                    super().__init__()
                    self.z = torch.randn(8, 3)

                def training_step(self, batch, number):
                    return batch


            class Shown(LightningModule):
                def __init__(self):
                    super().__init__()
                    self.example_input_array = torch.zeros(1, 3)
            """,
            why="Lightning, and an example of the input",
        ),
        Example(
            """
            import torch
            from torch import nn


            class Data:
                def __init__(self):
                    self.x = torch.zeros(3)


            class Net(nn.Module):
                def forward(self, x):
                    self.last = torch.zeros_like(x)
                    return self.last
            """,
            why="no module, and what forward leaves behind",
        ),
        Example(
            """
            import torch
            from torch import nn


            class Normalise(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.步数 = 0
                    self.register_buffer("均值", torch.zeros(3))
            """,
            why="a name of letters beyond ASCII, registered",
        ),
        Example(
            """
            from numpy import zeros
            from torch import nn, ones


            class Net(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.shift = zeros(3)
                    self.scale = nn.Parameter(ones(3))
            """,
            why="another function of that name",
        ),
    )
