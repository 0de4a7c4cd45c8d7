"""Faults in trainings that are built otherwise: closures, dataclasses, trainers of one's own, functional code."""

# Code under test, as people write it: to type it would change it.
# mypy: ignore-errors

from __future__ import annotations

import copy
import functools
import json
import random
from collections import OrderedDict, defaultdict
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.optim import lr_scheduler
from torch.utils.data import (
    DataLoader,
    Dataset,
    RandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from tests.pytest_ckpt.trainings import Loop, Net, X, Y, faulty


def fit(model, optimizer, x, y):
    optimizer.zero_grad()
    loss = functional.mse_loss(model(x), y)
    loss.backward()
    optimizer.step()
    return loss.item()


@faulty("scheduler-state", key=("sched", "scheduler"))
def cosine_in_closure():
    model = Net()
    opt = torch.optim.AdamW(model.parameters(), lr=1e-2)
    sched = lr_scheduler.CosineAnnealingLR(opt, T_max=10)

    def step(i):
        loss = fit(model, opt, X[i : i + 4], Y[i : i + 4])
        sched.step()
        return loss

    def save(path):
        torch.save({"m": model.state_dict(), "o": opt.state_dict()}, path)

    def load(path):
        ckpt = torch.load(path)
        model.load_state_dict(ckpt["m"])
        opt.load_state_dict(ckpt["o"])

    return SimpleNamespace(model=model, optimizer=opt, step=step, save=save, load=load)


@dataclass
class State:
    model: Any
    optimizer: Any
    step_count: int = 0
    losses: list = field(default_factory=list)


@faulty("step-counter", key="state.step_count")
class DataclassState:
    def __init__(self):
        model = Net()
        self.state = State(model, torch.optim.Adam(model.parameters(), lr=1e-2))

    @property
    def model(self):
        return self.state.model

    @property
    def optimizer(self):
        return self.state.optimizer

    def step(self, i):
        self.state.step_count += 1
        for group in self.optimizer.param_groups:
            group["weight_decay"] = 0.1 * self.state.step_count
        self.state.losses.append(fit(self.model, self.optimizer, X[i : i + 4], Y[i : i + 4]))
        return self.state.losses[-1]

    def save(self, path):
        torch.save((self.model.state_dict(), self.optimizer.state_dict()), path)

    def load(self, path):
        model, optimizer = torch.load(path)
        self.model.load_state_dict(model)
        self.optimizer.load_state_dict(optimizer)


@faulty("data-position", "step-counter", key="dataset.epoch")
class EpochOfDataset(Loop):
    """A dataset that shuffles by its epoch, which nobody tells it after resuming."""

    class Epochs(Dataset):
        def __init__(self):
            self.epoch = 0

        def __getitem__(self, index):
            order = np.random.RandomState(self.epoch).permutation(24)
            return X[order[index]], Y[order[index]]

    def setup(self):
        self.dataset = self.Epochs()

    def batch(self, number):
        if number and number % 2 == 0:
            self.dataset.epoch += 1
        return self.dataset[number]


@faulty("rng-state", key=("sampler.generator", "generator"))
class GeneratorOfSamplerLost(Loop):
    def setup(self):
        self.generator = torch.Generator().manual_seed(11)
        self.sampler = RandomSampler(X, replacement=True, num_samples=4, generator=self.generator)

    def batch(self, number):
        rows = list(self.sampler)
        return X[rows], Y[rows]


@faulty("rng-state", key="torch")
class WeightedSampling(Loop):
    def batch(self, number):
        rows = list(WeightedRandomSampler(torch.ones(24), 4))
        return X[rows], Y[rows]


@faulty("rng-state", key="torch")
class LoaderPerEpochShuffles(Loop):
    def setup(self):
        self.loader = DataLoader(TensorDataset(X, Y), batch_size=8, shuffle=True)

    def step(self, number):
        return sum(fit(self.model, self.optimizer, x, y) for x, y in self.loader)


@faulty("rng-state", key="python")
class ShufflesInPlace(Loop):
    """The order is saved, python's generator that shuffles it is not."""

    def setup(self):
        self.rows = list(range(24))

    def batch(self, number):
        random.shuffle(self.rows)
        return X[self.rows[:4]], Y[self.rows[:4]]

    def state(self):
        return {**super().state(), "rows": self.rows}

    def restore(self, content):
        super().restore(content)
        self.rows = content["rows"]


@faulty("rng-state", key="numpy")
def mixup():
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def step(i):
        share = float(np.random.beta(0.4, 0.4))
        order = np.random.permutation(4)
        x, y = X[i : i + 4], Y[i : i + 4]
        return fit(model, optimizer, share * x + (1 - share) * x[order], share * y + (1 - share) * y[order])

    def save(path):
        states = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "rng": torch.get_rng_state()}
        torch.save({**states, "python": random.getstate()}, path)

    def load(path):
        content = torch.load(path, weights_only=False)
        model.load_state_dict(content["model"])
        optimizer.load_state_dict(content["optimizer"])
        torch.set_rng_state(content["rng"])
        random.setstate(content["python"])

    return SimpleNamespace(model=model, optimizer=optimizer, step=step, save=save, load=load)


