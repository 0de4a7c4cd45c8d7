"""Makes the entries of a module distinguishable, so that an entry that was not restored cannot look restored.

Many entries of a fresh module are the same in every instance: the ones of a LayerNorm, zero biases, a batch counter at
zero. A loader that skips them goes unseen unless they are moved first. They are moved the way that training moves
them, by a little and in place, so that the module still runs: signs and ranges stay, index tables stay permutations of
themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn.parameter import is_lazy

from pytest_ckpt.compare import INTEGER_OF_SIZE, bits_equal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

_LEADING = 4096  # elements of an entry that are moved


def distinguish(tensors: Mapping[str, Tensor], seed: int) -> tuple[str, ...]:
    """Move each tensor a little, in place; tied ones once.

    Args:
        tensors: Live entries of a module by name.
        seed: Two different seeds move an entry differently.

    Returns:
        Names of the entries that really hold other bits than before. NaN, infinities and -0.0 are left as they are;
        so are entries that cannot be written (expanded views, quantized tensors, subclasses).
    """
    generator = torch.Generator().manual_seed(seed)
    done: set[int] = set()
    moved = []
    for name, tensor in tensors.items():
        if id(tensor) in done:
            continue
        done.add(id(tensor))
        if not is_lazy(tensor) and tensor.device.type != "meta" and _move(tensor, generator):
            moved.append(name)
    return tuple(moved)


def is_simple(tensor: Tensor) -> bool:
    """Whether a tensor is made of elements in memory and nothing else, so that they can be read and written."""
    return not (
        is_lazy(tensor)
        or tensor.is_nested
        or tensor.layout != torch.strided
        or tensor.device.type == "meta"
        or tensor.is_quantized
        or type(tensor.data) is not torch.Tensor
    )


def is_count(tensor: Tensor) -> bool:
    """Whether a tensor holds a single whole number or flag."""
    return is_simple(tensor) and tensor.numel() == 1 and not (tensor.is_floating_point() or tensor.is_complex())


def is_table(tensor: Tensor) -> bool:
    """Whether a tensor holds whole numbers or flags that are not all alike, such as positions, indices or a mask."""
    if tensor.layout != torch.strided or tensor.is_floating_point() or tensor.is_complex() or tensor.is_quantized:
        return False
    return tensor.device.type != "meta" and tensor.numel() > 1 and bool((tensor != tensor.flatten()[0]).any())


def _move(tensor: Tensor, generator: torch.Generator) -> bool:
    data = tensor.detach()
    try:
        if data.layout in {torch.sparse_coo, torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc}:
            values = data._values() if data.layout == torch.sparse_coo else data.values()  # noqa: SLF001 -- the live values
            return bool(values.numel()) and _move(values, generator)
        if not is_simple(data) or not data.numel():
            return False
        part = data.view(-1)[:_LEADING] if data.is_contiguous() and data.dim() else data
        before = part.clone()
        part.copy_(_nearby(before, generator))
        return not bits_equal(before, part)
    except (RuntimeError, NotImplementedError, TypeError):
        return False


def _nearby(values: Tensor, generator: torch.Generator) -> Tensor:
    """Give values of the same dtype and range that differ from the given ones.

    A mask or an index table is rolled by one place, which keeps it within its range; a single flag is turned over; a
    larger mask that is all alike stays, since there is no telling what its opposite would do.
    """
    if values.dtype.is_floating_point or values.dtype.is_complex:
        return _nearby_floats(values, generator)
    if values.dtype == torch.bool:
        return ~values if values.numel() == 1 else values.roll(1)
    wide = values.to(torch.int64)
    if bool((wide != wide.flatten()[0]).any()):
        return wide.roll(1).to(values.dtype)
    return (wide + 1).to(values.dtype)


def _nearby_floats(values: Tensor, generator: torch.Generator) -> Tensor:
    """Scale by 1.01 to 1.05, the largest down instead of up, and lift zeros; special values stay."""
    real = values.dtype.to_real()
    wide = torch.float64 if real.itemsize > 4 else torch.float32  # noqa: PLR2004 -- the bytes of a float32
    work = values.to(torch.promote_types(values.dtype, wide) if values.dtype.is_complex else wide)
    noise = torch.rand(values.shape, generator=generator, dtype=wide).to(values.device)
    factor = 1.01 + 0.04 * noise
    zero, large = work == 0, work.abs() > torch.finfo(real).max / 2
    moved = torch.where(large, work / factor, work * factor)
    moved = torch.where(zero, (factor - 1).to(moved.dtype), moved).to(values.dtype)
    special = ~work.isfinite() if values.dtype.is_complex else ~work.isfinite() | (zero & work.signbit())
    integer = INTEGER_OF_SIZE.get(values.element_size())
    if integer is None:
        return torch.where(special, values, moved)
    codes, moved_codes = values.view(integer), moved.view(integer)
    if not values.dtype.is_complex:  # the neighbour nearer to zero, where a factor is too small to leave the element
        stuck = (codes == moved_codes) & ~zero
        moved_codes = torch.where(stuck, (codes.to(torch.int64) - 1).to(integer), moved_codes)
    return torch.where(special, codes, moved_codes).view(values.dtype)
