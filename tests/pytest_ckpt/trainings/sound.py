"""Trainings that resume as they should, however suspicious they look."""

# Code under test, as people write it: to type it would change it.
# mypy: ignore-errors

from __future__ import annotations

import copy
import random
import time
from collections import defaultdict, deque
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.optim import lr_scheduler
from torch.optim.swa_utils import SWALR, AveragedModel
from torch.utils.data import DataLoader, RandomSampler, TensorDataset

from tests.pytest_ckpt.trainings import Loop, Net, X, Y, correct
from tests.pytest_ckpt.trainings.optimizers_faulty import Gan, Scaled, Scheduled
from tests.pytest_ckpt.trainings.state_faulty import Averaged, Noisy, WithOwnEma

correct()(Loop)
correct()(Scheduled)
correct()(Scaled)
correct()(Averaged)
correct()(WithOwnEma)


@correct()
def gan():
    return Gan(saved=("generator", "critic", "opt_generator", "opt_critic"))


def generators():
    return {"torch": torch.get_rng_state(), "python": random.getstate(), "numpy": np.random.get_state()}


def set_generators(states):
    torch.set_rng_state(states["torch"])
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])


@correct()
class EverythingRandom(Noisy):
    def setup(self):
        self.scheduler = lr_scheduler.OneCycleLR(self.optimizer, max_lr=0.1, total_steps=12)
        self.rng = torch.Generator().manual_seed(3)

    def batch(self, number):
        x, y = super().batch(number)
        noise = torch.from_numpy(np.random.normal(size=x.shape)).float()
        return x + noise + random.random() + torch.randn(x.shape, generator=self.rng), y

    def after(self, number, loss):
        self.scheduler.step()

    def state(self):
        rest = {"scheduler": self.scheduler.state_dict(), "rng": self.rng.get_state(), "generators": generators()}
        return {**super().state(), **rest}

    def restore(self, content):
        super().restore(content)
        self.scheduler.load_state_dict(content["scheduler"])
        self.rng.set_state(content["rng"])
        set_generators(content["generators"])


@correct()
class SgdWithoutState(Loop):
    """Plain SGD has nothing to save."""

    def setup(self):
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)

    def state(self):
        return self.model.state_dict()

    def restore(self, content):
        self.model.load_state_dict(content)


@correct()
class LrFollowsStepNumber(SgdWithoutState):
    def step(self, number):
        for group in self.optimizer.param_groups:
            group["lr"] = 0.1 / (1 + number)
        return super().step(number)


@correct()
class DebugState(Loop):
    """Counters, times and logs that nobody reads."""

    def setup(self):
        self.history, self.calls, self.started = [], 0, time.time()
        self.timing = defaultdict(list)
        self.best_loss, self.average = float("inf"), 0.0
        self.recent = deque(maxlen=3)
        self.ema_loss = None
        self.model.forward_calls = 0

    def loss(self, number):
        self.model.forward_calls += 1
        return super().loss(number)

    def after(self, number, loss):
        self.calls += 1
        self.history.append(loss.item())
        self.timing["step"].append(time.perf_counter())
        self.best_loss = min(self.best_loss, loss.item())
        self.average += loss.item()
        self.recent.append(loss)
        self.ema_loss = loss.item() if self.ema_loss is None else 0.9 * self.ema_loss + 0.1 * loss.item()
        self.last_loss = loss


@correct()
class TwoGroups(Loop):
    def setup(self):
        groups = [{"params": [*self.model.fc1.parameters()]}, {"params": [*self.model.fc2.parameters()], "lr": 0.1}]
        self.optimizer = torch.optim.AdamW(groups, lr=0.01, weight_decay=0.1)


@correct()
class SavedOrderAndPosition(Loop):
    def setup(self):
        self.order, self.position = torch.randperm(24), 0

    def batch(self, number):
        rows = self.order[self.position : self.position + 4]
        self.position += 4
        return X[rows], Y[rows]

    def state(self):
        return {**super().state(), "order": self.order, "position": self.position}

    def restore(self, content):
        super().restore(content)
        self.order, self.position = content["order"], content["position"]