@faulty("unsaved-state", key=("temperature", "log_temperature", "extra"))
class TemperatureInOptimizer(Loop):
    """CLIP's temperature as a parameter beside the model."""

    def setup(self):
        self.extra = {"log_temperature": nn.Parameter(torch.zeros(()))}
        self.optimizer.add_param_group({"params": [self.extra["log_temperature"]], "lr": 0.1})

    def loss(self, number):
        return super().loss(number) * self.extra["log_temperature"].exp()


@faulty("unsaved-state", key="criterion.weights")
class LearnableLossModule(Loop):
    class Weighted(nn.Module):
        def __init__(self):
            super().__init__()
            self.weights = nn.Parameter(torch.zeros(2))

        def forward(self, one, two):
            return (torch.stack([one, two]) * (-self.weights).exp() + self.weights).sum()

    def setup(self):
        self.criterion = self.Weighted()
        self.optimizer = torch.optim.Adam([*self.model.parameters(), *self.criterion.parameters()], lr=0.02)

    def loss(self, number):
        x, y = self.batch(number)
        out = self.model(x)
        return self.criterion(functional.mse_loss(out, y), functional.l1_loss(out, y))


@faulty("unsaved-state", key=("hidden", "state_"))
class TruncatedBackpropagation(Loop):
    """The hidden state goes on from batch to batch."""

    def __init__(self):
        self.model = nn.GRU(4, 3)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.01)
        self.hidden = torch.zeros(1, 3)

    def loss(self, number):
        x, _ = self.batch(number)
        out, hidden = self.model(x, self.hidden)
        self.hidden = hidden.detach()
        return out.square().mean()


@faulty("unsaved-state", key=("memory", "negatives"))
class MemoryBankLost(Loop):
    def setup(self):
        self.memory = torch.zeros(8, 1)

    def loss(self, number):
        x, y = self.batch(number)
        out = self.model(x)
        loss = (out @ self.memory.t()).logsumexp(1).mean() + functional.mse_loss(out, y)
        self.memory = torch.cat([self.memory[4:], out.detach()])
        return loss


@faulty("shape-changed", key="bank")
class BankCutWhenLoaded(Loop):
    """A bank of outputs as a buffer of the model grows with each step; loading keeps the newest rows alone."""

    def setup(self):
        self.model.register_buffer("bank", torch.zeros(1, 1))

    def loss(self, number):
        x, y = self.batch(number)
        out = self.model(x)
        loss = (out @ self.model.bank.t()).logsumexp(1).mean() + functional.mse_loss(out, y)
        self.model.bank = torch.cat([self.model.bank, out.detach()])
        return loss

    def restore(self, content):
        self.model.bank = content["model"].pop("bank")[-8:]
        self.model.load_state_dict(content["model"], strict=False)
        self.optimizer.load_state_dict(content["optimizer"])


