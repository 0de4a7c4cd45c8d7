"""Check: a checkpoint that its own class cannot load."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import nn

from pytest_ckpt.checks import Case, Check, Stage
from pytest_ckpt.facts import ABSENT
from pytest_ckpt.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_ckpt.call import Call
    from pytest_ckpt.resume.resumption import Resumption
    from pytest_ckpt.trip import Changed, Trip


class NotLoadable(Check):
    """A fresh module cannot load what a used one of the same class has saved.

    ## What it checks

    Loading raises: a key is missing or unexpected, a shape does not fit, a parameter cannot be written, extra state
    is not taken back.

    ## Why it matters

    It shows on the day when the checkpoint is needed. A buffer that is None until the first fit, a memory bank that
    grows, a projection that the first forward creates: all of them save well.

    ## How it is found

    The file is loaded strictly into a freshly built module. What the error is about is named entry by entry.

    ## What to do

    Give every entry its final shape in `__init__`; where that is not possible, make it fit in a
    `register_load_state_dict_pre_hook`. A `get_extra_state` needs its `set_extra_state`.

    ## References

    - [torch.nn.Module.load_state_dict](https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html)
    - [pytorch/pytorch#8104](https://github.com/pytorch/pytorch/issues/8104)
    """

    name: ClassVar[str] = "not-loadable"
    summary: ClassVar[str] = "a fresh module refuses the checkpoint of a used one"
    stage: ClassVar[Stage] = Stage.LOAD

    def run(self, trip: Trip) -> Iterator[Finding]:
        if not trip.load_error or trip.device_refused or trip.unsafe_globals or trip.collisions:
            return
        for one in trip.blamed:
            yield Finding(
                self.name,
                one.key,
                f"loading raised {trip.short_load_error}",
                _hint(one),
                one.expected,
                one.actual,
            )
        if not trip.blamed:
            yield Finding(
                self.name,
                type(trip.source).__name__,
                f"loading raised {trip.load_error}",
                f"make {_loader(trip.call)} accept what was saved: the same keys, shapes and types",
            )

    def resumed(self, resumption: Resumption) -> Iterator[Finding]:
        if resumption.load_error and not resumption.load_refused and not resumption.in_memory:
            yield Finding(
                self.name,
                "load",
                f"run.load(path) of a new run raised {resumption.load_error}",
                "load(path) must get along with the file and a run that training() has just built",
                leg=resumption.leg,
            )

    @staticmethod
    def failing() -> Case:
        return Case(_FilledByFit, key="centers", arguments={"prepare": _FilledByFit.fit})

    @staticmethod
    def passing() -> Case:
        return Case(_ShapedAtOnce, arguments={"prepare": _ShapedAtOnce.fit})


def _loader(call: Call) -> str:
    if call.load is not None:
        return "load(path)"
    return "load_state(module, state_dict)" if call.load_state is not None else "load_state_dict(state_dict)"


def _hint(one: Changed) -> str:
    key, actual = one.key, one.actual
    for prefix, inner in (("module.", "module"), ("_orig_mod.", "_orig_mod")):
        if key.startswith(prefix):
            return f"save the module inside the wrapper: model.{inner}.state_dict()"
    name = key.rpartition(".")[2]
    if name == "_extra_state":
        return "define set_extra_state(state) beside get_extra_state()"
    if actual.startswith("no such entry"):
        return (
            f'self.register_buffer("{name}", torch.zeros(...)) in __init__, or create it in a load_state_dict pre-hook'
        )
    if one.expected == ABSENT:
        return f'let state_dict() hold "{name}", or give it a default in a load_state_dict pre-hook'
    return f'give "{name}" its final shape in __init__, or resize it in a load_state_dict pre-hook'


class _FilledByFit(nn.Module):
    centers: torch.Tensor | None

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("centers", None)

    def fit(self) -> None:
        self.centers = torch.rand(4, 3)


class _ShapedAtOnce(nn.Module):
    centers: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("centers", torch.zeros(4, 3))

    def fit(self) -> None:
        self.centers = torch.rand(4, 3)
