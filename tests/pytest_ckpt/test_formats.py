"""Each format brings modules back, skips what it cannot hold and says why, and shows what it loses."""

from __future__ import annotations

import argparse
import io
import threading
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import dill  # type: ignore[import-untyped]
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.distributed.checkpoint.state_dict_loader import load as load_by_dcp
from torch.distributed.checkpoint.state_dict_saver import save as dcp_save

from pytest_ckpt import check_module, formats

EVERY = (
    *formats.names(),
    "torch_zip@str",
    "torch_zip@file",
    "torch_zip@buffer",
    "torch_legacy@file",
    "safetensors@str",
)
TORCHS = ("torch_zip", "torch_legacy", "whole_module")


def contiguous(module: Any, memory_format: Any = torch.contiguous_format) -> Any:
    return module.to(memory_format=memory_format)


class Net(nn.Module):
    rough: torch.Tensor
    count: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.conv = contiguous(nn.Conv2d(2, 3, 3), torch.channels_last)
        self.norm = nn.BatchNorm2d(3)
        self.head = nn.utils.spectral_norm(nn.Linear(3, 4))
        self.register_buffer("rough", torch.ones(3, dtype=torch.bfloat16))
        self.register_buffer("count", torch.tensor(0))
        self.register_buffer("none", torch.empty(0, 3))

    def forward(self, x):
        return self.head(self.norm(self.conv(x)).mean((2, 3))) + self.rough.sum() + self.count


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(4, 3)
        self.head = nn.Linear(3, 4, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, x):
        return self.head(self.embedding(x))


class Extra(nn.Linear):
    def get_extra_state(self):
        return {"names": ["a"], "offset": torch.ones(2)}

    def set_extra_state(self, state):
        self.state = state


class Holding(nn.Module):
    def __init__(self, buffer) -> None:
        super().__init__()
        self.register_buffer("held", buffer)


def legs(report):
    return {one.leg.partition(" ")[2]: one for one in report.legs}


def on_cpu(make, inputs=None, **arguments):
    return check_module(make, inputs, devices=["cpu"], **arguments)


# --------------------------------------------------------------------------------------------------------- what is kept


@pytest.mark.parametrize("name", EVERY)
def test_a_module_comes_back(name):
    report = on_cpu(Net, torch.rand(2, 2, 5, 5), formats=[name])
    assert report.ok, report.text()
    assert [str(leg.status) for leg in report.legs] == ["real"], report.text()
    assert not report.notes


@pytest.mark.parametrize("name", sorted({*formats.names()} - {"safetensors"}))
@pytest.mark.parametrize("make", [Tied, partial(Extra, 3, 3)])
def test_ties_and_extra_state_come_back(name, make):
    report = on_cpu(make, torch.tensor([1, 2]) if make is Tied else torch.ones(1, 3), formats=[name])
    assert report.ok, report.text()
    assert legs(report)[name].status == "real"


@pytest.mark.parametrize("name", sorted({*formats.names()} - {"whole_module"}))
def test_the_versions_of_the_modules_are_in_the_file(name, tmp_path):
    written, module = formats.get(name), Net()
    written.write(module, tmp_path / "state")
    read: Any = written.read(tmp_path / "state", "cpu", Net().state_dict)
    assert dict(read._metadata) == dict(vars(module.state_dict())["_metadata"])
    assert read._metadata["norm"] == {"version": 2}


@pytest.mark.parametrize("name", ["torch_zip", "torch_legacy", "safetensors"])
def test_the_files_are_what_torch_and_safetensors_write(name, tmp_path):
    path = tmp_path / "file"
    formats.get(name).write(nn.Linear(2, 2), path)
    assert zipfile.is_zipfile(path) == (name == "torch_zip")
    state = load_file(path) if name == "safetensors" else torch.load(path, weights_only=True)
    assert list(state) == ["bias", "weight"] or list(state) == ["weight", "bias"]


@pytest.mark.parametrize("name", TORCHS)
def test_files_of_torch_save_carry_a_gpu_hosts_tag(name):
    report = check_module(partial(nn.Linear, 2, 2), devices=["cpu", "hpu"], formats=[name])
    assert report.ok, report.text()
    assert {leg.leg: leg.status for leg in report.legs}[f"hpu->cpu {name}"] == "simulated"


@pytest.mark.parametrize("name", ["safetensors", "dcp"])
def test_other_files_carry_no_tag(name):
    report = check_module(partial(nn.Linear, 2, 2), devices=["cpu", "hpu"], formats=[name])
    assert {leg.leg: leg.status for leg in report.legs}[f"hpu->cpu {name}"] == "skipped"


