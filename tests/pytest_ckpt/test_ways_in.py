"""The ways in beside the fixtures: parametrised checks, modules without a test file, markers, and odd test suites."""

from __future__ import annotations

import sys
from typing import Any, cast

import pytest
import torch
from torch import nn

from pytest_ckpt import UsageError, check_module, check_strict, parametrize_with_checkpoint_checks, registry
from tests.pytest_ckpt.test_plugin import CPU, NET, QUICK, junit

MODELS = f"""{NET}
def pair():
    return Sound(), X

class Twice(Sound):
    ckpt_arguments = {{"inputs": X, "prepare": lambda module: module(X)}}

class Bad(Faulty):
    ckpt_arguments = {{"inputs": X}}

wrong = Sound()
listed = lambda: Sound()
listed.ckpt_arguments = [X]

def broken():
    raise ValueError("no weights")
"""
PARAMETRIZED = f"""{NET}
import pytest
from pytest_ckpt import parametrize_with_checkpoint_checks

TWO = ["unsaved-state", "aliasing"]
made = []

def build():
    made.append(1)
    return Sound()

@parametrize_with_checkpoint_checks([(build, X), {{"make": lambda: Sound()}}, nn.Identity], checks=TWO)
def test_sound(make, check):
    report = check(make)
    assert report.checks == (repr(check),)

def test_one_round_trip():
    assert 0 < len(made) < 8

@parametrize_with_checkpoint_checks([(Faulty, X)], checks=TWO, expected_failed={{"unsaved-state": "known since #12"}})
class TestFaulty:
    def test_it(self, module, check):
        check(module)

@parametrize_with_checkpoint_checks([pytest.param((Faulty, X), id="seen")], checks=TWO)
def test_seen(module, check):
    check(module)

@parametrize_with_checkpoint_checks([(Sound, X)], checks=TWO, expected_failed=lambda make: {{"aliasing": "mended"}})
def test_mended(module, check):
    check(module)

@parametrize_with_checkpoint_checks([(Sound, X)], checks=TWO)
def test_mixed_up(module, check):
    with pytest.raises(ValueError, match="this check is for"):
        check(Faulty)
"""


@pytest.fixture(scope="module", autouse=True)
def _loaded():
    """Import once what the sessions in this process need: pytester forgets what a session itself imports."""
    from pytest_ckpt import fixtures  # noqa: F401 -- imported for that alone

    check_module(nn.Identity, torch.ones(2), devices=["cpu"])
    check_strict(nn.Identity)


@pytest.fixture
def run(pytester):
    def run(*arguments, ini="", **files):
        pytester.makepyfile(**files or {"test_other": "def test_other(): pass"})
        pytester.makeini(f"[pytest]\n{ini}")
        return pytester.runpytest_inprocess(*QUICK, CPU, *arguments)

    yield run
    sys.modules.pop("models", None)


# -------------------------------------------------------------------------------------------------- parametrised checks


def test_one_test_a_module_and_check(run, pytester):
    result = run("-rA", "--junitxml=out.xml", test_it=PARAMETRIZED)
    result.assert_outcomes(passed=12, failed=2, xfailed=1)
    lines = result.stdout.str()
    for name in (
        "test_sound[build-unsaved-state]",
        "test_sound[Sound-aliasing]",
        "test_sound[Identity-aliasing]",
        "test_seen[seen-aliasing]",
    ):
        assert f"PASSED test_it.py::{name}" in lines
    assert "XFAIL test_it.py::TestFaulty::test_it[Faulty-unsaved-state] - known since #12" in lines
    assert "FAILED test_it.py::test_mended[Sound-aliasing]" in lines
    assert "[XPASS(strict)] mended" in lines
    assert "FAILED test_it.py::test_seen[seen-unsaved-state]" in lines
    assert "parametrize.py" not in lines
    legs = [
        one for one in junit(pytester.path / "out.xml").items() if ("ckpt_leg", "cpu->cpu torch_zip: real") in one[1]
    ]
    assert len(legs) == 6, "a round trip is counted where it was made, once for each module"


def test_checks_that_options_leave_out_are_skipped(run):
    result = run("--ckpt-ignore=aliasing", "-k", "test_sound", test_it=PARAMETRIZED)
    result.assert_outcomes(passed=3, skipped=3, deselected=9)


