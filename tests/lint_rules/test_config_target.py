"""The torch that a project asks for, as its own files state it."""

from __future__ import annotations

import pytest

from lint_rules.config import Resolver
from lint_rules.sources import Walk


@pytest.mark.parametrize(
    ("pyproject", "expected"),
    [
        ('[project]\ndependencies = ["numpy", "torch>=2.6"]', (2, 6)),
        ("[project]\ndependencies = [\"torch >= 2.4, <3 ; python_version > '3.9'\"]", (2, 4)),
        ('[project]\ndependencies = ["torch[opt]==2.7.1"]', (2, 7)),
        ('[project]\ndependencies = ["torch~=2.6.0"]', (2, 6)),
        ('[project]\ndependencies = ["torch==2.10.*"]', (2, 10)),
        ('[project]\ndependencies = ["torch>=1.8,!=2.0,>=2.1"]', (2, 1)),
        ('[project]\ndependencies = ["torch"]', None),
        ('[project]\ndependencies = ["torch<3"]', None),
        ('[project]\ndependencies = ["torchvision>=0.20", "torch-xla>=2.6", "pytorch>=2.6"]', None),
        ('[project]\ndependencies = ["torch @ https://example.org/torch.whl"]', None),
        ('[project]\ndependencies = ["torch >= what"]', None),
        ('[project]\ndependencies = "torch>=2.6"', None),
        ('[project.optional-dependencies]\na = ["torch>=2.6"]\nb = ["torch>=2.2"]', (2, 2)),
        ('[dependency-groups]\ndev = [{include-group = "x"}, "torch>=2.6"]', (2, 6)),
        ('[tool.poetry.dependencies]\ntorch = "^2.6"', (2, 6)),
        ('[tool.poetry.dependencies]\ntorch = "~2.5.1"', (2, 5)),
        ('[tool.poetry.dependencies]\ntorch = "2.7.0"', (2, 7)),
        ('[tool.poetry.dependencies]\ntorch = {version = ">=2.6,<3", source = "x"}', (2, 6)),
        ('[tool.poetry.dependencies]\ntorch = "*"', None),
        ('[tool.poetry.group.dev.dependencies]\ntorch = "~=2.6"', (2, 6)),
    ],
)
def test_what_a_pyproject_states(tmp_path, pyproject, expected):
    (tmp_path / "pyproject.toml").write_text(pyproject)

    assert Resolver().complete(tmp_path).target_torch == expected


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("requirements.txt", "numpy\ntorch>=2.6  # a comment\n", (2, 6)),
        ("requirements-dev.txt", "torch==2.7.0+cpu --hash=sha256:abc\n", (2, 7)),
        ("requirements.txt", "torch==2.6.0 \\\n    --hash=sha256:abc\n", (2, 6)),
        ("requirements.txt", "# torch>=2.6\ntorchvision>=2.6\n", None),
        ("constraints.txt", "torch>=2.6\n", None),
    ],
)
def test_what_requirements_state(tmp_path, name, text, expected):
    (tmp_path / "setup.py").touch()
    (tmp_path / name).write_text(text)

    assert Resolver().complete(tmp_path).target_torch == expected


def test_requirements_of_a_folder_that_is_no_project_say_nothing(tmp_path):
    (tmp_path / "requirements.txt").write_text("torch>=2.6\n")

    assert Resolver().complete(tmp_path).target_torch is None


def test_requirements_of_a_folder_that_the_user_names_count_where_nothing_is_a_project(tmp_path, monkeypatch):
    folder, project = tmp_path / "scripts", tmp_path / "project"
    for each in (folder, project / "examples"):
        each.mkdir(parents=True)
        (each / "requirements.txt").write_text("torch>=2.6\n")
        (each / "load.py").write_text("import torch\n")
    (project / "setup.py").touch()
    named, below, inside = Resolver(), Resolver(), Resolver()
    list(Walk(named).files([str(folder)]))
    list(Walk(below).files([str(tmp_path)]))
    list(Walk(inside).files([str(project / "examples" / "load.py")]))
    monkeypatch.chdir(folder)

    assert named.complete(folder).target_torch == (2, 6)
    assert Resolver().complete(folder).target_torch == (2, 6)
    assert below.complete(folder).target_torch is None
    assert inside.complete(project / "examples").target_torch is None


def test_the_nearest_statement_counts_up_to_the_projects_own_folder(tmp_path):
    (tmp_path / ".git").mkdir()
    (tmp_path / "requirements.txt").write_text("torch>=2.6\n")
    inside = tmp_path / "examples" / "old"
    inside.mkdir(parents=True)
    (inside / "requirements.txt").write_text("torch>=1.4\n")
    older = tmp_path / "older"
    older.mkdir()
    (older / "setup.cfg").touch()
    (older / "requirements.txt").write_text("torch>=1.4\n")
    other_project = tmp_path / "other"
    (other_project / "src").mkdir(parents=True)
    (other_project / "pyproject.toml").write_text("[project]\nname = 'other'\n")
    clone = tmp_path / "clone"
    (clone / ".git").mkdir(parents=True)
    resolver = Resolver()

    assert resolver.complete(tmp_path / "examples").target_torch == (2, 6)
    assert resolver.complete(inside).target_torch == (2, 6)
    assert resolver.complete(older).target_torch == (1, 4)
    assert resolver.complete(other_project / "src").target_torch is None
    assert resolver.complete(clone).target_torch is None


def test_the_setting_wins_over_requirements_below_it(tmp_path):
    (tmp_path / "pyproject.toml").write_text('[tool.ckpt-lint]\ntarget-torch = "2.1"\n')
    below = tmp_path / "below"
    below.mkdir()
    (below / "setup.py").touch()
    (below / "requirements.txt").write_text("torch>=2.6\n")

    assert Resolver().complete(below).target_torch == (2, 1)
