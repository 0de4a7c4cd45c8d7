"""A snapshot sees every change of a live module, at the cost of a pass over its memory."""

from __future__ import annotations

import random

import pytest
import torch
from torch import nn

from pytest_ckpt import check_module
from pytest_ckpt.facts import loads_with_torch_alone, saves_with_torch_alone
from pytest_ckpt.snapshot import Prints, Snapshot, changed_modes, modes
from pytest_ckpt.trip import Changed


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.norm = nn.BatchNorm1d(2)
        self.register_buffer("table", torch.arange(3.0), persistent=False)
        self.again = self.linear


def rounded(module):
    module.half()
    module.float()


CHANGES = {
    "linear.weight": lambda module: module.linear.weight.data.mul_(2),
    "norm.num_batches_tracked": lambda module: module.norm.num_batches_tracked.add_(1),
    "table": lambda module: module.table.add_(1),
    "linear.bias": lambda module: module.linear.bias.data.copy_(module.linear.bias.data.half() * 1.01),
    "norm.running_mean": lambda module: module.norm.running_mean.neg_(),
    "norm.weight": lambda module: setattr(module.norm, "weight", nn.Parameter(torch.zeros(2))),
}


@pytest.mark.parametrize("key", CHANGES)
def test_a_changed_entry_is_seen(key):
    module = Net()
    snapshot = Snapshot(module)
    CHANGES[key](module)
    expected = {key, "again." + key.removeprefix("linear.")} if key.startswith("linear") else {key}
    assert {one.key for one in snapshot.changes()} == expected


def test_nothing_is_seen_where_nothing_changed():
    module = Net()
    snapshot = Snapshot(module)
    module.state_dict()
    module.norm.eval()(torch.ones(2, 2))
    assert snapshot.changes() == ()


def test_values_are_described_as_they_were_and_are():
    module = nn.BatchNorm1d(2)
    snapshot = Snapshot(module)
    module.weight.data.fill_(2)
    assert snapshot.changes() == (Changed("weight", "float32[2] 1, 1", "float32[2] 2, 2"),)


def test_entries_that_are_taken_away_and_added():
    module = Net()
    snapshot = Snapshot(module)
    del module.norm.running_mean
    module.register_buffer("fresh", torch.zeros(1))
    assert {(one.key, one.actual == "absent", one.expected == "absent") for one in snapshot.changes()} == {
        ("norm.running_mean", True, False),
        ("fresh", False, True),
    }


def test_dtype_and_shape_are_changes():
    module = nn.Linear(2, 2)
    snapshot = Snapshot(module)
    module.weight.data = module.weight.data.double()
    module.bias.data = module.bias.data[:1]
    assert {one.key for one in snapshot.changes()} == {"weight", "bias"}


def test_rounding_and_back_is_a_change():
    module = nn.Linear(8, 8)
    snapshot = Snapshot(module)
    rounded(module)
    assert {one.key for one in snapshot.changes()} == {"weight", "bias"}


def test_flags_and_generators():
    module = Net()
    snapshot = Snapshot(module)
    module.linear.bias.requires_grad = False
    assert {one.key: (one.expected, one.actual) for one in snapshot.changes()} == {
        "linear.bias": ("requires_grad=True", "requires_grad=False"),
        "again.bias": ("requires_grad=True", "requires_grad=False"),
    }
    snapshot = Snapshot(module)
    torch.rand(1)
    assert [one.key for one in snapshot.changes()] == ["torch.get_rng_state()"]
    snapshot = Snapshot(module)
    random.random()
    assert [one.key for one in snapshot.changes()] == ["random.getstate()"]


@pytest.mark.filterwarnings("ignore:Lazy modules")
@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.LazyLinear(2),
        lambda: nn.Linear(2, 2, device="meta"),
        lambda: nn.Linear(0, 2),
    ],
)
def test_modules_without_values_do_not_change(make):
    module = make()
    assert Snapshot(module).changes() == ()


# -------------------------------------------------------------------------------------------------------- large tensors


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.complex64, torch.bool, torch.uint8])
@pytest.mark.parametrize("place", [0, 1, 12_345, -1])
def test_one_element_of_a_large_tensor(dtype, place):
    tensor = torch.zeros(2**21, dtype=dtype)
    prints = Prints({"large": tensor})
    assert prints.changes({"large": tensor}) == ()
    tensor[place] = 1
    assert [one.key for one in prints.changes({"large": tensor})] == ["large"]


def test_a_large_tensor_whose_elements_changed_places():
    tensor = torch.arange(2**19, dtype=torch.float64)
    prints = Prints({"large": tensor})
    tensor.copy_(tensor.flip(0))
    assert [one.key for one in prints.changes({"large": tensor})] == ["large"]
    tensor.copy_(torch.arange(2**19, dtype=torch.float64))
    assert prints.changes({"large": tensor}) == ()
    tensor[:4] = torch.tensor([2.0, 3.0, 0.0, 1.0])
    assert [one.key for one in prints.changes({"large": tensor})] == ["large"]


