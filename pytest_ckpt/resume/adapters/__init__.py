"""What makes a run of something that is none by itself: bare parts, or a library's trainer."""

from __future__ import annotations

import sys
from typing import Any

from pytest_ckpt.resume.adapters.training import Training


def as_run(given: Any) -> Any:
    """Give what a factory returned as a run.

    Args:
        given: A run, which is returned as it is; `(model, optimizer, step)`; a `lightning.Trainer` with what its `fit`
            takes, `(trainer, module, data)`; a `transformers.Trainer`.
    """
    first = given[0] if isinstance(given, tuple) and given else given
    if _is(first, "lightning.pytorch") or _is(first, "pytorch_lightning"):
        from pytest_ckpt.resume.adapters.lightning import LightningRun

        return LightningRun.of_tuple(given if isinstance(given, tuple) else (given,))
    if _is(given, "transformers"):
        from pytest_ckpt.resume.adapters.transformers import TransformersRun

        return TransformersRun(given)
    if isinstance(given, tuple) and not hasattr(given, "step"):
        return Training.of_tuple(given)
    return given


def _is(value: Any, library: str) -> bool:
    """Whether a value is a trainer of a library, which is not imported to find out."""
    trainer = getattr(sys.modules.get(library), "Trainer", None)
    return isinstance(trainer, type) and isinstance(value, trainer)
