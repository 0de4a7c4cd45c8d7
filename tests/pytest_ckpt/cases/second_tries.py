"""Loaders that drop what the constructor makes again, try once more, or speak below the level that is set."""

# Code under test, as people write it: to type it would change it.
# mypy: ignore-errors

from __future__ import annotations

import json
import logging
import sys
import warnings
import zipfile
from io import BytesIO
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tests.pytest_ckpt.cases import correct, faulty
from tests.pytest_ckpt.cases.broken_loaders import TRAINED, Net, read
from tests.pytest_ckpt.cases.lenient_on_purpose import fitting

if TYPE_CHECKING:
    from pathlib import Path

X = torch.linspace(-1.0, 1.0, 8).reshape(2, 4)
LOG = logging.getLogger("pytest_ckpt_cases.second_tries")


# ------------------------------------------------------------------------------------- what the constructor makes again


class Windows(nn.Module):
    """Attention within windows: an index table and a mask in persistent buffers, both made by the constructor."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.bias = nn.Linear(4, 4), nn.Parameter(torch.randn(7))
        self.register_buffer("index", torch.arange(4)[:, None] - torch.arange(4)[None] + 3)
        self.register_buffer("mask", torch.zeros(4, 4).fill_diagonal_(-100.0))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) @ (self.bias[self.index] + self.mask).softmax(-1)


def without_tables(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if key not in {"index", "mask"}}


def load_without_tables(path: Path) -> Windows:
    module = Windows()
    result = module.load_state_dict(without_tables(read(path)), strict=False)
    LOG.warning("missing: %s, unexpected: %s", result.missing_keys, result.unexpected_keys)
    return module


@correct(load=load_without_tables, inputs=X, allow_missing=["index", "mask"])
def loader_drops_index_tables():
    return Windows()


def save_without_tables(module: nn.Module, path: Path) -> None:
    save_file(without_tables(module.state_dict()), path)


def load_expecting_no_tables(path: Path) -> Windows:
    module = Windows()
    result = module.load_state_dict(load_file(path), strict=False)
    if result.unexpected_keys or set(result.missing_keys) != {"index", "mask"}:
        raise KeyError(*result.missing_keys, *result.unexpected_keys)
    return module


@correct(save=save_without_tables, load=load_expecting_no_tables, inputs=X, allow_missing=["index", "mask"])
def file_without_index_tables():
    return Windows()


class Bins(nn.Module):
    """Equal bins until they are fitted to the data."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("edges", torch.linspace(0.0, 1.0, 5))
        self.score = nn.Parameter(torch.randn(6))

    def fit(self) -> None:
        self.edges.copy_(torch.rand(5).sort().values)

    def forward(self, x: Tensor) -> Tensor:
        return self.score[torch.bucketize(x, self.edges)]


def load_without_edges(path: Path) -> Bins:
    module = Bins()
    print(module.load_state_dict({"score": read(path)["score"]}, strict=False))  # noqa: T201 -- many loaders do
    return module


@faulty("unsaved-state", key="edges", load=load_without_edges, prepare=Bins.fit, inputs=X, alone=True)
def loader_drops_a_table_that_was_fitted():
    return Bins()


# ---------------------------------------------------------------------------------------------------------- tries again


def load_strictly_or_partly(path: Path) -> Net:
    module, state = Net(), read(path)
    try:
        module.load_state_dict(state)
    except RuntimeError:
        result = module.load_state_dict(fitting(module, state), strict=False)
        warnings.warn(f"loaded in part: {result}", stacklevel=2)
    return module


@correct(load=load_strictly_or_partly, **TRAINED)
def strictly_or_in_part_with_a_warning():
    return Net()


def load_into_a_second_one(path: Path) -> Net:
    state = read(path)
    try:
        module = Net()
        module.load_state_dict(state)
    except RuntimeError:
        module = Net()
        result = module.load_state_dict(fitting(module, state), strict=False)
        warnings.warn(f"loaded in part: {result}", stacklevel=2)
    return module


@correct(load=load_into_a_second_one, **TRAINED)
def in_part_into_a_second_module():
    return Net()


def load_strictly_or_converted(path: Path) -> Net:
    module, state = Net(), read(path)
    try:
        module.load_state_dict(state)
    except RuntimeError:
        module.load_state_dict({key.removeprefix("module."): value for key, value in state.items()})
    return module


