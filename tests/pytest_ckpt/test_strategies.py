"""The strategies give what they say, torch says of it what they say that it must, and failures shrink."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st
from hypothesis.errors import InvalidArgument, NoSuchExample
from torch import nn

from pytest_ckpt import strategies
from pytest_ckpt.compare import bits_equal, difference, entries, nonpersistent, tied_groups
from pytest_ckpt.mismatches import FILL, KINDS
from pytest_ckpt.strategies import Tree, key_mismatches, modules, possible_kinds, state_dicts

UNTYPED: Any = strategies  # what the type checker would not let through
REPEATED = settings(
    max_examples=100, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)


def found(strategy, condition):
    return find(strategy, condition, settings=settings(REPEATED, max_examples=2000))


# ------------------------------------------------------------------------------------------------ what torch says of it


def judge(module, wrong, assign):
    target = copy.deepcopy(module)
    if wrong.reshaped:
        with pytest.raises(RuntimeError) as caught:
            target.load_state_dict(wrong.state_dict, strict=False, assign=assign)
        assert [key for key in wrong.reshaped if f"size mismatch for {key}:" not in str(caught.value)] == []
    else:
        missing, unexpected = target.load_state_dict(wrong.state_dict, strict=False, assign=assign)
        assert sorted(missing) == sorted(wrong.missing)
        assert sorted(unexpected) == sorted(wrong.unexpected)
    keys = {*wrong.missing, *wrong.unexpected, *wrong.reshaped}
    if keys:
        with pytest.raises(RuntimeError) as caught:
            copy.deepcopy(module).load_state_dict(wrong.state_dict, assign=assign)
        assert [key for key in keys if key not in str(caught.value)] == []


@pytest.mark.parametrize("assign", [False, True])
def test_torch_names_exactly_the_keys_that_a_mismatch_says_it_must(assign):
    seen: Counter[str] = Counter()

    @settings(REPEATED, max_examples=25)
    @given(st.data())
    def check(data):
        module = data.draw(modules())
        for kind, strategy in possible_kinds(module.state_dict()).items():
            wrong = data.draw(strategy)
            seen[kind] += 1
            judge(module, wrong, assign)

    check()
    assert seen.keys() == set(KINDS)


@REPEATED
@given(st.data())
def test_the_state_dict_that_was_given_is_not_touched(data):
    state = data.draw(state_dicts())
    before = {key: value.clone() for key, value in state.items()}
    wrong = data.draw(key_mismatches(state))
    assert type(wrong.state_dict) is type(state)
    assert wrong.state_dict._metadata == state._metadata
    assert list(state) == list(before)
    assert all(bits_equal(value, state[key]) for key, value in before.items())
    touched = {*wrong.unexpected, *wrong.reshaped, *wrong.retyped}
    if wrong.kind not in {"prefixed", "nested", "renamed"}:
        assert all(value is state[key] for key, value in wrong.state_dict.items() if key not in touched)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_does_what_it_says(kind):
    state = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)).state_dict()

    @settings(REPEATED, max_examples=30)
    @given(key_mismatches(state, kinds=[kind]))
    def check(wrong):
        assert wrong.kind == kind
        sizes = tuple(map(len, (wrong.missing, wrong.unexpected, wrong.reshaped, wrong.retyped)))
        some = sizes[{"added": 1, "nested": 1, "reshaped": 2, "retyped": 3}.get(kind, 0)]
        assert some
        assert (
            sum(sizes) == some if kind in {"dropped", "added", "reshaped", "retyped", "emptied"} else sum(sizes) > some
        )
        assert len(wrong.state_dict) == {"emptied": 0, "nested": 1}.get(kind, len(wrong.state_dict))
        for key in wrong.reshaped:
            assert bool((wrong.state_dict[key].float() == torch.tensor(FILL).to(state[key].dtype).float()).all())
        for key in wrong.retyped:
            assert difference("", state[key], wrong.state_dict[key].to(state[key].dtype)) is not None

    check()


# ---------------------------------------------------------------------------------------------------- what modules have


@pytest.fixture(scope="module")
def drawn():
    """Many modules, drawn once."""
    examples = []

    @settings(REPEATED, max_examples=400, phases=[Phase.generate])
    @given(modules())
    def draw(module):
        examples.append(module)

    draw()
    return examples


@pytest.mark.parametrize(
    "condition",
    [
        lambda module: any(key.count(".") == 2 for key in module.state_dict()),
        lambda module: any("." in name for group in tied_groups(entries(module)) for name in group),
        nonpersistent,
        lambda module: None in module._parameters.values(),
        lambda module: None in module._buffers.values(),
        lambda module: None in module._modules.values(),
        lambda module: any(
            isinstance(one, nn.BatchNorm1d) and one.running_mean is not None for one in module.modules()
        ),
        lambda module: any(isinstance(one, nn.Embedding) for one in module.modules()),
        lambda module: any(isinstance(one, nn.ParameterDict) for one in module.modules()),
        lambda module: any(isinstance(one, nn.ParameterList) for one in module.modules()),
        lambda module: any(not tensor.numel() for tensor in module.state_dict().values()),
        lambda module: any(not tensor.dim() for tensor in module.state_dict().values()),
        lambda module: any(not one.requires_grad for one in module.parameters()),
        lambda module: any(tensor.is_complex() for tensor in module.buffers()),
        lambda module: any(not key.isascii() for key in module.state_dict()),
        lambda module: any(" " in key for key in module.state_dict()),
        lambda module: len(list(module.named_modules(remove_duplicate=False))) > len(list(module.modules())),
    ],
)
def test_modules_have_what_is_easily_overlooked(condition, drawn):
    assert any(map(condition, drawn))


@REPEATED
@given(modules(max_depth=1, max_entries=2))
def test_modules_are_no_larger_than_asked(module):
    assert len(list(module.named_children())) <= 2
    assert all(key.count(".") <= 1 for key in module.state_dict())
    nn.Module.load_state_dict(copy.deepcopy(module), module.state_dict())


@settings(REPEATED, max_examples=50)
@given(modules(max_depth=0))
def test_without_depth_there_are_no_submodules(module):
    assert not any(isinstance(one, nn.Module) for one in module._modules.values())


def test_what_is_drawn_depends_on_nothing_but_the_draw():
    def first(seed):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        module = found(modules(), lambda module: bool(module.state_dict()))
        assert torch.equal(before, torch.get_rng_state())
        return module.state_dict()

    one, other = first(1), first(2)
    assert list(one) == list(other)
    assert all(bits_equal(value, other[key]) for key, value in one.items())


# --------------------------------------------------------------------------------------------------------------- shrink


def test_a_module_shrinks_to_nothing_and_a_mismatch_to_one_key():
    assert str(found(modules(), lambda _module: True)) == str(Tree())
    state = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 3)).state_dict()
    wrong = found(key_mismatches(state, kinds=["dropped"]), lambda wrong: "1.bias" in wrong.missing)
    assert repr(wrong) == "Mismatch(dropped: missing=['1.bias'])"
    wrong = found(key_mismatches(state, kinds=["reshaped"]), lambda wrong: "1.weight" in wrong.reshaped)
    assert wrong.reshaped == ("1.weight",)
    assert wrong.state_dict["1.weight"].shape == (1,)
    assert found(key_mismatches(state), lambda wrong: bool(wrong.missing)).missing == ("0.weight",)


# -------------------------------------------------------------------------------------------------------- bad arguments


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: UNTYPED.modules(max_depth=-1), "modules: max_depth must be a whole number of at least 0, not -1"),
        (lambda: UNTYPED.modules(max_depth=1.5), "modules: max_depth must be a whole number of at least 0, not 1.5"),
        (lambda: UNTYPED.modules(max_entries=0), "modules: max_entries must be a whole number of at least 1, not 0"),
        (lambda: UNTYPED.state_dicts(max_entries=True), "state_dicts: max_entries must be a whole number"),
        (
            lambda: UNTYPED.state_dicts(max_depth="2"),
            "state_dicts: max_depth must be a whole number of at least 0, not '2'",
        ),
        (
            lambda: UNTYPED.key_mismatches(nn.Linear(2, 2)),
            r"takes a state_dict, not a module: write Linear\(...\).state_dict\(\)",
        ),
        (lambda: UNTYPED.key_mismatches([1]), r"state_dict must be a mapping of names to tensors, not \[1\]"),
        (lambda: UNTYPED.key_mismatches({1: torch.ones(1)}), "the keys of state_dict must be strings, but it has 1"),
        (lambda: UNTYPED.key_mismatches({}, kinds=["droped"]), "there is no kind 'droped': did you mean 'dropped'"),
        (
            lambda: UNTYPED.key_mismatches({}, kinds="dropped"),
            "kinds must be a list of at least one kind, not 'dropped'",
        ),
        (lambda: UNTYPED.key_mismatches({}, kinds=[]), r"kinds must be a list of at least one kind, not \[\]"),
        (lambda: UNTYPED.key_mismatches({}, kinds=["dropped"]), "no entry can be dropped in a state_dict of 0 entries"),
        (
            lambda: UNTYPED.key_mismatches({"a": 1}, kinds=["reshaped"]),
            "no entry can be reshaped .* can be dropped, renamed",
        ),
    ],
)
def test_bad_arguments_are_refused_by_name(call, message):
    with pytest.raises(InvalidArgument, match=message):
        call()


def test_an_empty_state_dict_can_only_get_more():
    with pytest.raises(NoSuchExample):
        find(key_mismatches({}), lambda wrong: bool(wrong.missing or wrong.reshaped), settings=REPEATED)


def test_the_strategies_are_not_imported_with_the_package():
    program = "import sys, pytest_ckpt; print(sorted({'torch', 'hypothesis'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "[]\n"
