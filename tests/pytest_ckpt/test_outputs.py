"""Running forward with fixed randomness, and comparing what comes out of it."""

from __future__ import annotations

import enum
import math
import random
from collections import OrderedDict, UserDict, deque
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Categorical, Normal

from pytest_ckpt.findings import UsageError
from pytest_ckpt.outputs import ForwardError, Runner, close, first_difference, moved, same_randomness, where


class Pair(NamedTuple):
    left: Any
    right: Any


@dataclass
class Output:
    logits: torch.Tensor
    hidden: tuple[torch.Tensor, ...] | None = None


@dataclass(slots=True)
class Slotted:
    logits: torch.Tensor


class Colour(enum.Enum):
    RED = 1
    GREEN = 2


def one(value=1.0):
    return torch.full((2,), value)


SAME = {
    "tensors": one,
    "nan": lambda: one(math.nan),
    "number nan": lambda: math.nan,
    "tuple": lambda: (one(), None, "text"),
    "named tuple": lambda: Pair(one(), {"a": one()}),
    "dataclass": lambda: Output(one(), (one(), one())),
    "distribution": lambda: Normal(one(), one()),
    "nested distribution": lambda: {"policy": Categorical(logits=one())},
    "namespace": lambda: SimpleNamespace(a=one()),
    "user dict": lambda: UserDict(a=one()),
    "function": lambda: lambda: None,
    "module": lambda: nn.Linear(2, 2),
    "generator": lambda: (item for item in [1]),
    "enum": lambda: Colour.RED,
    "meta": lambda: torch.ones(2, device="meta"),
    "sparse": lambda: torch.eye(3).to_sparse(),
    "numpy": lambda: np.full(2, math.nan),
    "bytes": lambda: b"abc",
}
OTHER = {
    "tensors": (one(), one(2.0), "output"),
    "dtype": (one(), one().double(), "output"),
    "shape": (one(), one()[:1], "output"),
    "integers": (torch.tensor([1, 2]), torch.tensor([1, 3]), "output"),
    "bool": (torch.tensor([True]), torch.tensor([False]), "output"),
    "nan": (one(), one(math.nan), "output"),
    "infinity": (one(math.inf), one(-math.inf), "output"),
    "list": ([one(), one()], [one(), one(2.0)], "[1]"),
    "length": ([one()], [one(), one()], "output"),
    "dict": ({"a": one(), "b": one()}, {"a": one(), "b": one(2.0)}, "['b']"),
    "ordered dict": (OrderedDict(a=one()), OrderedDict(a=one(2.0)), "['a']"),
    "user dict": (UserDict(a=one()), UserDict(a=one(2.0)), "['a']"),
    "named tuple": (Pair(one(), one()), Pair(one(), one(2.0)), "[1]"),
    "dataclass": (Output(one(), (one(),)), Output(one(), (one(2.0),)), ".hidden[0]"),
    "slotted dataclass": (Slotted(one()), Slotted(one(2.0)), ".logits"),
    "namespace": (SimpleNamespace(a=one()), SimpleNamespace(a=one(2.0)), ".a"),
    "distribution": (Normal(one(), one()), Normal(one(2.0), one()), ".loc"),
    "deque": (deque([1]), deque([2]), "[0]"),
    "set": ({1, 2}, {1, 3}, "output"),
    "enum": (Colour.RED, Colour.GREEN, ""),
    "text": ("a", "b", "output"),
    "bytes": (b"a", b"b", "output"),
    "number": (1, 2, "output"),
    "type of number": (1, 1.0, "output"),
    "none": (None, one(), "output"),
    "sparse": (torch.eye(3).to_sparse(), (torch.eye(3) * 2).to_sparse(), "output"),
    "numpy": (np.ones(2), np.zeros(2), "output"),
    "numpy number": (np.float32(1), np.float32(2), "output"),
}


@pytest.mark.parametrize("name", SAME)
def test_outputs_that_agree(name):
    assert first_difference(SAME[name](), SAME[name]()) is None


