"""Modules that training, surgery or a first forward changes in a way that no checkpoint brings back."""

# Code under test, as people write it: to type it would change it.
# mypy: ignore-errors

from __future__ import annotations

import copy
import io
import itertools
import random
import types
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.pytest_ckpt.cases import faulty

X = torch.linspace(-1.0, 1.0, 8).reshape(2, 4)


# -------------------------------------------------------------------------------------------------- surgery on settings


def set_attribute(path: str, value: Any) -> Any:
    """Give a prepare that sets one attribute of a submodule."""

    def prepare(module: nn.Module) -> None:
        owner, _, name = path.rpartition(".")
        setattr(module.get_submodule(owner), name, value)

    return prepare


@faulty("unsaved-state", "config-lost", key="1.eps", inputs=X, prepare=set_attribute("1.eps", 0.5))
def epsilon_of_a_norm():
    return nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))


@faulty(
    "unsaved-state",
    "config-lost",
    says="torch.tensor(...)) instead",
    key="1.p",
    inputs=X,
    mode="train",
    prepare=set_attribute("1.p", 0.9),
)
def dropout_rate():
    return nn.Sequential(nn.Linear(4, 64), nn.Dropout(0.1))


@faulty(
    "unsaved-state", "config-lost", key="0.stride",
    inputs=torch.randn(1, 2, 9), prepare=set_attribute("0.stride", (2,)),
)  # fmt: skip
def stride_of_a_convolution():
    return nn.Sequential(nn.Conv1d(2, 2, 3))


@faulty("unsaved-state", key="0.max_norm", inputs=torch.tensor([0, 3]), prepare=set_attribute("0.max_norm", 0.1))
def norm_of_an_embedding():
    return nn.Sequential(nn.Embedding(5, 4))


@faulty(
    "unsaved-state", "config-lost", key="0.batch_first",
    inputs=torch.randn(3, 2, 4), prepare=set_attribute("0.batch_first", True),
)  # fmt: skip
def batch_first_of_a_recurrent_layer():
    return nn.Sequential(nn.GRU(4, 3))


@faulty("unsaved-state", "unsaved-submodule", key="1", inputs=X, prepare=lambda m: m.__setitem__(1, nn.Tanh()))
def activation_swapped():
    return nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))


def _patched(self: nn.Linear, x: Tensor) -> Tensor:
    return functional.linear(x, self.weight, self.bias) * 0.5


def patch(module: nn.Sequential) -> None:
    module[0].forward = types.MethodType(_patched, module[0])


@faulty("unsaved-state", key="0.forward", inputs=X, prepare=patch)
def forward_patched():
    return nn.Sequential(nn.Linear(4, 4), nn.ReLU())


def steer(module: nn.Sequential) -> None:
    direction = torch.randn(4)
    module[0].register_forward_hook(lambda _module, _inputs, output: output + direction)


@faulty("unsaved-state", key=("0", "0._forward_hooks"), inputs=X, prepare=steer)
def steering_hook_added():
    return nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))


def shorten(module: nn.Sequential) -> None:
    del module[-1]


@faulty("not-loadable", key=("2.weight", "2.bias"), inputs=X, prepare=shorten)
def last_layer_dropped():
    return nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))


def prune_rows(module: nn.Sequential) -> None:
    keep = module[0].weight.detach().norm(dim=1).argsort()[2:]
    first, last = nn.Linear(4, 4), nn.Linear(4, 2)
    first.weight, first.bias = nn.Parameter(module[0].weight[keep]), nn.Parameter(module[0].bias[keep])
    last.weight = nn.Parameter(module[1].weight[:, keep])
    module[0], module[1] = first, last


@faulty("not-loadable", key=("0.weight", "0.bias", "1.weight"), inputs=X, prepare=prune_rows)
def channels_pruned():
    return nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 2))


@faulty("not-loadable", key=("0.weight", "0.bias"), prepare=lambda module: module.pop(0))
def first_layer_popped():
    return nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 4), nn.Linear(4, 5))


def share_layers(module: nn.ModuleDict) -> None:
    module["decoder"] = module["encoder"]


@faulty("tie-broken", key=("decoder.weight", "decoder.bias", "encoder.weight"), prepare=share_layers)
def layers_shared_after_construction():
    return nn.ModuleDict({"encoder": nn.Linear(4, 4), "decoder": nn.Linear(4, 4)})


