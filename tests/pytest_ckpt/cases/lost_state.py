"""State that decides the outputs and is in no state_dict."""

# Code under test, as people write it: to type it would change it.
# mypy: ignore-errors

from __future__ import annotations

import random
import types
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.pytest_ckpt.cases import faulty

X = torch.linspace(-1.0, 1.0, 8).reshape(2, 4)


# ------------------------------------------------------------------------------------------ tensors in plain attributes


@faulty("unsaved-state", key="projection", says="instead of assigning self.projection", inputs=X)
class RandomTensorAttribute(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.projection = torch.randn(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.projection


@faulty("unsaved-state", key="alpha", inputs=X)
class ParameterTimesNumber(nn.Module):
    """`nn.Parameter(...) * 0.1` is a Tensor and no Parameter any more."""

    def __init__(self) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.randn(4)) * 0.1

    def forward(self, x: Tensor) -> Tensor:
        return x * self.alpha


@faulty("unsaved-state", key="weights", says="nn.ParameterList(...) in place of", inputs=X)
class ParametersInList(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weights = [nn.Parameter(torch.randn(4, 4)) for _ in range(3)]

    def forward(self, x: Tensor) -> Tensor:
        for weight in self.weights:
            x = x @ weight
        return x


@faulty("unsaved-state", key="block.scales", says="nn.ParameterDict(...) in place of", inputs=X)
class ParametersInDictBelow(nn.Module):
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)
            self.scales = {"in": nn.Parameter(torch.rand(4)), "out": nn.Parameter(torch.rand(4))}

        def forward(self, x: Tensor) -> Tensor:
            return self.linear(x * self.scales["in"]) * self.scales["out"]

    def __init__(self) -> None:
        super().__init__()
        self.block = self.Block()

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x)