@pytest.mark.parametrize(
    ("modules", "arguments", "message"),
    [
        ([nn.Linear(2, 2)], {}, r"each must be a factory, .* but a module, Linear\(...\), was given"),
        (nn.Identity, {}, "modules must be a list of factories, but <class .*Identity'> was given"),
        ([nn.Identity], {"checks": "aliasing"}, r"not the string 'aliasing': write \['aliasing'\]"),
        ([5], {}, "each must be a factory, .* but 5 was given"),
        ([{"inputs": 5}], {}, "a dict of check_module's arguments with 'make'"),
        ([nn.Identity], {"checks": ["aliases"]}, "did you mean 'aliasing'"),
        ([nn.Identity], {"expected_failed": {"aliases": "why"}}, "did you mean 'aliasing'"),
        ([nn.Identity], {"expected_failed": {"aliasing": ""}}, "say why 'aliasing' fails"),
        ([nn.Identity], {"expected_failed": ["aliasing"]}, "must be a dict of checks and reasons"),
        ([nn.Identity], {"ignore": registry.names()}, "leave no check to run"),
        ([pytest.param(nn.Identity, 3)], {}, "takes one module here, but 2 values"),
    ],
)
def test_bad_arguments_are_refused_by_name(modules, arguments, message):
    with pytest.raises(UsageError, match=message):
        parametrize_with_checkpoint_checks(modules, **arguments)


def test_a_test_without_room_for_a_check_is_refused():
    with pytest.raises(UsageError, match="must take a module and a check"):
        parametrize_with_checkpoint_checks([nn.Identity])(lambda module: module)


def test_a_check_works_without_the_plugin():
    @parametrize_with_checkpoint_checks([nn.Identity], checks=["aliasing"])
    def marked(module, check):
        """Not run: what it is parametrised with is looked at."""

    (case,) = cast("Any", marked).pytestmark[0].args[1]
    make, check = case.values
    assert check(make).checks == ("aliasing",)
    assert check().ok


# -------------------------------------------------------------------------------------------------- without a test file


def test_modules_without_a_test_file(run):
    result = run(
        *(f"--ckpt-module=models:{name}" for name in ("pair", "Twice", "Bad", "wrong", "listed", "nothing", "broken")),
        "--ckpt-module=no_such_package.models:Net",
        models=MODELS,
        test_other="def test_other(): pass",
    )
    result.assert_outcomes(passed=2, failed=6)
    text = result.stdout.str()
    result.stdout.fnmatch_lines_random(
        [
            "*_ models:Bad _*",
            "Bad (cpu->cpu torch_zip): 2 findings, 2 entries in the state_dict",
            "*make is a module, a Sound: give something that builds a fresh one each time*",
            "*models:listed.ckpt_arguments must be a dict with arguments of check_module*",
            "*--ckpt-module models:nothing: there is no 'nothing' in models *",
            "make() raised ValueError: no weights (at *models.py:* in broken): it must build a module *",
            "*cannot import no_such_package.models (ModuleNotFoundError: No module named 'no_such_package')*",
            "cpu->cpu torch_zip: 3 real",
        ]
    )
    assert "Traceback" not in text
    assert "items.py" not in text
    assert "test_other" not in text


def test_modules_of_the_ini_file_come_beside_the_tests(run):
    files = {"models": MODELS, "test_other": "def test_other(): pass"}
    run(ini="ckpt_module = models:pair models:Twice", **files).assert_outcomes(passed=3)
    run("test_other.py", "--ckpt-module=models:pair", **files).assert_outcomes(passed=2)
    run("--ckpt-module=models:pair", "--ckpt-module=models:pair", **files).assert_outcomes(passed=1)
    run("--ckpt-module=models:pair", "--ckpt-module=models:Bad", "-k", "pair", **files).assert_outcomes(
        passed=1, deselected=1
    )


@pytest.mark.parametrize("target", ["models", "models.Net", "models:", ":Net", "a b:Net", "models.py:Net()"])
def test_a_target_of_another_form_stops_the_session(run, target):
    result = run(f"--ckpt-module={target}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --ckpt-module: * is not of the form package.module:factory*"])


# -------------------------------------------------------------------------------------------------------------- markers