@correct()
class SeedOfEpoch(Loop):
    """The order follows from epoch and step alone."""

    def batch(self, number):
        rows = torch.randperm(24, generator=torch.Generator().manual_seed(number // 3))
        rows = rows[number % 3 * 4 :][:4]
        return X[rows], Y[rows]


@correct()
class SeedsEachStep(Noisy):
    def step(self, number):
        torch.manual_seed(100 + number)
        return super().step(number)


@correct()
class Unfreezing(Loop):
    def setup(self):
        self.model.fc1.requires_grad_(False)

    def step(self, number):
        if number == 2:
            self.model.fc1.requires_grad_(True)
        return super().step(number)

    def state(self):
        return {**super().state(), "flags": {name: p.requires_grad for name, p in self.model.named_parameters()}}

    def restore(self, content):
        super().restore(content)
        for name, p in self.model.named_parameters():
            p.requires_grad_(content["flags"][name])


@correct()
class FrozenBackboneFromFixedSeed(Loop):
    """A random backbone that every process builds alike, and that no checkpoint holds."""

    def setup(self):
        with torch.random.fork_rng():
            torch.manual_seed(4)
            self.backbone = nn.Linear(4, 4).requires_grad_(False)

    def batch(self, number):
        x, y = super().batch(number)
        return self.backbone(x), y


@correct()
class ReplayedIterator(Loop):
    """Loading goes through the data up to where the checkpoint was."""

    def setup(self):
        self.loader = DataLoader(
            TensorDataset(X, Y), batch_size=2, sampler=RandomSampler(X, generator=torch.Generator().manual_seed(8))
        )
        self.iterator, self.consumed = iter(self.loader), 0

    def batch(self, number):
        self.consumed += 1
        return next(self.iterator)

    def state(self):
        return {**super().state(), "consumed": self.consumed}

    def restore(self, content):
        super().restore(content)
        for _ in range(content["consumed"]):
            next(self.iterator)
        self.consumed = content["consumed"]


@correct()
class AccumulationSaved(Loop):
    def step(self, number):
        loss = self.loss(number) / 2
        loss.backward()
        if number % 2:
            self.optimizer.step()
            self.optimizer.zero_grad()
        return loss.item()

    def state(self):
        return {**super().state(), "grads": [p.grad for p in self.model.parameters()]}

    def restore(self, content):
        super().restore(content)
        for p, grad in zip(self.model.parameters(), content["grads"]):
            p.grad = grad


@correct()
class SchedulerWithLastEpoch(Loop):
    """The scheduler is built for the epoch, after the optimizer was loaded."""

    def setup(self, last=-1):
        self.scheduler = lr_scheduler.LambdaLR(self.optimizer, lambda epoch: 0.5**epoch, last_epoch=last)

    def after(self, number, loss):
        self.scheduler.step()

    def state(self):
        return {**super().state(), "epoch": self.scheduler.last_epoch}

    def restore(self, content):
        super().restore(content)
        self.setup(content["epoch"] - 1)


@correct()
class SaveEvaluates(Noisy):
    """Saving switches to eval mode and back, and the position of the generator is in the file."""

    def state(self):
        self.model.eval()
        score = self.model(X).mean().item()
        self.model.train()
        return {**super().state(), "score": score, "rng": torch.get_rng_state()}

    def restore(self, content):
        super().restore(content)
        torch.set_rng_state(content["rng"])


@correct()
class SavesUnderEmaAndBack(WithOwnEma):
    """The EMA weights are saved for others, next to those that train."""

    def state(self):
        state = copy.deepcopy(super().state())
        kept = copy.deepcopy(self.model.state_dict())
        self.model.load_state_dict(self.ema.shadow)
        state["release"] = copy.deepcopy(self.model.state_dict())
        self.model.load_state_dict(kept)
        return state


@correct()
class OptimizerRebuiltThenLoaded(Loop):
    def restore(self, content):
        self.model = Net()
        self.model.load_state_dict(content["model"])
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.5)
        self.optimizer.load_state_dict(content["optimizer"])


@correct()
class AssignThenOptimizer(Loop):
    def restore(self, content):
        self.model.load_state_dict(content["model"], assign=True)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.01)
        self.optimizer.load_state_dict(content["optimizer"])


