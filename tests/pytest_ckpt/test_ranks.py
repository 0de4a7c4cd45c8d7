"""Real ranks of torchrun's launcher: saved with two, loaded with one and three; a rank that fails; one that hangs."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import distributed, nn

from pytest_ckpt import check_module, ranks


class Net(nn.Module):
    """Uneven shards, a tie, buffers of several dtypes, one of them a scalar."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv1d(3, 5, 3), nn.BatchNorm1d(5)
        self.embedding, self.head = nn.Embedding(7, 5), nn.Linear(5, 7, bias=False)
        self.head.weight = self.embedding.weight
        self.register_buffer("count", torch.tensor(0.0))
        self.register_buffer("rough", torch.ones(3, dtype=torch.bfloat16))


def count_exactly(module):
    module.count = torch.tensor(2**24 + 1)


class FailsOnRankOne(nn.Linear):
    def __init__(self) -> None:
        super().__init__(2, 2)
        if distributed.is_initialized() and distributed.get_rank() == 1:
            raise ZeroDivisionError("one of two")


@pytest.fixture
def processes(tmp_path, monkeypatch):
    """Give a function that lists the processes of this test's ranks and their launcher: its folders are its own."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def command(path):
        with suppress(OSError):
            return path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        return ""

    return lambda: [line for line in map(command, Path("/proc").glob("[0-9]*/cmdline")) if str(tmp_path) in line]


def test_saved_with_two_ranks_and_loaded_with_one_and_three():
    """Everything comes back bit for bit but for the one entry that loading casts, which both legs report."""
    report = check_module(Net, prepare=count_exactly, formats=["dcp@2:1", "dcp@2:3"], devices=["cpu"])
    assert [leg.status for leg in report.legs] == ["real", "real"], report.text()
    assert [(one.category, one.key) for one in report.findings] == [("dtype-changed", "count")], report.text()
    assert report.findings[0].leg == "cpu->cpu dcp@2:1, cpu->cpu dcp@2:3"
    assert report.findings[0].expected.startswith("int64[]")
    assert report.findings[0].actual.startswith("float32[]")
    assert report.entries == len(Net().state_dict())
    assert report.notes == ("with ranks, outputs are not compared",)


def test_a_rank_that_fails_is_one_message_and_nothing_is_left(processes):
    report = check_module(FailsOnRankOne, formats=["dcp@2:1"], devices=["cpu"])
    (finding,) = report.findings
    assert finding.category == "not-saveable"
    assert "ZeroDivisionError: one of two" in finding.message
    assert "on rank 1 of 2" in finding.message
    assert "Traceback" not in report.text()
    assert processes() == []


def test_ranks_that_take_too_long_are_ended(monkeypatch, processes):
    monkeypatch.setattr(ranks, "PATIENCE", 0.2)
    report = check_module(partial(nn.Linear, 2, 2), formats=["dcp@1:1"], devices=["cpu"])
    (finding,) = report.findings
    assert "1 ranks did not save within" in finding.message
    assert processes() == []


def local():
    class Local(nn.Linear):
        pass

    return Local


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"make": lambda: nn.Linear(2, 2)}, "cannot import test_what_ranks_cannot_do_is_skipped"),
        ({"make": partial(local(), 2, 2)}, "cannot import"),
        ({"make": Net, "prepare": lambda _module: None}, "cannot import"),
        ({"make": Net, "save": lambda *_: None}, "save, load and load_state of your own"),
        ({"make": Net, "load_state": lambda *_: None}, "save, load and load_state of your own"),
    ],
)
def test_what_ranks_cannot_do_is_skipped_with_the_reason(arguments, reason):
    report = check_module(**arguments, formats=["dcp@2:1"], devices=["cpu"])
    (leg,) = report.legs
    assert leg.status == "skipped"
    assert reason.replace("test_what_ranks_cannot_do_is_skipped", "") in leg.reason
    assert report.ok


def test_more_ranks_than_devices_are_skipped(monkeypatch):
    monkeypatch.setattr("pytest_ckpt.legs.available", lambda _device: True)
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 1)
    leg = check_module(Net, formats=["dcp@2:1"], devices=["cuda"]).legs[0]
    assert leg.status == "skipped"
    assert leg.reason == "2 ranks need 2 devices, and there is 1 of cuda"
