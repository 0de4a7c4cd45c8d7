"""Loaders and savers that tolerate, repair, report or fall back, and are right to."""

# Code under test, as people write it: to type it would change it.
# mypy: ignore-errors

from __future__ import annotations

import hashlib
import logging
import shutil
import sys
import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from tests.pytest_ckpt.cases import correct
from tests.pytest_ckpt.cases.broken_loaders import TRAINED, Net, read, write

if TYPE_CHECKING:
    from pathlib import Path

X = torch.linspace(-1.0, 1.0, 8).reshape(2, 4)


def fitting(module: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give the entries that the module has in the same shape."""
    own = module.state_dict()
    return {key: value for key, value in state.items() if key in own and own[key].shape == value.shape}


# ------------------------------------------------------------------------------------------------- lenient, and says so


def load_and_exit(path: Path) -> Net:
    """A command line tool's loader: it ends the process with a message."""
    module, state = Net(), read(path)
    if fitting(module, state).keys() != module.state_dict().keys():
        sys.exit(f"{path.name} does not fit")
    module.load_state_dict(state)
    return module


@correct(load=load_and_exit, **TRAINED)
def exits_with_a_message():
    return Net()


QUIET = logging.getLogger("pytest_ckpt_cases.quiet")
QUIET.propagate = False
QUIET.addHandler(logging.NullHandler())


def load_logging_apart(path: Path) -> Net:
    """Logs through a library's logger, which does not propagate to the root."""
    module, state = Net(), read(path)
    kept = fitting(module, state)
    result = module.load_state_dict(kept, strict=False)
    if result.missing_keys:
        QUIET.warning("Some weights were not initialized from the checkpoint: %s", result.missing_keys)
    return module


@correct(load=load_logging_apart, **TRAINED)
def logs_to_a_logger_of_its_own():
    return Net()


def load_counting(path: Path) -> Net:
    module, state = Net(), read(path)
    kept = fitting(module, state)
    module.load_state_dict(kept, strict=False)
    print(f"loaded {len(kept)}/{len(module.state_dict())} tensors")  # noqa: T201 -- many loaders do
    return module


@correct(load=load_counting, **TRAINED)
def prints_how_many():
    return Net()


def load_warning(path: Path) -> Net:
    module, state = Net(), read(path)
    kept = fitting(module, state)
    module.load_state_dict(kept, strict=False)
    for key in module.state_dict().keys() - kept.keys():
        warnings.warn(f"{key} starts from its initialisation", stacklevel=2)
    return module


@correct(load=load_warning, **TRAINED)
def warns_by_name():
    return Net()


def load_state_returning(module: nn.Module, state: Any) -> list[str]:
    kept = fitting(module, state)
    module.load_state_dict(kept, strict=False)
    return sorted(module.state_dict().keys() - kept.keys())


@correct(load_state=load_state_returning, **TRAINED)
def returns_what_is_missing_as_a_list():
    return Net()


def load_state_returning_count(module: nn.Module, state: Any) -> bool:
    kept = fitting(module, state)
    module.load_state_dict(kept, strict=False)
    return len(kept) == len(module.state_dict())


@correct(load_state=load_state_returning_count, **TRAINED)
def returns_whether_all_went_well():
    return Net()


@correct(inputs=X)
class ReturnsIncompatibleKeys(nn.Module):
    """Lenient by default, with the result handed on."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(4, 4), nn.Linear(4, 2)

    def load_state_dict(self, state_dict: Any, strict: bool = False, assign: bool = False) -> Any:
        return super().load_state_dict(state_dict, strict=strict, assign=assign)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


# ------------------------------------------------------------------------------------------------ tolerates what is new


@correct(inputs=X)
class NewScalesAtBothEnds(nn.Module):
    """Checkpoints from before the two scales load with their defaults; all else is strict."""

    def __init__(self) -> None:
        super().__init__()
        self.before = nn.Parameter(torch.ones(4))
        self.body = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
        self.after = nn.Parameter(torch.ones(4))
        self.register_load_state_dict_post_hook(self._forgive)

    @staticmethod
    def _forgive(_module: nn.Module, keys: Any) -> None:
        keys.missing_keys[:] = [key for key in keys.missing_keys if key not in {"before", "after"}]

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x * self.before) * self.after


@correct(inputs=X)
class DefaultForOldCheckpoints(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.scale = nn.Linear(4, 4), nn.Parameter(torch.full((4,), 0.5))
        self.register_load_state_dict_pre_hook(self._default)

    @staticmethod
    def _default(module: nn.Module, state: Any, prefix: str, *_rest: Any) -> None:
        state.setdefault(f"{prefix}scale", torch.full((4,), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x) * self.scale


@correct(inputs=X)
class OldHeadDropped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.register_load_state_dict_pre_hook(self._drop)

    @staticmethod
    def _drop(_module: nn.Module, state: Any, prefix: str, *_rest: Any) -> None:
        for key in [key for key in state if key.startswith(f"{prefix}auxiliary.")]:
            del state[key]

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x)


@correct(inputs=X)
class LayerScaleAlone(nn.Module):
    """One parameter, for which old checkpoints have nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((4,), 1e-2))

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        state_dict.setdefault(f"{prefix}gamma", torch.full((4,), 1e-2))
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


def load_either_layout(path: Path) -> Net:
    """Tries today's names, then those of the first release."""
    module, state = Net(), read(path)
    try:
        module.load_state_dict(state)
    except RuntimeError:
        module.load_state_dict({key.replace("trunk.", "body."): value for key, value in state.items()})
    return module


