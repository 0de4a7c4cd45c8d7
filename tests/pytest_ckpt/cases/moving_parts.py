"""State that moves while a module is used, loaders that mix, names that are not the module's; each with its twin."""

# Code under test, as people write it: to type it would change it.
# mypy: ignore-errors

from __future__ import annotations

import itertools
import threading
import weakref
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
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


faulty("value-changed", key="body.weight", inputs=X, prepare=train, save=write, load=load_half, says="mixed")(
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
    _context.gain = getattr(_context, "gain", 1.0) + 2.0


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


# --------------------------------------------------------------------------------- a model in use that gets new weights


@faulty("stale-cache", key="fused", inputs=X, alone=True)
class FusedByEval(nn.Module):
    """Fuses two branches when it is put into eval mode, as re-parametrised networks do."""

    def __init__(self) -> None:
        super().__init__()
        self.main, self.side = nn.Linear(4, 4), nn.Linear(4, 4)
        self.fused = None

    def fuse(self) -> None:
        self.fused = None if self.training else (self.main.weight + self.side.weight).detach()

    def train(self, mode: bool = True) -> nn.Module:
        super().train(mode)
        self.fuse()
        return self

    def forward(self, x: Tensor) -> Tensor:
        return self.main(x) + self.side(x) if self.training else x @ self.fused.T + self.main.bias + self.side.bias


@correct(inputs=X)
class FusedByEvalAndLoading(FusedByEval):
    def __init__(self) -> None:
        super().__init__()
        self.register_load_state_dict_post_hook(lambda module, _keys: module.fuse())


# ------------------------------------------------------------------------------------------ more that saving must leave


class _Hooked(nn.Linear):
    def __init__(self) -> None:
        super().__init__(4, 4)
        self.register_forward_hook(lambda _module, _args, output: output.relu())


def load_hooked(path: Path) -> _Hooked:
    module = _Hooked()
    module.load_state_dict(read(path))
    return module


def save_without_hooks(module: nn.Module, path: Path) -> None:
    module._forward_hooks.clear()
    write(module, path)


def save_with_hooks_off(module: nn.Module, path: Path) -> None:
    hooks = dict(module._forward_hooks)
    module._forward_hooks.clear()
    write(module, path)
    module._forward_hooks.update(hooks)


@faulty("save-mutates", key="_forward_hooks", inputs=X, save=save_without_hooks, load=load_hooked, alone=True)
@correct(inputs=X, save=save_with_hooks_off, load=load_hooked)
class Hooked(_Hooked):
    pass


# ---------------------------------------------------------------------------------------------- what all have in common


def append(module: nn.Module) -> None:
    module.shifts.append(1.5)


@faulty("unsaved-state", key="shifts", inputs=X, prepare=append, alone=True)
class SharesItsDefault(nn.Linear):
    def __init__(self, shifts: list[float] = []) -> None:  # noqa: B006 -- the fault: one list for all instances
        super().__init__(4, 4)
        self.shifts = shifts

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + sum(self.shifts)


@correct(inputs=X)
class NeverChangesItsDefault(SharesItsDefault):
    def __init__(self, shifts: list[float] = [0.5]) -> None:  # noqa: B006 -- it is only read
        super().__init__(shifts)


def save_arrays(module: nn.Module, path: Path) -> None:
    path.mkdir(exist_ok=True)
    for name, tensor in module.state_dict().items():
        np.save(path / f"{name}.npy", tensor.numpy())


def load_mapped(path: Path) -> nn.Module:
    module = nn.Linear(4, 4)
    for name, parameter in module.named_parameters():
        parameter.data = torch.from_numpy(np.load(path / f"{name}.npy", mmap_mode="r+"))
    return module


def load_arrays(path: Path) -> nn.Module:
    module = nn.Linear(4, 4)
    module.load_state_dict({file.stem: torch.from_numpy(np.load(file, mmap_mode="r+")) for file in path.iterdir()})
    return module


@faulty("aliasing", key="weight", inputs=X, save=save_arrays, load=load_mapped)
@correct(inputs=X, save=save_arrays, load=load_arrays)
def of_a_folder() -> nn.Module:
    return nn.Linear(4, 4)


# --------------------------------------------------------------------------------------- kept outside, module by module

_gain_of = weakref.WeakKeyDictionary()
_names_of = {}


def keep_a_gain(module: nn.Module) -> None:
    _gain_of[module] = 3.0


def keep_a_gain_by_id(module: nn.Module) -> None:
    _names_of[id(module)] = 3.0


@faulty("unsaved-state", key="_gain_of", inputs=X, prepare=keep_a_gain, alone=True)
class KeptByModule(nn.Linear):
    def __init__(self) -> None:
        super().__init__(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * _gain_of.get(self, 1.0)


@faulty("unsaved-state", key="_names_of", inputs=X, prepare=keep_a_gain_by_id, alone=True)
class KeptById(KeptByModule):
    def forward(self, x: Tensor) -> Tensor:
        return nn.Linear.forward(self, x) * _names_of.get(id(self), 1.0)


@correct(inputs=X)
class KeptForTheLog(KeptByModule):
    def forward(self, x: Tensor) -> Tensor:
        _gain_of[self] = x.mean().item()
        return nn.Linear.forward(self, x)


# -------------------------------------------------------------------------------------- what the constructor counts out


class _Positions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(8, 4)
        self.register_buffer("position_ids", torch.arange(8))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.table(self.position_ids[: len(x)])


def load_without_positions(path: Path) -> _Positions:
    state = read(path)
    del state["position_ids"]
    module = _Positions()
    missing, unexpected = module.load_state_dict(state, strict=False)
    assert set(missing) <= {"position_ids"}
    assert not unexpected
    return module


def turn_positions(module: nn.Module) -> None:
    module.position_ids.copy_(module.position_ids.flip(0))


@correct(inputs=X, save=write, load=load_without_positions)
@faulty("unsaved-state", key="position_ids", inputs=X, prepare=turn_positions, save=write, load=load_without_positions)
class Positions(_Positions):
    pass


def write_and_reset_the_scale(module: ScaledAndShifted, path: Path) -> None:
    torch.save(module.state_dict(), path)
    module.scale = 1.0


@faulty("unsaved-state", key="shift", inputs=X, save=write_and_reset_the_scale)
class ScaledAndShifted(nn.Module):
    """Saving changes one of two numbers, which is a matter of its own; the other is lost all the same."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.scale, self.shift = nn.Linear(4, 4), 1.5, torch.randn(())

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x) * self.scale + self.shift