@faulty("unsaved-state", key="embed", inputs=X)
class CodebookAttribute(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(4, 4)
        self.embed = torch.randn(6, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        indices = torch.cdist(self.encoder(x), self.embed).argmin(-1)
        return self.embed[indices], indices


@faulty("unsaved-state", key="u", inputs=X)
class PowerIterationVector(nn.Module):
    """Hand-written spectral normalisation whose vector is renewed in training only."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4))
        self.u = functional.normalize(torch.randn(4), dim=0)

    def forward(self, x: Tensor) -> Tensor:
        v = functional.normalize(self.weight.t() @ self.u, dim=0)
        return x @ self.weight / (self.u @ self.weight @ v)


@faulty("unsaved-state", key="shadow", inputs=X, prepare=lambda module: module.update())
class ShadowWeights(nn.Module):
    """An EMA that answers with its own copies in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(4, 2)
        self.shadow = {name: tensor.detach().clone() for name, tensor in self.net.named_parameters()}

    def update(self) -> None:
        for tensor in self.shadow.values():
            tensor.mul_(0.9)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x) if self.training else torch.func.functional_call(self.net, self.shadow, (x,))


@faulty("unsaved-state", key="masks", inputs=X, prepare=lambda module: module.prune())
class PruningMasks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.masks: dict[str, Tensor] = {}

    def prune(self) -> None:
        weight = self.fc.weight.detach().abs()
        self.masks["fc"] = (weight > weight.median()).float()

    def forward(self, x: Tensor) -> Tensor:
        mask = self.masks.get("fc", 1.0)
        return functional.linear(x, self.fc.weight * mask, self.fc.bias)


@faulty("unsaved-state", key="bank", inputs=X, prepare=lambda module: module.collect())
class DequeOfFeatures(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Linear(4, 3)
        self.bank: deque[Tensor] = deque(maxlen=16)

    def collect(self) -> None:
        with torch.no_grad():
            self.bank.extend(self.backbone(torch.randn(4)) for _ in range(5))

    def forward(self, x: Tensor) -> Tensor:
        features = self.backbone(x)
        return torch.cdist(features, torch.stack(list(self.bank))).amin(-1) if self.bank else features.sum(-1)


@faulty("unsaved-state", key=("stats", "stats.mean"), inputs=X, prepare=lambda module: module.fit(torch.randn(9, 4)))
class DataclassOfStatistics(nn.Module):
    @dataclass
    class Stats:
        mean: Tensor = field(default_factory=lambda: torch.zeros(4))
        count: int = 0

    def __init__(self) -> None:
        super().__init__()
        self.stats = self.Stats()
        self.head = nn.Linear(4, 1)

    def fit(self, x: Tensor) -> None:
        self.stats.mean, self.stats.count = x.mean(0), len(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x - self.stats.mean)


@faulty("unsaved-state", key="store", says="return self.store from get_extra_state(), and take it back", inputs=X)
class NamespaceOfTensors(nn.Module):
    """Its own `__setattr__` puts tensors where torch does not look."""

    def __init__(self) -> None:
        super().__init__()
        self.store = types.SimpleNamespace()
        self.gain = torch.rand(4)

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, Tensor) and not isinstance(value, nn.Parameter):
            setattr(self.store, name, value)
        else:
            super().__setattr__(name, value)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.store.gain


@faulty("unsaved-state", key=("offset", "_offset"), inputs=X)
class SlottedAttribute(nn.Module):
    __slots__ = ("offset",)

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.offset = torch.randn(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) + self.offset


@faulty("unsaved-state", key=("scale", "_held"), inputs=X)
class PropertyOverDict(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self._held: dict[str, Tensor] = {}
        self.scale = torch.rand(4)

    @property
    def scale(self) -> Tensor:
        return self._held["scale"]

    @scale.setter
    def scale(self, value: Tensor) -> None:
        self._held["scale"] = value

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


# ------------------------------------------------------------------------------------------ numbers, arrays, containers


@faulty("unsaved-state", key="step", inputs=X, prepare=lambda module: [module(X) for _ in range(3)])
class WarmupCounter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.step = 0

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.step += 1
        return self.fc(x) * min(1.0, self.step / 10)


@faulty("unsaved-state", key="gumbel.temperature", inputs=X, prepare=lambda module: module.gumbel.anneal())
class AnnealedTemperature(nn.Module):
    class Gumbel(nn.Module):
        temperature = 1.0

        def anneal(self) -> None:
            self.temperature *= 0.5

        def forward(self, logits: Tensor) -> Tensor:
            return torch.softmax(logits / self.temperature, -1)

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.gumbel = nn.Linear(4, 4), self.Gumbel()

    def forward(self, x: Tensor) -> Tensor:
        return self.gumbel(self.fc(x))


@faulty("unsaved-state", key="drop_prob", inputs=X, mode="train", prepare=lambda module: module.set_epoch(9))
class StochasticDepthSchedule(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(4, 4)
        self.drop_prob = 0.0

    def set_epoch(self, epoch: int) -> None:
        self.drop_prob = 0.1 * epoch

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.drop_prob:
            return x + self.body(x)
        keep = 1 - self.drop_prob
        return x + self.body(x) * x.new_empty(len(x), 1).bernoulli_(keep) / keep


@faulty("unsaved-state", key=("normalize.mean", "normalize.var"), inputs=X, prepare=lambda module: module(X + 3))
class RunningNormalizerOfFloats(nn.Module):
    class Normalize(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mean, self.var, self.count = 0.0, 1.0, 1e-4

        def forward(self, x: Tensor) -> Tensor:
            if self.training:
                self.mean, self.var = float(x.mean()), float(x.var())
                self.count += x.numel()
            return (x - self.mean) / (self.var + 1e-6) ** 0.5

    def __init__(self) -> None:
        super().__init__()
        self.normalize, self.policy = self.Normalize(), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.policy(self.normalize(x))


@faulty("unsaved-state", key=("low", "high"), inputs=9 * X, prepare=lambda module: module(X))
class ObserverRange(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.low, self.high = float("inf"), float("-inf")

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.low, self.high = min(self.low, x.min().item()), max(self.high, x.max().item())
        return x.clamp(self.low, self.high) if self.low < self.high else x


@faulty("unsaved-state", key="frequencies", inputs=X)
class RandomFourierFeatures(nn.Module):
    """Frequencies drawn with NumPy."""

    def __init__(self) -> None:
        super().__init__()
        self.frequencies = np.random.default_rng().normal(size=(4, 6)).astype(np.float32)
        self.head = nn.Linear(12, 1)

    def forward(self, x: Tensor) -> Tensor:
        phase = x @ torch.from_numpy(self.frequencies)
        return self.head(torch.cat([phase.sin(), phase.cos()], -1))


@faulty("unsaved-state", key="order", inputs=X)
class FlowPermutation(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.order = torch.randperm(64).tolist()[:4]
        self.linear = nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        wide = torch.zeros(len(x), 64)
        wide[:, self.order] = x
        return self.linear(wide)


@faulty("unsaved-state", key="salt", inputs=torch.arange(6))
class HashingTrick(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.salt = random.randrange(1, 2**31, 2)
        self.table = nn.Embedding(97, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.table((tokens * self.salt + 17) % 97)


@faulty("unsaved-state", key="vocabulary", inputs=(["cat", "dog"],), prepare=lambda module: module.fit("a dog a cat"))
class VocabularyOfFit(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.vocabulary: dict[str, int] = {}
        self.embedding = nn.Embedding(10, 3)

    def fit(self, text: str) -> None:
        for word in text.split():
            self.vocabulary.setdefault(word, len(self.vocabulary) + 1)

    def forward(self, words: list[str]) -> Tensor:
        return self.embedding(torch.tensor([self.vocabulary.get(word, 0) for word in words]))


@faulty("unsaved-state", key="selected", inputs=X, prepare=lambda module: module.select())
class FeatureSelection(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.selected: set[int] = set()
        self.fc = nn.Linear(4, 2)

    def select(self) -> None:
        self.selected = {0, 3}

    def forward(self, x: Tensor) -> Tensor:
        mask = torch.tensor([float(index in self.selected) for index in range(4)])
        return self.fc(x * mask)


@faulty("unsaved-state", key="class_weights", inputs=(X, torch.tensor([0, 2])), prepare=lambda module: module.balance())
class ClassWeights(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)
        self.class_weights = [1.0, 1.0, 1.0]

    def balance(self) -> None:
        self.class_weights = [0.2, 1.0, 1.8]

    def forward(self, x: Tensor, target: Tensor) -> dict[str, Tensor]:
        logits = self.fc(x)
        return {"logits": logits, "loss": functional.cross_entropy(logits, target, torch.tensor(self.class_weights))}


class _StandardScaler:
    def __init__(self) -> None:
        self.mean_: np.ndarray | None = None
        self.scale_: np.ndarray | None = None

    def fit(self, x: np.ndarray) -> None:
        self.mean_, self.scale_ = x.mean(0), x.std(0)

    def transform(self, x: np.ndarray) -> np.ndarray:
        return x if self.mean_ is None else (x - self.mean_) / self.scale_


@faulty(
    "unsaved-state", key="scaler", inputs=X, prepare=lambda module: module.scaler.fit(np.arange(12.0).reshape(3, 4))
)
class FittedScaler(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scaler = _StandardScaler()
        self.fc = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.from_numpy(self.scaler.transform(x.numpy())).float())


@faulty("unsaved-state", key="initialized", inputs=X, prepare=lambda module: module(2 * X + 1))
class DataDependentInitialization(nn.Module):
    """Activation normalisation that starts from its first batch, and again after every load."""

    def __init__(self) -> None:
        super().__init__()
        self.loc, self.scale = nn.Parameter(torch.zeros(4)), nn.Parameter(torch.ones(4))
        self.initialized = False

    def forward(self, x: Tensor) -> Tensor:
        if not self.initialized:
            with torch.no_grad():
                self.loc.copy_(-x.mean(0))
                self.scale.copy_(1 / (x.std(0) + 1e-6))
            self.initialized = True
        return (x + self.loc) * self.scale


@faulty("unsaved-state", key="merged", inputs=X, prepare=lambda module: module.eval())
class AdapterMergedTwice(nn.Module):
    """Merges its adapter on eval(); saved merged, a fresh one merges it again."""

    def __init__(self) -> None:
        super().__init__()
        self.base = nn.Linear(4, 4)
        self.down, self.up = nn.Parameter(torch.randn(2, 4)), nn.Parameter(torch.randn(4, 2))
        self.merged = False

    def train(self, mode: bool = True) -> AdapterMergedTwice:
        super().train(mode)
        if mode == self.merged:
            self.base.weight.data += (-1 if mode else 1) * (self.up @ self.down).data
            self.merged = not mode
        return self

    def forward(self, x: Tensor) -> Tensor:
        result = self.base(x)
        return result if self.merged else result + x @ self.down.t() @ self.up.t()


@faulty("unsaved-state", key="pointer", inputs=X, mode="train", prepare=lambda module: module(X))
class QueuePointer(nn.Module):
    """Momentum contrast's queue with a Python number for its pointer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("queue", torch.randn(6, 4))
        self.pointer = 0

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.queue[self.pointer : self.pointer + len(x)] = x
            self.pointer = (self.pointer + len(x)) % 6
        return x @ self.queue.t()


@faulty("unsaved-state", key=("rmax", "dmax"), inputs=X, mode="train", prepare=lambda module: module.advance())
class BatchRenormLimits(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rmax = 1.0
        self.register_buffer("mean", torch.full((4,), 0.3))
        self.register_buffer("std", torch.full((4,), 0.1))

    def advance(self) -> None:
        self.rmax = 3.0

    def forward(self, x: Tensor) -> Tensor:
        std = x.std(0)
        r = (std / self.std).clamp(1 / self.rmax, self.rmax)
        return (x - x.mean(0)) / std * r


# ------------------------------------------------------------------------------------------------------- random sources


@faulty(
    "unsaved-state",
    says="get_state() from get_extra_state",
    key="generator",
    inputs=X,
    prepare=lambda module: module(X),
)
class OwnTorchGenerator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(3)

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.rand(x.shape, generator=self.generator)


@faulty("unsaved-state", key="noise.rng", inputs=X)
class OwnPythonRandom(nn.Module):
    class Noise(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rng = random.Random()

        def forward(self, x: Tensor) -> Tensor:
            return x * self.rng.uniform(0.5, 1.5)

    def __init__(self) -> None:
        super().__init__()
        self.noise = self.Noise()

    def forward(self, x: Tensor) -> Tensor:
        return self.noise(x)


@faulty("unsaved-state", key="rng", inputs=X)
class OwnNumpyGenerator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rng = np.random.default_rng()

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.from_numpy(self.rng.normal(size=x.shape)).float()


# ------------------------------------------------------------------------------------------ callables and their insides


@faulty("unsaved-state", key="activation", inputs=X, prepare=lambda module: module.tune())
class PartialActivation(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.activation = partial(functional.leaky_relu, negative_slope=0.01)

    def tune(self) -> None:
        self.activation = partial(functional.leaky_relu, negative_slope=0.3)

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(x)


@faulty("unsaved-state", key="normalize", inputs=X)
class ClosureOverRandomValue(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        scale = torch.rand(4) + 0.5
        self.normalize = lambda x: x / scale

    def forward(self, x: Tensor) -> Tensor:
        return self.normalize(x)


@faulty("unsaved-submodule", "unsaved-state", says="to an attribute of its own", key="project", inputs=X)
class ClosureOverModule(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        inner = nn.Linear(4, 4)
        self.project = lambda x: inner(x).relu()

    def forward(self, x: Tensor) -> Tensor:
        return self.project(x)


@faulty("unsaved-submodule", "unsaved-state", key="project", inputs=X)
class PartialOverModule(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.project = partial(_residual, nn.Linear(4, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.project(x)


def _residual(module: nn.Module, x: Tensor) -> Tensor:
    return x + module(x)


@faulty("unsaved-state", "unsaved-submodule", key="project", inputs=X)
class BoundMethodOfUnregisteredModule(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(4, 4).forward

    def forward(self, x: Tensor) -> Tensor:
        return self.project(x)


@faulty("unsaved-state", key="body.gain", inputs=X)
class HookWithValue(nn.Module):
    """A forward hook's closure holds the value."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(4, 4), nn.Linear(4, 2)
        gain = torch.rand(4) + 0.5
        self.body.register_forward_hook(lambda _module, _inputs, output: output * gain)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


# ---------------------------------------------------------------------------------------------- unregistered submodules


@faulty("unsaved-submodule", says="nn.ModuleList(self", key="layers", inputs=X)
class LayersInList(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = [nn.Linear(4, 4) for _ in range(2)]

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


@faulty("unsaved-submodule", says="nn.ModuleList(self", key="layers")
class LayersInListWithoutInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4)
        self.layers = [nn.Linear(4, 4) for _ in range(2)]


@faulty("unsaved-submodule", key="stages", inputs=X)
class LayersInNestedContainers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stages = [("stem", [nn.Linear(4, 4)]), ("body", [nn.Linear(4, 4), nn.ReLU()])]

    def forward(self, x: Tensor) -> Tensor:
        for _, layers in self.stages:
            x = nn.Sequential(*layers)(x)
        return x


@faulty("unsaved-submodule", key="moe.experts", inputs=X)
class ExpertsInDict(nn.Module):
    class Mixture(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate = nn.Linear(4, 2)
            self.experts = {index: nn.Linear(4, 4) for index in range(2)}

        def forward(self, x: Tensor) -> Tensor:
            gates = self.gate(x).softmax(-1)
            return sum(gates[:, index : index + 1] * expert(x) for index, expert in self.experts.items())

    def __init__(self) -> None:
        super().__init__()
        self.moe = self.Mixture()

    def forward(self, x: Tensor) -> Tensor:
        return self.moe(x)


class _Tower:
    """A helper that is no module."""

    def __init__(self) -> None:
        self.net = nn.Linear(4, 2)

    def __call__(self, x: Tensor) -> Tensor:
        return self.net(x)


@faulty("unsaved-submodule", "unsaved-state", key=("tower", "tower.net"), inputs=X)
class ModuleInPlainObject(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tower = _Tower()

    def forward(self, x: Tensor) -> Tensor:
        return self.tower(x)


@faulty("unsaved-submodule", "unsaved-state", key=("tower", "tower.net"))
class ModuleInPlainObjectWithoutInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tower = _Tower()


@faulty("unsaved-submodule", key="teacher", inputs=X)
class ModuleHiddenFromRegistration(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.student = nn.Linear(4, 2)
        self.__dict__["teacher"] = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.student(x), self.teacher(x)


@faulty("unsaved-submodule", "unsaved-state", key="critics", inputs=X)
class ModulesInSet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.critics = {nn.Linear(4, 1)}

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([critic(x) for critic in self.critics]).amin(0)


@faulty(
    "unsaved-submodule",
    "unsaved-state",
    says="nn.ModuleDict(self",
    key=("adapters",),
    inputs=X,
    prepare=lambda module: module.add("task"),
)
class AdaptersInDict(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.base = nn.Linear(4, 4)
        self.adapters: dict[str, nn.Module] = {}

    def add(self, name: str) -> None:
        self.adapters[name] = nn.Linear(4, 4, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + sum(adapter(x) for adapter in self.adapters.values())


# ----------------------------------------------------------------------------------------------- non-persistent buffers


@faulty("nonpersistent-buffer", key="projection", inputs=X)
class NonpersistentProjection(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("projection", torch.randn(4, 3), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.projection


@faulty("nonpersistent-buffer", key="norm.mean", inputs=X, prepare=lambda module: module(X + 1))
class NonpersistentRunningMean(nn.Module):
    class Center(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mean", torch.zeros(4), persistent=False)

        def forward(self, x: Tensor) -> Tensor:
            if self.training:
                self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
            return x - self.mean

    def __init__(self) -> None:
        super().__init__()
        self.norm = self.Center()

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x)


@faulty("nonpersistent-buffer", key="permutation", inputs=X)
class NonpersistentPermutation(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 4)
        self.register_buffer("permutation", torch.randperm(64), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.repeat(1, 16)[:, self.permutation] * torch.arange(64))


@faulty("nonpersistent-buffer", key="hasher.planes", inputs=X)
class HashingPlanes(nn.Module):
    class Hasher(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("planes", torch.randn(4, 12), persistent=False)

        def forward(self, x: Tensor) -> Tensor:
            return ((x @ self.planes > 0).long() * 2 ** torch.arange(12)).sum(-1)

    def __init__(self) -> None:
        super().__init__()
        self.hasher, self.table = self.Hasher(), nn.Embedding(4096, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.table(self.hasher(x))


@faulty("nonpersistent-buffer", key="counts", inputs=X, mode="train", prepare=lambda module: module(X))
class NonpersistentUpdateCount(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("total", torch.zeros(4))
        self.register_buffer("counts", torch.zeros(()), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.total += x.sum(0)
            self.counts += len(x)
        return x - self.total / self.counts.clamp(min=1)


# ----------------------------------------------------------------------------------- derived from the weights too early


@faulty("stale-cache", key="inverse", inputs=X)
class InverseOfParameter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.randn(4))
        self.inverse = torch.exp(-self.log_scale.detach())

    def forward(self, x: Tensor) -> Tensor:
        return x * self.inverse


@faulty("stale-cache", key="quantizer.squared", inputs=X)
class CodebookNorms(nn.Module):
    class Quantizer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("codes", torch.randn(5, 4))
            self.register_buffer("squared", self.codes.pow(2).sum(-1), persistent=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.squared - 2 * x @ self.codes.t()

    def __init__(self) -> None:
        super().__init__()
        self.quantizer = self.Quantizer()

    def forward(self, x: Tensor) -> Tensor:
        return self.quantizer(x)


@faulty("stale-cache", "unsaved-state", key="limit", inputs=X)
class NumberOfParameter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.threshold = nn.Parameter(torch.rand(()))
        self.limit = self.threshold.item()

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(max=self.limit) * self.threshold


@faulty("stale-cache", "unsaved-state", key="folded", inputs=X)
class FoldedWeights(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.gain = nn.Linear(4, 4), nn.Parameter(torch.rand(4))
        self.folded = [self.fc.weight.detach() * self.gain.detach(), self.fc.bias.detach().clone()]

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, *self.folded)


# -------------------------------------------------------------------------------------- one culprit amid many suspects


class _Suspicious(nn.Module):
    """Holds much that differs from instance to instance and that no output depends on."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.born, self.trace = 0, random.random(), [torch.randn(2)]
        self.spare, self.examples = torch.randn(4), {"x": torch.randn(3)}
        self.unused = [nn.Linear(4, 4)]
        self.register_buffer("scratch", torch.randn(4), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.scratch = x.mean(0)
        return x


@faulty("unsaved-state", key="2.offset", alone=True, inputs=X, prepare=lambda module: module(X))
def one_tensor_amid_many_suspects():
    module = nn.Sequential(_Suspicious(), _Suspicious(), _Suspicious(), _Suspicious())
    module[2].offset = torch.randn(4)
    module[2].register_forward_hook(lambda owner, _inputs, output: output + owner.offset)
    return module


@faulty("nonpersistent-buffer", key="3.center", alone=True, inputs=X, prepare=lambda module: module(X))
def one_buffer_amid_many_suspects():
    module = nn.Sequential(_Suspicious(), _Suspicious(), _Suspicious(), _Suspicious())
    module[3].register_buffer("center", torch.randn(4), persistent=False)
    module[3].register_forward_hook(lambda owner, _inputs, output: output - owner.center)
    return module


@faulty("unsaved-state", key=("left", "right"), alone=True, inputs=X)
class TwoCulprits(_Suspicious):
    """Both count, so both are named."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = torch.randn(4), torch.randn(4)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.left + self.right
