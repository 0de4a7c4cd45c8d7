"""Uninterrupted training against save, load, continue: `check_resume`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_ckpt import registry
from pytest_ckpt.findings import LegResult, Report, UsageError
from pytest_ckpt.outputs import kept_randomness
from pytest_ckpt.resume.adapters.training import Training
from pytest_ckpt.resume.observe import observe

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Training", "check_resume"]


def check_resume(
    training: Callable[[], Any],
    steps: int = 6,
    resume_at: int = 3,
    *,
    checks: Sequence[str] | None = None,
    ignore: Sequence[str] = (),
) -> Report:
    """Train without a break, and train with a save, a load in a new run, and the rest; compare the two bit for bit.

    All generators are seeded differently for the new run, and what the first run left in globals and class attributes
    is taken back, as in a new process. What the new run lacks is found by transplanting it from the uninterrupted one,
    until the two train alike; what changes nothing is not reported.

    Args:
        training: Gives a new run at each call: an object with `step(i)`, which makes one training step and gives the
            loss, `save(path)` and `load(path)`, and with whatever is trained as attributes: `model`, `optimizer`,
            perhaps `scheduler`, `scaler`, `ema`, several of each, and perhaps `observable()`, which gives further
            tensors to compare. Or a tuple `(model, optimizer, step)`.
        steps: How many steps the uninterrupted run makes.
        resume_at: How many of them are made before saving, at least 1 and less than `steps`.
        checks: Names of the checks to run; the default is all that look at trainings.
        ignore: Names of checks to leave out.

    Returns:
        The report. `report.raise_for_findings()` raises `CheckpointError`, an AssertionError, if anything is wrong.

    Raises:
        UsageError: The call cannot be carried out: the message says what was given and what to do.
    """
    __tracebackhide__ = True
    try:
        _require(training, steps, resume_at)
        wanted = registry.select(checks, ignore, looks="resumed")
        with kept_randomness():
            seen = observe(training, steps, resume_at)
    except UsageError as error:
        message = str(error)
    else:
        return Report(
            subject=seen.subject,
            entries=seen.entries,
            findings=tuple(finding for check in wanted for finding in check.resumed(seen)),
            legs=(LegResult(seen.leg, "real"),),
            checks=tuple(check.name for check in wanted),
            notes=seen.notes,
        )
    raise UsageError(message)


def _require(training: Any, steps: Any, resume_at: Any) -> None:
    if not callable(training):
        raise UsageError(
            f"training must be callable, but {training!r} was given: give a function that builds a new run each time"
        )
    for name, value in (("steps", steps), ("resume_at", resume_at)):
        if isinstance(value, bool) or not isinstance(value, int):
            raise UsageError(f"{name} must be a whole number, but {value!r} was given")
    if not 0 < resume_at < steps:
        raise UsageError(
            f"resume_at={resume_at} must lie between the first step and the last of steps={steps}: give a number from "
            f"1 to {steps - 1}, such as resume_at={max(steps // 2, 1)}"
            if steps > 1
            else f"steps={steps} leaves no step before saving and one after: give at least steps=2, resume_at=1"
        )
