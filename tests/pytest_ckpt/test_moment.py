"""A module is brought back to the point where a Moment was made, whatever happened to it since."""

from __future__ import annotations

from collections import deque
from typing import Any

import torch
from torch import nn

from pytest_ckpt.compare import bits_equal, difference, entries
from pytest_ckpt.moment import Moment, attributes, modules_within, reachable


class Module(nn.Module):
    """One whose attributes may be anything to a type checker."""

    def __getattr__(self, name: str) -> Any:
        return super().__getattr__(name)


class Hidden(Module):
    """Keeps modules where torch does not look."""

    def __init__(self):
        super().__init__()
        self.registered = nn.Linear(2, 2)
        self.again = self.registered
        self.layers: Any = [nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2))]
        self.table = {"a": (nn.Linear(2, 2),), "b": [self.registered]}
        self.layers[0].inner = [nn.ReLU()]


def test_reachable_modules_are_named_by_owner_attribute_and_position():
    module: Any = Hidden()
    found = reachable(module)
    assert list(found) == [
        "",
        "registered",
        "layers[0]",
        "layers[1]",
        "layers[1].0",
        "table[0]",
        "layers[0].inner[0]",
    ]
    assert found[""] is module
    assert found["layers[1].0"] is found["layers[1]"].get_submodule("0")


def test_modules_within_containers_once_each():
    one, other = nn.ReLU(), nn.ReLU()
    value = {"a": [one, (other,)], "b": deque([one]), "c": frozenset([other]), "d": torch.ones(1)}
    value["self"] = value
    assert modules_within(value) == [one, other]
    assert modules_within("text") == []


def test_attributes_are_a_modules_own():
    module: Any = nn.Linear(2, 2)
    module.register_forward_hook(lambda *_: None)
    assert set(attributes(module)) == {"in_features", "out_features"}
    module.extra = 1
    assert attributes(module)["extra"] == 1


# -------------------------------------------------------------------------------------------------------------- restore


