"""Modules that look suspicious and are right: no finding."""

# Code under test, as people write it: to type it would change it.
# mypy: ignore-errors

from __future__ import annotations

import copy
import enum
import math
import random
import threading
import warnings
import weakref
from collections import deque, namedtuple
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations, parametrize, prune, rnn

from tests.pytest_ckpt.cases import correct

X = torch.linspace(-1.0, 1.0, 8).reshape(2, 4)
TOKENS = torch.tensor([[0, 3, 1], [2, 2, 4]])


# -------------------------------------------------------------------------------------------- torch's own, plainly used


@correct(inputs=X)
def plain_mlp():
    return nn.Sequential(nn.Linear(4, 6), nn.GELU(), nn.LayerNorm(6), nn.Linear(6, 2))


@correct(inputs=torch.randn(2, 3, 8, 8), prepare=lambda module: module(torch.randn(4, 3, 8, 8)))
def convolutions_with_batch_norm():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


@correct(inputs=torch.randn(4, 3, 6), mode="train", prepare=lambda module: module(torch.randn(4, 3, 6)))
def cumulative_batch_norm_in_train_mode():
    return nn.BatchNorm1d(3, momentum=None)


@correct(inputs=X, mode="train")
def batch_norm_without_statistics():
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, track_running_stats=False, affine=False))


@correct(inputs=X, mode="train")
def dropout_in_train_mode():
    return nn.Sequential(nn.Linear(4, 64), nn.Dropout(0.5), nn.AlphaDropout(0.2), nn.RReLU())


@correct(inputs=(torch.randn(3, 2, 4), torch.randn(3, 2, 4), torch.randn(3, 2, 4)))
def multihead_attention():
    return nn.MultiheadAttention(4, 2, add_bias_kv=True)


@correct(inputs=torch.randn(2, 3, 4))
def transformer_encoder_fast_path():
    layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
    return nn.TransformerEncoder(layer, 2)


@correct(inputs=(torch.randn(2, 3, 4), torch.randn(2, 3, 4)), mode="train")
def whole_transformer():
    return nn.Transformer(4, 2, 1, 1, 8, batch_first=True)


@correct(inputs=torch.randn(5, 2, 4))
def lstm_with_projection():
    return nn.LSTM(4, 6, 2, bidirectional=True, proj_size=3, dropout=0.1)


@correct(inputs=TOKENS, prepare=lambda module: module(TOKENS))
def embedding_renormalised_by_forward():
    return nn.Embedding(5, 4, max_norm=0.5, padding_idx=0, scale_grad_by_freq=True)


@correct(inputs=TOKENS)
def embedding_bag_with_max_norm():
    return nn.EmbeddingBag(5, 4, max_norm=1.0, mode="sum")


@correct(inputs=X)
def module_without_state():
    return nn.Sequential(nn.Flatten(), nn.ReLU(), nn.Softmax(-1))


@correct()
def no_inputs_and_no_state():
    return nn.Identity()


@correct(inputs=torch.randn(2, 3, 8, 8))
def channels_last_weights():
    return nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)


@correct(inputs=torch.randn(2, 4, dtype=torch.bfloat16))
def bfloat16_everywhere():
    return nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8)).to(torch.bfloat16)


@correct(inputs=torch.randn(2, 4, dtype=torch.float16))
def float16_everywhere():
    return nn.Linear(4, 3).half()


@correct(inputs=torch.randn(2, 4, dtype=torch.float64))
def float64_everywhere():
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)).double()


@correct(inputs=torch.randn(2, 4, dtype=torch.complex64))
def complex_linear():
    return nn.Linear(4, 3, dtype=torch.complex64)


# ----------------------------------------------------------------------------------------------------- kinds of entries


@correct(inputs=torch.randn(2, 4, dtype=torch.bfloat16))
class FloatNormInBfloat16Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4).to(torch.bfloat16)
        self.norm = nn.LayerNorm(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.fc(x).float()).to(x.dtype)


@correct(inputs=X)
class StrangeNumbers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([float("nan"), float("inf"), -0.0, 1.0]))
        self.register_buffer("mask", torch.tensor([0.0, -0.0, float("-inf"), float("nan")]))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight + self.mask


@correct(inputs=X)
class EveryDtype(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        values = torch.tensor([[1, 2, 3, 4]])
        for dtype in (
            torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool, torch.float16, torch.bfloat16,
            torch.float64, torch.complex64, torch.complex128, torch.float8_e4m3fn, torch.float8_e5m2, torch.uint16,
        ):  # fmt: skip
            self.register_buffer(f"in_{dtype}".replace(".", "_"), values.to(dtype))

    def forward(self, x: Tensor) -> Tensor:
        return sum((buffer.to(torch.complex64).real for buffer in self.buffers()), x)


@correct(inputs=X)
class EmptyAndScalar(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.empty(0, 4))
        self.scalar = nn.Parameter(torch.tensor(2.0))
        self.register_buffer("no_rows", torch.empty(3, 0, dtype=torch.int64))
        self.register_buffer("absent", None)
        self.register_parameter("bias", None)
        self.register_module("child", None)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.nothing]) * self.scalar


