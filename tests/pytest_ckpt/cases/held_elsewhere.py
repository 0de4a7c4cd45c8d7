"""State that hangs on something else: an attribute of a tensor, a namespace, a context, a compiled module."""

# Code under test, as people write it: to type it would change it.
# mypy: ignore-errors

from __future__ import annotations

import types
from array import array
from contextvars import ContextVar
from dataclasses import dataclass, field
from random import Random

import torch
from torch import Tensor, nn

from tests.pytest_ckpt.cases import correct, faulty

X = torch.linspace(-1.0, 1.0, 8).reshape(2, 4)


# -------------------------------------------------------------------------------------------- on a tensor, in an object


def calibrate(module: nn.Module) -> None:
    module.calibrate()


@faulty("unsaved-state", key="weight.scale", says="beside weight", inputs=X, prepare=calibrate)
class ScaleOnTheParameter(nn.Module):
    """As libraries keep the state of a quantised weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(2, 4))
        self.weight.scale = 1.0

    def calibrate(self) -> None:
        self.weight.scale = 2.5

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight.t() * self.weight.scale


@correct(inputs=X, prepare=calibrate)
class NoteOnTheParameter(ScaleOnTheParameter):
    """What an optimizer is told by a parameter's attribute decides no output."""

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight.t()


@dataclass
class Config:
    temperature: float = 1.0
    statistics: dict[str, float] = field(default_factory=dict, compare=False)


