"""The hooks, run by pre-commit itself in a repository of their user."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGED = (".pre-commit-hooks.yaml", "LICENSE", "README.md", "lint_rules", "pyproject.toml", "pytest_ckpt")

FAULTY = "from torch import nn\n\nmodel = nn.Linear(1, 1)\nmodel.load_state_dict('model.pt')\n"
CONFIG = """\
repos:
  - repo: {hooks}
    rev: {revision}
    hooks:
      - id: {hook}
"""


class Repository:
    """A git repository, and pre-commit with one home for all of a test's runs."""

    def __init__(self, folder: Path, home: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")} | {
            "PRE_COMMIT_HOME": str(home),
            "PRE_COMMIT_COLOR": "never",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_SYSTEM": os.devnull,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        }
        self.run("git", "init", "--quiet")
        self.run("git", "config", "user.name", "Someone")
        self.run("git", "config", "user.email", "someone@example.org")

    def attempt(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the repository, whatever comes of it."""
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    def run(self, *command: str, expected: int = 0) -> str:
        """Run a command in the repository; give all that it printed."""
        done = self.attempt(*command)
        assert done.returncode == expected, f"{command} exited with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def commit(self, *, expected: int) -> str:
        """Stage everything and try to commit it."""
        self.run("git", "add", "--all")
        return self.run("git", "commit", "--message", "A change", expected=expected)

    def use(self, hooks: Path, hook: str) -> None:
        """Configure one hook."""
        revision = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=hooks, capture_output=True, text=True, check=True
        ).stdout.strip()
        config = CONFIG.format(hooks=hooks.as_uri(), revision=revision, hook=hook)
        (self.folder / ".pre-commit-config.yaml").write_text(config)

    def install(self) -> None:
        """Install the hooks with their environment, or skip where packages cannot be had."""
        done = self.attempt("pre-commit", "install", "--install-hooks")
        if done.returncode:
            if reason := _registry_is_unreachable():
                pytest.skip(f"the hook's environment needs packages, and the registry cannot be reached: {reason}")
            pytest.fail(done.stdout)


def _registry_is_unreachable() -> str | None:
    """Say why pip cannot look up a package; None if it can."""
    done = subprocess.run(
        [sys.executable, "-m", "pip", "index", "versions", "click"], capture_output=True, text=True, check=False
    )
    return done.stderr.strip().splitlines()[-1] if done.returncode else None


def make_hooks(folder: Path, home: Path) -> None:
    """Make a repository that holds this distribution, as users name it in their configuration."""
    repository = Repository(folder, home)
    for name in PACKAGED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    repository.run("git", "add", "--all")
    repository.run("git", "commit", "--quiet", "--message", "The hooks")


def test_a_commit_fails_is_fixed_and_passes_without_torch(tmp_path):
    home, hooks = tmp_path / "home", tmp_path / "pytest-ckpt"
    make_hooks(hooks, home)
    user = Repository(tmp_path / "user", home)
    user.use(hooks, "ckpt-lint")
    (user.folder / "pyproject.toml").write_text('[tool.ckpt-lint]\nextend-exclude = ["legacy"]\n')
    user.install()
    user.commit(expected=0)

    model = user.folder / "model.py"
    model.write_text(FAULTY)
    (user.folder / "legacy").mkdir()
    (user.folder / "legacy" / "old.py").write_text(FAULTY)
    (user.folder / "notes.txt").write_text(FAULTY)
    refused = user.commit(expected=1)
    assert "model.py:4:1: CKP101" in refused
    assert "old.py" not in refused
    assert model.read_text() == FAULTY

    user.use(hooks, "ckpt-lint-fix")
    user.run("git", "add", ".pre-commit-config.yaml")
    changed = user.commit(expected=1)
    assert "files were modified by this hook" in changed
    assert "import torch\n" in model.read_text()

    user.commit(expected=0)
    assert user.run("git", "status", "--porcelain") == ""
    assert user.run("git", "show", "HEAD:model.py") == model.read_text()

    assert heavy_packages(home) == []


def heavy_packages(home: Path) -> list[str]:
    """Give what the hooks' one environment should not have."""
    (environment,) = home.glob("repo*/py_env-*")
    folders = [*environment.glob("lib*/python*/site-packages"), *environment.glob("Lib/site-packages")]
    assert any((folder / "libcst").exists() for folder in folders)
    return [name for folder in folders for name in ("torch", "numpy", "safetensors") if (folder / name).exists()]
