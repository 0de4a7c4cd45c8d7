"""Faults in places where nobody looks: containers and objects of every sort, loaders that build something else."""

# Code under test, as people write it: to type it would change it.
# mypy: ignore-errors

from __future__ import annotations

import array
import enum
import itertools
import types
import weakref
from collections import ChainMap, OrderedDict, UserDict, UserList, defaultdict, deque
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakSet

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.pytest_ckpt.cases import faulty
from tests.pytest_ckpt.cases.broken_loaders import TRAINED, Net, load_net, read, write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

X = torch.linspace(-1.0, 1.0, 8).reshape(2, 4)


# ------------------------------------------------------------------------------------------- tensors, wherever they are


class _Slots:
    __slots__ = ("gain",)

    def __init__(self, gain: Tensor) -> None:
        self.gain = gain


class _Stage:
    def __init__(self, gain: Tensor) -> None:
        self.inner = {"gain": [gain]}


def _held(build: Callable[[Tensor], Any], take: Callable[[Any], Tensor]) -> type[nn.Module]:
    """Give a module class that keeps a random tensor in some container, as `held`."""

    class Holder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.held = build(torch.rand(4) + 0.5)

        def forward(self, x: Tensor) -> Tensor:
            return x * take(self.held)

    return Holder


@faulty("unsaved-state", key=("held", "held.gain"), inputs=X)
def in_an_object_with_slots():
    return _held(_Slots, lambda held: held.gain)()


@faulty("unsaved-state", key=("held", "held[0].inner"), inputs=X)
def in_a_list_of_objects():
    return _held(lambda gain: [_Stage(gain)], lambda held: held[0].inner["gain"][0])()


@faulty("unsaved-state", key="held", inputs=X)
def in_an_ordered_dict():
    return _held(lambda gain: OrderedDict(gain=gain), lambda held: held["gain"])()


def _keyed_by_a_layer(mapping: type) -> type[nn.Module]:
    """Give a module class that keeps a random tensor for its layer, as `shifts`."""

    class Keyed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 4)
            self.shifts = mapping()
            self.shifts[self.fc] = torch.rand(4)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(x) + self.shifts[self.fc]

    return Keyed


@faulty("unsaved-state", key="shifts", inputs=X)
def kept_for_a_layer():
    return _keyed_by_a_layer(dict)()


@faulty("unsaved-state", key="shifts", inputs=X)
def kept_for_a_layer_weakly():
    return _keyed_by_a_layer(WeakKeyDictionary)()


def _skipping(container: type) -> type[nn.Module]:
    """Give a module class that leaves out the layers that it has in a set, as `skipped`."""

    class Skipping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers, self.skipped = nn.ModuleList(nn.Linear(4, 4) for _ in range(3)), container()

        def forward(self, x: Tensor) -> Tensor:
            for layer in self.layers:
                x = x if layer in self.skipped else layer(x).tanh()
            return x

    return Skipping


def _skip(module: nn.Module) -> None:
    module.skipped.add(module.layers[1])


@faulty("unsaved-state", key="skipped", inputs=X, prepare=_skip)
def layers_in_a_set():
    return _skipping(set)()


@faulty("unsaved-state", key="skipped", inputs=X, prepare=_skip)
def layers_in_a_weak_set():
    return _skipping(WeakSet)()


@faulty("unsaved-state", key="chosen", inputs=X, prepare=lambda module: module.chosen.update(best=module.layers[2]))
class LayersInAnOrderedDict(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))
        self.chosen = OrderedDict(best=self.layers[0])

    def forward(self, x: Tensor) -> Tensor:
        return self.chosen["best"](x)


class _ByIdentity:
    """A descriptor that keeps what it is given by the id of whom it is given it for."""

    def __init__(self) -> None:
        self.values = {}

    def __get__(self, owner: Any, kind: Any = None) -> Any:
        return self if owner is None else self.values.get(id(owner), 1.0)

    def __set__(self, owner: Any, value: float) -> None:
        self.values[id(owner)] = value


