"""State that moves while a module is used, loaders that mix, names that are not the module's; each with its twin."""

# Code under test, as people write it: to type it would change it.
# mypy: ignore-errors

from __future__ import annotations

import itertools
import threading
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from tests.pytest_ckpt.cases import correct, faulty
from tests.pytest_ckpt.cases.broken_loaders import Net, load_net, read, train, write

if TYPE_CHECKING:
    from pathlib import Path

X = torch.linspace(-1.0, 1.0, 8).reshape(2, 4)


# ------------------------------------------------------------------------------------------------------ mixing loaders


def load_half(path: Path) -> Net:
    """Take the mean of what was drawn and what was read, as a warm start does."""
    module, state = Net(), read(path)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            tensor.copy_((tensor + state[name]) / 2 if tensor.is_floating_point() else state[name])
    return module


def load_without_body(path: Path) -> Net:
    module, state = Net(), read(path)
    module.load_state_dict({name: state[name] for name in state if name != "body.weight"}, strict=False)
    return module


faulty("value-changed", key="body.weight", inputs=X, prepare=train, save=write, load=load_half)(
    type("Half", (Net,), {})
)
faulty("unsaved-state", key="body.weight", inputs=X, save=write, load=load_without_body, alone=True)(
    type("Skipped", (Net,), {})
)


# --------------------------------------------------------------------------------------------- other names in the file


def save_with_a_compiled_body(module: Net, path: Path) -> None:
    torch.save({name.replace("body.", "body._orig_mod."): value for name, value in module.state_dict().items()}, path)


def load_leniently(path: Path) -> Net:
    module = Net()
    module.load_state_dict(read(path), strict=False)
    return module


def load_the_compiled_body(path: Path) -> Net:
    module = Net()
    module.load_state_dict({name.replace("_orig_mod.", ""): value for name, value in read(path).items()})
    return module


@faulty(
    "key-mismatch", key="body.weight", inputs=X, save=save_with_a_compiled_body, load=load_leniently, says="compile"
)
@correct(inputs=X, save=save_with_a_compiled_body, load=load_the_compiled_body)
class BodyCompiled(Net):
    pass


@faulty("key-mismatch", key="weight", inputs=X, alone=False, says="'encoder.'")
class Prefixed(nn.Linear):
    """Writes the names that its parent is known by, and reads its own."""

    def __init__(self) -> None:
        super().__init__(4, 4)

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        return {f"encoder.{name}": value for name, value in super().state_dict(*args, **kwargs).items()}

    def load_state_dict(self, state_dict: Any, **_kwargs: Any) -> Any:
        return super().load_state_dict(state_dict, strict=False)


@correct(inputs=X)
class PrefixedAndBack(Prefixed):
    def load_state_dict(self, state_dict: Any, **_kwargs: Any) -> Any:
        return nn.Linear.load_state_dict(self, {name.removeprefix("encoder."): v for name, v in state_dict.items()})


