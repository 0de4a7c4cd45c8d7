"""Correct modules that strain a checker: odd attributes, outputs, inputs, overrides, caches, shared memory."""

# Code under test, as people write it: to type it would change it.
# mypy: ignore-errors

from __future__ import annotations

import contextlib
import copy
import io
import itertools
import logging
import queue
import re
import time
import types
import uuid
import weakref
from collections import Counter, OrderedDict, defaultdict
from collections.abc import MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import rnn
from torch.utils.checkpoint import checkpoint

from tests.pytest_ckpt.cases import correct

X = torch.linspace(-1.0, 1.0, 8).reshape(2, 4)


# -------------------------------------------------------------------------------------------------------- shared memory

PIXEL_MEAN = torch.tensor([0.1, 0.2, 0.3, 0.4])


@correct(inputs=X)
class ConstantOfTheFileAsBuffer(nn.Module):
    """Every instance registers one and the same tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", PIXEL_MEAN)
        self.fc = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x - self.mean)


@correct(inputs=X)
class ConstantOfTheFileUnsaved(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", PIXEL_MEAN, persistent=False)
        self.std = PIXEL_MEAN
        self.fc = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc((x - self.mean) / self.std)


@lru_cache(maxsize=4)
def _table(length: int) -> Tensor:
    return torch.arange(float(length)).cos()


@correct(inputs=X)
class TableFromACache(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", _table(4), persistent=False)
        self.fc = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x * self.table + _table(4))


@correct(inputs=X)
class BufferThatIsAViewOfAParameter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4))
        self.register_buffer("first", self.weight.data[0])

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight + self.first


@correct(inputs=X)
class ViewsOfOneFlatBuffer(nn.Module):
    """All parameters in one memory, as flat optimizers and DDP buckets arrange them."""

    def __init__(self) -> None:
        super().__init__()
        flat = torch.randn(20)
        self.weight, self.bias = nn.Parameter(flat[:16].view(4, 4)), nn.Parameter(flat[16:])
        self.flat = flat

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight, self.bias) * self.flat.norm()


@correct(inputs=X)
class ViewWithHistory(nn.Module):
    """A plain attribute that is a view of a parameter, with its autograd history."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4))
        self.upper = self.weight[:2]

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.upper.t()


@correct(inputs=X)
class TransposedParameter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 4).t())
        self.register_buffer("strided", torch.randn(8)[::2])

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.strided) @ self.weight