def share_statistics(module: nn.Sequential) -> None:
    module[1].running_mean = module[0].running_mean


@faulty("tie-broken", key=("1.running_mean", "0.running_mean"), inputs=X, prepare=share_statistics)
def statistics_shared_after_construction():
    return nn.Sequential(nn.BatchNorm1d(4), nn.BatchNorm1d(4))


_SERIAL = itertools.count()


@faulty("not-loadable", key=("dense_0.weight", "dense_1.weight", "dense_2.weight", "dense_3.weight"), inputs=X)
class NamedByAGlobalCounter(nn.Module):
    """Names its layers one after the other, over all instances in the process."""

    def __init__(self) -> None:
        super().__init__()
        self.name = f"dense_{next(_SERIAL) % 4}"
        self.add_module(self.name, nn.Linear(4, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.get_submodule(self.name)(x)


# ----------------------------------------------------------------------------------------------- what fit leaves behind


@faulty("unsaved-state", key="train_inputs", inputs=X, prepare=lambda module: module.fit(torch.randn(5, 4)))
class GaussianProcess(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(()))
        self.train_inputs: tuple[Tensor, ...] | None = None

    def fit(self, x: Tensor) -> None:
        self.train_inputs = (x,)

    def forward(self, x: Tensor) -> Tensor:
        if self.train_inputs is None:
            return x.sum(-1)
        return torch.exp(-torch.cdist(x, self.train_inputs[0]) * self.log_scale.exp()).sum(-1)


@faulty("unsaved-state", key="snapshots", inputs=X, prepare=lambda module: module.snapshot())
class SnapshotEnsemble(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(4, 2)
        self.snapshots: list[dict[str, Tensor]] = []

    def snapshot(self) -> None:
        self.snapshots.append({key: value + 0.1 for key, value in self.net.state_dict().items()})

    def forward(self, x: Tensor) -> Tensor:
        states = [*self.snapshots, dict(self.net.named_parameters())]
        return torch.stack([torch.func.functional_call(self.net, state, (x,)) for state in states]).mean(0)


class _Tokenizer:
    def __init__(self) -> None:
        self.vocab: dict[str, int] = {}
        self.merges: list[tuple[str, str]] = []

    def train(self, words: list[str]) -> None:
        self.vocab = {word: number + 1 for number, word in enumerate(words)}

    def __call__(self, text: str) -> Tensor:
        return torch.tensor([self.vocab.get(word, 0) for word in text.split()])


@faulty(
    "unsaved-state", key=("tokenizer", "tokenizer.vocab"),
    inputs="a small dog", prepare=lambda module: module.tokenizer.train(["a", "dog"]),
)  # fmt: skip
class TrainedTokenizer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tokenizer, self.embedding = _Tokenizer(), nn.Embedding(9, 3)

    def forward(self, text: str) -> Tensor:
        return self.embedding(self.tokenizer(text))


class _QuantizationParameters(NamedTuple):
    scale: float
    zero_point: int


@faulty("unsaved-state", key="fake_quant.parameters_", inputs=X, prepare=lambda module: module.fake_quant.observe(X))
class CalibratedQuantizer(nn.Module):
    class FakeQuant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parameters_ = _QuantizationParameters(1.0, 0)

        def observe(self, x: Tensor) -> None:
            self.parameters_ = _QuantizationParameters(float(x.abs().max() / 7), 1)

        def forward(self, x: Tensor) -> Tensor:
            return torch.fake_quantize_per_tensor_affine(x, *self.parameters_, -8, 7)

    def __init__(self) -> None:
        super().__init__()
        self.fake_quant, self.fc = self.FakeQuant(), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.fake_quant(x))


@dataclass(slots=True)
class _Moments:
    mean: Tensor
    count: int


@faulty("unsaved-state", key=("moments", "moments.mean"), inputs=X, prepare=lambda module: module.update(X + 2))
class MomentsInASlottedDataclass(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.moments = _Moments(torch.zeros(4), 0)

    def update(self, x: Tensor) -> None:
        self.moments.mean = x.mean(0)

    def forward(self, x: Tensor) -> Tensor:
        return x - self.moments.mean


@faulty("unsaved-state", key="rms", inputs=X, prepare=lambda module: module.rms.update(X.numpy() * 3))
class RewardNormalizer(nn.Module):
    class RunningMeanStd:
        def __init__(self) -> None:
            self.mean, self.var, self.count = np.zeros(4), np.ones(4), 1e-4

        def update(self, x: np.ndarray) -> None:
            self.mean, self.var, self.count = x.mean(0), x.var(0), self.count + len(x)

    def __init__(self) -> None:
        super().__init__()
        self.rms, self.policy = self.RunningMeanStd(), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        mean, var = torch.from_numpy(self.rms.mean), torch.from_numpy(self.rms.var)
        return self.policy(((x - mean) / (var + 1e-8).sqrt()).float())


@faulty("unsaved-state", key="blocks.1.scaler.factor", inputs=X, prepare=lambda module: module.grow())
class FactorDeepDown(nn.Module):
    class Scaler(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.factor = 1.0

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.scaler = nn.Linear(4, 4), FactorDeepDown.Scaler()

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(x) * self.scaler.factor

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([self.Block() for _ in range(3)])

    def grow(self) -> None:
        self.blocks[1].scaler.factor = 0.5

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x


@faulty("unsaved-state", key="phase", inputs=X, prepare=lambda module: module.advance())
class TrainingPhase(nn.Module):
    """A progressively growing network: which blocks run is a string."""

    def __init__(self) -> None:
        super().__init__()
        self.low, self.high = nn.Linear(4, 4), nn.Linear(4, 4)
        self.phase = "low"

    def advance(self) -> None:
        self.phase = "high"

    def forward(self, x: Tensor) -> Tensor:
        return self.high(self.low(x)) if self.phase == "high" else self.low(x)


@faulty("unsaved-state", key="fade", inputs=X, prepare=lambda module: module.fade_in())
class ProgressiveFade(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.old, self.new = nn.Linear(4, 4), nn.Linear(4, 4)
        self.fade = torch.tensor(0.0)

    def fade_in(self) -> None:
        self.fade = torch.tensor(0.75)

    def forward(self, x: Tensor) -> Tensor:
        return torch.lerp(self.old(x), self.new(x), self.fade)


@faulty("unsaved-state", key="beta", inputs=X, mode="train", prepare=lambda module: module.warm_up())
class KlWeight(nn.Module):
    """An autoencoder whose loss weight is warmed up; only the loss depends on it."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(4, 4), nn.Linear(2, 4)
        self.beta = 0.0

    def warm_up(self) -> None:
        self.beta = 0.7

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        mean, log_std = self.encoder(x).chunk(2, -1)
        output = self.decoder(mean + torch.randn_like(mean) * log_std.exp())
        divergence = (mean**2 + (2 * log_std).exp() - 2 * log_std - 1).mean()
        return {"output": output, "loss": functional.mse_loss(output, x) + self.beta * divergence}


# ----------------------------------------------------------------------------------------------- made by first forwards


@faulty("unsaved-state", key="projection", inputs=X, prepare=lambda module: module(X))
class DrawnAtFirstForward(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.projection: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.projection is None:
            self.projection = torch.randn(x.shape[-1], 3)
        return x @ self.projection


@faulty("unsaved-submodule", "unsaved-state", key="head", inputs=X, prepare=lambda module: module(X))
class HeadAsCachedProperty(nn.Module):
    """`cached_property` writes into the instance's dict, past torch's registration."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(4, 4)

    @cached_property
    def head(self) -> nn.Module:
        return nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


@faulty(
    "unsaved-submodule",
    "unsaved-state",
    says="nn.ModuleDict(self",
    key="heads",
    inputs=X,
    prepare=lambda module: module(X),
)
class HeadsBySize(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.heads: dict[int, nn.Module] = {}

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1] not in self.heads:
            self.heads[x.shape[-1]] = nn.Linear(x.shape[-1], 2)
        return self.heads[x.shape[-1]](x)


@faulty("unsaved-state", key="noise", inputs=X, prepare=lambda module: module(X))
class NoiseKeptForTheSequence(nn.Module):
    """A variational dropout mask that is drawn once."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.noise: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.noise is None:
            self.noise = torch.rand(4) + 0.5
        return self.fc(x) * self.noise


@faulty("nonpersistent-buffer", key="attention.0.bias_table", inputs=X, prepare=lambda module: module(X))
class BufferDrawnByForward(nn.Module):
    class Attention(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if not hasattr(self, "bias_table"):
                self.register_buffer("bias_table", torch.randn(4), persistent=False)
            return x + self.bias_table

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.ModuleList([self.Attention()])

    def forward(self, x: Tensor) -> Tensor:
        return self.attention[0](x)


# --------------------------------------------------------------------------------------- overrides that lose on purpose


@faulty("unsaved-state", key=("base.weight", "base.bias"), inputs=X)
class TrainableOnlyOverRandomBase(nn.Module):
    """Its overrides save and load the adapter; the base is drawn anew each time."""

    def __init__(self) -> None:
        super().__init__()
        self.base, self.adapter = nn.Linear(4, 4).requires_grad_(False), nn.Linear(4, 4)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        state = super().state_dict(*args, **kwargs)
        for key in [key for key in state if "base" in key]:
            del state[key]
        return state

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        return super().load_state_dict(state_dict, strict=False, assign=assign)

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.adapter(x)


@faulty("unsaved-state", "nonpersistent-buffer", key="statistics", inputs=X, prepare=lambda module: module(X + 1))
class BufferHiddenByItsHooks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("statistics", torch.zeros(4))
        self.register_state_dict_post_hook(self._hide)
        self.register_load_state_dict_post_hook(lambda _module, keys: keys.missing_keys.clear())

    @staticmethod
    def _hide(_module: nn.Module, state: Any, prefix: str, _metadata: Any) -> None:
        del state[f"{prefix}statistics"]

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.statistics.lerp_(x.mean(0), 0.5)
        return x - self.statistics


@faulty("unsaved-state", key=("weight", "bias"), inputs=X)
class LoadsIntoACopy(nn.Linear):
    def __init__(self) -> None:
        super().__init__(4, 2)

    def load_state_dict(self, state_dict: Any, *args: Any, **kwargs: Any) -> Any:
        return super(LoadsIntoACopy, copy.deepcopy(self)).load_state_dict(state_dict, *args, **kwargs)


@faulty("unsaved-state", "key-mismatch", "not-loadable", key=("gate.weight", "gate"), inputs=X)
class PartThatSavesNothing(nn.Module):
    class Gate(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(4))

        def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
            pass

        def _load_from_state_dict(self, *args: Any) -> None:
            pass

        def forward(self, x: Tensor) -> Tensor:
            return x * self.weight.sigmoid()

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.fc = self.Gate(), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.gate(x))


@faulty("not-loadable", key="spectrum", inputs=X)
class ComplexSavedAsReal(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.spectrum = nn.Parameter(torch.randn(3, dtype=torch.complex64))
        self.register_state_dict_post_hook(self._as_real)

    @staticmethod
    def _as_real(_module: nn.Module, state: Any, prefix: str, _metadata: Any) -> None:
        state[f"{prefix}spectrum"] = torch.view_as_real(state[f"{prefix}spectrum"])

    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.irfft(torch.fft.rfft(x) * self.spectrum)


@faulty("value-changed", "dtype-changed", key="weight", inputs=X)
class RoundedByItsLoadHook(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4))
        self.register_load_state_dict_pre_hook(self._shrink)

    @staticmethod
    def _shrink(_module: nn.Module, state: Any, prefix: str, *_rest: Any) -> None:
        state[f"{prefix}weight"] = state[f"{prefix}weight"].to(torch.bfloat16)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


@faulty("not-loadable", key="pattern", inputs=X)
class CompressedRowsOfAnyPattern(nn.Module):
    """A CSR buffer whose number of elements differs from instance to instance cannot be copied into."""

    def __init__(self) -> None:
        super().__init__()
        dense = torch.randn(4, 4)
        dense[torch.rand(4, 4) < torch.rand(())] = 0
        self.register_buffer("pattern", dense.to_sparse_csr())

    def forward(self, x: Tensor) -> Tensor:
        return torch.sparse.mm(self.pattern, x.t())


class _Module(nn.Module):
    def __init__(self, extra: Any) -> None:
        super().__init__()
        self.extra, self.fc = extra, nn.Linear(4, 2)

    def get_extra_state(self) -> Any:
        return self.extra

    def set_extra_state(self, state: Any) -> None:
        self.extra = state

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x)


@faulty("not-weights-only", key="_io.BytesIO", inputs=X)
def extra_state_with_bytes_io():
    return _Module(io.BytesIO(b"amax"))


@faulty("not-weights-only", "pickled-module", key="torch.nn.modules.activation.GELU", inputs=X)
def extra_state_with_module():
    return _Module({"activation": nn.GELU()})


@faulty("not-weights-only", key="random.Random", inputs=X)
def extra_state_with_random():
    return _Module(random.Random(3))
