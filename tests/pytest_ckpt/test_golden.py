"""Goldens: what is written, what is held against today's code, what is refused, and that nothing is half-written."""

# Modules of many kinds, whose attributes torch declares as Tensor | Module.
# mypy: ignore-errors

from __future__ import annotations

import errno
import os
import re
import socket
import subprocess
import sys

import pytest
import torch
from torch import nn

from pytest_ckpt import UsageError
from pytest_ckpt.call import Call
from pytest_ckpt.compatibility.renames import natural
from pytest_ckpt.golden import files, manifest
from pytest_ckpt.golden.regression import Goldens
from pytest_ckpt.outputs import Runner
from tests.pytest_ckpt.changes import X
from tests.pytest_ckpt.changes.layers import Attention, Chain, moving


def net():
    return Chain(fc=nn.Linear(8, 8), norm=nn.LayerNorm(8), bn=nn.BatchNorm1d(8), out=nn.Linear(8, 3))


def renamed():
    return Chain(fc=nn.Linear(8, 8), norm=nn.LayerNorm(8), bn=nn.BatchNorm1d(8), head=nn.Linear(8, 3))


def migrated():
    return Chain(
        moving({"out.": "head."}), fc=nn.Linear(8, 8), norm=nn.LayerNorm(8), bn=nn.BatchNorm1d(8), head=nn.Linear(8, 3)
    )


def coarse():
    return Chain(fc=nn.Linear(8, 8), norm=nn.LayerNorm(8, eps=0.1), bn=nn.BatchNorm1d(8), out=nn.Linear(8, 3))


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "ckpt_goldens" / "test_net" / "test_it"


@pytest.fixture
def goldens(folder):
    def goldens(make=net, update="", inputs=X, **arguments):
        call = Call(make, Runner(inputs), None, "eval", None, None, None, (), ())
        return Goldens(folder, call, update, **arguments)

    return goldens


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


# --------------------------------------------------------------------------------------------------- write and hold


def test_the_first_one_is_written_on_request_alone(goldens, folder):
    with pytest.raises(UsageError, match=r"there is no golden in .*pytest --ckpt-update-new-only"):
        goldens().check()
    assert not folder.exists()
    first = goldens(update="new")
    assert first.check().ok
    assert first.written == [folder / "v1.toml"]
    assert sorted(contents(folder)) == ["v1.outputs.safetensors", "v1.safetensors", "v1.toml"]
    report = goldens().check()
    assert report.ok
    assert [leg.leg for leg in report.legs] == ["golden v1"]


def test_it_is_the_same_however_often_it_is_written(goldens, folder):
    torch.manual_seed(1)
    goldens(update="all").check()
    before = contents(folder)
    for path in folder.iterdir():
        path.unlink()
    torch.manual_seed(2)
    goldens(update="all").check()
    assert contents(folder) == before


def test_no_entry_is_kept_at_its_default(goldens, folder):
    goldens(update="new").check()
    lines = manifest.read(folder / "v1.toml").entries
    for name in ("norm.weight", "norm.bias", "bn.running_mean", "bn.running_var"):
        assert lines[name]["min"] < lines[name]["max"], name


@pytest.mark.parametrize("update", ["new", "all"])
def test_an_update_leaves_a_golden_that_fits_alone(goldens, folder, update):
    goldens(update="new").check()
    before = contents(folder), (folder / "v1.toml").stat().st_mtime_ns
    again = goldens(update=update)
    assert again.check().ok
    assert (contents(folder), (folder / "v1.toml").stat().st_mtime_ns) == before
    assert again.written == []


def test_a_change_that_breaks_it_is_reported_with_its_migration(goldens, folder):
    goldens(update="new").check()
    before = contents(folder)
    for update in ("", "new"):
        report = goldens(renamed, update).check()
        assert {one.key for one in report.findings} == {"head.weight", "head.bias", "out.weight", "out.bias"}
        assert report.findings[0].leg == "golden v1"
        assert "with this hook the checkpoint loads, and the outputs are the old ones" in report.findings[0].hint
        assert report.notes == ("if the change is meant, pytest --ckpt-update writes the newest golden anew",)
        assert contents(folder) == before
    assert goldens(renamed, "all").check().ok
    assert goldens(renamed).check().ok
    assert '"head.weight"' in (folder / "v1.toml").read_text(encoding="utf-8")