@correct(inputs=X)
class PriorOverBuffers(nn.Module):
    """A distribution in a plain attribute whose parameters are the module's buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("loc", torch.zeros(4))
        self.register_buffer("scale", torch.ones(4))
        self.prior = torch.distributions.Normal(self.loc, self.scale)
        self.encoder = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.prior.log_prob(self.encoder(x))


@correct(inputs=X, prepare=lambda module: module.fit())
class PriorOverFittedBuffers(PriorOverBuffers):
    def fit(self) -> None:
        self.loc.fill_(0.5)
        self.scale.fill_(2.0)


@correct(inputs=X)
class ChecksItsOwnState(PriorOverBuffers):
    """Objects to any other scale than one, so nothing may be moved for it."""

    def forward(self, x: Tensor) -> Tensor:
        if not bool((self.scale == 1).all()):
            raise ValueError("scale must be one")
        return super().forward(x)


# ----------------------------------------------------------------------------------------------------- caches and hooks


@correct(inputs=X, prepare=lambda module: module(X))
class CacheByVersion(nn.Module):
    """Normalises again whenever the parameter was written to."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4))
        self._cache: tuple[int, Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self._cache is None or self._cache[0] != self.weight._version:
            self._cache = (self.weight._version, functional.normalize(self.weight.detach()))
        return x @ self._cache[1]


@correct(inputs=X, prepare=lambda module: module.eval())
class MergedWhileInEval(nn.Module):
    """Computes its product on eval() into a plain attribute, and drops it on train()."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Parameter(torch.randn(4, 2)), nn.Parameter(torch.randn(2, 4))
        self.product: Tensor | None = None
        self.register_load_state_dict_post_hook(lambda module, _keys: module.train(module.training) and None)

    def train(self, mode: bool = True) -> MergedWhileInEval:
        self.product = None if mode else (self.left @ self.right).detach()
        return super().train(mode)

    def forward(self, x: Tensor) -> Tensor:
        return x @ (self.left @ self.right if self.product is None else self.product)


@correct(inputs=X)
class AdapterSavedUnmerged(nn.Module):
    """Merges on eval(), and takes the merge out of what it saves."""

    def __init__(self) -> None:
        super().__init__()
        self.base = nn.Linear(4, 4)
        self.down, self.up = nn.Parameter(torch.randn(2, 4)), nn.Parameter(torch.randn(4, 2))
        self.merged = False

    def train(self, mode: bool = True) -> AdapterSavedUnmerged:
        super().train(mode)
        self.merged = not mode
        return self

    def forward(self, x: Tensor) -> Tensor:
        if self.merged:
            return functional.linear(x, self.base.weight + self.up @ self.down, self.base.bias)
        return self.base(x) + x @ self.down.t() @ self.up.t()


@correct(inputs=X, prepare=lambda module: module(X))
class FeaturesThroughHooks(nn.Module):
    """The hook's closure and the attribute hold one dict."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(4, 4), nn.Linear(4, 2)
        features: dict[str, Tensor] = {}
        self.features = features
        self.body.register_forward_hook(lambda _module, _inputs, output: features.update(body=output))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        result = self.head(self.body(x))
        return result, self.features["body"]


@correct(inputs=X)
class ActivationsCollectedInAList(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 4) for _ in range(2)])
        self.seen: list[Tensor] = []
        for layer in self.layers:
            layer.register_forward_hook(self._see)

    def _see(self, _module: nn.Module, _inputs: Any, output: Tensor) -> None:
        self.seen.append(output)

    def forward(self, x: Tensor) -> list[Tensor]:
        self.seen.clear()
        for layer in self.layers:
            x = layer(x)
        return self.seen


@correct(inputs=X, prepare=lambda module: module(X))
class BufferRegisteredByForward(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        if not hasattr(self, "cos"):
            self.register_buffer("cos", torch.arange(4.0).cos(), persistent=False)
        return self.fc(x) * self.cos


@correct(inputs=X)
class BufferReplacedByForward(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        self.mean = 0.9 * self.mean + 0.1 * x.mean(0)
        return x - self.mean


@correct(inputs=X, prepare=lambda module: module(X + 1))
class HookThatRemovesItself(nn.Module):
    """Starts from its first batch, once; loading takes the hook away."""

    def __init__(self) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(4))
        self.handle = self.register_forward_pre_hook(self._start)
        self.register_load_state_dict_post_hook(lambda module, _keys: module.handle.remove())

    @staticmethod
    def _start(module: Any, inputs: Any) -> None:
        with torch.no_grad():
            module.loc.copy_(-inputs[0].mean(0))
        module.handle.remove()

    def forward(self, x: Tensor) -> Tensor:
        return x + self.loc


@correct(inputs=X)
class AdaptsItselfInForward(nn.Module):
    """Test-time training: a gradient step on a copy at each call."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            net = copy.deepcopy(self.net)
            optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
            functional.mse_loss(net(x), x).backward()
            optimizer.step()
        return net(x)


@correct(inputs=X, mode="train")
class StepsOnItselfInForward(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(4, 4)
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=0.1)

    def forward(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            self.optimizer.zero_grad()
            loss = functional.mse_loss(self.net(x), x)
            loss.backward()
            self.optimizer.step()
        return self.net(x).detach()


@correct(inputs=X, mode="train")
class CheckpointedActivations(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))

    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(self.body, x, use_reentrant=False)


@correct(inputs=X)
class UnderInferenceMode(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 2)

    @torch.inference_mode()
    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x)


@correct(inputs=X)
class UnderAutocast(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.fc(x)


# --------------------------------------------------------------------------------------------- attributes of every kind


class _Surly:
    """Refuses to be compared, shown, copied or tested."""

    def __eq__(self, other: object) -> bool:
        raise TypeError("not comparable")

    def __hash__(self) -> int:
        raise TypeError("not hashable")

    def __repr__(self) -> str:
        raise ValueError("nothing to show")

    def __bool__(self) -> bool:
        raise TypeError("neither")

    def __deepcopy__(self, memo: Any) -> Any:
        raise TypeError("only one")

    def __len__(self) -> int:
        raise TypeError("endless")


@correct(inputs=X, prepare=lambda module: module(X))
class HoldsEverything(nn.Module):
    """Loggers, writers, pools, mocks and other company; what forward gives depends on none of it."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 2)
        self.logger, self.writer, self.pattern = logging.getLogger(__name__), MagicMock(), re.compile("a+")
        self.pool, self.queue, self.file = ThreadPoolExecutor(1), queue.Queue(), io.BytesIO()
        self.counter, self.numbers, self.surly = itertools.count(), (number for number in range(3)), _Surly()
        self.module, self.cls, self.uid, self.here = np, nn.Linear, uuid.uuid4(), Path(__file__)
        self.context, self.stack = contextlib.nullcontext(), contextlib.ExitStack()
        self.loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.randn(4, 2)), shuffle=True)
        self.args, self.counts, self.groups = types.SimpleNamespace(lr=0.1), Counter("aab"), defaultdict(list)
        self.started, self.nan, self.array = time.time(), float("nan"), np.random.default_rng().normal(size=3)
        self.examples = [torch.randn(2), {"image": torch.randn(2)}]
        self.loop: list[Any] = [self.examples]
        self.loop.append(self.loop)
        self.me = {"parent": self}

    def forward(self, x: Tensor) -> Tensor:
        next(self.counter)
        self.queue.put(x)
        self.groups["x"].append(float(x.sum()))
        self.writer.add_scalar("sum", x.sum())
        return self.fc(x)


