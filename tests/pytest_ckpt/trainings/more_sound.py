"""More correct trainings: counted instances, registries, caches, checkpoints that are rebuilt on loading."""

# Code under test, as people write it: to type it would change it.
# mypy: ignore-errors

from __future__ import annotations

import copy
import functools
import itertools
import random
import weakref
from dataclasses import asdict, dataclass
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.optim import lr_scheduler

from tests.pytest_ckpt.trainings import Loop, Net, X, Y, correct
from tests.pytest_ckpt.trainings.state_faulty import ByParameter, Rollback, WithOwnEma

IDS = itertools.count()
REGISTRY = []


@correct()
class CountedInstances(Loop):
    """Instances are numbered for their names."""

    built = 0

    def setup(self):
        CountedInstances.built += 1
        self.name = f"run-{next(IDS)}-{CountedInstances.built}"


@correct()
class Registered(Loop):
    """Every run is listed, and a step looks for its own."""

    def setup(self):
        REGISTRY.append(self)

    def step(self, number):
        assert any(one is self for one in REGISTRY)
        return super().step(number)


@functools.lru_cache
def table(number):
    return torch.linspace(0, 1, number)


@correct()
class CachedTable(Loop):
    def batch(self, number):
        x, y = super().batch(number)
        return x + table(4), y


@dataclass
class Progress:
    epoch: int = 0
    step: int = 0
    best: float = float("inf")


@correct()
class DataclassSaved(Loop):
    def setup(self):
        self.progress = Progress()

    def step(self, number):
        self.progress.step += 1
        self.optimizer.param_groups[0]["lr"] = 0.1 / self.progress.step
        loss = super().step(number)
        self.progress.best = min(self.progress.best, loss)
        return loss

    def state(self):
        return {**super().state(), "progress": asdict(self.progress)}

    def restore(self, content):
        super().restore(content)
        self.progress = Progress(**content["progress"])


@correct()
class EverythingRebuilt(Loop):
    """Loading makes all objects anew."""

    def setup(self):
        self.scheduler = lr_scheduler.ExponentialLR(self.optimizer, 0.9)

    def after(self, number, loss):
        self.scheduler.step()

    def state(self):
        return {**super().state(), "scheduler": self.scheduler.state_dict()}

    def restore(self, content):
        self.model = Net()
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.01)
        self.setup()
        super().restore(content)
        self.scheduler.load_state_dict(content["scheduler"])


@correct()
class EmaRebuilt(WithOwnEma):
    def restore(self, content):
        self.setup()
        super().restore(content)


@correct()
class PickledWhole(Loop):
    """Model and optimizer in one pickle, which keeps what they share."""

    def save(self, path):
        torch.save((self.model, self.optimizer), path)

    def load(self, path):
        self.model, self.optimizer = torch.load(path, weights_only=False)


@correct()
class WeakReferences(Loop):
    def setup(self):
        self.back = weakref.ref(self.model)
        self.model.trainer = weakref.proxy(self)


@correct()
class ModelKnowsItsRun(Loop):
    def setup(self):
        object.__setattr__(self.model, "run", self)


@correct()
class GroupAddedLater(Loop):
    def setup(self):
        self.optimizer = torch.optim.SGD(self.model.fc2.parameters(), lr=0.1, momentum=0.9)

    def unfreeze(self):
        self.optimizer.add_param_group({"params": [*self.model.fc1.parameters()], "lr": 0.05})

    def step(self, number):
        if number == 1:
            self.unfreeze()
        return super().step(number)

    def restore(self, content):
        if len(content["optimizer"]["param_groups"]) > 1:
            self.unfreeze()
        super().restore(content)


@correct()
class NumpyState(Loop):
    def setup(self):
        self.rng = np.random.RandomState(3)

    def batch(self, number):
        rows = self.rng.permutation(24)[:4]
        return X[rows], Y[rows]

    def state(self):
        return {**super().state(), "rng": self.rng.get_state()}

    def restore(self, content):
        super().restore(content)
        self.rng.set_state(content["rng"])


