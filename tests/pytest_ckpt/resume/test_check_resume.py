"""What `check_resume` says, and what it leaves as it was."""

from __future__ import annotations

import random

import pytest
import torch

from pytest_ckpt import CheckpointError, check_resume
from pytest_ckpt.compare import equal
from pytest_ckpt.resume.slots import global_generators
from tests.pytest_ckpt.trainings import Loop, state_faulty
from tests.pytest_ckpt.trainings.optimizers_faulty import AdamLost, SchedulerLost
from tests.pytest_ckpt.trainings.sound import SystemRandomness


def test_report_says_what_how_and_by_how_much():
    report = check_resume(SchedulerLost)
    (finding,) = (one for one in report.findings if one.key == "scheduler.last_epoch")
    assert (finding.expected, finding.actual, finding.leg) == ("3", "0", "resume 3/6")
    assert "3 behind" in finding.message
    assert "the loss differs" in check_resume(state_faulty.WarmupCounterLost).findings[0].message
    assert report.legs[0].status == "real"
    assert report.subject == "Net"
    with pytest.raises(CheckpointError, match="last_epoch"):
        report.raise_for_findings()


def test_steps_and_place_are_the_callers():
    report = check_resume(AdamLost, steps=4, resume_at=1)
    assert report.legs[0].leg == "resume 1/4"
    assert any("step 1.0" in repr(one) or one.expected.startswith("float32[] 1") for one in report.findings)


def test_a_training_that_does_not_repeat_is_said_and_judged_as_far_as_possible():
    class Lost(SystemRandomness):
        def restore(self, content):
            self.model.load_state_dict(content["model"])

    report = check_resume(SystemRandomness)
    assert report.ok
    assert any("two uninterrupted runs with the same seeds differ, first in step 0" in note for note in report.notes)
    assert {one.category for one in check_resume(Lost).findings} == {"optimizer-state"}


def test_generators_and_globals_are_left_as_they_were():
    random.seed(1)
    before = global_generators()
    check_resume(state_faulty.CounterInGlobal)
    check_resume(state_faulty.KeptInMemory)
    assert equal(before, global_generators())
    assert state_faulty.STEPS_DONE == 0
    assert state_faulty.KEPT == {}


def test_observable_is_compared():
    class Observed(Loop):
        def setup(self):
            self.total = torch.zeros(1)

        def after(self, number, loss):
            self.total = self.total + loss

    class AndShown(Observed):
        def observable(self):
            return {"total": self.total}

    assert check_resume(Observed).ok
    assert [one.key for one in check_resume(AndShown).findings] == ["total"]


def test_the_fixture(pytester):
    check_resume(AdamLost)  # pytester forgets what its sessions import, and torch cannot be imported twice
    pytester.makepyfile("""
        from tests.pytest_ckpt.trainings import Loop
        from tests.pytest_ckpt.trainings.optimizers_faulty import AdamLost

        def test_sound(ckpt_resume):
            assert ckpt_resume(Loop, 4, resume_at=2).ok

        def test_faulty(ckpt_resume):
            ckpt_resume(AdamLost)

        def test_wrong(ckpt_resume):
            ckpt_resume(Loop, resume_at=9)
    """)
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(
        ["*optimizer-state*fc1.weight exp_avg*", "*resume_at=9 must lie between*", "resume 2/4: 1 real"]
    )
    assert "pytest_ckpt/resume" not in result.stdout.str()
    others = pytester.runpytest_inprocess("-p", "no:cacheprovider", "--ckpt-checks=aliasing", "-k", "faulty")
    others.assert_outcomes(skipped=1, deselected=2)
