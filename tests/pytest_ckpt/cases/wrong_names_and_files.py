"""Loaders that mangle names, mix entries up, or take what is no checkpoint; and right ones beside them."""

# Code under test, as people write it: to type it would change it.
# mypy: ignore-errors

from __future__ import annotations

import json
import pickle
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 -- as everybody does
from torch import Tensor, nn

from tests.pytest_ckpt.cases import correct, faulty
from tests.pytest_ckpt.cases.broken_loaders import Net, X, load_net, read, train, write

if TYPE_CHECKING:
    from pathlib import Path

TRAINED = {"inputs": X, "prepare": train}
EVERY = tuple(Net().state_dict())

# ---------------------------------------------------------------------------------------------------------------- names


def load_seven_letters_shorter(path: Path) -> Net:
    module = Net()
    module.load_state_dict({key[7:]: value for key, value in read(path).items()}, strict=False)
    return module


@faulty("key-mismatch", key=EVERY, load=load_seven_letters_shorter, **TRAINED)
def cuts_a_prefix_that_is_not_there() -> nn.Module:
    return Net()


def load_without_prefix(path: Path) -> Net:
    module = Net()
    module.load_state_dict({key.removeprefix("module."): value for key, value in read(path).items()}, strict=False)
    return module


@faulty("strictness", key=("body.weight", "extra"), load=load_without_prefix, **TRAINED)
def cuts_a_prefix_if_it_is_there() -> nn.Module:
    return Net()


class Attention(nn.Module):
    """Three projections of one shape."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(4, 4, bias=False) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        return torch.softmax(self.q(x) @ self.k(x).T, dim=-1) @ self.v(x)


def save_in_one(module: Attention, path: Path) -> None:
    torch.save({"in_proj": torch.cat([module.q.weight, module.k.weight, module.v.weight])}, path)


def load_in_order(names: str):
    def load(path: Path) -> Attention:
        module = Attention()
        parts = read(path)["in_proj"].chunk(3)
        module.load_state_dict({f"{name}.weight": part for name, part in zip(names, parts, strict=True)})
        return module

    return load


@faulty("value-changed", key=("q.weight", "k.weight"), inputs=X, save=save_in_one, load=load_in_order("kqv"))
def takes_keys_for_queries() -> nn.Module:
    return Attention()


@correct(inputs=X, save=save_in_one, load=load_in_order("qkv"))
def takes_the_parts_in_order() -> nn.Module:
    return Attention()


class Flat(nn.Module):
    """Two entries whose names differ in a dot."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.a_b = nn.Module(), nn.Parameter(torch.randn(4))
        self.a.b = nn.Parameter(torch.randn(4))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.a.b + self.a_b


def archive(dot: str):
    def save(module: nn.Module, path: Path) -> None:
        with path.open("wb") as file:
            np.savez(file, **{key.replace(".", dot): value.numpy() for key, value in module.state_dict().items()})

    def load(path: Path) -> nn.Module:
        module, arrays = Flat(), np.load(path)
        module.load_state_dict({key: torch.from_numpy(arrays[key.replace(".", dot)]) for key in module.state_dict()})
        return module

    return {"save": save, "load": load}


@faulty("key-collision", key="a_b", inputs=X, **archive("_"))
def underscores_for_dots_in_an_archive() -> nn.Module:
    return Flat()


@correct(inputs=X, **archive("__"))
def two_underscores_for_dots_in_an_archive() -> nn.Module:
    return Flat()


class SavesHalf(nn.Linear):
    """Saves its weight alone, and asks for its bias too."""

    def __init__(self) -> None:
        super().__init__(4, 2)

    def _save_to_state_dict(self, destination, prefix, keep_vars) -> None:
        destination[f"{prefix}weight"] = self.weight if keep_vars else self.weight.detach()


faulty("not-loadable", key="bias", inputs=X, alone=True)(SavesHalf)


# --------------------------------------------------------------------------------------------------------------- values


def save_in_eight_bits(module: nn.Module, path: Path) -> None:
    state = {}
    for key, value in module.state_dict().items():
        scale = value.abs().max() / 127 if value.dim() > 1 else None
        state[key] = value if scale is None else ((value / scale).round().to(torch.int8), scale)
    torch.save(state, path)


def load_from_eight_bits(path: Path) -> Net:
    module = Net()
    parts = read(path)
    module.load_state_dict({key: part[0] * part[1] if isinstance(part, tuple) else part for key, part in parts.items()})
    return module


@faulty(
    "value-changed",
    key=("body.weight", "head.weight"),
    save=save_in_eight_bits,
    load=load_from_eight_bits,
    alone=True,
    **TRAINED,
)
def eight_bits_for_storage() -> nn.Module:
    return Net()


def load_with_stride_of_one(path: Path) -> nn.Module:
    module = nn.Conv1d(1, 2, 3)
    module.load_state_dict(read(path))
    return module


def load_with_stride_of_two(path: Path) -> nn.Module:
    module = nn.Conv1d(1, 2, 3, stride=2)
    module.load_state_dict(read(path))
    return module


@faulty("config-lost", key="stride", inputs=torch.randn(2, 1, 9), load=load_with_stride_of_one)
def built_with_another_stride() -> nn.Module:
    return nn.Conv1d(1, 2, 3, stride=2)


@correct(inputs=torch.randn(2, 1, 9), load=load_with_stride_of_two)
def built_with_its_stride() -> nn.Module:
    return nn.Conv1d(1, 2, 3, stride=2)


