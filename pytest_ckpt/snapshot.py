"""Remembers what a module or a dict of tensors held, cheaply, to see later what changed.

Small tensors are cloned; of large ones a checksum over their bits is kept, so that watching a module costs a pass over
its memory and none of the memory itself.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.parameter import is_lazy

from pytest_ckpt.compare import bits_equal, describe, entries, equal, nonpersistent, words
from pytest_ckpt.copying import duplicate
from pytest_ckpt.trip import Changed

if TYPE_CHECKING:
    from torch import Tensor, nn

_SMALL = 2**20  # bytes up to which a tensor is copied rather than summed up
_ROWS = 1024  # into which a large tensor's words are laid


@dataclass(frozen=True, slots=True, eq=False)
class _Print:
    tensor: Tensor
    kind: tuple[torch.dtype, tuple[int, ...] | None]
    bits: Tensor | None

    @property
    def text(self) -> str:
        """What the tensor held, as far as it is known: of a large one only the kind."""
        whole = self.bits is not None and _kind(self.bits) == self.kind
        return describe(self.bits) if whole else f"{str(self.kind[0]).removeprefix('torch.')}{list(self.kind[1] or ())}"


def _print(tensor: Tensor, *, large: bool) -> _Print:
    return _Print(tensor, _kind(tensor), _bits(tensor) if large or _is_small(tensor) else None)


def _is_small(tensor: Tensor) -> bool:
    return is_lazy(tensor) or tensor.is_nested or tensor.numel() * tensor.element_size() <= _SMALL


def _kind(tensor: Tensor) -> tuple[torch.dtype, tuple[int, ...] | None]:
    return (tensor.dtype, None if is_lazy(tensor) or tensor.is_nested else tuple(tensor.shape))


def _checksum(whole: Tensor) -> Tensor:
    """Sum the words of a large tensor by rows and by columns, so that values which change places show as well."""
    square = whole[: whole.numel() // _ROWS * _ROWS].view(_ROWS, -1)
    return torch.cat([square.sum(0), square.sum(1), whole[square.numel() :].to(torch.int64)])


def _bits(tensor: Tensor) -> Tensor | None:
    if is_lazy(tensor) or tensor.device.type == "meta":
        return None
    data = tensor.detach()
    try:
        if _is_small(data) or data.layout != torch.strided or type(data) is not torch.Tensor:
            return data.clone()
        return _checksum(words(data.contiguous()).view(-1))
    except (RuntimeError, NotImplementedError, TypeError):
        return None


def _same(before: _Print, tensor: Tensor) -> bool:
    if before.kind != _kind(tensor):
        return False
    if before.bits is None:
        return True
    now = _bits(tensor)
    return now is not None and bits_equal(before.bits, now)


class Prints:
    """Fingerprints of a dict of tensors, or of one that has such dicts in it."""

    def __init__(self, tensors: Mapping[str, Any], *, large: bool = True) -> None:
        """Take the fingerprints; what is no tensor is copied.

        Args:
            tensors: The dict.
            large: Whether to watch the bits of large tensors too, and not only their kind.
        """
        self._values = dict(tensors)
        self._prints = {
            name: _print(value, large=large) for name, value in tensors.items() if isinstance(value, torch.Tensor)
        }
        rest = {name: value for name, value in tensors.items() if name not in self._prints}
        self._inner = {
            name: Prints(value, large=large)
            for name, value in rest.items()
            if isinstance(value, Mapping) and not self._prints
        }
        self._copies = {name: duplicate(value) for name, value in rest.items() if name not in self._inner}

    def changes(self, tensors: Mapping[str, Any]) -> tuple[Changed, ...]:
        """List the names that were taken away, added, or whose value changed; in the order of before."""
        found = [
            Changed(name, describe(value), "absent") for name, value in self._values.items() if name not in tensors
        ]
        for name, before in self._prints.items():
            now = tensors.get(name, before.tensor)
            if not isinstance(now, torch.Tensor) or (name in tensors and not _same(before, now)):
                found.append(Changed(name, before.text, describe(now)))
        found += [
            Changed(name, describe(before), describe(tensors[name]))
            for name, before in self._copies.items()
            if name in tensors and not equal(before, tensors[name])
        ]
        for name, inner in self._inner.items():
            found += inner.changes(tensors[name]) if isinstance(tensors.get(name), Mapping) else ()
        found += [Changed(name, "absent", describe(now)) for name, now in tensors.items() if name not in self._values]
        return tuple(found)


class Snapshot:
    """A live module's tensors, flags and modes, and the position of the global generators."""

    def __init__(self, module: nn.Module, *, large: bool = True) -> None:
        """Remember the module as it is now.

        Args:
            module: The module.
            large: Whether to watch the bits of large tensors too, and not only their kind.
        """
        self._module = module
        self._prints = Prints(_watched(module), large=large)
        self._flags = _flags(module)
        self._modes = modes(module)
        self._generators = _generators()

    def changes(self) -> tuple[Changed, ...]:
        """List what is no longer as it was: entries, buffers and gradients by bits, requires_grad, generators."""
        found = list(self._prints.changes(_watched(self._module)))
        now = _flags(self._module)
        found += [
            Changed(name, f"requires_grad={flag}", f"requires_grad={now[name]}")
            for name, flag in self._flags.items()
            if name in now and now[name] != flag
        ]
        position = _generators()
        found += [Changed(name, "", "") for name, state in self._generators.items() if not equal(state, position[name])]
        return tuple(found)

    def mode_changes(self) -> tuple[Changed, ...]:
        """List submodules that are in another mode than before."""
        return changed_modes(self._modes, modes(self._module))


def _generators() -> dict[str, Any]:
    """Give the position of the global generators, by the call that tells it; NumPy's where it is loaded."""
    found = {"torch.get_rng_state()": torch.get_rng_state(), "random.getstate()": random.getstate()}
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        found["numpy.random.get_state()"] = numpy.random.get_state()
    return found


def _watched(module: nn.Module) -> dict[str, Tensor]:
    gradients = {f"{name}.grad": one.grad for name, one in module.named_parameters() if one.grad is not None}
    return {**entries(module), **nonpersistent(module), **gradients}


def _flags(module: nn.Module) -> dict[str, bool]:
    return {name: parameter.requires_grad for name, parameter in module.named_parameters(remove_duplicate=False)}


def modes(module: nn.Module) -> dict[str, bool]:
    """Give `training` of each submodule; the module itself is under its class name."""
    return {name or type(module).__name__: one.training for name, one in module.named_modules()}


def changed_modes(before: Mapping[str, bool], after: Mapping[str, bool]) -> tuple[Changed, ...]:
    """List the submodules whose mode differs, outermost only where a whole subtree changed."""
    word = {True: "training", False: "eval"}
    found = [
        Changed(name, word[mode], word[after[name]])
        for name, mode in before.items()
        if name in after and after[name] != mode
    ]
    root = next(iter(before), "")
    return tuple(found[:1]) if found and found[0].key == root else tuple(found)
