"""Faults as they stand in libraries: quantisers, memory banks, tokenisers, filters, flows, adapters, wrappers."""

# Code under test, as people write it: to type it would change it.
# mypy: ignore-errors

from __future__ import annotations

import json
import math
import pickle
import zipfile
from collections import OrderedDict, deque, namedtuple
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 -- as everybody writes it
from torch import nn

from tests.pytest_ckpt.cases import faulty

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

X = torch.linspace(-1.0, 1.0, 8).reshape(2, 4)
IDS = torch.tensor([[1, 2, 3], [4, 5, 6]])


def train(module: nn.Module) -> None:
    """Run twice in training mode on random data, and step."""
    module.train()
    for _ in range(2):
        module(torch.randn(4, 4))


def read(path: Path) -> Any:
    return torch.load(path, map_location="cpu", weights_only=True)


# ------------------------------------------------------------------------------------------- statistics of training


@faulty("nonpersistent-buffer", key="shadow", inputs=X, prepare=train)
class ExponentialMovingAverage(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.register_buffer("shadow", torch.zeros(4), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.fc(x)
        if self.training:
            self.shadow.lerp_(y.detach().mean(0), 0.5)
        return y - self.shadow


@faulty("unsaved-state", key="decay", inputs=X, prepare=train)
class DecayThatWarmsUp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(4))
        self.decay = 0.0

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.decay = 1 - (1 - self.decay) * 0.5
            self.mean.lerp_(x.mean(0), 0.5)
        return x - self.mean * self.decay


@faulty("unsaved-state", key="initialized", inputs=X, prepare=train)
class ActNorm(nn.Module):
    """The flag says that the first batch has been seen; without it the loaded module starts over."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.ones(4)), nn.Parameter(torch.zeros(4))
        self.initialized = False

    def forward(self, x: Tensor) -> Tensor:
        if not self.initialized:
            with torch.no_grad():
                self.shift.copy_(-x.mean(0))
                self.scale.copy_(1 / (x.std(0) + 1e-3))
            self.initialized = True
        return x * self.scale + self.shift


@faulty("unsaved-state", key="inited", inputs=X, prepare=train)
class VectorQuantizer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.codebook = nn.Parameter(torch.zeros(5, 4))
        self.inited = 0

    def forward(self, x: Tensor) -> Tensor:
        if not self.inited:
            self.codebook.data.copy_(x[torch.arange(5) % len(x)] + torch.arange(5.0)[:, None])
            self.inited = 1
        return self.codebook[torch.cdist(x, self.codebook).argmin(1)]


@faulty("unsaved-state", key="usage", inputs=X, prepare=train)
class CodebookUsageAsNumpy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.codebook = nn.Parameter(torch.randn(5, 4))
        self.usage = np.ones(5, dtype=np.float32)

    def forward(self, x: Tensor) -> Tensor:
        index = torch.cdist(x, self.codebook).argmin(1)
        if self.training:
            np.add.at(self.usage, index.numpy(), 1)
        return self.codebook[index] * torch.from_numpy(self.usage)[index, None]


@faulty("unsaved-state", key="experts_load", inputs=X, prepare=train)
class MixtureWithLoadBias(nn.Module):
    """Routing is biased by how often an expert was taken, as in balancing without an auxiliary loss."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.experts = nn.Linear(4, 3), nn.ModuleList(nn.Linear(4, 4) for _ in range(3))
        self.experts_load = [0.0, 0.0, 0.0]

    def forward(self, x: Tensor) -> Tensor:
        weights = (self.gate(x) - torch.tensor(self.experts_load)).softmax(-1)
        if self.training:
            for i, load in enumerate(weights.mean(0).tolist()):
                self.experts_load[i] += load
        return sum(weights[:, i, None] * expert(x) for i, expert in enumerate(self.experts))


@faulty("unsaved-state", key="kalman", inputs=X, prepare=train)
class KalmanFilter(nn.Module):
    @dataclass
    class State:
        mean: Tensor = field(default_factory=lambda: torch.zeros(4))
        gain: float = 1.0

    def __init__(self) -> None:
        super().__init__()
        self.noise = nn.Parameter(torch.rand(4))
        self.kalman = self.State()

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.kalman.gain = 1 / (1 + 1 / self.kalman.gain)
            self.kalman.mean = self.kalman.mean + self.kalman.gain * (x.mean(0) - self.kalman.mean)
        return (x - self.kalman.mean) * self.noise


@faulty("unsaved-state", key="bank", inputs=X, prepare=train)
class NearestNeighbours(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.bank: deque[Tensor] = deque([torch.zeros(4)], maxlen=8)

    def forward(self, x: Tensor) -> Tensor:
        features = self.fc(x)
        if self.training:
            self.bank.extend(features.detach())
        return torch.cdist(features, torch.stack(tuple(self.bank))).min(1).values


@faulty("unsaved-state", key="prototypes", inputs=X, prepare=train)
class Prototypes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.prototypes: dict[str, Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        y = self.fc(x)
        if self.training:
            self.prototypes["positive"] = y.detach().mean(0)
        return y - self.prototypes.get("positive", torch.zeros(4))


@faulty("unsaved-state", key="observer", inputs=X, prepare=train)
class FakeQuantize(nn.Module):
    class Observer:
        __slots__ = ("high", "low")

        def __init__(self) -> None:
            self.low, self.high = 0.0, 1.0

        def see(self, x: Tensor) -> None:
            self.low, self.high = min(self.low, float(x.min())), max(self.high, float(x.max()))

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.observer = nn.Linear(4, 4), self.Observer()

    def forward(self, x: Tensor) -> Tensor:
        y = self.fc(x)
        if self.training:
            self.observer.see(y * 5)
        step = (self.observer.high - self.observer.low) / 255
        return (y / step).round() * step


@faulty("unsaved-state", key="threshold", inputs=X, prepare=train)
class AnomalyThreshold(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 1)
        self.threshold = None

    def forward(self, x: Tensor) -> Tensor:
        score = self.fc(x).squeeze(-1)
        if self.training:
            self.threshold = float(score.quantile(0.5))
        return score - self.threshold if self.threshold is not None else score


@faulty("unsaved-state", key="temperature", inputs=X, prepare=lambda module: module.calibrate())
class TemperatureScaling(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.temperature = nn.Linear(4, 3), torch.ones(())

    def calibrate(self) -> None:
        self.temperature = torch.tensor(1.7)

    def forward(self, x: Tensor) -> Tensor:
        return (self.fc(x) / self.temperature).log_softmax(-1)


# ---------------------------------------------------------------------------------------- tables, vocabularies, graphs


@faulty("unsaved-state", key="vocabulary", inputs=IDS, prepare=lambda module: module.build([5, 3, 1, 2, 4, 6]))
class WordPieces(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(8, 4)
        self.vocabulary: dict[int, int] = {i: i for i in range(8)}

    def build(self, corpus: list[int]) -> None:
        self.vocabulary = {token: i for i, token in enumerate(corpus)}

    def forward(self, ids: Tensor) -> Tensor:
        return self.embedding(torch.tensor([[self.vocabulary.get(int(i), 7) for i in row] for row in ids]))


@faulty("unsaved-state", key="merges", inputs=IDS, prepare=lambda module: module.merges.append((1, 2)))
class BytePairs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.merges = nn.Embedding(8, 4), []

    def forward(self, ids: Tensor) -> Tensor:
        ids = ids.clone()
        for old, new in self.merges:
            ids[ids == old] = new
        return self.embedding(ids)


@faulty("unsaved-state", key="order", inputs=torch.randn(2, 32))
class Coupling(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net, self.order = nn.Linear(16, 16), np.random.default_rng().permutation(32)  # not alike twice by chance

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, self.order.copy()]
        return torch.cat([x[:, :16], x[:, 16:] + self.net(x[:, :16])], -1)


@faulty("unsaved-state", key="degrees", inputs=X)
class MaskedAutoregression(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4))
        self.degrees = tuple(int(one) for one in torch.randint(1, 100, (4,)))

    def forward(self, x: Tensor) -> Tensor:
        degrees = torch.tensor(self.degrees)
        return x @ (self.weight * (degrees[:, None] >= degrees))


@faulty("unsaved-state", key="edges", inputs=X, prepare=lambda module: module.edges.add((0, 3)))
class LearnedGraph(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.edges = {(0, 1)}

    def forward(self, x: Tensor) -> Tensor:
        y = self.fc(x)
        for i, j in sorted(self.edges):
            y = y + x[:, i, None] * x[:, j, None]
        return y


@faulty("nonpersistent-buffer", key="rotary.inv_freq", inputs=X, prepare=lambda module: module.rotary.scale_to(8.0))
class RotaryScaledLater(nn.Module):
    class Rotary(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("inv_freq", 1 / 10 ** torch.linspace(0, 1, 4), persistent=False)

        def scale_to(self, factor: float) -> None:
            self.inv_freq /= factor

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.rotary = nn.Linear(4, 4), self.Rotary()

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x) * self.rotary.inv_freq.cos()


@faulty("nonpersistent-buffer", key="slopes", inputs=X)
class RandomSlopes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.register_buffer("slopes", torch.rand(4), False)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x) * self.slopes


# ------------------------------------------------------------------------------------------- hidden and late submodules


@faulty("unsaved-submodule", key="adapters", inputs=X)
class LowRankAdapters(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.base = nn.Linear(4, 4)
        self.adapters = {"default": (nn.Linear(4, 2, bias=False), nn.Linear(2, 4, bias=False))}

    def forward(self, x: Tensor) -> Tensor:
        down, up = self.adapters["default"]
        return self.base(x) + up(down(x))


@faulty("unsaved-submodule", key="target", inputs=X, prepare=lambda module: module.sync())
class TargetNetworkHidden(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.online = nn.Linear(4, 4)
        self.target = [nn.Linear(4, 4)]

    def sync(self) -> None:
        for mine, theirs in zip(self.target[0].parameters(), self.online.parameters(), strict=True):
            mine.data.lerp_(theirs.data, 0.3)

    def forward(self, x: Tensor) -> Tensor:
        return self.online(x) - self.target[0](x)


@faulty("unsaved-submodule", key="_critic", inputs=X)
class CriticInAWrapper(nn.Module):
    class Box:
        def __init__(self, module: nn.Module) -> None:
            self.module = module

    def __init__(self) -> None:
        super().__init__()
        self.actor, self._critic = nn.Linear(4, 2), self.Box(nn.Linear(4, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.actor(x) * self._critic.module(x)


@faulty("unsaved-state", key="joiner", inputs=X)
class TransducerJoiner(nn.Module):
    """The joiner multiplies by a matrix that it closes over."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(4, 4)
        matrix = torch.randn(4, 4)
        self.joiner = lambda y: y @ matrix

    def forward(self, x: Tensor) -> Tensor:
        return self.joiner(self.encoder(x))


@faulty("not-loadable", key=("projection.weight", "projection.bias"), inputs=X, prepare=train)
class ProjectionOnDemand(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.projection = nn.Linear(4, 4), None

    def forward(self, x: Tensor) -> Tensor:
        if self.projection is None:
            self.projection = nn.Linear(4, 2)
        return self.projection(self.fc(x))


@faulty("not-loadable", key="support", inputs=X, prepare=lambda module: module.fit(torch.randn(7, 4)))
class SupportVectors(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("support", torch.zeros(0, 4))
        self.gamma = nn.Parameter(torch.ones(()))

    def fit(self, data: Tensor) -> None:
        self.support = data

    def forward(self, x: Tensor) -> Tensor:
        return (-self.gamma * torch.cdist(x, self.support)).exp().sum(-1)


@faulty("not-loadable", key=("queue_1", "queue_2"), prepare=train, inputs=X)
class QueuesRegisteredAsTheyCome(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.filled = nn.Linear(4, 4), 0

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.filled += 1
            self.register_buffer(f"queue_{self.filled}", x.detach().mean(0))
        return self.fc(x)


# ----------------------------------------------------------------------------------------------------- hooks, overrides


@faulty("value-changed", key="scale", inputs=X)
class LogScaleSaved(nn.Module):
    """Saved as a logarithm, and taken back as if it were none."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.rand(4) + 0.5)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[f"{prefix}scale"] = destination[f"{prefix}scale"].log()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


@faulty("value-changed", "dtype-changed", key="weight", inputs=X)
class QuantizedOnDisk(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4))
        self.register_state_dict_post_hook(self._pack)
        self.register_load_state_dict_pre_hook(self._unpack)

    @staticmethod
    def _pack(_module: nn.Module, state: Any, prefix: str, _metadata: Any) -> None:
        weight = state.pop(f"{prefix}weight")
        scale = weight.abs().max() / 127
        state[f"{prefix}packed"], state[f"{prefix}scale"] = (weight / scale).round().to(torch.int8), scale

    @staticmethod
    def _unpack(_module: nn.Module, state: Any, prefix: str, *_rest: Any) -> None:
        if f"{prefix}packed" in state:
            state[f"{prefix}weight"] = state.pop(f"{prefix}packed") * state.pop(f"{prefix}scale")

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight


@faulty("key-collision", "not-loadable", "value-changed", key=("left.weight", "right.weight"), inputs=X)
class TwoHalvesOneName(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        state = super().state_dict(*args, **kwargs)
        return OrderedDict((key.replace("left.", "").replace("right.", ""), value) for key, value in state.items())

    def load_state_dict(self, state: Any, strict: bool = True, assign: bool = False) -> Any:
        self.left.load_state_dict(state, strict, assign)
        return self.right.load_state_dict(state, strict, assign)

    def forward(self, x: Tensor) -> Tensor:
        return self.right(self.left(x))


@faulty("stale-cache", key="merged", inputs=X)
class MergedAdapter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.base = nn.Parameter(torch.randn(4, 4))
        self.a, self.b = nn.Parameter(torch.randn(4, 2)), nn.Parameter(torch.randn(2, 4))
        self.merged = (self.base + self.a @ self.b).detach()

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.merged


@faulty("stale-cache", key="norms", inputs=X)
class NormsComputedOnFirstUse(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.codebook, self.norms = nn.Parameter(torch.randn(5, 4)), None

    def forward(self, x: Tensor) -> Tensor:
        if self.norms is None:
            self.norms = self.codebook.detach().square().sum(-1)
        return self.norms - 2 * x @ self.codebook.T


@faulty("stale-cache", key=("cache", "_cache"), inputs=X)
class ExpertOutputsMemoised(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self._cache = nn.Linear(4, 4), {}

    def forward(self, x: Tensor) -> Tensor:
        key = tuple(x.flatten().tolist())
        if key not in self._cache:
            self._cache[key] = self.fc(x).detach()
        return self._cache[key]


@faulty("requires-grad", key="backbone.weight", inputs=X)
class FrozenAgainByLoading(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.head = nn.Linear(4, 4), nn.Linear(4, 2)
        self.register_load_state_dict_post_hook(self._freeze)

    @staticmethod
    def _freeze(module: nn.Module, _keys: Any) -> None:
        module.backbone.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.backbone(x))


@faulty("mode-changed", key="FlagsInState", inputs=X)
class FlagsInState(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.dropout = nn.Linear(4, 4), nn.Dropout(0.5)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        self.train(False)
        return super().load_state_dict(*args, **kwargs)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.fc(x))


@faulty("save-mutates", key=("fc.weight", "fc.bias"), inputs=X)
class RoundedWhileSaving(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        for parameter in self.parameters():
            parameter.data = parameter.data.to(torch.bfloat16).float()
        return super().state_dict(*args, **kwargs)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x)


@faulty("strictness", key=("0.weight", "1.weight", "fc.weight"), inputs=X)
class ForgivesEverything(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.out = nn.Linear(4, 4), nn.Linear(4, 2)

    def load_state_dict(self, state: Any, **_ignored: Any) -> None:
        own = self.state_dict()
        for name in own.keys() & state.keys():
            if own[name].shape == state[name].shape:
                own[name].copy_(state[name])

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.fc(x))


@faulty("not-saveable", key=("Handles", "_extra_state"), inputs=X)
class Handles(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def get_extra_state(self) -> Any:
        return {"activation": lambda x: x}

    def set_extra_state(self, state: Any) -> None:
        self.activation = state["activation"]

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x)


# --------------------------------------------------------------------------------------------------- loaders and files


class Net(nn.Module):
    def __init__(self, width: int = 4, slope: float = 0.1) -> None:
        super().__init__()
        self.slope = slope
        self.inp, self.norm, self.out = nn.Linear(4, width), nn.BatchNorm1d(width), nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.leaky_relu(self.norm(self.inp(x)), self.slope))


def save_npz(module: nn.Module, path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, **{name: tensor.detach().numpy() for name, tensor in module.named_parameters()})


def load_npz(path: Path) -> nn.Module:
    module = Net()
    with np.load(path) as arrays:
        state = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    module.load_state_dict(state, strict=False)
    return module


@faulty("unsaved-state", key=("norm.running_mean", "norm.running_var"), save=save_npz, load=load_npz, prepare=train)
def archive_of_parameters():
    return Net()


def save_sharded(module: nn.Module, path: Path) -> None:
    path.mkdir()
    state = module.state_dict()
    index = {}
    for number, key in enumerate(state):
        shard = f"model-{number // 3}.pt"
        index[key] = shard
    for shard in set(index.values()):
        torch.save({key: state[key] for key in state if index[key] == shard}, path / shard)
    (path / "index.json").write_text(json.dumps({"weight_map": index}), encoding="utf-8")


def load_first_shards(path: Path) -> nn.Module:
    module, state = Net(), {}
    shards = sorted(set(json.loads((path / "index.json").read_text(encoding="utf-8"))["weight_map"].values()))
    for shard in shards[:-1]:
        state.update(read(path / shard))
    module.load_state_dict(state, strict=False)
    return module


@faulty("unsaved-state", "value-changed", key=("out.weight", "out.bias"), save=save_sharded, load=load_first_shards)
def last_shard_forgotten():
    return Net()


def save_pickle(module: nn.Module, path: Path) -> None:
    path.write_bytes(pickle.dumps({key: value.numpy() for key, value in module.state_dict().items()}))


def load_pickle_rounded(path: Path) -> nn.Module:
    module = Net()
    arrays = pickle.loads(path.read_bytes())
    module.load_state_dict({key: torch.as_tensor(np.round(value, 3)) for key, value in arrays.items()})
    return module


@faulty("value-changed", key="inp.weight", save=save_pickle, load=load_pickle_rounded)
def pickle_rounded():
    return Net()


def save_lightning(module: nn.Module, path: Path) -> None:
    state = {f"model.{key}": value for key, value in module.state_dict().items()}
    torch.save({"state_dict": state, "hyper_parameters": {"width": 4}, "epoch": 3}, path)


def load_lightning(path: Path) -> nn.Module:
    checkpoint = read(path)
    module = Net(**checkpoint["hyper_parameters"])
    module.load_state_dict({key.removeprefix("model."): value for key, value in checkpoint["state_dict"].items()})
    return module


@faulty("config-lost", key="slope", inputs=X, save=save_lightning, load=load_lightning)
def hyper_parameter_not_among_those_saved():
    return Net(slope=0.4)


def load_lightning_unstripped(path: Path) -> nn.Module:
    module = Net()
    module.load_state_dict(read(path)["state_dict"], strict=False)
    return module


@faulty(
    "key-mismatch", "unsaved-state", key="inp.weight", inputs=X, save=save_lightning, load=load_lightning_unstripped
)
def prefix_of_the_lightning_module():
    return Net()


class Gan(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.generator, self.discriminator = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.discriminator(self.generator(x))


def save_gan_merged(module: Gan, path: Path) -> None:
    state = module.generator.state_dict()
    state.update(module.discriminator.state_dict())
    torch.save(state, path)


def load_gan_merged(path: Path) -> nn.Module:
    module, state = Gan(), read(path)
    module.generator.load_state_dict(state)
    module.discriminator.load_state_dict(state)
    return module


@faulty(
    "key-collision", key=("generator.weight", "generator.bias"), inputs=X, save=save_gan_merged, load=load_gan_merged
)
def both_networks_in_one_dict():
    return Gan()


def save_gan_swapped(module: Gan, path: Path) -> None:
    torch.save([module.generator.state_dict(), module.discriminator.state_dict()], path)


def load_gan_swapped(path: Path) -> nn.Module:
    module = Gan()
    discriminator, generator = read(path)
    module.generator.load_state_dict(generator)
    module.discriminator.load_state_dict(discriminator)
    return module


@faulty("value-changed", key="generator.weight", inputs=X, save=save_gan_swapped, load=load_gan_swapped)
def networks_in_the_other_order():
    return Gan()


def save_generator(module: Gan, path: Path) -> None:
    torch.save({"generator": module.generator.state_dict()}, path)


def load_generator(path: Path) -> nn.Module:
    module = Gan()
    module.generator.load_state_dict(read(path)["generator"])
    return module


@faulty("unsaved-state", key="discriminator.weight", inputs=X, save=save_generator, load=load_generator)
def discriminator_not_saved():
    return Gan()


class TiedLanguageModel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.wte, self.head = nn.Embedding(8, 4), nn.Linear(4, 8, bias=False)
        self.head.weight = self.wte.weight

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.wte(ids))


def load_untied(path: Path) -> nn.Module:
    module = TiedLanguageModel()
    module.head = nn.Linear(4, 8, bias=False)
    module.load_state_dict(read(path))
    return module


@faulty("tie-broken", key="head.weight", inputs=IDS, load=load_untied)
def head_replaced_before_loading():
    return TiedLanguageModel()


def untie(module: Any) -> None:
    module.head.weight = nn.Parameter(module.wte.weight.detach() * 2)


@faulty("tie-conflict", key=("head.weight", "wte.weight"), inputs=IDS, prepare=untie)
def head_fine_tuned_apart():
    return TiedLanguageModel()


def load_flat(path: Path) -> nn.Module:
    """The vector of all parameters is cut by their order, buffers are not in it."""
    module = Net()
    nn.utils.vector_to_parameters(read(path), module.parameters())
    return module


def save_flat(module: nn.Module, path: Path) -> None:
    torch.save(nn.utils.parameters_to_vector(module.parameters()).detach(), path)


@faulty("unsaved-state", key=("norm.running_mean", "norm.running_var"), save=save_flat, load=load_flat, prepare=train)
def one_flat_vector():
    return Net()


def load_into_eval_and_half(path: Path) -> nn.Module:
    module = Net()
    module.load_state_dict(read(path))
    return module.half().float()


@faulty("value-changed", key="inp.weight", load=load_into_eval_and_half)
def through_half_after_loading():
    return Net()


def load_averaged(path: Path) -> nn.Module:
    """Averages the checkpoint with the fresh weights, as a warm start does."""
    module = Net()
    own, state = module.state_dict(), read(path)
    module.load_state_dict(
        {key: own[key].lerp(state[key], 0.9) if own[key].is_floating_point() else state[key] for key in own}
    )
    return module


@faulty("value-changed", "unsaved-state", key="inp.weight", load=load_averaged)
def averaged_with_the_fresh_weights():
    return Net()


Record = namedtuple("Record", "step loss")  # noqa: PYI024 -- as it is written


def save_with_record(module: nn.Module, path: Path) -> None:
    torch.save({"state": module.state_dict(), "record": Record(1, 0.5)}, path)


def load_with_record(path: Path) -> nn.Module:
    module = Net()
    module.load_state_dict(torch.load(path, map_location="cpu", weights_only=False)["state"])
    return module


@faulty("not-weights-only", key=f"{__name__}.Record", save=save_with_record, load=load_with_record)
def named_tuple_beside_the_weights():
    return Net()


def save_with_numpy_scalar(module: nn.Module, path: Path) -> None:
    torch.save({"state": module.state_dict(), "best": np.float64(0.5)}, path)


@faulty(
    "not-weights-only",
    key=("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar", "numpy.dtype", "numpy.dtypes.Float64DType"),
    save=save_with_numpy_scalar,
    load=load_with_record,
)
def numpy_scalar_beside_the_weights():
    return Net()


def load_or_default(path: Path) -> nn.Module:
    try:
        with zipfile.ZipFile(path):
            pass
    except zipfile.BadZipFile:
        return Net()
    module = Net()
    module.load_state_dict(read(path))
    return module


@faulty("corrupt-accepted", key="load(path)", load=load_or_default)
def no_archive_no_weights():
    return Net()


class History:
    """Keeps every state that it saved, and writes the first."""

    def __init__(self) -> None:
        self.states: list[Any] = []

    def __call__(self, module: nn.Module, path: Path) -> None:
        self.states.append({key: value.clone() for key, value in module.state_dict().items()})
        torch.save(self.states[0], path)


@faulty("stale-save", key=("inp.weight", "norm.weight"), save=History())
def first_of_the_history():
    return Net()


@faulty("storage-bloat", key="token", inputs=X)
class TokenOfALargeTable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("token", torch.randn(5000, 4)[17])

    def forward(self, x: Tensor) -> Tensor:
        return x + self.token


def angle(degrees: float) -> float:
    return math.radians(degrees)


@faulty("unsaved-state", key="schedule", inputs=X, prepare=lambda module: [next(module.schedule) for _ in range(3)])
class ScheduleObject(nn.Module):
    class Cosine:
        def __init__(self) -> None:
            self.step = 0

        def __next__(self) -> float:
            self.step += 1
            return self.value

        @property
        def value(self) -> float:
            return math.cos(angle(self.step * 10))

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.schedule = nn.Linear(4, 4), self.Cosine()

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x) * self.schedule.value


@faulty(
    "unsaved-state", key=("handles", "hooks", "_forward_hooks", "fc"), inputs=X, prepare=lambda module: module.steer()
)
class SteeredByAHook(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def steer(self) -> None:
        vector = torch.randn(4)
        self.fc.register_forward_hook(lambda _module, _inputs, output: output + vector)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x)


@faulty("unsaved-state", key=("fc.weight_mask", "mask"), inputs=X, prepare=lambda module: module.prune())
class PruningMaskAttribute(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.mask = torch.ones(4, 4)

    def prune(self) -> None:
        self.mask = (self.fc.weight.detach().abs() > self.fc.weight.detach().abs().median()).float()

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.fc.weight * self.mask, self.fc.bias)


@faulty("unsaved-state", key="rng", inputs=X, says="self.rng.bit_generator.state from get_extra_state()")
class SharedRandomStream(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.rng = nn.Linear(4, 4), np.random.default_rng()

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x) + float(self.rng.normal())