# ----------------------------------------------------------------------------------------------- what safetensors skips


def quantized():
    return torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (Tied, "'embedding.weight' and 'head.weight' share memory"),
        (partial(Extra, 3, 3), "'_extra_state' is dict(2)"),
        (lambda: Holding(torch.eye(3).to_sparse()), "'held' is a tensor of the layout sparse_coo"),
        (lambda: Holding(torch.eye(3).to_sparse_csr()), "'held' is a tensor of the layout sparse_csr"),
        (
            lambda: Holding(torch.nested.nested_tensor([torch.ones(1), torch.ones(2)])),
            "'held' is a tensor of the layout",
        ),
        (lambda: Holding(torch.ones(2, dtype=torch.complex128)), "safetensors has no complex128, the dtype of 'held'"),
        (lambda: Holding(quantized()), "'held' is a quantized tensor"),
        (lambda: Holding(torch.ones(2, device="meta")), "'held' is on the meta device"),
        (lambda: nn.LazyLinear(3), "'weight' is uninitialized"),
    ],
)
def test_what_safetensors_cannot_hold_is_skipped_with_the_reason(make, reason):
    report = on_cpu(make, formats=["safetensors"])
    assert report.ok, report.text()
    (leg,) = report.legs
    assert leg.status == "skipped"
    assert reason in leg.reason
    assert "every leg was skipped" in report.text()


def test_views_that_do_not_overlap_and_empty_tensors_are_no_ties_to_safetensors():
    def make():
        whole, module = torch.rand(4), nn.Module()
        for name, tensor in {"a": whole[:2], "b": whole[2:], "c": whole[:0], "d": whole[:0]}.items():
            module.register_buffer(name, tensor)
        return module

    report = on_cpu(make, formats=["safetensors"], ignore=["storage-bloat"])
    assert report.ok, report.text()
    assert legs(report)["safetensors"].status == "real"


def test_versions_that_are_no_json_are_skipped():
    class Odd(nn.Linear):
        def state_dict(self, *args, **kwargs):
            state = super().state_dict(*args, **kwargs)
            state._metadata[""]["lock"] = threading.Lock
            return state

    assert "_metadata" in on_cpu(partial(Odd, 2, 2), formats=["safetensors"]).legs[0].reason


def test_without_safetensors_its_legs_are_skipped(monkeypatch):
    monkeypatch.setattr(formats, "find_spec", lambda _name: None)
    report = on_cpu(partial(nn.Linear, 2, 2), formats=["torch_zip", "safetensors"])
    assert legs(report)["torch_zip"].status == "real"
    assert legs(report)["safetensors"].status == "skipped"
    assert "pip install safetensors" in legs(report)["safetensors"].reason


# ------------------------------------------------------------------------------------------------------------------ dcp


@pytest.mark.parametrize(("layout", "word"), [("sparse", "sparse_coo"), ("nested", "nested")])
def test_what_dcp_cannot_hold_is_skipped_with_the_reason(layout, word):
    def make():
        sparse, nested = torch.eye(3).to_sparse(), torch.nested.nested_tensor([torch.ones(1), torch.ones(2)])
        return Holding(sparse if layout == "sparse" else nested)

    (leg,) = on_cpu(make, formats=["dcp"]).legs
    assert leg.status == "skipped"
    assert f"'held' is {word}" in leg.reason


def test_dcp_casts_to_the_dtype_of_the_template_without_a_word():
    def count(module):
        module.count = torch.tensor([2**24 + 1])

    class Counter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("count", torch.zeros(1))

    report = on_cpu(Counter, prepare=count, formats=["dcp"])
    (finding,) = report.findings
    assert (finding.category, finding.key) == ("dtype-changed", "count")


def test_dcp_leaves_out_what_a_fresh_module_does_not_have():
    class Growing(nn.Linear):
        def grow(self):
            self.register_buffer("bank", torch.rand(3))

    report = on_cpu(partial(Growing, 2, 2), prepare=Growing.grow, formats=["dcp"])
    assert ("key-mismatch", "bank") in [(one.category, one.key) for one in report.findings], report.text()


def test_dcp_says_which_entry_the_folder_lacks():
    def prepare(module):
        del module.bias
        module.bias = None

    report = on_cpu(partial(nn.Linear, 2, 2), prepare=prepare, formats=["dcp"])
    (finding,) = report.findings
    assert (finding.category, finding.key) == ("not-loadable", "bias"), report.text()
    assert "Traceback" not in report.text()


def save_by_dcp(module, path):
    dcp_save(module.state_dict(), checkpoint_id=path, no_dist=True)