@faulty("unsaved-state", key="temperature", inputs=X, prepare=lambda module: setattr(module, "temperature", 2.0))
class KeptByADescriptor(nn.Module):
    temperature = _ByIdentity()

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x) / self.temperature


class _Average:
    """An average of parameters that it refers to weakly, as torch_ema has it."""

    def __init__(self, parameters: Any) -> None:
        parameters = list(parameters)
        self.references = [weakref.ref(one) for one in parameters]
        self.shadows = [one.detach().clone() for one in parameters]

    def update(self) -> None:
        for reference, shadow in zip(self.references, self.shadows, strict=True):
            shadow.lerp_(reference().detach(), 0.1)

    def swap(self) -> None:
        for reference, shadow in zip(self.references, self.shadows, strict=True):
            live = reference().detach().clone()
            reference().data.copy_(shadow)
            shadow.copy_(live)


def _trained(module: nn.Module) -> None:
    with torch.no_grad():
        module.fc.weight.add_(1.0)
    module.train()(X)


@faulty("unsaved-state", "ema-state", key="average", inputs=X, prepare=_trained)
class AverageOfWeakReferences(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.average = _Average(self.fc.parameters())

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.average.update()
            return self.fc(x)
        self.average.swap()
        try:
            return self.fc(x)
        finally:
            self.average.swap()


class _Product(tuple):  # noqa: SLOT001 -- as libraries write it
    """Has no length, as a product of representations in e3nn has none."""

    def __len__(self) -> int:
        raise NotImplementedError


class _Closed(dict):
    """Gives nothing, as a file that is closed does."""

    def values(self) -> Any:
        raise ValueError("closed")

    items = keys = __len__ = values


class _Rotation(list):
    """Begins anew when it has come to its end."""

    def __iter__(self) -> Any:
        return itertools.cycle(list.__iter__(self))


@faulty("unsaved-state", key="held", inputs=X)
def in_a_tuple_without_a_length():
    return _held(lambda gain: _Product((gain,)), lambda held: held[0])()


@faulty("unsaved-state", key="held", inputs=X)
def in_a_dict_that_is_closed():
    return _held(lambda gain: _Closed(gain=gain), lambda held: held["gain"])()


@faulty("unsaved-state", key="held", inputs=X)
def in_a_list_without_an_end():
    return _held(lambda gain: _Rotation([gain]), lambda held: held[0])()


@faulty("unsaved-state", key="held", inputs=X)
def in_a_random_state_of_numpy():
    held = _held(lambda _: np.random.RandomState(), lambda held: torch.from_numpy(held.normal(size=4)).float())
    return held()


@faulty("unsaved-state", key="held", inputs=X)
def in_a_default_dict():
    return _held(lambda gain: defaultdict(list, gain=[gain]), lambda held: held["gain"][0])()


@faulty("unsaved-state", key="held", inputs=X)
def in_a_chain_map():
    return _held(lambda gain: ChainMap({}, {"gain": gain}), lambda held: held["gain"])()


@faulty("unsaved-state", key=("held", "held.data"), inputs=X)
def in_a_user_dict():
    return _held(lambda gain: UserDict(gain=gain), lambda held: held["gain"])()


@faulty("unsaved-state", key="held", inputs=X)
def in_a_structured_array():
    return _held(
        lambda gain: np.array([tuple(gain.tolist())], dtype=[(name, "f4") for name in "abcd"]),
        lambda held: torch.tensor(list(held[0].tolist())),
    )()


@faulty("unsaved-state", key="held", inputs=X)
def in_an_array_of_numbers():
    return _held(lambda gain: array.array("f", gain.tolist()), lambda held: torch.tensor(list(held)))()


@faulty("unsaved-state", key="held", inputs=X)
def in_bytes():
    return _held(lambda gain: gain.numpy().tobytes(), lambda held: torch.tensor(np.frombuffer(held, dtype="f4")))()


@faulty("unsaved-state", key="held", inputs=X)
def in_a_bytearray():
    return _held(
        lambda gain: bytearray(gain.numpy().tobytes()), lambda held: torch.frombuffer(held, dtype=torch.float)
    )()


@faulty("unsaved-state", key="held", inputs=X)
def in_a_decimal():
    return _held(lambda gain: Decimal(gain[0].item()), float)()


@faulty("unsaved-state", key="held", inputs=X)
def in_a_set_of_numbers():
    return _held(lambda gain: frozenset(gain.tolist()), lambda held: torch.tensor(sorted(held)))()


@faulty("unsaved-state", key=("held", "held.loc"), inputs=X)
def in_a_distribution():
    return _held(lambda gain: torch.distributions.Normal(gain, 1.0), lambda held: held.mean)()


@faulty("unsaved-state", key="held", inputs=X)
def in_a_partial():
    return _held(lambda gain: partial(torch.mul, gain), lambda held: held(torch.ones(4)))()


@faulty("unsaved-state", key="held", inputs=X)
def in_the_default_of_a_function():
    def build(gain: Tensor) -> Callable[[], Tensor]:
        def held(gain: Tensor = gain) -> Tensor:
            return gain

        return held

    return _held(build, lambda held: held())()


@faulty("unsaved-state", key="held", inputs=X)
def in_named_pairs():
    return _held(lambda gain: [("gain", nn.Parameter(gain))], lambda held: held[0][1])()


@faulty("unsaved-state", key="held", inputs=X)
def cast_after_it_was_a_parameter():
    return _held(lambda gain: nn.Parameter(gain).double(), lambda held: held.float())()


@faulty("unsaved-state", key="weight", inputs=X)
class SetPastTheModule(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        object.__setattr__(self, "weight", nn.Parameter(torch.randn(4)))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


@faulty("unsaved-state", key="scales", inputs=X, prepare=lambda module: module.calibrate())
class NestedDictOfNumbers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scales = {"in": {"scale": 1.0, "zero": 0}, "out": {"scale": 1.0, "zero": 0}}

    def calibrate(self) -> None:
        self.scales["out"]["scale"] = 0.3

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scales["in"]["scale"] * self.scales["out"]["scale"]


@faulty("unsaved-state", key="phase", inputs=X, prepare=lambda module: module.advance())
class PhaseAsEnum(nn.Module):
    class Phase(enum.Enum):
        WARM = 1
        HOT = 2

    def __init__(self) -> None:
        super().__init__()
        self.phase, self.fc = self.Phase.WARM, nn.Linear(4, 4)

    def advance(self) -> None:
        self.phase = self.Phase.HOT

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x) if self.phase is self.Phase.HOT else x


@faulty("unsaved-state", key="frozen", inputs=X, mode="train", prepare=lambda module: module.freeze())
class FlagThatTurnsSomethingOff(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.frozen = nn.Linear(4, 64), False

    def freeze(self) -> None:
        self.frozen = True

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc(x)
        return x if self.frozen else functional.dropout(x, 0.5, self.training)


# ------------------------------------------------------------------------------------------- modules, wherever they are


@dataclass
class _Config:
    encoder: nn.Module
    width: int = 4


class _Layers(list):
    """A list of one's own."""


def _calling(build: Callable[[nn.Module], Any], take: Callable[[Any], nn.Module]) -> type[nn.Module]:
    """Give a module class that keeps another module where torch does not see it, as `held`."""

    class Caller(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.held = build(nn.Linear(4, 2))

        def forward(self, x: Tensor) -> Tensor:
            return take(self.held)(x)

    return Caller


SUBMODULE = ("unsaved-submodule", "unsaved-state")


@faulty(*SUBMODULE, key=("held", "held.encoder"), inputs=X)
def module_in_a_dataclass():
    return _calling(_Config, lambda held: held.encoder)()


@faulty(*SUBMODULE, key=("held", "held.encoder"), inputs=X)
def module_in_a_namespace():
    return _calling(lambda inner: types.SimpleNamespace(encoder=inner), lambda held: held.encoder)()


@faulty(*SUBMODULE, key="held", inputs=X)
def module_in_a_list_of_its_own():
    return _calling(lambda inner: _Layers([inner]), lambda held: held[0])()


@faulty(*SUBMODULE, key=("held", "held.data"), inputs=X)
def module_in_a_user_list():
    return _calling(lambda inner: UserList([inner]), lambda held: held[0])()


@faulty(*SUBMODULE, key="held", inputs=X)
def module_in_a_deque():
    return _calling(lambda inner: deque([inner]), lambda held: held[0])()


@faulty(*SUBMODULE, key="held", inputs=X)
def module_in_a_default_dict():
    return _calling(lambda inner: defaultdict(list, a=[inner]), lambda held: held["a"][0])()


@faulty(*SUBMODULE, key="held", inputs=X)
def module_in_a_dict_of_dicts():
    return _calling(lambda inner: {"a": {"b": (inner,)}}, lambda held: held["a"]["b"][0])()


# ---------------------------------------------------------------------------------------------- derived, in other forms


@faulty("stale-cache", "unsaved-state", key="table", inputs=X)
class ArrayOfTheWeights(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4))
        self.table = self.weight.detach().numpy().copy()

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.from_numpy(self.table) + self.weight.sum()


@faulty("stale-cache", "unsaved-state", key="norm", inputs=X)
class NumberOfTheWeights(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4))
        self.norm = float(self.weight.norm())

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight / self.norm


@faulty("stale-cache", "unsaved-state", key="order", inputs=X)
class OrderOfTheWeights(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(40, 4))
        self.order = self.weight.detach().norm(dim=1).argsort().tolist()

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight[self.order].t()


# -------------------------------------------------------------------------------------------- loaders of something else


def load_average(path: Path) -> Net:
    module = Net()
    module.load_state_dict(read(path)["ema"])
    return module


def save_both(module: nn.Module, path: Path) -> None:
    state = module.state_dict()
    ema = {key: value * 0.9 if value.is_floating_point() else value for key, value in state.items()}
    torch.save({"model": state, "ema": ema}, path)


@faulty("value-changed", key="body.weight", save=save_both, load=load_average, **TRAINED)
def average_loaded_for_the_live_weights():
    return Net()


def small(activation: type[nn.Module] = nn.ReLU, rate: float = 0.5) -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 64), activation(), nn.Dropout(rate), nn.Linear(64, 2))