def test_a_setting_is_named_from_the_manifest(goldens):
    goldens(update="new").check()
    (finding,) = goldens(coarse).check().findings
    assert (finding.category, finding.key, finding.expected, finding.actual) == (
        "semantics",
        "norm.eps",
        "1e-05",
        "0.1",
    )


def test_settings_that_changed_together_are_named_together(goldens):
    goldens(lambda: Chain(a=nn.LayerNorm(8), fc=nn.Linear(8, 8), b=nn.LayerNorm(8), d=nn.Dropout(0.1)), "new").check()
    report = goldens(
        lambda: Chain(a=nn.LayerNorm(8, eps=0.1), fc=nn.Linear(8, 8), b=nn.LayerNorm(8, eps=0.2), d=nn.Dropout(0.5))
    ).check()
    assert {"a.eps", "b.eps"} <= {one.key for one in report.findings}


def test_two_faults_at_once_are_both_named(goldens):
    goldens(update="new").check()

    def both():
        return Chain(fc=nn.Linear(8, 8), norm=nn.LayerNorm(8, eps=0.1), bn=nn.BatchNorm1d(8), head=nn.Linear(8, 3))

    report = goldens(both).check()
    assert {"head.weight", "norm.eps"} <= {one.key for one in report.findings}


def test_a_new_layout_gets_a_generation_of_its_own_and_the_old_ones_must_still_load(goldens, folder):
    goldens(update="new").check()
    before = contents(folder)
    held = goldens(migrated).check()
    assert held.ok
    assert held.notes == ("today's checkpoints have another layout: pytest --ckpt-update-new-only adds a golden of it",)
    second = goldens(migrated, "new")
    assert second.check().ok
    assert second.written == [folder / "v2.toml"]
    assert before.items() <= contents(folder).items()
    report = goldens(migrated).check()
    assert (report.ok, report.notes) == (True, ())
    assert [leg.leg for leg in report.legs] == ["golden v1", "golden v2"]
    forgotten = goldens(renamed).check()
    assert {one.leg for one in forgotten.findings} == {"golden v1"}
    assert not goldens(renamed, "all").check().ok  # an update does not give up an older generation


def test_generations_are_counted_and_not_spelled(goldens, folder):
    goldens(update="new").check()
    for suffix in (".toml", ".safetensors", ".outputs.safetensors"):
        for number in (2, 10):
            (folder / f"v{number}{suffix}").write_bytes((folder / f"v1{suffix}").read_bytes())
    (folder / "vnotes.toml").write_text("", encoding="utf-8")
    assert [leg.leg for leg in goldens().check().legs] == ["golden v1", "golden v2", "golden v10"]


def test_the_stored_inputs_are_used(goldens):
    goldens(update="new").check()
    assert goldens(inputs=torch.randn(3, 8)).check().ok
    with pytest.raises(UsageError, match=r"was recorded with other inputs \(1 tensors, today 2\)"):
        goldens(inputs=(X, X)).check()


def test_without_inputs_the_state_alone_is_held(goldens, folder):
    goldens(update="new", inputs=None).check()
    assert sorted(contents(folder)) == ["v1.safetensors", "v1.toml"]
    assert goldens(inputs=None).check().ok
    assert not goldens(renamed, inputs=None).check().ok


def test_what_training_prepared_is_kept(folder):
    def prepare(module):
        module.train()(torch.randn(16, 8))

    call = Call(net, Runner(X), prepare, "eval", None, None, None, (), ())
    assert Goldens(folder, call, "new").check().ok
    held = manifest.read(folder / "v1.toml")
    assert held.entries["bn.num_batches_tracked"]["max"] == 1


