"""Settings: where they are found, what they mean, and what is said of those that cannot be used."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import pytest

from lint_rules import config
from lint_rules.config import ConfigError, Overrides, Resolver, Settings, from_table

if TYPE_CHECKING:
    from pathlib import Path


def write_table(folder: Path, body: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    pyproject = folder / "pyproject.toml"
    pyproject.write_text(f"[tool.ckpt-lint]\n{body}\n")
    return pyproject


def test_the_nearest_table_applies_and_no_other(tmp_path):
    outer = write_table(tmp_path, 'ignore = ["CKP301"]\nstrict-guard = true')
    inner = write_table(tmp_path / "inner", 'exclude = ["x"]')
    resolver = Resolver()

    assert resolver.settings(tmp_path).origin == outer
    assert resolver.settings(tmp_path / "other" / "deep").strict_guard is True
    nested = resolver.settings(tmp_path / "inner" / "deep")
    assert nested.origin == inner
    assert nested.ignore == ()
    assert nested.strict_guard is False


@pytest.mark.parametrize("text", ["[project]\nname = 'x'\n", "this is no TOML {{ at all }}", "tool = 3\n"])
def test_a_pyproject_without_the_table_is_passed_over(tmp_path, text):
    outer = write_table(tmp_path, "strict-guard = true")
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "pyproject.toml").write_text(text)

    assert Resolver().settings(inner).origin == outer


def test_without_any_table_the_defaults_apply(tmp_path):
    settings = Resolver().settings(tmp_path)

    assert settings == Settings()
    assert "site-packages" in settings.exclude
    assert settings.codes


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("select", "CKP301", "expected a list of strings"),
        ("select", [301], "expected a list of strings"),
        ("ignore", ["CKP3O1"], 'there is no rule "CKP3O1": did you mean "CKP301"?'),
        ("extend-select", ["unguarded-torch-lod"], 'did you mean "unguarded-torch-load"?'),
        ("per-file-ignores", ["x"], "expected a table of patterns"),
        ("per-file-ignores", {"x": "CKP301"}, "expected a list of strings"),
        ("per-file-ignores", {"x": ["E501"]}, 'there is no rule "E501"'),
        ("exclude", "tests", "expected a list of strings"),
        ("respect-gitignore", "yes", "expected true or false, and found 'yes'"),
        ("strict-guard", 1, "expected true or false"),
        ("target-torch", 2.6, 'expected a version of torch as a string, such as "2.6", and found 2.6'),
        ("target-torch", "two", "expected a version of torch"),
        ("selct", [], 'there is no setting "selct": did you mean "select"?'),
        ("per_file_ignores", {}, 'did you mean "per-file-ignores"?'),
        ("zzz", 1, "the settings are select, extend-select"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named_with_its_place(tmp_path, key, value, complaint):
    origin = tmp_path / "pyproject.toml"

    with pytest.raises(ConfigError) as caught:
        from_table({key: value}, origin)

    assert complaint in str(caught.value)
    assert str(origin) in str(caught.value)
    assert key in str(caught.value)


def test_broken_toml_with_the_table_is_reported(tmp_path):
    pyproject = write_table(tmp_path, "select = [")

    with pytest.raises(ConfigError, match="not valid TOML") as caught:
        Resolver().settings(tmp_path)
    assert str(pyproject) in str(caught.value)


@pytest.mark.parametrize("name", ["ckpt_lint", "CKPT-lint", "ckptlint"])
def test_a_misspelt_table_is_reported(tmp_path, name):
    (tmp_path / "pyproject.toml").write_text(f'[tool.{name}]\nselect = ["CKP1"]\n')

    with pytest.raises(ConfigError) as caught:
        Resolver().settings(tmp_path)
    assert f"nobody reads [tool.{name}]: did you mean [tool.ckpt-lint]?" in str(caught.value)


def test_a_table_that_is_none_is_reported(tmp_path):
    (tmp_path / "pyproject.toml").write_text("tool.ckpt-lint = 3\n")

    with pytest.raises(ConfigError, match="must be a table, and is 3"):
        Resolver().settings(tmp_path)


@pytest.mark.parametrize(
    ("table", "overrides", "is_on"),
    [
        ({}, Overrides(), True),
        ({"select": []}, Overrides(), False),
        ({"select": [], "extend-select": ["CKP3"]}, Overrides(), True),
        ({"ignore": ["CKP301"]}, Overrides(), False),
        ({"ignore": ["CKP3"]}, Overrides(), False),
        ({"ignore": ["ALL"]}, Overrides(), False),
        ({"select": ["CKP301"], "ignore": ["CKP3"]}, Overrides(), True),
        ({"select": ["unguarded-torch-load"], "ignore": ["CKP3"]}, Overrides(), True),
        ({"select": ["ALL"], "ignore": ["CKP3"]}, Overrides(), False),
        ({"select": ["unguarded-torch-load"], "ignore": ["CKP301"]}, Overrides(), False),
        ({"select": ["CKP301"], "ignore": ["CKP301"]}, Overrides(), False),
        ({"ignore": ["CKP301"]}, Overrides(select=("CKP301",)), True),
        ({"select": ["CKP301"]}, Overrides(ignore=("CKP301",)), False),
        ({"select": ["CKP301"]}, Overrides(select=("CKP1",)), False),
        ({"extend-select": ["CKP301"]}, Overrides(select=()), False),
    ],
)
def test_which_rules_are_on(table: dict[str, Any], overrides: Overrides, is_on):
    assert ("CKP301" in overrides.apply(from_table(table)).codes) is is_on


def test_settings_cross_processes_and_serve_as_keys(tmp_path):
    settings = from_table({"per-file-ignores": {"a": ["CKP3"]}, "target-torch": "2.6"}, tmp_path / "pyproject.toml")

    assert pickle.loads(pickle.dumps(settings)) == settings
    assert hash(settings) == hash(pickle.loads(pickle.dumps(settings)))
    assert settings.target_torch == (2, 6)


def test_settings_are_described_as_the_table_that_gives_them(tmp_path):
    table = {
        "ignore": ["CKP301"],
        "per-file-ignores": {'odd "name"/**': ["CKP3"], "b": []},
        "exclude": ["a", "b\\c"],
        "respect-gitignore": False,
        "target-torch": "2.10",
    }
    settings = from_table(table)
    pyproject = tmp_path / "pyproject.toml"
    pyproject.write_text(config.describe(settings))

    described = config.read(pyproject)["tool"]["ckpt-lint"]

    assert {key: described[key] for key in table} == table
    assert tuple(described["select"]) == settings.codes
