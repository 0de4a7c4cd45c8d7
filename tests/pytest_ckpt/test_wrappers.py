"""Wrappers put a prefix before every key, DataParallel, DistributedDataParallel and torch.compile; FSDP2 shards."""

from __future__ import annotations

import pytest
import torch
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from pytest_ckpt import check_module

X = torch.linspace(-1.0, 1.0, 6).reshape(2, 3)
PREFIXES = {"DataParallel": "module.", "DistributedDataParallel": "module.", "compile": "_orig_mod."}


@pytest.fixture(scope="module", autouse=True)
def process_group(tmp_path_factory):
    """One rank with gloo, which DistributedDataParallel asks for."""
    meeting = (tmp_path_factory.mktemp("group") / "store").as_uri()
    distributed.init_process_group("gloo", init_method=meeting, rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def bare():
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def wrapped(name):
    if name == "compile":
        return torch.compile(bare(), backend="eager")
    kind = nn.DataParallel if name == "DataParallel" else nn.parallel.DistributedDataParallel
    return kind(bare())


def read(path):
    return torch.load(path, map_location="cpu", weights_only=True)


def save(module, path):
    torch.save(module.state_dict(), path)


def load_strictly(path):
    module = bare()
    module.load_state_dict(read(path))
    return module


def load_leniently(path):
    module = bare()
    module.load_state_dict(read(path), strict=False)
    return module


def load_without_prefix(path):
    module = bare()
    prefixes = set(PREFIXES.values())
    state = read(path)
    for prefix in prefixes:
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    module.load_state_dict(state)
    return module


@pytest.fixture(params=PREFIXES)
def wrapper(request):
    return request.param


def test_a_wrapped_module_comes_back_wrapped(wrapper):
    report = check_module(lambda: wrapped(wrapper), X, devices=["cpu"])
    assert report.ok, report.text()
    assert report.entries == len(bare().state_dict())


def test_a_loader_that_takes_the_prefix_off_is_right(wrapper):
    report = check_module(lambda: wrapped(wrapper), X, save=save, load=load_without_prefix, devices=["cpu"])
    assert report.ok, report.text()


def test_a_prefix_that_a_strict_loader_refuses_is_reported(wrapper):
    report = check_module(lambda: wrapped(wrapper), X, save=save, load=load_strictly, devices=["cpu"])
    assert report.findings
    assert {one.category for one in report.findings} <= {"not-loadable", "key-mismatch"}, report.text()
    assert f"{PREFIXES[wrapper]}0.weight" in report.text()


def test_a_prefix_that_a_lenient_loader_skips_is_reported(wrapper):
    report = check_module(lambda: wrapped(wrapper), X, save=save, load=load_leniently, devices=["cpu"])
    found = {one.key: one.category for one in report.findings}
    assert found.get("0.weight") == "key-mismatch", report.text()
    assert f"{PREFIXES[wrapper]}0.weight" in report.text()


class Shifted(nn.Linear):
    def __init__(self):
        super().__init__(4, 2)
        self.shift = torch.rand(2)

    def forward(self, x):
        return super().forward(x) + self.shift


@pytest.mark.parametrize(
    ("kind", "keys"), [(lambda: nn.Linear(4, 2), []), (Shifted, ["shift"])], ids=["sound", "faulty"]
)
def test_a_module_that_fsdp_shards(kind, keys):
    mesh = init_device_mesh("cpu", (1,))
    report = check_module(lambda: fully_shard(kind(), mesh=mesh), inputs=torch.ones(3, 4))
    assert [one.key for one in report.findings] == keys, report.text()
    assert not report.notes
