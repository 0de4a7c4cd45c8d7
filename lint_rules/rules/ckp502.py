"""CKP502: a tensor kept as a plain attribute of a module."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lint_rules.rule import Edit, Example, Finding, Fix, Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    import libcst as cst

    from lint_rules.engine import Context
    from lint_rules.names import Scope

_MAKES = re.compile(
    r"torch\.((Float|Long|Int|Double|Half|Bool|Byte)?Tensor|tensor|as_tensor|from_numpy|arange|linspace|eye"
    r"|(zeros|ones|empty|full|rand|randn|randint|randperm)(_like)?)$"
)
_KEEPS = frozenset({"to", "float", "long", "half", "double", "view", "reshape", "unsqueeze", "clone", "detach"})
_ASSIGNED = re.compile(
    rb"\bself\.\w+\s*(?::[^=\n]*)?=\s*torch\.(?!nn\b|device|jit|load|compile|optim|Generator|float|int)"
)
#: Methods of Lightning's modules, which know their device and make tensors where they are needed.
_LIGHTNING = frozenset({"training_step", "configure_optimizers", "setup"})
#: Attributes by which frameworks ask for an example of the input.
_EXAMPLES = frozenset({"example_input_array", "dummy_inputs", "dummy_input", "example_inputs"})


class TensorAttribute(Rule):
    """Finds tensors that a module keeps outside its state.

    ## What it does

    Reports `self.name = torch.tensor(...)`, and other calls of torch that make a tensor, in the `__init__` of a
    subclass of `nn.Module`. Tables that are computed from other tensors and examples of the input are left alone, and
    so are Lightning's modules, which know their device. Off by default: for a constant that `__init__` makes anew,
    leaving it out of the checkpoint may be meant.

    ## Why is this bad

    A module knows its parameters and buffers. A tensor that is a plain attribute is missing from `state_dict()`, so
    what was learnt or counted in it is lost, and `to(device)` leaves it behind, so forward fails on an accelerator.

    ## Fix safety

    Registers the tensor, `self.register_buffer("name", ...)`. The fix is unsafe: checkpoints saved so far lack the
    entry. Where it is a constant, `persistent=False` keeps it out of them.

    ## References

    - [PyTorch: Module.register_buffer](https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html)
    """

    code = "CKP502"
    name = "tensor-attribute"
    summary = "A tensor is a plain attribute of a module, missing from its state; off by default"
    default = False
    needs = ((b"torch", b"__init__", _ASSIGNED),)
    marks = frozenset({"__init__", "register_buffer"})
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
            """,
            why="made by torch",
            lines=(8, 9),
            fixed="""
            import torch
            from torch import nn


            class Normalize(nn.Module):
                def __init__(self, mean):
                    super().__init__()
                    self.register_buffer("mean", torch.tensor(mean))
                    self.register_buffer("count", torch.zeros(1).long())
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
    )
    valid = (
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
    )

    def check(self, context: Context) -> Iterator[Finding]:
        """Report each attribute that is a tensor.

        Args:
            context: The source.

        Yields:
            One finding an assignment.
        """
        from lint_rules.evidence import Modules

        for definition in Modules(context.tree, context.names).classes:
            for node, name in _tensors(definition, context):
                yield context.finding(
                    self,
                    node,
                    f"`self.{name}` is missing from `state_dict()`, and `to()` leaves it behind; use `register_buffer`",
                    _fix(node, name, context),
                )


def _tensors(definition: cst.ClassDef, context: Context) -> Iterator[tuple[cst.Assign, str]]:
    """Yield the assignments by which a class makes tensors its attributes, and the attributes' names."""
    import libcst as cst

    from lint_rules.evidence import own
    from lint_rules.tree import dotted

    methods = {node.name.value: node for node in definition.body.body if isinstance(node, cst.FunctionDef)}
    init = methods.get("__init__")
    if init is None or _LIGHTNING & methods.keys():
        return
    assigned: dict[cst.Assign, str] = {}
    for node in own(init.body):
        if isinstance(node, cst.Assign) and len(node.targets) == 1:
            owner, _, name = (dotted(node.targets[0].target) or "").partition(".")
            if owner == "self" and name.isidentifier():
                assigned[node] = name
    if _EXAMPLES & set(assigned.values()):
        return
    for node, name in assigned.items():
        if _makes_tensor(node.value, context.names.scope(init), context):
            yield node, name


def _makes_tensor(value: cst.BaseExpression, scope: Scope, context: Context) -> bool:
    import libcst as cst

    if not isinstance(value, cst.Call):
        return False
    name = context.names.resolve(value.func, scope)
    if name is not None:
        return _MAKES.match(name) is not None
    function = value.func
    return (
        isinstance(function, cst.Attribute)
        and function.attr.value in _KEEPS
        and _makes_tensor(function.value, scope, context)
    )


def _fix(node: cst.Assign, name: str, context: Context) -> Fix:
    line, column, _, _ = context.span(node)
    start_line, start_column, end_line, end_column = context.span(node.value)
    return Fix(
        (
            Edit(line, column, start_line, start_column, f'self.register_buffer("{name}", '),
            Edit(end_line, end_column, end_line, end_column, ")"),
        ),
        safe=False,
    )
