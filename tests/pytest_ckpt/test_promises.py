"""Promises are held to real failures: writes that the system refuses, processes that are killed."""

from __future__ import annotations

import io
import os
import pickle
import shutil
from contextlib import suppress

import pytest
import torch
from torch import nn

from pytest_ckpt import UsageError, check_module


def make():
    return nn.Sequential(nn.Linear(40, 40), nn.BatchNorm1d(40))


def read(path):
    return torch.load(path, map_location="cpu", weights_only=True)


def load(path):
    module = make()
    module.load_state_dict(read(path))
    return module


def judged(**arguments):
    report = check_module(make, **arguments)
    return [(one.category, one.key) for one in report.findings]


def atomic(save, load=load):
    return judged(save=save, load=load, claims=["atomic"])


# ------------------------------------------------------------------------------------------------------------ it fails


def in_place(module, path):
    torch.save(module.state_dict(), path)


def through_an_open_file(module, path):
    with path.open("wb") as file:
        torch.save(module.state_dict(), file)


def from_memory(module, path):
    buffer = io.BytesIO()
    torch.save(module.state_dict(), buffer)
    path.write_bytes(buffer.getvalue())


def pickled(module, path):
    with path.open("wb") as file:
        pickle.dump({key: value.tolist() for key, value in module.state_dict().items()}, file)


def load_pickled(path):
    module = make()
    module.load_state_dict({key: torch.tensor(value) for key, value in pickle.loads(path.read_bytes()).items()})
    return module


def removed_before_it_is_written(module, path):
    path.unlink(missing_ok=True)
    torch.save(module.state_dict(), path)


def removed_before_it_is_replaced(module, path):
    beside = path.with_suffix(".tmp")
    torch.save(module.state_dict(), beside)
    path.unlink(missing_ok=True)
    beside.rename(path)


def copied_over(module, path):
    beside = path.with_suffix(".tmp")
    torch.save(module.state_dict(), beside)
    shutil.copyfile(beside, path)


def replaced_even_if_it_failed(module, path):
    beside = path.with_suffix(".tmp")
    try:
        torch.save(module.state_dict(), beside)
    finally:
        beside.replace(path)


def shards(module, path):
    path.mkdir(exist_ok=True)
    for name, tensor in module.state_dict().items():
        torch.save(tensor, path / name)


def load_shards(path):
    module = make()
    module.load_state_dict({file.name: read(file) for file in path.iterdir()})
    return module


@pytest.mark.parametrize(
    ("save", "load"),
    [
        (in_place, load),
        (through_an_open_file, load),
        (from_memory, load),
        (pickled, load_pickled),
        (removed_before_it_is_written, load),
        (removed_before_it_is_replaced, load),
        (copied_over, load),
        (replaced_even_if_it_failed, load),
        (shards, load_shards),
    ],
)
def test_a_save_that_loses_the_previous_checkpoint_is_found(save, load):
    assert atomic(save, load) == [("not-atomic", "save(module, path)")]


def test_without_the_promise_nothing_is_said():
    assert judged(save=in_place, load=load) == []


def test_the_default_save_does_not_keep_the_promise():
    assert judged(claims=["atomic"]) == [("not-atomic", "save(module, path)")]


# ------------------------------------------------------------------------------------------------------------ it holds


def replaced(module, path):
    beside = path.with_suffix(".tmp")
    torch.save(module.state_dict(), beside)
    os.replace(beside, path)  # noqa: PTH105 -- as everybody writes it


def synced_and_replaced(module, path):
    beside = path.parent / f".{path.name}.{os.getpid()}"
    with beside.open("wb") as file:
        torch.save(module.state_dict(), file)
        file.flush()
        os.fsync(file.fileno())
    beside.rename(path)


def swallowed(module, path):
    try:
        replaced(module, path)
    except OSError:
        return


def cleaned_up(module, path):
    beside = path.with_suffix(".tmp")
    try:
        torch.save(module.state_dict(), beside)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    beside.replace(path)


def with_a_backup(module, path):
    if path.exists():
        shutil.copyfile(path, path.with_suffix(".partial"))
        path.with_suffix(".partial").replace(path.with_suffix(".backup"))
    torch.save(module.state_dict(), path)