@correct(inputs=X)
class SparseBuffers(nn.Module):
    """The pattern of the COO buffer differs from instance to instance; that of a CSR buffer may not."""

    def __init__(self) -> None:
        super().__init__()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.register_buffer("coo", torch.randn(4, 4).relu().to_sparse())
            self.register_buffer("csr", torch.randn(4, 4).triu().to_sparse_csr())

    def forward(self, x: Tensor) -> Tensor:
        return torch.sparse.mm(self.coo, x.t()) + torch.sparse.mm(self.csr, x.t())


@correct(inputs=X)
def dynamically_quantized():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
        return torch.ao.quantization.quantize_dynamic(module, {nn.Linear}, dtype=torch.qint8)


@correct(inputs=X)
def dynamically_quantized_half():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(4, 4)), {nn.Linear}, dtype=torch.float16)


@correct(inputs=torch.randn(2, 1, 4))
def dynamically_quantized_lstm():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(nn.LSTM(4, 4), {nn.LSTM}, dtype=torch.qint8)


@correct(inputs=X)
class QuantizedBuffer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.register_buffer("codes", torch.quantize_per_tensor(torch.randn(4, 4), 0.1, 3, torch.quint8))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.codes.dequantize()


class _Scaled(Tensor):
    """A tensor with a scale, which refuses to be deep-copied."""

    def __init__(self, data: Tensor) -> None:
        self.scale = data.abs().max()

    def __deepcopy__(self, memo: Any) -> Any:
        raise RuntimeError("this tensor cannot be copied")


@correct(inputs=X)
class SubclassBufferExportedPlain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", _Scaled(torch.randn(4)))
        self.register_state_dict_post_hook(self._export)

    @staticmethod
    def _export(_module: nn.Module, state: Any, prefix: str, _metadata: Any) -> None:
        state[f"{prefix}table"] = state[f"{prefix}table"].as_subclass(Tensor)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.table.as_subclass(Tensor)


@correct(inputs=X)
class PhasesAsComplexBuffer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        angles = torch.outer(torch.arange(3.0), torch.tensor([1.0, 0.1]))
        self.register_buffer("phases", torch.polar(torch.ones_like(angles), angles).conj())
        self.mix = nn.Parameter(torch.randn(2, dtype=torch.complex64))

    def forward(self, x: Tensor) -> Tensor:
        return torch.view_as_real(torch.view_as_complex(x.reshape(2, 2, 2)) * self.phases[:2] * self.mix)