def test_a_users_own_dcp_that_raises_is_a_finding():
    def load(path):
        module = nn.Linear(2, 3)
        state = module.state_dict()
        load_by_dcp(state, checkpoint_id=path, no_dist=True)  # raises a BaseException
        return module

    report = on_cpu(partial(nn.Linear, 2, 2), save=save_by_dcp, load=load)
    assert [one.category for one in report.findings] == ["not-loadable"], report.text()
    assert "Traceback" not in report.text()


def test_a_users_own_dcp_folder_is_read_as_one():
    report = on_cpu(Net, torch.rand(2, 2, 5, 5), save=save_by_dcp, formats=["dcp"])
    assert report.ok, report.text()
    assert legs(report)["dcp"].status == "real"


# -------------------------------------------------------------------------------------------------------- whole modules


def make_local():
    class Local(nn.Linear):
        pass

    return nn.Sequential(nn.ReLU(), Local(2, 2))


def with_hook():
    module = nn.Sequential(nn.Linear(2, 2))
    module[0].register_forward_hook(lambda *_: None)
    return module


def with_attribute(value):
    module = nn.Sequential(nn.Linear(2, 2))
    module[0].held = value
    return module


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: with_attribute(lambda x: x), "0.held"),
        (lambda: with_attribute([threading.Lock()]), "0.held"),
        (make_local, "1"),
        (with_hook, "0._forward_hooks"),
    ],
    ids=["lambda", "lock", "local class", "hook"],
)
def test_what_keeps_a_module_from_being_pickled_is_named(make, key):
    report = on_cpu(make, formats=["torch_zip", "whole_module"])
    (finding,) = report.findings
    assert (finding.category, finding.key) == ("not-saveable", key), report.text()
    assert finding.leg == "cpu->cpu whole_module"
    assert on_cpu(make).ok, "only who asks for whole modules is told"


class Forgetful(nn.Linear):
    def __init__(self) -> None:
        super().__init__(2, 2)
        self.lock, self.scale = threading.Lock(), torch.rand(())

    def __getstate__(self):
        return {name: value for name, value in vars(self).items() if name != "lock"}

    def __setstate__(self, state):
        super().__setstate__(state)
        self.lock = threading.Lock()

    def forward(self, x):
        return super().forward(x) * self.scale


class MoreForgetful(Forgetful):
    def __setstate__(self, state):
        super().__setstate__(state)
        self.scale = torch.rand(())


def test_what_a_pickles_own_way_keeps_comes_back():
    assert on_cpu(Forgetful, torch.ones(1, 2), formats=["whole_module"]).ok


def test_what_a_pickles_own_way_loses_is_found():
    report = on_cpu(MoreForgetful, torch.ones(1, 2), formats=["whole_module"])
    assert ("unsaved-state", "scale") in [(one.category, one.key) for one in report.findings], report.text()


# ---------------------------------------------------------------------- functions of the user's own: places and pickles


@pytest.mark.parametrize(
    ("place", "kinds"),
    [
        ("path", (Path, Path)),
        ("str", (str, str)),
        ("file", (io.BufferedWriter, io.BufferedReader)),
        ("buffer", (io.BytesIO, io.BytesIO)),
    ],
)
def test_save_and_load_are_given_what_the_format_says(place, kinds):
    seen = set()

    def save(module, target):
        seen.add(("save", type(target)))
        torch.save(module.state_dict(), target)

    def load(source):
        seen.add(("load", type(source)))
        module = nn.Linear(2, 2)
        module.load_state_dict(torch.load(source, weights_only=True, map_location="cpu"))
        return module

    report = on_cpu(partial(nn.Linear, 2, 2), torch.ones(1, 2), save=save, load=load, formats=[f"torch_zip@{place}"])
    assert report.ok, report.text()
    kinds = tuple(type(Path()) if kind is Path else kind for kind in kinds)
    assert seen == {("save", kinds[0]), ("load", kinds[1])}


