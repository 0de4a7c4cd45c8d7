"""Reports are plain data: text for a terminal, JSON, pickles; and nothing of torch in them."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from pytest_ckpt import CheckpointError, Finding, LegResult, Report, UsageError
from pytest_ckpt.summary import lines, properties

OFFSET = Finding(
    "unsaved-state",
    "block.offset",
    "the attribute is not in the state_dict",
    'self.register_buffer("offset", ...)\nor return it from get_extra_state()',
    "float32[2] 1, 2",
    "float32[2] 0, 0",
    "cpu->cpu torch_zip",
)
LOCATION = Finding("device-location", "torch.load", "the file was written on cuda", leg="cuda->cpu torch_zip")
LEGS = (
    LegResult("cpu->cpu torch_zip", "real"),
    LegResult("cuda->cpu torch_zip", "simulated", "tagged cuda:0"),
    LegResult("cuda->cuda torch_zip", "skipped", "no cuda"),
)
FAILED = Report("Net", 4, (OFFSET, LOCATION), LEGS, ("unsaved-state", "device-location"), ("outputs not compared",))
PASSED = Report("Net", 4, (), LEGS, ("unsaved-state",))


def test_text_of_a_failed_round_trip():
    assert FAILED.text() == (
        "Net (cpu->cpu torch_zip, cuda->cpu torch_zip): 2 findings, 4 entries in the state_dict\n"
        "\n"
        "  unsaved-state    block.offset  float32[2] 1, 2 -> float32[2] 0, 0\n"
        "      the attribute is not in the state_dict [cpu->cpu torch_zip]\n"
        '      hint: self.register_buffer("offset", ...)\n'
        "            or return it from get_extra_state()\n"
        "\n"
        "  device-location  torch.load\n"
        "      the file was written on cuda [cuda->cpu torch_zip]\n"
        "\n"
        "  leg cpu->cpu torch_zip: real\n"
        "  leg cuda->cpu torch_zip: simulated (tagged cuda:0)\n"
        "  leg cuda->cuda torch_zip: skipped (no cuda)\n"
        "  note: outputs not compared"
    )


def test_text_of_a_passed_round_trip():
    first, *rest = PASSED.text().splitlines()
    assert first == "Net: everything came back, 4 entries in the state_dict (2 legs, 1 of them simulated)"
    assert rest == [
        "  leg cpu->cpu torch_zip: real",
        "  leg cuda->cpu torch_zip: simulated (tagged cuda:0)",
        "  leg cuda->cuda torch_zip: skipped (no cuda)",
    ]


def test_one_finding_on_one_leg_is_said_in_the_singular_and_the_leg_once():
    text = Report("Net", 1, (OFFSET,), LEGS[:1]).text()
    assert text.startswith("Net (cpu->cpu torch_zip): 1 finding, 1 entry in the state_dict\n")
    assert text.count("cpu->cpu torch_zip") == 2


def test_legs_of_a_finding_seen_on_several_are_listed_once():
    both = Finding("a", "b", "c", leg="cpu->cpu torch_zip, cuda->cpu torch_zip")
    assert Report("Net", 1, (both, OFFSET)).text().startswith("Net (cpu->cpu torch_zip, cuda->cpu torch_zip): 2")


def test_a_report_none_of_whose_legs_ran_does_not_claim_that_anything_came_back():
    assert "came back" not in Report("Net", 0, (), LEGS[2:]).text()


def test_long_keys_do_not_push_the_columns_apart():
    long = Finding("value-changed", "x" * 200, "m", expected="a", actual="b")
    rows = Report("Net", 2, (long, Finding("value-changed", "short", "m", expected="a", actual="b"))).text()
    assert f"  value-changed  {'x' * 200}  a -> b" in rows
    assert f"  value-changed  {'short':<40}  a -> b" in rows


def test_what_findings_have_in_common_is_said_once():
    one, other, third = (Finding("value-changed", key, "rounded", "save it in its dtype", "1", "2") for key in "abc")
    changed = replace(third, message="doubled")
    assert Report("Net", 3, (one, other, OFFSET)).text().splitlines()[2:7] == [
        "  value-changed  a             1 -> 2",
        "  value-changed  b             1 -> 2",
        "      rounded",
        "      hint: save it in its dtype",
        "",
    ]
    assert Report("Net", 3, (one, other, changed)).text().splitlines()[2:9] == [
        "  value-changed  a  1 -> 2",
        "      rounded",
        "  value-changed  b  1 -> 2",
        "      rounded",
        "  value-changed  c  1 -> 2",
        "      doubled",
        "      hint: save it in its dtype",
    ]


def test_raising():
    PASSED.raise_for_findings()
    with pytest.raises(CheckpointError) as caught:
        FAILED.raise_for_findings()
    assert isinstance(caught.value, AssertionError)
    assert caught.value.report is FAILED
    assert str(caught.value) == FAILED.text()


def test_ok_is_having_no_finding():
    assert PASSED.ok
    assert not FAILED.ok


def test_json_holds_everything():
    data = json.loads(FAILED.to_json())
    assert data["subject"] == "Net"
    assert data["entries"] == 4
    assert data["findings"][0] == {
        "category": "unsaved-state",
        "key": "block.offset",
        "message": OFFSET.message,
        "hint": OFFSET.hint,
        "expected": OFFSET.expected,
        "actual": OFFSET.actual,
        "leg": OFFSET.leg,
    }
    assert [leg["status"] for leg in data["legs"]] == ["real", "simulated", "skipped"]
    assert data["notes"] == ["outputs not compared"]
    rebuilt = Report(
        **{
            **data,
            "findings": tuple(Finding(**one) for one in data["findings"]),
            "legs": tuple(LegResult(**one) for one in data["legs"]),
            "checks": tuple(data["checks"]),
            "notes": tuple(data["notes"]),
        }
    )
    assert rebuilt == FAILED


def test_text_beyond_ascii_stays_readable_in_json():
    assert "größer …" in Report("Net", 1, (Finding("a", "größer …", "m"),)).to_json()


@pytest.mark.parametrize("value", [FAILED, PASSED, OFFSET, CheckpointError(FAILED), UsageError("text")])
def test_everything_pickles(value):
    copy = pickle.loads(pickle.dumps(value))
    assert type(copy) is type(value)
    assert str(copy) == str(value)
    assert getattr(copy, "report", None) == getattr(value, "report", None)


def test_findings_cannot_be_changed():
    with pytest.raises(AttributeError):
        setattr(OFFSET, "key", "other")  # noqa: B010 -- to a type checker it is an error already
    with pytest.raises(AttributeError):
        setattr(FAILED, "findings", ())  # noqa: B010 -- as above


def test_reports_can_be_read_where_there_is_no_torch():
    program = (
        "import pickle, sys\n"
        "sys.modules['torch'] = None\n"
        "report = pickle.loads(sys.stdin.buffer.read())\n"
        "sys.stdout.write(report.text())"
    )
    done = subprocess.run([sys.executable, "-c", program], input=pickle.dumps(FAILED), capture_output=True, check=True)
    assert done.stdout.decode() == FAILED.text()


# -------------------------------------------------------------------------------------------------------- summary lines


def test_a_tests_properties():
    assert properties(FAILED) == [
        ("ckpt_leg", "cpu->cpu torch_zip: real"),
        ("ckpt_leg", "cuda->cpu torch_zip: simulated (tagged cuda:0)"),
        ("ckpt_leg", "cuda->cuda torch_zip: skipped (no cuda)"),
        ("ckpt_finding", "unsaved-state: block.offset"),
        ("ckpt_finding", "device-location: torch.load"),
    ]


def test_summary_counts_legs_over_all_tests():
    tests: Any = [("test_a", properties(FAILED)), ("test_b", properties(PASSED)), ("test_c", [("other", 1)])]
    assert list(lines(tests, verbose=False)) == [
        "cpu->cpu torch_zip: 2 real",
        "cuda->cpu torch_zip: 2 simulated (tagged cuda:0)",
        "cuda->cuda torch_zip: 2 skipped (no cuda)",
    ]


def test_summary_lists_each_test_when_verbose():
    tests: Any = [("test_a", properties(PASSED)), ("test_c", [])]
    assert list(lines(tests, verbose=True))[3:] == [
        "test_a",
        "  cpu->cpu torch_zip: real",
        "  cuda->cpu torch_zip: simulated (tagged cuda:0)",
        "  cuda->cuda torch_zip: skipped (no cuda)",
    ]


def test_summary_of_a_session_without_round_trips_is_empty():
    assert list(lines([("test_a", []), ("test_b", [("other", "x")])], verbose=True)) == []