def load_small(path: Path) -> nn.Module:
    module = small()
    module.load_state_dict(read(path))
    return module


@faulty("config-lost", "unsaved-state", key="1", inputs=X, load=load_small)
def another_activation():
    return small(nn.GELU)


@faulty("config-lost", key="2.p", inputs=X, mode="train", load=load_small)
def another_dropout_rate():
    return small(rate=0.1)


def load_without_dropout(path: Path) -> Net:
    module = load_net(path)
    module.drop.p = 0.0
    return module


@faulty("config-lost", "unsaved-state", key="drop.p", load=load_without_dropout, mode="train", **TRAINED)
def dropout_switched_off_by_loading():
    return Net()


def load_with_softmax(path: Path) -> nn.Module:
    return nn.Sequential(load_net(path), nn.Softmax(-1))


@faulty(
    "key-mismatch",
    says="the saved module has no such entry",
    key=("body.weight", "0.body.weight"),
    load=load_with_softmax,
    **TRAINED,
)
def wrapped_by_loading():
    return Net()


def load_backbone(path: Path) -> nn.Module:
    return nn.Sequential(OrderedDict(list(load_net(path).named_children())[:2]))


@faulty(
    "key-mismatch",
    says="the loaded module has no such entry",
    key=("head.weight", "head.bias"),
    load=load_backbone,
    prepare=TRAINED["prepare"],
)
def head_left_behind_by_loading():
    return Net()


