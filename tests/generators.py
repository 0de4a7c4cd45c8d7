"""The global generators of random numbers, which a check leaves where they were."""

from __future__ import annotations

import random
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def unmoved() -> Iterator[None]:
    """Hold what is done in a `with` block to moving none of them, where it ends without an error."""
    before = _positions()
    yield
    now = _positions()
    assert [name for name, position in before.items() if now[name] != position] == []


def _positions() -> dict[str, object]:
    positions: dict[str, object] = {"torch": torch.get_rng_state().tolist(), "random": random.getstate()}
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        kind, keys, *rest = numpy.random.get_state()
        positions["numpy"] = (kind, keys.tolist(), *rest)
    return positions
