"""Builds large modules without drawing a random number for every element.

Filling a gigabyte with random numbers takes longer than saving it, loading it and comparing it together, and all of a
target's are overwritten by the load. While a module is built, a large fill draws the numbers of one block, and repeats
them; small tensors, and everything that is not a random fill, are left to torch.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any
from unittest import mock

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

#: Elements from which on a fill is abridged; what is smaller takes a few milliseconds at the most.
LARGE = 2**20

#: Elements that are really drawn. A prime, so that rows, heads and experts of a weight do not come out alike.
BLOCK = 65_521

_DTYPES = frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64})


@contextmanager
def quick_fills() -> Iterator[None]:
    """Let `uniform_` and `normal_` on large tensors repeat one block of random numbers, in this thread.

    `torch.nn.init` is made of these two. How many numbers are drawn from torch's generator depends on the tensors
    alone, so a factory that seeds the generator builds equal modules each time. Whatever has a generator of its own, is
    not in the CPU's memory, or is no plain contiguous tensor of floats is filled as ever.
    """
    with (
        mock.patch.object(torch.Tensor, "uniform_", _quick(torch.Tensor.uniform_)),
        mock.patch.object(torch.Tensor, "normal_", _quick(torch.Tensor.normal_)),
    ):
        yield


def _quick(fill: Callable[..., Tensor]) -> Callable[..., Tensor]:
    owner = threading.get_ident()

    @wraps(fill)
    def quick(tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if not _is_large(tensor) or kwargs.get("generator") is not None or threading.get_ident() != owner:
            return fill(tensor, *args, **kwargs)
        _repeat(fill(torch.empty(BLOCK, dtype=tensor.dtype), *args, **kwargs), tensor)
        return tensor

    return quick


def _is_large(tensor: Tensor) -> bool:
    """Whether a fill can be abridged: torch would take it, and it would take torch long."""
    return (
        type(tensor) in {torch.Tensor, nn.Parameter}
        and tensor.layout == torch.strided
        and tensor.device.type == "cpu"
        and tensor.dtype in _DTYPES
        and tensor.numel() >= LARGE
        and tensor.is_contiguous()
        and not (tensor.requires_grad and torch.is_grad_enabled())
    )


def _repeat(block: Tensor, tensor: Tensor) -> None:
    """Fill a tensor with copies of one block, the last of them cut."""
    flat = tensor.detach().view(-1)
    whole = flat.numel() // BLOCK * BLOCK
    flat[:whole].view(-1, BLOCK).copy_(block)
    flat[whole:].copy_(block[: flat.numel() - whole])
