"""Every planted fault is reported, in a category that fits it, by the culprit's name."""

from __future__ import annotations

import pytest
import torch

from tests.pytest_ckpt.cases import FAULTY, Case, collect

collect()


@pytest.mark.parametrize("case", FAULTY, ids=str)
def test_reported_by_name(case: Case) -> None:
    torch.manual_seed(0)
    report = case.check()
    named = case.named(report)
    assert named, f"none of {sorted(case.keys)} in {sorted(case.categories)}:\n{report.text()}"
    assert any(case.says in f"{one.message}\n{one.hint}" for one in named), report.text()
    assert not case.alone or len(named) == len(report.findings), report.text()
