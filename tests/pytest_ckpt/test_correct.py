"""Correct modules and loaders are accused of nothing, however suspicious they look."""

from __future__ import annotations

import pytest
import torch

from tests.pytest_ckpt.cases import CORRECT, Case, collect

collect()


@pytest.mark.parametrize("case", CORRECT, ids=str)
def test_silent(case: Case) -> None:
    torch.manual_seed(0)
    report = case.check()
    assert not report.findings, report.text()
