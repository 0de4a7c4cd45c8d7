"""Check: a loader that takes a checkpoint which does not fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from torch import nn

from pytest_ckpt.checks import Case, Check, Stage
from pytest_ckpt.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_ckpt.trip import Trip


class Strictness(Check):
    """The loader accepts a checkpoint that does not fit the module, and says nothing.

    ## What it checks

    Checkpoints that lack a parameter, or hold one in another shape, under another name or in another dtype, that are
    empty or have a prefix before every key, are given to the user's `load` or `load_state`, or to the module's own
    `load_state_dict` where it has hooks or overrides it. The loader must raise, or warn, log, print or return what is
    missing.

    ## Why it matters

    `strict=False` with the result thrown away loads nothing at all from a checkpoint whose keys have another prefix,
    and the model answers with random weights. So does a loader that keeps only the entries that fit.

    ## How it is found

    Each is tried with the first and the last parameter. A finding means that the loader took both checkpoints: one that
    tolerates a few entries on purpose refuses the others. Entries in `allow_missing` are not tried, and torch's own
    `load_state_dict` is not tried at all. `check_strict` and the fixture `ckpt_strict` try many more, drawn by
    Hypothesis.

    ## What to do

    Load strictly; or look at the result: `missing, unexpected = module.load_state_dict(state_dict, strict=False)` and
    raise for every key that is not expected to be missing.

    ## References

    - [torch.nn.Module.load_state_dict](https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html)
    - [pytorch/pytorch#40859](https://github.com/pytorch/pytorch/issues/40859)
    """

    name: ClassVar[str] = "strictness"
    summary: ClassVar[str] = "the loader takes a checkpoint that lacks an entry, and says nothing"
    stage: ClassVar[Stage] = Stage.STRICTNESS

    def run(self, trip: Trip) -> Iterator[Finding]:
        for lapse in trip.lapses:
            if lapse.outcome in _MESSAGES and not (lapse.outcome == "kept" and lapse.kind in {"prefixed", "nested"}):
                message, hint = _MESSAGES[lapse.outcome]
                yield Finding(self.name, lapse.key, message.format(lapse.fault), hint)

    @staticmethod
    def failing() -> Case:
        return Case(lambda: nn.Linear(3, 3), key="weight", arguments={"load_state": _leniently})

    @staticmethod
    def passing() -> Case:
        return Case(lambda: nn.Linear(3, 3), arguments={"load_state": _with_a_look})


_MESSAGES = {
    "kept": (
        "the loader took a checkpoint that {}, and said nothing: the entry keeps what it held",
        "load with strict=True, or raise for the keys that load_state_dict(..., strict=False) returns",
    ),
    "ignored": (
        "the loader took a checkpoint that {}, and said nothing",
        "raise or warn for the unexpected_keys that load_state_dict(..., strict=False) returns",
    ),
    "unnamed": (
        "load_state_dict raised for a checkpoint that {} and others, and its error does not name it",
        "leave missing_keys and unexpected_keys complete in hooks that change them",
    ),
}


def _leniently(module: nn.Module, state: Any) -> None:
    own = module.state_dict()
    fitting = {name: value for name, value in state.items() if name in own and value.shape == own[name].shape}
    module.load_state_dict(fitting, strict=False)


def _with_a_look(module: nn.Module, state: Any) -> None:
    missing, unexpected = module.load_state_dict(state, strict=False)
    if missing or unexpected:
        raise KeyError(*missing, *unexpected)
