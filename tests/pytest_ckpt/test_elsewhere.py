"""The forward on stand-ins: what stays on the CPU is named, and nothing else is."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from pytest_ckpt import check_module, elsewhere
from pytest_ckpt.elsewhere import forward_elsewhere
from pytest_ckpt.legs import accelerator
from pytest_ckpt.outputs import Runner

X = torch.linspace(-1.0, 1.0, 6).reshape(2, 3)
TABLE = torch.linspace(0.0, 1.0, 3)
without_accelerator = pytest.mark.skipif(accelerator() is not None, reason="legs to an accelerator are real here")


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)


class Constant(Base):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.unused = TABLE.clone(), TABLE.clone()

    def forward(self, x):
        return self.linear(x) + self.table


class InContainers(Base):
    def __init__(self) -> None:
        super().__init__()
        self.tables: Any = {"a": [TABLE.clone(), (TABLE.clone(),)], "b": "text"}

    def forward(self, x):
        return self.linear(x) + self.tables["a"][1][0]


class Two(Constant):
    def forward(self, x):
        return super().forward(x) * self.unused


class MadeInForward(Base):
    def forward(self, x):
        return self.linear(x) + torch.arange(3)


class MadeAndHeld(Constant):
    def forward(self, x):
        return super().forward(x) + torch.ones(3)


class Listed(Base):
    def __init__(self) -> None:
        super().__init__()
        self.layers = [nn.Linear(3, 3), nn.Linear(3, 3)]

    def forward(self, x):
        return self.layers[1](self.layers[0](self.linear(x)))


@pytest.mark.parametrize(
    ("make", "keys"),
    [
        (Constant, ["table"]),
        (InContainers, ["tables"]),
        (Two, ["table", "unused"]),
        (MadeInForward, ["forward"]),
        (MadeAndHeld, ["table", "forward"]),
        (Listed, ["layers"]),
        (lambda: nn.Sequential(nn.ReLU(), Constant()), ["1.table"]),
        (lambda: nn.Sequential(nn.ReLU(), MadeInForward()), ["1.forward"]),
    ],
)
def test_what_stays_on_the_cpu_is_named(make, keys):
    seen = forward_elsewhere(make(), Runner(X))
    assert [one.key for one in seen.behind] == keys
    assert not seen.reason
    assert all(one.actual.endswith("in forward") and "test_elsewhere.py" in one.actual for one in seen.behind)


class Moves(Constant):
    def _apply(self, fn, recurse=True):
        self.table = fn(self.table)
        return super()._apply(fn, recurse)


class MovesInTo(Constant):
    def to(self, *args, **kwargs):
        self.table = self.table.to(*args, **kwargs)
        return super().to(*args, **kwargs)


class MovedWhereUsed(Constant):
    def forward(self, x):
        return self.linear(x) + self.table.to(x.device)


class ScalarOfTheCpu(Base):
    def __init__(self) -> None:
        super().__init__()
        self.scale, self.index = torch.tensor(2.0), torch.tensor([2, 0])

    def forward(self, x):
        return (self.linear(x) * self.scale)[:, self.index] + torch.tensor(1.0)


class Device(Base):
    def forward(self, x):
        return self.linear(x) + torch.arange(3, device=x.device) + torch.tensor([1.0, 2.0, 3.0], device=x.device)


class References(Base):
    def __init__(self) -> None:
        super().__init__()
        self.held, self.first = {"weights": [self.linear.weight]}, self.linear.bias

    def forward(self, x):
        return x @ self.held["weights"][0].T + self.first


class Tied(Base):
    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Linear(3, 3)
        self.other.weight = self.linear.weight
        self.again = self.other

    def forward(self, x):
        return self.again(self.other(self.linear(x)))


class CachedByDevice(Base):
    def __init__(self) -> None:
        super().__init__()
        self.cache: dict[object, torch.Tensor] = {}

    def forward(self, x):
        if x.device not in self.cache:
            self.cache[x.device] = torch.ones(3, device=x.device)
        return self.linear(x) + self.cache[x.device]


@pytest.mark.parametrize(
    "make",
    [
        *(Moves, MovesInTo, MovedWhereUsed, ScalarOfTheCpu, Device, References, Tied, CachedByDevice),
        partial(nn.Linear, 3, 3),
        partial(nn.LSTM, 3, 4, 2),
        partial(nn.MultiheadAttention, 3, 1),
        lambda: parametrizations.weight_norm(nn.Linear(3, 3)),
        lambda: nn.utils.spectral_norm(nn.Linear(3, 3)),
        lambda: nn.Sequential(nn.Linear(3, 3).half(), nn.BatchNorm1d(3).half()),
    ],
)
def test_what_is_moved_or_may_stay_is_not(make):
    dtype = next(make().parameters()).dtype
    inputs = (X.to(dtype),) * (3 if isinstance(make(), nn.MultiheadAttention) else 1)
    for training in (False, True):
        seen = forward_elsewhere(make().train(training), Runner(inputs))
        assert not seen.behind, seen
        assert not seen.reason, seen


class Reads(Base):
    def forward(self, x):
        return self.linear(x) if x.sum().item() > 0 else x


class Fails(Base):
    def forward(self, x):
        if x.device.type != "cpu":
            raise ZeroDivisionError("elsewhere")
        return self.linear(x)


@lru_cache
def cached_table():
    return torch.ones(3)


class OfAGlobal(Base):
    def forward(self, x):
        return self.linear(x) + TABLE + cached_table()


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (Reads, "it reads the values of a tensor"),
        (Fails, "ZeroDivisionError: elsewhere"),
        (OfAGlobal, "meets a tensor"),
    ],
)
def test_what_cannot_be_told_is_said_and_not_reported(make, reason):
    cached_table()
    seen = forward_elsewhere(make(), Runner(X))
    assert not seen.behind
    assert reason in seen.reason
    assert "test_elsewhere.py" in seen.reason


# ------------------------------------------------------------------------------------------------------ in a round trip


def leg(report, name="cpu->cuda torch_zip"):
    return {one.leg: one for one in report.legs}[name]


@without_accelerator
def test_it_is_a_finding_where_the_devices_are_named():
    report = check_module(Constant, X, devices=["cpu", "cuda"])
    (finding,) = report.findings
    assert (finding.category, finding.key, finding.leg) == ("device-location", "table", "cpu->cuda torch_zip")
    assert 'register_buffer("table"' in finding.hint
    (finding,) = check_module(MadeInForward, X, devices=["cpu", "xpu"]).findings
    assert (finding.key, finding.leg) == ("forward", "cpu->xpu torch_zip")
    assert "device=x.device" in finding.hint


@without_accelerator
def test_it_is_a_note_where_they_are_not():
    report = check_module(Constant, X)
    assert report.ok
    (note,) = report.notes
    assert note.startswith("on cuda, forward would raise at ")
    assert note.endswith("float32[3] of table stays on the CPU")
    assert leg(report).status == "simulated"


@without_accelerator
def test_a_check_that_is_left_out_reports_nothing():
    assert check_module(Constant, X, devices=["cpu", "cuda"], ignore=["device-location"]).ok


@without_accelerator
def test_what_another_finding_names_is_not_named_again():
    class Random(Constant):
        def __init__(self) -> None:
            super().__init__()
            self.table = torch.rand(3)

    report = check_module(Random, X, devices=["cpu", "cuda"])
    assert [(one.category, one.key) for one in report.findings] == [("unsaved-state", "table")]
    assert leg(report).status == "simulated"


@without_accelerator
@pytest.mark.parametrize("make", [Base, Reads])
def test_what_cannot_be_simulated_is_skipped_with_the_reason(make):
    report = check_module(lambda: make().linear if make is Base else make(), None if make is Base else X)
    assert leg(report).status == "skipped"
    assert leg(report).reason.startswith("cuda is not available here")
    assert ("reads the values" in leg(report).reason) == (make is Reads)


@without_accelerator
def test_a_cache_of_the_first_run_is_not_the_constructors_fault():
    class Caching(Base):
        table: torch.Tensor | None = None

        def forward(self, x):
            if self.table is None:
                self.table = torch.ones(3, device=x.device)
            return self.linear(x) + self.table

    report = check_module(Caching, X, devices=["cpu", "cuda"])
    assert report.ok, report.text()
    assert leg(report).status == "simulated"


@without_accelerator
@pytest.mark.parametrize("own_load", [False, True])
def test_lazy_modules_and_loaders_of_the_users_own(own_load):
    def load(path):
        module = nn.Sequential(nn.LazyLinear(3))
        module.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        return module

    report = check_module(lambda: nn.Sequential(nn.LazyLinear(3)), X, load=load if own_load else None)
    assert report.ok
    assert leg(report).status == "simulated", leg(report)


@without_accelerator
def test_one_simulation_serves_all_formats(monkeypatch):
    simulated = []

    def counted(module, runner):
        simulated.append(module)
        return forward_elsewhere(module, runner)

    monkeypatch.setattr(elsewhere, "forward_elsewhere", counted)
    report = check_module(lambda: nn.Linear(3, 3), X, formats=["torch_zip", "safetensors", "dcp"])
    assert [one.status for one in report.legs if one.leg.startswith("cpu->cuda")] == ["simulated"] * 3
    assert len(simulated) == 1


@without_accelerator
def test_nothing_of_it_stays():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    check_module(Constant, X, devices=["cpu", "cuda"])
    assert torch.equal(torch.get_rng_state(), before)
    assert type(torch.ones(1)) is torch.Tensor
    assert type(TABLE) is torch.Tensor
    assert TABLE.device.type == "cpu"
