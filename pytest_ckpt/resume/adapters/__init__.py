"""What makes a run of something that is none by itself: bare parts, or a library's trainer."""

from __future__ import annotations

from typing import Any

from pytest_ckpt.resume.adapters.training import Training


def as_run(given: Any) -> Any:
    """Give what a factory returned as a run.

    Args:
        given: A run, which is returned as it is; a tuple of model, optimizer and step.
    """
    if isinstance(given, tuple) and not hasattr(given, "step"):
        return Training.of_tuple(given)
    return given