def test_a_large_tensor_that_is_no_longer_contiguous():
    tensor = torch.arange(2**20, dtype=torch.float32).view(1024, 1024)
    prints = Prints({"large": tensor})
    assert prints.changes({"large": tensor.t()}) != ()
    assert prints.changes({"large": tensor.t().contiguous().t()}) == ()


# ---------------------------------------------------------------------------------------------------------------- dicts


def test_prints_of_a_dict_keep_copies_of_what_is_no_tensor():
    held = [3]
    prints = Prints({"a": torch.ones(1), "b": held})
    held.append(4)
    assert prints.changes({"a": torch.ones(1), "b": held}) == (Changed("b", "list(1) [3]", "list(2) [3, 4]"),)


def test_prints_of_a_dict_look_into_dicts_where_it_has_no_tensors_itself():
    state = {"a": torch.ones(1), "b": torch.ones(1)}
    prints = Prints({"model": state, "epoch": 3})
    state.pop("a")
    state["b"].add_(1)
    assert [one.key for one in prints.changes({"model": state, "epoch": 3})] == ["a", "b"]
    assert [one.key for one in prints.changes({"epoch": 3})] == ["model"]


def test_prints_of_a_dict_name_what_was_taken_away_and_what_was_added():
    prints = Prints({"a": torch.ones(1), "b": 3})
    assert prints.changes({"a": torch.ones(1)}) == (Changed("b", "3", "absent"),)
    assert prints.changes({"a": torch.ones(1), "b": 3, "c": 1}) == (Changed("c", "absent", "1"),)
    assert [one.key for one in prints.changes({"a": "replaced", "b": 3})] == ["a"]


# ---------------------------------------------------------------------------------------------------------------- modes


def test_modes_are_named_and_the_outermost_is_blamed():
    module = nn.Sequential(nn.Linear(1, 1), nn.Sequential(nn.Dropout()))
    assert set(modes(module)) == {"Sequential", "0", "1", "1.0"}
    snapshot = Snapshot(module)
    assert snapshot.mode_changes() == ()
    module.eval()
    assert snapshot.mode_changes() == (Changed("Sequential", "training", "eval"),)
    module.train()
    module.get_submodule("1.0").eval()
    assert snapshot.mode_changes() == (Changed("1.0", "training", "eval"),)


def test_modes_of_modules_that_are_only_on_one_side_say_nothing():
    assert changed_modes({"Net": True, "a": True}, {"Net": True, "b": False}) == ()
    assert changed_modes({"Net": True, "a": True}, {"Net": True, "a": False}) == (Changed("a", "training", "eval"),)


@pytest.mark.parametrize("large", [True, False])
def test_bits_of_large_tensors_are_watched_unless_that_is_not_wanted(large):
    module = nn.Linear(1024, 1024)
    snapshot = Snapshot(module, large=large)
    module.weight.data[500, 500] += 1
    module.bias.data[500] += 1
    assert {one.key for one in snapshot.changes()} == ({"weight", "bias"} if large else {"bias"})


class Hooked(nn.Linear):
    def state_dict(self, *args, **kwargs):
        self.weight.data.mul_(2)
        return super().state_dict(*args, **kwargs)


def test_only_what_torch_saves_alone_goes_unwatched():
    assert saves_with_torch_alone(nn.Linear(2, 2))
    assert not saves_with_torch_alone(Hooked(2, 2))
    (finding,) = check_module(lambda: Hooked(1024, 1024), devices=["cpu"], checks=["save-mutates"]).findings
    assert finding.key == "weight"


class Scaling(nn.Linear):
    def _load_from_state_dict(self, state_dict, prefix, *args):
        state_dict[f"{prefix}weight"].mul_(2)
        super()._load_from_state_dict(state_dict, prefix, *args)


class Reaching(nn.Linear):
    def get_extra_state(self):
        return torch.ones(1)

    def set_extra_state(self, state):
        pass


def scaling_all(module, state):
    for tensor in state.values():
        tensor.mul_(2)
    module.load_state_dict(state)


def test_only_what_torch_loads_alone_goes_unwatched():
    assert loads_with_torch_alone(nn.Linear(2, 2))
    assert not any(loads_with_torch_alone(kind(2, 2)) for kind in (Scaling, Reaching))


@pytest.mark.parametrize(("kind", "load_state"), [(Scaling, None), (nn.Linear, scaling_all)])
def test_a_large_entry_that_loading_changes_in_the_dict(kind, load_state):
    arguments = {"load_state": load_state, "devices": ["cpu"], "checks": ["input-mutated"]}
    assert check_module(lambda: kind(1024, 1024), **arguments).findings[0].key == "weight"


@pytest.mark.parametrize("checked", [True, False])
def test_torchs_checksum_option_is_given_back(checked):
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(checked)
    try:
        check_module(lambda: nn.Linear(2, 2), devices=["cpu"])
        assert torch.serialization.get_crc32_options() is checked
    finally:
        torch.serialization.set_crc32_options(before)