class Odd(nn.Module):
    """Entries of many kinds."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 8)
        self.tied = nn.Linear(8, 8)
        self.tied.weight = self.fc.weight
        self.narrow = nn.Parameter(torch.randn(3).bfloat16())
        self.spectrum = nn.Parameter(torch.randn(2, 2, dtype=torch.complex64))
        self.register_buffer("empty", torch.zeros(0, 4))
        self.register_buffer("scalar", torch.tensor(2.5))
        self.register_buffer("mask", torch.tensor([True, False]))
        self.register_buffer("low", torch.rand(4).to(torch.float8_e4m3fn))
        self.register_buffer("special", torch.tensor([float("nan"), float("inf"), -0.0]))
        self.register_buffer("turned", torch.randn(3, 2).t())
        self.register_buffer("table", torch.arange(3), persistent=False)
        self.words = ["a", "ü"]

    def get_extra_state(self):
        return {"words": self.words}

    def set_extra_state(self, state):
        self.words = state["words"]

    def forward(self, x):
        return self.tied(self.fc(x)), {"count": 3, "name": "odd", "none": None}


def test_entries_of_every_kind_come_back_bit_for_bit(goldens, folder):
    report = goldens(Odd, "new").check()
    assert report.ok, report.text()
    held = manifest.read(folder / "v1.toml")
    assert not held.alone
    assert dict(held.ties) == {"tied.weight": "fc.weight"}
    assert list(held.buffers) == ["table"]
    assert held.entries["_extra_state"] == {"kind": "value", "json": '{"words": ["a", "\\u00fc"]}'}
    assert held.entries["spectrum"]["dtype"] == "complex64"
    assert held.outputs["[1]['count']"] == {"json": "3"}

    class Untied(Odd):
        def __init__(self):
            super().__init__()
            self.tied.weight = nn.Parameter(self.fc.weight.detach().clone())

    assert [one.category for one in goldens(Untied).check().findings] == ["tie-broken"]


def test_a_large_model_keeps_the_manifest_alone(goldens, folder):
    assert goldens(update="new", most_bytes=100).check().ok
    assert sorted(contents(folder)) == ["v1.toml"]
    text = (folder / "v1.toml").read_text(encoding="utf-8")
    assert re.search(r'^alone = "the state_dict has \d+ bytes, more than 100"$', text, re.MULTILINE)
    assert "digest" not in text
    assert "mean = " not in text
    assert goldens(most_bytes=100).check().ok
    assert {"head.weight"} <= {one.key for one in goldens(renamed).check().findings}
    assert goldens(migrated).check().ok
    half = goldens(lambda: net().bfloat16()).check()
    assert {one.category for one in half.findings} == {"dtype-changed"}


def test_what_safetensors_cannot_hold_is_kept_as_manifest(goldens, folder):
    class Sparse(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(8, 8)
            self.register_buffer("graph", torch.eye(4).to_sparse())

        def forward(self, x):
            return self.fc(x)

    goldens(Sparse, "new")._write(folder / "v1.toml")
    assert "safetensors cannot hold 'graph'" in manifest.read(folder / "v1.toml").alone


def test_the_manifest_is_sorted_as_people_count():
    names = [*(f"layers.{number}.weight" for number in (10, 2, 1)), "head.bias", "a.b"]
    ordered = sorted(names, key=natural)
    assert ordered == ["a.b", "head.bias", "layers.1.weight", "layers.2.weight", "layers.10.weight"]


# ------------------------------------------------------------------------------------------------- what is refused


def edit(name, old, new):
    def damage(folder):
        path = folder / name
        text = path.read_bytes()
        assert old in text
        path.write_bytes(text.replace(old, new, 1))

    return damage


def replaced(name, content):
    return lambda folder: (folder / name).write_bytes(content)


def flip(folder):
    path = folder / "v1.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "merge": (edit("v1.toml", b"[entries]\n", b"[entries]\n<<<<<<< HEAD\n"), r"has merge conflict markers \(line 7\)"),
    "conflict": (edit("v1.toml", b"[entries]\n", b"[entries]\n=======\n"), "has merge conflict markers"),
    "syntax": (edit("v1.toml", b"[entries]", b"[entries"), "is no longer TOML"),
    "newer": (edit("v1.toml", b"format = 1", b"format = 2"), "has format 2, .* reads formats up to 1.* newer"),
    "format": (edit("v1.toml", b"format = 1\n", b""), "has format None, which no version"),
    "binary": (replaced("v1.toml", b"\xff\xfe\x00"), "cannot be read"),
    "lfs-manifest": (replaced("v1.toml", b"version https://git-lfs.github.com/spec/v1\n"), "run git lfs pull"),
    "lfs": (replaced("v1.safetensors", b"version https://git-lfs.github.com/spec/v1\n"), "run git lfs pull"),
    "bits": (flip, "edited or damaged: the bits of '.*' in the checkpoint are not those of the manifest's digest"),
    "digest": (edit("v1.toml", b'digest = "', b'digest = "0'), "edited or damaged: the bits of 'bn.bias'"),
    "shape": (edit("v1.toml", b"shape = [3, 8]", b"shape = [8, 3]"), r"holds 'out.weight' as .* says float32 \[8, 3\]"),
    "dtype": (
        edit("v1.toml", b'dtype = "int64"', b'dtype = "int32"'),
        r"holds 'bn.num_batches_tracked' as torch.int64",
    ),
    "unknown-dtype": (edit("v1.toml", b'dtype = "int64"', b'dtype = "int65"'), "manifest says int65"),
    "renamed": (edit("v1.toml", b'"out.bias"', b'"out.bais"'), "do not have the same entries"),
    "field": (edit("v1.toml", b'kind = "parameter", ', b""), "lacks something that every manifest has .'kind'"),
    "truncated": (lambda folder: (folder / "v1.safetensors").write_bytes(b"12345"), "is no safetensors file any more"),
    "gone": (lambda folder: (folder / "v1.safetensors").unlink(), "which belongs to the golden, cannot be read"),
    "outputs": (lambda folder: (folder / "v1.outputs.safetensors").unlink(), "v1.outputs.safetensors, which belongs"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_golden_is_named_and_an_update_mends_it(goldens, folder, damage):
    goldens(update="new").check()
    do, message = DAMAGES[damage]
    do(folder)
    damaged = contents(folder)
    for update in ("", "new"):
        with pytest.raises(UsageError, match=message) as caught:
            goldens(update=update).check()
        assert "test_net/test_it" in str(caught.value) or "test_it/v1" in str(caught.value)
        assert re.search("git checkout|git lfs pull|install|--ckpt-update", str(caught.value))
        assert contents(folder) == damaged
    assert goldens(update="all").check().ok
    assert goldens().check().ok


def test_a_golden_of_another_module_is_refused(goldens):
    goldens(update="new").check()
    with pytest.raises(
        UsageError, match=r"is of another module: it holds 11 entries of Chain, 2 of which Attention has"
    ):
        goldens(Attention).check()
    assert goldens(Attention, "all").check().ok


def test_a_class_that_is_renamed_is_no_other_module(goldens):
    class Renamed(Chain):
        pass

    goldens(update="new").check()
    assert (
        goldens(lambda: Renamed(fc=nn.Linear(8, 8), norm=nn.LayerNorm(8), bn=nn.BatchNorm1d(8), out=nn.Linear(8, 3)))
        .check()
        .ok
    )


# ---------------------------------------------------------------------------------------------- nothing half-written


@pytest.mark.parametrize("failing", [1, 2, 3])
def test_a_full_disk_changes_nothing(goldens, folder, monkeypatch, failing):
    goldens(update="new").check()
    before = contents(folder)
    calls = iter(range(1, 10))
    real = os.fsync

    def fsync(handle):
        if next(calls) == failing:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(
        UsageError, match=r"test_net/test_it could not be written \(No space left on device\): nothing was"
    ):
        goldens(renamed, "all").check()
    assert contents(folder) == before
    assert goldens().check().ok


def test_a_first_golden_that_could_not_be_written_leaves_no_folder(goldens, folder, monkeypatch):
    def fsync(_handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(UsageError, match="nothing was changed"):
        goldens(update="new").check()
    assert not (folder.parent.parent).exists()


def test_a_folder_that_cannot_be_made_is_named(goldens, folder):
    folder.parent.parent.parent.mkdir(exist_ok=True)
    folder.parent.parent.write_text("a file", encoding="utf-8")
    with pytest.raises(UsageError, match=r"the folder .*test_it cannot be made"):
        goldens(update="new").check()


def test_two_processes_do_not_write_at_once(goldens, folder):
    goldens(update="new").check()
    before = contents(folder)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        lock = folder / ".updating"
        lock.write_text(f"{socket.gethostname()} {other.pid}", encoding="utf-8")
        with pytest.raises(
            UsageError, match=rf"another process \(.* {other.pid}\) is updating the golden test_net/test_it"
        ):
            goldens(renamed, "all").check()
        lock.unlink()
        assert contents(folder) == before
        other.communicate(b"\n")
    lock.write_text(f"{socket.gethostname()} {other.pid}", encoding="utf-8")  # it is dead now
    assert goldens(renamed, "all").check().ok
    assert not lock.exists()


def test_a_lock_of_another_machine_is_respected(folder):
    folder.mkdir(parents=True)
    (folder / ".updating").write_text("elsewhere 1", encoding="utf-8")
    with pytest.raises(UsageError, match=r"another process \(elsewhere 1\).*if there is none, delete .*\.updating"):
        files.write({folder / "v1.toml": b""})
    assert sorted(contents(folder)) == [".updating"]
