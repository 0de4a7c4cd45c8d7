"""The demonstration, run once as a user runs it."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def demo():
    """The demonstration's process, at its end: run by the command that `make demo` runs."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    command = re.search(r"^demo:.*\n\t@?\$\(BIN\)/python (.*)", makefile, re.MULTILINE)
    assert command is not None
    return subprocess.run(
        [sys.executable, *command[1].split()], cwd=ROOT, capture_output=True, encoding="utf-8", check=False
    )


def test_everything_goes_as_it_announces(demo):
    assert demo.stdout.rstrip().endswith("All of this went as announced. How to go on: README.md."), demo.stdout
    assert demo.stderr == ""
    assert demo.returncode == 0


def test_correct_models_pass(demo):
    passed = re.findall(r"^  (\w+): everything came back, (\d+) entries", demo.stdout, re.MULTILINE)
    assert [name for name, _ in passed] == ["ImageClassifier", "Tagger", "GPT2LMHeadModel", "GPT2LMHeadModel"]
    assert all(int(entries) > 10 for _, entries in passed)


@pytest.mark.parametrize(
    ("category", "key", "hint"),
    [
        ("unsaved-state", "scale", 'self.register_buffer("scale", ...)'),
        ("unsaved-submodule", "layers", "self.layers = nn.ModuleList(self.layers)"),
        ("nonpersistent-buffer", "running_mean", 'self.register_buffer("running_mean", ...) without persistent=False'),
    ],
)
def test_report_names_each_fault_and_says_what_to_type(demo, category, key, hint):
    row = rf"^  {category} +{key} .*\n      .*\n      hint: {re.escape(hint)}"
    assert re.search(row, demo.stdout, re.MULTILINE)


def test_linter_reports_the_faulty_scripts_alone(demo):
    found = re.findall(r"^(lint/\w+\.py):\d+:\d+: (CKP\d+)", demo.stdout, re.MULTILINE)
    assert sorted(set(found)) == [
        ("lint/evaluate.py", "CKP201"),
        ("lint/evaluate.py", "CKP301"),
        ("lint/predict.py", "CKP101"),
        ("lint/predict.py", "CKP201"),
    ]


def test_a_surprise_is_told_and_changes_the_exit_code(monkeypatch, capsys):
    models, demo = _example("models", monkeypatch), _example("demo", monkeypatch)
    monkeypatch.setattr(models, "Forecaster", models.Tagger)
    monkeypatch.setattr(models, "train_forecaster", None)
    monkeypatch.setattr("torch.randn", lambda *_: torch.randint(50, (2, 7)))
    for step in ("passing_round_trips", "pytest_fixture", "linter"):
        monkeypatch.setattr(demo, step, lambda _demo: None)

    assert demo.main() == 1
    assert "findings of Forecaster: expected" in capsys.readouterr().out


def _example(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    specification = importlib.util.spec_from_file_location(name, ROOT / "docs" / "examples" / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    monkeypatch.setitem(sys.modules, name, module)
    specification.loader.exec_module(module)
    return module