@correct(inputs=X)
class NamesBeyondAscii(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blöcke = nn.ModuleDict({"größe": nn.Linear(4, 4), "0": nn.Linear(4, 4), "weight": nn.Linear(4, 4)})

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blöcke.values():
            x = block(x)
        return x


@correct(inputs=X)
def sixty_levels_deep():
    module: nn.Module = nn.Linear(4, 4)
    for _ in range(60):
        module = nn.Sequential(module)
    return module


# -------------------------------------------------------------------------------------- parametrised and reparametrised


@correct(inputs=X)
def weight_norm_as_parametrization():
    return parametrizations.weight_norm(nn.Linear(4, 3))


@correct(inputs=X)
def legacy_weight_norm():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.utils.weight_norm(nn.Linear(4, 3))


@correct(inputs=X, prepare=lambda module: module(X))
def legacy_weight_norm_after_use():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.Sequential(nn.utils.weight_norm(nn.Linear(4, 3)), nn.ReLU())


@correct(inputs=X)
def spectral_norm_as_parametrization():
    return parametrizations.spectral_norm(nn.Linear(4, 3))


@correct(inputs=X, mode="train")
def spectral_norm_in_train_mode():
    return parametrizations.spectral_norm(nn.Linear(4, 3), n_power_iterations=2)


@correct(inputs=X)
def legacy_spectral_norm():
    return nn.utils.spectral_norm(nn.Linear(4, 3))


@correct(inputs=X, mode="train", prepare=lambda module: module(X))
def legacy_spectral_norm_in_train_mode():
    return nn.utils.spectral_norm(nn.Linear(4, 3))


@correct(inputs=X)
def orthogonal_parametrization():
    return parametrizations.orthogonal(nn.Linear(4, 4))


@correct(inputs=X)
def orthogonal_by_householder():
    return parametrizations.orthogonal(nn.Linear(4, 4), orthogonal_map="householder")


class _Symmetric(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.triu() + x.triu(1).transpose(-1, -2)

    def right_inverse(self, x: Tensor) -> Tensor:
        return x.triu()


@correct(inputs=X)
def two_parametrizations_chained():
    module = nn.Linear(4, 4)
    parametrize.register_parametrization(module, "weight", _Symmetric())
    parametrize.register_parametrization(module, "weight", nn.Tanh(), unsafe=True)
    return module


@correct(inputs=X)
def pruned_at_construction():
    return prune.l1_unstructured(nn.Linear(4, 4), "weight", amount=5)


@correct(inputs=X, prepare=lambda module: module(X))
class WeightStandardisedByPreHook(nn.Module):
    """A forward pre-hook writes the derived weight as a plain tensor before every use."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)
        self.fc.raw = nn.Parameter(self.fc.weight.detach().clone())
        del self.fc.weight
        self._derive(self.fc, ())
        self.fc.register_forward_pre_hook(self._derive)

    @staticmethod
    def _derive(module: nn.Module, _inputs: Any) -> None:
        module.weight = module.raw - module.raw.mean(1, keepdim=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x)


@correct(inputs=X)
class LinearlyMadeParameter(nn.Module):
    """A property computes the weight from its factors at each use."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Parameter(torch.randn(4, 2)), nn.Parameter(torch.randn(2, 4))

    @property
    def weight(self) -> Tensor:
        return self.left @ self.right

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight


# ---------------------------------------------------------------------------------------------------- lazy and deferred


@correct(inputs=X)
def lazy_layers_materialised_by_the_inputs():
    return nn.Sequential(nn.LazyLinear(3), nn.ReLU(), nn.LazyLinear(2))


@correct(inputs=X, prepare=lambda module: module(X))
def lazy_layers_after_a_dry_run():
    return nn.Sequential(nn.LazyLinear(3), nn.LazyBatchNorm1d())


@correct()
def lazy_layers_never_initialised():
    return nn.Sequential(nn.LazyLinear(3), nn.LazyConv2d(2, 3))


@correct(inputs=X, prepare=lambda module: module(X))
class ShapesMadeToFitByPreHook(nn.Module):
    """The projection is created at first use, and made to fit by a hook when a checkpoint holds one."""

    def __init__(self) -> None:
        super().__init__()
        self.projection: nn.Linear | None = None
        self.register_load_state_dict_pre_hook(self._create)

    @staticmethod
    def _create(module: Any, state: Any, prefix: str, *_rest: Any) -> None:
        weight = state.get(f"{prefix}projection.weight")
        if weight is not None and module.projection is None:
            module.projection = nn.Linear(weight.shape[1], weight.shape[0])

    def forward(self, x: Tensor) -> Tensor:
        if self.projection is None:
            self.projection = nn.Linear(x.shape[1], 3)
        return self.projection(x)


@correct(inputs=X, prepare=lambda module: module.append(torch.randn(3, 4)))
class GrowingBankResizedOnLoad(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("bank", torch.empty(0, 4))

    def append(self, rows: Tensor) -> None:
        self.bank = torch.cat([self.bank, rows])

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        self.bank = torch.empty_like(state_dict[f"{prefix}bank"])
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cdist(x, self.bank)


@correct(inputs=X)
class BufferStillNone(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", None)
        self.fc = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x if self.mean is None else x - self.mean)


@correct(inputs=X)
class RotaryTableAtFirstForward(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self._cos: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self._cos is None or len(self._cos) < len(x):
            self._cos = torch.outer(torch.arange(float(len(x))), torch.arange(4.0)).cos()
        return self.fc(x) * self._cos[: len(x)]


@correct(inputs=X, prepare=lambda module: module(torch.randn(9, 4)))
class RotaryTableGrown(RotaryTableAtFirstForward):
    """The source has run on a longer sequence: its table is longer, and the same where it is used."""


@correct(inputs=X, prepare=lambda module: module(X))
class MaskCacheByLength(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.masks: dict[int, Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        mask = self.masks.setdefault(len(x), torch.ones(len(x), len(x)).tril())
        return mask @ self.fc(x)


def _slopes(heads: int) -> Tensor:
    return torch.tensor([2.0**-head for head in range(heads)])


@correct(inputs=X, prepare=lambda module: module(X))
class AlibiThroughLruCache(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.slopes = lru_cache(maxsize=4)(_slopes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x) * self.slopes(4)


@correct(inputs=X)
class CachedPropertyOfConstants(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    @cached_property
    def window(self) -> Tensor:
        return torch.hann_window(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x) * self.window


@correct(inputs=X, prepare=lambda module: module(X))
class CacheDroppedOnLoad(nn.Module):
    """Caches its normalised weight for inference, and forgets it whenever weights are loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4))
        self._normal: Tensor | None = None
        self.register_load_state_dict_post_hook(lambda module, _keys: setattr(module, "_normal", None))

    def train(self, mode: bool = True) -> CacheDroppedOnLoad:
        self._normal = None
        return super().train(mode)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            return x @ functional.normalize(self.weight)
        if self._normal is None:
            self._normal = functional.normalize(self.weight.detach())
        return x @ self._normal


# ----------------------------------------------------------------------------------------- state kept well out of sight


@correct(inputs=X)
class DeterministicTable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        position = torch.arange(2.0)[:, None] / 10000 ** (torch.arange(4.0) / 4)
        self.register_buffer("table", position.sin(), persistent=False)
        self.fc = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x + self.table)


@correct(inputs=X)
class ProjectionOfFixedSeed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1234)
        self.register_buffer("planes", torch.randn(4, 8, generator=generator), persistent=False)
        self.fourier = np.random.default_rng(7).normal(size=(4, 3)).astype("float32")

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x @ self.planes, x @ torch.from_numpy(self.fourier)], -1)


@correct(inputs=X)
class ConstantsOfAllKinds(nn.Module):
    class Kind(enum.Enum):
        RELU = "relu"

    @dataclass
    class Config:
        width: int = 4
        scales: list[float] = field(default_factory=lambda: [0.5, 2.0])

    Range = namedtuple("Range", "low high")  # noqa: PYI024 -- the kind without annotations is meant

    def __init__(self) -> None:
        super().__init__()
        self.config, self.kind, self.range = self.Config(), self.Kind.RELU, self.Range(-1.0, 1.0)
        self.labels = {0: "cat", 1: "dog"}
        self.mean, self.anchors = torch.tensor([0.485, 0.456, 0.406, 0.4]), np.arange(4.0, dtype=np.float32)
        self.activation, self.norm = partial(functional.leaky_relu, negative_slope=0.2), lambda x: x / 2
        self.lock, self.dtype, self.device = threading.Lock(), torch.float32, torch.device("cpu")
        self.fc = nn.Linear(self.config.width, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc((x - self.mean) * torch.from_numpy(self.anchors))
        return self.norm(self.activation(x)).clamp(*self.range) * self.config.scales[0]


@correct(inputs=X, prepare=lambda module: [module(X) for _ in range(3)])
class CountersForTheLogOnly(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.calls, self.seen, self.history = 0, torch.zeros(()), deque(maxlen=5)
        self.identity, self.born = object(), random.random()
        self.register_buffer("steps", torch.zeros(()), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.seen = self.seen + len(x)
        self.steps += 1
        result = self.fc(x)
        self.history.append(float(result.detach().abs().mean()))
        return result


@correct(inputs=X, mode="train")
class NoiseFromGlobalGenerators(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc(x)
        if self.training:
            return x + torch.randn_like(x) + random.random() + np.random.normal()  # noqa: NPY002 -- the global one is meant
        return x


@correct(inputs=X)
class SamplesInEvalMode(nn.Module):
    """A variational encoder that samples whenever it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 8)

    def forward(self, x: Tensor) -> dict[str, Any]:
        mean, log_std = self.fc(x).chunk(2, -1)
        posterior = torch.distributions.Normal(mean, log_std.exp())
        return {"posterior": posterior, "sample": posterior.rsample(), "multinomial": torch.multinomial(mean.exp(), 2)}


@correct(inputs=X)
class ReallyRandomForward(nn.Module):
    """Nothing seeds it, so nothing can be said of its outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x) + random.SystemRandom().random()


@correct(inputs=X, prepare=lambda module: module.advance())
class GeneratorInExtraState(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.generator = torch.Generator()

    def advance(self) -> None:
        torch.rand(3, generator=self.generator)

    def get_extra_state(self) -> Tensor:
        return self.generator.get_state()

    def set_extra_state(self, state: Tensor) -> None:
        self.generator.set_state(state)

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.rand(x.shape, generator=self.generator)


@correct(inputs=X, prepare=lambda module: module.update())
class NumbersInExtraState(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.temperature, self.history, self.vocabulary = 1.0, [1, 2], {"a": 0}
        self.fc = nn.Linear(4, 4)

    def update(self) -> None:
        self.temperature, self.vocabulary["b"] = 0.3, 1
        self.history.append(3)

    def get_extra_state(self) -> dict[str, Any]:
        return {"temperature": self.temperature, "history": tuple(self.history), "vocabulary": dict(self.vocabulary)}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.temperature, self.history = state["temperature"], list(state["history"])
        self.vocabulary = dict(state["vocabulary"])

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x) / self.temperature * len(self.history) * len(self.vocabulary)


@correct(inputs=X, prepare=lambda module: module.update())
class TensorsInExtraState(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.moments = {"mean": torch.zeros(4), "std": torch.ones(4)}

    def update(self) -> None:
        self.moments["mean"] = torch.randn(4)

    def get_extra_state(self) -> dict[str, Tensor]:
        return self.moments

    def set_extra_state(self, state: dict[str, Tensor]) -> None:
        self.moments = {name: tensor.clone() for name, tensor in state.items()}

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.moments["mean"]) / self.moments["std"]


@correct(inputs=X)
class ExtraStateThatIsOnlyInformation(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 2)

    def get_extra_state(self) -> dict[str, Any]:
        return {"version": 3, "class": type(self).__name__}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        if state["version"] > 3:
            raise RuntimeError("this checkpoint is newer than the code")

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x)


@correct(inputs=X, prepare=lambda module: [module(X) for _ in range(3)])
class CounterInBuffer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("step", torch.tensor(0))
        self.fc = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.step += 1
        return self.fc(x) * (self.step / 10).clamp(max=1.0)


@correct(inputs=X, mode="train", prepare=lambda module: module(X))
class QueueWithPointer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("queue", functional.normalize(torch.randn(6, 4)))
        self.register_buffer("pointer", torch.zeros(1, dtype=torch.long))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            start = int(self.pointer)
            self.queue[start : start + len(x)] = functional.normalize(x)
            self.pointer[0] = (start + len(x)) % 6
        return x @ self.queue.t()


@correct(inputs=X, mode="train", prepare=lambda module: module(X))
class CodebookWithMovingAverage(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("embed", torch.randn(5, 4))
        self.register_buffer("cluster_size", torch.zeros(5))
        self.register_buffer("average", self.embed.clone())
        self.register_buffer("inited", torch.tensor(False))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        codes = torch.cdist(x, self.embed).argmin(-1)
        hot = functional.one_hot(codes, 5).to(x.dtype)
        if self.training:
            self.cluster_size.mul_(0.9).add_(hot.sum(0), alpha=0.1)
            self.average.mul_(0.9).add_(hot.t() @ x, alpha=0.1)
            self.embed.copy_(self.average / (self.cluster_size[:, None] + 1e-5))
            self.inited.fill_(True)
        return hot @ self.embed, codes


@correct(inputs=X, mode="train", prepare=lambda module: module(2 * X + 1))
class DataDependentInitializationInBuffer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.loc, self.scale = nn.Parameter(torch.zeros(4)), nn.Parameter(torch.ones(4))
        self.register_buffer("initialized", torch.tensor(0, dtype=torch.uint8))

    def forward(self, x: Tensor) -> Tensor:
        if not self.initialized:
            with torch.no_grad():
                self.loc.copy_(-x.mean(0))
                self.scale.copy_(1 / (x.std(0) + 1e-6))
            self.initialized.fill_(1)
        return (x + self.loc) * self.scale


# ----------------------------------------------------------------------------------------------- references and sharing


@correct(inputs=X)
class SameModuleUnderFourNames(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = self.b = nn.Linear(4, 4)
        self.c = nn.ModuleList([self.a, self.b])

    def forward(self, x: Tensor) -> Tensor:
        return self.c[1](self.a(self.b(x)))


@correct(inputs=TOKENS)
class TiedInThreeWays(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(5, 4), nn.Linear(4, 5)
        self.head.weight = self.embedding.weight
        self.table = self.embedding.weight
        self.twin = nn.Linear(4, 4)
        self.register_parameter("kernel", self.twin.weight)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.twin(self.embedding(tokens)) @ self.kernel) + self.table.sum()


@correct(inputs=X)
class SharedBuffers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.BatchNorm1d(4), nn.BatchNorm1d(4)
        self.second.running_mean = self.first.running_mean
        self.register_buffer("center", self.first.running_mean)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x)) + self.center


@correct(inputs=X)
class ReferencesToRegistered(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 4) for _ in range(3)])
        self.order = [self.layers[2], self.layers[0]]
        self.by_name = {"last": self.layers[-1]}
        self.calls = (self.layers[1].forward, self.layers[0].__call__)
        self.weights = [layer.weight for layer in self.layers]
        self.parent = weakref.ref(self)

    def forward(self, x: Tensor) -> Tensor:
        for layer in (*self.order, *self.by_name.values(), *self.calls):
            x = layer(x)
        return x + sum(weight.sum() for weight in self.weights)


@correct(inputs=X)
class ChildKnowsItsParent(nn.Module):
    class Child(nn.Module):
        def __init__(self, parent: nn.Module) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 4)
            self.__dict__["parent"] = parent

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(x) * self.parent.gain

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.rand(4))
        self.child = self.Child(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.child(x)


@correct(inputs=X)
class ViewOfParameterAsAttribute(nn.Module):
    """A plain attribute that shares the parameter's memory follows every load."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(4, 12)
        self.query = self.qkv.weight.data[:4]
        self.flat = self.qkv.weight.detach().view(-1)

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.query) + self.flat.sum()


@correct(inputs=X)
class FrozenDeterministicTeacher(nn.Module):
    """A teacher outside the state_dict, the same in every instance."""

    def __init__(self) -> None:
        super().__init__()
        self.student = nn.Linear(4, 2)
        with torch.random.fork_rng():
            torch.manual_seed(5)
            teacher = nn.Linear(4, 2).requires_grad_(False)
        self.teacher = [teacher]

    def forward(self, x: Tensor) -> Tensor:
        return self.student(x) - self.teacher[0](x)


@correct(inputs=X)
class ModulesInListUnused(nn.Module):
    """Unregistered layers for a loss that the forward at hand does not use."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 2)
        self.metrics = [nn.CrossEntropyLoss(), nn.ReLU()]

    def forward(self, x: Tensor) -> Tensor:
        return self.metrics[1](self.fc(x))


@correct()
class StatelessModulesInList(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 2)
        self.activations = [nn.ReLU(), nn.Dropout(0.1), nn.Identity()]


@correct(inputs=X)
class ParameterContainers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scales = nn.ParameterList([nn.Parameter(torch.rand(4)) for _ in range(11)])
        self.gates = nn.ParameterDict({"in": nn.Parameter(torch.rand(4)), "out": nn.Parameter(torch.rand(4))})
        self.mixed = nn.ParameterList([nn.Parameter(torch.rand(1)), 3.0, "name"])
        self.nested = nn.ModuleDict({"a": nn.ModuleDict({"b": nn.Linear(4, 4)}), "c": nn.ModuleList([nn.ReLU()])})

    def forward(self, x: Tensor) -> Tensor:
        for scale in self.scales:
            x = x * scale
        return self.nested["a"]["b"](x * self.gates["in"]) * self.gates["out"] * self.mixed[0] * self.mixed[1]


@correct(inputs=X)
class RegistrationOrderVaries(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        names = ["a", "b", "c", "d"]
        random.shuffle(names)
        for name in names:
            self.add_module(name, nn.Linear(4, 4))

    def forward(self, x: Tensor) -> Tensor:
        for name in "abcd":
            x = self.get_submodule(name)(x)
        return x


# ------------------------------------------------------------------------------------------------------- hooks that fit


@correct(inputs=X)
class RenamedAndTransposedThereAndBack(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.kernel, self.bias = nn.Parameter(torch.randn(4, 3)), nn.Parameter(torch.randn(3))
        self.register_state_dict_post_hook(self._export)
        self.register_load_state_dict_pre_hook(self._import)

    @staticmethod
    def _export(_module: nn.Module, state: Any, prefix: str, _metadata: Any) -> None:
        state[f"{prefix}weight"] = state.pop(f"{prefix}kernel").t().contiguous()

    @staticmethod
    def _import(_module: nn.Module, state: Any, prefix: str, *_rest: Any) -> None:
        if f"{prefix}weight" in state:
            state[f"{prefix}kernel"] = state.pop(f"{prefix}weight").t()

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.kernel + self.bias


@correct(inputs=X)
class FusedOnSaveSplitOnLoad(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q, self.k = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
        self.register_state_dict_post_hook(self._fuse)
        self.register_load_state_dict_pre_hook(self._split)

    @staticmethod
    def _fuse(_module: nn.Module, state: Any, prefix: str, _metadata: Any) -> None:
        state[f"{prefix}qk"] = torch.cat([state.pop(f"{prefix}q.weight"), state.pop(f"{prefix}k.weight")])

    @staticmethod
    def _split(_module: nn.Module, state: Any, prefix: str, *_rest: Any) -> None:
        if f"{prefix}qk" in state:
            state[f"{prefix}q.weight"], state[f"{prefix}k.weight"] = state.pop(f"{prefix}qk").chunk(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.q(x) * self.k(x)


@correct(inputs=X)
class TableRecomputedByLoadHook(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.log_decay = nn.Parameter(torch.randn(4))
        self.register_buffer("decay", self.log_decay.detach().exp(), persistent=False)
        self.register_load_state_dict_post_hook(self._renew)

    @staticmethod
    def _renew(module: nn.Module, _keys: Any) -> None:
        module.decay = module.log_decay.detach().exp()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.decay


@correct(inputs=X)
class VersionedStateDict(nn.Module):
    """Upgrades checkpoints of version 1, and leaves those of version 2 alone: needs `_metadata`."""

    _version = 2

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4))

    def _load_from_state_dict(self, state_dict: Any, prefix: str, local_metadata: Any, *rest: Any) -> None:
        if local_metadata.get("version", 1) < 2:
            state_dict[f"{prefix}weight"] = state_dict[f"{prefix}weight"] * 10
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


@correct(inputs=X)
class StateDictOverridesThatAgree(nn.Module):
    """Saves what is inside its wrapper, and loads it there."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return self.inner.state_dict(*args, **kwargs)

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        return self.inner.load_state_dict(state_dict, strict, assign)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


@correct(inputs=X, allow_missing=["base.*"])
class TrainableParametersOnly(nn.Module):
    """Saves the adapter; the frozen base is the same in every instance."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(11)
            self.base = nn.Linear(4, 4).requires_grad_(False)
        self.down, self.up = nn.Linear(4, 2, bias=False), nn.Linear(2, 4, bias=False)
        self.register_state_dict_post_hook(self._drop_base)

    @staticmethod
    def _drop_base(_module: nn.Module, state: Any, prefix: str, _metadata: Any) -> None:
        for key in [key for key in state if key.startswith(f"{prefix}base.")]:
            del state[key]

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.up(self.down(x))


@correct(inputs=X)
class FrozenBaseFilledInByPreHook(nn.Module):
    """As peft's and others' do: the state_dict leaves the base out, a load hook fills it in, all strict."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(11)
            self.base = nn.Linear(4, 4).requires_grad_(False)
        self.adapter = nn.Linear(4, 4, bias=False)
        self.register_state_dict_post_hook(self._drop_base)
        self.register_load_state_dict_pre_hook(self._fill_in)

    @staticmethod
    def _drop_base(_module: nn.Module, state: Any, prefix: str, _metadata: Any) -> None:
        for key in [key for key in state if key.startswith(f"{prefix}base.")]:
            del state[key]

    @staticmethod
    def _fill_in(module: nn.Module, state: Any, prefix: str, *_rest: Any) -> None:
        for name, tensor in module.base.named_parameters():
            state.setdefault(f"{prefix}base.{name}", tensor.detach())

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.adapter(x)


@correct(inputs=X)
class TiedKeyLeftOutAndFilledIn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
        self.decoder.weight = self.encoder.weight
        self.register_state_dict_post_hook(self._leave_out)
        self.register_load_state_dict_pre_hook(self._fill_in)

    @staticmethod
    def _leave_out(_module: nn.Module, state: Any, prefix: str, _metadata: Any) -> None:
        del state[f"{prefix}decoder.weight"]

    @staticmethod
    def _fill_in(_module: nn.Module, state: Any, prefix: str, *_rest: Any) -> None:
        state[f"{prefix}decoder.weight"] = state[f"{prefix}encoder.weight"]

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x).relu())


@correct(inputs=X)
class WeightsPackedOnSave(nn.Module):
    """Ternary weights in int8 on disk, exact both ways."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randint(-1, 2, (4, 4)).float(), requires_grad=False)
        self.register_state_dict_post_hook(self._pack)

    @staticmethod
    def _pack(_module: nn.Module, state: Any, prefix: str, _metadata: Any) -> None:
        state[f"{prefix}weight"] = state[f"{prefix}weight"].sign().to(torch.int8)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight.sign()


# -------------------------------------------------------------------------------------------------- what forward may do


@correct(inputs=lambda: {"query": X, "scale": 2.0, "flags": None})
class KeywordsAndNestedOutputs(nn.Module):
    class Output(NamedTuple):
        hidden: Tensor
        extra: dict[str, Any]

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, *, query: Tensor, scale: float, flags: Any = None) -> Output:
        hidden = self.fc(query) * scale
        return self.Output(hidden, {"none": flags, "text": "ok", "all": [hidden.sum(), (1, 2.5)], "set": {1, 2}})


@correct(inputs=X)
class DataclassOutput(nn.Module):
    @dataclass
    class Output:
        loss: Tensor | None
        logits: Tensor
        cache: Any = None

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Output:
        return self.Output(None, self.fc(x), iter([self.fc]))


@correct(inputs=X)
class DistributionOutput(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 8)

    def forward(self, x: Tensor) -> torch.distributions.Distribution:
        mean, log_std = self.fc(x).chunk(2, -1)
        return torch.distributions.Independent(torch.distributions.Normal(mean, log_std.exp()), 1)


@correct(inputs=([torch.randn(3, 4), torch.randn(2, 4)],))
class PackedSequenceOutput(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(4, 3)

    def forward(self, sequences: list[Tensor]) -> Any:
        return self.rnn(rnn.pack_sequence(sequences))[0]


@correct(inputs=X)
class SparseAndNestedOutputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.fc(x)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return x.relu().to_sparse(), torch.nested.nested_tensor([x[0], x[1, :2]])


@correct(inputs=X)
class GeneratorOutput(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Any:
        for row in x:
            yield self.fc(row)


@correct(inputs=X)
class PrintsAndReturnsNothing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> None:
        print("shape", tuple(self.fc(x).shape))  # noqa: T201 -- many forwards do


@correct(inputs=X.clone)
class ChangesItsInput(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x.mul_(2).add_(1)
        return self.fc(x)


@correct(inputs=({"x": X, "steps": [1, 2]},))
class ConsumesItsBatch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, batch: dict[str, Any]) -> dict[str, Any]:
        batch["y"] = self.fc(batch.pop("x")) * batch["steps"].pop()
        return batch


@correct(inputs=X)
class GradientInForward(nn.Module):
    """A physics-informed residual: forward differentiates itself, in eval mode too."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = x.detach().requires_grad_()
        (slope,) = torch.autograd.grad(self.net(x).sum(), x, create_graph=True)
        return slope


@correct(inputs=X, mode="train")
class GradientPenaltyWithEnableGrad(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.energy = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x.detach().clone().requires_grad_()
            energy = self.energy(x.sin()).sum()
            return torch.autograd.grad(energy, x)[0]


@correct(inputs=X)
class UpdatesItselfInEval(nn.Module):
    """Test-time adaptation: each forward moves the statistics, which are buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        self.mean.mul_(0.9).add_(x.mean(0), alpha=0.1)
        return x - self.mean


@correct(inputs=torch.randn(1, 2, 5))
class StreamingConvolution(nn.Module):
    """Keeps the last samples of the stream, which is empty at first on both sides."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(2, 2, 3)
        self.tail: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        tail = x.new_zeros(1, 2, 2) if self.tail is None else self.tail
        x = torch.cat([tail, x], -1)
        self.tail = x[..., -2:]
        return self.conv(x)


# ------------------------------------------------------------------------------------------------------ unusual modules


@correct(inputs=X)
class EvalReturnsAnother(nn.Module):
    """An EMA wrapper whose eval() gives the averaged module."""

    def __init__(self) -> None:
        super().__init__()
        self.live, self.average = nn.Linear(4, 2), nn.Linear(4, 2)

    def eval(self) -> nn.Module:
        super().eval()
        return self.average

    def forward(self, x: Tensor) -> Tensor:
        return (self.live if self.training else self.average)(x)


@correct(inputs=X)
class TrainReturnsNothing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))

    def train(self, mode: bool = True) -> None:
        self.training = mode
        self.body.train(False)  # frozen statistics

    def eval(self) -> None:
        self.train(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


@correct(inputs=X)
class RefusesDeepCopy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def __deepcopy__(self, memo: Any) -> Any:
        raise TypeError("cannot be copied")

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x)


@correct(inputs=X)
class ForwardsAttributesToInner(nn.Module):
    """A wrapper with `__getattr__`, as accelerate's and Lightning's."""

    def __init__(self) -> None:
        super().__init__()
        self.module = nn.Linear(4, 4)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("module"), name)

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight, self.bias)


@correct(inputs=X)
class SetterWithSideEffects(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self._gain = nn.Parameter(torch.rand(4))

    @property
    def gain(self) -> Tensor:
        return self._gain.exp()

    @gain.setter
    def gain(self, value: Tensor) -> None:
        raise AttributeError("gain is computed")

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gain


class _Doubled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4))
        self.register_buffer("steps", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight * 2


@correct(inputs=X)
class ScriptedSubmodule(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.fast = torch.jit.script(nn.Sequential(nn.Linear(4, 4), nn.Tanh()))
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.fast(x))


@correct(inputs=X)
def traced_whole():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.trace(nn.Sequential(nn.Linear(4, 4), nn.Tanh()), X)


@correct(inputs=X)
def graph_module():
    return torch.fx.symbolic_trace(nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.BatchNorm1d(4)))


