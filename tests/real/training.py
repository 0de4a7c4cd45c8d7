"""A small training run for any module: what makes running statistics run and parameters leave their first values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.utils._pytree import tree_leaves

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn


def train(inputs: Any, steps: int = 2) -> Callable[[nn.Module], None]:
    """Give a `prepare` for `check_module` that trains a module for a few steps and leaves it in eval mode.

    Args:
        inputs: What forward takes: a tensor, a tuple of positional arguments or a dict of keyword arguments.
        steps: How many steps of SGD on the mean square of everything differentiable that forward gives.
    """

    def prepare(module: nn.Module) -> None:
        module.train()
        for _ in range(steps):
            module.zero_grad()
            outputs = differentiable(call(module, inputs))
            if outputs:
                torch.stack([output.abs().square().mean() for output in outputs]).sum().backward()
                torch.optim.SGD(module.parameters(), lr=0.05).step()
        module.zero_grad()
        module.eval()

    return prepare


def call(module: nn.Module, inputs: Any) -> Any:
    """Call a module as `check_module` does."""
    if isinstance(inputs, dict):
        return module(**inputs)
    return module(*inputs) if isinstance(inputs, tuple) else module(inputs)


def differentiable(outputs: Any) -> list[Tensor]:
    """Give the tensors in an output, nested or not, that training could start from."""
    leaves = tree_leaves(dict(outputs) if hasattr(outputs, "items") else outputs)
    return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor) and leaf.requires_grad]