@faulty("unsaved-state", key=("anchor", "previous"))
class ProximalAnchorLost(Loop):
    """A copy of the weights from the last round pulls at the present ones."""

    def setup(self):
        self.anchor = copy.deepcopy(self.model.state_dict())

    def loss(self, number):
        pull = sum((p - self.anchor[name]).square().sum() for name, p in self.model.named_parameters())
        return super().loss(number) + 0.1 * pull

    def after(self, number, loss):
        if number % 2:
            self.anchor = copy.deepcopy(self.model.state_dict())


@faulty("unsaved-state", "value-changed", key=("target", "target_net"))
class TargetNetworkLost(Loop):
    def setup(self):
        self.target_net = copy.deepcopy(self.model)

    def loss(self, number):
        x, y = self.batch(number)
        return functional.mse_loss(self.model(x), y + 0.9 * self.target_net(x).detach())

    def after(self, number, loss):
        if number == 1:
            self.target_net.load_state_dict(self.model.state_dict())


@faulty("unsaved-state", "step-counter", key=("kl", "beta", "annealer"))
class AnnealerLost(Loop):
    class Annealer:
        def __init__(self):
            self.value = 0.0

        def __call__(self):
            self.value = min(1.0, self.value + 0.1)
            return self.value

    def setup(self):
        self.beta = self.Annealer()

    def loss(self, number):
        return super().loss(number) + self.beta() * sum(p.square().sum() for p in self.model.parameters())


@faulty("unsaved-state", key=("stats", "normalizer"))
class RunningNormaliserLost(Loop):
    class Normalizer:
        def __init__(self):
            self.mean, self.count = np.zeros(4, dtype=np.float32), 0

        def update(self, x):
            self.count += len(x)
            self.mean += (x.numpy().mean(0) - self.mean) * len(x) / self.count

    def setup(self):
        self.normalizer = self.Normalizer()

    def batch(self, number):
        x, y = super().batch(number)
        self.normalizer.update(x)
        return x - torch.from_numpy(self.normalizer.mean), y


@faulty("unsaved-state", key=("mask", "masks"))
class PruningMaskLost(Loop):
    def setup(self):
        self.masks = {}

    def step(self, number):
        loss = super().step(number)
        if number == 1:
            self.masks["fc1"] = (self.model.fc1.weight.abs() > 0.2).float()
        for name, mask in self.masks.items():
            getattr(self.model, name).weight.data.mul_(mask)
        return loss


@faulty("unsaved-state", key=("difficulty", "scores", "losses_of"))
class HardExampleMining(Loop):
    def setup(self):
        self.scores = torch.ones(24)

    def batch(self, number):
        rows = self.scores.topk(4).indices
        self.rows = rows
        return X[rows], Y[rows]

    def after(self, number, loss):
        self.scores[self.rows] = loss.item() * 0.5


@faulty("step-counter", "unsaved-state", key=("trainer.", "loop.", "global_step", "control"))
class CountInNestedObject(Loop):
    def setup(self):
        self.trainer = SimpleNamespace(progress=SimpleNamespace(optimizer_steps=0))

    def step(self, number):
        self.trainer.progress.optimizer_steps += 1
        for group in self.optimizer.param_groups:
            group["lr"] = 0.01 / self.trainer.progress.optimizer_steps
        return super().step(number)


@faulty("scheduler-state", "step-counter", key=("scheduler", "lr_lambda"))
class LambdaWithState(Loop):
    """A schedule whose lambda is an object with state; `state_dict` saves it, the loop does not load it."""

    class Warmup:
        def __init__(self):
            self.calls = 0

        def __call__(self, epoch):
            self.calls += 1
            return min(1.0, self.calls / 10)

    def setup(self):
        self.scheduler = lr_scheduler.LambdaLR(self.optimizer, self.Warmup())

    def after(self, number, loss):
        self.scheduler.step()


