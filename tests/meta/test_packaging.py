"""The wheel that users install: what is in it, what it brings, and what it must not bring."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import zipfile
from configparser import ConfigParser
from email.parser import Parser
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("pytest_ckpt", "lint_rules")
HEAVY = {"torch", "safetensors", "numpy"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    program = "import sys; from hatchling.build import build_wheel; build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", program, str(folder)], cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return zipfile.ZipFile(built)


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Give the folder of an installation that holds this wheel, whatever else is importable."""
    folder = tmp_path_factory.mktemp("site-packages")
    wheel.extractall(folder)
    return folder


def info(wheel, name):
    (path,) = (path for path in wheel.namelist() if path.endswith(f".dist-info/{name}"))
    return wheel.read(path).decode()


@pytest.fixture(scope="module")
def metadata(wheel):
    return Parser().parsestr(info(wheel, "METADATA"))


def test_wheel_is_pure_and_named_after_the_distribution(wheel):
    assert re.fullmatch(r"pytest_ckpt-[\d.]+-py3-none-any\.whl", Path(wheel.filename).name)


def test_wheel_holds_both_packages_whole_and_nothing_else(wheel):
    names = set(wheel.namelist())
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == set(PACKAGES)
    sources = {
        path.relative_to(ROOT).as_posix() for package in PACKAGES for path in ROOT.joinpath(package).rglob("*.py")
    }
    assert sources <= names
    assert {f"{package}/py.typed" for package in PACKAGES} <= names
    assert not [name for name in names if re.search(r"(^|/)(test_|tests/|conftest|data/|__pycache__)", name)]


def test_licence_is_in_the_wheel(wheel, metadata):
    assert metadata["License-Expression"] == "MIT"
    assert "MIT" in info(wheel, "licenses/LICENSE")


def test_entry_points_lead_somewhere(wheel):
    found = ConfigParser()
    found.read_string(info(wheel, "entry_points.txt"))
    assert {section: dict(found[section]) for section in found.sections()} == {
        "console_scripts": {"ckpt-lint": "lint_rules.cli:main", "ckpt-lint-server": "lint_rules.server:main"},
        "flake8.extension": {"ckp": "lint_rules.flake8_plugin:Plugin"},
        "pytest11": {"ckpt": "pytest_ckpt.plugin"},
    }
    assert callable(import_module("lint_rules.cli").main)
    assert callable(import_module("lint_rules.server").main)
    assert callable(import_module("lint_rules.flake8_plugin").Plugin)
    assert callable(import_module("pytest_ckpt.plugin").pytest_addoption)


def test_hooks_run_the_command_that_is_installed():
    text = (ROOT / ".pre-commit-hooks.yaml").read_text()
    assert re.findall(r"^- id: (.+)$", text, re.MULTILINE) == ["ckpt-lint", "ckpt-lint-fix"]
    assert set(re.findall(r"^ +entry: (\S+)", text, re.MULTILINE)) == {"ckpt-lint"}


def requirements(metadata, *, extra):
    """Give the names of what is required, in every case or under an extra only."""
    lines = [line for line in metadata.get_all("Requires-Dist") if ("extra ==" in line) == extra]
    return {re.split(r"[^\w-]", line)[0] for line in lines}


def test_torch_comes_with_the_extra_only(metadata):
    assert metadata.get_all("Provides-Extra") == ["lsp", "torch"]
    assert requirements(metadata, extra=True) == {*HEAVY, "lsprotocol", "pygls"}
    assert not HEAVY & requirements(metadata, extra=False)


def test_everything_that_is_imported_is_required(metadata):
    imported = {name for package in PACKAGES for name in imports(package)}
    declared = requirements(metadata, extra=True) | requirements(metadata, extra=False)
    known = {*sys.stdlib_module_names, *PACKAGES, "tomllib", "_pytest"}
    assert imported - known <= declared | {"transformers"}, "it is used only where it is"
    assert {line for line in metadata.get_all("Requires-Dist") if "tomli" in line} == {
        "tomli>=2.0; python_version < '3.11'"
    }


def test_the_linter_knows_nothing_of_torch():
    assert not HEAVY & imports("lint_rules")
    assert "pytest" not in imports("lint_rules")


def imports(package):
    """Give the top-level names of all that a package's files import, anywhere in them."""
    found: set[str] = set()
    for path in ROOT.joinpath(package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found.update(alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    return found


def test_the_linter_works_where_there_is_no_torch(installed, tmp_path):
    (tmp_path / "load.py").write_text('import torch\n\nstate = torch.load("model.pt")\n')
    blocked = {*HEAVY, "hypothesis", "pytest", "pytest_ckpt"}
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({sorted(blocked)!r})); from lint_rules.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "--select", "CKP301", "--output-format", "concise", "load.py"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(installed), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "CKP301" in done.stdout
    assert "Traceback" not in done.stderr


ALL_FIXTURES = """
import torch
from torch import nn

from pytest_ckpt import Training

X = torch.ones(2, 3)


def make():
    return nn.Linear(3, 2)


def training():
    def step(run, number):
        run.optimizer.zero_grad()
        loss = run.model(X * number).square().mean()
        loss.backward()
        run.optimizer.step()
        return loss

    model = make()
    return Training(model, torch.optim.Adam(model.parameters()), step)


def test_roundtrip(ckpt_roundtrip):
    ckpt_roundtrip(make, X, formats=["torch_zip", "safetensors", "dcp"])


def test_strict(ckpt_strict):
    ckpt_strict(make)


def test_resume(ckpt_resume):
    ckpt_resume(training)


def test_regression(ckpt_regression):
    ckpt_regression(make, X)
"""


WITHOUT = """
import sys
from importlib.machinery import PathFinder

import pytest

find = PathFinder.find_spec
PathFinder.find_spec = lambda name, *rest: None if name == sys.argv[1] else find(name, *rest)
sys.exit(pytest.main(sys.argv[2:]))
"""


@pytest.mark.parametrize("absent", ["numpy", "safetensors"])
def test_the_plugin_works_next_to_torch_alone(installed, tmp_path, absent):
    """What a leg or a golden needs besides is said there, and stops nothing else."""
    (tmp_path / "test_all.py").write_text(ALL_FIXTURES)
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, absent, "-p", "pytest_ckpt.plugin", "--tb=line"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(installed), "PATH": "", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    reason = f"{absent} is not installed: pip install {absent}"
    assert "1 failed, 3 passed" in done.stdout, done.stdout
    assert f"cpu->cpu safetensors: 1 skipped ({reason})" in done.stdout
    assert f"UsageError: goldens are kept as safetensors, and {reason}" in done.stdout


def test_python_versions_agree(metadata):
    oldest = metadata["Requires-Python"].removeprefix(">=")
    versions = [line.rpartition(" ")[2] for line in metadata.get_all("Classifier") if "Python :: 3." in line]
    assert versions[0] == oldest
    settings = (ROOT / "pyproject.toml").read_text()
    assert f'target-version = "py{oldest.replace(".", "")}"' in settings
    assert f'python_version = "{oldest}"' in settings
