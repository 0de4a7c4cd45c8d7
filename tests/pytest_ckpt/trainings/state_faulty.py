"""Averages, generators, counters, data positions and other state that a resumed training lacks."""

# Code under test, as people write it: to type it would change it.
# mypy: ignore-errors

from __future__ import annotations

import copy
import itertools
import random
import sqlite3
from collections import deque
from types import SimpleNamespace
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, TensorDataset

from tests.pytest_ckpt.trainings import Loop, Net, X, Y, faulty

# ------------------------------------------------------------------------------------------------------------- averages


class Averaged(Loop):
    def setup(self):
        self.ema = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(0.9))

    def after(self, number, loss):
        self.ema.update_parameters(self.model)

    def state(self):
        return {**super().state(), "ema": self.ema.state_dict()}

    def restore(self, content):
        super().restore(content)
        self.ema.load_state_dict(content["ema"])


@faulty("ema-state", key="ema")
class EmaLost(Averaged):
    def restore(self, content):
        Loop.restore(self, content)


@faulty("ema-state", key="ema")
class EmaRebuiltFromModel(Averaged):
    def restore(self, content):
        Loop.restore(self, content)
        self.setup()


class OwnEma:
    def __init__(self, model):
        self.shadow = {name: p.detach().clone() for name, p in model.named_parameters()}
        self.num_updates = 0

    def update(self, model):
        self.num_updates += 1
        decay = min(0.99, (1 + self.num_updates) / (10 + self.num_updates))
        for name, p in model.named_parameters():
            self.shadow[name].lerp_(p.detach(), 1 - decay)


class WithOwnEma(Loop):
    def setup(self):
        self.ema = OwnEma(self.model)

    def after(self, number, loss):
        self.ema.update(self.model)

    def state(self):
        return {**super().state(), "shadow": self.ema.shadow, "updates": self.ema.num_updates}

    def restore(self, content):
        super().restore(content)
        self.ema.shadow, self.ema.num_updates = content["shadow"], content["updates"]


@faulty("ema-state", key="ema.num_updates")
class EmaCounterLost(WithOwnEma):
    def restore(self, content):
        super().restore(content)
        self.ema.num_updates = 0


@faulty("ema-state", key="ema.shadow")
class OwnEmaLost(WithOwnEma):
    def restore(self, content):
        Loop.restore(self, content)
        self.ema.num_updates = content["updates"]


@faulty("ema-state", key="teacher_ema")
class TeacherLost(Loop):
    """A mean teacher that the loss depends on."""

    def setup(self):
        self.teacher_ema = copy.deepcopy(self.model)

    def loss(self, number):
        x, _ = self.batch(number)
        return super().loss(number) + functional.mse_loss(self.model(x), self.teacher_ema(x).detach())

    def after(self, number, loss):
        with torch.no_grad():
            for mine, theirs in zip(self.teacher_ema.parameters(), self.model.parameters()):
                mine.lerp_(theirs, 0.1)


@faulty("value-changed", "ema-state", "save-mutates", key="fc1.weight")
class SavesEmaWeightsAsModel(WithOwnEma):
    def state(self):
        kept = {name: p.detach().clone() for name, p in self.model.named_parameters()}
        self.model.load_state_dict(self.ema.shadow)
        state = copy.deepcopy(super().state())
        self.model.load_state_dict(kept)
        return state


@faulty("save-mutates", "value-changed", key="fc1.weight")
class LeavesEmaWeightsInModel(WithOwnEma):
    def state(self):
        state = copy.deepcopy(super().state())
        self.model.load_state_dict(self.ema.shadow)
        return state


# ----------------------------------------------------------------------------------------------------------- generators


class Noisy(Loop):
    def __init__(self):
        self.model = Net(dropout=0.5)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.01)
        self.setup()


@faulty("rng-state", key="torch")
class DropoutWithoutRng(Noisy):
    pass


@faulty("rng-state", key="python")
class PythonAugmentation(Loop):
    def batch(self, number):
        x, y = super().batch(number)
        return (x.flip(1) if random.random() < 0.5 else x), y


