"""Changes of a module's code: what breaks old checkpoints is reported by name, what keeps them not at all."""

from __future__ import annotations

import pytest
import torch

from tests.pytest_ckpt.changes import BREAKING, KEEPING, Change, collect

collect()


@pytest.fixture(autouse=True)
def _one_thread():
    """Several threads only wait for each other over tensors of a few elements."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("change", BREAKING, ids=str)
def test_reported_by_name(change: Change) -> None:
    report = change.check()
    assert change.named(report), f"none of {sorted(change.keys)} in {sorted(change.categories)}:\n{report.text()}"


@pytest.mark.parametrize("change", KEEPING, ids=str)
@pytest.mark.parametrize("outputs", [True, False], ids=["outputs", "state"])
def test_silent(change: Change, outputs: bool) -> None:
    report = change.check(outputs=outputs)
    assert not report.findings, report.text()