class _Product(tuple):  # noqa: SLOT001 -- as libraries write it
    def __len__(self) -> int:
        raise NotImplementedError


class _Closed(dict):
    def values(self) -> Any:
        raise ValueError("closed")

    items = keys = __len__ = values


class _Rotation(list):
    def __iter__(self) -> Any:
        return itertools.cycle(list.__iter__(self))


@correct(inputs=X, prepare=lambda module: module(X))
class ContainersOfItsOwn(nn.Module):
    """Has containers whose methods raise or do not end, as those of libraries and files do."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 2)
        self.irreps, self.names, self.turns = _Product((1, 3)), _Closed(a=torch.ones(2)), _Rotation([0.5, 2.0])

    def forward(self, x: Tensor) -> Tensor:
        self.turns.append(0.5)
        return self.fc(x) * self.irreps[0] * self.turns[1] * self.names["a"]


def _tuned(module: nn.Module) -> None:
    module.settings.gain, module.scales[module.fc] = 2.0, 0.25


@correct(inputs=X, prepare=_tuned)
class ByLayer(nn.Module):
    """Keeps scales by layer and refers to its weight weakly; what it saves of them and of its settings is plain."""

    @dataclass
    class Settings:
        gain: float = 1.0

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 2)
        self.weight, self.settings = weakref.ref(self.fc.weight), self.Settings()
        self.scales, self.widths = weakref.WeakKeyDictionary({self.fc: 0.5}), {self.fc: 2}
        self.used, self.skipped, self.named = {self.fc}, weakref.WeakSet([self.fc]), OrderedDict(fc=self.fc)

    def get_extra_state(self) -> Any:
        return {"settings": vars(self.settings), "scale": self.scales[self.fc]}

    def set_extra_state(self, state: Any) -> None:
        self.settings, self.scales[self.fc] = self.Settings(**state["settings"]), state["scale"]

    def forward(self, x: Tensor) -> Tensor:
        scale = self.scales[self.fc] * self.settings.gain
        assert self.fc in self.used
        assert self.fc in self.skipped
        return functional.linear(x, self.weight(), self.named["fc"].bias) * scale / self.widths[self.fc]


class _Tree(MutableMapping):
    """Holds tensors and trees of its own kind, and copies itself its own way, as a TensorDict does."""

    def __init__(self, **held: Any) -> None:
        self.held, self.id = held, uuid.uuid4()

    def __getitem__(self, key: str) -> Any:
        return self.held[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.held[key] = value

    def __delitem__(self, key: str) -> None:
        del self.held[key]

    def __iter__(self) -> Any:
        return iter(self.held)

    def __len__(self) -> int:
        return len(self.held)

    def __deepcopy__(self, memo: Any) -> Any:
        return _Tree(
            **{
                key: copy.deepcopy(value) if isinstance(value, _Tree) else value.detach().clone()
                for key, value in self.items()
            }
        )


@correct(inputs=X)
class ParametersInATree(nn.Module):
    """Its parameters live in a mapping, which is what it saves."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(2, 4)), nn.Parameter(torch.randn(2))
        self.tree = _Tree(weight=self.weight, inner=_Tree(bias=self.bias))

    def state_dict(self, *_args: Any, **_kwargs: Any) -> Any:
        return {"weight": self.tree["weight"].detach(), "bias": self.tree["inner"]["bias"].detach()}

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.tree["weight"], self.tree["inner"]["bias"])


