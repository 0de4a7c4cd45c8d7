"""Loaders that take whatever they are given, and savers that write the wrong thing."""

# Code under test, as people write it: to type it would change it.
# mypy: ignore-errors

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from tests.pytest_ckpt.cases import faulty
from tests.pytest_ckpt.cases.broken_loaders import TRAINED, Net, load_leniently, read, write
from tests.pytest_ckpt.cases.lenient_on_purpose import fitting

if TYPE_CHECKING:
    from pathlib import Path

X = torch.linspace(-1.0, 1.0, 8).reshape(2, 4)
EVERY = tuple(Net().state_dict())


@faulty("strictness", key=EVERY, load=load_leniently, **TRAINED)
def result_thrown_away():
    return Net()


def load_filtered(path: Path) -> Net:
    module = Net()
    module.load_state_dict(fitting(module, read(path)), strict=False)
    return module


@faulty("strictness", key=EVERY, load=load_filtered, **TRAINED)
def only_what_fits():
    return Net()


def load_own_updated(path: Path) -> Net:
    module = Net()
    own = module.state_dict()
    own.update(fitting(module, read(path)))
    module.load_state_dict(own)
    return module


@faulty("strictness", key=EVERY, load=load_own_updated, **TRAINED)
def own_state_updated():
    return Net()


def load_by_loop(path: Path) -> Net:
    module, state = Net(), read(path)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if name in state:
                tensor.copy_(state[name])
    return module


@faulty("strictness", key=EVERY, load=load_by_loop, **TRAINED)
def loop_over_what_is_there():
    return Net()


def load_state_by_get(module: nn.Module, state: Any) -> None:
    for name, tensor in module.state_dict().items():
        tensor.copy_(state.get(name, tensor))


@faulty("strictness", key=EVERY, load_state=load_state_by_get, **TRAINED)
def default_of_get():
    return Net()


def save_by_other_names(module: nn.Module, path: Path) -> None:
    torch.save({name.replace("body.", "trunk."): value for name, value in module.state_dict().items()}, path)


@faulty("key-mismatch", key="body.weight", says="rename it when loading", save=save_by_other_names, load=load_leniently)
def names_of_an_older_release():
    return Net()


def load_state_by_copying(module: nn.Module, state: Any) -> None:
    """Asks for every name, and for no shape: `copy_` spreads what is smaller."""
    own = module.state_dict()
    if own.keys() != state.keys():
        raise KeyError(*(own.keys() ^ state.keys()))
    for name, tensor in own.items():
        tensor.copy_(state[name])


@faulty("shape-changed", key=EVERY, alone=True, load_state=load_state_by_copying, **TRAINED)
def shapes_not_asked_for():
    return Net()


def load_cheerfully(path: Path) -> Net:
    """Says that all went well, whatever happened."""
    module = Net()
    module.load_state_dict(read(path), strict=False)
    logging.getLogger(__name__).info("checkpoint %s loaded", path.name)
    print("weights loaded, nothing skipped")  # noqa: T201 -- many loaders do
    return module


@faulty("strictness", key=EVERY, load=load_cheerfully, **TRAINED)
def cheerful_message():
    return Net()