@pytest.mark.parametrize("place", ["path", "str", "file", "buffer"])
def test_probes_reach_a_loader_whatever_it_is_given(place):
    def save(module, target):
        torch.save({"state": module.state_dict()}, target)

    def save_more(module, target):
        torch.save({"state": module.state_dict(), "config": argparse.Namespace(width=2)}, target)

    def load(source):
        module = nn.Linear(2, 2)
        module.load_state_dict(torch.load(source, weights_only=False)["state"], strict=False)
        return module

    def load_if_readable(source):
        try:
            return load(source)
        except Exception:  # noqa: BLE001
            return nn.Linear(2, 2)

    def found(save, load):
        report = on_cpu(partial(nn.Linear, 2, 2), save=save, load=load, formats=[f"torch_zip@{place}"])
        return {(one.category, one.key) for one in report.findings}

    assert found(save, load) == {("strictness", "weight")}
    assert found(save_more, load) == {("not-weights-only", "argparse.Namespace")}
    assert ("corrupt-accepted", "load(path)") in found(save, load_if_readable)


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_protocol_that_torch_load_refuses_is_noted(protocol, zipped):
    def save(module, path):
        torch.save(module.state_dict(), path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)

    report = on_cpu(partial(nn.Linear, 2, 2), save=save)
    assert report.ok, report.text()
    assert any("pickle protocol" in note for note in report.notes) == (protocol > 3)


def test_globals_of_a_legacy_file_are_named():
    def save(module, path):
        content = {**module.state_dict(), "config": argparse.Namespace()}
        torch.save(content, path, _use_new_zipfile_serialization=False)

    report = on_cpu(partial(nn.Linear, 2, 2), save=save, allow_unexpected=["config"])
    assert [(one.category, one.key) for one in report.findings] == [("not-weights-only", "argparse.Namespace")]


def dill_save(module, target, **more):
    torch.save({**module.state_dict(), **more}, target, pickle_module=dill)


def dill_load(source):
    content = torch.load(source, map_location="cpu", pickle_module=dill, weights_only=False)
    module = nn.Linear(2, 2)
    module.load_state_dict({key: value for key, value in content.items() if isinstance(value, torch.Tensor)})
    return module


@pytest.mark.parametrize("name", ["torch_zip", "torch_zip@buffer"])
def test_a_pickle_module_of_the_users_own(name):
    arguments: dict[str, Any] = {"load": dill_load, "formats": [name], "devices": ["cpu", "hpu"]}
    report = check_module(partial(nn.Linear, 2, 2), torch.ones(1, 2), save=dill_save, **arguments)
    assert report.ok, report.text()
    statuses = {leg.leg: leg.status for leg in report.legs}
    assert statuses[f"cpu->cpu {name}"] == "real"
    assert statuses[f"hpu->cpu {name}"] == "simulated"
    report = check_module(partial(nn.Linear, 2, 2), save=partial(dill_save, schedule=lambda step: step), **arguments)
    assert {one.category for one in report.findings} == {"not-weights-only"}, report.text()


# ------------------------------------------------------------------------------------ functions of the user's own: legs


def test_a_save_of_the_users_own_is_read_in_the_format_that_it_wrote():
    def save(module, path):
        save_file(module.state_dict(), path)

    report = on_cpu(
        Net, torch.rand(2, 2, 5, 5), save=lambda module, path: save(contiguous(module), path), formats=["safetensors"]
    )
    assert legs(report)["safetensors"].status == "real", report.text()


@pytest.mark.parametrize("name", ["safetensors", "dcp"])
def test_a_save_of_the_users_own_in_another_format_is_no_finding(name):
    def save(module, path):
        torch.save(module.state_dict(), path)

    report = on_cpu(partial(nn.Linear, 2, 2), save=save, formats=["torch_zip", name])
    assert report.ok, report.text()
    assert legs(report)[name].reason == f"save is your own, and wrote no {name}"


def test_legs_that_would_repeat_another_are_skipped():
    def save(module, target):
        torch.save(module.state_dict(), target)

    def load(source):
        module = nn.Linear(2, 2)
        module.load_state_dict(torch.load(source, weights_only=True))
        return module

    names = ["torch_legacy", "safetensors", "torch_zip@buffer", "torch_legacy@buffer"]
    report = on_cpu(partial(nn.Linear, 2, 2), save=save, load=load, formats=names)
    assert [leg.status for leg in report.legs] == ["real", "skipped", "real", "skipped"]
    assert report.legs[1].reason.endswith("see cpu->cpu torch_legacy")
    assert report.legs[3].reason.endswith("see cpu->cpu torch_zip@buffer")


def test_a_loader_of_the_users_own_meets_every_format():
    def load(path):
        module = nn.Linear(2, 2)
        module.load_state_dict(load_file(path) if path.suffix == ".safetensors" else torch.load(path))
        return module

    report = on_cpu(partial(nn.Linear, 2, 2), load=load, formats=["torch_zip", "torch_legacy", "safetensors"])
    assert report.ok, report.text()
    assert [leg.status for leg in report.legs] == ["real"] * 3


def test_nothing_is_left_in_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    on_cpu(Net, formats=list(EVERY))
    assert list(tmp_path.iterdir()) == []