MARKED = f"""{NET}
import pytest

pytestmark = pytest.mark.ckpt(checks=["aliasing", "tie-broken"])

def test_of_the_module(ckpt_roundtrip):
    assert ckpt_roundtrip(Sound, X).checks == ("tie-broken", "aliasing")

@pytest.mark.ckpt(ignore=["aliasing"], devices=["cpu"])
class TestIt:
    def test_both(self, ckpt_roundtrip):
        assert ckpt_roundtrip(Sound, X).checks == ("tie-broken",)

    @pytest.mark.ckpt(checks=["mode-changed"])
    def test_the_nearest(self, ckpt_roundtrip):
        assert ckpt_roundtrip(Sound, X).checks == ("mode-changed",)

def test_a_call_comes_first(ckpt_roundtrip):
    assert ckpt_roundtrip(Sound, X, checks=["mode-changed"]).checks == ("mode-changed",)

def test_nothing_left_of_strictness(ckpt_strict):
    ckpt_strict(Sound)

@pytest.mark.ckpt(checks=["strictness"])
def test_strictness(ckpt_strict):
    assert ckpt_strict(Sound).checks == ("strictness",)

@pytest.mark.ckpt(checks=["strictness"])
def test_lenient(ckpt_strict):
    ckpt_strict(Sound, load_state=lambda module, state: module.load_state_dict(state, strict=False) and None)

@pytest.mark.ckpt(device="cpu")
def test_unknown(ckpt_roundtrip):
    pass

@pytest.mark.ckpt(checks=["aliases"])
def test_misspelt(ckpt_roundtrip):
    pass
"""


def test_markers_have_settings_for_single_tests(run):
    result = run("--strict-markers", "--ckpt-checks=unsaved-state", test_it=MARKED)
    result.assert_outcomes(passed=5, failed=1, errors=2, skipped=1)
    result.stdout.fnmatch_lines_random(
        [
            "*mark.ckpt takes the keywords devices, formats, checks, ignore, *; it was given device='cpu'*",
            "*there is no check named 'aliases': did you mean 'aliasing'*",
            "*strictness  linear.weight*",
        ]
    )
    assert "strict.py" not in result.stdout.str()


def test_the_marker_is_listed(run):
    run("--markers").stdout.fnmatch_lines(["@pytest.mark.ckpt(devices=, formats=, checks=, ignore=): *"])


# ----------------------------------------------------------------------------------------------------------- odd suites

ODD = f"""{NET}
import asyncio
import unittest
import pytest
from pytest_ckpt import parametrize_with_checkpoint_checks

@pytest.mark.anyio
async def test_anyio(ckpt_roundtrip, ckpt_strict):
    await asyncio.sleep(0)
    assert ckpt_roundtrip(Sound, X).ok
    assert ckpt_strict(Sound, checks=["strictness"]).ok

@pytest.fixture
def anyio_backend():
    return "asyncio"

class TestUnittest(unittest.TestCase):
    @pytest.fixture(autouse=True)
    def checkpoint(self, ckpt_strict):
        self.strict = ckpt_strict

    def test_it(self):
        self.assertTrue(self.strict(Sound).ok)

class TestClass:
    @parametrize_with_checkpoint_checks([(Sound, X)], checks=["aliasing", "unsaved-state"])
    def test_method(self, module, check):
        check(module)
"""


def test_workers_a_read_only_folder_and_async_tests(pytester):
    """One run in processes of its own, for all that an odd test suite may bring together."""
    pytest.importorskip("xdist")
    pytest.importorskip("anyio")
    pytester.makepyfile(test_odd=ODD, models=MODELS)
    pytester.path.chmod(0o555)
    try:
        result = pytester.runpytest_subprocess(
            "-n2", "-v", "-p", "no:cacheprovider", CPU, "test_odd.py", "--ckpt-module=models:pair"
        )
        alone = pytester.runpytest_subprocess("-n1", "-p", "no:cacheprovider", CPU, "--ckpt-module=models:pair")
    finally:
        pytester.path.chmod(0o755)
    result.assert_outcomes(passed=5)
    alone.assert_outcomes(passed=1)
    ours = {path.name for path in pytester.path.iterdir() if not path.name.startswith(("runpytest-", "__pycache__"))}
    assert ours == {"test_odd.py", "models.py", "stdout", "stderr"}