class Busy(Module):
    """Changes all that it holds when it runs."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))
        self.tied = self.weight
        self.register_buffer("mean", torch.zeros(2))
        self.bank: Any
        self.register_buffer("bank", torch.zeros(1))
        self.register_buffer("lazily", None)
        self.register_buffer("unsaved", torch.zeros(2), persistent=False)
        self.plain: Any = torch.zeros(2)
        self.count = 0
        self.seen: Any = [torch.zeros(2)]
        self.table: Any = {"a": [0]}
        self.queue = deque([0], maxlen=2)
        self.generator = torch.Generator().manual_seed(1)
        self.gone = "here"
        self.inner = nn.BatchNorm1d(2)
        self.hidden = [nn.BatchNorm1d(2)]

    def forward(self, x):
        with torch.no_grad():
            self.weight.add_(1)
            self.mean.add_(x.mean(0))
            self.bank = torch.cat([self.bank, x[:1, 0]])
            self.lazily = x.clone()
            self.unsaved += 1
            self.plain = self.plain + 1
        self.count += 1
        self.seen.append(x)
        self.seen[0] += 1
        self.table["a"].append(self.count)
        self.table["new"] = 1
        self.queue.append(self.count)
        noise = torch.rand(2, generator=self.generator)
        self.fresh = torch.ones(1)
        del self.gone
        self.inner.train()
        self.hidden[0].train()
        self.weight = nn.Parameter(self.weight.detach() + 1)
        return self.hidden[0](self.inner(x + noise + self.weight + self.mean))


def test_restore_brings_everything_back():
    module: Any = Busy().eval()
    weight, mean, hidden = module.weight, module.mean, module.hidden[0].eval()
    moment = Moment(module)
    x = torch.tensor([[1.0, 2.0], [3.0, 5.0]])
    first = module(x)
    moment.restore()

    assert module.weight is weight
    assert module.tied is weight
    assert module.mean is mean
    assert module.hidden[0] is hidden
    assert torch.equal(weight, torch.ones(2))
    assert torch.equal(mean, torch.zeros(2))
    assert torch.equal(module.bank, torch.zeros(1))
    assert module.lazily is None
    assert torch.equal(module.unsaved, torch.zeros(2))
    assert torch.equal(module.plain, torch.zeros(2))
    assert module.count == 0
    assert len(module.seen) == 1
    assert torch.equal(module.seen[0], torch.zeros(2))
    assert module.table == {"a": [0]}
    assert module.queue == deque([0])
    assert not hasattr(module, "fresh")
    assert module.gone == "here"
    assert not module.inner.training
    assert not hidden.training
    assert int(module.inner.num_batches_tracked) == int(hidden.num_batches_tracked) == 0
    assert set(module.state_dict()) == set(Busy().state_dict())

    assert bits_equal(first, module(x)), "the second run is the first again, generator included"


def test_restore_works_more_than_once_and_the_moment_stays_as_it_was():
    module: Any = Busy().eval()
    moment = Moment(module)
    x = torch.ones(2, 2)
    outputs = []
    for _ in range(3):
        outputs.append(module(x))
        moment.restore()
    assert bits_equal(outputs[0], outputs[2])
    assert moment.attributes[""]["table"] == {"a": [0]}
    assert torch.equal(moment.tensors[""]["mean"], torch.zeros(2))


def test_restore_writes_into_the_same_memory():
    module: Any = nn.BatchNorm1d(2)
    mean, address = module.running_mean, module.running_mean.data_ptr()
    moment = Moment(module)
    module(torch.randn(4, 2))
    moment.restore()
    assert module.running_mean is mean
    assert module.running_mean.data_ptr() == address
    assert torch.equal(module.running_mean, torch.zeros(2))


def test_restore_undoes_a_change_of_shape_and_dtype():
    module = nn.Linear(2, 2)
    before = {name: tensor.detach().clone() for name, tensor in entries(module).items()}
    weight = module.weight
    moment = Moment(module)
    module.weight.data = torch.ones(3, dtype=torch.float16)
    module.double()
    moment.restore()
    assert module.weight is weight
    assert all(difference(name, tensor, before[name]) is None for name, tensor in entries(module).items())


def test_an_attribute_that_is_a_parameter_stays_that_parameter():
    module = nn.LSTM(2, 2)
    moment = Moment(module)
    moment.restore()
    assert all(flat is held for flat, held in zip(module._flat_weights, module.parameters(), strict=True))
    module(torch.ones(1, 1, 2))


class Remembers(Module):
    """Shares one dict between itself, a child and a hook, as feature extractors do."""

    def __init__(self):
        super().__init__()
        self.child: Any = nn.Linear(2, 2)
        features: Any = {}
        self.features = features
        self.child.features = features
        self.child.register_forward_hook(lambda _module, _inputs, output: features.update(last=output))

    def forward(self, x):
        self.child(x)
        return self.features["last"] + self.child.features["last"]


def test_what_attributes_share_with_each_other_and_with_hooks_stays_shared():
    module: Any = Remembers()
    moment = Moment(module)
    module(torch.ones(1, 2))
    moment.restore()
    assert module.features is module.child.features
    assert module.features == {}
    module(torch.ones(1, 2))


class Window(Module):
    """Writes through a view of its own buffer."""

    def __init__(self):
        super().__init__()
        self.register_buffer("bank", torch.zeros(2, 2))
        self.row = self.bank[0]

    def forward(self, x):
        self.row += x
        return self.bank.sum()


def test_a_view_of_a_buffer_stays_a_view():
    module: Any = Window()
    moment = Moment(module)
    first = module(torch.ones(2))
    moment.restore()
    assert torch.equal(module(torch.ones(2)), first)
    assert module.row.data_ptr() == module.bank.data_ptr()