@correct(load=load_strictly_or_converted, **TRAINED)
def strictly_or_with_keys_converted():
    return Net()


def load_strictly_or_quietly(path: Path) -> Net:
    module, state = Net(), read(path)
    try:
        module.load_state_dict(state)
    except RuntimeError:
        module.load_state_dict(fitting(module, state), strict=False)
    return module


@faulty("strictness", key="body.weight", load=load_strictly_or_quietly, **TRAINED)
def strictly_or_in_part_without_a_word():
    return Net()


class Pair(nn.Module):
    """Two models of a kind in one."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(self.one(x))


def load_each_or_log(path: Path) -> Pair:
    module, state = Pair(), read(path)
    for name, child in module.named_children():
        part = {key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(name)}
        try:
            child.load_state_dict(part)
        except RuntimeError as error:
            LOG.warning("could not load %s: %s", name, error)
    return module


@faulty("half-loaded", key="one.weight", load=load_each_or_log, inputs=X)
def one_of_two_fails_and_the_other_loads():
    return Pair()


# ------------------------------------------------------------------------------------------------------- how it is said


def load_with_info(path: Path) -> Net:
    module, state = Net(), read(path)
    result = module.load_state_dict(fitting(module, state), strict=False)
    if result.missing_keys:
        LOG.info("missing keys: %s", ", ".join(result.missing_keys))
    unused = sorted(state.keys() - fitting(module, state).keys())
    if unused:
        LOG.info("unused keys: %s", ", ".join(unused))
    return module


@correct(load=load_with_info, **TRAINED)
def logs_at_info():
    return Net()


def load_with_debug(path: Path) -> Net:
    module = Net()
    LOG.info("loading %s", path)
    LOG.debug("%s", module.load_state_dict(read(path), strict=False))
    return module


@faulty("strictness", key="body.weight", load=load_with_debug, **TRAINED)
def logs_at_debug_alone():
    return Net()


def load_or_exit(path: Path) -> Net:
    """No map_location, and every error ends the process: a file of a GPU host is one of them."""
    module = Net()
    try:
        module.load_state_dict(torch.load(path, weights_only=True))
    except RuntimeError as error:
        sys.exit(f"cannot load {path}: {error}")
    return module


@faulty("device-location", key="torch.load on cpu", load=load_or_exit, alone=True, **TRAINED)
def exits_for_a_file_of_another_device():
    return Net()


# ------------------------------------------------------------------------------------------------- formats of their own


def save_archive(module: nn.Module, path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("meta.json", json.dumps({"kind": type(module).__name__}))
        with archive.open("weights.pt", "w") as file:
            torch.save(module.state_dict(), file)


def load_archive(path: Path) -> Net:
    with zipfile.ZipFile(path) as archive:
        weights = BytesIO(archive.read("weights.pt"))
    module = Net()
    module.load_state_dict(read(weights))
    return module


@correct(save=save_archive, load=load_archive, **TRAINED)
def archive_with_metadata():
    return Net()


def save_to_json(module: nn.Module, path: Path) -> None:
    state = {key: [round(one, 4) for one in value.flatten().tolist()] for key, value in module.state_dict().items()}
    path.write_text(json.dumps(state), encoding="utf-8")


def load_from_json(path: Path) -> Net:
    module, state = Net(), json.loads(path.read_text(encoding="utf-8"))
    own = module.state_dict()
    module.load_state_dict({key: torch.tensor(state[key], dtype=own[key].dtype).reshape(own[key].shape) for key in own})
    return module


@faulty("value-changed", "dtype-changed", key="body.weight", save=save_to_json, load=load_from_json, **TRAINED)
def json_with_four_digits():
    return Net()


def save_negated(module: nn.Module, path: Path) -> None:
    torch.save({key: -value for key, value in module.state_dict().items()}, path)


def load_negated(path: Path) -> Net:
    module = Net()
    module.load_state_dict({key: -value for key, value in read(path).items()})
    return module


@correct(save=save_negated, load=load_negated, **TRAINED)
def converted_on_both_ways():
    """What becomes of values of another dtype cannot be told here."""
    return Net()