@faulty("rng-state", key="numpy")
class NumpyAugmentation(Loop):
    def batch(self, number):
        x, y = super().batch(number)
        return x + torch.from_numpy(np.random.normal(size=x.shape)).float(), y


@faulty("rng-state", key="rng", says="save rng.get_state(), and call rng.set_state(...)")
class OwnTorchGenerator(Loop):
    def setup(self):
        self.rng = torch.Generator().manual_seed(5)

    def batch(self, number):
        x, y = super().batch(number)
        return x + torch.randn(x.shape, generator=self.rng), y


@faulty("rng-state", key="rng", says="save rng.bit_generator.state")
class OwnNumpyGenerator(Loop):
    def setup(self):
        self.rng = np.random.default_rng(5)

    def batch(self, number):
        rows = self.rng.integers(0, 24, size=4)
        return X[rows], Y[rows]


@faulty("rng-state", key="rng", says="save rng.get_state(), and call rng.set_state(...)")
class OwnRandomState(Loop):
    def setup(self):
        self.rng = np.random.RandomState(5)
        self.draw = self.rng.choice

    def batch(self, number):
        rows = self.draw(24, 4)
        return X[rows], Y[rows]


@faulty("unsaved-state", key="slow[")
class ByParameter(Loop):
    """Keeps a slow copy of each parameter for it, in a mapping that refers to it weakly."""

    def setup(self):
        self.slow = WeakKeyDictionary({one: one.detach().clone() for one in self.model.parameters()})

    def after(self, number, loss):
        for one, slow in self.slow.items():
            one.data.lerp_(slow.lerp_(one.detach(), 0.5), 0.1)


@faulty("unsaved-state", key="gains[")
class ByLayer(Loop):
    """Keeps a number for its model, from the first step on."""

    def setup(self):
        self.gains = {}

    def after(self, number, loss):
        self.gains[self.model] = self.gains.get(self.model, 1.0) + float(loss.detach())

    def batch(self, number):
        x, y = super().batch(number)
        return x / self.gains.get(self.model, 1.0), y


class Rollback(Loop):
    """Keeps its weights after the first step that it makes, and goes back to them later on."""

    first = None

    def after(self, number, loss):
        if self.first is None:
            self.first = {"weights": {key: value.clone() for key, value in self.model.state_dict().items()}}
        if number == 4:
            self.model.load_state_dict(self.first["weights"])


@faulty("unsaved-state", key="first['weights']", says="likewise first['weights']")
class RollbackToNothing(Rollback):
    def setup(self):
        self.first = None


@faulty("unsaved-state", key="first['weights']")
class RollbackToNoAttribute(Rollback):
    pass


@faulty("unsaved-state", key="history", says="it came back in another shape")
class ArrayIsCut(Loop):
    """Keeps all losses to scale the next step by, and saves the last two."""

    def setup(self):
        self.history = np.ones(1)

    def batch(self, number):
        x, y = super().batch(number)
        self.history = np.append(self.history, number + 2.0)
        return x / float(self.history.mean()), y

    def state(self):
        return {**super().state(), "history": self.history[-2:].tolist()}

    def restore(self, state):
        super().restore(state)
        self.history = np.array(state["history"])


@faulty("rng-state", key="rng")
class OwnUnseededNumpyGenerator(Loop):
    def setup(self):
        self.rng = np.random.default_rng()

    def batch(self, number):
        rows = self.rng.integers(0, 24, size=4)
        return X[rows], Y[rows]


@faulty("rng-state", key="augment.rng", says="augment.rng.setstate(...)")
class PythonGeneratorInTransform(Loop):
    class Augment:
        def __init__(self):
            self.rng = random.Random(3)

        def __call__(self, x):
            return x * self.rng.uniform(0.5, 1.5)

    def setup(self):
        self.augment = self.Augment()

    def batch(self, number):
        x, y = super().batch(number)
        return self.augment(x), y


@faulty("rng-state", key="torch")
class RngRestoredBeforeOtherDraws(Noisy):
    def state(self):
        return {**super().state(), "rng": torch.get_rng_state()}

    def restore(self, content):
        torch.set_rng_state(content["rng"])
        super().restore(content)
        torch.nn.Linear(3, 3)


