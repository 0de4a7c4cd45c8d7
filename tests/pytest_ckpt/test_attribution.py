"""The attribute that makes outputs differ is named, and nothing else."""

from __future__ import annotations

import itertools
import math
import random
from collections import OrderedDict, deque
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pytest_ckpt.attribution import attribute_outputs, smallest
from pytest_ckpt.compare import entries
from pytest_ckpt.moment import Moment
from pytest_ckpt.outputs import Runner

if TYPE_CHECKING:
    from collections.abc import Callable

X = torch.tensor([[1.0, 2.0], [3.0, 5.0]])


def attribution_of(make, *, change=None, loaded=None, inputs=X, mode="eval"):
    """Compare a changed module with a fresh one that was given its state."""
    source = make()
    if change is not None:
        change(source)
    target = make() if loaded is None else loaded()
    target.load_state_dict(source.state_dict())
    for module in (source, target):
        module.train(mode == "train")
    live = entries(source)
    return attribute_outputs(Moment(source), source, target, {}, frozenset(live), Runner(inputs), make)


def named(*args, **kwargs):
    return {culprit.key: culprit.kind for culprit in attribution_of(*args, **kwargs).culprits}


# ------------------------------------------------------------------------------------------------------ delta debugging


def smallest_of(count, explains):
    """Run the reduction on numbers, and count how often it asks."""
    asked = []

    def ask(subset):
        asked.append(tuple(subset))
        return explains(set(subset))

    numbers: Any = range(count)
    return set(smallest(numbers, ask)), asked


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 24).flatmap(lambda count: st.tuples(st.just(count), st.sets(st.integers(0, count - 1)))))
def test_what_is_needed_is_found_and_no_more(case):
    count, needed = case
    found, asked = smallest_of(count, lambda subset: needed <= subset)
    assert found == needed or (not needed and len(found) <= 1)
    assert len(asked) <= count * count + 3 * count + 1


def test_one_culprit_of_many_costs_few_runs():
    found, asked = smallest_of(64, lambda subset: 17 in subset)
    assert found == {17}
    assert len(asked) < 64


def test_of_two_explanations_one_is_given():
    found, _ = smallest_of(6, lambda subset: subset >= {0, 1} or subset >= {4, 5})
    assert found in ({0, 1}, {4, 5})


# --------------------------------------------------------------------------------------------------- values of any kind


@dataclass
class Settings:
    factor: float


class Weighted(nn.Module):
    """Multiplies by whatever number its attribute stands for."""

    kinds: ClassVar[dict[str, Callable[[float], Any]]] = {
        "tensor": torch.tensor,
        "float": float,
        "int": lambda value: int(value * 8),
        "list": lambda value: [0.0, value],
        "tuple": lambda value: (0.0, value),
        "dict": lambda value: {"factor": value},
        "ordered": lambda value: OrderedDict(factor=value),
        "deque of tensors": lambda value: deque([torch.tensor(value)]),
        "nested": lambda value: {"a": [({"b": torch.tensor(value)},)]},
        "text": lambda value: "x" * int(value * 8),
        "texts": lambda value: ["x" * int(value * 8), "y"],
        "set": lambda value: {value, value + 1},
        "object": Settings,
        "none": lambda value: None if value == 1.0 else value,
        "dtype": lambda value: torch.float32 if value == 1.0 else torch.float64,
        "function": lambda value: math.sqrt if value == 1.0 else math.exp,
        "generator": lambda value: torch.Generator().manual_seed(int(value * 8)),
        "random": lambda value: random.Random(int(value * 8)),
    }

    def __init__(self, kind, value=1.0):
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.factor = self.kinds[kind](value)

    def number(self, value):
        if isinstance(value, torch.Generator):
            return torch.rand((), generator=value)
        if isinstance(value, random.Random):
            return value.random()
        if isinstance(value, dict):
            return sum(map(self.number, value.values()))
        if isinstance(value, (list, tuple, set, deque)):
            return sum(map(self.number, value))
        if isinstance(value, torch.dtype):
            return torch.finfo(value).bits
        if value is None or callable(value):
            return value(3) if value else 1.0
        return len(value) if isinstance(value, str) else getattr(value, "factor", value)

    def forward(self, x):
        return self.linear(x) * self.number(self.factor)


