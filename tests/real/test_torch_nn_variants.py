"""Round trips of what torch makes of its modules: parametrized, pruned, averaged, compiled, quantized ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn
from torch.ao import quantization
from torch.ao.nn import quantized as ao
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.optim.swa_utils import AveragedModel

from pytest_ckpt import check_module
from tests.real.known import Fault, judge
from tests.real.torch_nn import IMAGES, SEQUENCES, TOKENS, VECTORS
from tests.real.training import train

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_ckpt.call import Mode


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2))


def pruned(module: nn.Module) -> nn.Module:
    prune.l1_unstructured(module, "weight", 0.3)
    prune.random_unstructured(module, "weight", 0.3)
    return module


def observed() -> nn.Module:
    """A network as static quantization calibrates it."""
    module = quantization.QuantWrapper(network()).eval()
    module.qconfig = quantization.get_default_qconfig("x86")
    return prepared(quantization.prepare(module))


def fake_quantized() -> nn.Module:
    """A network as quantization-aware training trains it."""
    module = quantization.QuantWrapper(network()).train()
    module.qconfig = quantization.get_default_qat_qconfig("x86")
    return prepared(quantization.prepare_qat(module))


def prepared(module: nn.Module) -> nn.Module:
    module(VECTORS)
    return module


def quantized() -> nn.Module:
    module: nn.Module = quantization.convert(observed())
    return module


def compiled() -> nn.Module:
    module: nn.Module = torch.compile(network(), backend="eager")  # type: ignore[assignment]
    return module


def fused() -> nn.Module:
    return fuse_conv_bn_eval(nn.Conv2d(4, 3, 3).eval(), nn.BatchNorm2d(3).eval())


VARIANTS: dict[str, tuple[Callable[[], nn.Module], Any]] = {
    "parametrized weight_norm": (lambda: parametrizations.weight_norm(nn.Conv2d(4, 3, 3)), IMAGES),
    "parametrized spectral_norm": (lambda: parametrizations.spectral_norm(nn.Linear(6, 4)), VECTORS),
    "orthogonal, exponential": (lambda: parametrizations.orthogonal(nn.Linear(6, 6)), VECTORS),
    "orthogonal, Householder": (lambda: parametrizations.orthogonal(nn.Linear(6, 4)), VECTORS),
    "orthogonal, Cayley": (lambda: parametrizations.orthogonal(nn.Linear(6, 6), orthogonal_map="cayley"), VECTORS),
    "recurrent weight_norm": (lambda: parametrizations.weight_norm(nn.LSTM(8, 3), "weight_hh_l0"), SEQUENCES),
    "older weight_norm": (lambda: weight_norm(nn.Linear(6, 4)), VECTORS),
    "older spectral_norm": (lambda: spectral_norm(nn.Conv2d(4, 3, 3)), IMAGES),
    "pruned twice": (lambda: pruned(nn.Linear(6, 4)), VECTORS),
    "fused": (fused, IMAGES),
    "averaged": (lambda: AveragedModel(nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4)), use_buffers=True), VECTORS),
    "bfloat16": (lambda: network().bfloat16(), VECTORS.bfloat16()),
    "complex": (lambda: nn.Linear(6, 4, dtype=torch.complex64), VECTORS.to(torch.complex64)),
    "channels last": (lambda: nn.Conv2d(4, 3, 3).to(memory_format=torch.channels_last), IMAGES),  # type: ignore[call-overload]
    "compiled": (compiled, VECTORS),
    "encoder with the fast path": (
        lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2),
        SEQUENCES,
    ),
    "dynamic linear": (lambda: quantization.quantize_dynamic(network()), VECTORS),
    "dynamic float16": (lambda: quantization.quantize_dynamic(network(), dtype=torch.float16), VECTORS),
    "dynamic LSTM": (lambda: quantization.quantize_dynamic(nn.LSTM(8, 3)), SEQUENCES),
    "dynamic GRUCell": (lambda: quantization.quantize_dynamic(nn.GRUCell(6, 4), {nn.GRUCell}), VECTORS),
    "quantized embedding": (lambda: ao.Embedding(10, 4), TOKENS),
    "fake quantized": (fake_quantized, VECTORS),
    "quantized": (quantized, VECTORS),
    "observed": (observed, VECTORS),
}
FAULTS = {
    "observed": Fault(
        "aliasing",
        tuple(
            f"{place}.activation_post_process.{bound}_val"
            for place in ("quant", "module.0", "module.2")
            for bound in ("min", "max")
        ),
        "HistogramObserver keeps the tensors of the dict that it is loaded from",
    ),
}


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("name", VARIANTS)
def test_variant(name: str, mode: Mode) -> None:
    make, inputs = VARIANTS[name]
    report = check_module(make, inputs, mode=mode)
    judge(report, FAULTS.get(name))
    assert not report.notes


def trainable() -> list[str]:
    return [name for name, (make, _) in VARIANTS.items() if list(make().parameters())]


@pytest.mark.parametrize("name", trainable())
def test_trained_variant(name: str) -> None:
    make, inputs = VARIANTS[name]
    report = check_module(make, inputs, prepare=train(inputs))
    judge(report, FAULTS.get(name))
    assert not report.notes


def test_histogram_observers_that_were_loaded_from_one_dict_share_their_bounds() -> None:
    saved, one, other = (quantization.HistogramObserver() for _ in range(3))
    saved(VECTORS)
    state = saved.state_dict()
    one.load_state_dict(state)
    other.load_state_dict(state)
    one(VECTORS * 10)
    assert torch.equal(other.max_val, VECTORS.max() * 10)
