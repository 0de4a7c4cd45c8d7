"""The plugin in pytest sessions of its own."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest

from pytest_ckpt import registry
from pytest_ckpt.legs import accelerator

NET = """
import torch
from torch import nn

X = torch.ones(2, 3)

class Sound(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3)

    def forward(self, x):
        return self.linear(x)

class Faulty(Sound):
    def __init__(self):
        super().__init__()
        self.offset = torch.randn(3)
        self.register_buffer("mask", torch.rand(3), persistent=False)

    def forward(self, x):
        return self.linear(x) * self.mask + self.offset
"""
TESTS = f"""{NET}
def test_sound(ckpt_roundtrip):
    report = ckpt_roundtrip(Sound, inputs=X)
    assert report.ok and report.subject == "Sound"

def test_faulty(ckpt_roundtrip):
    ckpt_roundtrip(Faulty, inputs=X)
"""
REPORT = [
    "*Faulty (cpu->cpu torch_zip): 2 findings, 2 entries in the state_dict",
    "*nonpersistent-buffer  mask *float32[[]3[]] * -> float32[[]3[]] *",
    '*hint: self.register_buffer("mask", ...) without persistent=False',
    "*unsaved-state         offset *",
    '*hint: self.register_buffer("offset", ...) instead of assigning self.offset',
    "*leg cpu->cpu torch_zip: real",
]
CPU = "--ckpt-devices=cpu"
QUICK = ["-p", "no:cacheprovider", "-p", "no:hypothesispytest"]  # that of Hypothesis imports it to write its summary
without_accelerator = pytest.mark.skipif(accelerator() is not None, reason="legs are real on this machine")


@pytest.fixture(scope="module", autouse=True)
def _loaded():
    """Import once what the sessions in this process need: pytester forgets what a session itself imports."""
    from pytest_ckpt import fixtures  # noqa: F401 -- imported for that alone

    for check in registry.all_checks():
        check.failing().report()


@pytest.fixture
def run(pytester):
    """Write a test file and run it in this process."""

    def run(source, *arguments, ini="", conftest=""):
        pytester.makepyfile(source)
        pytester.makeini(f"[pytest]\n{ini}")
        pytester.makeconftest(conftest)
        return pytester.runpytest_inprocess(*QUICK, *arguments)

    return run


def with_options(**expected):
    """Give a test that passes only if the report was made with certain settings."""
    lines = "\n    ".join(f"assert {name} == {value!r}" for name, value in expected.items())
    return f"""{NET}
def test_it(ckpt_roundtrip):
    report = ckpt_roundtrip(Sound, X)
    legs = [leg.leg for leg in report.legs]
    checks = list(report.checks)
    {lines}
"""


# --------------------------------------------------------------------------------------------------- pass, fail, report


def test_a_sound_module_passes_and_a_faulty_one_fails_with_the_report(run):
    result = run(TESTS, CPU)
    result.assert_outcomes(passed=1, failed=1)
    lines = [line.removeprefix("E").strip() for line in result.stdout.lines]
    for expected in ("Faulty (cpu->cpu torch_zip): 2 findings", "nonpersistent-buffer  mask", "unsaved-state"):
        assert any(expected in line for line in lines), result.stdout.str()
    result.stdout.fnmatch_lines_random(REPORT)


@pytest.mark.parametrize("style", ["auto", "long", "short", "line"])
def test_the_traceback_shows_the_users_line_and_the_report(run, style):
    result = run(TESTS, CPU, f"--tb={style}", "-k", "faulty")
    text = result.stdout.str()
    assert "2 findings" in text
    assert "roundtrip.py" not in text
    assert "fixtures.py" not in text
    assert "findings.py" not in text
    if style != "line":
        result.stdout.fnmatch_lines(["*ckpt_roundtrip(Faulty, inputs=X)*"])


def test_a_call_that_cannot_be_carried_out_is_one_message(run):
    result = run(f"{NET}\ndef test_it(ckpt_roundtrip):\n    ckpt_roundtrip(Sound, inputs=torch.ones(2, 5))\n", CPU)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*UsageError: forward of Sound raised RuntimeError*float32[[]2, 5[]]*"])
    text = result.stdout.str()
    assert "roundtrip.py" not in text
    assert "fixtures.py" not in text
    assert "During handling" not in text


@pytest.mark.parametrize("name", ["input", "check"])
def test_a_wrong_argument_is_one_message(run, name):
    result = run(f"{NET}\ndef test_it(ckpt_roundtrip):\n    ckpt_roundtrip(Sound, {name}=X)\n", CPU)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"E*check_module() got an unexpected keyword argument '{name}'*"])


def test_the_fixture_can_be_called_more_than_once(run):
    source = f"{NET}\ndef test_it(ckpt_roundtrip):\n    ckpt_roundtrip(Sound, X)\n    ckpt_roundtrip(Faulty, X)\n"
    result = run(source, CPU)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["cpu->cpu torch_zip: 2 real"])


def test_the_fixture_is_documented(run):
    result = run("", "--fixtures", "-v")
    result.stdout.fnmatch_lines(["ckpt_roundtrip*", "*Round-trip a module through save and load*"])


@pytest.mark.parametrize(
    "source",
    [
        """
