"""What the sweep finds and what is true: for each finding, the same shown with the library and plain torch alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from lightning.pytorch.callbacks import BaseFinetuning
from torch import nn
from torchmetrics.image import ErrorRelativeGlobalDimensionlessSynthesis

from pytest_ckpt import check_module
from tests.real.known import Fault, judge
from tests.real.lightning_modules import LABELLED, ROWS, Classifier, fit, save

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

pytestmark = pytest.mark.filterwarnings("default")


class Net(Classifier):
    """One layer, so that a report has few rows."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(32, 3)


# ------------------------------------------------------------------------- Lightning: a module trained in another dtype

DTYPES = [("64-true", torch.float64), ("bf16-true", torch.bfloat16), ("16-true", torch.float16)]


@pytest.mark.parametrize(("precision", "dtype"), DTYPES)
def test_lightning_loads_a_module_of_another_precision_as_float32(
    tmp_path: Path, precision: Any, dtype: torch.dtype
) -> None:
    def prepare(module: Any) -> None:
        fit(module, LABELLED, precision=precision)

    report = check_module(Net, prepare=prepare, save=save, load=Net.load_from_checkpoint, checks=["dtype-changed"])
    judge(report, Fault("dtype-changed", ("net.weight", "net.bias", "loss.weight"), "float32 is what __init__ makes"))

    module = Net()
    prepare(module)
    save(module, tmp_path / "checkpoint.ckpt")
    assert torch.load(tmp_path / "checkpoint.ckpt", weights_only=True)["state_dict"]["net.weight"].dtype == dtype
    assert Net.load_from_checkpoint(tmp_path / "checkpoint.ckpt").net.weight.dtype == torch.float32


# ----------------------------------------------------------------------------------- Lightning: layers that were frozen


class Tuned(Net):
    """A head on a backbone."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(super().forward(x))
        return logits


class Frozen(BaseFinetuning):
    def freeze_before_training(self, pl_module: Any) -> None:
        self.freeze(pl_module.net)

    def finetune_function(self, *_: Any) -> None:
        """Keep them frozen."""


def test_lightning_loads_frozen_layers_as_trainable(tmp_path: Path) -> None:
    def prepare(module: Any) -> None:
        fit(module, LABELLED, callbacks=[Frozen()])

    report = check_module(Tuned, ROWS, prepare=prepare, save=save, load=Tuned.load_from_checkpoint)
    judge(report, Fault("requires-grad", ("net.weight", "net.bias"), "the flags are in the callback's state alone"))

    module = Tuned()
    prepare(module)
    save(module, tmp_path / "checkpoint.ckpt")
    assert not module.net.weight.requires_grad
    assert Tuned.load_from_checkpoint(tmp_path / "checkpoint.ckpt").net.weight.requires_grad


# ------------------------------------------------------------------- torchmetrics: batches that a metric keeps as views


def test_torchmetrics_saves_the_whole_batch_that_it_was_given_a_part_of(tmp_path: Path) -> None:
    batch = torch.rand(64, 3, 24, 24)

    def make() -> nn.Module:
        metric = ErrorRelativeGlobalDimensionlessSynthesis()
        metric.persistent(mode=True)
        return metric

    report = check_module(make, prepare=lambda metric: metric.update(batch[:1], batch[1:2]))
    judge(report, Fault("storage-bloat", ("preds[0]", "target[0]"), "a list state keeps what update is given"))

    sizes = []
    for pair in ((batch[:1], batch[1:2]), (batch[:1].clone(), batch[1:2].clone())):
        metric: Any = make()
        metric.update(*pair)
        torch.save(metric.state_dict(), tmp_path / "metric.pt")
        sizes.append((tmp_path / "metric.pt").stat().st_size)
    assert sizes[0] > 20 * sizes[1]
