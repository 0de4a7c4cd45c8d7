"""Correct code as it stands in libraries: quantisers, memory banks, tokenisers, filters, flows, adapters, wrappers."""

# Code under test, as people write it: to type it would change it.
# mypy: ignore-errors

from __future__ import annotations

import functools
import gzip
import hashlib
import io
import json
import logging
import math
import os
import pickle
import threading
import time
import weakref
import zipfile
from collections import Counter, OrderedDict, defaultdict, deque
from dataclasses import asdict, dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 -- as everybody writes it
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

from tests.pytest_ckpt.cases import correct

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

X = torch.linspace(-1.0, 1.0, 8).reshape(2, 4)
IDS = torch.tensor([[1, 2, 3], [4, 5, 6]])
LOG = logging.getLogger(__name__)
CALLS: Counter[str] = Counter()


def train(module: nn.Module) -> None:
    """Run twice in training mode on random data."""
    module.train()
    for _ in range(2):
        module(torch.randn(4, 4))


def read(path: Path) -> Any:
    return torch.load(path, map_location="cpu", weights_only=True)


# ------------------------------------------------------------------------------------------- statistics of training


@correct(inputs=X, prepare=train)
class ActNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.ones(4)), nn.Parameter(torch.zeros(4))
        self.register_buffer("initialized", torch.tensor(False))

    def forward(self, x: Tensor) -> Tensor:
        if not self.initialized:
            with torch.no_grad():
                self.shift.copy_(-x.mean(0))
                self.scale.copy_(1 / (x.std(0) + 1e-3))
                self.initialized.fill_(True)
        return x * self.scale + self.shift


