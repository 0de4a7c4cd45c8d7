"""The cache: what it saves, what it must never hide, and what becomes of it when something goes wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from lint_rules import cache as cache_module
from lint_rules import checker, pool, prefilter
from lint_rules.cache import FOLDER, Cache
from lint_rules.cli import main

if TYPE_CHECKING:
    from click.testing import Result

FAULTY = "import torch\n\nstate = torch.load('a.pt')\n"


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def work(monkeypatch):
    """Note what is looked through by the prefilter, and what by the rules."""
    seen: list[str] = []
    wanted = prefilter.wanted

    def filtering(data, rules):
        seen.append("prefilter")
        return wanted(data, rules)

    def checking(job):
        seen.append(job.path)
        return checker.check(job)

    monkeypatch.setattr(prefilter, "wanted", filtering)
    monkeypatch.setattr(pool, "check", checking)
    return seen


def lint(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


def the_file() -> Path:
    (path,) = Path(FOLDER).glob("*.json")
    return path


def test_the_second_run_does_no_work_and_says_the_same(work):
    Path("a.py").write_text(FAULTY)
    Path("n.ipynb").write_text(json.dumps({"cells": [{"cell_type": "code", "source": FAULTY}]}))
    Path("plain.py").write_text("x = 1\n")
    first = lint()
    assert sorted(work) == ["a.py", "n.ipynb", "prefilter", "prefilter", "prefilter"]
    work.clear()

    second = lint()

    assert work == []
    assert (second.exit_code, second.stdout, second.stderr) == (first.exit_code, first.stdout, first.stderr)
    assert "torch.load('a.pt')" in second.stdout
    assert lint("--no-cache").stdout == first.stdout
    assert lint("--output-format", "github").stdout == lint("--output-format", "github", "--no-cache").stdout


def test_only_what_changed_is_linted_again(work):
    Path("a.py").write_text(FAULTY)
    Path("b.py").write_text(FAULTY + "# another\n")
    lint()
    Path("a.py").write_text(FAULTY.replace("'a.pt'", "'a.pt', weights_only=True, map_location='cpu'"))
    work.clear()

    made = lint("--output-format", "concise")

    assert work == ["prefilter", "a.py"]
    assert "a.py" not in made.stdout
    assert made.stdout.count("b.py") == 2


def test_a_copy_and_a_moved_file_are_known_by_their_content(work):
    Path("a.py").write_text(FAULTY)
    lint()
    Path("a.py").rename("moved.py")
    Path("copy.py").write_text(FAULTY)
    work.clear()

    made = lint("--output-format", "concise")

    assert work == []
    assert [line.partition(":")[0] for line in made.stdout.splitlines()[:4]] == ["copy.py"] * 2 + ["moved.py"] * 2


def test_what_a_file_is_called_counts_where_it_says_what_it_is():
    Path("a.py").write_text(FAULTY)
    assert lint().exit_code == 1
    Path("a.py").rename("a.md")

    assert lint().exit_code == 0


@pytest.mark.parametrize(
    ("setting", "left"),
    [
        ('ignore = ["CKP301"]', {"CKP303"}),
        ('select = ["CKP301"]', {"CKP301"}),
        ('per-file-ignores = { "a.py" = ["CKP303"] }', {"CKP301"}),
        ('target-torch = "2.6"', {"CKP303"}),
        ('target-torch = "2.6"\nstrict-guard = true', {"CKP301", "CKP303"}),
    ],
)
def test_settings_count(setting, left):
    Path("a.py").write_text(FAULTY)
    assert lint().exit_code == 1
    Path("pyproject.toml").write_text(f"[tool.ckpt-lint]\n{setting}\n")

    for _ in range(2):
        found = json.loads(lint("--output-format", "json").stdout)
        assert {record["code"] for record in found} == left


def test_another_version_of_the_linter_starts_afresh(work, monkeypatch):
    Path("a.py").write_text(FAULTY)
    lint()
    for number in range(9):
        monkeypatch.setattr(cache_module, "_version", lambda number=number: f"other{number}")
        work.clear()
        lint()
        assert work == ["prefilter", "a.py"]

    assert len(list(Path(FOLDER).glob("*.json"))) <= 5
    work.clear()
    lint()
    assert work == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: b"",
        lambda data: data[:-10],
        lambda data: data.replace(b"CKP301", b"CKP302"),
        lambda data: b"\xff\x00" * 100,
        lambda data: data.partition(b"\n")[2],
        lambda data: cache_module._digest(b"[]") + b"\n[]",
        lambda data: cache_module._digest(b"{}") + b"\n" + b"[" * 100_000,
    ],
    ids=["empty", "cut", "changed", "noise", "no-digest", "list", "deep"],
)
def test_a_corrupt_cache_is_not_believed_and_mended(spoil, work):
    Path("a.py").write_text(FAULTY)
    first = lint()
    the_file().write_bytes(spoil(the_file().read_bytes()))
    work.clear()

    assert lint().stdout == first.stdout
    assert work == ["prefilter", "a.py"]
    work.clear()
    assert lint().stdout == first.stdout
    assert work == []


def test_entries_that_make_no_sense_are_not_believed(work):
    Path("a.py").write_text(FAULTY)
    first = lint()
    entries = json.loads(the_file().read_bytes().partition(b"\n")[2])
    body = json.dumps(
        {key: value if value and value[0] == "CKP301" else [[1]] for key, value in entries.items()}
    ).encode()
    the_file().write_bytes(cache_module._digest(body) + b"\n" + body)
    work.clear()

    assert lint().stdout == first.stdout
    assert work == ["a.py"]


def test_no_cache_neither_reads_nor_writes(work):
    Path("a.py").write_text(FAULTY)

    lint("--no-cache")
    assert not Path(FOLDER).exists()
    lint()
    work.clear()
    lint("--no-cache")
    assert work == ["prefilter", "a.py"]


def test_problems_are_reported_every_time():
    Path("bad.py").write_text("import torch\ntorch.load(\n")
    Path("text.py").write_bytes(b"# \xff\n")
    Path("tiny.py").write_text("def f(:\n")
    Path("n.ipynb").write_text(json.dumps({"cells": [{"cell_type": "code", "source": "torch.load(("}]}))
    first = lint()

    assert first.stderr.count("\n") == 4
    assert (lint().exit_code, lint().stderr) == (2, first.stderr)


def test_fixing_uses_what_is_known_and_remembers_nothing_wrong(work):
    fixable = "from torch import nn\nnn.Linear(1, 1).load_state_dict('a.pt')\n"
    Path("a.py").write_text(fixable)
    Path("b.py").write_text("import torch\ntorch.load('a.pt', 'cpu', weights_only=True)\n")
    lint()
    work.clear()

    made = lint("--fix")

    assert work == ["a.py"]
    assert made.exit_code == 0
    Path("a.py").write_text(fixable)
    assert lint().exit_code == 1


def test_it_tells_git_and_backups_to_leave_it_out():
    Path("a.py").write_text(FAULTY)
    lint()

    assert Path(FOLDER, ".gitignore").read_text().splitlines()[-1] == "*"
    assert Path(FOLDER, "CACHEDIR.TAG").read_text().startswith("Signature: 8a477f597d28d172789f06886806bc55")
    assert all(name.startswith(FOLDER) for name in map(str, Path().rglob(".gitignore")))


def test_it_stands_beside_the_settings(monkeypatch):
    Path("pyproject.toml").write_text("[tool.ckpt-lint]\n")
    Path("inner").mkdir()
    Path("inner/a.py").write_text(FAULTY)
    monkeypatch.chdir("inner")

    lint()

    assert Path("..", FOLDER).is_dir()
    assert not Path(FOLDER).exists()


@pytest.mark.parametrize("obstacle", ["file", "error"])
def test_where_it_cannot_be_written_the_run_does_without(obstacle, monkeypatch):
    Path("a.py").write_text(FAULTY)
    if obstacle == "file":
        Path(FOLDER).write_text("in the way")
    else:

        def refuse(*_, **__):
            raise OSError(30, "Read-only file system")

        monkeypatch.setattr(Path, "mkdir", refuse)

    made = lint()

    assert made.exit_code == 1
    assert made.stderr == ""
    assert not Path(FOLDER).is_dir()


def test_standard_input_leaves_no_trace():
    made = CliRunner().invoke(main, ["-"], input=FAULTY)

    assert made.exit_code == 1
    assert not Path(FOLDER).exists()


def test_two_runs_that_write_at_once_keep_what_both_have_found():
    one, other = Cache(Path()), Cache(Path())
    one.put("a", ["CKP301"])
    other.put("b", ["CKP303"])
    one.save()
    other.save()

    both = Cache(Path())
    assert (both.get("a"), both.get("b")) == (["CKP301"], ["CKP303"])


def test_many_runs_at_once_agree():
    for number in range(30):
        Path(f"a{number}.py").write_text(FAULTY + f"# {number}\n")
    command = [sys.executable, "-m", "lint_rules", "--output-format", "json", "--jobs", "1"]

    def run(_):
        return subprocess.run(command, capture_output=True, check=False).stdout

    with ThreadPoolExecutor(4) as threads:
        outputs = set(threads.map(run, range(8)))

    assert len(outputs) == 1
    assert len(json.loads(outputs.pop())) == 60
    assert [path.suffix for path in Path(FOLDER).iterdir() if path.name.endswith(".tmp")] == []


def test_a_run_from_the_cache_imports_neither_a_rule_nor_libcst():
    Path("a.py").write_text(FAULTY)
    assert lint("a.py").exit_code == 1
    command = (
        "import sys\n"
        "from lint_rules.cli import main\n"
        "try: main(['a.py'])\n"
        "except SystemExit as stop: print(stop.code, 'libcst' in sys.modules, "
        "[name for name in sys.modules if name.startswith('lint_rules.rules.')])"
    )

    again = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)

    assert again.stdout.splitlines()[-1] == "1 False []"


def test_old_entries_make_room(monkeypatch):
    monkeypatch.setattr(cache_module, "_MOST", 3)
    first = Cache(Path())
    for key in "abc":
        first.put(key, [])
    first.save()
    second = Cache(Path())
    second.get("a")
    second.put("d", [])
    second.save()

    third = Cache(Path())
    assert [key for key in "abcd" if third.get(key) is not None] == ["a", "c", "d"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_tree_without_write_permission_is_linted():
    Path("a.py").write_text(FAULTY)
    Path().chmod(0o500)
    try:
        assert lint().exit_code == 1
    finally:
        Path().chmod(0o700)