def load_or_backup(path):
    try:
        return load(path)
    except Exception:  # noqa: BLE001 -- damaged in any way
        return load(path.with_suffix(".backup"))


def by_a_link(module, path):
    target = path.parent / f"step-{len(list(path.parent.glob('step-*')))}.pt"
    torch.save(module.state_dict(), target)
    link = path.with_suffix(".link")
    link.unlink(missing_ok=True)
    link.symlink_to(target.name)
    link.replace(path)


def folder_by_its_index(module, path):
    path.mkdir(exist_ok=True)
    number = len(list(path.glob("*.pt")))
    torch.save(module.state_dict(), path / f"{number}.pt")
    (path / "latest.tmp").write_text(str(number))
    (path / "latest.tmp").replace(path / "latest")


def load_latest(path):
    return load(path / f"{(path / 'latest').read_text()}.pt")


@pytest.mark.parametrize(
    ("save", "load"),
    [
        (replaced, load),
        (synced_and_replaced, load),
        (swallowed, load),
        (cleaned_up, load),
        (with_a_backup, load_or_backup),
        (by_a_link, load),
        (folder_by_its_index, load_latest),
    ],
)
def test_a_save_that_keeps_one_checkpoint_whole_is_not_accused(save, load):
    assert atomic(save, load) == []


def test_what_is_promised_is_said_where_it_is_wrong():
    with pytest.raises(UsageError, match=r"no claim 'atomics': did you mean 'atomic'\?"):
        check_module(make, claims=["atomics"])
    with pytest.raises(UsageError, match=r"claims=\['atomic'\]"):
        check_module(make, claims="atomic")


def test_no_file_and_no_process_is_left_behind(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    atomic(in_place)
    assert list(tmp_path.iterdir()) == []
    with suppress(ChildProcessError):  # no child at all, or none that has ended and was not waited for
        assert os.waitpid(-1, os.WNOHANG) == (0, 0)


# ------------------------------------------------------------------------------------------------- unchanged on error


def validated(module, state):
    own = module.state_dict()
    if own.keys() != state.keys() or any(own[key].shape != state[key].shape for key in own):
        raise RuntimeError("it does not fit")
    module.load_state_dict(state)


def restored(module, state):
    before = {key: value.clone() for key, value in module.state_dict().items()}
    try:
        module.load_state_dict(state)
    except RuntimeError:
        module.load_state_dict(before)
        raise


def entry_by_entry(module, state):
    for name, tensor in module.state_dict().items():
        tensor.copy_(state[name])


def strict_after_the_fact(module, state):
    result = module.load_state_dict(state, strict=False)
    if result.missing_keys or result.unexpected_keys:
        raise KeyError(result)


@pytest.mark.parametrize("load_state", [None, entry_by_entry, strict_after_the_fact])
def test_a_failing_load_that_changes_the_module_is_found(load_state):
    found = judged(load_state=load_state, claims=["unchanged-on-error"])
    assert [one for one in found if one not in judged(load_state=load_state)] == [("half-loaded", "0.weight")]


@pytest.mark.parametrize(
    ("bias", "said"), [(True, "this entry and 2 more, and"), (False, "this entry and 1 more, and")]
)
def test_how_many_entries_have_changed_is_said(bias, said):
    report = check_module(
        lambda: nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2, bias=bias)), claims=["unchanged-on-error"]
    )
    assert [said in one.message for one in report.findings if one.category == "half-loaded"] == [True]


def test_where_one_entry_has_changed_no_others_are_counted():
    (finding,) = check_module(lambda: nn.Linear(2, 2), claims=["unchanged-on-error"]).findings
    assert "has changed this entry, and" in finding.message


@pytest.mark.parametrize("load_state", [validated, restored])
def test_a_failing_load_that_changes_nothing_is_not_accused(load_state):
    assert judged(load_state=load_state, claims=["unchanged-on-error"]) == []


def test_a_load_that_makes_the_module_cannot_change_one():
    report = check_module(make, load=load, claims=["unchanged-on-error"])
    assert report.ok
    assert any("give load_state" in note for note in report.notes)
