"""The example project in a repository of its own: it passes as it is, and each realistic change is caught by name."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

EXAMPLE = Path(__file__).parents[1] / "docs" / "examples" / "model_library"
ENCODER = "sequence_models/encoder.py"


@dataclass(frozen=True)
class Edit:
    """A change of the encoder, and what the tests must say of it: category and key, or nothing."""

    old: str
    new: str
    finding: tuple[str, str] | None


EDITS = {
    "rename": Edit("self.head", "self.classifier", ("key-mismatch", "classifier.weight")),
    "new buffer": Edit(
        "        self.drop =",
        '        self.register_buffer("scale", torch.full((width,), 2.0))\n        self.drop =',
        ("key-mismatch", "scale"),
    ),
    "dtype": Edit("torch.ones(width)", "torch.ones(width, dtype=torch.bfloat16)", ("dtype-changed", "gain")),
    "reordered layers": Edit("for layer in self.layers:", "for layer in self.layers[::-1]:", ("semantics", "layers.0")),
    "changed default": Edit("eps: float = 1e-5", "eps: float = 1e-3", ("semantics", "layers.0.norm.eps")),
    "dropout rate": Edit("nn.Dropout(0.1)", "nn.Dropout(0.3)", None),
    "comment": Edit("An encoder of", "The encoder of", None),
}


def git(folder: Path, *command: str) -> str:
    identity = ["-c", "user.name=maintainer", "-c", "user.email=maintainer@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *identity, *command], cwd=folder, capture_output=True, encoding="utf-8", check=True)
    return done.stdout


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    folder: Path = tmp_path_factory.mktemp("model_library") / "clone"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("__pycache__", ".pytest_cache", ".ckpt_lint_cache"))
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "As it is")
    return folder


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "COV_"))}
    plugins = ["-p", "no:cacheprovider", "-p", "no:hypothesispytest"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *plugins, *arguments],
        cwd=folder,
        env=clean | {"PYTHONDONTWRITEBYTECODE": "1", "GITHUB_ACTIONS": "", **environment},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


@pytest.fixture
def edited(repository: Path):
    """The repository with one change, which is taken back afterwards."""

    def edit(name: str) -> Path:
        path = repository / ENCODER
        text = path.read_text(encoding="utf-8")
        assert EDITS[name].old in text
        path.write_text(text.replace(EDITS[name].old, EDITS[name].new), encoding="utf-8")
        return repository

    yield edit
    git(repository, "checkout", "--quiet", ".")
    git(repository, "clean", "--quiet", "-fd")


def test_it_passes_as_it_is_and_nothing_is_written(repository):
    done = run(repository)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout
    assert "golden v1: 2 real" in done.stdout
    assert git(repository, "status", "--porcelain") == ""


@pytest.mark.parametrize("name", EDITS)
def test_a_change_is_caught_by_name(edited, name):
    folder, edit = edited(name), EDITS[name]
    done = run(folder, "--junitxml=report.xml", "-k", "old", GITHUB_ACTIONS="true")
    annotations = re.findall(r"^::error file=tests/test_encoder\.py,line=\d+,title=(.*?)::", done.stdout, re.MULTILINE)
    if edit.finding is None:
        assert done.returncode == 0, done.stdout
        assert annotations == []
        return
    category, key = edit.finding
    assert done.returncode == 1, done.stdout
    report = (folder / "report.xml").read_text(encoding="utf-8")
    assert f'<property name="ckpt_finding" value="{category}: {key}" />' in report
    assert re.search(rf"^E +{category} +{re.escape(key)} ", done.stdout, re.MULTILINE), done.stdout
    assert annotations
    assert all(title.startswith(f"{category}%3A ") for title in annotations)
    assert git(folder, "status", "--porcelain").split() == ["M", ENCODER, "??", "report.xml"]


def test_the_migration_that_a_failing_golden_prints_mends_it(edited):
    folder = edited("rename")
    output = run(folder, "-k", "old", "--tb=short").stdout
    printed = [line[1:] for line in output.splitlines() if line.startswith("E")]
    start = next(at for at, line in enumerate(printed) if "def _migrate(" in line)
    end = next(at for at in range(start, len(printed)) if "register_load_state_dict_pre_hook" in printed[at])
    margin = len(printed[start]) - len(printed[start].lstrip())
    *hook, _comment, register = [line[margin:] for line in printed[start : end + 1]]
    path = folder / ENCODER
    text = path.read_text(encoding="utf-8")
    last = "        self.classifier = nn.Linear(width, classes)\n"
    assert last in text
    hooked = text.replace(last, f"{last}        {register}\n").replace(
        "class Block", "\n".join([*hook, "", "class Block"])
    )
    path.write_text(hooked, encoding="utf-8")
    assert run(folder, "-k", "old").returncode == 0

    added = run(folder, "--ckpt-update-new-only")
    assert added.returncode == 0, added.stdout
    status = git(folder, "status", "--porcelain", "--untracked-files=all").splitlines()
    assert [line for line in status if line.startswith(" M")] == [f" M {ENCODER}"]
    assert len([line for line in status if "/v2." in line]) == 6


def test_the_other_files_are_what_they_look_like(repository):
    workflow = yaml.safe_load((repository / ".github" / "workflows" / "checkpoints.yml").read_text(encoding="utf-8"))
    commands = [step["run"].split()[0] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    assert {"pytest", "ckpt-lint"} <= set(commands)
    assert not any("--ckpt-update" in str(job) for job in workflow["jobs"].values())
    hooks = yaml.safe_load((repository / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    (hook,) = hooks["repos"][0]["hooks"]
    ours = yaml.safe_load((Path(__file__).parents[1] / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    assert hook["entry"] == ours[0]["entry"]
    done = subprocess.run(
        [sys.executable, "-m", "lint_rules", "--no-cache", "."],
        cwd=repository,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
