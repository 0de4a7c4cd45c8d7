"""Where each entry of a loaded module came from: the same name, another one, several joined, or nowhere.

A state whose entries all differ is loaded into a module whose entries all differ from them, so that an entry can be
told by its values alone, whatever hooks have done with its name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from pytest_ckpt.compare import bits_equal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import Tensor

Kind = Literal["kept", "same", "moved", "joined", "computed"]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an entry's values came from.

    Attributes:
        kind: `kept` what it held before loading, took the entry of the `same` name, one `moved` from another name or
            transposed, several `joined` to one, or values `computed` from something.
        parts: Names of the old entries, in the order in which they stand; those that could be told.
        axis: The axis along which parts are joined.
    """

    kind: Kind
    parts: tuple[str, ...] = ()
    axis: int = 0


def trace(old: Mapping[str, Tensor], before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> dict[str, Origin]:
    """Tell where each entry came from.

    Args:
        old: The checkpoint's tensors, told apart by their values.
        before: The module's entries before loading, copies.
        after: The module's entries after loading.
    """
    index = _Index(old)
    return {name: _origin(name, tensor, before.get(name), index) for name, tensor in after.items()}


def _origin(name: str, tensor: Tensor, before: Tensor | None, index: _Index) -> Origin:
    if name in index.old and same_values(index.old[name], tensor):
        return Origin("same", (name,))
    if before is not None and bits_equal(before, tensor):
        return Origin("kept")
    if found := index.whole(tensor):
        return Origin("moved", (found,))
    for axis in range(min(tensor.dim(), 2)):
        parts = index.joined(tensor, axis)
        if len(parts) > 1:
            return Origin("joined", parts, axis)
    return Origin("computed")


def same_values(old: Tensor, new: Tensor) -> bool:
    """Whether an entry holds an old one's values, reshaped by ones or cast to its dtype at the most."""
    if old.layout != torch.strided or new.layout != torch.strided or old.is_quantized or new.is_quantized:
        return bits_equal(old, new)
    if old.numel() != new.numel() or old.dtype.is_complex != new.dtype.is_complex:
        return False
    try:
        return bits_equal(old.detach().to(new.dtype).reshape(new.shape), new.detach().contiguous())
    except (RuntimeError, NotImplementedError):
        return False


class _Index:
    """The old entries, to be looked up by their values."""

    def __init__(self, old: Mapping[str, Tensor]) -> None:
        self.old = old
        self._strided = {name: one for name, one in old.items() if one.layout == torch.strided and not one.is_quantized}

    def whole(self, tensor: Tensor) -> str:
        """Give the old entry that another one is, perhaps transposed; empty where there is none."""
        if not tensor.numel() or tensor.layout != torch.strided or tensor.is_quantized:
            return ""
        for name, one in self._strided.items():
            if one.numel() != tensor.numel():
                continue
            if same_values(one, tensor) or (one.dim() == tensor.dim() == 2 and same_values(one.t(), tensor)):  # noqa: PLR2004 -- a matrix
                return name
        return ""

    def joined(self, tensor: Tensor, axis: int) -> tuple[str, ...]:
        """Give the old entries that stand behind each other in one, along an axis; empty where some part is none."""
        if tensor.layout != torch.strided or tensor.is_quantized or not tensor.numel():
            return ()
        return tuple(self._parts(tensor.detach().movedim(axis, 0), axis))

    def _parts(self, rows: Tensor, axis: int) -> Iterator[str]:
        names = []
        at = 0
        while at < len(rows):
            found = next((name for name, one in self._strided.items() if _stands(one, rows, at, axis)), "")
            if not found:
                return
            names.append(found)
            stacked = self._strided[found].dim() < rows.dim()
            at += 1 if stacked else self._strided[found].shape[axis]
        yield from names


def _stands(one: Tensor, rows: Tensor, at: int, axis: int) -> bool:
    if one.dim() + 1 == rows.dim() and axis == 0:
        one = one.unsqueeze(0)  # stacked
    if one.dim() != rows.dim() or not one.numel():
        return False
    part = one.detach().movedim(axis, 0)
    if part.shape[1:] != rows.shape[1:] or at + len(part) > len(rows):
        return False
    return same_values(part[:1], rows[at : at + 1]) and same_values(part, rows[at : at + len(part)])