def load_without_bias(path: Path) -> nn.Module:
    module = nn.Linear(4, 2, bias=False)
    module.load_state_dict(read(path), strict=False)
    return module


@faulty("key-mismatch", "unsaved-state", key="bias", inputs=X, load=load_without_bias)
def bias_left_behind_by_loading():
    return nn.Linear(4, 2)


def load_all_as_floats(path: Path) -> Net:
    module = Net()
    module.load_state_dict({key: value.float() for key, value in read(path).items()}, assign=True)
    return module


@faulty("dtype-changed", key="norm.num_batches_tracked", load=load_all_as_floats, **TRAINED)
def counter_loaded_as_a_float():
    return Net()


class DoubleTable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", torch.rand(4, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.table


def load_in_single_precision(path: Path) -> nn.Module:
    module = DoubleTable()
    module.load_state_dict({key: value.float() for key, value in read(path).items()})
    return module


@faulty("value-changed", "dtype-changed", key="table", inputs=X, load=load_in_single_precision)
def double_through_single_precision():
    return DoubleTable()


# ---------------------------------------------------------------------------------------------- savers that do too much


def save_traced(module: Net, path: Path) -> None:
    """Runs the module once, in train mode, to note its shapes beside the weights."""
    shape = tuple(module(torch.randn(8, 4)).shape)
    torch.save({"shape": shape, "state": module.state_dict()}, path)