@pytest.mark.parametrize("name", OTHER)
def test_outputs_that_differ_and_where(name):
    expected, actual, place = OTHER[name]
    found = first_difference(expected, actual)
    assert found is not None
    assert found.startswith(place)
    assert first_difference(actual, expected) is not None


def test_the_first_place_is_named_of_several():
    found = first_difference({"a": [one(), one(2.0)], "b": one()}, {"a": [one(), one()], "b": one(3.0)})
    assert found == "['a'][1]: 2 of 2 elements differ, by 1 at the most"


def test_outputs_that_contain_themselves():
    expected, actual = [one()], [one()]
    expected.append(expected)
    actual.append(actual)
    assert first_difference(expected, actual) is None
    actual[0] = one(2.0)
    assert str(first_difference(expected, actual)).startswith("[0]")


# ------------------------------------------------------------------------------------------------------------ tolerance


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_a_unit_in_the_last_place_is_no_difference_and_a_thousandth_part_is(dtype):
    value = torch.tensor([1.0, 0.5, -2.0], dtype=dtype)
    assert close(value, torch.nextafter(value, value + 1) if dtype != torch.float16 else value * (1 + 2**-10))
    assert not close(value, value * (1.001 if dtype.itemsize > 2 else 1.05))


def test_a_difference_in_small_elements_is_seen_beside_a_huge_one():
    expected = torch.full((10,), 0.5)
    expected[0] = torch.finfo(torch.float32).min  # a masked place
    actual = expected.clone()
    actual[5] = 1.0
    assert not close(expected, actual)
    assert close(expected, expected.clone())


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e8m0fnu])
def test_one_byte_floats_that_differ_by_half(dtype):
    assert not close(torch.tensor([1.0, 4.0]).to(dtype), torch.tensor([2.0, 4.0]).to(dtype))
    assert close(torch.tensor([1.0, 4.0]).to(dtype), torch.tensor([1.0, 4.0]).to(dtype))


def test_infinities_and_nans_must_stand_in_the_same_places():
    expected = torch.tensor([1.0, math.nan, math.inf])
    assert close(expected, expected * (1 + 2**-23))
    assert not close(expected, torch.tensor([1.0, math.nan, -math.inf]))
    assert not close(expected, torch.tensor([math.nan, math.nan, math.inf]))
    assert not close(expected, torch.tensor([1.0, 1.0, math.inf]))


def test_complex_outputs():
    expected = torch.tensor([1 + 2j, 3j])
    assert close(expected, expected * (1 + 2**-23))
    assert not close(expected, expected.conj())


def test_outputs_that_hold_nothing():
    assert close(torch.ones(0), torch.ones(0))
    assert not close(torch.ones(0), torch.ones(0, 1))


# --------------------------------------------------------------------------------------------------------------- runner


class Echo(nn.Module):
    def forward(self, *args, **kwargs):
        return args, kwargs


class Callable:
    def __call__(self):
        raise AssertionError("an object that can be called is an input, not a factory of inputs")


@pytest.mark.parametrize(
    ("inputs", "args", "kwargs"),
    [
        (one(), (one(),), {}),
        ((one(), 2), (one(), 2), {}),
        ((), (), {}),
        ({"x": one()}, (), {"x": one()}),
        ([one(), one()], ([one(), one()],), {}),
        (Pair(1, 2), (Pair(1, 2),), {}),
        (3, (3,), {}),
        (lambda: (one(), 2), (one(), 2), {}),
        (partial(dict, x=1), (), {"x": 1}),
    ],
)
def test_inputs_become_arguments_of_forward(inputs, args, kwargs):
    runner = Runner(inputs)
    assert runner.given
    assert first_difference((args, kwargs), runner(Echo())) is None


def test_an_object_that_can_be_called_is_an_input():
    thing = Callable()
    (got,), _ = Runner(thing)(Echo())
    assert isinstance(got, Callable)


