"""Goldens in pytest sessions of their own: flags, names, what is stale, annotations."""

from __future__ import annotations

import re

import pytest

from pytest_ckpt import github_actions

NET = """
import torch
from torch import nn

X = torch.linspace(-1, 1, 8).reshape(2, 4)

class Net(nn.Module):
    def __init__(self, name="fc"):
        super().__init__()
        self.name = name
        self.add_module(name, nn.Linear(4, 4))

    def forward(self, x):
        return getattr(self, self.name)(x)
"""
QUICK = ["-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-q"]


@pytest.fixture
def run(pytester):
    from pytest_ckpt import fixtures  # noqa: F401 -- imported once, since pytester forgets what a session imports

    def run(*arguments, **sources):
        if sources:
            pytester.makepyfile(**{f"test_{name}": NET + source for name, source in sources.items()})
        return pytester.runpytest_inprocess(*QUICK, *arguments)

    return run


ONE = "\ndef test_it(ckpt_regression):\n    assert ckpt_regression(Net, X).ok\n"
RENAMED = "\ndef test_it(ckpt_regression):\n    ckpt_regression(lambda: Net('head'), X)\n"


def test_write_commit_change(run, pytester):
    missing = run(net=ONE)
    missing.assert_outcomes(failed=1)
    missing.stdout.fnmatch_lines(["*there is no golden in *ckpt_goldens?test_net?test_it: *--ckpt-update-new-only*"])
    written = run("--ckpt-update-new-only")
    written.assert_outcomes(passed=1)
    written.stdout.fnmatch_lines(["*checkpoint goldens*", "written: ckpt_goldens/test_net/test_it/v1.toml"])
    assert (pytester.path / "ckpt_goldens" / "test_net" / "test_it" / "v1.safetensors").exists()
    quiet = run()
    quiet.assert_outcomes(passed=1)
    assert "checkpoint goldens" not in quiet.stdout.str()
    broken = run("--junitxml=report.xml", net=RENAMED)
    broken.assert_outcomes(failed=1)
    broken.stdout.fnmatch_lines(
        [
            "*Net (golden v1): 4 findings*",
            "*key-mismatch  head.weight  'fc.weight' -> 'head.weight'",
            '*"fc.": "head.",',
        ]
    )
    assert "regression.py" not in broken.stdout.str()
    junit = (pytester.path / "report.xml").read_text(encoding="utf-8")
    assert '<property name="ckpt_golden" value="ckpt_goldens/test_net/test_it" />' in junit
    assert '<property name="ckpt_finding" value="key-mismatch: head.weight" />' in junit
    run("--ckpt-update").assert_outcomes(passed=1)
    run().assert_outcomes(passed=1)


def test_every_test_has_a_folder_of_its_own(run, pytester):
    source = """
import pytest

@pytest.mark.parametrize("value", ["plain", "a/b: c", "a/b; c", "x" * 200, "ü"])
def test_named(ckpt_regression, value):
    ckpt_regression(Net, X)

class TestGroup:
    def test_it(self, ckpt_regression):
        ckpt_regression(Net, X)
        ckpt_regression(lambda: Net("other"), X, name="other")
"""
    run("--ckpt-update-new-only", net=source).assert_outcomes(passed=6)
    folders = sorted(path.name for path in (pytester.path / "ckpt_goldens" / "test_net").iterdir())
    assert len(folders) == 7
    assert {"test_named[plain]", "TestGroup.test_it", "TestGroup.test_it.other"} <= set(folders)
    assert all(re.fullmatch(r"[\w.\[\]=+-]{1,100}", name, re.ASCII) for name in folders)
    run().assert_outcomes(passed=6)


def test_two_calls_need_two_names(run):
    source = "\ndef test_it(ckpt_regression):\n    ckpt_regression(Net, X)\n    ckpt_regression(Net, X)\n"
    result = run("--ckpt-update-new-only", net=source)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*test_net.py::test_it and this call use the same golden, test_net/test_it: *name='*"])


TWO = ONE + "\ndef test_other(ckpt_regression):\n    ckpt_regression(Net, X)\n"


def test_what_no_test_uses_is_stale_on_a_full_run_alone(run, pytester):
    run("--ckpt-update-new-only", net=TWO, gone=ONE).assert_outcomes(passed=3)
    (pytester.path / "test_gone.py").unlink()
    for arguments in (["-k", "test_it"], ["test_net.py::test_it"], ["--deselect", "test_net.py::test_other"]):
        assert "stale" not in run(*arguments).stdout.str()
    full = run(net=ONE)
    full.assert_outcomes(passed=1)
    full.stdout.fnmatch_lines(
        [
            "stale: ckpt_goldens?test_gone?test_it (no test uses it; git rm -r it)",
            "stale: ckpt_goldens?test_net?test_other (no test uses it; git rm -r it)",
        ]
    )


def test_the_golden_of_a_skipped_test_is_not_stale(run):
    run("--ckpt-update-new-only", net=TWO).assert_outcomes(passed=2)
    skipped = TWO.replace("\ndef test_other", "\nimport pytest\n@pytest.mark.skip\ndef test_other")
    result = run(net=skipped)
    result.assert_outcomes(passed=1, skipped=1)
    assert "stale" not in result.stdout.str()


def test_workers_read_and_do_not_write(run, pytester):
    run("--ckpt-update-new-only", net=TWO).assert_outcomes(passed=2)
    for flag in ("--ckpt-update", "--ckpt-update-new-only"):
        refused = run(flag, "-n", "2")
        assert refused.ret == pytest.ExitCode.USAGE_ERROR
        refused.stderr.fnmatch_lines(["*goldens are written by one process, so --ckpt-update does not go with -n*"])
    pytester.makepyfile(test_net=NET + ONE)
    result = pytester.runpytest_subprocess(*QUICK, "-n", "1")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["stale: ckpt_goldens?test_net?test_other*"])


def test_unknown_options_are_refused(run):
    assert run("--ckpt-updates", net=ONE).ret == pytest.ExitCode.USAGE_ERROR
    result = run(net="\ndef test_it(ckpt_regression):\n    ckpt_regression(Net, X, nmae='x')\n")
    result.stdout.fnmatch_lines(["*TypeError: *unexpected keyword argument 'nmae'*"])


# ------------------------------------------------------------------------------------------------------ annotations


def test_findings_are_annotations_on_github(run, monkeypatch):
    run("--ckpt-update-new-only", net=ONE)
    run(net=RENAMED)
    assert "::error" not in run().stdout.str()
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    output = run().stdout.str()
    (line,) = [line for line in output.splitlines() if line.startswith("::error")]
    place, _, text = line.removeprefix("::error ").partition("::")
    assert re.fullmatch(r"file=test_net\.py,line=\d+,title=key-mismatch%3A head\.weight and 3 more", place)
    assert "with this hook the checkpoint loads, and the outputs are the old ones:%0A" in text
    assert "::error" not in run("-p", "no:ckpt").stdout.str()


def test_a_failure_without_findings_is_no_annotation(run, monkeypatch):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert "::error" not in run(net="\ndef test_it():\n    assert False\n").stdout.str()


def test_text_is_escaped_as_workflow_commands_want_it():
    class Report:
        location = ("a,b.py", 4, "test_it")
        user_properties = (("ckpt_finding", "key-mismatch: 100%"),)
        longrepr = None

    (line,) = github_actions.lines(Report())
    assert line == "::error file=a%2Cb.py,line=5,title=key-mismatch%3A 100%25::key-mismatch: 100%25"
