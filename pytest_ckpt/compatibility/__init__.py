"""Holds an old checkpoint against today's code: does it load, does everything land, are the outputs the old ones?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_ckpt.call import Call
from pytest_ckpt.compare import describe
from pytest_ckpt.compatibility.judge import Judge
from pytest_ckpt.compatibility.old import read_state
from pytest_ckpt.findings import Report, UsageError
from pytest_ckpt.outputs import Runner, kept_randomness, leaves
from pytest_ckpt.roundtrip import strings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import nn

__all__ = ["check_compatibility"]


def check_compatibility(  # noqa: PLR0913 -- the contract: everything after outputs is optional and has a name
    make: Callable[[], nn.Module],
    checkpoint: Any,
    inputs: Any = None,
    outputs: Any = None,
    *,
    load_state: Callable[[Any, Any], Any] | None = None,
    allow_missing: Sequence[str] = (),
    allow_unexpected: Sequence[str] = (),
    weights_only: bool = True,
    tolerance: float | None = None,
) -> Report:
    """Load what an older version of the code saved into a module of today, and compare it with what it was.

    Args:
        make: Gives a fresh module of today's code at each call.
        checkpoint: What the older version saved: the path of a file of torch.save or safetensors, or a state_dict;
            also a mapping that holds the state_dict one key below, such as `{"model": ...}`.
        inputs: What forward takes, as for `check_module`.
        outputs: What the older version gave for these inputs, in eval mode. Without them nothing can be said of a
            change that leaves names and shapes as they are.
        load_state: Your own way to put a state_dict into a module; the default is `module.load_state_dict`.
        allow_missing: Patterns, as in fnmatch, of entries that the checkpoint need not bring.
        allow_unexpected: Patterns of entries that the checkpoint may hold beyond those of a fresh module.
        weights_only: Whether a file with pickled objects besides weights is refused. With False it is unpickled, which
            runs code that the file names.
        tolerance: Largest absolute difference of an output. The default is 16 times the rounding error of the module
            itself, measured against a run in double precision (4 times for dtypes of two bytes).

    Returns:
        The report. A migration that would make the checkpoint fit stands in the first hint, ready to paste, and has
        been tried.

    Raises:
        UsageError: The call cannot be carried out: the message says what was given and what to do.
    """
    __tracebackhide__ = True
    try:
        _require(inputs, outputs, tolerance)
        call = Call(
            make=make,
            runner=Runner(inputs),
            prepare=None,
            mode="eval",
            save=None,
            load=None,
            load_state=load_state,
            allow_missing=strings("allow_missing", allow_missing),
            allow_unexpected=strings("allow_unexpected", allow_unexpected),
        )
        state = read_state(checkpoint, weights_only=weights_only)
        with kept_randomness():
            return Judge(call, state, None if outputs is None else leaves(outputs), tolerance).report()
    except UsageError as error:
        message = str(error)
    raise UsageError(message) from None


def _require(inputs: Any, outputs: Any, tolerance: Any) -> None:
    if outputs is not None and inputs is None:
        raise UsageError("outputs need the inputs that they were computed from: give inputs=")
    if tolerance is not None and not (isinstance(tolerance, (int, float)) and tolerance >= 0):
        raise UsageError(f"tolerance must be a number that is not negative, but {describe(tolerance)} was given")