class TestNet:
    def test_it(self, ckpt_roundtrip):
        assert ckpt_roundtrip(Sound, X).ok
""",
        """
import unittest
import pytest

class TestNet(unittest.TestCase):
    @pytest.fixture(autouse=True)
    def checkpoint(self, ckpt_roundtrip):
        self.roundtrip = ckpt_roundtrip

    def test_it(self):
        self.assertTrue(self.roundtrip(Sound, X).ok)
""",
        """
import unittest
import pytest

@pytest.mark.usefixtures("ckpt_roundtrip")
class TestNet(unittest.TestCase):
    def test_it(self):
        from pytest_ckpt import check_module
        check_module(Sound, X).raise_for_findings()
""",
        """
import pytest

@pytest.mark.parametrize("make", [Sound, pytest.param(Faulty, marks=pytest.mark.xfail(strict=True))])
def test_it(ckpt_roundtrip, make):
    ckpt_roundtrip(make, X)
""",
        """
import pytest
from pytest_ckpt import CheckpointError

def test_it(ckpt_roundtrip):
    with pytest.raises(CheckpointError) as caught:
        ckpt_roundtrip(Faulty, X)
    assert {one.key for one in caught.value.report.findings} == {"mask", "offset"}
""",
    ],
    ids=["class", "unittest", "usefixtures", "parametrized", "raises"],
)
def test_styles_of_tests(run, source):
    result = run(NET + source, CPU)
    assert result.ret == 0
    assert result.parseoutcomes()["passed"] == 1


# -------------------------------------------------------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("arguments", "ini", "expected"),
    [
        ([CPU], "", {"legs": ["cpu->cpu torch_zip"]}),
        ([], "ckpt_devices = cpu", {"legs": ["cpu->cpu torch_zip"]}),
        ([CPU], "ckpt_devices = cpu mps xpu", {"legs": ["cpu->cpu torch_zip"]}),
        (["--ckpt-devices=cpu,cpu"], "", {"legs": ["cpu->cpu torch_zip"]}),
        ([CPU, "--ckpt-checks=aliasing"], "", {"checks": ["aliasing"]}),
        ([CPU, "--ckpt-checks= aliasing , tie-broken "], "", {"checks": ["tie-broken", "aliasing"]}),
        ([CPU], "ckpt_checks = aliasing tie-broken", {"checks": ["tie-broken", "aliasing"]}),
        ([CPU], "ckpt_checks =\n  aliasing\n  tie-broken", {"checks": ["tie-broken", "aliasing"]}),
        ([CPU, "--ckpt-ignore=aliasing"], "ckpt_checks = aliasing tie-broken", {"checks": ["tie-broken"]}),
        ([CPU, "--ckpt-formats=torch_zip"], "", {"legs": ["cpu->cpu torch_zip"]}),
        ([CPU], "ckpt_formats = torch_zip", {"legs": ["cpu->cpu torch_zip"]}),
    ],
)
def test_flags_and_ini_options(run, arguments, ini, expected):
    run(with_options(**expected), *arguments, ini=ini).assert_outcomes(passed=1)


def test_devices_default_to_the_cpu_and_an_accelerator(run):
    device = accelerator() or "cuda"
    legs = [f"{saved}->{loaded} torch_zip" for saved in ("cpu", device) for loaded in ("cpu", device)]
    run(with_options(legs=legs)).assert_outcomes(passed=1)


def test_a_calls_own_arguments_come_before_options(run):
    source = f"""{NET}
