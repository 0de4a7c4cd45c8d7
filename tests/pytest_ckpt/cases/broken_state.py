"""Modules whose state_dict does not come back: refused, changed, retyped, untied, or taken from the caller."""

# Code under test, as people write it: to type it would change it.
# mypy: ignore-errors

from __future__ import annotations

import argparse
import datetime as dt
import enum
import pathlib
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import prune

from tests.pytest_ckpt.cases import faulty

X = torch.linspace(-1.0, 1.0, 8).reshape(2, 4)


# ----------------------------------------------------------------------------- a used module saves, a fresh one refuses


@faulty(
    "not-loadable",
    says="or create it in a load_state_dict pre-hook",
    key="centers",
    prepare=lambda module: module.fit(),
)
class BufferNoneUntilFit(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("centers", None)

    def fit(self) -> None:
        self.centers = torch.randn(3, 4)


@faulty(
    "not-loadable", says="its final shape in __init__", key="memory.bank", inputs=X, prepare=lambda module: module(X)
)
class BankThatGrows(nn.Module):
    class Memory(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("bank", torch.zeros(1, 4))

        def forward(self, x: Tensor) -> Tensor:
            if self.training:
                self.bank = torch.cat([self.bank, x.detach()])
            return torch.cdist(x, self.bank).amin(-1)

    def __init__(self) -> None:
        super().__init__()
        self.memory = self.Memory()

    def forward(self, x: Tensor) -> Tensor:
        return self.memory(x)


@faulty("not-loadable", key=("proj.weight", "proj.bias"), inputs=X, prepare=lambda module: module(X))
class ProjectionAtFirstForward(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if not hasattr(self, "proj"):
            self.proj = nn.Linear(x.shape[-1], 3)
        return self.proj(x)


@faulty("not-loadable", key=("heads.b.weight", "heads.b.bias"), inputs=X, prepare=lambda module: module.add("b"))
class HeadPerTask(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleDict({"a": nn.Linear(4, 2)})

    def add(self, task: str) -> None:
        self.heads[task] = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {name: head(x) for name, head in self.heads.items()}


@faulty("not-loadable", key=("fc.weight", "fc.bias"), inputs=X, prepare=lambda module: module.reset_classifier(7))
class ClassifierReset(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 10)

    def reset_classifier(self, classes: int) -> None:
        self.fc = nn.Linear(4, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x)


@faulty("not-loadable", key="tokens.weight", inputs=torch.tensor([0, 5]), prepare=lambda module: module.resize(6))
class EmbeddingsResized(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(4, 3)

    def resize(self, count: int) -> None:
        old, self.tokens = self.tokens, nn.Embedding(count, 3)
        self.tokens.weight.data[: old.num_embeddings] = old.weight.data

    def forward(self, tokens: Tensor) -> Tensor:
        return self.tokens(tokens)


@faulty("not-loadable", key="pe", inputs=X, prepare=lambda module: module(torch.zeros(6, 4)))
class PositionTableExtended(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("pe", self._table(4))

    @staticmethod
    def _table(length: int) -> Tensor:
        return torch.outer(torch.arange(float(length)), torch.arange(4.0)).sin()

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > len(self.pe):
            self.pe = self._table(len(x))
        return x + self.pe[: len(x)]


class _Adapted(nn.Module):
    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base, self.down, self.up = base, nn.Linear(4, 1, bias=False), nn.Linear(1, 4, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.up(self.down(x))


@faulty("not-loadable", key=("fc.base.weight", "fc.down.weight"), inputs=X, prepare=lambda module: module.inject())
class AdapterInjected(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def inject(self) -> None:
        self.fc = _Adapted(self.fc)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x)


@faulty("not-loadable", key=("fc.weight_mask", "fc.weight_orig"), inputs=X, prepare=lambda module: module.sparsify())
class PrunedInTraining(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def sparsify(self) -> None:
        prune.l1_unstructured(self.fc, "weight", amount=0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x)


@faulty("not-loadable", key=("fused.weight", "branches.0.weight"), inputs=X, prepare=lambda module: module.deploy())
class BranchesFusedForDeployment(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.branches = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])

    def deploy(self) -> None:
        self.fused = nn.Linear(4, 4)
        with torch.no_grad():
            self.fused.weight.copy_(sum(branch.weight for branch in self.branches))
            self.fused.bias.copy_(sum(branch.bias for branch in self.branches))
        del self.branches

    def forward(self, x: Tensor) -> Tensor:
        return self.fused(x) if hasattr(self, "fused") else sum(branch(x) for branch in self.branches)


@faulty(
    "not-loadable", key="1.weight", prepare=lambda module: nn.utils.parametrizations.weight_norm(module[1]) and None
)
def weight_norm_added_after_construction():
    return nn.Sequential(nn.ReLU(), nn.Linear(4, 4))


@faulty("not-loadable", key="scale", inputs=X)
class ExpandedParameter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.randn(1).expand(4))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


@faulty("not-loadable", says="set_extra_state(state) beside", key="_extra_state")
class ExtraStateOneWay(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def get_extra_state(self) -> Any:
        return {"epoch": 3}


@faulty("not-loadable", key="block._extra_state")
class ExtraStateOfAnotherForm(nn.Module):
    class Block(nn.Module):
        def get_extra_state(self) -> Any:
            return {"scales": [1.0]}

        def set_extra_state(self, state: Any) -> None:
            self.history = state["amax_history"]

    def __init__(self) -> None:
        super().__init__()
        self.block = self.Block()


@faulty("not-loadable", says='let state_dict() hold "kernel"', key=("weight", "kernel"), inputs=X)
class RenamedOnSaveOnly(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(4, 4))
        self.register_state_dict_post_hook(self._rename)

    @staticmethod
    def _rename(_module: nn.Module, state: Any, prefix: str, _metadata: Any) -> None:
        state[f"{prefix}weight"] = state.pop(f"{prefix}kernel")

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.kernel


@faulty("not-loadable", key=("inner.0.weight", "0.weight"), inputs=X)
class StateDictOfInnerOnly(nn.Module):
    """`state_dict` unwraps; `load_state_dict` does not."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(4, 4))

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return self.inner.state_dict(*args, **kwargs)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


@faulty("not-loadable", key="weight", inputs=X)
class OblongTransposedOnSave(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 3))
        self.register_state_dict_post_hook(_transpose)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight


def _transpose(_module: nn.Module, state: Any, prefix: str, _metadata: Any) -> None:
    state[f"{prefix}weight"] = state[f"{prefix}weight"].t().contiguous()


# --------------------------------------------------------------------------------------------------- values that change


@faulty("value-changed", key="weight", inputs=X)
class SquareTransposedOnSave(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4))
        self.register_state_dict_post_hook(_transpose)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight


@faulty("value-changed", key="norm.weight", inputs=X)
class OnePlusWeight(nn.Module):
    class Norm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(4))
            self.register_state_dict_post_hook(self._add_one)

        @staticmethod
        def _add_one(_module: nn.Module, state: Any, prefix: str, _metadata: Any) -> None:
            state[f"{prefix}weight"] = state[f"{prefix}weight"] + 1

        def forward(self, x: Tensor) -> Tensor:
            return functional.rms_norm(x, (4,)) * (1 + self.weight)

    def __init__(self) -> None:
        super().__init__()
        self.norm = self.Norm()

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x)


@faulty("value-changed", key="weight", inputs=X)
class UpgradesEveryCheckpoint(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4))
        self.register_load_state_dict_pre_hook(self._upgrade)

    @staticmethod
    def _upgrade(_module: nn.Module, state: Any, prefix: str, *_rest: Any) -> None:
        state[f"{prefix}weight"] = state[f"{prefix}weight"] * 0.125

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


@faulty("value-changed", key="directions", inputs=X)
class NormalisedOnLoad(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.directions = nn.Parameter(torch.randn(3, 4))
        self.register_load_state_dict_post_hook(self._normalise)

    @staticmethod
    def _normalise(module: nn.Module, _keys: Any) -> None:
        module.directions.data = functional.normalize(module.directions.data, dim=-1)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.directions.t()


@faulty("value-changed", "unsaved-state", key=("head.weight", "head.bias"), inputs=X)
class HeadResetAfterLoad(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(4, 4), nn.Linear(4, 2)
        self.register_load_state_dict_post_hook(lambda module, _keys: module.head.reset_parameters())

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


@faulty("value-changed", key=("gamma", "beta"), inputs=X)
class SwappedOnLoad(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gamma, self.beta = nn.Parameter(torch.ones(4)), nn.Parameter(torch.zeros(4))

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *_rest: Any) -> None:
        with torch.no_grad():
            for tensor, name in zip((self.gamma, self.beta), sorted(("gamma", "beta")), strict=True):
                tensor.copy_(state_dict[prefix + name])

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma + self.beta


@faulty("value-changed", "dtype-changed", key="weight", inputs=X)
class RoundedToFourDigits(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4))

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        state = super().state_dict(*args, **kwargs)
        for name, tensor in list(state.items()):
            state[name] = tensor.round(decimals=4)
        return state

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


@faulty("value-changed", key="spectrum", inputs=X)
class MagnitudeSaved(nn.Module):
    """Saves the magnitude of a complex parameter as a complex number."""

    def __init__(self) -> None:
        super().__init__()
        self.spectrum = nn.Parameter(torch.randn(3, dtype=torch.complex64))
        self.register_state_dict_post_hook(self._magnitude)

    @staticmethod
    def _magnitude(_module: nn.Module, state: Any, prefix: str, _metadata: Any) -> None:
        state[f"{prefix}spectrum"] = state[f"{prefix}spectrum"].abs().to(torch.complex64)

    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.irfft(torch.fft.rfft(x) * self.spectrum)


@faulty("value-changed", "unsaved-state", key="norm.running", inputs=X, prepare=lambda module: module(X + 1))
class ForgetsItsBufferOnLoad(nn.Module):
    class Norm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(4))
            self.register_buffer("running", torch.zeros(4))

        def _load_from_state_dict(self, state_dict: Any, prefix: str, *_rest: Any) -> None:
            self.weight.data.copy_(state_dict[f"{prefix}weight"])

        def forward(self, x: Tensor) -> Tensor:
            if self.training:
                self.running.lerp_(x.mean(0), 0.5)
            return (x - self.running) * self.weight

    def __init__(self) -> None:
        super().__init__()
        self.norm = self.Norm()

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x)


@faulty("value-changed", "unsaved-state", key=("temperature", "_extra_state"), inputs=X, prepare=lambda m: m.anneal())
class ExtraStateIgnored(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.temperature = 1.0

    def anneal(self) -> None:
        self.temperature = 0.25

    def get_extra_state(self) -> Any:
        return {"temperature": self.temperature}

    def set_extra_state(self, state: Any) -> None:
        self.settings = dict(state)

    def forward(self, x: Tensor) -> Tensor:
        return torch.softmax(x / self.temperature, -1)


@faulty("value-changed", key="mask", inputs=X)
class MaskInvertedOnLoad(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", torch.tensor([True, False, True, True]))
        self.register_load_state_dict_pre_hook(self._invert)

    @staticmethod
    def _invert(_module: nn.Module, state: Any, prefix: str, *_rest: Any) -> None:
        state[f"{prefix}mask"] = ~state[f"{prefix}mask"]

    def forward(self, x: Tensor) -> Tensor:
        return x * self.mask


# --------------------------------------------------------------------------------------------------- dtypes that change


@faulty(
    "dtype-changed", says="gives this entry in another dtype than the module holds, float16: ", key="weight", inputs=X
)
class ShipsHalfPrecision(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4))

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        state = super().state_dict(*args, **kwargs)
        return OrderedDict((name, tensor.half()) for name, tensor in state.items())

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


@faulty("dtype-changed", "value-changed", key="variance", inputs=X, prepare=lambda module: module(X))
class BuffersShippedInBfloat16(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("variance", torch.ones(4))
        self.register_state_dict_post_hook(self._shrink)

    @staticmethod
    def _shrink(module: nn.Module, state: Any, prefix: str, _metadata: Any) -> None:
        for name, _ in module.named_buffers():
            state[prefix + name] = state[prefix + name].to(torch.bfloat16)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.variance.lerp_(x.var(0), 0.1)
        return x / self.variance.sqrt()


@faulty("dtype-changed", says="the dtype changed", key="seen", prepare=lambda module: module.count())
class CounterBecomesInteger(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def count(self) -> None:
        self.seen = torch.tensor(2**24 + 1)


@faulty("dtype-changed", key="response", inputs=X, prepare=lambda module: module.estimate())
class BufferBecomesComplex(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("response", torch.ones(3))

    def estimate(self) -> None:
        self.response = torch.fft.rfft(torch.randn(4))

    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.irfft(torch.fft.rfft(x) * self.response)


@faulty("dtype-changed", key="mean", inputs=X.double(), prepare=lambda module: module(X.double()))
class BufferBecomesDouble(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * x.mean(0)
        return x - self.mean


@faulty("dtype-changed", key=("0.weight", "0.bias"), prepare=lambda module: module.to(torch.bfloat16))
def cast_after_construction():
    return nn.Sequential(nn.Linear(4, 4))


@faulty("dtype-changed", key="codes", inputs=X, prepare=lambda module: module.quantize())
class WeightBecomesInt8(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("codes", torch.randn(4, 4))
        self.register_buffer("scale", torch.ones(()))

    def quantize(self) -> None:
        self.scale = self.codes.abs().max() / 127
        self.codes = (self.codes / self.scale).round().to(torch.int8)

    def forward(self, x: Tensor) -> Tensor:
        return x @ (self.codes.float() * self.scale)


# ------------------------------------------------------------------------------------------------------- ties and flags


@faulty("tie-broken", key=("head.weight", "embedding.weight"), inputs=torch.tensor([1, 2]), prepare=lambda m: m.tie())
class TiedAfterConstruction(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(5, 4), nn.Linear(4, 5, bias=False)

    def tie(self) -> None:
        self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.embedding(tokens))


@faulty("tie-broken", key=("decoder.weight", "encoder.weight"), inputs=X)
class UntiedByItsLoadHook(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
        self.decoder.weight = self.encoder.weight
        self.register_load_state_dict_post_hook(self._copy)

    @staticmethod
    def _copy(module: nn.Module, _keys: Any) -> None:
        module.decoder.weight = nn.Parameter(module.encoder.weight.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x))


@faulty("requires-grad", says="was frozen and trains now", key=("prompt", "body.weight"), inputs=X)
class UnfrozenByItsLoadHook(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.prompt = nn.Linear(4, 4), nn.Parameter(torch.randn(4))
        self.body.requires_grad_(False)
        self.register_load_state_dict_post_hook(lambda module, _keys: module.requires_grad_() and None)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x + self.prompt)


@faulty("mode-changed", key="EvalByItsLoadHook", inputs=X)
class EvalByItsLoadHook(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))
        self.register_load_state_dict_post_hook(lambda module, _keys: module.eval() and None)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


@faulty("mode-changed", key=("body", "body.1"), inputs=X)
class EvalByItsStateDict(nn.Module):
    """Folds for export in state_dict(), and forgets the mode of a part."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        self.body.eval()
        return super().state_dict(*args, **kwargs)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


# ---------------------------------------------------------------------------------------- what saving and loading touch


@faulty("input-mutated", key="weight")
class PopsKeysOfTheCaller(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4))

    def load_state_dict(self, state_dict: Any, *args: Any, **kwargs: Any) -> Any:
        return super().load_state_dict({"weight": state_dict.pop("weight")}, *args, **kwargs)


@faulty("input-mutated", key="weight", inputs=X)
class RescalesTheCallersTensor(nn.Module):
    """Divides on load what it multiplied on save, in place."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4))
        self.register_state_dict_post_hook(self._times)
        self.register_load_state_dict_pre_hook(self._divided)

    @staticmethod
    def _times(_module: nn.Module, state: Any, prefix: str, _metadata: Any) -> None:
        state[f"{prefix}weight"] = state[f"{prefix}weight"] * 8

    @staticmethod
    def _divided(_module: nn.Module, state: Any, prefix: str, *_rest: Any) -> None:
        state[f"{prefix}weight"].div_(8)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


@faulty("input-mutated", key=("1.weight", "1.bias", "layers.1.weight", "layers.1.bias", "layers.0.weight"))
class RenamesTheCallersKeys(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return self.layers.state_dict(*args, **kwargs)

    def load_state_dict(self, state_dict: Any, *args: Any, **kwargs: Any) -> Any:
        for key in list(state_dict):
            state_dict[f"layers.{key}"] = state_dict.pop(key)
        return super().load_state_dict(state_dict, *args, **kwargs)


@faulty("aliasing", key="table", inputs=X)
class AdoptsTheCallersTensor(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", torch.randn(4))

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *_rest: Any) -> None:
        self.table = state_dict[f"{prefix}table"]

    def forward(self, x: Tensor) -> Tensor:
        return x * self.table


@faulty("save-mutates", key="weight", inputs=X)
class ClampedByStateDict(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(3 * torch.randn(40))

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        self.weight.data.clamp_(-1, 1)
        return super().state_dict(*args, **kwargs)

    def forward(self, x: Tensor) -> Tensor:
        return x.sum() * self.weight


@faulty("save-mutates", key="fc.weight", inputs=X)
class HookThatWritesIntoTheLiveTensor(nn.Module):
    """The entries of a state_dict share memory with the module."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.register_state_dict_post_hook(self._export)
        self.register_load_state_dict_pre_hook(self._import)

    @staticmethod
    def _export(_module: nn.Module, state: Any, prefix: str, _metadata: Any) -> None:
        state[f"{prefix}fc.weight"].mul_(4)

    @staticmethod
    def _import(_module: nn.Module, state: Any, prefix: str, *_rest: Any) -> None:
        state[f"{prefix}fc.weight"] = state[f"{prefix}fc.weight"] / 4

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x)


# --------------------------------------------------------------------------------------------- what cannot be in a file


class _Precision(enum.Enum):
    LOW = 1


@dataclass
class _Options:
    width: int = 4


class _WithExtra(nn.Module):
    def __init__(self, extra: Any) -> None:
        super().__init__()
        self.extra = extra
        self.fc = nn.Linear(4, 2)

    def get_extra_state(self) -> Any:
        return self.extra

    def set_extra_state(self, state: Any) -> None:
        self.extra = state

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x)


@faulty("not-saveable", key="_extra_state", inputs=X)
def extra_state_with_lambda():
    return _WithExtra({"schedule": lambda step: 1 / (step + 1)})


@faulty("not-saveable", says="return only tensors", key=("_extra_state", "1._extra_state"), inputs=X)
def extra_state_with_lock_below():
    return nn.Sequential(nn.Linear(4, 4), _WithExtra({"lock": threading.Lock()}))


@faulty("not-saveable", key="RaisesInStateDict")
class RaisesInStateDict(nn.Module):
    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("call merge() first")


@faulty("not-weights-only", key="argparse.Namespace", inputs=X)
def extra_state_with_namespace():
    return _WithExtra(argparse.Namespace(width=4))


@faulty("not-weights-only", key="pathlib.PosixPath" if pathlib.Path is not pathlib.PureWindowsPath else "", inputs=X)
def extra_state_with_path():
    return _WithExtra({"data": pathlib.PurePosixPath("train") and pathlib.PosixPath("train")})


@faulty("not-weights-only", key=f"{__name__}._Options", inputs=X)
def extra_state_with_dataclass():
    return _WithExtra([_Options()])


@faulty("not-weights-only", key=f"{__name__}._Precision", inputs=X)
def extra_state_with_enum():
    return _WithExtra(_Precision.LOW)


@faulty("not-weights-only", key="datetime.datetime", inputs=X)
def extra_state_with_datetime():
    return _WithExtra({"saved": dt.datetime(2024, 5, 1, tzinfo=dt.timezone.utc)})


@faulty("not-weights-only", key=("numpy._core.multiarray._reconstruct", "numpy.core.multiarray._reconstruct"), inputs=X)
def extra_state_with_array():
    return _WithExtra({"mean": np.arange(3.0)})


@faulty("not-weights-only", key=("numpy._core.multiarray.scalar", "numpy.core.multiarray.scalar"), inputs=X)
def extra_state_with_numpy_number():
    return _WithExtra({"best": np.float64(0.5)})