@correct(inputs=X)
class FrozenAfterConstruction(nn.Module):
    """Lets nothing but the mode be set."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 2)
        self.done = True

    def __setattr__(self, name: str, value: Any) -> None:
        if self.__dict__.get("done") and name != "training":
            raise AttributeError(f"{name} cannot be set any more")
        super().__setattr__(name, value)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x)


@correct(inputs=X)
class EmptyAndFalse(nn.Module):
    """A container of its own that has no length, so it is false."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 2)

    def __len__(self) -> int:
        return 0

    def __iter__(self) -> Any:
        raise TypeError("not to be iterated")

    def __repr__(self) -> str:
        raise ValueError("no representation")

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x)


@correct(inputs=X)
class ParametersAsGroups(nn.Module):
    """Overrides parameters() to give what its optimizer wants."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(4, 4), nn.Linear(4, 2)

    def parameters(self, recurse: bool = True) -> Any:
        return iter([{"params": list(self.body.parameters()), "lr": 0.1}, {"params": list(self.head.parameters())}])

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


@correct(inputs=X)
class NamedParametersOfTheTrainable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.base, self.head = nn.Linear(4, 4).requires_grad_(False), nn.Linear(4, 2)

    def named_parameters(self, *args: Any, **kwargs: Any) -> Any:
        return ((name, one) for name, one in super().named_parameters(*args, **kwargs) if one.requires_grad)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.base(x))


@correct(inputs=X)
class StatelessBaseForAnEnsemble(nn.Module):
    """Stacked parameters, and an unregistered skeleton on the meta device to call with them."""

    def __init__(self) -> None:
        super().__init__()
        members = [nn.Linear(4, 2) for _ in range(3)]
        parameters, _ = torch.func.stack_module_state(members)
        self.stacked = nn.ParameterDict({name: nn.Parameter(one.detach()) for name, one in parameters.items()})
        self.skeleton = [copy.deepcopy(members[0]).to("meta")]

    def _one(self, parameters: Any, x: Tensor) -> Tensor:
        return torch.func.functional_call(self.skeleton[0], parameters, (x,))

    def forward(self, x: Tensor) -> Tensor:
        return torch.vmap(self._one, (0, None))(dict(self.stacked.items()), x)


@correct()
class SkeletonWithoutInputs(StatelessBaseForAnEnsemble):
    """The same, judged without a forward."""


@correct(inputs=X)
class UnregisteredContainerOfRegistered(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 2)
        self.pipeline = [nn.Sequential(self.first, nn.ReLU(), self.second)]

    def forward(self, x: Tensor) -> Tensor:
        return self.pipeline[0](x)


@correct()
class UnregisteredContainerWithoutInputs(UnregisteredContainerOfRegistered):
    """The same, judged without a forward."""


@correct()
class DeterministicTeacherWithoutInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.student = nn.Linear(4, 2)
        with torch.random.fork_rng():
            torch.manual_seed(5)
            self.teacher = (nn.Linear(4, 2).requires_grad_(False),)


@correct()
class HelperThatHoldsRegisteredModules(nn.Module):
    class Searcher:
        def __init__(self, model: nn.Module, layer: nn.Module) -> None:
            self.model, self.layer = model, layer

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 2)
        self.searcher = self.Searcher(self, self.fc)


# --------------------------------------------------------------------------------------------------- outputs and inputs


class _Slotted:
    __slots__ = ("logits", "name")

    def __init__(self, logits: Tensor) -> None:
        self.logits, self.name = logits, "slotted"


@correct(inputs=X)
class OutputsOfEveryKind(nn.Module):
    @dataclass(slots=True)
    class Record:
        logits: Tensor
        where: Any = None

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> dict[Any, Any]:
        x = self.fc(x)
        return {
            "slots": self.Record(x, {3: x}),
            "plain": _Slotted(x),
            "array": x.detach().numpy(),
            "scalar": np.float32(x.sum().item()),
            "set": {x.sum()},
            "odd": [float("nan"), b"bytes", 1 + 2j, range(3), slice(1), x.dtype, x.device, x.shape, ...],
            "callables": [self.fc, torch.relu, lambda y: y, iter([1]), torch.Generator()],
            "wide": x.to(torch.float8_e4m3fn),
            "empty": x[:0],
            "transform": torch.distributions.AffineTransform(x, 2.0),
            ("tuple", "key"): OrderedDict(a=x.nan_to_num()),
        }


@correct(inputs=X)
class GivesItsOwnParameter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4))
        self.register_buffer("calls", torch.tensor(0))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.calls += 1
        return self.weight, self.calls


@correct(inputs=())
class TakesNothing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.prompt = nn.Parameter(torch.randn(3, 4))

    def forward(self) -> Tensor:
        return self.prompt * 2


@correct(inputs={})
class TakesNoKeyword(TakesNothing):
    """The same, given an empty dict."""


@correct(inputs=rnn.pack_sequence([torch.ones(3, 4), torch.ones(2, 4)]))
class TakesAPackedSequence(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(4, 3)

    def forward(self, sequence: rnn.PackedSequence) -> Any:
        return self.rnn(sequence)


@correct(inputs="some text")
class TakesText(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(256, 3)

    def forward(self, text: str) -> Tensor:
        return self.embedding(torch.tensor(list(text.encode())))


@correct(inputs=0)
class TakesZero(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(4, 3)

    def forward(self, index: int) -> Tensor:
        return self.embedding.weight[index]


@correct(inputs=X)
class ForwardOfTheClock(nn.Module):
    """Gives a time beside its result."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> dict[str, Any]:
        return {"y": self.fc(x), "elapsed": time.perf_counter()}