@faulty("scheduler-state", key=("scheduler", "param_groups[0] lr"))
class StepsPerformedFromZero(Loop):
    """The schedule is told its place by a number that starts from zero."""

    def setup(self):
        self.scheduler = lr_scheduler.PolynomialLR(self.optimizer, total_iters=10)

    def after(self, number, loss):
        self.scheduler.step()

    def restore(self, content):
        super().restore(content)
        self.scheduler = lr_scheduler.PolynomialLR(self.optimizer, total_iters=10)


@faulty("scheduler-state", key="schedulers")
class SecondOfTwoSchedulersLost(Loop):
    def setup(self):
        self.head = torch.optim.SGD(self.model.fc2.parameters(), lr=0.1)
        self.optimizer = torch.optim.SGD(self.model.fc1.parameters(), lr=0.1)
        self.schedulers = [lr_scheduler.ExponentialLR(one, 0.7) for one in (self.optimizer, self.head)]

    def step(self, number):
        loss = self.loss(number)
        self.model.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.head.step()
        for one in self.schedulers:
            one.step()
        return loss.item()

    def state(self):
        rest = {"head": self.head.state_dict(), "scheduler": self.schedulers[0].state_dict()}
        return {**super().state(), **rest}

    def restore(self, content):
        super().restore(content)
        self.head.load_state_dict(content["head"])
        self.schedulers[0].load_state_dict(content["scheduler"])


@faulty("optimizer-state", key=("fc1.weight exp_avg", "fc1.weight step"))
class OptimizerLoadedBeforeReplacement(Loop):
    """The optimizer is loaded, and then built again for a compiled or wrapped model."""

    def restore(self, content):
        self.model.load_state_dict(content["model"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.optimizer = torch.optim.Adam(nn.Sequential(self.model).parameters(), lr=0.01)


@faulty("optimizer-state", key="fc1.weight exp_avg")
class StepsKeptMomentsZeroed(Loop):
    def state(self):
        state = copy.deepcopy(super().state())
        for values in state["optimizer"]["state"].values():
            values["exp_avg"].zero_()
        return state


@faulty("optimizer-state", key=("0.weight exp_avg", "1.weight exp_avg"))
class GroupsInAnotherOrder(Loop):
    """Decay and no-decay groups change places, and the state goes with the numbers."""

    def groups(self, *, swapped=False):
        decay = [p for p in self.model.parameters() if p.dim() > 1]
        rest = [p for p in self.model.parameters() if p.dim() == 1]
        groups = [{"params": decay, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}]
        return groups[::-1] if swapped else groups

    def __init__(self):
        self.model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
        self.model.scale = nn.Parameter(torch.ones(4))
        self.optimizer = self.make()

    def make(self, *, swapped=False):
        self.model.fc1, self.model.fc2 = self.model[0], self.model[1]
        parameters = [self.model[0].weight, self.model[1].weight]
        return torch.optim.Adam(parameters[::-1] if swapped else parameters, lr=0.01)

    def batch(self, number):
        x, _ = super().batch(number)
        return x, x.flip(1)

    def restore(self, content):
        self.model.load_state_dict(content["model"])
        self.optimizer = self.make(swapped=True)
        self.optimizer.load_state_dict(content["optimizer"])


@faulty("optimizer-state", "dtype-changed", key="fc1.weight")
class MomentsOnLoadHalved(Loop):
    def restore(self, content):
        super().restore(content)
        for state in self.optimizer.state.values():
            for name in ("exp_avg", "exp_avg_sq"):
                state[name] = state[name].half().float()


@faulty("scaler-state", key="grad_scaler")
class ScalerUnderAnotherName(Loop):
    def setup(self):
        self.grad_scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=1)

    def step(self, number):
        loss = self.loss(number)
        self.optimizer.zero_grad()
        self.grad_scaler.scale(loss).backward()
        self.grad_scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()
        return loss.item()


@faulty("ema-state", key=("averager", "ema", "avg"))
class SwaCountLost(Loop):
    """A running mean of the weights whose count is lost."""

    def setup(self):
        self.averager = SimpleNamespace(
            n=0, weights={k: torch.zeros_like(v) for k, v in self.model.state_dict().items()}
        )

    def after(self, number, loss):
        self.averager.n += 1
        for name, value in self.model.state_dict().items():
            self.averager.weights[name] += (value - self.averager.weights[name]) / self.averager.n

    def state(self):
        return {**super().state(), "averager": self.averager.weights}

    def restore(self, content):
        super().restore(content)
        self.averager.weights = content["averager"]

    def observable(self):
        return self.averager.weights


@faulty("ema-state", key=("model_ema", "ema"))
class EmaOfBuffersLost(Loop):
    """The shadow parameters come back, the averaged batch statistics do not."""

    def __init__(self):
        self.model = nn.Sequential(OrderedDict(norm=nn.BatchNorm1d(4), fc=nn.Linear(4, 1)))
        self.model_ema = copy.deepcopy(self.model).eval()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1, momentum=0.9)

    def after(self, number, loss):
        with torch.no_grad():
            for mine, theirs in zip(self.model_ema.state_dict().values(), self.model.state_dict().values()):
                mine.copy_(theirs if not mine.is_floating_point() else mine * 0.9 + theirs * 0.1)

    def state(self):
        return {**super().state(), "ema": dict(self.model_ema.named_parameters())}

    def restore(self, content):
        super().restore(content)
        self.model_ema.load_state_dict(content["ema"], strict=False)


