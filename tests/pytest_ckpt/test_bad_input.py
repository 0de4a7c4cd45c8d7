"""Modules and loaders that are hard to work with: each works, or one message says what to change."""

# Code under test, as people write it: to type it would change it.
# mypy: ignore-errors

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from pytest_ckpt import UsageError, check_module

X = torch.ones(2, 3)


class NoCopy(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.lock = open(os.devnull, encoding="utf-8")  # noqa: SIM115, PTH123 -- a handle cannot be copied

    def __deepcopy__(self, memo):
        raise TypeError("cannot be copied")

    def __reduce__(self):
        raise TypeError("cannot be pickled")

    def __del__(self):
        self.lock.close()

    def forward(self, x):
        return self.linear(x)


class Immovable(nn.Linear):
    def _apply(self, *_):
        raise RuntimeError("stays where it is")


class Keywords(nn.Linear):
    def forward(self, *, x, scale):
        return super().forward(x) * scale


class Nothing(nn.Linear):
    def forward(self, x):
        super().forward(x)


class Mutating(nn.Linear):
    def forward(self, x):
        return super().forward(x.mul_(2))


class Empty(nn.Module):
    def forward(self, x):
        return x


class Odd(nn.Module):
    """Names with dots in a ParameterDict's stead, non-ASCII ones, and one that looks like a method."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleDict({"größe": nn.Linear(3, 3), "层": nn.Linear(3, 3), "a-b c": nn.Linear(3, 3)})

    def forward(self, x):
        return sum(layer(x) for layer in self.layers.values())


@pytest.mark.parametrize(
    ("make", "inputs"),
    [
        (NoCopy, X),
        (lambda: Keywords(3, 3), {"x": X, "scale": 2}),
        (lambda: Nothing(3, 3), X),
        (lambda: Mutating(3, 3), X),
        (Empty, X),
        (Empty, None),
        (Odd, X),
        (lambda: Immovable(3, 3), X),
    ],
)
def test_it_works(make, inputs):
    report = check_module(make, inputs)
    assert report.ok, report.text()
    assert X.eq(1).all(), "the inputs are the caller's"


def test_a_forward_that_returns_nothing_is_noted():
    report = check_module(lambda: Nothing(3, 3), X, devices=["cpu"])
    assert report.notes == ("forward returned None, so there were no outputs to compare",)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"load": lambda path: 1 / 0}, "load(path)"),
        ({"load_state": lambda module, state_dict: 1 / 0}, "load_state(module, "),
    ],
)
def test_the_hint_names_the_function_that_failed(arguments, name):
    (finding,) = check_module(lambda: nn.Linear(3, 3), devices=["cpu"], **arguments).findings
    assert finding.category == "not-loadable"
    assert finding.hint.startswith(f"make {name}")


def test_a_state_dict_that_is_none_is_a_finding():
    class NoState(nn.Linear):
        def state_dict(self, *_args, **_keywords):
            return None

    (finding,) = check_module(lambda: NoState(3, 3), X, devices=["cpu"]).findings
    assert finding.category == "not-saveable"
    assert "state_dict() of NoState gave None, not a dict" in finding.message


def test_a_factory_of_the_same_module_is_told():
    module = nn.Linear(3, 3)
    with pytest.raises(UsageError, match="build a new module inside it"):
        check_module(lambda: module, X)


def test_a_factory_that_fails_the_second_time_is_told():
    made: list[nn.Module] = []

    def make():
        if made:
            raise RuntimeError("only one of me")
        made.append(nn.Linear(3, 3))
        return made[0]

    with pytest.raises(UsageError, match=r"make\(\) raised RuntimeError: only one of me"):
        check_module(make, X)


def test_a_forward_that_cannot_run_is_told():
    with pytest.raises(UsageError, match="give the tensor, tuple or dict of keywords that forward takes"):
        check_module(lambda: nn.Linear(4, 3), X)


class Parameters(nn.ParameterDict):
    def __init__(self, entries):
        super().__init__({f"p{i}": nn.Parameter(torch.zeros(1)) for i in range(entries)})


class Layers(nn.Module):
    """Many layers, and a value that is not saved."""

    def __init__(self, entries):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(1, 1, bias=False) for _ in range(entries))
        self.scale = torch.rand(1)

    def forward(self, x):
        return self.layers[0](x) * self.scale


@pytest.mark.parametrize(("module", "inputs"), [(Parameters, None), (Layers, torch.ones(1, 1))])
def test_work_grows_with_the_entries_and_not_with_their_square(module, inputs):
    calls_of(partial(module, 10), inputs)  # what is imported or kept at the first time
    # Four times, and what torch adds: its load_state_dict looks at every key for each child.
    assert calls_of(partial(module, 800), inputs) < 5 * calls_of(partial(module, 200), inputs)


def calls_of(make, inputs):
    """Count the calls, of Python and of C, that a round trip makes."""
    count = 0

    def called(_frame, event, _argument):
        nonlocal count
        count += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(called)
    try:
        check_module(make, inputs, devices=["cpu"])
    finally:
        sys.setprofile(before)
    return count


# ----------------------------------------------------------------------------------------- loaders with side effects


def loader(effect):
    def load(path):
        module = nn.Linear(3, 3)
        module.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        effect()
        return module

    return load


@pytest.mark.parametrize(
    "effect",
    [
        lambda: print("loaded"),  # noqa: T201 -- as loaders do
        lambda: os.chdir("/"),
        lambda: torch.manual_seed(0),
        lambda: torch.set_default_dtype(torch.float64),
        lambda: torch.set_default_device("meta"),
        lambda: torch.set_grad_enabled(False),
        lambda: torch.set_num_threads(1),
    ],
    ids=["print", "chdir", "seed", "dtype", "device", "grad", "threads"],
)
def test_what_a_loader_sets_is_as_it_was_afterwards(effect, capfd):
    before = settings()
    report = check_module(lambda: nn.Linear(3, 3), X, load=loader(effect))
    assert report.ok, report.text()
    assert settings() == before


def settings():
    return (
        Path.cwd(),
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.is_grad_enabled(),
        torch.get_num_threads(),
        torch.initial_seed(),
    )
