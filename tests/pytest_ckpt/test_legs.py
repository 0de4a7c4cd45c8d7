"""Legs: what runs, what is simulated, what is skipped and why; and the tag that makes a CPU's file a GPU host's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from pytest_ckpt import check_module
from pytest_ckpt.findings import UsageError
from pytest_ckpt.formats.torch_zip import TorchZip
from pytest_ckpt.legs import Leg, Tagger, accelerator, device_type, plan

HAS_CUDA = accelerator() == "cuda"
without_cuda = pytest.mark.skipif(HAS_CUDA, reason="this machine has CUDA, so its legs are real")
needs_cuda = pytest.mark.skipif(not HAS_CUDA, reason="needs a CUDA device")


# ------------------------------------------------------------------------------------------------------------- the plan


def planned(devices=None, formats=("torch_zip",)):
    return {str(leg): leg.result().status for leg in plan(devices, formats)}


@pytest.fixture
def host(monkeypatch):
    """Pretend that torch sees an accelerator, or none."""

    def pretend(name):
        monkeypatch.setattr(torch.accelerator, "is_available", lambda: name is not None)
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device(name) if name else None)

    return pretend


def test_without_an_accelerator_cuda_is_simulated_or_skipped(host):
    host(None)
    assert planned() == {
        "cpu->cpu torch_zip": "real",
        "cpu->cuda torch_zip": "skipped",
        "cuda->cpu torch_zip": "simulated",
        "cuda->cuda torch_zip": "skipped",
    }


@pytest.mark.parametrize("device", ["cuda", "mps", "xpu", "xla"])
def test_with_an_accelerator_every_leg_is_real(host, device):
    host(device)
    assert planned() == {
        f"{saved}->{loaded} torch_zip": "real" for saved in ("cpu", device) for loaded in ("cpu", device)
    }


def test_devices_that_are_not_here_beside_one_that_is(host):
    host("mps")
    assert planned(["cpu", "mps", "cuda:1"]) == {
        "cpu->cpu torch_zip": "real",
        "cpu->mps torch_zip": "real",
        "cpu->cuda torch_zip": "skipped",
        "mps->cpu torch_zip": "real",
        "mps->mps torch_zip": "real",
        "mps->cuda torch_zip": "skipped",
        "cuda->cpu torch_zip": "simulated",
        "cuda->mps torch_zip": "skipped",
        "cuda->cuda torch_zip": "skipped",
    }


def test_devices_are_taken_once_and_by_type(host):
    host(None)
    assert planned(["cpu", "cpu", "cpu:0"]) == {"cpu->cpu torch_zip": "real"}


def test_formats_other_than_that_of_torch_carry_no_tag(host):
    host(None)
    assert planned(formats=("safetensors",))["cuda->cpu safetensors"] == "skipped"


@without_cuda
def test_a_skipped_leg_says_why():
    reasons = {leg.result().reason for leg in plan(None, ("torch_zip",)) if leg.skipped}
    (reason,) = reasons
    assert reason.startswith("cuda is not available here: torch ")
    (leg,) = plan(["xpu"], ("torch_zip",))[:1]
    assert leg.result().reason.startswith("xpu is not available here: torch ")


def test_results_of_legs():
    leg = Leg("cuda", "cpu", "torch_zip", simulated=True)
    assert leg.result().status == "simulated"
    assert "tagged cuda:0" in leg.result().reason
    assert leg.result("no tensor").status == "skipped"
    assert leg.result("no tensor").reason == "no tensor"
    assert Leg("cpu", "cpu", "torch_zip").result().reason == ""


@pytest.mark.parametrize(("given", "known"), [("cuda:1", "cuda"), ("cpu", "cpu"), ("mps", "mps"), ("meta", "meta")])
def test_device_types(given, known):
    assert device_type(given) == known


@pytest.mark.parametrize("given", ["cud", "gpu", "", None, 7, "cuda:x"])
def test_unknown_devices_are_refused_with_the_nearest(given):
    with pytest.raises(UsageError, match="no device") as caught:
        device_type(given)
    assert repr(given) in str(caught.value)
    assert "did you mean" in str(caught.value) or "use one of cpu, cuda" in str(caught.value)
    assert caught.value.__cause__ is None


# -------------------------------------------------------------------------------------------------------------- the tag


@pytest.fixture
def registry():
    """Give torch's registry of taggers, and check that nothing stays in it."""
    entries = torch.serialization._package_registry
    before = list(entries)
    yield entries
    after = list(entries)
    entries[:] = before
    assert after == before


