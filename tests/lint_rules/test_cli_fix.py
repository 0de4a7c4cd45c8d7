"""Fixing files: what is written, and what is left as it was."""

from __future__ import annotations

import codecs
import json
import shutil
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from lint_rules import fixes
from lint_rules.cli import main
from lint_rules.rule import Edit

if TYPE_CHECKING:
    from click.testing import Result

FAULTY = """\
import torch
from torch import nn

model = nn.Linear(1, 1)
model.load_state_dict("a.pt")  # the weights
state = torch.load("b.pt", "cpu")
"""
SAFELY_FIXED = FAULTY.replace('"a.pt"', 'torch.load("a.pt", map_location="cpu", weights_only=True)')
ODD = {
    "crlf": FAULTY.replace("\n", "\r\n").encode(),
    "cr": FAULTY.replace("\n", "\r").encode(),
    "bom": codecs.BOM_UTF8 + FAULTY.encode(),
    "latin-1": ("# coding: latin-1\n" + FAULTY.replace("the weights", "les poids, été")).encode("latin-1"),
    "mixed": FAULTY.replace("\n", "\r\n", 3).encode(),
    "no-final-newline": FAULTY.rstrip("\n").encode(),
    "odd-characters": FAULTY.replace("the weights", "\x0c 权重 \u2028").encode(),
}
FIXED = SAFELY_FIXED.replace('"b.pt", "cpu"', '"b.pt", "cpu", weights_only=True')


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def lint(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


def test_safe_fixes_are_applied_and_the_rest_reported():
    Path("a.py").write_text(FAULTY)

    made = lint("--fix", "--output-format", "concise")

    assert Path("a.py").read_text() == SAFELY_FIXED
    assert made.exit_code == 1
    assert made.stdout.splitlines() == [
        made.stdout.splitlines()[0],
        "Fixed 1 finding.",
        "Found 1 finding in 1 of 1 file.",
        "1 can be fixed with --fix --unsafe-fixes.",
    ]
    assert made.stdout.startswith("a.py:6:9: CKP301")


def test_unsafe_fixes_are_applied_where_they_are_asked_for():
    Path("a.py").write_text(FAULTY)

    assert lint("--fix", "--unsafe-fixes").exit_code == 0
    assert Path("a.py").read_text() == FIXED


def test_unsafe_fixes_alone_change_nothing():
    Path("a.py").write_text(FAULTY)

    made = lint("--unsafe-fixes")

    assert "warning: --unsafe-fixes does nothing without --fix or --diff" in made.stderr
    assert Path("a.py").read_text() == FAULTY


def test_fixing_again_changes_nothing():
    Path("a.py").write_text(FAULTY)
    lint("--fix", "--unsafe-fixes")
    written = Path("a.py").stat().st_mtime_ns

    made = lint("--fix", "--unsafe-fixes")

    assert Path("a.py").stat().st_mtime_ns == written
    assert "Fixed" not in made.stdout


def test_a_silenced_finding_is_not_fixed():
    silenced = FAULTY.replace("# the weights", "# noqa: CKP101")
    Path("a.py").write_text(silenced)

    lint("--fix")

    assert Path("a.py").read_text() == silenced


def test_a_missing_import_is_added_once():
    text = "from torch import nn\n\nmodel = nn.Linear(1, 1)\n" + 'model.load_state_dict("a.pt")\n' * 2
    Path("a.py").write_text(text)

    assert lint("--fix").exit_code == 0
    assert Path("a.py").read_text().count("import torch\n") == 1


@pytest.mark.parametrize("data", ODD.values(), ids=ODD)
def test_bytes_that_no_fix_concerns_stay(data):
    Path("a.py").write_bytes(data)

    lint("--fix")

    fixed = data.replace(b'"a.pt"', b'torch.load("a.pt", map_location="cpu", weights_only=True)')
    assert Path("a.py").read_bytes() == fixed


def test_the_mode_and_the_link_stay():
    real = Path("real.py")
    real.write_text(FAULTY)
    real.chmod(0o750)
    Path("link.py").symlink_to(real)

    lint("link.py", "--fix", "--no-cache")

    assert Path("link.py").is_symlink()
    assert real.read_text() == SAFELY_FIXED
    assert stat.S_IMODE(real.stat().st_mode) == 0o750
    assert sorted(path.name for path in Path().iterdir()) == ["link.py", "real.py"]


def test_notebook_cells_are_fixed_and_nothing_else():
    output = {"output_type": "stream", "name": "stdout", "text": ["π\n"]}
    cells: list[dict[str, Any]] = [
        {"cell_type": "markdown", "metadata": {"a": 1.50}, "source": ["# Title"]},
        {"cell_type": "code", "source": ["%matplotlib inline\n", "from torch import nn\n", "m = nn.Linear(1, 1)"]},
        {"cell_type": "code", "source": ["%%time\n", "m.load_state_dict('a.pt')"], "outputs": [output]},
        {"cell_type": "code", "source": "m.load_state_dict('b.pt')", "outputs": [], "execution_count": 3},
    ]
    Path("n.ipynb").write_text(json.dumps({"cells": cells, "nbformat": 4}, indent=2, ensure_ascii=False))

    assert lint("--fix").exit_code == 0

    fixed = json.loads(Path("n.ipynb").read_text())
    third = "".join(fixed["cells"][2].pop("source"))
    fourth = fixed["cells"][3].pop("source")
    assert third.startswith("%%time\n")
    assert third.count("import torch\n") == 1
    assert third.endswith("m.load_state_dict(torch.load('a.pt', map_location=\"cpu\", weights_only=True))")
    assert fourth == "m.load_state_dict(torch.load('b.pt', map_location=\"cpu\", weights_only=True))"
    for cell in cells[2:]:
        del cell["source"]
    assert fixed["cells"] == cells


def test_documents_are_fixed_in_place():
    text = "Loading\n\n* first\n\n  ```python\n  m = nn.Linear(1, 1)\n  m.load_state_dict('a.pt')\n  ```\n"
    Path("d.md").write_text(text)

    assert lint("--fix").exit_code == 0
    fixed = text.replace("'a.pt'", "torch.load('a.pt', map_location=\"cpu\", weights_only=True)")
    assert Path("d.md").read_text() == fixed


def test_a_diff_is_shown_and_nothing_is_written():
    Path("a.py").write_text(FAULTY)
    Path("clean.py").write_text("import torch\n")

    made = lint("--diff")

    assert made.exit_code == 1
    assert Path("a.py").read_text() == FAULTY
    assert made.stderr == "Would fix 1 finding.\n"
    assert made.stdout.splitlines()[:3] == ["--- a.py", "+++ a.py", "@@ -2,5 +2,5 @@"]
    assert '-model.load_state_dict("a.pt")  # the weights' in made.stdout.splitlines()
    assert len(lint("--diff", "--unsafe-fixes").stdout) > len(made.stdout)


def test_a_diff_is_a_patch_that_gives_what_fixing_gives():
    Path("a b").mkdir()
    Path("a b/a.md").write_text(f"```python\n{FAULTY}```\n")
    for name, data in ODD.items():
        Path(f"a b/{name}.py").write_bytes(data)
    shutil.copytree("a b", "fixed/a b")
    patch = lint("--diff", "--unsafe-fixes", "a b").stdout_bytes

    assert b"+++ a b/a.md\t\n" in patch  # the tab is how patch tells a name with a space
    subprocess.run(["git", "apply", "-p0", "--whitespace=nowarn"], input=patch, check=True)

    lint("--fix", "--unsafe-fixes", "fixed")
    for path in Path("a b").iterdir():
        assert path.read_bytes() == ("fixed" / path).read_bytes() != ODD.get(path.stem)


def test_a_diff_writes_nothing_even_with_fix():
    Path("a.py").write_text(FAULTY)

    assert lint("--fix", "--diff").exit_code == 1
    assert Path("a.py").read_text() == FAULTY


def test_a_diff_exits_with_2_where_something_cannot_be_read():
    Path("a.py").write_text(FAULTY)
    Path("bad.py").write_text("def f(:\n")

    made = lint("--diff")

    assert made.exit_code == 2
    assert "--- a.py" in made.stdout


def test_a_diff_of_nothing_exits_with_0():
    Path("a.py").write_text('import torch\n\nstate = torch.load("b.pt", "cpu")\n')

    made = lint("--diff")

    assert (made.exit_code, made.stdout) == (0, "")
    assert made.stderr == "No safe fixes; --unsafe-fixes shows 1 that may change meaning.\n"


def test_a_diff_says_where_the_last_line_has_no_end():
    Path("a.py").write_text('from torch import nn\nnn.Linear(1, 1).load_state_dict("a.pt")')

    assert lint("--diff").stdout.count("\\ No newline at end of file") == 2


@pytest.mark.parametrize(("name", "frame"), [("a.py", "{}"), ("a.md", "```python\n{}```\n")])
def test_a_fix_that_would_not_parse_is_not_written(monkeypatch, name, frame):
    text = frame.format(FAULTY)
    Path(name).write_text(text)
    plan = fixes.plan

    def spoil(text, findings, *, unsafe):
        made = plan(text, findings, unsafe=unsafe)
        edits = tuple(Edit(each.line, each.column, each.end_line, each.end_column, "((") for each in made.edits)
        return fixes.Plan(edits, made.applied)

    monkeypatch.setattr(fixes, "plan", spoil)
    made = lint("--fix")

    assert made.exit_code == 2
    assert Path(name).read_text() == text
    assert made.stderr.startswith(f"error: {name}: the fix of CKP101 would spoil the file")
    assert "CKP101" in made.stdout


def test_fixes_that_undo_each_other_come_to_an_end(monkeypatch):
    Path("a.py").write_text(FAULTY)

    def again(text, findings, *, unsafe):
        return fixes.Plan((Edit(1, 1, 1, 1, "#\n"),), tuple(findings))

    monkeypatch.setattr(fixes, "plan", again)
    lint("--fix")

    assert Path("a.py").read_text() == "#\n" * 10 + FAULTY


def test_a_file_that_changed_meanwhile_is_not_overwritten(monkeypatch):
    Path("a.py").write_text(FAULTY)
    plan = fixes.plan

    def meddle(*arguments, **keywords):
        Path("a.py").write_text("someone else's\n")
        return plan(*arguments, **keywords)

    monkeypatch.setattr(fixes, "plan", meddle)
    made = lint("--fix")

    assert made.exit_code == 2
    assert Path("a.py").read_text() == "someone else's\n"
    assert "error: a.py: the fixes cannot be written (it was changed by someone else in the meantime)" in made.stderr


def test_a_failing_write_leaves_the_file(monkeypatch):
    Path("a.py").write_text(FAULTY)

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    made = lint("--fix", "--no-cache")

    assert made.exit_code == 2
    assert Path("a.py").read_text() == FAULTY
    assert [path.name for path in Path().iterdir()] == ["a.py"]
    assert "the fixes cannot be written (No space left on device)" in made.stderr
    assert "Fixed" not in made.stdout
    assert made.stdout.startswith("a.py:5:1: CKP101 ")


def test_a_write_protected_file_is_left(monkeypatch):
    Path("a.py").write_text(FAULTY)
    monkeypatch.setattr("os.access", lambda *_: False)

    made = lint("--fix")

    assert made.exit_code == 2
    assert Path("a.py").read_text() == FAULTY
    assert "write-protected" in made.stderr