class OnlyModel(nn.Module):
    """Has a weight, and a child called `model` that has one too."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.model = nn.Parameter(torch.randn(4)), nn.LayerNorm(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x) * self.weight


def save_the_child(module: nn.Module, path: Path) -> None:
    torch.save({name: value for name, value in module.state_dict().items() if name != "weight"}, path)


def load_only_model(path: Path) -> OnlyModel:
    module = OnlyModel()
    module.load_state_dict(read(path), strict=False)
    return module


faulty("unsaved-state", key="weight", inputs=X, save=save_the_child, load=load_only_model, alone=True)(OnlyModel)


# ----------------------------------------------------------------------------------------------- what saving must leave


def backward(module: nn.Module) -> None:
    module(torch.randn(4, 4)).sum().backward()


def save_and_drop_gradients(module: nn.Module, path: Path) -> None:
    module.zero_grad()
    torch.save(module.state_dict(), path)


@faulty(
    "save-mutates", key="body.weight.grad", inputs=X, prepare=backward, save=save_and_drop_gradients, says="zero_grad"
)
@correct(inputs=X, prepare=backward, save=write, load=load_net)
class Accumulating(Net):
    """Is saved between two micro-batches."""


# ------------------------------------------------------------------------------------------ what loading must not touch


@faulty("input-mutated", key="_extra_state")
class TakesApart(nn.Linear):
    def __init__(self) -> None:
        super().__init__(4, 4)
        self.settings: dict[str, Any] = {"alpha": 2}

    def get_extra_state(self) -> dict[str, Any]:
        return {"version": 1, **self.settings}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        state.pop("version")
        self.settings = dict(state)


@correct()
class TakesACopyApart(TakesApart):
    def set_extra_state(self, state: dict[str, Any]) -> None:
        super().set_extra_state(dict(state))


def save_nested(module: nn.Module, path: Path) -> None:
    torch.save({"model": module.state_dict(), "epoch": 3}, path)


def pop_and_load(module: nn.Module, content: Any) -> None:
    bias = content["model"].pop("bias")
    module.load_state_dict({**content["model"], "bias": bias})


def load_nested(module: nn.Module, content: Any) -> None:
    module.load_state_dict(content["model"])


@faulty("input-mutated", key="bias", inputs=X, save=save_nested, load_state=pop_and_load, alone=True)
@correct(inputs=X, save=save_nested, load_state=load_nested)
def nested() -> nn.Module:
    return nn.Linear(4, 4)


# ----------------------------------------------------------------------------------------------------- where it is kept


class _Iterates(nn.Linear):
    def __init__(self) -> None:
        super().__init__(4, 4)
        self.steps = itertools.count(1)
        self.factors = iter([1.0, 0.5, 0.25, 0.125] * 64)


def three_times(module: nn.Module) -> None:
    for _ in range(3):
        module(X)


@faulty("unsaved-state", key="steps", inputs=X, prepare=three_times, alone=True)
class Counts(_Iterates):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) / next(self.steps)


@faulty("unsaved-state", key="factors", inputs=X, prepare=three_times, alone=True)
class Decays(_Iterates):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * next(self.factors)


@correct(inputs=X, prepare=three_times)
class CountsForTheLog(_Iterates):
    def forward(self, x: Tensor) -> Tensor:
        self.call = next(self.steps)
        return super().forward(x)


_context = threading.local()
_scratch = threading.local()


def set_gain(_module: nn.Module) -> None:
    _context.gain = 3.0


@faulty("unsaved-state", key="_context", inputs=X, prepare=set_gain, alone=True)
class GainOfThread(nn.Linear):
    def __init__(self) -> None:
        super().__init__(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * getattr(_context, "gain", 1.0)


@correct(inputs=X)
class ScratchOfThread(GainOfThread):
    def forward(self, x: Tensor) -> Tensor:
        _scratch.x = x
        return nn.Linear.forward(self, _scratch.x)


@faulty("stale-cache", key="power", inputs=X, alone=True)
class CachedPower(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4))

    @lru_cache(maxsize=8)  # noqa: B019 -- the fault: a cache that is not told of new weights
    def power(self, exponent: int) -> Tensor:
        return torch.linalg.matrix_power(self.weight.detach(), exponent)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.power(2)


@correct(inputs=X)
class CachedGrid(CachedPower):
    @staticmethod
    @lru_cache(maxsize=8)
    def power(exponent: int) -> Tensor:
        return torch.arange(16.0).reshape(4, 4) / exponent

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.power(2) @ self.weight


# ------------------------------------------------------------------------------------------- what training goes on with


def slow_down(module: nn.Module) -> None:
    module[1].momentum = 0.01


@faulty("unsaved-state", key="1.momentum", inputs=X, prepare=slow_down, mode="train", alone=True)
@correct(inputs=X, prepare=slow_down, mode="eval")
@correct(inputs=X, prepare=train, mode="train")
def normed() -> nn.Module:
    """Give a module whose running statistics follow a momentum that a schedule may set."""
    return nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