@pytest.mark.parametrize("kind", Weighted.kinds)
def test_an_attribute_of_any_kind_is_named(kind):
    def change(module):
        module.factor = module.kinds[kind](2.0)

    assert named(lambda: Weighted(kind), change=change) == {"factor": "attribute"}


NO_SETTINGS = {"tensor", "deque of tensors", "nested", "set", "object", "generator", "random"}


@pytest.mark.parametrize("kind", Weighted.kinds)
def test_a_setting_that_the_loader_builds_differently_is_told_from_state(kind):
    found = named(lambda: Weighted(kind, 2.0), loaded=lambda: Weighted(kind, 1.0))
    assert found == {"factor": "attribute" if kind in NO_SETTINGS else "config"}


@pytest.mark.parametrize("kind", Weighted.kinds)
def test_an_equal_attribute_is_not_named(kind):
    assert named(lambda: Weighted(kind)) == {}


class Optional(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.mean = None
        self.unused = 1

    def forward(self, x):
        x = self.linear(x)
        if self.mean is not None:
            x = x - self.mean
        return x * getattr(self, "scale", 1.0) + (0 if hasattr(self, "unused") else 1)


def test_an_attribute_that_was_none_or_absent_or_deleted_is_named():
    assert named(Optional, change=lambda module: setattr(module, "mean", torch.ones(2))) == {"mean": "attribute"}
    assert named(Optional, change=lambda module: setattr(module, "scale", 2.0)) == {"scale": "attribute"}
    assert named(Optional, change=lambda module: delattr(module, "unused")) == {"unused": "attribute"}


def test_values_are_described_on_both_sides():
    def change(module):
        module.mean = torch.ones(2)
        module.scale = 2.0

    culprits = {one.key: one for one in attribution_of(Optional, change=change).culprits}
    assert set(culprits) == {"mean", "scale"}
    assert (culprits["mean"].expected, culprits["mean"].actual) == ("float32[2] 1, 1", "None")
    assert (culprits["scale"].expected, culprits["scale"].actual) == ("2.0", "not set")
    assert culprits["mean"].type == "Tensor"
    assert culprits["scale"].place.startswith("output: 4 of 4 elements differ")


# -------------------------------------------------------------------------------------------------- which, and how many


class Many(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.Sequential(*(Weighted("tensor") for _ in range(4)))
        self.offset = 0.0
        self.debug = 0
        self.history = []
        self.register_buffer("mask", torch.ones(2), persistent=False)

    def forward(self, x):
        self.debug += 1
        self.history.append(float(x.sum()))
        return self.blocks(x) * self.mask + self.offset


def spoil(module):
    """Change what no output depends on."""
    module.debug = 7
    module.blocks[0].probe = nn.Identity()
    module.history = [1.0]
    module.blocks[1].note = "text"
    module.created = object()


PARTS = {
    "offset": (lambda module: setattr(module, "offset", 3.0), "attribute"),
    "blocks.2.factor": (lambda module: setattr(module.blocks[2], "factor", torch.tensor(5.0)), "attribute"),
    "blocks.3.factor": (lambda module: setattr(module.blocks[3], "factor", torch.tensor(7.0)), "attribute"),
    "mask": (lambda module: module.mask.mul_(2), "buffer"),
}


@pytest.mark.parametrize("keys", [keys for size in range(5) for keys in itertools.combinations(PARTS, size)])
def test_every_culprit_is_named_and_nothing_that_changes_no_output(keys):
    def change(module):
        spoil(module)
        for key in keys:
            PARTS[key][0](module)

    assert named(Many, change=change) == {key: PARTS[key][1] for key in keys}


class Lists(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = [nn.Linear(2, 2), nn.Linear(2, 2)]
        self.table = {"a": nn.Linear(2, 2)}
        self.unused = [nn.Linear(2, 2)]
        self.known = nn.Linear(2, 2)
        self.order = [self.known]

    def forward(self, x):
        return self.order[0](self.table["a"](self.layers[1](self.layers[0](x))))


def test_unregistered_layers_are_named_by_the_container_that_holds_them():
    assert named(Lists) == {"layers": "submodule", "table": "submodule"}


class Acts(nn.Module):
    """Calls a function that is bound to it."""

    def __init__(self, bound):
        super().__init__()
        self.scale = 1.0
        self.act = bound(self)

    def forward(self, x):
        return self.act(x)


def test_a_function_that_is_bound_to_the_source_explains_nothing_that_a_number_explains():
    make, loaded = (
        lambda: Acts(lambda module: lambda x: x * module.scale),
        lambda: Acts(lambda m: lambda x: m.scale * x),
    )
    assert named(make, loaded=loaded, change=lambda module: setattr(module, "scale", 3.0)) == {"scale": "attribute"}


def counting(factor):
    def bound(module):
        def act(x):
            module.calls += 1
            return x * factor

        module.calls = 0
        return act

    return bound


def test_a_function_that_is_bound_to_the_source_leaves_it_as_it_was():
    source, target = Acts(counting(2)), Acts(lambda _module: lambda x: x * 3)
    found = attribute_outputs(Moment(source), source, target, {}, frozenset(), Runner(X), lambda: Acts(counting(2)))
    assert [one.key for one in found.culprits] == ["act"]
    assert source.calls == 0


class Shifts(nn.Module):
    def __init__(self, factor, shift):
        super().__init__()
        self.factor, self.shift = factor, shift

    def forward(self, x):
        return x * self.factor + self.shift


def shifts_counted():
    """Give a module as a loader of its own gives it: it counts its calls."""

    def count(module, _inputs):
        module.calls += 1

    module = Shifts(1.0, 1.0)
    module.calls = 0  # type: ignore[assignment]
    module.register_forward_pre_hook(count)
    return module


def test_what_the_loaded_module_needs_and_the_source_does_not_have_is_left_to_it():
    assert named(lambda: Shifts(2.0, 3.0), loaded=shifts_counted) == {"factor": "config", "shift": "config"}


class Owned(Shifts):
    """Refuses to run where it is not its own."""

    def __init__(self, factor):
        super().__init__(factor, 1.0)
        self.owner = owner = random.random()
        self.register_forward_pre_hook(partial(self.require, owner))

    @staticmethod
    def require(owner, module, _inputs):
        if module.owner != owner:
            raise RuntimeError("not its own")


def test_one_that_explains_it_is_named_where_all_together_break_the_module():
    assert named(lambda: Owned(2.0), loaded=lambda: Owned(1.0)) == {"factor": "config"}


# -------------------------------------------------------------------------------------------------- derived, configured


class Derived(nn.Module):
    """Computes several things from its weight, and one from nothing that is saved."""

    def __init__(self):
        super().__init__()
        self.width = 2
        self.weight = nn.Parameter(torch.rand(2) + 1)
        self.inverse = 1 / self.weight.detach()
        self.norm = float(self.weight.detach().norm())
        self.register_buffer("square", self.weight.detach() ** 2, persistent=False)
        self.noise = torch.rand(2)

    def forward(self, x):
        return x * self.inverse * self.norm * self.square + self.noise


class DerivedOutsideOfTorch(nn.Module):
    """Computes numbers and arrays from its weight, others from nothing that is saved; and two that only look alike."""

    order: torch.Tensor

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(2) + 1)
        self.bias = nn.Parameter(torch.zeros(1))
        self.register_buffer("order", torch.ones(2, dtype=torch.int64).cumsum(0, dtype=torch.int64) - 1)
        self.table = (self.weight.detach()[self.order] * 2).numpy()
        self.levels = (self.weight.detach() + 1).tolist()
        self.noise = np.random.default_rng().normal(size=2)
        self.steps = [random.random(), random.random()]
        self.shift = [0.0]

    def forward(self, x):
        x = x * self.weight + self.bias + self.shift[0]
        return x * torch.tensor(self.table) + torch.tensor(self.levels) * torch.tensor(self.noise) + self.steps[0]


def test_what_is_computed_from_the_state_is_told_from_what_is_not():
    assert named(Derived) == {"inverse": "derived", "norm": "derived", "square": "derived", "noise": "attribute"}
    assert named(DerivedOutsideOfTorch, change=lambda module: setattr(module, "shift", [2.0])) == {
        "table": "derived",
        "levels": "derived",
        "noise": "attribute",
        "steps": "attribute",
        "shift": "attribute",
    }


# -------------------------------------------------------------------------------------------------------------- hooks


def times(held, _module, _inputs, output):
    """Multiply by whatever number a container holds."""
    return output * max(held.values() if isinstance(held, dict) else held)


class HookHoldsAContainer(nn.Module):
    def __init__(self, held):
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.held = held
        self.register_forward_hook(partial(times, self.held))

    def forward(self, x):
        return self.linear(x)


@pytest.mark.parametrize(
    ("make", "change"),
    [
        (lambda: [1.0], lambda held: held.append(3.0)),
        (lambda: deque([1.0], maxlen=2), lambda held: held.append(3.0)),
        (lambda: {1.0}, lambda held: held.add(3.0)),
        (lambda: {"a": 1.0}, lambda held: held.update(b=3.0)),
    ],
    ids=["list", "deque", "set", "dict"],
)
def test_a_container_that_a_hook_holds_too_is_named(make, change):
    assert named(lambda: HookHoldsAContainer(make()), change=lambda module: change(module.held)) == {
        "held": "attribute"
    }


def scaling(scale, teacher=None):
    """Give a hook that is bound to a number and a module, and to a variable that is not set."""

    def hook(_module, _inputs, output):
        if scale is None:
            return output * never
        return output * scale if teacher is None else teacher(output * scale)

    if scale is None:
        never = 1.0
    return hook


class Hooked(nn.Module):
    def __init__(self, *hooks):
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.handles = [self.linear.register_forward_hook(hook) for hook in hooks]

    def forward(self, x):
        return self.linear(x)


def test_a_variable_that_a_hook_is_bound_to_is_named():
    numbers = itertools.count(1)
    make = lambda: Hooked(partial(times, [1.0]), scaling(float(next(numbers))))
    assert named(make) == {"linear.scale": "closure"}


def test_what_a_hook_is_bound_to_is_left_as_it_was():
    source, target = (Hooked(scaling(scale)) for scale in (2.0, 3.0))
    target.load_state_dict(source.state_dict())
    before = target(X)
    assert attribute_outputs(Moment(source), source, target, {}, frozenset(), Runner(X), nn.Identity).culprits
    assert torch.equal(target(X), before)


def test_hooks_of_other_code_are_not_compared():
    make, loaded = lambda: Hooked(scaling(2.0)), lambda: Hooked(lambda _module, _inputs, output: output * 3)
    assert named(make, loaded=loaded) == {"linear": "unknown"}


def test_a_module_that_a_hook_is_bound_to_is_named():
    assert named(lambda: Hooked(scaling(1.0, nn.Linear(2, 2)))) == {"linear.teacher": "submodule"}


# --------------------------------------------------------------------------------------------------- nothing to be said


class Unrepeatable(nn.Module):
    calls = 0

    def forward(self, x):
        type(self).calls += 1
        return x + self.calls


def test_a_forward_that_does_not_repeat_itself_is_not_judged():
    found = attribution_of(Unrepeatable)
    assert found.culprits == ()
    assert "other outputs on the same inputs" in found.reason


class InPart(nn.Module):
    def forward(self, x):
        return x, x + next(NUMBERS)


NUMBERS = itertools.count()


def test_a_part_of_the_outputs_that_does_not_repeat_itself_is_not_judged():
    assert attribution_of(InPart).reason == "[1] differ from run to run and were not compared"
    assert attribution_of(lambda: nn.Linear(2, 2)).reason == ""


class Fails(nn.Module):
    def forward(self, x):
        raise RuntimeError("no")


def test_a_forward_that_raises_is_not_judged():
    found = attribution_of(Fails)
    assert found.culprits == ()
    assert found.reason.startswith("forward of the saved module raised RuntimeError: no")


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_randomness_is_no_difference(mode):
    make = lambda: nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5), nn.RReLU(), nn.BatchNorm1d(2))
    assert named(make, mode=mode) == {}


