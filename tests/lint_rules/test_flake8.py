"""The plugin, run by flake8 itself."""

from __future__ import annotations

import subprocess
import sys

import pytest

from lint_rules import registry

FAULTY = """\
import torch
from torch import nn

name = "\N{GREEK SMALL LETTER ALPHA}"
model = nn.Linear(1, 1)
model.load_state_dict("model.pt")
state = torch.load("model.pt", weights_only=False)
if True: model.load_state_dict("again.pt")  # noqa: CKP101
"""
ALL = ["CKP101 6:1", "CKP303 7:9"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("flake8")
    (folder / "load.py").write_text(FAULTY, encoding="utf-8")
    (folder / "plain.py").write_text("x = 1\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def flake8(folder):
    def run(*arguments, text=None):
        form = ["--format=%(code)s %(row)d:%(col)d", "--jobs=1"]
        command = [sys.executable, "-m", "flake8", *form, *(arguments or ["--isolated", "--select=CKP", "load.py"])]
        done = subprocess.run(
            command, cwd=folder, input=text, capture_output=True, encoding="utf-8", check=False, timeout=120
        )
        assert not done.stderr, done.stderr
        return done.stdout.splitlines()

    return run


def test_the_rules_that_are_on_by_default_run_without_being_asked_for(flake8):
    assert [line for line in flake8("--isolated", ".") if line.startswith("CKP")] == ALL


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--select=CKP1"], ["CKP101 6:1"]),
        (["--select=CKP", "--ignore=CKP101,CKP302,CKP001"], ["CKP303 7:9"]),
        (["--extend-select=CKP302", "--select=CKP3"], ["CKP302 7:9", "CKP303 7:9"]),
        (["--select=CKP1", "--disable-noqa"], ["CKP101 6:1", "CKP101 8:10"]),
        (["--select=CKP1", "--per-file-ignores=load.py:CKP101"], []),
    ],
)
def test_its_own_options_choose(flake8, arguments, expected):
    assert flake8("--isolated", *arguments, "load.py") == expected


def test_standard_input(flake8):
    assert flake8("--isolated", "--select=CKP1", "-", text=FAULTY) == ["CKP101 6:1"]


def test_a_file_that_cannot_be_parsed_is_reported_by_flake8_alone(flake8):
    assert flake8("--isolated", "--select=CKP,E9", "-", text=f"{FAULTY}def (:\n") == ["E999 9:6"]


def test_what_a_rule_means_is_read_from_the_projects_settings(flake8, folder):
    text = 'import torch\ntorch.load("model.pt", map_location="cpu")\n'
    assert flake8("--isolated", "--select=CKP", "-", text=text) == ["CKP301 2:1"]
    pyproject = folder / "pyproject.toml"
    pyproject.write_text('[tool.ckpt-lint]\ntarget-torch = "2.6"\n', encoding="utf-8")
    try:
        assert flake8("--isolated", "--select=CKP", "-", text=text) == []
        pyproject.write_text("[tool.ckpt-lint]\ntarget-torch = 26\n", encoding="utf-8")
        assert flake8("--isolated", "--select=CKP", "-", text=text) == ["CKP301 2:1"]
    finally:
        pyproject.unlink()


def test_flake8_knows_no_rule_that_there_is_not():
    from lint_rules.flake8_plugin import Plugin

    class Parser:
        def extend_default_ignore(self, codes):
            self.off = codes

    parser = Parser()
    Plugin.add_options(parser)
    assert parser.off == [rule.code for rule in registry.all_rules() if not rule.default]
    assert "CKP302" in parser.off