def test_it(ckpt_roundtrip):
    report = ckpt_roundtrip(Sound, X, devices=["cpu"], checks=["aliasing"])
    assert [leg.leg for leg in report.legs] == ["cpu->cpu torch_zip"]
    assert report.checks == ("aliasing",)
"""
    run(source, "--ckpt-devices=cpu,mps", "--ckpt-checks=tie-broken").assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("argument", "ini", "text"),
    [
        ("--ckpt-checks=unsaved_state", "", "no check named 'unsaved_state': did you mean 'unsaved-state'?"),
        ("--ckpt-ignore=alias", "", "no check named 'alias': did you mean 'aliasing'?"),
        ("--ckpt-formats=torchzip", "", "no format 'torchzip': did you mean 'torch_zip'?"),
        ("-q", "ckpt_checks = unsaved_state", "no check named 'unsaved_state': did you mean 'unsaved-state'?"),
    ],
)
def test_an_unknown_name_stops_the_session_with_a_usage_error(run, argument, ini, text):
    result = run("def test_it(): pass", argument, ini=ini)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: *{text}*".replace("[", "[[]")])
    assert "Traceback" not in result.stderr.str() + result.stdout.str()


def test_an_unknown_device_fails_the_test_with_the_nearest(run):
    result = run(TESTS, "--ckpt-devices=cpu,cud", "-k", "sound")
    result.stdout.fnmatch_lines(["*there is no device 'cud': did you mean 'cuda'?*"])
    assert result.ret != 0


def test_options_are_explained(run):
    result = run("", "--help")
    for name in ("devices", "formats", "checks", "ignore"):
        result.stdout.fnmatch_lines([f"*--ckpt-{name}=NAMES*"])
        result.stdout.fnmatch_lines([f"*ckpt_{name} (args):*"])


# -------------------------------------------------------------------------------------------------------- summary lines


@without_accelerator
def test_the_summary_counts_legs(run):
    result = run(TESTS)
    result.stdout.fnmatch_lines(
        [
            "*= checkpoint legs =*",
            "cpu->cpu torch_zip: 2 real",
            "cpu->cuda torch_zip: 2 simulated (forward on stand-ins for tensors of cuda)",
            "cuda->cpu torch_zip: 2 simulated (saved on the CPU, tagged cuda:0)",
            "cuda->cuda torch_zip: 2 skipped (cuda is not available here: *)",
        ]
    )
    assert "test_the_summary_counts_legs.py::test_sound" not in result.stdout.str()


@without_accelerator
def test_the_summary_lists_each_test_when_verbose(run):
    result = run(TESTS, "-v", CPU)
    result.stdout.fnmatch_lines(
        [
            "*= checkpoint legs =*",
            "cpu->cpu torch_zip: 2 real",
            "*.py::test_*",
            "  cpu->cpu torch_zip: real",
            "*.py::test_*",
            "  cpu->cpu torch_zip: real",
        ]
    )
    listed = result.stdout.str().partition("checkpoint legs")[2].splitlines()
    assert {line.rpartition("::")[2] for line in listed if line.count("::") == 1} >= {"test_sound", "test_faulty"}


def test_a_session_without_round_trips_has_no_summary(run):
    result = run("def test_it(): pass", "-v")
    result.assert_outcomes(passed=1)
    assert "checkpoint legs" not in result.stdout.str()


def test_junit_has_legs_and_findings_as_properties(run, pytester):
    run(TESTS, CPU, "--junitxml=out.xml")
    assert junit(pytester.path / "out.xml") == {
        "test_sound": [("ckpt_leg", "cpu->cpu torch_zip: real")],
        "test_faulty": [
            ("ckpt_leg", "cpu->cpu torch_zip: real"),
            ("ckpt_finding", "nonpersistent-buffer: mask"),
            ("ckpt_finding", "unsaved-state: offset"),
        ],
    }


def junit(path):
    return {
        case.get("name"): sorted(
            ((one.get("name"), one.get("value")) for one in case.iter("property")),
            key=lambda pair: pair[0] != "ckpt_leg",
        )
        for case in ET.parse(path).iter("testcase")
    }


@without_accelerator
def test_workers_of_xdist_are_merged(pytester):
    """One run in processes of its own: summary, verbose list and JUnit file are those of one process."""
    pytest.importorskip("xdist")
    pytester.makepyfile(test_a=TESTS, test_b=TESTS)
    result = pytester.runpytest_subprocess("-n2", "-v", "--junitxml=out.xml", *QUICK)
    result.assert_outcomes(passed=2, failed=2)
    result.stdout.fnmatch_lines(
        [
            "*= checkpoint legs =*",
            "cpu->cpu torch_zip: 4 real",
            "cpu->cuda torch_zip: 4 simulated *",
            "cuda->cpu torch_zip: 4 simulated *",
        ]
    )
    text = result.stdout.str().partition("checkpoint legs")[2]
    for nodeid in (
        "test_a.py::test_sound",
        "test_a.py::test_faulty",
        "test_b.py::test_sound",
        "test_b.py::test_faulty",
    ):
        assert text.count(f"\n{nodeid}\n") == 1
    properties = junit(pytester.path / "out.xml")["test_faulty"]
    assert len([name for name, _ in properties if name == "ckpt_leg"]) == 4


# ----------------------------------------------------------------------------------------------------- what is not done

RECORD = """
import sys
from pathlib import Path

