"""What gives a tensor for certain: calls of torch, methods that only tensors have, and arithmetic with either."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar

import libcst as cst

from lint_rules import knowledge
from lint_rules.tree import keyword, method_of, name_of, text_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from lint_rules.names import Names, Scope

#: Methods that give a tensor if they are called on one, and on modules or frames something else.
_SAME = re.compile(
    r"(abs|bfloat16|bool|byte|ceil|clamp|clone|cpu|cuda|double|expand|exp|fill_|flip|float|floor|half|int|log|long|mean"
    r"|mul_?|neg|normal_|pin_memory|pow|requires_grad_|repeat|round|short|sigmoid|sqrt|sum|t|tanh|to|triu|tril|type|type_as|uniform_"
    r"|unfold|zero_)$"
)
_NUMBERS = frozenset({"item", "numel"})
_VIEWS = frozenset({"T", "mT", "data", "grad", "real", "imag"})
#: Calls of torch that give a tensor.
MAKES = re.compile(
    r"torch\.((Float|Long|Int|Double|Half|Bool|Byte)?Tensor|tensor|as_tensor|from_numpy|arange|linspace|logspace|eye"
    r"|cat|stack|concat|where|matmul|mm|bmm|einsum|normal|multinomial|flip|roll|tril|triu|sum|mean|prod|exp|log|sqrt"
    r"|rsqrt|pow|abs|clamp|softmax|sigmoid|tanh|sin|cos|outer|diag|cumsum|cumprod|unsqueeze|squeeze|transpose|permute"
    r"|reshape|flatten|complex|polar|hann_window|hamming_window|bernoulli|tile|relu|round|floor"
    r"|(zeros|ones|empty|full|rand|randn|randint|randperm)(_like)?"
    r"|nn\.functional\.(pad|one_hot|softmax|log_softmax|relu|interpolate|normalize|grid_sample|affine_grid|sigmoid|gelu"
    r"|cross_entropy|\w+_loss|embedding|linear|conv\dd|avg_pool\dd|layer_norm|unfold|fold)"
    r"|nn\.init\.\w+_|fft\.\w*fft\w*|autograd\.Variable|nn\.utils\.rnn\.(pack|pad)\w*_sequence)$"
    r"|torchvision\.transforms\.functional\.(to_tensor|pil_to_tensor)$"
)
#: Those that make one of nothing but numbers.
FRESH = re.compile(
    r"torch\.((Float|Long|Int|Double|Half|Bool|Byte)?Tensor|tensor|as_tensor|from_numpy|arange|linspace|logspace|eye"
    r"|hann_window|hamming_window|(zeros|ones|empty|full|rand|randn|randint|randperm)(_like)?)$"
)
#: Those that give two tensors.
PAIRS = re.compile(r"torch\.(topk|max|min|sort|median|mode|kthvalue|cummax|cummin)$")
_MAKERS = re.compile(r"torchvision\.transforms\.(\w+\.)?(ToTensor|PILToTensor)$")
_COMPARED = (cst.Equal, cst.NotEqual, cst.LessThan, cst.LessThanEqual, cst.GreaterThan, cst.GreaterThanEqual)
_ARITHMETIC = (cst.Add, cst.Subtract, cst.Multiply, cst.Divide, cst.Power, cst.MatrixMultiply, cst.Modulo)


class Tensors:
    """Tells which expressions of one scope give a tensor."""

    def __init__(self, names: Names, scope: Scope, known: Callable[[str], bool], *, moved: bool = False) -> None:
        """Read a scope.

        Args:
            names: The names of the file.
            scope: The scope that the expressions stand in.
            known: Whether a name of the scope, or an attribute of `self`, is a tensor.
            moved: Whether what is asked for is moved to a device, so that it is no array.
        """
        self._names = names
        self._scope = scope
        self._known = known
        self._moved = moved

    def gives(self, node: cst.BaseExpression) -> bool:
        """Tell whether an expression gives a tensor for certain, or None besides."""
        handler = self._HANDLERS.get(type(node))
        return handler is not None and handler(self, node)

    def _name(self, node: cst.Name) -> bool:
        return self._known(node.value)

    def _call(self, node: cst.Call) -> bool:
        method = method_of(node)
        if method == "encode":
            returned, converted = keyword(node, "return_tensors"), keyword(node, "convert_to_tensor")
            if converted is not None:
                return isinstance(converted.value, cst.Name) and converted.value.value == "True"
            return returned is not None and text_of(returned.value) == "pt"
        name = self._names.resolve(node.func, self._scope)
        if name is not None:
            return MAKES.match(name) is not None
        if isinstance(node.func, cst.Call):
            maker = self._names.resolve(node.func.func, self._scope)
            return maker is not None and _MAKERS.match(maker) is not None
        if method in knowledge.ONLY_TENSORS:
            return method not in _NUMBERS
        if self._moved and method in knowledge.COMPUTES:
            return True
        if method == "generate":
            return bool(node.args)
        if not isinstance(node.func, cst.Attribute) or method is None:
            return False
        return _SAME.match(method) is not None and self.gives(node.func.value)

    def _operation(self, node: cst.BinaryOperation) -> bool:
        return isinstance(node.operator, _ARITHMETIC) and (self.gives(node.left) or self.gives(node.right))

    def _unary(self, node: cst.UnaryOperation) -> bool:
        return isinstance(node.operator, (cst.Minus, cst.BitInvert)) and self.gives(node.expression)

    def _part(self, node: cst.Subscript) -> bool:
        return self.gives(node.value)

    def _view(self, node: cst.Attribute) -> bool:
        if node.attr.value in {"values", "indices"} and isinstance(node.value, cst.Call):
            return PAIRS.match(self._names.resolve(node.value.func, self._scope) or "") is not None
        spelled = name_of(node)
        own = spelled.startswith("self.") and self._known(spelled)
        return own or (node.attr.value in _VIEWS and self.gives(node.value))

    def _comparison(self, node: cst.Comparison) -> bool:
        compared = [each.comparator for each in node.comparisons if isinstance(each.operator, _COMPARED)]
        return len(compared) == 1 == len(node.comparisons) and (self.gives(node.left) or self.gives(compared[0]))

    def _choice(self, node: cst.IfExp) -> bool:
        sides = [side for side in (node.body, node.orelse) if not (isinstance(side, cst.Name) and side.value == "None")]
        return bool(sides) and all(map(self.gives, sides))

    _HANDLERS: ClassVar[dict[type[cst.CSTNode], Callable[..., bool]]] = {
        cst.Name: _name,
        cst.Call: _call,
        cst.BinaryOperation: _operation,
        cst.UnaryOperation: _unary,
        cst.Subscript: _part,
        cst.Attribute: _view,
        cst.Comparison: _comparison,
        cst.IfExp: _choice,
    }