@correct(inputs=X)
def averaged_model():
    return torch.optim.swa_utils.AveragedModel(nn.Linear(4, 3))


@correct(inputs=X, prepare=lambda module: [module.update_parameters(nn.Linear(4, 3)) for _ in range(3)])
def averaged_model_after_updates():
    return torch.optim.swa_utils.AveragedModel(
        nn.Linear(4, 3), multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9), use_buffers=True
    )


@correct(inputs=X)
def data_parallel():
    return nn.DataParallel(nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)))


@correct(inputs=X)
class CopyOfItselfAsTarget(nn.Module):
    """A Q-network with a target network, updated now and then."""

    def __init__(self) -> None:
        super().__init__()
        self.online = nn.Linear(4, 2)
        self.target = copy.deepcopy(self.online).requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.online(x) - self.target(x)


@correct(inputs=X, mode="train", prepare=lambda module: module.update())
class MomentumEncoder(CopyOfItselfAsTarget):
    def update(self) -> None:
        with torch.no_grad():
            for ours, theirs in zip(self.target.parameters(), self.online.parameters(), strict=True):
                ours.lerp_(theirs + 1, 0.1)


@correct(inputs=X)
class TemperatureAsParameter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.logit_scale = nn.Parameter(torch.ones([]) * math.log(1 / 0.07))
        self.fc = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return functional.normalize(self.fc(x)) * self.logit_scale.exp()


