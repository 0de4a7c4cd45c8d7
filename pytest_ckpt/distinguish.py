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

from pytest_ckpt.compare import bits_equal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch import Tensor

_LEADING = 4096


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


def poison(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], names: Iterable[str]) -> None:
    """Move those of the named tensors that already hold what they are to be loaded with.

    Args:
        tensors: Live entries of the module that will be loaded into.
        expected: Entries of the module that was saved.
        names: Names that the state_dict carries.
    """
    same = {
        name: tensors[name]
        for name in names
        if name in tensors and name in expected and _leading_equal(tensors[name], expected[name])
    }
    distinguish(same, seed=1)


def _leading_equal(one: Tensor, other: Tensor) -> bool:
    if is_lazy(one) or is_lazy(other) or one.layout != torch.strided or type(one.data) is not torch.Tensor:
        return False
    if one.shape != other.shape or one.dtype != other.dtype or one.device.type == "meta":
        return False
    if one.is_quantized or other.layout != torch.strided:
        return False
    if one.numel() > _LEADING and one.is_contiguous() and other.is_contiguous():
        one, other = one.detach().view(-1)[:_LEADING], other.detach().view(-1)[:_LEADING]
    return bits_equal(one, other)


def _move(tensor: Tensor, generator: torch.Generator) -> bool:
    data = tensor.detach()
    try:
        if data.layout != torch.strided:
            values = data._values() if data.layout == torch.sparse_coo else data.values()  # noqa: SLF001 -- the live values
            return bool(values.numel()) and _move(values, generator)
        if type(data) is not torch.Tensor or data.is_quantized or data.is_nested or not data.numel():
            return False
        flat = data.view(-1)[:_LEADING] if data.is_contiguous() else data
        before = flat.clone()
        flat.copy_(_nearby(before, generator))
        return not bits_equal(before, flat)
    except (RuntimeError, NotImplementedError, TypeError):
        return False


def _nearby(values: Tensor, generator: torch.Generator) -> Tensor:
    if values.dtype.is_floating_point or values.dtype.is_complex:
        return _nearby_floats(values, generator)
    if values.dtype == torch.bool or bool((values != values.flatten()[0]).any()):
        return values.roll(1, 0) if values.dim() else ~values
    return values + 1


def _nearby_floats(values: Tensor, generator: torch.Generator) -> Tensor:
    """Scale by 1.01 to 1.05 and lift zeros, elementwise and never alike; special values stay."""
    real = values.dtype.to_real()
    wide = torch.float64 if real == torch.float64 else torch.float32
    noise = torch.rand(values.shape, generator=generator, dtype=wide).to(values.device)
    work = values.to(torch.promote_types(values.dtype, wide) if values.dtype.is_complex else wide)
    result = work * (1.01 + 0.04 * noise)
    zero = work == 0
    result = torch.where(zero, (0.01 + 0.04 * noise).to(result.dtype), result).to(values.dtype)
    keep = ~values.isfinite() if real.itemsize > 1 else ~work.isfinite()
    if not values.dtype.is_complex:
        keep |= zero & work.signbit()
    return (
        torch.where(keep.cpu(), values.cpu(), result.cpu()).to(values.device)
        if real.itemsize == 1
        else torch.where(keep, values, result)
    )