class Behind(nn.Module):
    """Keeps its state where no attribute shows it."""

    kept: ClassVar[dict[int, int]] = {}

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(2, 2)
        self.second = _Looks()

    def forward(self, x):
        return self.second(self.first(x))


class _Looks(nn.Module):
    def forward(self, x):
        return x + Behind.kept.setdefault(id(self), len(Behind.kept))


def test_where_no_attribute_explains_it_the_first_submodule_that_differs_is_named():
    found = attribution_of(Behind)
    assert [(one.key, one.kind) for one in found.culprits] == [("second", "unknown")]
    assert "second" in found.culprits[0].place


def test_what_is_known_to_be_lost_is_not_the_first_that_differs():
    source, target = Behind(), Behind()
    lost = {"first.weight": source.first.weight.detach().clone(), "first.bias": source.first.bias.detach().clone()}
    held = target.first.weight
    found = attribute_outputs(Moment(source), source, target, lost, frozenset(lost), Runner(X), Behind)
    assert [one.key for one in found.culprits] == ["second"]
    assert target.first.weight is held
    assert not any(one._forward_hooks for module in (source, target) for one in module.modules())


def test_a_loaded_module_that_does_not_repeat_itself_is_not_judged():
    calls = itertools.count(1)

    class Settles(nn.Module):
        def forward(self, x):
            return x + (next(calls) == 3)  # the first two are of the saved module

    found = attribution_of(Settles)
    assert found.culprits == ()
    assert "of the loaded module differ from run to run" in found.reason