_SERIAL = itertools.count()


@correct(inputs=X)
class ForwardThatNumbersItsCalls(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, int]:
        return self.fc(x), next(_SERIAL)


# ---------------------------------------------------------------------------------------------- what the state may hold


@correct(inputs=X)
class FormatNameInTheState(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 2)
        self.register_state_dict_post_hook(self._name)
        self.register_load_state_dict_pre_hook(self._check)

    @staticmethod
    def _name(_module: nn.Module, state: Any, prefix: str, _metadata: Any) -> None:
        state[f"{prefix}format"] = "v2"

    @staticmethod
    def _check(_module: nn.Module, state: Any, prefix: str, *_rest: Any) -> None:
        if state.pop(f"{prefix}format", "v1") != "v2":
            raise RuntimeError("too old")

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x)


@correct(inputs=X)
class ExtraStateWithTheTime(nn.Module):
    """Says when it was saved; nothing restores that, and nothing should."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 2)

    def get_extra_state(self) -> Any:
        return {"saved_at": time.perf_counter(), "version": (2, 1)}

    def set_extra_state(self, state: Any) -> None:
        if state["version"] < (2, 0):
            raise RuntimeError("too old")

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x)


@correct(inputs=X)
class ExtraStateOfNone(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.amax: Tensor | None = None
        self.fc = nn.Linear(4, 2)

    def get_extra_state(self) -> Any:
        return self.amax

    def set_extra_state(self, state: Any) -> None:
        self.amax = state

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x)


@correct(inputs=X)
class ExtraStateOfPlainContainers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.held = {
            "set": {1, 2}, "ordered": OrderedDict(a=1), "bytes": b"ab", "none": None, "nan": float("nan"),
            "nested": [({"x": torch.ones(2)},)], "size": torch.Size([2]), "dtype": torch.int8,
            "counter": Counter("aab"),
            "device": torch.device("cpu"), "zero": -0.0, "big": 2**70, "text": "größe",
        }  # fmt: skip

    def get_extra_state(self) -> Any:
        return self.held

    def set_extra_state(self, state: Any) -> None:
        self.held = state

    def forward(self, x: Tensor) -> Tensor:
        return x * len(self.held)


@correct(inputs=X)
class IndicesLeftOutAndForgiven(nn.Module):
    """A constant index buffer that the state_dict leaves out and loading does not miss."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.register_buffer("position_ids", torch.arange(4))
        self.register_state_dict_post_hook(self._leave_out)
        self.register_load_state_dict_post_hook(self._forgive)

    @staticmethod
    def _leave_out(_module: nn.Module, state: Any, prefix: str, _metadata: Any) -> None:
        del state[f"{prefix}position_ids"]

    @staticmethod
    def _forgive(_module: nn.Module, keys: Any) -> None:
        keys.missing_keys[:] = [key for key in keys.missing_keys if not key.endswith("position_ids")]

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x)[:, self.position_ids]