# ------------------------------------------------------------------------------------------------------------- counters


@faulty("step-counter", key="global_step")
class WarmupCounterLost(Loop):
    def setup(self):
        self.global_step = 0

    def step(self, number):
        self.global_step += 1
        for group in self.optimizer.param_groups:
            group["lr"] = 0.01 * min(1, self.global_step / 5)
        return super().step(number)


@faulty("step-counter", key="count")
def counter_in_closure():
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    count = 0

    def step(i):
        nonlocal count
        count += 1
        loss = functional.mse_loss(model(X[:4]), Y[:4]) / count
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    def save(path):
        torch.save([model.state_dict(), optimizer.state_dict()], path)

    def load(path):
        one, two = torch.load(path)
        model.load_state_dict(one)
        optimizer.load_state_dict(two)

    return SimpleNamespace(model=model, optimizer=optimizer, step=step, save=save, load=load)


STEPS_DONE = 0


@faulty("step-counter", key="STEPS_DONE")
class CounterInGlobal(Loop):
    def loss(self, number):
        global STEPS_DONE
        STEPS_DONE += 1
        return super().loss(number) / STEPS_DONE


@faulty("step-counter", key="CounterInClass.updates")
class CounterInClass(Loop):
    updates = 0

    def loss(self, number):
        CounterInClass.updates += 1
        return super().loss(number) / CounterInClass.updates


@faulty("step-counter", "unsaved-state", key="progress")
class CounterInDict(Loop):
    def setup(self):
        self.progress = {"epoch": 0, "step": 0, "log": []}

    def loss(self, number):
        self.progress["step"] += 1
        self.progress["log"].append(number)
        return super().loss(number) * self.progress["step"]


@faulty("step-counter", "unsaved-state", key=("model.updates", "updates"))
class CounterInModel(Loop):
    def setup(self):
        self.model.updates = 0

    def loss(self, number):
        self.model.updates += 1
        return super().loss(number) / self.model.updates


# ------------------------------------------------------------------------------------------------------- data positions


@faulty("data-position", key=("order", "position"))
class OrderLost(Loop):
    def setup(self):
        self.order, self.position = torch.randperm(24), 0

    def batch(self, number):
        rows = self.order[self.position : self.position + 4]
        self.position += 4
        return X[rows], Y[rows]


@faulty("data-position", key="cursor")
class CursorLost(Loop):
    def setup(self):
        self.cursor = 0

    def batch(self, number):
        self.cursor = (self.cursor + 3) % 20
        return X[self.cursor : self.cursor + 3], Y[self.cursor : self.cursor + 3]


@faulty("data-position", "rng-state", key=("batches", "iterator", "loader"))
class IteratorOfLoaderLost(Loop):
    def setup(self):
        self.loader = DataLoader(TensorDataset(X, Y), batch_size=2, shuffle=True)
        self.iterator = iter(self.loader)

    def batch(self, number):
        return next(self.iterator)


@faulty("data-position", key=("stream", "batches"))
class CycledIteratorLost(Loop):
    def setup(self):
        self.stream = itertools.cycle([(X[i : i + 5], Y[i : i + 5]) for i in range(0, 20, 5)])

    def batch(self, number):
        return next(self.stream)


@faulty("data-position", key="batches")
class PythonGeneratorLost(Loop):
    def setup(self):
        def endless():
            while True:
                for i in range(0, 20, 4):
                    yield X[i : i + 4], Y[i : i + 4]

        self.batches = endless()

    def batch(self, number):
        return next(self.batches)


