"""Check: a module that cannot be saved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from torch import nn

from pytest_ckpt.checks import Case, Check, Stage
from pytest_ckpt.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_ckpt.resume.resumption import Resumption
    from pytest_ckpt.trip import Trip


class NotSaveable(Check):
    """Saving the module raises.

    ## What it checks

    `state_dict()` or the save function raises: extra state that cannot be pickled (a lambda, a lock, an open file), a
    hook that fails, a path that the save function cannot write.

    ## Why it matters

    A training run finds out at its first checkpoint, or at its last.

    ## How it is found

    The module is saved, and what it raises is reported with the place in the code.

    ## What to do

    Return plain data from `get_extra_state`: tensors, numbers, strings, lists, tuples and dicts.

    ## References

    - [torch.nn.Module.get_extra_state](https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html)
    """

    name: ClassVar[str] = "not-saveable"
    summary: ClassVar[str] = "saving raises"
    stage: ClassVar[Stage] = Stage.SAVE

    def run(self, trip: Trip) -> Iterator[Finding]:
        if trip.binds is not None:
            key, what = trip.binds
            yield Finding(
                self.name,
                key,
                f"the whole module cannot be pickled, and saving raised {trip.save_error}",
                "define classes and functions at the top of a module, or torch.save(model.state_dict(), path)",
                what,
                "no pickle",
            )
        elif trip.save_error:
            extra = [key for key in trip.state if key.rpartition(".")[2] == "_extra_state"]
            yield Finding(
                self.name,
                extra[0] if extra else type(trip.source).__name__,
                f"saving raised {trip.save_error}",
                "return only tensors, numbers, strings, lists and dicts from get_extra_state()"
                if extra
                else "make save(module, path) accept this module",
            )

    def resumed(self, resumption: Resumption) -> Iterator[Finding]:
        if resumption.save_error:
            yield Finding(
                self.name,
                "save",
                f"run.save(path) raised {resumption.save_error}",
                "torch.save({...: state_dict(), ...}, path), with tensors, numbers, strings, lists and dicts only",
                leg=resumption.leg,
            )

    @staticmethod
    def failing() -> Case:
        return Case(_Lambda, key="_extra_state")

    @staticmethod
    def passing() -> Case:
        return Case(_Plain)


class _Lambda(nn.Module):
    def get_extra_state(self) -> Any:
        return {"schedule": lambda step: step + 1}

    def set_extra_state(self, state: Any) -> None:
        self.schedule = state["schedule"]


class _Plain(nn.Module):
    def get_extra_state(self) -> Any:
        return {"schedule": "linear"}

    def set_extra_state(self, state: Any) -> None:
        self.schedule = state["schedule"]