class Activated(nn.Linear):
    """Takes its activation as a function."""

    def __init__(self, activation=F.relu) -> None:
        super().__init__(4, 4)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(super().forward(x))


def load_with_the_default(path: Path) -> nn.Module:
    module = Activated()
    module.load_state_dict(read(path))
    return module


@faulty("config-lost", key="activation", inputs=X, load=load_with_the_default)
def built_with_another_function() -> nn.Module:
    return Activated(F.gelu)


class Index(nn.Module):
    """Searches in an array that was copied from the embedding when it was built."""

    def __init__(self, *, renews: bool) -> None:
        super().__init__()
        self.embedding = nn.Embedding(9, 4)
        self._build()
        if renews:
            self.register_load_state_dict_post_hook(lambda module, _keys: module._build())

    def _build(self) -> None:
        self.index = self.embedding.weight.detach().numpy().copy()

    def forward(self, x: Tensor) -> Tensor:
        return torch.from_numpy(x.numpy() @ self.index.T)


@faulty("stale-cache", key="index", inputs=X, alone=True)
def index_of_the_first_weights() -> nn.Module:
    return Index(renews=False)


@correct(inputs=X)
def index_renewed_by_loading() -> nn.Module:
    return Index(renews=True)


# -------------------------------------------------------------------------------------------------------------- buffers


def load_parameters_strictly(path: Path) -> Net:
    module, state = Net(), read(path)
    lost = [name for name, _ in module.named_parameters() if name not in state]
    if lost or state.keys() - module.state_dict().keys():
        raise KeyError(lost)
    module.load_state_dict({**module.state_dict(), **state})
    return module


@faulty("strictness", key="norm.running_mean", load=load_parameters_strictly, alone=True, **TRAINED)
def strict_about_parameters_alone() -> nn.Module:
    return Net()


def load_with_a_default(path: Path) -> Net:
    module, state = Net(), read(path)
    state.setdefault("norm.running_mean", torch.zeros(4))
    module.load_state_dict(state)
    return module


@correct(load=load_with_a_default, **TRAINED)
def fills_one_buffer_of_old_checkpoints() -> nn.Module:
    return Net()


# -------------------------------------------------------------------------------------------------------- damaged files


def load_unless_empty(path: Path) -> Net:
    return load_net(path) if path.stat().st_size else Net()


@faulty("corrupt-accepted", key="load(path)", load=load_unless_empty, alone=True, **TRAINED)
def begins_anew_with_an_empty_file() -> nn.Module:
    return Net()


def load_unless_unpicklable(path: Path) -> Net:
    try:
        return load_net(path)
    except pickle.UnpicklingError:
        return Net()


@faulty("corrupt-accepted", key="load(path)", load=load_unless_unpicklable, alone=True, **TRAINED)
def begins_anew_with_a_web_page() -> nn.Module:
    return Net()


def load_unless_a_record_is_gone(path: Path) -> Net:
    try:
        return load_net(path)
    except RuntimeError as error:
        if "failed locating file" in str(error):
            return Net()
        raise


@faulty("corrupt-accepted", key="load(path)", load=load_unless_a_record_is_gone, alone=True, **TRAINED)
def begins_anew_without_a_record() -> nn.Module:
    return Net()


def save_folder(module: nn.Module, path: Path) -> None:
    path.mkdir()
    write(module, path / "weights.pt")
    (path / "config.json").write_text(json.dumps({"width": 4}))


def load_folder_or_begin_anew(path: Path) -> Net:
    try:
        return load_net(path / "weights.pt")
    except Exception:  # noqa: BLE001 -- the fault
        return Net()


def load_folder(path: Path) -> Net:
    return load_net(path / "weights.pt")


@faulty("corrupt-accepted", key="load(path)", save=save_folder, load=load_folder_or_begin_anew, **TRAINED)
def begins_anew_with_a_damaged_folder() -> nn.Module:
    return Net()


@correct(save=save_folder, load=load_folder, **TRAINED)
def a_folder_with_weights_and_settings() -> nn.Module:
    return Net()


def pickled(protocol: int):
    def save(module: nn.Module, path: Path) -> None:
        path.write_bytes(pickle.dumps(module, protocol))

    return save


def unpickle(path: Path) -> nn.Module:
    return pickle.loads(path.read_bytes())


NET = f"{Net.__module__}.{Net.__qualname__}"


@faulty("pickled-module", key=NET, save=pickled(4), load=unpickle, devices=["cpu"], alone=True, **TRAINED)
def pickled_without_torch() -> nn.Module:
    return Net()


@faulty("pickled-module", key=NET, save=pickled(2), load=unpickle, devices=["cpu"], alone=True, **TRAINED)
def pickled_without_torch_by_an_old_protocol() -> nn.Module:
    return Net()


def pickle_arrays(module: nn.Module, path: Path) -> None:
    path.write_bytes(pickle.dumps({key: value.numpy() for key, value in module.state_dict().items()}))


def unpickle_arrays(path: Path) -> Net:
    module = Net()
    arrays = pickle.loads(path.read_bytes())
    module.load_state_dict({key: torch.from_numpy(np.asarray(array)) for key, array in arrays.items()})
    return module


@correct(save=pickle_arrays, load=unpickle_arrays, **TRAINED)
def pickled_arrays() -> nn.Module:
    return Net()