@correct()
class PythonRandomObject(Loop):
    def setup(self):
        self.random = random.Random()

    def batch(self, number):
        rows = self.random.sample(range(24), 4)
        return X[rows], Y[rows]

    def state(self):
        return {**super().state(), "random": self.random.getstate()}

    def restore(self, content):
        super().restore(content)
        self.random.setstate(content["random"])


@correct()
class OrderFromSavedSeed(Loop):
    """The seed of the order is drawn, and saved."""

    def setup(self):
        self.seed = random.randrange(2**31)

    def batch(self, number):
        rows = torch.randperm(24, generator=torch.Generator().manual_seed(self.seed + number // 6))[number % 6 * 4 :][
            :4
        ]
        return X[rows], Y[rows]

    def state(self):
        return {**super().state(), "seed": self.seed}

    def restore(self, content):
        super().restore(content)
        self.seed = content["seed"]


@correct()
class SpectralNorm(Loop):
    def __init__(self):
        self.model = nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4)), nn.Linear(4, 1))
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.01)


@correct()
class ManualScaler(Loop):
    def setup(self):
        self.scaler = torch.amp.GradScaler("cpu", enabled=False)

    def step(self, number):
        loss = self.loss(number)
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss.item()


@correct()
class Autocast(Loop):
    def loss(self, number):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            x, y = self.batch(number)
            return functional.mse_loss(self.model(x).float(), y)


@correct()
class DictOfLosses(Loop):
    def step(self, number):
        loss = super().step(number)
        return {"loss": loss, "twice": torch.tensor(2 * loss)}


@correct()
class LoopsOverParts(Loop):
    """Lists of models and of optimizers."""

    def __init__(self):
        self.models = [Net(), Net()]
        self.optimizers = [torch.optim.SGD(one.parameters(), lr=0.1, momentum=0.9) for one in self.models]

    def step(self, number):
        total = 0.0
        for model, optimizer in zip(self.models, self.optimizers):
            self.model, self.optimizer = model, optimizer
            total += super().step(number)
        return total

    def save(self, path):
        torch.save([one.state_dict() for one in [*self.models, *self.optimizers]], path)

    def load(self, path):
        for one, state in zip([*self.models, *self.optimizers], torch.load(path)):
            one.load_state_dict(state)


@correct()
class SlowStart(Loop):
    """A lazily built head."""

    def __init__(self):
        self.model = nn.Sequential(nn.LazyLinear(3), nn.Tanh(), nn.LazyLinear(1))
        self.model(X[:1])
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.01)


@correct()
class LossOfNumpyType(Loop):
    def step(self, number):
        return np.float32(super().step(number))


@correct()
class SavesAfterEveryStep(Loop):
    """A copy of the last state is kept for the end of training."""

    def after(self, number, loss):
        self.last_good = copy.deepcopy(self.state())


@correct()
def namespace_with_methods_of_closures():
    run = SimpleNamespace(model=Net(), count=0)
    run.optimizer = torch.optim.RAdam(run.model.parameters(), lr=0.01)

    def step(i):
        run.count += 1
        run.optimizer.zero_grad()
        loss = functional.mse_loss(run.model(X[i : i + 4]), Y[i : i + 4]) / run.count
        loss.backward()
        run.optimizer.step()
        return loss.item()

    def save(path):
        torch.save({"model": run.model.state_dict(), "opt": run.optimizer.state_dict(), "count": run.count}, path)

    def load(path):
        content = torch.load(path)
        run.model.load_state_dict(content["model"])
        run.optimizer.load_state_dict(content["opt"])
        run.count = content["count"]

    run.step, run.save, run.load = step, save, load
    return run


@correct()
class ByParameterSaved(ByParameter):
    def state(self):
        return {**super().state(), "slow": list(self.slow.values())}

    def restore(self, state):
        super().restore(state)
        for slow, saved in zip(self.slow.values(), state["slow"], strict=True):
            slow.copy_(saved)


@correct()
class RollbackSaved(Rollback):
    def state(self):
        return {**super().state(), "first": self.first}

    def restore(self, state):
        super().restore(state)
        self.first = state["first"]