@correct(inputs=X)
class UnpacksQuantizedState(nn.Module):
    """Saved as integers and a scale of its own, from which loading computes exactly what was there."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("codes", torch.randint(-127, 127, (4, 4), dtype=torch.int8))
        self.register_buffer("scale", torch.rand(4, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x @ (self.codes * self.scale)


@correct(inputs=X)
def seeded_by_its_constructor():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))


@correct(inputs=X)
def built_in_eval_mode():
    return nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5)).eval()


@correct(inputs=X)
def built_partly_in_eval_mode():
    module = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    module[1].eval()
    return module


@correct(inputs=X)
def compiled():
    return torch.compile(nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)), backend="eager")


def _save_inner(module: Any, path: Path) -> None:
    torch.save(module.module.state_dict(), path)


def _load_parallel(path: Path) -> nn.Module:
    module = nn.DataParallel(nn.Linear(4, 2))
    module.module.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return module


@correct(inputs=X, save=_save_inner, load=_load_parallel)
def parallel_saved_and_loaded_inside():
    return nn.DataParallel(nn.Linear(4, 2))


def _load_bare(path: Path) -> nn.Module:
    return _load_parallel(path).module


@correct(inputs=X, save=_save_inner, load=_load_bare)
def parallel_saved_and_bare_loaded():
    return nn.DataParallel(nn.Linear(4, 2))


def _save_beside(module: nn.Module, path: Path) -> None:
    np.savez(path.with_suffix(""), **{key: value.numpy() for key, value in module.state_dict().items()})


def _load_beside(path: Path) -> nn.Module:
    module = nn.Linear(4, 2)
    with np.load(path.with_suffix(".npz")) as arrays:
        module.load_state_dict({key: torch.from_numpy(arrays[key]) for key in arrays.files})
    return module


@correct(inputs=X, save=_save_beside, load=_load_beside)
def another_suffix():
    return nn.Linear(4, 2)


def _save_linked(module: nn.Module, path: Path) -> None:
    target = path.with_name("step-1.pt")
    torch.save(module.state_dict(), target)
    path.symlink_to(target)


@correct(inputs=X, save=_save_linked)
def link_to_the_latest():
    return nn.Linear(4, 2)
