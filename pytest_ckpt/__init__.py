"""Round-trip PyTorch modules through save and load, and assert that everything came back.

The public names are resolved when they are first used, so that importing this package, which pytest does at start-up
through the plugin, imports neither torch nor hypothesis.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_ckpt.compatibility import check_compatibility
    from pytest_ckpt.findings import CheckpointError, Finding, LegResult, Report, UsageError
    from pytest_ckpt.parametrize import parametrize_with_checkpoint_checks
    from pytest_ckpt.resume import Training, check_resume
    from pytest_ckpt.roundtrip import check_module
    from pytest_ckpt.strict import check_strict

__all__ = [
    "CheckpointError",
    "Finding",
    "LegResult",
    "Report",
    "Training",
    "UsageError",
    "check_compatibility",
    "check_module",
    "check_resume",
    "check_strict",
    "parametrize_with_checkpoint_checks",
]

_HOME = {
    "CheckpointError": "findings",
    "Finding": "findings",
    "LegResult": "findings",
    "Report": "findings",
    "Training": "resume",
    "UsageError": "findings",
    "check_compatibility": "compatibility",
    "check_module": "roundtrip",
    "check_resume": "resume",
    "check_strict": "strict",
    "parametrize_with_checkpoint_checks": "parametrize",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"pytest_ckpt.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