def test_a_loaded_module_that_raises_is_named_with_its_error():
    first: list[int] = []

    class OnlyTheFirst(nn.Module):
        def forward(self, x):
            first.append(id(self))
            if id(self) != first[0]:
                raise RuntimeError("no")
            return x

    found = attribution_of(lambda: nn.Sequential(nn.Linear(2, 2), OnlyTheFirst()))
    assert [(one.key, one.kind) for one in found.culprits] == [("Sequential", "unknown")]
    assert "forward of the loaded module raised RuntimeError: no" in found.culprits[0].place


class Counts(nn.Module):
    """Adds the number of its calls; of all calls, if it is told to."""

    calls = 0

    def __init__(self, all_of_them=False):
        super().__init__()
        self.number, self.all_of_them = 0, all_of_them

    def forward(self, x):
        self.number += 1
        type(self).calls += 1
        return x + (self.calls if self.all_of_them else self.number)


@pytest.mark.parametrize("all_of_them", [False, True])
def test_the_source_is_compared_at_its_point_and_brought_back_to_it(all_of_them):
    source, target = Counts(all_of_them), Counts(all_of_them)
    moment = Moment(source)
    source(X)
    found = attribute_outputs(moment, source, target, {}, frozenset(), Runner(X), Counts)
    assert found.culprits == ()
    assert bool(found.reason) == all_of_them
    assert source.number == 0


def test_both_modules_are_left_as_they_were():
    source, target = Many(), Many()
    target.load_state_dict(source.state_dict())
    spoil(source)
    source.offset = 3.0
    history, mask = source.history, target.mask
    moment = Moment(source)
    assert attribute_outputs(moment, source, target, {}, frozenset(entries(source)), Runner(X), Many).culprits
    assert source.debug == 7
    assert source.history == history == [1.0]
    assert target.offset == 0.0
    assert target.debug == 0
    assert target.mask is mask
    assert not hasattr(target, "created")
