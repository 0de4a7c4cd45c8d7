"""What a setting or a function may have been instead: words, activations, reductions, whole numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_WORDS = (
    ("zeros", "reflect", "replicate", "circular"),
    ("constant", "reflect", "replicate", "circular"),
    ("none", "tanh"),
    ("nearest", "linear", "bilinear", "bicubic", "trilinear", "area", "nearest-exact"),
    ("relu", "gelu", "silu", "swish", "gelu_new", "tanh", "elu", "leaky_relu", "selu", "mish", "quick_gelu", "sigmoid"),
    ("mean", "sum", "max", "cls", "first", "last", "none", "avg", "min"),
    ("pre", "post"),
    ("add", "sum", "cat", "concat", "mul", "mean"),
    ("same", "valid", "full"),
    ("absolute", "relative_key", "relative_key_query", "rotary", "learned", "sinusoidal"),
)

#: Activations by name; a function stands for the module that calls it.
ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "relu": functional.relu,
    "gelu": functional.gelu,
    "gelu (tanh)": lambda x: functional.gelu(x, approximate="tanh"),
    "silu": functional.silu,
    "leaky_relu": functional.leaky_relu,
    "elu": functional.elu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "selu": functional.selu,
    "mish": functional.mish,
    "softplus": functional.softplus,
    "relu6": functional.relu6,
    "hardswish": functional.hardswish,
    "hardtanh": functional.hardtanh,
    "hardsigmoid": functional.hardsigmoid,
    "softsign": functional.softsign,
    "logsigmoid": functional.logsigmoid,
    "softmax": lambda x: torch.softmax(x, -1),
    "log_softmax": lambda x: torch.log_softmax(x, -1),
    "leaky_relu (0.1)": lambda x: functional.leaky_relu(x, 0.1),
    "leaky_relu (0.2)": lambda x: functional.leaky_relu(x, 0.2),
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "relu squared": lambda x: functional.relu(x).square(),
    "no activation": lambda x: x,
}
_ACTIVATION_MODULES = (
    nn.ReLU, nn.GELU, nn.SiLU, nn.LeakyReLU, nn.ELU, nn.Tanh, nn.Sigmoid, nn.SELU, nn.Mish, nn.Softplus, nn.ReLU6,
    nn.Hardswish, nn.Hardtanh, nn.Hardsigmoid, nn.Softsign, nn.LogSigmoid, nn.Identity, nn.CELU, nn.Softmax,
    nn.LogSoftmax,
)  # fmt: skip
_ACTIVATION_FUNCTIONS = frozenset(
    {
        "relu", "relu_", "gelu", "silu", "leaky_relu", "leaky_relu_", "elu", "elu_", "tanh", "sigmoid", "selu", "mish",
        "softplus", "relu6", "hardswish", "hardtanh", "hardsigmoid", "softsign", "logsigmoid", "celu", "softmax",
        "log_softmax",
    }
)  # fmt: skip

#: Reductions by name, which take a tensor and keywords such as `dim`.
REDUCTIONS: dict[str, Callable[..., Any]] = {
    "mean": torch.mean,
    "sum": torch.sum,
    "amax": torch.amax,
    "amin": torch.amin,
}
_OVER_DIMENSIONS = frozenset(
    {
        "softmax", "log_softmax", "softmin", "mean", "sum", "amax", "amin", "max", "min", "cat", "stack", "norm",
        "normalize", "cumsum", "flip", "var", "std", "logsumexp", "argmax", "prod", "median", "glu", "unbind", "select",
    }
)  # fmt: skip


def is_activation(function: Any) -> bool:
    """Whether a function that forward calls is an activation."""
    return getattr(function, "__name__", "") in _ACTIVATION_FUNCTIONS


def is_activation_module(module: nn.Module) -> bool:
    """Whether a submodule is an activation layer of torch's."""
    return type(module) in _ACTIVATION_MODULES


def words(value: str) -> Iterator[str]:
    """Give the words that may stand in a word's place."""
    seen = {value}
    for group in _WORDS:
        if value in group:
            for word in group:
                if word not in seen:
                    seen.add(word)
                    yield word


def integers(value: int) -> Iterator[int]:
    """Give the whole numbers that may stand in one's place: neighbours, halves, doubles, small ones; all positive.

    Zero and less are left out, for kernels divide by such numbers without a look.
    """
    near = (value - 1, value + 1, value // 2, value * 2, 1, 2, 4, 8, 16, 3, 6, 12, value // 4, value * 4)
    yield from (one for one in dict.fromkeys(near) if one != value and one > 0)


def dimensions(value: int) -> Iterator[int]:
    """Give the dimensions that may stand in one's place."""
    yield from (one for one in (-1, 0, 1, -2, 2, 3) if one != value)


def takes_dimensions(function: str) -> bool:
    """Whether a whole number that a function takes besides tensors is a dimension."""
    return function in _OVER_DIMENSIONS


def tuples(value: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Give tuples of whole numbers that may stand in one's place: all numbers changed alike, or turned around."""
    if value[::-1] != value:
        yield value[::-1]
    for step in (1, -1, 2, -2, 3):
        other = tuple(one + step for one in value)
        if min(other) >= 0:
            yield other


def other_pools(layer: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Give the pooling layers that may stand in one's place, with its window."""
    kind = type(layer).__name__
    for one, other in (("Max", "Avg"), ("Avg", "Max")):
        name = kind.replace(one, other)
        if kind.removeprefix("Adaptive").startswith(f"{one}Pool") and hasattr(nn, name):
            if kind.startswith("Adaptive"):
                yield name, getattr(nn, name)(layer.output_size)
            else:
                yield name, getattr(nn, name)(layer.kernel_size, layer.stride, layer.padding)
