"""What is known of an entry before anything is loaded: whether it is the same in every new module, and its dtype."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from pytest_ckpt.compare import bits_equal, entries
from pytest_ckpt.outputs import same_randomness

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor, nn

_OTHER_SEED = 0x5EED


@contextmanager
def other_seeds() -> Iterator[None]:
    """Make `torch.manual_seed` set other seeds than it is given.

    A factory that seeds builds equal modules, and what is drawn at random in them would look like a constant.
    """
    original = torch.manual_seed

    def shifted(seed: Any) -> torch.Generator:
        return original(int(seed) ^ _OTHER_SEED)

    torch.manual_seed = shifted
    try:
        with same_randomness(_OTHER_SEED):
            yield
    finally:
        torch.manual_seed = original


def constants(one: nn.Module, build: Callable[[], nn.Module]) -> frozenset[str]:
    """Give the entries that hold the same in every new module: defaults, and not random numbers."""
    with other_seeds():
        other = entries(build())
    return frozenset(name for name, tensor in entries(one).items() if name in other and bits_equal(tensor, other[name]))


def loses(old: Tensor, new: Tensor) -> bool:
    """Whether casting an old entry to a new one's dtype loses something.

    Between floating-point dtypes the narrower one loses even if today's values survive; otherwise the values decide.
    """
    if old.dtype == new.dtype or old.layout != torch.strided or old.is_quantized or new.is_quantized:
        return False
    if old.dtype.is_floating_point and new.dtype.is_floating_point:
        return torch.finfo(new.dtype).eps > torch.finfo(old.dtype).eps or (
            torch.finfo(new.dtype).max < torch.finfo(old.dtype).max
        )
    try:
        return not bits_equal(old.detach().to(new.dtype).to(old.dtype), old.detach().contiguous())
    except (RuntimeError, NotImplementedError):
        return False