@faulty("requires-grad", key=("fc1", "model.fc1"))
class FreezesOnLoad(Loop):
    def restore(self, content):
        super().restore(content)
        for p in self.model.fc1.parameters():
            p.requires_grad = False


@faulty("requires-grad", "save-mutates", key="fc")
class SavingFreezes(Loop):
    def state(self):
        self.model.requires_grad_(False)
        return super().state()


@faulty("mode-changed", key=("norm", "model", "Sequential"))
class NormsInEvalAfterLoad(Loop):
    def __init__(self):
        self.model = nn.Sequential(OrderedDict(norm=nn.BatchNorm1d(4), fc=nn.Linear(4, 1)))
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)

    def restore(self, content):
        super().restore(content)
        self.model.norm.eval()


@faulty("value-changed", key=("fc1.weight", "fc2.weight", "fc1.bias"))
class SavesAsText(Loop):
    """Rounded to six digits on the way."""

    def save(self, path):
        rounded = {k: [round(float(x), 6) for x in v.flatten()] for k, v in self.model.state_dict().items()}
        path.write_text(json.dumps(rounded))
        torch.save(self.optimizer.state_dict(), path.with_suffix(".opt"))

    def load(self, path):
        for name, values in json.loads(path.read_text()).items():
            self.model.state_dict()[name].copy_(torch.tensor(values).view_as(self.model.state_dict()[name]))
        self.optimizer.load_state_dict(torch.load(path.with_suffix(".opt")))


@faulty("save-mutates", "value-changed", key=("fc1.weight", "fc2.weight", "fc1.bias"))
class SavingHalvesTheModel(Loop):
    def state(self):
        self.model.half()
        state = copy.deepcopy(super().state())
        self.model.float()
        return state


@faulty("unsaved-state", "data-position", "step-counter", key="ClassLevelPointer.pointer")
class ClassLevelPointer(Loop):
    pointer = [0]

    def batch(self, number):
        self.pointer[0] += 1
        return super().batch(self.pointer[0])


@faulty("step-counter", "unsaved-state", key=("decay", "lookahead", "count", "k_counter"))
def counter_in_partial():
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    count = defaultdict(int)

    def one(count, i):
        count["steps"] += 1
        return fit(model, optimizer, X[:4] / count["steps"], Y[:4])

    def save(path):
        torch.save((model.state_dict(), optimizer.state_dict()), path)

    def load(path):
        first, second = torch.load(path)
        model.load_state_dict(first)
        optimizer.load_state_dict(second)

    return SimpleNamespace(model=model, optimizer=optimizer, step=functools.partial(one, count), save=save, load=load)
