"""Every planted fault of a training is reported by the culprit's name, and no correct training is accused."""

from __future__ import annotations

import pytest
import torch

from tests.pytest_ckpt.trainings import CORRECT, FAULTY, Case, collect

collect()


@pytest.mark.parametrize("case", FAULTY, ids=str)
def test_reported_by_name(case: Case) -> None:
    torch.manual_seed(0)
    report = case.check()
    named = case.named(report)
    assert named, f"none of {case.keys} in {sorted(case.categories)}:\n{report.text()}"
    assert any(case.says in f"{one.message}\n{one.hint}" for one in named), report.text()


@pytest.mark.parametrize("case", CORRECT, ids=str)
def test_silent(case: Case) -> None:
    torch.manual_seed(0)
    report = case.check()
    assert not report.findings, report.text()