def save_old_layout(module: nn.Module, path: Path) -> None:
    torch.save({key.replace("body.", "trunk."): value for key, value in module.state_dict().items()}, path)


@correct(load=load_either_layout, **TRAINED)
def second_layout_tried():
    return Net()


@correct(save=save_old_layout, load=load_either_layout, **TRAINED)
def second_layout_needed():
    return Net()


# --------------------------------------------------------------------------------------- takes its shapes from the file


def load_store(path: Path) -> nn.Module:
    return nn.ParameterDict({name: nn.Parameter(value) for name, value in read(path).items()})


@correct(load=load_store)
def store_of_whatever_is_in_the_file():
    return nn.ParameterDict({"king": nn.Parameter(torch.randn(4)), "queen": nn.Parameter(torch.randn(2, 3))})


def load_lazily(path: Path) -> nn.Module:
    module = nn.Sequential(nn.LazyLinear(3), nn.ReLU(), nn.LazyLinear(2))
    module.load_state_dict(read(path))
    return module


@correct(inputs=X, load=load_lazily)
def lazy_module_shaped_by_the_file():
    return nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))


@correct(inputs=torch.tensor([0, 3]))
class TableOfAnySize(nn.Module):
    """Takes a table of another number of rows, as a vocabulary that has grown."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(5, 4))

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        value = state_dict.get(f"{prefix}weight")
        if value is not None and value.shape != self.weight.shape:
            self.weight = nn.Parameter(torch.empty_like(value), self.weight.requires_grad)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.weight[tokens]


def load_measured(path: Path) -> nn.Module:
    """Builds the module in the sizes that the file has."""
    state = read(path)
    module = nn.Linear(state["weight"].shape[-1], state["weight"].shape[0])
    module.load_state_dict(state)
    return module


@correct(inputs=X, load=load_measured)
def sizes_read_from_the_file():
    return nn.Linear(4, 3)


# ---------------------------------------------------------------------------------------------- falls back, and rightly


def save_with_backup(module: nn.Module, path: Path) -> None:
    write(module, path)
    shutil.copy(path, path.with_suffix(".bak"))


def load_or_backup(path: Path) -> Net:
    module = Net()
    try:
        state = read(path)
    except Exception:  # noqa: BLE001 -- whatever is wrong with it, there is another
        state = read(path.with_suffix(".bak"))
    module.load_state_dict(state)
    return module


@correct(save=save_with_backup, load=load_or_backup, **TRAINED)
def backup_beside_the_file():
    return Net()


def save_with_digest(module: nn.Module, path: Path) -> None:
    write(module, path)
    path.with_suffix(".sha256").write_text(hashlib.sha256(path.read_bytes()).hexdigest(), encoding="utf-8")


def load_with_digest(path: Path) -> Net:
    wanted = path.with_suffix(".sha256").read_text(encoding="utf-8")
    if hashlib.sha256(path.read_bytes()).hexdigest() != wanted:
        raise OSError("the file is damaged")
    module = Net()
    module.load_state_dict(read(path))
    return module


@correct(save=save_with_digest, load=load_with_digest, **TRAINED)
def digest_beside_the_file():
    return Net()


class BestOnly:
    """Writes only what is better than all before."""

    def __init__(self) -> None:
        self.best = float("inf")

    def __call__(self, module: nn.Module, path: Path) -> None:
        loss = float(sum(tensor.detach().float().abs().sum() for tensor in module.parameters()))
        if loss < self.best or not list(path.parent.iterdir()):
            self.best = loss
            write(module, path)


@correct(save=BestOnly(), **TRAINED)
def saves_the_best_only():
    return Net()


# ------------------------------------------------------------------------------------------------ saved in another form


@correct(inputs=X)
class TernarySaved(nn.Module):
    """Weights of -1, 0 and 1, which its state_dict holds to."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randint(-1, 2, (4, 4)).float())

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        state = super().state_dict(*args, **kwargs)
        state["weight"] = state["weight"].clamp(-1, 1).round()
        return state

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight


def save_codes(module: nn.Module, path: Path) -> None:
    torch.save({"weight": module.weight.detach().clamp(-1, 1).round().to(torch.int8)}, path)


def load_codes(path: Path) -> nn.Module:
    module = TernarySaved()
    module.load_state_dict({"weight": read(path)["weight"].float()})
    return module


@correct(inputs=X, save=save_codes, load=load_codes)
def ternary_file():
    return TernarySaved()


@correct(inputs=X)
class LargeViewsOfOneBuffer(nn.Module):
    """All that is in the memory is shown by some entry."""

    def __init__(self) -> None:
        super().__init__()
        flat = torch.randn(3, 4, 600)
        self.first, self.second, self.third = (nn.Parameter(part) for part in flat)

    def forward(self, x: Tensor) -> Tensor:
        return x @ (self.first + self.second + self.third)


@correct(inputs=X)
class ExpandedBuffer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.register_buffer("position_ids", torch.arange(512).expand(1, -1))
        self.register_buffer("mask", torch.ones(64, 64, dtype=torch.bool).tril().view(1, 1, 64, 64))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x) * self.mask[0, 0, :2, :4] + self.position_ids[0, :4]


def save_small_part(module: nn.Module, path: Path) -> None:
    torch.save({key: value.clone() for key, value in module.state_dict().items()}, path)


@correct(inputs=X, save=save_small_part)
class RowsOfALargeTable(nn.Module):
    """Uses a few rows of a table; its save function clones them."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("rows", torch.randn(4000, 4)[:4])

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.rows
