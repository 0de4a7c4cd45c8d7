"""Round trips of what libraries ship: in reduced form always, in full with SWEEP=full in the environment."""

from __future__ import annotations

import pytest

from pytest_ckpt import check_module
from tests.generators import unmoved
from tests.real import sweep

pytestmark = [pytest.mark.sweep, pytest.mark.filterwarnings("default")]  # the libraries warn as they please


def judged(subject: sweep.Subject) -> None:
    with unmoved():
        report = check_module(subject.make, subject.inputs, **subject.arguments)
    assert report.ok, report.text()


@pytest.mark.parametrize("subject", list(sweep.torch_nn()), ids=str)
def test_torch_nn(subject: sweep.Subject) -> None:
    judged(subject)


@pytest.mark.parametrize(
    ("library", "least"),
    [
        ("geometric", 125 if sweep.FULL else 40),
        ("metrics", 180 if sweep.FULL else 40),
        ("lightning_modules", 85 if sweep.FULL else 8),
        ("transformers_models", 150 if sweep.FULL else 8),
    ],
)
def test_library(library: str, least: int, subtests: pytest.Subtests) -> None:
    subjects = list(getattr(sweep, library)())
    assert len(subjects) >= least, "the library has changed: fewer of its modules can be built than before"
    for subject in (way for one in subjects for way in sweep.ways(one)):
        with subtests.test(subject.name):
            judged(subject)
