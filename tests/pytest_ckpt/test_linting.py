"""`pytest --ckpt-lint`, in sessions of its own."""

from __future__ import annotations

import pytest

from tests.pytest_ckpt.test_plugin import QUICK

FAULTY = "import torch\nfrom torch import nn\n\nmodel = nn.Linear(1, 1)\nmodel.load_state_dict('model.pt')\n"


@pytest.fixture
def project(pytester):
    pytester.makepyfile(load=FAULTY, plain="x = 1\n", test_a="def test_a(): pass\n")
    pytester.makefile(".md", page=f"# Load\n\n```python\n{FAULTY}```\n")
    pytester.makefile(".txt", notes="nothing to lint")
    pytester.makeini("[pytest]\naddopts = --strict-markers\n")
    return pytester


def test_each_file_is_a_test(project):
    result = project.runpytest_inprocess(*QUICK, "--ckpt-lint", "-v")
    result.assert_outcomes(passed=3, failed=2)
    result.stdout.fnmatch_lines_random(
        [
            "load.py::ckpt-lint FAILED*",
            "page.md::ckpt-lint FAILED*",
            "plain.py::ckpt-lint PASSED*",
            "test_a.py::ckpt-lint PASSED*",
            "test_a.py::test_a PASSED*",
        ]
    )
    result.stdout.fnmatch_lines_random(["*___ ckpt-lint load.py ___*", "*___ ckpt-lint page.md ___*"])
    result.stdout.fnmatch_lines(["load.py:5:1: CKP101 [[]*[]] load-state-dict-path:*", "*model.load_state_dict(*"])
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*linting.py*")


def test_they_can_be_chosen(project):
    project.runpytest_inprocess(*QUICK, "--ckpt-lint", "-m", "ckpt_lint").assert_outcomes(
        passed=2, failed=2, deselected=1
    )
    project.runpytest_inprocess(*QUICK, "--ckpt-lint", "page.md").assert_outcomes(failed=1)


def test_without_the_option_there_are_none(project):
    project.runpytest_inprocess(*QUICK).assert_outcomes(passed=1)


def test_settings_are_those_of_the_command(project):
    table = '[tool.ckpt-lint]\nexclude = ["page.md"]\n[tool.ckpt-lint.per-file-ignores]\n"load.py" = ["CKP101"]\n'
    project.makepyprojecttoml(table)
    project.runpytest_inprocess(*QUICK, "--ckpt-lint").assert_outcomes(passed=4)


def test_settings_that_cannot_be_used_stop_the_session(project):
    project.makepyprojecttoml('[tool.ckpt-lint]\nignroe = ["CKP101"]\n')
    result = project.runpytest_inprocess(*QUICK, "--ckpt-lint")
    assert result.ret != pytest.ExitCode.OK
    (result.stderr if "ignroe" in result.stderr.str() else result.stdout).fnmatch_lines(["*--ckpt-lint: *ignroe*"])


def test_a_file_that_cannot_be_linted_fails(project):
    project.makepyfile(load="import torch\ntorch.load(\n")
    result = project.runpytest_inprocess(*QUICK, "--ckpt-lint", "-k", "load")
    result.assert_outcomes(failed=1, deselected=4)
    result.stdout.fnmatch_lines(["*error: *load.py*not valid Python*"])


def test_a_file_that_cannot_be_read_fails_without_a_traceback(project):
    project.makeconftest("from pathlib import Path\n\ndef pytest_collection_finish(): Path('load.py').unlink()\n")
    result = project.runpytest_inprocess(*QUICK, "--ckpt-lint")
    result.assert_outcomes(passed=4, failed=2)
    result.stdout.fnmatch_lines(["error: load.py: there is no such file or folder*"])
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*linting.py*")


def test_a_test_that_leaves_the_folder_changes_nothing(project):
    project.mkdir("elsewhere")
    project.makepyprojecttoml('[tool.ckpt-lint.per-file-ignores]\n"/*.*" = ["CKP101"]\n')
    project.makeconftest("import os\n\ndef pytest_collection_finish(): os.chdir('elsewhere')\n")
    project.runpytest_inprocess(*QUICK, "--ckpt-lint").assert_outcomes(passed=6)


def test_workers_of_xdist_share_the_files(project):
    pytest.importorskip("xdist")
    result = project.runpytest_subprocess(*QUICK, "--ckpt-lint", "-n2")
    result.assert_outcomes(passed=3, failed=2)