@faulty("data-position", key="sampler.epoch", steps=8, resume_at=5)
class SamplerEpochLost(Loop):
    class EpochSampler(torch.utils.data.Sampler):
        def __init__(self):
            self.epoch = 0

        def __iter__(self):
            return iter(torch.randperm(24, generator=torch.Generator().manual_seed(self.epoch)).tolist())

        def __len__(self):
            return 24

    def setup(self):
        self.sampler = self.EpochSampler()
        self.queue = []

    def batch(self, number):
        if number % 2 == 0:
            self.queue = list(self.sampler)
            self.sampler.epoch += 1
        rows = self.queue[:4] if number % 2 == 0 else self.queue[4:8]
        return X[rows], Y[rows]

    def state(self):
        return {**super().state(), "queue": self.queue}

    def restore(self, content):
        super().restore(content)
        self.queue = content["queue"]


# ---------------------------------------------------------------------------------------------------------- other state


@faulty("unsaved-state", key=("log_vars", "optimizer"))
class LossWeightsLost(Loop):
    def setup(self):
        self.log_vars = nn.Parameter(torch.zeros(2))
        self.optimizer = torch.optim.Adam([*self.model.parameters(), self.log_vars], lr=0.05)

    def loss(self, number):
        x, y = self.batch(number)
        errors = torch.stack([functional.mse_loss(self.model(x), y), functional.l1_loss(self.model(x), y)])
        return (errors * torch.exp(-self.log_vars) + self.log_vars).sum()


@faulty("unsaved-state", key="criterion.center")
class CriterionWithStateLost(Loop):
    class Centered(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("center", torch.zeros(1))

        def forward(self, output, y):
            self.center.lerp_(output.detach().mean(), 0.1)
            return (output - self.center - y).square().mean()

    def setup(self):
        self.criterion = self.Centered()

    def loss(self, number):
        x, y = self.batch(number)
        return self.criterion(self.model(x), y)


@faulty("unsaved-state", key="replay")
class ReplayLost(Loop):
    def setup(self):
        self.replay = deque(maxlen=5)

    def batch(self, number):
        self.replay.append(super().batch(number))
        return tuple(map(torch.cat, zip(*self.replay)))


@faulty("unsaved-state", key=("fc1.weight.grad", "fc1.bias.grad"))
class AccumulationInFlight(Loop):
    def step(self, number):
        loss = self.loss(number) / 2
        loss.backward()
        if number % 2:
            self.optimizer.step()
            self.optimizer.zero_grad()
        return loss.item()


@faulty("unsaved-state", "step-counter", key=("best", "bad_epochs", "patience"), steps=8, resume_at=4)
class PlateauByHandLost(Loop):
    def setup(self):
        self.best, self.bad = float("inf"), 0

    def after(self, number, loss):
        if loss.item() < self.best:
            self.best, self.bad = loss.item(), 0
        else:
            for group in self.optimizer.param_groups:
                group["lr"] *= 0.5


@faulty("unsaved-state", key=("running", "baseline"))
class BaselineLost(Loop):
    def setup(self):
        self.baseline = 0.0

    def loss(self, number):
        loss = super().loss(number)
        scaled = loss * (1 + abs(loss.item() - self.baseline))
        self.baseline = 0.9 * self.baseline + 0.1 * loss.item()
        return scaled


@faulty("unsaved-state", "step-counter", "data-position", key="curriculum")
class CurriculumLost(Loop):
    def setup(self):
        self.curriculum = {"length": 1}

    def batch(self, number):
        self.curriculum["length"] = min(self.curriculum["length"] + 1, 4)
        x, y = super().batch(number)
        return x[: self.curriculum["length"]], y[: self.curriculum["length"]]


@faulty("mode-changed", key=("Net", "model", "dropout"))
class LeftInEval(Noisy):
    def state(self):
        return {**super().state(), "rng": torch.get_rng_state()}

    def restore(self, content):
        super().restore(content)
        self.model.eval()
        torch.set_rng_state(content["rng"])


@faulty("mode-changed", key=("Net", "model"))
class SavingLeavesEval(Noisy):
    def state(self):
        self.model.eval()
        return {**super().state(), "rng": torch.get_rng_state()}

    def restore(self, content):
        super().restore(content)
        torch.set_rng_state(content["rng"])


@faulty("requires-grad", key="fc1")
class UnfreezingLost(Loop):
    def setup(self):
        self.model.fc1.requires_grad_(False)

    def step(self, number):
        if number == 2:
            self.model.fc1.requires_grad_(True)
        return super().step(number)


@faulty("unsaved-state", key=("fc2.weight", "fc2.bias"))
class HeadNotSaved(Loop):
    def state(self):
        state = super().state()
        state["model"] = {name: value for name, value in state["model"].items() if not name.startswith("fc2")}
        return state

    def restore(self, content):
        self.model.load_state_dict(content["model"], strict=False)
        self.optimizer.load_state_dict(content["optimizer"])


@faulty("value-changed", key="fc1.weight")
class RoundedWeights(Loop):
    def state(self):
        state = super().state()
        state["model"] = {name: value.half() for name, value in state["model"].items()}
        return state


@faulty("dtype-changed", key="fc1.weight")
class ReloadedInDouble(Loop):
    def restore(self, content):
        self.model.double()
        super().restore(content)

    def batch(self, number):
        x, y = super().batch(number)
        dtype = self.model.fc1.weight.dtype
        return x.to(dtype), y.to(dtype)


@faulty("unsaved-state", key="norm.running_mean")
class RunningStatisticsLost(Loop):
    def __init__(self):
        self.model = nn.Sequential()
        self.model.norm = nn.BatchNorm1d(4)
        self.model.fc = nn.Linear(4, 1)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)

    def state(self):
        return {"model": dict(self.model.named_parameters()), "optimizer": self.optimizer.state_dict()}

    def restore(self, content):
        self.model.load_state_dict(content["model"], strict=False)
        self.optimizer.load_state_dict(content["optimizer"])