def load_from_state(path: Path) -> Net:
    module = Net()
    module.load_state_dict(read(path)["state"])
    return module


@faulty(
    "save-mutates", key=("norm.running_mean", "norm.running_var"), save=save_traced, load=load_from_state, **TRAINED
)
def forward_in_train_mode_while_saving():
    return Net()


def save_without_head(module: Net, path: Path) -> None:
    module.head = nn.Identity()
    write(module, path)


def load_without_head(path: Path) -> Net:
    module = Net()
    module.load_state_dict({**module.state_dict(), **read(path)})
    return module


@faulty("save-mutates", key=("head.weight", "head.bias"), save=save_without_head, load=load_without_head, **TRAINED)
def head_removed_by_saving():
    return Net()


def save_seeding_numpy(module: Net, path: Path) -> None:
    np.random.seed(0)  # noqa: NPY002 -- the global one is meant
    write(module, path)


@faulty("save-mutates", key=("numpy.random.get_state()", "np.random.get_state()"), save=save_seeding_numpy, **TRAINED)
def numpy_seeded_by_saving():
    return Net()


def save_through_cast(module: Net, path: Path) -> None:
    """Shrinks the module's own tensors to save them, through `data`."""
    for tensor in module.parameters():
        tensor.data = tensor.data.bfloat16()
    write(module, path)
    for tensor in module.parameters():
        tensor.data = tensor.data.float()


@faulty("save-mutates", key=("body.weight",), save=save_through_cast, **TRAINED)
def cast_through_data_while_saving():
    return Net()


# -------------------------------------------------------------------------------------------------- classes in the file


@faulty(
    "not-weights-only", key=f"{__name__}.NestedSettings.Inner.Settings", alone=True, says="save plain data", inputs=X
)
class NestedSettings(nn.Module):
    """Saves an object of a class that is defined within the module's own."""

    class Inner:
        @dataclass
        class Settings:
            gain: float = 1.0

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 2)
        self.settings, self.others = self.Inner.Settings(), self.Inner.Settings()

    def get_extra_state(self) -> Any:
        return [self.settings, self.others]

    def set_extra_state(self, state: Any) -> None:
        self.settings, self.others = state

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x) * self.settings.gain


class NestedBlock:
    class Block(nn.Linear):
        pass


@faulty(
    "pickled-module",
    key=f"{__name__}.NestedBlock.Block",
    alone=True,
    inputs=X,
    save=torch.save,
    load=lambda path: torch.load(path, map_location="cpu", weights_only=False),
)
def a_nested_class_is_pickled():
    return NestedBlock.Block(4, 2)