def test_no_inputs_is_no_forward():
    assert not Runner(None).given


def test_inputs_are_made_once():
    made = iter([one()])
    runner = Runner(lambda: next(made))
    runner(Echo())
    runner(Echo())


class InPlace(nn.Module):
    def forward(self, x):
        return x.add_(1)


def test_each_run_starts_from_the_inputs_that_were_given():
    given = one()
    runner = Runner(given)
    first, second = runner(InPlace()), runner(InPlace())
    assert torch.equal(first, one(2.0))
    assert torch.equal(second, one(2.0))
    assert torch.equal(given, one())


class ReturnsBuffer(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(2))

    def forward(self, x):
        self.seen += x
        return self.seen


def test_outputs_are_held_by_nobody_else():
    module, runner = ReturnsBuffer(), Runner(one())
    first = runner(module)
    runner(module)
    assert torch.equal(first, one())


class Energy(nn.Module):
    """Differentiates inside its forward, as models of physics do."""

    def forward(self, x):
        x = x.requires_grad_()
        return torch.autograd.grad((x**2).sum(), x)[0]


def test_gradients_are_off_unless_forward_needs_them():
    assert torch.equal(Runner(one())(Energy()), one(2.0))

    class Records(nn.Module):
        def forward(self, x):
            return torch.is_grad_enabled(), torch.is_inference_mode_enabled()

    assert Runner(one())(Records()) == (False, False)


def test_an_exception_names_the_line_of_the_users_code():
    class Fails(nn.Module):
        def forward(self, x):
            raise KeyError("missing")

    with pytest.raises(ForwardError, match=rf"^KeyError: 'missing' \(at .*{__file__[-15:]}:\d+ in forward\)$"):
        Runner(one())(Fails())


def test_inputs_that_cannot_be_made():
    with pytest.raises(UsageError, match=r"inputs\(\) raised ZeroDivisionError: .*test_outputs.py") as caught:
        Runner(lambda: 1 / 0)
    assert caught.value.__cause__ is None


# ----------------------------------------------------------------------------------------------------------- randomness


class Noise(nn.Module):
    def forward(self, x):
        return x + torch.randn(2), random.random(), np.random.rand()  # noqa: NPY002 -- the global generator is the point


def test_every_run_draws_the_same_numbers():
    runner = Runner(one())
    assert first_difference(runner(Noise()), runner(Noise())) is None


def test_the_generators_stand_where_they_stood():
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002 -- the global generator is the point
    expected = torch.randn(2), random.random(), np.random.rand()  # noqa: NPY002 -- as above
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002 -- as above
    Runner(one())(Noise())
    with pytest.raises(ZeroDivisionError), same_randomness():
        torch.randn(3), random.random(), 1 / 0
    assert first_difference(expected, (torch.randn(2), random.random(), np.random.rand())) is None  # noqa: NPY002 -- as above


# ---------------------------------------------------------------------------------------------------------- small facts


class Batch:
    def __init__(self, device="cpu"):
        self.device = device

    def to(self, device):
        return Batch(device)


def test_moved_rebuilds_containers_and_uses_the_to_of_objects():
    got = moved({"a": [one(), (one(), 1)], "b": Batch(), "c": Pair(1, 2), "d": "text"}, "meta")
    assert got["a"][0].device.type == got["a"][1][0].device.type == "meta"
    assert got["a"][1][1] == 1
    assert got["b"].device == "meta"
    assert got["d"] == "text"


def test_named_tuples_are_moved_item_by_item():
    got = moved(Pair(one(), [one()]), "meta")
    assert isinstance(got, Pair)
    assert got.left.device.type == got.right[0].device.type == "meta"


def test_where_says_type_text_and_place():
    try:
        int("x")
    except ValueError as error:
        text = where(error)
    assert text.startswith("ValueError: invalid literal for int() with base 10: 'x' (at ")
    assert "test_outputs.py:" in text
    assert where(ValueError()) == "ValueError: no message"