@correct(inputs=X, prepare=train)
class VectorQuantizerEma(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("codebook", torch.randn(5, 4))
        self.register_buffer("cluster_size", torch.zeros(5))
        self.register_buffer("inited", torch.zeros(1, dtype=torch.uint8))

    def forward(self, x: Tensor) -> Tensor:
        if self.training and not self.inited.item():
            self.codebook.copy_(x[torch.arange(5) % len(x)] + torch.rand(5, 1))
            self.inited.fill_(1)
        index = torch.cdist(x, self.codebook).argmin(1)
        if self.training:
            self.cluster_size.lerp_(F.one_hot(index, 5).float().sum(0), 0.1)
        return self.codebook[index]


@correct(inputs=X, prepare=train)
class KalmanFilter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.noise = nn.Parameter(torch.rand(4))
        self.register_buffer("mean", torch.zeros(4))
        self.register_buffer("covariance", torch.eye(4, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.mean = self.mean.lerp(x.mean(0), 0.3)
            self.covariance = self.covariance + (x.T @ x).double()
        return (x - self.mean) * self.noise @ self.covariance.float()


@correct(inputs=X, prepare=train)
class MemoryBank(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.register_buffer("bank", torch.zeros(8, 4))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.long))

    def forward(self, x: Tensor) -> Tensor:
        y = self.fc(x)
        if self.training:
            where = (self.pointer + torch.arange(len(y))) % 8
            self.bank[where] = y.detach()
            self.pointer += len(y)
        return torch.cdist(y, self.bank).min(1).values


@correct(inputs=X, prepare=train)
class ScheduledMask(nn.Module):
    """The number of steps is extra state."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.steps, self.history = nn.Linear(4, 4), 0, deque(maxlen=3)

    def get_extra_state(self) -> Any:
        return {"steps": self.steps, "history": list(self.history)}

    def set_extra_state(self, state: Any) -> None:
        self.steps, self.history = state["steps"], deque(state["history"], maxlen=3)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.steps += 1
            self.history.append(float(x.mean()))
        return self.fc(x) * math.exp(-self.steps) + sum(self.history)


@correct(inputs=X, prepare=train)
class TokenizerInExtraState(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.vocabulary = nn.Linear(4, 4), defaultdict(int, a=1)

    def get_extra_state(self) -> Any:
        return torch.frombuffer(bytearray(json.dumps(self.vocabulary).encode()), dtype=torch.uint8)

    def set_extra_state(self, state: Any) -> None:
        self.vocabulary = defaultdict(int, json.loads(bytes(state.tolist())))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.vocabulary[f"t{len(self.vocabulary)}"] += 1
        return self.fc(x) * len(self.vocabulary)


@correct(inputs=X, prepare=train)
class MetricsBeside(nn.Module):
    """Timers, counters, losses and the like, which decide nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.losses, self.calls = nn.Linear(4, 4), [], Counter()
        self.last_output, self.started, self.lock = None, time.perf_counter(), threading.Lock()

    def forward(self, x: Tensor) -> Tensor:
        with self.lock:
            y = self.fc(x)
            self.calls["train" if self.training else "eval"] += 1
            CALLS["forward"] += 1
            self.losses.append(float(y.mean()))
            self.last_output, self.elapsed = y.detach(), time.perf_counter() - self.started
            LOG.debug("loss %s", self.losses[-1])
        return y


@correct(inputs=X, prepare=train)
class LastHiddenNotUsed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(4, 4, batch_first=True)
        self.hidden = None

    def forward(self, x: Tensor) -> Tensor:
        y, self.hidden = self.rnn(x[:, None])
        return y


@correct(inputs=X, mode="train")
class StochasticDepth(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        for i, block in enumerate(self.blocks):
            if not self.training or torch.rand(()) > i / 4:
                x = x + block(x)
        return F.gumbel_softmax(x)


@correct(inputs=X)
class ReparametrisedNoise(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mean, self.log_var = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, torch.distributions.Distribution]:
        d = torch.distributions.Normal(self.mean(x), self.log_var(x).exp())
        return d.rsample(), d


@correct(inputs=X)
class NoiseOfItsOwnSeed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        generator = torch.Generator().manual_seed(7)
        self.register_buffer("planes", torch.randn(4, 4, generator=generator), persistent=False)
        self.order = np.random.default_rng(3).permutation(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x[:, self.order.copy()]) @ self.planes


# ---------------------------------------------------------------------------------------------- tables, caches, buffers


@correct(inputs=torch.randn(2, 3, 4))
class Rotary(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("inv_freq", 1 / 10000 ** (torch.arange(0, 4, 2) / 4), persistent=False)
        self.fc, self.cached, self.cos, self.sin = nn.Linear(4, 4), 0, None, None

    def tables(self, length: int) -> tuple[Tensor, Tensor]:
        if length > self.cached:
            angles = torch.outer(torch.arange(length), self.inv_freq).repeat(1, 2)
            self.cos, self.sin, self.cached = angles.cos(), angles.sin(), length
        return self.cos[:length], self.sin[:length]

    def forward(self, x: Tensor) -> Tensor:
        cos, sin = self.tables(x.shape[1])
        first, second = x.chunk(2, -1)
        return self.fc(x * cos + torch.cat([-second, first], -1) * sin)


@correct(inputs=torch.randn(2, 3, 4))
class CausalMaskGrows(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.register_buffer("mask", torch.ones(1, 1).tril().bool(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.mask.shape[0] < x.shape[1]:
            self.mask = torch.ones(x.shape[1], x.shape[1]).tril().bool()
        scores = (self.fc(x) @ x.mT).masked_fill(~self.mask, -torch.inf)
        return scores.softmax(-1) @ x


@correct(inputs=X)
class MethodCache(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    @staticmethod
    @functools.cache
    def basis(size: int) -> Tensor:
        return torch.eye(size).cumsum(0)

    @functools.cached_property
    def window(self) -> Tensor:
        return torch.hann_window(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x) @ self.basis(4) * self.window


@correct(inputs=X)
class FusedWeightRenewedByHook(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q, self.k = nn.Parameter(torch.randn(4, 4)), nn.Parameter(torch.randn(4, 4))
        self.fuse()
        self.register_load_state_dict_post_hook(lambda module, _keys: module.fuse())

    def fuse(self) -> None:
        self.qk = torch.cat([self.q, self.k], 1).detach()

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.qk


@correct(inputs=X)
class CacheDroppedByTrain(nn.Module):
    """Computed while in eval mode and dropped by `train` and by loading."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.cache = nn.Parameter(torch.randn(4, 4)), None

    def train(self, mode: bool = True) -> nn.Module:
        self.cache = None
        return super().train(mode)

    def _load_from_state_dict(self, *args: Any) -> None:
        self.cache = None
        super()._load_from_state_dict(*args)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            return x @ torch.linalg.qr(self.weight).Q
        if self.cache is None:
            self.cache = torch.linalg.qr(self.weight).Q
        return x @ self.cache


@correct(inputs=X)
class WeakReferenceToParent(nn.Module):
    class Child(nn.Module):
        def __init__(self, parent: nn.Module) -> None:
            super().__init__()
            self.parent = weakref.ref(parent)
            self.weight = nn.Parameter(torch.randn(4))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.weight * self.parent().gain

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.rand(()))
        self.child = self.Child(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.child(x)


@correct(inputs=X)
class PropertyOverBuffer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.register_buffer("_step", torch.zeros((), dtype=torch.int32))

    @property
    def temperature(self) -> Tensor:
        return 0.9**self._step

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x) / self.temperature


class Kind(Enum):
    FAST = "fast"
    EXACT = "exact"


@dataclass(frozen=True)
class Options:
    width: int = 4
    kind: Kind = Kind.EXACT
    scale: tuple[float, ...] = (1.0, 2.0)


@correct(inputs=X)
class ConfigObject(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.options, self.fc = Options(), nn.Linear(4, 4)
        self.act = functools.partial(F.leaky_relu, negative_slope=0.2)
        self.ops = {"double": lambda y: y * 2, "act": F.gelu}

    def forward(self, x: Tensor) -> Tensor:
        x = self.ops["double"](self.act(self.fc(x)))
        return x * sum(self.options.scale) if self.options.kind is Kind.EXACT else x


# ------------------------------------------------------------------------------------------- wrappers, parametrizations


@correct(inputs=X, prepare=train)
def spectral_norm_trained():
    return nn.Sequential(parametrizations.spectral_norm(nn.Linear(4, 4)), nn.ReLU())


@correct(inputs=X)
def own_parametrization():
    class Symmetric(nn.Module):
        def forward(self, w: Tensor) -> Tensor:
            return w.triu() + w.triu(1).mT

        def right_inverse(self, w: Tensor) -> Tensor:
            return w.triu()

    layer = nn.Linear(4, 4)
    parametrize.register_parametrization(layer, "weight", Symmetric())
    return layer


@correct(inputs=X)
def pruned_at_construction():
    layer = nn.Linear(4, 4)
    prune.random_unstructured(layer, "weight", amount=3)
    return layer


@correct(inputs=X, prepare=train)
class LoraMergedInForward(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.base = nn.Linear(4, 4)
        self.base.requires_grad_(False)
        self.a, self.b = nn.Parameter(torch.randn(4, 2)), nn.Parameter(torch.zeros(2, 4))
        self.scaling = 2 / 4

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + x @ (self.a @ self.b) * self.scaling


@correct(inputs=X, prepare=train)
def averaged_model():
    return torch.optim.swa_utils.AveragedModel(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)))


@correct(inputs=X, prepare=train)
class MeanTeacher(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.student, self.teacher = nn.Linear(4, 4), nn.Linear(4, 4).requires_grad_(False)
        self.teacher.load_state_dict(self.student.state_dict())

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            for mine, theirs in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
                mine.lerp_(theirs.detach(), 0.1)
        return self.student(x) - self.teacher(x)


@correct(inputs=X)
class Delegate(nn.Module):
    """Attributes of the wrapped module are its own."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Linear(4, 4)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("model"), name)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


@correct(inputs=X)
class StateOfInnerOnly(nn.Module):
    """Saves and loads without the wrapper's prefix, both ways."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Linear(4, 4)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return self.model.state_dict(*args, **kwargs)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return self.model.load_state_dict(*args, **kwargs)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


@correct(inputs=X)
class RenamesBothWays(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.rand(4))
        self.register_state_dict_post_hook(self._out)
        self.register_load_state_dict_pre_hook(self._in)

    @staticmethod
    def _out(_module: nn.Module, state: Any, prefix: str, _metadata: Any) -> None:
        state[f"{prefix}weight"] = state.pop(f"{prefix}gamma")

    @staticmethod
    def _in(_module: nn.Module, state: Any, prefix: str, *_rest: Any) -> None:
        if f"{prefix}weight" in state:
            state[f"{prefix}gamma"] = state.pop(f"{prefix}weight")

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


@correct(inputs=IDS)
class TiedWithBias(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(8, 4), nn.Linear(4, 8)
        self.head.weight = self.embedding.weight
        self.bias = self.head.bias

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.embedding(ids)) + self.bias


@correct(inputs=X)
class SharedBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        block = nn.Linear(4, 4)
        self.layers = nn.ModuleList([block, nn.Tanh(), block])
        self.by_name = {"first": block}
        self.plan = [(self.layers[0], 2), (self.layers[1], 1)]

    def forward(self, x: Tensor) -> Tensor:
        for layer, times in self.plan:
            for _ in range(times):
                x = layer(x)
        return self.by_name["first"](x)


@correct(inputs=X)
class Names(nn.Module):
    """Names of all kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.module = nn.Linear(4, 4)
        self.add_module("größe", nn.Linear(4, 4))
        self.layers = nn.ModuleDict({"a b": nn.Linear(4, 4), "keys!": nn.Linear(4, 4), "0": nn.Linear(4, 4)})

    def forward(self, x: Tensor) -> Tensor:
        x = self.module(x) + self.größe(x)
        for layer in self.layers.values():
            x = layer(x)
        return x


@correct(inputs=X)
def compiled_with_eager_backend():
    return torch.compile(nn.Linear(4, 4), backend="eager")


@correct(inputs=X)
def scripted():
    return torch.jit.script(nn.Linear(4, 4))


@correct(inputs=X)
def traced_graph():
    return torch.fx.symbolic_trace(nn.Sequential(nn.Linear(4, 4), nn.ReLU()))


@correct(inputs=X, prepare=train)
def batch_norm_without_momentum():
    return nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4, momentum=None))


@correct(inputs={"x": X, "scale": 2.0})
class KeywordsAndStructuredOutput(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, *, x: Tensor, scale: float = 1.0) -> dict[str, Any]:
        return OrderedDict(y=self.fc(x) * scale, shape=x.shape, name="out", nested=[{"z": x}, None])


# --------------------------------------------------------------------------------------------------- loaders and files


class Net(nn.Module):
    def __init__(self, width: int = 4, slope: float = 0.1) -> None:
        super().__init__()
        self.width, self.slope = width, slope
        self.inp, self.norm, self.out = nn.Linear(4, width), nn.BatchNorm1d(width), nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.leaky_relu(self.norm(self.inp(x)), self.slope))


def save_npz(module: nn.Module, path: Path) -> None:
    with path.open("wb") as file:
        np.savez_compressed(file, **{name: tensor.numpy() for name, tensor in module.state_dict().items()})


def load_npz(path: Path) -> nn.Module:
    module = Net()
    with np.load(path) as arrays:
        module.load_state_dict({name: torch.from_numpy(arrays[name]) for name in arrays.files})
    return module


@correct(save=save_npz, load=load_npz, inputs=X, prepare=train)
def compressed_archive():
    return Net()


def save_sharded(module: nn.Module, path: Path) -> None:
    path.mkdir()
    state = module.state_dict()
    index = {key: f"model-{number // 3}.pt" for number, key in enumerate(state)}
    for shard in sorted(set(index.values())):
        torch.save({key: state[key].clone() for key in state if index[key] == shard}, path / shard)
    (path / "index.json").write_text(json.dumps({"weight_map": index}), encoding="utf-8")


def load_sharded(path: Path) -> nn.Module:
    module, state = Net(), {}
    for shard in sorted(set(json.loads((path / "index.json").read_text(encoding="utf-8"))["weight_map"].values())):
        state |= read(path / shard)
    module.load_state_dict(state)
    return module


@correct(save=save_sharded, load=load_sharded, inputs=X, prepare=train)
def shards_with_an_index():
    return Net()


def save_lightning(module: Net, path: Path) -> None:
    state = {f"model.{key}": value for key, value in module.state_dict().items()}
    hyper = {"width": module.width, "slope": module.slope}
    torch.save({"state_dict": state, "hyper_parameters": hyper, "epoch": 3, "callbacks": {}}, path)


def load_lightning(path: Path) -> nn.Module:
    checkpoint = read(path)
    module = Net(**checkpoint["hyper_parameters"])
    module.load_state_dict({key.removeprefix("model."): value for key, value in checkpoint["state_dict"].items()})
    return module.eval()


@correct(save=save_lightning, load=load_lightning, inputs=X, prepare=train)
def lightning_checkpoint():
    return Net(width=6, slope=0.4)


def save_pretrained(module: Net, path: Path) -> None:
    path.mkdir()
    (path / "config.json").write_text(json.dumps({"width": module.width, "slope": module.slope}), encoding="utf-8")
    torch.save(module.state_dict(), path / "weights.pt")


def from_pretrained(path: Path) -> nn.Module:
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    with torch.device("meta"):
        module = Net(**config)
    module.load_state_dict(read(path / "weights.pt"), assign=True)
    return module.eval()


@correct(save=save_pretrained, load=from_pretrained, inputs=X, prepare=train)
def folder_of_config_and_weights():
    return Net(width=5)


def save_gzip(module: nn.Module, path: Path) -> None:
    buffer = io.BytesIO()
    torch.save({"sha": "", "state": module.state_dict()}, buffer)
    with gzip.open(path, "wb") as file:
        file.write(hashlib.sha256(buffer.getvalue()).digest() + buffer.getvalue())


def load_gzip(path: Path) -> nn.Module:
    with gzip.open(path, "rb") as file:
        data = file.read()
    if hashlib.sha256(data[32:]).digest() != data[:32]:
        raise ValueError("damaged")
    module = Net()
    module.load_state_dict(read(io.BytesIO(data[32:]))["state"])
    return module


@correct(save=save_gzip, load=load_gzip, inputs=X, prepare=train)
def compressed_with_a_digest():
    return Net()


def save_pickle(module: nn.Module, path: Path) -> None:
    with path.open("wb") as file:
        pickle.dump({key: value.numpy() for key, value in module.state_dict().items()}, file)


def load_pickle(path: Path) -> nn.Module:
    module = Net()
    state = pickle.loads(path.read_bytes())
    module.load_state_dict({key: torch.as_tensor(value) for key, value in state.items()}, strict=True)
    return module


@correct(save=save_pickle, load=load_pickle, inputs=X, prepare=train)
def pickled_arrays():
    return Net()


def save_zip(module: nn.Module, path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, tensor in module.state_dict().items():
            buffer = io.BytesIO()
            np.save(buffer, tensor.numpy())
            archive.writestr(f"{name}.npy", buffer.getvalue())


def load_zip(path: Path) -> nn.Module:
    module = Net()
    with zipfile.ZipFile(path) as archive:
        state = {
            name.removesuffix(".npy"): torch.from_numpy(np.load(io.BytesIO(archive.read(name))))
            for name in archive.namelist()
        }
    module.load_state_dict(state)
    return module


@correct(save=save_zip, load=load_zip, inputs=X, prepare=train)
def one_array_a_member():
    return Net()


class Gan(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.generator, self.discriminator = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.discriminator(self.generator(x))


def save_gan(module: Gan, path: Path) -> None:
    torch.save({"g": module.generator.state_dict(), "d": module.discriminator.state_dict(), "step": 7}, path)


def load_gan(path: Path) -> nn.Module:
    module, checkpoint = Gan(), read(path)
    module.generator.load_state_dict(checkpoint["g"])
    module.discriminator.load_state_dict(checkpoint["d"])
    return module


@correct(save=save_gan, load=load_gan, inputs=X)
def networks_apart():
    return Gan()


def save_adapter(module: nn.Module, path: Path) -> None:
    torch.save({name: value for name, value in module.named_parameters() if value.requires_grad}, path)


class Adapted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(11)  # stands for a base that is downloaded
            self.base = nn.Linear(4, 4).requires_grad_(False)
        self.adapter = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.adapter(x)


def load_adapter(path: Path) -> nn.Module:
    module = Adapted()
    result = module.load_state_dict(read(path), strict=False)
    wrong = [key for key in result.missing_keys if not key.startswith("base.")] + result.unexpected_keys
    if wrong:
        raise KeyError(wrong)
    return module


@correct(save=save_adapter, load=load_adapter, inputs=X)
def adapter_over_a_given_base():
    return Adapted()


def save_ordinary_and_tidy(module: nn.Module, path: Path) -> None:
    was = module.training
    module.eval()
    beside = path.with_suffix(".part")
    torch.save({"state": {key: value.cpu() for key, value in module.state_dict().items()}, "torch": "2"}, beside)
    os.replace(beside, path)  # noqa: PTH105 -- as everybody writes it
    module.train(was)


def load_by_version(path: Path) -> nn.Module:
    checkpoint = read(path)
    if checkpoint.get("torch") != "2":
        raise ValueError(f"checkpoint of another version: {checkpoint.get('torch')}")
    module = Net()
    missing, unexpected = module.load_state_dict(checkpoint["state"], strict=False)
    assert not missing, missing
    assert not unexpected, unexpected
    return module


@correct(save=save_ordinary_and_tidy, load=load_by_version, inputs=X, prepare=train)
def asserted_by_the_loader():
    return Net()


def save_dataclass(module: nn.Module, path: Path) -> None:
    torch.save({"options": {**asdict(Options()), "kind": Options().kind.value}, "state": module.state_dict()}, path)


def load_dataclass(path: Path) -> nn.Module:
    checkpoint = read(path)
    options = Options(**{**checkpoint["options"], "kind": Kind(checkpoint["options"]["kind"])})
    module = Net(options.width)
    module.load_state_dict(checkpoint["state"])
    module.options = options
    return module


@correct(save=save_dataclass, load=load_dataclass, inputs=X)
def options_as_plain_data():
    return Net()


def load_named(module: nn.Module, state: Any) -> None:
    """Copies by name, and refuses what does not fit."""
    own = dict(module.named_parameters()) | dict(module.named_buffers())
    if own.keys() != state.keys():
        raise KeyError(sorted(own.keys() ^ state.keys()))
    with torch.no_grad():
        for name, tensor in own.items():
            if tensor.shape != state[name].shape:
                raise ValueError(name)
            tensor.copy_(state[name])


@correct(load_state=load_named, inputs=X, prepare=train)
def copied_by_name():
    return Net()


def load_with_context(path: Path) -> nn.Module:
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        module = Net()
        for name, tensor in read(path).items():
            module.get_submodule(name.rpartition(".")[0])  # raises where there is none
            module.state_dict()[name].copy_(tensor.view_as(module.state_dict()[name]))
        if len(read(path)) != len(module.state_dict()):
            raise ValueError("not complete")
    return module


@correct(load=load_with_context, inputs=X, prepare=train)
def entry_by_entry_and_counted():
    return Net()


def load_compiled(path: Path) -> nn.Module:
    module = torch.compile(Net(), backend="eager")
    module.load_state_dict(read(path))
    return module


@correct(load=load_compiled, inputs=X, prepare=train)
def compiled_on_both_sides():
    return torch.compile(Net(), backend="eager")


@correct(inputs=X, prepare=lambda module: module.half().float())
def rounded_before_it_is_saved():
    return Net()


@correct()
class NoState(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.relu()


@correct(inputs=X)
class ReturnsNothing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> None:
        self.fc(x)


@correct(inputs=X)
class MutatesItsInput(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return x.add_(1).mul_(self.fc(x))