HEAVY = {"torch", "numpy", "hypothesis", "libcst", "safetensors", "pathspec", "click"}

def pytest_sessionfinish(session):
    worker = getattr(session.config, "workerinput", {"workerid": "main"})["workerid"]
    Path(session.config.rootpath, f"loaded-{worker}.txt").write_text(" ".join(sorted(HEAVY & set(sys.modules))))
"""


def test_a_session_that_uses_no_fixture_imports_nothing_heavy(pytester):
    """Hypothesis brings a plugin of its own, which imports it for those who use it; here nobody does."""
    pytester.makeconftest(RECORD)
    pytester.makepyfile("def test_a(): pass\ndef test_b(): pass\n")
    arguments = ["-n2"] if subprocess.run([sys.executable, "-c", "import xdist"], check=False).returncode == 0 else []
    result = pytester.runpytest_subprocess(*arguments, "-p", "no:hypothesispytest", "--ckpt-checks=aliasing", "-v")
    result.assert_outcomes(passed=2)
    loaded = {path.name: path.read_text() for path in pytester.path.glob("loaded-*.txt")}
    assert "loaded-main.txt" in loaded
    assert set(loaded.values()) == {""}


def test_nothing_is_written_where_pytest_was_started(run, pytester):
    run(TESTS, CPU)
    files = {path.name for path in pytester.path.iterdir() if path.name != "__pycache__"}
    pytester.path.chmod(0o555)
    try:
        result = pytester.runpytest_inprocess(*QUICK, CPU)
    finally:
        pytester.path.chmod(0o755)
    result.assert_outcomes(passed=1, failed=1)
    assert {path.name for path in pytester.path.iterdir() if path.name != "__pycache__"} == files


def test_a_warning_turned_into_an_error_is_not_ours(run):
    run(TESTS, "-W", "error", "-k", "sound").assert_outcomes(passed=1, deselected=1)


def test_the_plain_function_works_without_pytest():
    program = f"""{NET}
import sys
from pytest_ckpt import CheckpointError, check_module

assert check_module(Sound, X).ok
try:
    check_module(Faulty, X).raise_for_findings()
except CheckpointError as error:
    print(error)
assert "pytest" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.startswith("Faulty (cpu->cpu torch_zip): 2 findings")


def test_the_plugin_can_be_switched_off(run):
    result = run(
        "def test_it(request):\n    assert not request.config.pluginmanager.hasplugin('ckpt')", "-p", "no:ckpt"
    )
    result.assert_outcomes(passed=1)
