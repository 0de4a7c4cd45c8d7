"""Round trips on a second device that is really there: CUDA, MPS, XPU, or torch-xla on the CPU (`make test-xla`)."""

from __future__ import annotations

import os
from functools import partial

import pytest
import torch
from torch import nn

from pytest_ckpt import check_module
from pytest_ckpt.legs import accelerator, available

if os.environ.get("PJRT_DEVICE"):
    pytest.importorskip("torch_xla")

DEVICE = accelerator() or "xla"
FORMATS = ["torch_zip", "whole_module", "safetensors", "dcp", "torch_zip@buffer"]
if DEVICE != "xla":  # torch 2.9 writes wrong values of xla tensors in the legacy format, which the round trip reports
    FORMATS.append("torch_legacy")
X = torch.linspace(-1.0, 1.0, 24).reshape(4, 6)

pytestmark = pytest.mark.skipif(not available(DEVICE), reason="needs an accelerator, or torch-xla with PJRT_DEVICE=CPU")


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Linear(6, 2)
        self.register_buffer("table", torch.arange(6.0), persistent=False)
        self.table: torch.Tensor

    def forward(self, x):
        return self.last(self.norm(self.first(x)).relu() + self.table + torch.arange(6, device=x.device))


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(5, 3), nn.Linear(3, 5, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, x):
        return self.head(self.embedding(x))


class Random(Net):
    def __init__(self) -> None:
        super().__init__()
        self.offset = torch.rand(2)

    def forward(self, x):
        return super().forward(x) + self.offset.to(x.device)


class OnTheCpu(Random):
    def __init__(self) -> None:
        super().__init__()
        self.offset = torch.ones(2)

    def forward(self, x):
        return Net.forward(self, x) + self.offset


def train(module):
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    for _ in range(2):
        module(X).sum().backward()
        optimizer.step()


def both(make, inputs=X, **arguments):
    return check_module(make, inputs, devices=["cpu", DEVICE], **arguments)


def statuses(report):
    return {leg.leg: leg.status for leg in report.legs}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("mode", ["eval", "train"])
def test_every_leg_is_real(name, mode):
    report = both(Net, prepare=train, mode=mode, formats=[name])
    assert report.ok, report.text()
    legs = {f"{saved}->{loaded} {name}" for saved in ("cpu", DEVICE) for loaded in ("cpu", DEVICE)}
    assert statuses(report) == dict.fromkeys(legs, "real"), report.text()


@pytest.mark.parametrize("name", sorted({*FORMATS} - {"safetensors"}))
def test_ties_survive_the_journey(name):
    report = both(Tied, torch.tensor([[1, 2]]), formats=[name])
    assert report.ok, report.text()


@pytest.mark.parametrize("make", [partial(nn.LSTM, 6, 3), partial(nn.TransformerEncoderLayer, 6, 2, 8), nn.ReLU])
def test_modules_of_torch(make):
    report = both(make)
    assert report.ok, report.text()


def test_what_is_lost_is_named_on_every_leg():
    report = both(Random)
    assert {(one.category, one.key) for one in report.findings} == {("unsaved-state", "offset")}, report.text()
    assert len(report.findings[0].leg.split(", ")) == 4


def test_what_stays_on_the_cpu_is_named_on_the_real_leg():
    report = both(OnTheCpu)
    if report.findings:
        assert {(one.category, one.key) for one in report.findings} == {("device-location", "offset")}, report.text()
    else:
        assert DEVICE == "xla", "torch-xla takes tensors of the CPU"


def test_a_loader_without_map_location_gives_the_device_that_the_file_names():
    def load(path):
        module = Net()
        module.load_state_dict(torch.load(path, weights_only=True))
        return module

    report = both(Net, load=load)
    assert report.ok, report.text()
    assert set(statuses(report).values()) == {"real"}


def test_the_position_of_the_generators_is_kept():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    both(lambda: nn.Sequential(nn.Linear(6, 6), nn.Dropout()), mode="train")
    assert torch.equal(torch.rand(3), expected)