KEPT = {}


@faulty("unsaved-state", key="KEPT")
class KeptInMemory(Loop):
    def save(self, path):
        KEPT["last"] = self.state()
        path.write_text("see memory")

    def load(self, path):
        self.restore(KEPT["last"])


@faulty("unsaved-state", "optimizer-state", key=("KEPT", "fc1.weight"))
class OptimizerKeptInMemory(Loop):
    def save(self, path):
        KEPT["optimizer"] = self.optimizer.state_dict()
        torch.save(self.model.state_dict(), path)

    def load(self, path):
        self.model.load_state_dict(torch.load(path))
        if "optimizer" in KEPT:
            self.optimizer.load_state_dict(KEPT["optimizer"])


@faulty("not-loadable", key="load")
class LoadRaises(Loop):
    def restore(self, content):
        super().restore(content["state"])


@faulty("not-saveable", key="save")
class SaveRaises(Loop):
    def state(self):
        return {**super().state(), "schedule": lambda step: step}


@faulty("unsaved-state", key="step 3")
class HistoryInDatabase(Loop):
    """Divides the loss by what it has logged, which no attribute shows: only where they part can be said."""

    def setup(self):
        self.log = sqlite3.connect(":memory:")
        self.log.execute("create table losses (value real)")

    def loss(self, number):
        (seen,) = self.log.execute("select count(*) from losses").fetchone()
        return super().loss(number) / (1 + seen)

    def after(self, number, loss):
        self.log.execute("insert into losses values (?)", (loss.item(),))


@faulty("unsaved-state", key="loss_ema")
class AverageOfLosses(Loop):
    """An average, but none of the weights."""

    def setup(self):
        self.loss_ema = {"mse": 1.0}

    def loss(self, number):
        loss = super().loss(number)
        self.loss_ema["mse"] = 0.5 * self.loss_ema["mse"] + 0.5 * loss.item()
        return loss / self.loss_ema["mse"]


class Recent(Loop):
    """Keeps the last losses, up to three, and divides by their mean."""

    def setup(self):
        self.recent = torch.ones(1)

    def loss(self, number):
        loss = super().loss(number)
        self.recent = torch.cat([self.recent, loss.detach()[None]])[-3:]
        return loss / self.recent.mean()

    def state(self):
        return {**super().state(), "recent": self.recent}

    def restore(self, content):
        super().restore(content)
        self.recent = content["recent"]


@faulty("unsaved-state", key="recent")
class RecentCutByLoading(Recent):
    def restore(self, content):
        super().restore(content)
        self.recent = self.recent[:-1]