def tagged_file(tmp_path, device="cuda"):
    path = tmp_path / "tagged.pt"
    tagger = Tagger(device)
    with tagger.active():
        torch.save(nn.Linear(2, 2).state_dict(), path)
    assert tagger.tagged == 2
    return path


@without_cuda
@pytest.mark.usefixtures("registry")
def test_a_tagged_file_is_refused_as_that_of_a_gpu_host(tmp_path):
    path = tagged_file(tmp_path)
    with pytest.raises(RuntimeError, match=r"Attempting to deserialize object on a CUDA device"):
        torch.load(path, weights_only=True)
    with pytest.raises(RuntimeError, match=r"Attempting to deserialize object on a CUDA device"):
        torch.load(path, weights_only=False)


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize("device", ["cuda", "mps", "xpu", "hpu"])
def test_a_tagged_file_loads_with_map_location(tmp_path, device):
    state = torch.load(tagged_file(tmp_path, device), map_location="cpu", weights_only=True)
    assert state["weight"].device.type == "cpu"
    assert state["weight"].shape == (2, 2)


@pytest.mark.usefixtures("registry")
def test_files_saved_afterwards_are_not_tagged(tmp_path):
    tagged_file(tmp_path)
    torch.save(torch.ones(2), tmp_path / "plain.pt")
    assert torch.equal(torch.load(tmp_path / "plain.pt", weights_only=True), torch.ones(2))


def test_the_tagger_is_gone_after_an_exception(registry):
    before = len(registry)

    def fail_while_active():
        with Tagger("cuda").active():
            assert len(registry) == before + 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_while_active()
    assert len(registry) == before


def test_taggers_may_be_nested_and_each_removes_itself(registry):
    before = len(registry)
    with Tagger("cuda").active():
        with Tagger("xpu").active():
            assert len(registry) == before + 2
        assert len(registry) == before + 1


def test_tensors_elsewhere_keep_their_tag():
    tagger: Any = Tagger("cuda")
    with tagger.active():
        assert tagger(torch.ones(1).untyped_storage()) == "cuda:0"
        assert tagger(torch.ones(1, device="meta").untyped_storage()) is None
    assert tagger(torch.ones(1).untyped_storage()) is None
    assert tagger.tagged == 1


def load_here(path):
    module = nn.Linear(2, 2)
    module.load_state_dict(torch.load(path, weights_only=True))
    return module


def save_raises(module, path):
    raise OSError("disk full")


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize("arguments", [{}, {"load": load_here}, {"save": save_raises}, {"load": lambda _path: None}])
def test_a_round_trip_leaves_nothing_in_the_registry(arguments):
    try:
        check_module(lambda: nn.Linear(2, 2), **arguments)
    except UsageError:
        assert arguments


@without_cuda
def test_what_a_gpu_hosts_file_does_to_a_loader_shows_in_the_simulated_leg_only():
    report = check_module(lambda: nn.Linear(2, 2), load=load_here)
    (finding,) = report.findings
    assert (finding.category, finding.leg) == ("device-location", "cuda->cpu torch_zip")
    assert 'map_location="cpu"' in finding.hint
    assert check_module(lambda: nn.Linear(2, 2), load=load_here, devices=["cpu"]).ok


@without_cuda
def test_a_leg_whose_file_carries_no_tag_is_skipped_and_says_so():
    def save(module, path):
        path.write_bytes(b"".join(tensor.numpy().tobytes() for tensor in module.state_dict().values()))

    def load(path):
        module = nn.Linear(2, 2)
        data = torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.float32)
        module.load_state_dict({"weight": data[:4].view(2, 2), "bias": data[4:]})
        return module

    legs = {leg.leg: leg for leg in check_module(lambda: nn.Linear(2, 2), save=save, load=load).legs}
    assert legs["cpu->cpu torch_zip"].status == "real"
    assert legs["cuda->cpu torch_zip"].status == "skipped"
    assert "not written by torch.save" in legs["cuda->cpu torch_zip"].reason
    empty = {leg.leg: leg for leg in check_module(nn.ReLU).legs}
    assert "no tensor" in empty["cuda->cpu torch_zip"].reason


