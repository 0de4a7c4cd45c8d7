"""Checks and formats are found by their files, and wrong names are answered with the nearest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import pytest_ckpt
from pytest_ckpt import UsageError, formats, registry
from pytest_ckpt.checks import Check
from pytest_ckpt.formats import Format


def test_names_of_checks_are_those_of_the_files():
    files = Path(registry.__file__).parent.joinpath("checks").glob("[!_]*.py")
    assert set(registry.names()) == {path.stem.replace("_", "-") for path in files}
    assert list(registry.names()) == sorted(registry.names())


def test_a_check_is_made_from_its_name():
    check = registry.check("unsaved-state")
    assert isinstance(check, Check)
    assert check.name == "unsaved-state"


def test_checks_run_by_stage_whatever_order_they_are_asked_for_in():
    asked = ["unsaved-state", "not-saveable", "mode-changed", "unsaved-state"]
    assert [check.name for check in registry.select(asked, ())] == ["not-saveable", "unsaved-state", "mode-changed"]


def test_selection():
    everything = [check.name for check in registry.select(None, ())]
    trainings = [check.name for check in registry.select(None, (), looks="resumed")]
    versions = [check.name for check in registry.select(None, (), looks="compared")]
    assert versions == ["semantics"]
    assert {*everything, *trainings, *versions} == {*registry.names()}
    assert {"unsaved-state", "mode-changed"} <= {*everything} & {*trainings}
    assert "aliasing" not in trainings
    assert "rng-state" not in everything
    assert [check.name for check in registry.select(None, ["aliasing"])] == [
        name for name in everything if name != "aliasing"
    ]
    assert [check.name for check in registry.select(["aliasing", "mode-changed"], ["aliasing"])] == ["mode-changed"]


@pytest.mark.parametrize(
    ("checks", "ignore"), [([], ()), (["aliasing"], ["aliasing"]), (None, registry.names())], ids=str
)
def test_a_selection_of_nothing_is_refused(checks, ignore):
    with pytest.raises(UsageError, match="leave no check"):
        registry.select(checks, ignore)


@pytest.mark.parametrize(
    ("given", "nearest"),
    [("unsaved_state", "unsaved-state"), ("tie-borken", "tie-broken"), ("Aliasing", "aliasing")],
)
def test_an_unknown_check_is_answered_with_the_nearest(given, nearest):
    with pytest.raises(UsageError, match=f"no check named '{given}': did you mean '{nearest}'") as caught:
        registry.select([given], ())
    assert "The checks are aliasing, " in str(caught.value)
    with pytest.raises(UsageError, match=nearest):
        registry.select(None, [given])
    with pytest.raises(UsageError, match=nearest):
        registry.check(given)


def test_nothing_is_guessed_where_nothing_is_near():
    with pytest.raises(UsageError) as caught:
        registry.require(["zzz"])
    assert "did you mean" not in str(caught.value)
    assert "The checks are" in str(caught.value)


@pytest.mark.parametrize("given", ["aliasing", 5, None, [5]], ids=str)
def test_what_is_no_list_of_names_is_refused(given):
    with pytest.raises(UsageError):
        registry.require(given)


@pytest.mark.parametrize("body", ["", "class A(Check): name = 'other'\n"])
def test_a_file_without_its_check_is_an_error_of_whoever_wrote_it(tmp_path, monkeypatch, body):
    """The name in the file's class must be the file's own: pages, options and findings go by it."""
    (tmp_path / "odd_one.py").write_text(f"from pytest_ckpt.checks import Check\n{body}")
    monkeypatch.setattr(pytest_ckpt.checks, "__path__", [*pytest_ckpt.checks.__path__, str(tmp_path)])
    monkeypatch.setattr(registry, "names", lambda: ("odd-one",))
    monkeypatch.delitem(sys.modules, "pytest_ckpt.checks.odd_one", raising=False)
    with pytest.raises(TypeError, match=r"odd_one must define exactly one Check, named 'odd-one'"):
        registry.check("odd-one")


# -------------------------------------------------------------------------------------------------------------- formats


@pytest.mark.parametrize("name", formats.names())
def test_a_format_is_its_file(name):
    found = formats.get(name)
    assert isinstance(found, Format)
    assert found.name == name
    assert found.suffix.startswith(".") or not found.suffix
    assert found.summary.strip()
    assert formats.get(name) is found


@pytest.mark.parametrize("given", ["torchzip", "torch-zip"])
def test_an_unknown_format_is_answered_with_the_nearest(given):
    with pytest.raises(UsageError, match="did you mean 'torch_zip'"):
        formats.get(given)


@pytest.mark.parametrize(
    ("given", "known"),
    [
        ("torch_zip@bytes", "torch_zip@path, torch_zip@str, torch_zip@file, torch_zip@buffer"),
        ("torch_zip@", "torch_zip@buffer"),
        ("safetensors@buffer", "safetensors@path, safetensors@str"),
        ("dcp@2", "dcp@N:M"),
        ("dcp@0:1", "dcp@N:M"),
        ("dcp@buffer", "dcp@N:M"),
    ],
)
def test_an_unknown_variant_is_answered_with_those_that_there_are(given, known):
    with pytest.raises(UsageError, match=f"no format '{given}'") as caught:
        formats.require(["torch_zip", given])
    assert known in str(caught.value)


def test_formats_are_taken_once_and_in_order():
    given = ["torch_zip@buffer", "safetensors", "dcp@2:13", "safetensors"]
    assert formats.require(given) == ("torch_zip@buffer", "safetensors", "dcp@2:13")


# ------------------------------------------------------------------------------------------------------ lazily imported


def test_public_names_are_all_there():
    assert set(pytest_ckpt.__all__) <= set(dir(pytest_ckpt))
    for name in pytest_ckpt.__all__:
        assert getattr(pytest_ckpt, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'check_modul'"):
        pytest_ckpt.check_modul  # noqa: B018 -- looking it up is the test


def test_names_are_known_without_torch():
    program = (
        "import sys\n"
        "from pytest_ckpt import formats, registry, Report, UsageError, options\n"
        "registry.require(['aliasing']); print(len(registry.names()), len(formats.names()))\n"
        "print(sorted({'torch', 'numpy', 'hypothesis', 'libcst', 'safetensors'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == [f"{len(registry.names())} {len(formats.names())}", "[]"]


def test_the_first_round_trip_of_a_process_moves_no_generator():
    program = """
import torch
from torch import nn
import pytest_ckpt
from tests.generators import unmoved

with unmoved():
    pytest_ckpt.check_module(lambda: nn.Linear(2, 2), torch.ones(1, 2)).raise_for_findings()
    pytest_ckpt.check_strict(lambda: nn.Linear(2, 2)).raise_for_findings()
    old = {"weight": torch.ones(2, 2), "bias": torch.ones(2)}
    pytest_ckpt.check_compatibility(lambda: nn.Linear(2, 2), old).raise_for_findings()
"""
    subprocess.run([sys.executable, "-c", program], check=True)
