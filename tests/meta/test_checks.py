"""What must hold for every check, whichever files are there."""

from __future__ import annotations

import dataclasses
import inspect
import pickle
import re
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

import pytest_ckpt.checks
from pytest_ckpt import registry
from pytest_ckpt.findings import Finding, LegResult, Report

CATEGORIES = {
    "key-mismatch",
    "corrupt-accepted",
    "unsaved-submodule",
    "data-position",
    "dtype-changed",
    "shape-changed",
    "nonpersistent-buffer",
    "tie-conflict",
    "device-location",
    "aliasing",
    "not-atomic",
    "value-changed",
    "optimizer-state",
    "key-collision",
    "not-saveable",
    "not-weights-only",
    "save-mutates",
    "step-counter",
    "half-loaded",
    "strictness",
    "rng-state",
    "input-mutated",
    "ema-state",
    "requires-grad",
    "mode-changed",
    "storage-bloat",
    "stale-cache",
    "not-loadable",
    "semantics",
    "tie-broken",
    "unsaved-state",
    "stale-save",
    "pickled-module",
    "scheduler-state",
    "config-lost",
    "scaler-state",
}
SECTIONS = ["What it checks", "Why it matters", "How it is found", "What to do", "References"]
CODE = re.compile(r"\w\(|\w\.\w|\w\[|\w=|\{\"")
GAP = re.compile(r"""\"\"|''|\x20[,.;)](?!\.)|self\.\W""")

FILES = [
    path.stem for path in Path(pytest_ckpt.checks.__file__).parent.glob("[!_]*.py")
]  # not through the registry: a file that it overlooks must fail here
every_check = pytest.mark.parametrize("name", sorted(stem.replace("_", "-") for stem in FILES))


@cache
def report_of(name: str, case_name: str) -> Report:
    return run_case(name, case_name)


def run_case(name: str, case_name: str) -> Report:
    report: Report = getattr(registry.check(name), case_name)().report()
    return report


# -------------------------------------------------------------------------------------------------------- its two cases


@every_check
def test_failing_case_is_reported_by_this_check_with_its_key(name):
    report = report_of(name, "failing")
    key = registry.check(name).failing().key
    assert key, "a failing case says which key the finding must name"
    assert key in [finding.key for finding in report.findings if finding.category == name], report.text()


@every_check
def test_passing_case_is_reported_by_no_check(name):
    report = report_of(name, "passing")
    assert report.ok, report.text()
    assert any(leg.status == "real" for leg in report.legs), "a leg must have run, or silence means nothing"


@every_check
def test_no_other_check_reports_the_failing_case(name, monkeypatch):
    for method in ("run", "resumed", "compared"):
        monkeypatch.setattr(type(registry.check(name)), method, lambda _self, _seen: iter(()))
    report = run_case(name, "failing")
    assert report.ok, f"the case is no proof of {name}, others see it as well: {report.text()}"


@every_check
def test_both_cases_are_judged_in_the_same_way(name):
    failing, passing = registry.check(name).failing(), registry.check(name).passing()
    assert ("inputs" in failing.arguments) == ("inputs" in passing.arguments)
    assert not passing.key


# ------------------------------------------------------------------------------------------------------------- its page


@every_check
def test_docstring_has_every_section_of_a_page(name):
    page = inspect.getdoc(type(registry.check(name))) or ""
    first, *_ = page.splitlines()
    assert first.endswith(".")
    assert re.findall(r"^## (.+)$", page, re.MULTILINE) == SECTIONS
    sections = dict(zip(SECTIONS, re.split(r"^## .+$", page, flags=re.MULTILINE)[1:], strict=True))
    assert all(text.strip() for text in sections.values())
    assert re.findall(r"^- \[.+\]\(https://[^ )]+\)$", sections["References"], re.MULTILINE)
    assert "`" in sections["What to do"], "what to do is said in code"


@every_check
def test_name_is_that_of_its_file_and_a_word_of_the_contract(name):
    module = import_module(f"pytest_ckpt.checks.{name.replace('-', '_')}")
    check = registry.check(name)
    assert type(check).__module__ == module.__name__
    assert check.name == name
    assert name in CATEGORIES


@every_check
def test_summary_is_one_line_for_a_table(name):
    summary = registry.check(name).summary
    assert summary == summary.strip()
    assert summary
    assert "\n" not in summary
    assert "|" not in summary
    assert not summary.endswith(".")
    assert len(summary) <= 80


# --------------------------------------------------------------------------------------------------------- its findings


@every_check
def test_messages_and_hints_say_something(name):
    for finding in report_of(name, "failing").findings:
        assert finding.message.strip()
        assert finding.key.strip()
        assert CODE.search(finding.hint), f"a hint says what to type: {finding.hint!r}"
        assert finding.hint == finding.hint.strip()
        assert not GAP.search(finding.hint), f"a name is missing: {finding.hint!r}"
        assert finding.leg


@every_check
@pytest.mark.parametrize("case", ["failing", "passing"])
def test_report_is_plain_data(name, case):
    report = report_of(name, case)
    assert pickle.loads(pickle.dumps(report)) == report
    foreign = [value for value in walk(report) if type(value) not in {Report, Finding, LegResult, tuple, str, int}]
    assert not foreign


def walk(value):
    yield value
    if dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from walk(getattr(value, field.name))
    elif isinstance(value, tuple):
        for item in value:
            yield from walk(item)


# ------------------------------------------------------------------------------------------------------------- together


def test_registry_finds_every_file():
    assert registry.names() == tuple(sorted(stem.replace("_", "-") for stem in FILES))
    assert [check.stage for check in registry.all_checks()] == sorted(check.stage for check in registry.all_checks())


def test_summaries_tell_checks_apart():
    summaries = [check.summary for check in registry.all_checks()]
    assert len(set(summaries)) == len(summaries)
