"""The property test of strictness: it finds what a loader keeps quiet about, and accuses no loader that speaks up."""

from __future__ import annotations

import copy
import os
from contextlib import suppress
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from torch import nn

from pytest_ckpt import UsageError, check_strict
from pytest_ckpt.strategies import modules
from tests.generators import unmoved
from tests.pytest_ckpt.cases import CORRECT, FAULTY, collect
from tests.pytest_ckpt.cases.broken_loaders import Net, read

collect()
FEW = settings(max_examples=6, derandomize=True, database=None, deadline=None)
ARGUMENTS = ("inputs", "prepare", "save", "load", "load_state", "allow_missing", "allow_unexpected", "ignore")


def strict(case):
    torch.manual_seed(0)
    arguments = {name: case.arguments[name] for name in ARGUMENTS if name in case.arguments}
    with unmoved():
        return check_strict(case.make, **arguments, settings=FEW)


def places(report):
    return {(one.category, one.key) for one in report.findings}


def net():
    return nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4))


# ---------------------------------------------------------------------------------------------- what is and is not said


@pytest.mark.parametrize("case", [case for case in CORRECT if case.name.startswith("lenient_on_purpose")], ids=str)
def test_silent_on_correct_loaders(case):
    report = strict(case)
    assert not report.findings, report.text()


STRICTNESS = {"strictness", "half-loaded"}


@pytest.mark.parametrize("case", [case for case in FAULTY if case.categories <= STRICTNESS], ids=str)
def test_faulty_loaders_are_reported_by_name(case):
    report = strict(case)
    assert case.named(report), report.text()


@settings(FEW, max_examples=10, suppress_health_check=list(HealthCheck))
@given(modules())
def test_torch_itself_is_strict_for_every_module(module):
    report = check_strict(lambda: copy.deepcopy(module), settings=FEW)
    assert not report.findings, report.text()


# ------------------------------------------------------------------------------------------------- modules' own loading


class Quiet(nn.Sequential):
    """Raises for missing keys, but never for unexpected ones."""

    def load_state_dict(self, state_dict, strict=True, assign=False):
        own = {key: value for key, value in state_dict.items() if key in self.state_dict()}
        return super().load_state_dict(own, strict, assign)


class NamesOnlyTheFirst(nn.Sequential):
    def __init__(self, *layers):
        super().__init__(*layers)
        self.register_load_state_dict_post_hook(self._shorten)

    @staticmethod
    def _shorten(_module, keys):
        del keys.missing_keys[1:]


class NothingUnlessStrict(nn.Sequential):
    """With strict=False it returns the missing keys, but loads nothing if there are any."""

    def load_state_dict(self, state_dict, strict=True, assign=False):
        missing = [key for key in self.state_dict() if key not in state_dict]
        if missing and not strict:
            return nn.modules.module._IncompatibleKeys(missing, [])
        return super().load_state_dict(state_dict, strict, assign)


class TakesPrefixes(nn.Sequential):
    """Loads nothing where no key is its own, and says nothing."""

    def load_state_dict(self, state_dict, strict=True, assign=False):
        if not any(key in state_dict for key in self.state_dict()):
            return super().load_state_dict(self.state_dict(), strict, assign)
        return super().load_state_dict(state_dict, strict, assign)


@pytest.mark.parametrize(
    ("kind", "category", "key", "words"),
    [
        (Quiet, "strictness", "extra", "which the module does not have"),
        (NamesOnlyTheFirst, "strictness", "0.bias", "its error does not name it"),
        (NothingUnlessStrict, "half-loaded", "0.bias", "loaded nothing of what fits"),
        (TakesPrefixes, "key-mismatch", "0.weight", "holds every entry under a prefix, loaded nothing"),
    ],
)
def test_overrides_and_hooks_are_held_to_what_torch_documents(kind, category, key, words):
    report = check_strict(lambda: kind(nn.Linear(2, 3), nn.Linear(3, 4)))
    assert (category, key) in places(report), report.text()
    assert any(words in one.message for one in report.findings)
    assert {one.category for one in report.findings} == {category}


# --------------------------------------------------------------------------------------------------- the user's loaders


def load_state_leniently(module, state, strict=True):
    module.load_state_dict(state, strict=False)


def load_state_with_strict(module, state, strict=True):
    return module.load_state_dict(state, strict=strict)


def broadcast(module, state):
    for name, tensor in module.state_dict().items():
        tensor.copy_(state[name])


def only_float32(module, state):
    own = module.state_dict()
    if state.keys() != own.keys() or any(own[key].shape != value.shape for key, value in state.items()):
        raise KeyError
    module.load_state_dict({key: value for key, value in state.items() if value.dtype == torch.float32}, strict=False)


def counts_only(module, state):
    if len(state) != len(module.state_dict()):
        raise ValueError(len(state))
    module.load_state_dict(state, strict=False)


def nothing_from_nothing(module, state):
    if state:
        module.load_state_dict(state)