@needs_cuda
def test_cuda_legs_are_real_on_a_cuda_host():
    report = check_module(lambda: nn.Linear(2, 2), torch.ones(1, 2))
    assert report.ok, report.text()
    assert [leg.status for leg in report.legs] == ["real"] * 4


@needs_cuda
def test_a_tensor_that_stays_behind_on_the_cpu_is_reported_on_a_cuda_host():
    class Behind(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(2, 2)
            self.offset = torch.ones(2)

        def forward(self, x):
            return self.linear(x) + self.offset

    report = check_module(Behind, torch.ones(1, 2), devices=["cuda"])
    assert not report.ok


def test_a_leg_whose_file_got_no_tag_is_skipped_and_not_passed(monkeypatch):
    monkeypatch.setattr(Tagger, "__call__", lambda _self, _storage: None)
    report = check_module(lambda: nn.Linear(2, 2), torch.ones(1, 2))
    assert {leg.leg: leg.status for leg in report.legs}["cuda->cpu torch_zip"] == "skipped"


def test_a_leg_whose_file_got_its_tag_is_simulated():
    report = check_module(lambda: nn.Linear(2, 2), torch.ones(1, 2))
    assert {leg.leg: leg.status for leg in report.legs}["cuda->cpu torch_zip"] == "simulated"


class Stack(nn.Module):
    """Large and small entries of several kinds."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(512, 512)
        self.turned = nn.Parameter(torch.rand(512, 512).t())
        self.tied = self.linear.weight
        self.register_buffer("narrow", torch.rand(2**18).to(torch.bfloat16))

    def forward(self, x):
        return self.linear(x)


@without_cuda
def test_of_large_entries_only_the_beginning_is_written_with_a_tag(monkeypatch):
    sizes, write = [], TorchZip.write

    def measured(self, module, path):
        write(self, module, path)
        sizes.append(path.stat().st_size)

    monkeypatch.setattr(TorchZip, "write", measured)
    report = check_module(Stack, torch.ones(1, 512))
    assert report.ok, report.text()
    whole, tagged = sizes
    assert whole > 2_500_000
    assert 1_000_000 < tagged < 2_000_000  # what is not contiguous stands there whole
    assert {leg.leg: leg.status for leg in report.legs}["cuda->cpu torch_zip"] == "simulated"


@without_cuda
@pytest.mark.parametrize("key", ["linear.weight", "narrow", "linear.bias", "turned"])
def test_an_entry_that_a_tag_changes_is_named(monkeypatch, key):
    read = TorchZip.read

    def other(self, path, device, template):
        content = read(self, path, device, template)
        if path.parent.name != "first":
            content[key][-1:] += 1
        return content

    monkeypatch.setattr(TorchZip, "read", other)
    (finding,) = check_module(Stack, torch.ones(1, 512)).findings
    assert (finding.category, finding.key, finding.leg) == ("device-location", key, "cuda->cpu torch_zip")


class Listing(nn.Module):
    """Its state holds tensors in a list, as that of a metric does."""

    def __init__(self):
        super().__init__()
        self.kept = [torch.rand(2), torch.rand(3)]

    def get_extra_state(self):
        return self.kept

    def set_extra_state(self, state):
        self.kept = state

    def forward(self, x):
        return x + self.kept[0]


@without_cuda
def test_tensors_in_a_list_carry_a_tag_too(monkeypatch):
    report = check_module(Listing, torch.ones(2))
    assert {leg.leg: leg.status for leg in report.legs}["cuda->cpu torch_zip"] == "simulated"
    read = TorchZip.read

    def other(self, path, device, template):
        content = read(self, path, device, template)
        content["_extra_state"][0].add_(path.parent.name != "first")
        return content

    monkeypatch.setattr(TorchZip, "read", other)
    (finding,) = check_module(Listing, torch.ones(2)).findings
    assert (finding.key, finding.leg) == ("_extra_state", "cuda->cpu torch_zip")