@faulty("strictness", key=("body.weight", "head.weight", "head.bias"), inputs=X)
class HookEmptiesMissingKeys(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(4, 4), nn.Linear(4, 2)
        self.register_load_state_dict_post_hook(lambda _module, keys: keys.missing_keys.clear())

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


@faulty("strictness", key=("body.weight", "head.weight", "head.bias"), inputs=X)
class OverrideIsNeverStrict(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(4, 4), nn.Linear(4, 2)

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> None:
        super().load_state_dict(state_dict, strict=False, assign=assign)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


@faulty("strictness", key=("body.weight", "head.weight", "head.bias"), inputs=X)
class FillsInFromItself(nn.Module):
    """A pre-hook completes every checkpoint with the module's own values."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(4, 4), nn.Linear(4, 2)
        self.register_load_state_dict_pre_hook(self._complete)

    @staticmethod
    def _complete(module: nn.Module, state: Any, prefix: str, *_rest: Any) -> None:
        for name, tensor in module.named_parameters():
            state.setdefault(prefix + name, tensor.detach())

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


def load_suppressed(path: Path) -> Net:
    module = Net()
    with contextlib.suppress(RuntimeError):
        module.load_state_dict(read(path))
    return module


@faulty("half-loaded", key=EVERY, load=load_suppressed, **TRAINED)
def error_suppressed():
    return Net()


def load_logged(path: Path) -> Net:
    module = Net()
    try:
        module.load_state_dict(read(path))
    except RuntimeError as error:
        logging.getLogger(__name__).warning("could not load all weights: %s", error)
    return module


@faulty("half-loaded", key=EVERY, load=load_logged, **TRAINED)
def error_logged():
    return Net()


def load_part_by_part(path: Path) -> Net:
    """Loads each child by itself, and skips those that do not want to."""
    module, state = Net(), read(path)
    for name, child in module.named_children():
        part = {key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(f"{name}.")}
        with contextlib.suppress(RuntimeError, KeyError):
            child.load_state_dict(part)
    return module


@faulty("half-loaded", "strictness", key=EVERY, load=load_part_by_part, **TRAINED)
def errors_suppressed_part_by_part():
    return Net()


def load_or_start_anew(path: Path) -> Net:
    module = Net()
    try:
        module.load_state_dict(read(path))
    except (RuntimeError, OSError, EOFError, ValueError):
        return Net()
    return module


@faulty("corrupt-accepted", "half-loaded", key=("load(path)", *EVERY), load=load_or_start_anew, **TRAINED)
def starts_anew_without_a_word():
    return Net()


class KeepsFirstState:
    """Asks for the state once and writes copies of it ever after."""

    def __init__(self) -> None:
        self.states: dict[int, Any] = {}

    def __call__(self, module: nn.Module, path: Path) -> None:
        state = {key: value.clone() for key, value in module.state_dict().items()}
        torch.save(self.states.setdefault(id(module), state), path)


@faulty("stale-save", key=EVERY, save=KeepsFirstState(), **TRAINED)
def first_state_saved_ever_after():
    return Net()


@faulty("stale-save", key=("weight", "bias"), inputs=X)
class CachedStateDict(nn.Linear):
    def __init__(self) -> None:
        super().__init__(4, 2)
        self._cached = None

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        if self._cached is None:
            state = super().state_dict(*args, **kwargs)
            self._cached = type(state)((key, value.clone()) for key, value in state.items())
        return self._cached


@faulty("storage-bloat", key="rows", inputs=X)
class RowsOfALargeTable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("rows", torch.randn(4000, 4)[:4])

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.rows


@faulty("storage-bloat", key="prototypes", inputs=X, prepare=lambda module: module.pick())
class PrototypesCutFromABank(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("prototypes", torch.zeros(3, 4))

    def pick(self) -> None:
        bank = torch.randn(5000, 4)
        self.prototypes = bank.narrow(0, 100, 3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cdist(x, self.prototypes)


@faulty("storage-bloat", key="head.weight", inputs=X)
class HeadCutFromALargerOne(nn.Module):
    """Keeps the first classes of a large pretrained head."""

    def __init__(self) -> None:
        super().__init__()
        large = nn.Linear(4, 3000)
        self.head = nn.Linear(4, 5, bias=False)
        self.head.weight = nn.Parameter(large.weight.data[:5])

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x)


def load_whole(path: Path) -> nn.Module:
    return torch.load(path, map_location="cpu", weights_only=False)


@faulty("pickled-module", says=" classes", key=f"{Net.__module__}.Net", save=torch.save, load=load_whole, **TRAINED)
def whole_module_pickled():
    return Net()


def save_record_with_module(module: nn.Module, path: Path) -> None:
    torch.save({"model": module, "epoch": 3}, path)


def load_from_record(path: Path) -> nn.Module:
    return load_whole(path)["model"]


@faulty("pickled-module", key=f"{Net.__module__}.Net", save=save_record_with_module, load=load_from_record, **TRAINED)
def module_in_a_record():
    return Net()


def load_mapped(path: Path) -> Net:
    with torch.device("meta"):
        module = Net()
    module.load_state_dict(torch.load(path, map_location="cpu", mmap=True, weights_only=True), assign=True)
    return module


@faulty("aliasing", key=EVERY, save=write, load=load_mapped, **TRAINED)
def mapped_model_follows_the_file():
    return Net()


def load_or_nothing(path: Path) -> Net:
    """Starts anew where the file cannot be read; whatever it holds must fit."""
    module = Net()
    try:
        state = read(path)
    except Exception:  # noqa: BLE001 -- that nothing gets through is the fault
        return module
    module.load_state_dict(state)
    return module


@faulty("corrupt-accepted", key="load(path)", alone=True, load=load_or_nothing, **TRAINED)
def damage_taken_for_a_first_start():
    return Net()


def norms() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.BatchNorm1d(4))


def load_all_but(*skipped: str) -> Any:
    """Give a loader that forgets some entries, which in a fresh module hold what was saved."""

    def load(path: Path) -> nn.Module:
        module = norms()
        module.load_state_dict({key: value for key, value in read(path).items() if key not in skipped}, strict=False)
        return module

    return load


@faulty("unsaved-state", key="1.weight", inputs=X, load=load_all_but("1.weight"))
def ones_never_loaded():
    return norms()


@faulty("unsaved-state", key="2.bias", inputs=X, load=load_all_but("2.bias"))
def zeros_never_loaded():
    return norms()


@faulty("unsaved-state", key="2.num_batches_tracked", inputs=X, load=load_all_but("2.num_batches_tracked"))
def counter_never_loaded():
    return norms()