@correct()
class OrderOfNamesDiffers(Loop):
    """The order of parameters differs between processes, and the state is saved by name."""

    def setup(self):
        named = list(self.model.named_parameters())
        random.shuffle(named)
        self.names = [name for name, _ in named]
        self.optimizer = torch.optim.Adam([p for _, p in named], lr=0.01)

    def state(self):
        states = self.optimizer.state_dict()["state"]
        by_name = {name: states[index] for index, name in enumerate(self.names)}
        return {"model": self.model.state_dict(), "optimizer": by_name}

    def restore(self, content):
        self.model.load_state_dict(content["model"])
        state = self.optimizer.state_dict()
        state["state"] = {index: content["optimizer"][name] for index, name in enumerate(self.names)}
        self.optimizer.load_state_dict(state)


@correct()
class Lbfgs(Loop):
    def setup(self):
        self.optimizer = torch.optim.LBFGS(self.model.parameters(), lr=0.1, max_iter=3)

    def step(self, number):
        def closure():
            self.optimizer.zero_grad()
            loss = self.loss(number)
            loss.backward()
            return loss

        return self.optimizer.step(closure).item()


@correct()
class StochasticAveraging(Loop):
    def setup(self):
        self.swa_model = AveragedModel(self.model)
        self.swa_scheduler = SWALR(self.optimizer, swa_lr=0.05, anneal_epochs=3)

    def after(self, number, loss):
        if number >= 1:
            self.swa_model.update_parameters(self.model)
            self.swa_scheduler.step()

    def state(self):
        return {**super().state(), "swa": self.swa_model.state_dict(), "sched": self.swa_scheduler.state_dict()}

    def restore(self, content):
        super().restore(content)
        self.swa_model.load_state_dict(content["swa"])
        self.swa_scheduler.load_state_dict(content["sched"])


@correct()
class Bfloat16(Loop):
    def setup(self):
        self.model.bfloat16()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.01)

    def batch(self, number):
        return tuple(one.bfloat16() for one in super().batch(number))


@correct()
class UnstableStep(Loop):
    """A training that does not repeat itself, which is no fault of its checkpoint."""

    def loss(self, number):
        return super().loss(number) * (1 + time.time() % 1)


@correct()
class UnseededGenerator(Loop):
    def setup(self):
        self.rng = np.random.default_rng()

    def batch(self, number):
        rows = self.rng.integers(0, 24, size=4)
        return X[rows], Y[rows]

    def state(self):
        return {**super().state(), "rng": self.rng.bit_generator.state}

    def restore(self, content):
        super().restore(content)
        self.rng.bit_generator.state = content["rng"]


@correct()
class SystemRandomness(Noisy):
    def batch(self, number):
        x, y = super().batch(number)
        return x + random.SystemRandom().random(), y

    def state(self):
        return {**super().state(), "rng": torch.get_rng_state()}

    def restore(self, content):
        super().restore(content)
        torch.set_rng_state(content["rng"])


@correct()
def data_drawn_by_the_factory():
    inputs, targets = torch.randn(24, 4), torch.randn(24, 1)
    model = Net()
    optimizer = torch.optim.Adam(model.parameters())

    def step(i):
        optimizer.zero_grad()
        loss = functional.mse_loss(model(inputs[i : i + 4]), targets[i : i + 4])
        loss.backward()
        optimizer.step()
        return loss.item()

    def save(path):
        torch.save((model.state_dict(), optimizer.state_dict()), path)

    def load(path):
        one, two = torch.load(path)
        model.load_state_dict(one)
        optimizer.load_state_dict(two)

    return SimpleNamespace(model=model, optimizer=optimizer, step=step, save=save, load=load)


@correct()
class DataDrawnUnseeded(Loop):
    def setup(self):
        self.dataset = TensorDataset(torch.randn(24, 4), torch.randn(24, 1))

    def batch(self, number):
        return self.dataset[number * 3 : number * 3 + 3]


@correct()
def seeded_factory():
    """A factory that seeds, as most tests do."""
    torch.manual_seed(0)
    return Noisy2()


class Noisy2(Noisy):
    def state(self):
        return {**super().state(), "rng": torch.get_rng_state()}

    def restore(self, content):
        super().restore(content)
        torch.set_rng_state(content["rng"])


@correct()
def bare_triple():
    model = Net(dropout=0.3)
    optimizer = torch.optim.Adam(model.parameters())

    def step(i):
        optimizer.zero_grad()
        loss = functional.mse_loss(model(X[i : i + 4]), Y[i : i + 4])
        loss.backward()
        optimizer.step()
        return loss

    return model, optimizer, step