def warm_start(module, state):
    """Takes what fits, as a warm start from another model does."""
    own = module.state_dict()
    own.update({key: value for key, value in state.items() if key in own and value.shape == own[key].shape})
    module.load_state_dict(own)


def warm_start_from_complete_ones_only(module, state):
    if state.keys() >= module.state_dict().keys():
        warm_start(module, state)


ANY: dict[str, Any] = {"allow_missing": ["*"], "allow_unexpected": ["*"]}


@pytest.mark.parametrize(
    ("load_state", "arguments", "expected"),
    [
        (load_state_leniently, {}, {("strictness", "0.weight"), ("strictness", "extra")}),
        (load_state_with_strict, {}, set()),
        (broadcast, {}, {("shape-changed", "0.weight")}),
        (only_float32, {}, {("strictness", "0.weight")}),
        (counts_only, {}, {("strictness", "0.weight")}),
        (nothing_from_nothing, {}, {("strictness", "0.weight")}),
        (warm_start, ANY, set()),
        (warm_start_from_complete_ones_only, ANY, {("half-loaded", "0.bias")}),
    ],
)
def test_loaders_of_states(load_state, arguments, expected):
    report = check_strict(net, load_state=load_state, **arguments)
    assert places(report) == expected, report.text()


def test_what_may_be_missing_need_not_be_said():
    def load_state(module, state):
        missing, unexpected = module.load_state_dict(state, strict=False)
        if unexpected or not all(key.startswith("1.") for key in missing):
            raise KeyError

    report = check_strict(net, load_state=load_state)
    assert report.ok
    assert {note.rpartition(" ")[2] for note in report.notes} == {"1.weight", "1.bias"}
    assert check_strict(net, load_state=load_state, allow_missing=["1.*"]).notes == ()


def test_a_file_is_written_and_read_for_a_loader_of_files():
    seen = []

    def load(path):
        seen.append(path)
        module = Net()
        with suppress(RuntimeError):
            module.load_state_dict(read(path))
        return module

    report = check_strict(Net, load=load)
    assert places(report) == {("half-loaded", "body.weight")}
    assert {one.leg for one in report.findings} == {"cpu->cpu torch_zip"}
    assert not any(path.exists() for path in seen)


def test_a_module_that_cannot_be_loaded_at_all_is_a_finding():
    class Grown(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("bank", None)

    def fill(module):
        module.bank = torch.ones(3)

    assert places(check_strict(Grown, prepare=fill)) == {("not-loadable", "bank")}


def test_what_cannot_be_tried_is_skipped_with_the_reason():
    (leg,) = check_strict(lambda: nn.LazyLinear(3)).legs
    assert leg.status == "skipped"
    assert "give inputs" in leg.reason
    assert check_strict(lambda: nn.LazyLinear(3), torch.ones(2, 4)).legs[0].status == "real"


# --------------------------------------------------------------------------------------------------- manners, arguments


def test_two_runs_find_the_same_and_nothing_is_left_behind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = torch.get_rng_state()
    reports = [check_strict(net, load_state=warm_start) for _ in range(2)]
    assert reports[0] == reports[1]
    assert torch.equal(before, torch.get_rng_state())
    assert os.listdir(tmp_path) == []  # noqa: PTH208 -- what Hypothesis would put there has a leading dot


def test_settings_of_hypothesis_are_the_users():
    given_states = []

    def load_state(module, state):
        given_states.append(state)
        return module.load_state_dict(state)

    def count(number):
        given_states.clear()
        check_strict(
            net, load_state=load_state, settings=settings(max_examples=number, database=None, derandomize=True)
        )
        return len(given_states)

    assert count(1) < count(10) < count(40)


def test_no_explanation_is_looked_for_that_nobody_would_see():
    given_states = []

    def load_state(module, state):
        given_states.append(state)
        module.load_state_dict(state, strict=False)

    def count(chosen):
        given_states.clear()
        assert not check_strict(net, load_state=load_state, settings=chosen).ok
        return len(given_states)

    assert count(FEW) == count(settings(FEW, phases=[Phase.generate, Phase.shrink]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"settings": 5}, r"settings must be of hypothesis.settings\(...\), but 5 was given"),
        ({"allow_missing": "head.*"}, "allow_missing takes a list of strings"),
        ({"checks": ["aliasing"]}, "those of check_strict are not-saveable, not-loadable"),
        ({"ignore": ["strictnes"]}, "did you mean 'strictness'"),
        ({"load": 5}, "load must be callable"),
        ({"load": lambda path: None}, "gave None, not a torch.nn.Module: return the module that was loaded"),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments, message):
    with pytest.raises(UsageError, match=message):
        check_strict(net, **arguments)


def test_checks_can_be_chosen():
    assert check_strict(net, load_state=load_state_leniently, ignore=["strictness"]).ok
    report = check_strict(net, load_state=load_state_leniently, checks=["strictness", "aliasing"])
    assert report.checks == ("strictness",)
    assert not report.ok
