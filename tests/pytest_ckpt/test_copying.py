"""Values are copied deeply with what they share, and brought back in place."""

from __future__ import annotations

import random
import threading
from collections import OrderedDict, UserDict, defaultdict, deque
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakSet

import numpy as np
import pytest
import torch
from torch import nn

from pytest_ckpt.compare import difference, equal
from pytest_ckpt.copying import Copier, copy_tensor, duplicate, write_back


@pytest.mark.parametrize(
    "value",
    [
        {"a": [1, (2, torch.ones(2))]},
        OrderedDict(a=torch.ones(2)),
        deque([torch.ones(2)], maxlen=3),
        (1, torch.ones(2, dtype=torch.bfloat16)),
        {1, 2},
        torch.Size([1, 2]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_duplicates_are_equal_and_of_the_same_type(value):
    copied = duplicate(value)
    assert type(copied) is type(value)
    assert difference("", value, copied) is None


def test_a_weak_set_is_brought_back_each_time():
    layers = [nn.Identity(), nn.Identity()]
    value, copier = WeakSet(layers[:1]), Copier()
    copier.copy(value)
    for _ in range(2):
        value.add(layers[1])
        copier.restore()
        assert list(value) == layers[:1]


def test_duplicates_share_nothing():
    tensor = torch.ones(2)
    value = {"a": [tensor], "b": deque([tensor], maxlen=2)}
    copied = duplicate(value)
    copied["a"][0] += 1
    copied["a"].append(1)
    copied["b"].append(1)
    assert torch.equal(tensor, torch.ones(2))
    assert value == {"a": [tensor], "b": deque([tensor])}
    assert copied["b"].maxlen == 2


def test_duplicates_keep_what_was_one_object_one_object():
    tensor = torch.ones(2)
    copied = duplicate([tensor, tensor, (tensor,)])
    assert copied[0] is copied[1] is copied[2][0]
    loop: list[Any] = []
    loop.append(loop)
    copied = duplicate(loop)
    assert copied is not loop
    assert copied[0] is copied


def test_a_duplicated_generator_goes_on_where_it_stood():
    generator = torch.Generator().manual_seed(3)
    torch.rand(5, generator=generator)
    copied = duplicate(generator)
    assert copied is not generator
    assert torch.equal(torch.rand(3, generator=generator), torch.rand(3, generator=copied))


class Holder:
    def __init__(self, module):
        self.module, self.tensor = module, torch.ones(2)


def test_modules_stay_the_objects_that_they_are():
    module = nn.Linear(2, 2)
    copied = duplicate({"a": [module], "b": Holder(module)})
    assert copied["a"][0] is module
    assert copied["b"].module is module
    assert copied["b"].tensor is not None


def test_what_is_kept_stays_itself():
    kept, other = torch.ones(2), torch.ones(2)
    copied = duplicate([kept, other], [kept])
    assert copied[0] is kept
    assert copied[1] is not other


@pytest.mark.parametrize("value", [threading.Lock(), lambda: None, nn.Linear, iter([])])
def test_what_cannot_be_copied_is_given_as_it_is(value):
    assert type(duplicate([value])[0]) is type(value)


def test_tensors_are_copied_without_their_history():
    weight = nn.Parameter(torch.ones(2), requires_grad=True)
    made = weight * 2
    copied = duplicate(made)
    assert copied.grad_fn is None
    assert not copied.requires_grad
    assert torch.equal(copied, made)
    parameter = copy_tensor(weight)
    assert isinstance(parameter, nn.Parameter)
    assert parameter.requires_grad
    assert not copy_tensor(nn.Parameter(torch.ones(1), requires_grad=False)).requires_grad


@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_lazy_tensors_stay_themselves():
    lazy = nn.LazyLinear(2).weight
    assert copy_tensor(lazy) is lazy


# -------------------------------------------------------------------------------------------------------------- restore


@dataclass
class Settings:
    rate: float = 0.5
    items: list[Any] = field(default_factory=list)


class Plain:
    def __init__(self):
        self.value = 1


class Slotted:
    __slots__ = ("tensor", "unset")

    def __init__(self):
        self.tensor = torch.zeros(2)


def closure():
    seen: dict[str, int] = {}

    def count(name):
        seen[name] = seen.get(name, 0) + 1
        return seen

    return count


CHANGES = {
    "dict": (dict, lambda value: value.update(a=1)),
    "dict of a dict": (lambda: {"a": {"b": [1]}}, lambda value: value["a"]["b"].append(2)),
    "ordered dict": (lambda: OrderedDict(a=1, b=2), lambda value: value.move_to_end("a")),
    "default dict": (lambda: defaultdict(list, a=[1]), lambda value: value["b"].append(1)),
    "user dict": (lambda: UserDict(a=1), lambda value: value.update(b=1)),
    "list": (lambda: [1, 2], list.clear),
    "deque": (lambda: deque([1, 2], maxlen=2), lambda value: value.append(3)),
    "set": (lambda: {1, 2}, lambda value: value.add(3)),
    "tensor": (lambda: torch.zeros(2), lambda value: value.add_(1)),
    "tensor in a tuple": (lambda: (torch.zeros(2),), lambda value: value[0].add_(1)),
    "sparse tensor": (lambda: torch.eye(2).to_sparse().coalesce(), lambda value: value.values().add_(1)),
    "numpy array": (lambda: np.zeros(2), lambda value: value.fill(1)),
    "generator": (lambda: torch.Generator().manual_seed(1), lambda value: torch.rand(1, generator=value)),
    "numpy generator": (lambda: np.random.default_rng(1), lambda value: value.random()),
    "random": (lambda: random.Random(1), lambda value: value.random()),
    "dataclass": (Settings, lambda value: value.__init__(1.0, [1])),
    "new attribute": (Plain, lambda value: setattr(value, "fresh", 1)),
    "slots": (Slotted, lambda value: setattr(value, "unset", value.tensor.add_(1))),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_what_was_copied_is_brought_back_in_place(kind):
    make, change = CHANGES[kind]
    value, untouched = make(), make()
    copier = Copier()
    copied = copier.copy(value)
    for _ in range(2):
        change(value)
        assert not equal(value, untouched), "the change must show"
        assert equal(copied, untouched), "and not in the copy"
        copier.restore()
        assert equal(value, untouched)


def test_what_a_function_is_bound_to_is_brought_back():
    count = closure()
    count("before")
    copier = Copier()
    assert copier.copy([count])[0] is count
    count("after")
    copier.restore()
    assert count("before") == {"before": 2}


def test_what_two_values_share_their_copies_share_and_restoring_keeps():
    shared: dict[str, Any] = {"a": torch.zeros(1)}
    one, other = [shared], {"held": shared}
    copier = Copier()
    first, second = copier.copy(one), copier.copy(other)
    assert first[0] is second["held"]
    one[0] = {}
    shared["b"] = 1
    copier.restore()
    assert one[0] is other["held"] is shared
    assert equal(shared, {"a": torch.zeros(1)})


def test_values_that_contain_themselves_are_brought_back():
    loop: dict[str, Any] = {"n": 1}
    loop["self"] = loop
    copier = Copier()
    copier.copy(loop)
    loop.clear()
    copier.restore()
    assert loop["self"] is loop
    assert loop["n"] == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda tensor: tensor.data.fill_(7),
        lambda tensor: setattr(tensor, "data", torch.ones(5)),
        lambda tensor: setattr(tensor, "data", torch.ones(2, dtype=torch.float16)),
        lambda tensor: setattr(tensor, "data", torch.ones(1).expand(2)),
    ],
    ids=["value", "shape", "dtype", "expanded"],
)
def test_a_tensor_is_given_its_former_value(change):
    tensor = nn.Parameter(torch.tensor([1.0, float("nan")]))
    value = tensor.detach().clone()
    change(tensor)
    write_back(tensor, value)
    assert difference("", value, tensor) is None
    assert tensor.requires_grad


def test_a_function_that_is_bound_to_itself_is_walked_once():
    def count(number):
        return number and count(number - 1)

    held = {"count": count}
    assert duplicate(held)["count"] is count