@correct()
class MovesToEvalBetween(Noisy2):
    """Every step validates in eval mode and goes back."""

    def after(self, number, loss):
        self.model.eval()
        with torch.no_grad():
            self.valid = functional.mse_loss(self.model(X), Y).item()
        self.model.train()


@correct()
class TrainsInEvalMode(Loop):
    def setup(self):
        self.model.eval()


@correct()
class StepSetsTheMode(Noisy2):
    def step(self, number):
        self.model.train()
        loss = super().step(number)
        self.model.eval()
        return loss


@correct()
class CachesConstants(Loop):
    def setup(self):
        self.cache = {}

    def batch(self, number):
        if number % 6 not in self.cache:
            self.cache[number % 6] = super().batch(number)
        return self.cache[number % 6]


CACHE = {}


@correct()
class CachesInGlobal(Loop):
    def batch(self, number):
        if number % 6 not in CACHE:
            CACHE[number % 6] = super().batch(number)
        return CACHE[number % 6]


@correct()
class WritesDirectory(Loop):
    def save(self, path):
        path.mkdir()
        for name, state in self.state().items():
            torch.save(state, path / f"{name}.pt")

    def load(self, path):
        self.restore({name: torch.load(path / f"{name}.pt") for name in ("model", "optimizer")})


@correct()
class ChecksNaN(Loop):
    def loss(self, number):
        return super().loss(number) * (float("nan") if number == 4 else 1)


@correct()
class TiedWeights(Loop):
    def __init__(self):
        self.model = nn.Module()
        self.model.embed = nn.Embedding(6, 4)
        self.model.head = nn.Linear(4, 6, bias=False)
        self.model.head.weight = self.model.embed.weight
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.01)

    def loss(self, number):
        tokens = torch.tensor([number % 6, 1])
        return functional.cross_entropy(self.model.head(self.model.embed(tokens)), tokens)


@correct()
class DqnWithTarget(Loop):
    """A target network that is synchronised now and then, and saved."""

    def setup(self):
        self.target = copy.deepcopy(self.model)

    def loss(self, number):
        x, y = self.batch(number)
        return functional.mse_loss(self.model(x), y + 0.9 * self.target(x).detach())

    def after(self, number, loss):
        if number % 2 == 0:
            self.target.load_state_dict(self.model.state_dict())

    def state(self):
        return {**super().state(), "target": self.target.state_dict()}

    def restore(self, content):
        super().restore(content)
        self.target.load_state_dict(content["target"])


@correct()
class EarlyStoppingSaved(Loop):
    def setup(self):
        self.best, self.bad = float("inf"), 0

    def after(self, number, loss):
        self.bad = 0 if loss.item() < self.best else self.bad + 1
        self.best = min(self.best, loss.item())
        if self.bad:
            for group in self.optimizer.param_groups:
                group["lr"] *= 0.5

    def state(self):
        return {**super().state(), "best": self.best, "bad": self.bad}

    def restore(self, content):
        super().restore(content)
        self.best, self.bad = content["best"], content["bad"]


@correct()
class GradientsStay(Loop):
    """Gradients are left in place after the step, and cleared before the next one."""

    def step(self, number):
        self.optimizer.zero_grad()
        loss = self.loss(number)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.grad_norm = sum(p.grad.norm() for p in self.model.parameters())
        return loss.item()


@correct()
class RunInAnObject(Loop):
    """The parts of the run sit in another object."""

    class Parts:
        def __init__(self):
            self.net = Net()
            self.opt = torch.optim.Adam(self.net.parameters())

    def __init__(self):
        self.parts = self.Parts()

    @property
    def model(self):
        return self.parts.net

    @property
    def optimizer(self):
        return self.parts.opt


@correct()
class LoaderWithWorkersSeed(Loop):
    """A new loader each epoch, whose order follows from the epoch."""

    def batch(self, number):
        epoch, at = divmod(number, 3)
        loader = DataLoader(
            TensorDataset(X, Y), batch_size=8, shuffle=True, generator=torch.Generator().manual_seed(epoch)
        )
        return list(loader)[at]


@correct()
class NonpersistentStatistics(Loop):
    """A buffer for monitoring alone."""

    def setup(self):
        self.model.register_buffer("activity", torch.zeros(1), persistent=False)

    def after(self, number, loss):
        self.model.activity += loss