@faulty("unsaved-state", key="config", inputs=X, prepare=calibrate)
class ConfigThatCallsItselfEqual(nn.Module):
    """Its equality leaves out what was measured."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.config = nn.Linear(4, 2), Config()

    def calibrate(self) -> None:
        self.config.statistics["mean"] = 0.7

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) - self.config.statistics.get("mean", 0.0)


# ------------------------------------------------------------------------------------------------ outside of the module

TASK: ContextVar[int] = ContextVar("TASK", default=0)
SETTINGS = types.SimpleNamespace(scale=1.0)
SCALES = array("d", [1.0, 1.0])
NOISE = Random(5)
DRAWN: ContextVar[str] = ContextVar("DRAWN", default="plain")


class Average(nn.Module):
    """Keeps a mean in an attribute, as metrics do."""

    def __init__(self) -> None:
        super().__init__()
        self.total, self.count = 0.0, 0

    def update(self, value: float) -> None:
        self.total, self.count = self.total + value, self.count + 1


AVERAGE = Average()


class Body(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(4, 2)


@faulty("unsaved-state", key="TASK", says="a context variable", inputs=X, prepare=calibrate)
class TaskInAContextVariable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(4, 2) for _ in range(3))

    def calibrate(self) -> None:
        TASK.set(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.heads[TASK.get()](x)


@correct(inputs=X)
class ContextOfOneForward(Body):
    def forward(self, x: Tensor) -> Tensor:
        token = DRAWN.set("fast")
        result = self.body(x) if DRAWN.get() == "fast" else x
        DRAWN.reset(token)
        return result


@faulty("unsaved-state", key="SETTINGS", inputs=X, prepare=calibrate)
class ScaleInANamespace(Body):
    def calibrate(self) -> None:
        SETTINGS.scale = 2.0

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) * SETTINGS.scale


@faulty("unsaved-state", key="SCALES", inputs=X, prepare=calibrate)
class ScalesInAnArray(Body):
    def calibrate(self) -> None:
        SCALES[0] = 3.0

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) * torch.tensor(SCALES.tolist())


@faulty("unsaved-state", key="AVERAGE", inputs=X, prepare=calibrate)
class MetricOfTheFile(Body):
    def calibrate(self) -> None:
        AVERAGE.update(4.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) * (1 + AVERAGE.total / max(AVERAGE.count, 1))


@correct(inputs=X)
class NoiseFromAGeneratorOfTheFile(Body):
    """Randomness, which no checkpoint of a module carries."""

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + NOISE.random()


@faulty("unsaved-state", key="scales", inputs=X, prepare=lambda module: module.train()(X))
class ScalesThatForwardWrites(Body):
    def __init__(self) -> None:
        super().__init__()
        self.scales = array("d", [1.0, 1.0])

    def forward(self, x: Tensor) -> Tensor:
        result = self.body(x)
        if self.training:
            for index, value in enumerate(result.detach().abs().mean(0).tolist()):
                self.scales[index] = 0.5 * self.scales[index] + value
        return result / torch.tensor(self.scales.tolist())


# ------------------------------------------------------------------------------------------- compiled and exported code


class Gain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.gain = nn.Linear(4, 2), 1.0

    @torch.jit.export
    def set_gain(self, gain: float) -> None:
        self.gain = gain

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) * self.gain


class AroundAScript(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = torch.jit.script(Gain())

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


@faulty("unsaved-state", key="inner.gain", inputs=X, prepare=lambda module: module.inner.set_gain(2.0))
def attribute_of_a_script_module():
    return AroundAScript()


@correct(inputs=X)
def script_module_inside():
    return AroundAScript()


@correct(inputs=X)
def exported_program():
    """It refuses `eval()` and `train()`."""
    return torch.export.export(nn.Linear(4, 2), (X,)).module()


# -------------------------------------------------------------------------------------------------- when it is computed


class Quantiser(nn.Module):
    """Sets its codes from the first batch, and counts their use."""

    def __init__(self, *, counts_saved: bool, started: bool = False) -> None:
        super().__init__()
        self.register_buffer("started", torch.tensor(started))
        self.register_buffer("codes", torch.ones(2, 4))
        self.register_buffer("uses", torch.ones(2), persistent=counts_saved)

    def forward(self, x: Tensor) -> Tensor:
        if not self.started:
            self.codes.copy_(x)
            self.uses.fill_(1.0)
            self.started.fill_(True)
        nearest = torch.cdist(x, self.codes).argmin(1)
        if self.training:
            self.uses.mul_(0.9).add_(torch.bincount(nearest, minlength=2))
        return self.codes[nearest] / self.uses[nearest, None]


def train_twice(module: nn.Module) -> None:
    module.train()
    module(X)
    module(X + 1)


@faulty("nonpersistent-buffer", key="uses", inputs=X, prepare=train_twice)
def counts_behind_a_flag():
    return Quantiser(counts_saved=False)


@faulty("nonpersistent-buffer", key="uses", inputs=X, prepare=train_twice)
def counts_behind_a_flag_that_was_set_before():
    return Quantiser(counts_saved=False, started=True)


@correct(inputs=X, prepare=train_twice)
def counts_saved_behind_a_flag():
    return Quantiser(counts_saved=True)


def load_without_the_flag(module: nn.Module, state: dict[str, Tensor]) -> None:
    missing = module.load_state_dict({key: value for key, value in state.items() if key != "started"}, strict=False)
    if set(missing.missing_keys) - {"started"}:
        raise KeyError(missing)


@faulty("unsaved-state", key="started", inputs=X, prepare=train_twice, load_state=load_without_the_flag)
def flag_not_restored():
    return Quantiser(counts_saved=True)


@correct(inputs=X)
class AdapterMergedByEval(nn.Module):
    """`eval()` adds the adapter to the weight, and `train()` takes it out again: it is loaded in training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.merged = nn.Linear(4, 4, bias=False), False
        self.down, self.up = nn.Parameter(torch.randn(2, 4)), nn.Parameter(torch.randn(4, 2))

    def train(self, mode: bool = True) -> AdapterMergedByEval:
        super().train(mode)
        if self.merged == mode:
            self.body.weight.data += self.up @ self.down * (-1 if mode else 1)
            self.merged = not mode
        return self

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) if self.merged else self.body(x) + x @ self.down.t() @ self.up.t()


class WithDropout(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.drop = nn.Linear(4, 4), nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(self.body(x))


def save_for_release(module: nn.Module, path: str) -> None:
    module.drop = nn.Identity()
    torch.save(module.state_dict(), path)


@faulty("save-mutates", key="drop", alone=True, mode="train", save=save_for_release, inputs=X)
def dropout_taken_out_by_saving():
    return WithDropout()


def save_without_dropout(module: nn.Module, path: str) -> None:
    drop, module.drop = module.drop, nn.Identity()
    torch.save(module.state_dict(), path)
    module.drop = drop


@correct(mode="train", save=save_without_dropout, inputs=X)
def dropout_put_back_by_saving():
    return WithDropout()