@correct(inputs=X)
class OptimizerInside(nn.Module):
    """As some reinforcement learning libraries do; what forward gives does not depend on it."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.optimizer = torch.optim.SGD(self.fc.parameters(), lr=0.1, momentum=0.9)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x)


@correct(inputs=X)
class BuffersThatMustAgree(nn.Module):
    """Checks its own state: a permutation and its inverse."""

    def __init__(self) -> None:
        super().__init__()
        order = torch.randperm(4)
        self.register_buffer("order", order)
        self.register_buffer("inverse", order.argsort())

    def forward(self, x: Tensor) -> Tensor:
        if not torch.equal(self.order[self.inverse], torch.arange(4)):
            raise ValueError("order and inverse do not belong together")
        return x[:, self.order]


@correct(inputs=TOKENS)
class SizesInBuffers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("spatial_shapes", torch.tensor([[2, 2]]))
        self.register_buffer("position_ids", torch.arange(3).expand(1, -1))
        self.register_buffer("relative", torch.arange(3)[None] - torch.arange(3)[:, None] + 2)
        self.positions, self.bias = nn.Embedding(3, 4), nn.Parameter(torch.randn(5))

    def forward(self, tokens: Tensor) -> Tensor:
        height, width = self.spatial_shapes[0].tolist()
        x = self.positions(self.position_ids[:, : tokens.shape[1]])
        return (x.transpose(-1, -2) @ self.bias[self.relative]).reshape(1, height, width, -1)


@correct(inputs=X)
class ProbabilitiesInBuffer(nn.Module):
    """Values that must stay in a range: a mixture whose weights sum to one."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("probabilities", torch.tensor([0.25, 0.75]))
        self.register_buffer("scale_tril", torch.eye(4))
        self.loc = nn.Parameter(torch.randn(2, 4))

    def forward(self, x: Tensor) -> Tensor:
        if not torch.allclose(self.probabilities.sum(), torch.ones(())):
            raise ValueError("probabilities must sum to one")
        mixture = torch.distributions.Categorical(self.probabilities, validate_args=True)
        normal = torch.distributions.MultivariateNormal(self.loc, scale_tril=self.scale_tril)
        return torch.distributions.MixtureSameFamily(mixture, normal).log_prob(x)
