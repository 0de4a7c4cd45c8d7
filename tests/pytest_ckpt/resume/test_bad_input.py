"""What cannot be judged is said in one clear message."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pytest_ckpt import Training, UsageError, check_resume
from tests.pytest_ckpt.trainings import Loop, Net

ONE = Loop()
SHARED = Net()


class NoSteps:
    model = Net()
    save = load = print


class Broken(Loop):
    def step(self, number: int) -> Any:
        raise ZeroDivisionError("no data")


class Nothing(Loop):
    def step(self, number: int) -> Any:
        super().step(number)


class Vector(Loop):
    def step(self, number: int) -> Any:
        return torch.ones(3)


class WritesNothing(Loop):
    def save(self, path: Any) -> None:
        self.kept = self.state()


class LoadsAnother(Loop):
    @classmethod
    def load(cls, path: Any) -> LoadsAnother:  # type: ignore[override]
        other = cls()
        Loop.load(other, path)
        return other


class SharedModel(Loop):
    def setup(self) -> None:
        self.model = SHARED


def fails() -> Any:
    raise OSError("no such corpus")


def nothing_that_trains() -> Any:
    return SimpleNamespace(step=lambda _number: 0.0, save=print, load=print)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((ONE,), "training must be callable, but .* was given: give a function"),
        ((lambda: ONE,), "the same run twice: build the model"),
        ((SharedModel,), r"two runs that share 'model'"),
        ((NoSteps,), r"without \.step: a run has \.model, \.optimizer, \.step\(i\)"),
        ((lambda: None,), r"gave None without \.step, \.save, \.load"),
        ((nothing_that_trains,), "no torch.nn.Module and no torch.optim.Optimizer was found"),
        ((fails,), r"training\(\) raised OSError: no such corpus"),
        ((Broken,), r"run\.step\(0\) raised ZeroDivisionError: no data .*: the uninterrupted training itself fails"),
        ((Nothing,), r"run\.step\(0\) gave None, not a loss: return loss\.item\(\)"),
        ((Vector,), r"run\.step\(0\) gave float32\[3\] 1, 1, 1, not a loss"),
        ((WritesNothing,), r"run\.save\(path\) wrote nothing"),
        ((LoadsAnother,), r"run\.load\(path\) gave another run, LoadsAnother object: let it restore the run"),
        ((lambda: (Net(), Net()),), r"a tuple must be \(model, optimizer, step\)"),
        ((Loop, 6, 6), "resume_at=6 must lie between .* a number from 1 to 5, such as resume_at=3"),
        ((Loop, 6, 0), "resume_at=0 must lie between"),
        ((Loop, 1, 1), "steps=1 leaves no step before saving"),
        ((Loop, "6"), "steps must be a whole number, but '6' was given"),
        ((Loop, 6, True), "resume_at must be a whole number, but True was given"),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_one_clear_message(arguments, message):
    with pytest.raises(UsageError, match=message) as raised:
        check_resume(*arguments)
    assert "\n" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_unknown_check_is_refused():
    with pytest.raises(UsageError, match="no check named 'rng': did you mean 'rng-state'"):
        check_resume(Loop, ignore=["rng"])
    with pytest.raises(UsageError, match="no check named 'optimizer_state': did you mean 'optimizer-state'"):
        check_resume(Loop, checks=["optimizer_state"])


def test_checks_can_be_chosen_and_left_out():
    def lost() -> Training:
        run = Loop()
        return Training(run.model, run.optimizer, lambda _run, number: run.step(number), save=_save, load=_load)

    assert {one.category for one in check_resume(lost).findings} == {"optimizer-state"}
    assert check_resume(lost, ignore=["optimizer-state"]).ok
    assert check_resume(lost, checks=["rng-state"]).checks == ("rng-state",)


def _save(run: Any, path: Any) -> None:
    torch.save(run.model.state_dict(), path)


def _load(run: Any, path: Any) -> None:
    run.model.load_state_dict(torch.load(path))
