"""Correct trainings that are built otherwise."""

# Code under test, as people write it: to type it would change it.
# mypy: ignore-errors

from __future__ import annotations

import copy
import io
import itertools
import logging
import math
import random
import tempfile
import threading
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from tests.pytest_ckpt.trainings import Loop, Net, X, Y, correct
from tests.pytest_ckpt.trainings.other_styles_faulty import fit

log = logging.getLogger(__name__)


@correct()
def closures():
    model = Net()
    opt = torch.optim.AdamW(model.parameters(), lr=1e-2)
    sched = lr_scheduler.CosineAnnealingLR(opt, T_max=10)
    done = 0

    def step(i):
        nonlocal done
        done += 1
        loss = fit(model, opt, X[i : i + 4] / done, Y[i : i + 4])
        sched.step()
        return loss

    def save(path):
        torch.save({"m": model.state_dict(), "o": opt.state_dict(), "s": sched.state_dict(), "done": done}, path)

    def load(path):
        nonlocal done
        ckpt = torch.load(path)
        model.load_state_dict(ckpt["m"])
        opt.load_state_dict(ckpt["o"])
        sched.load_state_dict(ckpt["s"])
        done = ckpt["done"]

    return SimpleNamespace(model=model, optimizer=opt, scheduler=sched, step=step, save=save, load=load)


@correct()
class StandardizedOnce(Loop):
    """Statistics of the data, computed lazily by the first step of every process."""

    def setup(self):
        self.mean = None

    def batch(self, number):
        if self.mean is None:
            self.mean = X.mean(0)
        x, y = super().batch(number)
        return x - self.mean, y


@correct()
class HasALoggerAndALock(Loop):
    def setup(self):
        self.logger, self.lock = logging.getLogger("train"), threading.Lock()
        self.folder = Path(tempfile.gettempdir())
        self.writer = io.StringIO()

    def after(self, number, loss):
        with self.lock:
            self.logger.debug("%s", loss)
            self.writer.write(f"{loss}\n")


@correct()
class EpochsFromStep(Loop):
    def setup(self):
        self.sampler = DistributedSampler(TensorDataset(X, Y), num_replicas=2, rank=0, shuffle=True, seed=3)

    def batch(self, number):
        self.sampler.set_epoch(number // 2)
        rows = list(self.sampler)[number % 2 * 4 :][:4]
        return X[rows], Y[rows]


@correct()
class ResumableSampler(Loop):
    class Resumable(torch.utils.data.Sampler):
        def __init__(self):
            self.epoch, self.start = 0, 0

        def __iter__(self):
            order = torch.randperm(24, generator=torch.Generator().manual_seed(self.epoch)).tolist()
            return iter(order[self.start :])

        def state_dict(self):
            return {"epoch": self.epoch, "start": self.start}

    def setup(self):
        self.sampler = self.Resumable()
        self.loader = DataLoader(TensorDataset(X, Y), batch_size=8, sampler=self.sampler)
        self.iterator = None

    def batch(self, number):
        if self.iterator is None:
            self.iterator = iter(self.loader)
        try:
            batch = next(self.iterator)
        except StopIteration:
            self.sampler.epoch, self.sampler.start = self.sampler.epoch + 1, 0
            self.iterator = iter(self.loader)
            batch = next(self.iterator)
        self.sampler.start += 8
        return batch

    def state(self):
        return {**super().state(), "sampler": self.sampler.state_dict()}

    def restore(self, content):
        super().restore(content)
        vars(self.sampler).update(content["sampler"])


@correct()
class GeneratorThatSeeds(Loop):
    """A generator that is seeded anew for each step."""

    def setup(self):
        self.rng = torch.Generator()

    def batch(self, number):
        self.rng.manual_seed(number)
        rows = torch.randint(24, (4,), generator=self.rng)
        return X[rows], Y[rows]


@correct()
class GeneratorOfInitialisation(Loop):
    """A generator that only the constructor draws from."""

    def setup(self):
        self.init_rng = np.random.default_rng()
        for p in self.model.parameters():
            p.data.copy_(torch.from_numpy(self.init_rng.normal(size=p.shape)).float())


@correct()
class WeightsTiedToEma(Loop):
    def setup(self):
        self.ema_model = torch.optim.swa_utils.AveragedModel(
            self.model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.5), use_buffers=True
        )

    def after(self, number, loss):
        self.ema_model.update_parameters(self.model)

    def state(self):
        return {**super().state(), "ema": self.ema_model.state_dict()}

    def restore(self, content):
        super().restore(content)
        self.ema_model.load_state_dict(content["ema"])


@correct()
class BatchNormTraining(Loop):
    def __init__(self):
        self.model = nn.Sequential(OrderedDict(norm=nn.BatchNorm1d(4, momentum=None), fc=nn.Linear(4, 1)))
        self.optimizer = torch.optim.RMSprop(self.model.parameters(), lr=0.01, momentum=0.5, centered=True)


@correct()
class Compiled(Loop):
    """A prefix on the way out and in."""

    def state(self):
        state = super().state()
        state["model"] = {f"module.{name}": value for name, value in state["model"].items()}
        return state

    def restore(self, content):
        content["model"] = {name.removeprefix("module."): value for name, value in content["model"].items()}
        super().restore(content)


@correct()
class SafeSave(Loop):
    def save(self, path):
        partial = path.with_suffix(".tmp")
        torch.save(self.state(), partial)
        partial.replace(path)


@correct()
class KeepsLastCheckpointInMemory(Loop):
    """A copy in memory as well, for rolling back."""

    def setup(self):
        self.last = None

    def state(self):
        self.last = copy.deepcopy(super().state())
        return self.last

    def step(self, number):
        loss = super().step(number)
        if not math.isfinite(loss) and self.last:
            self.restore(self.last)
        return loss


@correct()
class SparseEmbedding(Loop):
    def __init__(self):
        self.model = nn.Sequential(OrderedDict(embed=nn.EmbeddingBag(10, 4, sparse=True), fc=nn.Linear(4, 1)))
        self.optimizer = torch.optim.SGD(self.model.fc.parameters(), lr=0.1, momentum=0.9)
        self.sparse = torch.optim.SparseAdam(self.model.embed.parameters(), lr=0.1)

    def step(self, number):
        loss = (self.model(torch.tensor([[number % 10, 2]])) - 1).square().mean()
        self.model.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.sparse.step()
        return loss

    def state(self):
        return {**super().state(), "sparse": self.sparse.state_dict()}

    def restore(self, content):
        super().restore(content)
        self.sparse.load_state_dict(content["sparse"])


@correct()
class FusedStepOfGroups(Loop):
    """Settings that only say how a step is computed differ."""

    def restore(self, content):
        super().restore(content)
        for group in self.optimizer.param_groups:
            group["foreach"] = False


@correct()
class AmsgradAndDecay(Loop):
    def setup(self):
        self.optimizer = torch.optim.AdamW(self.model.parameters(), amsgrad=True, weight_decay=0.3)


@correct()
class NestedSchedules(Loop):
    def setup(self):
        warm = lr_scheduler.LinearLR(self.optimizer, 0.1, total_iters=2)
        self.scheduler = lr_scheduler.SequentialLR(
            self.optimizer, [warm, lr_scheduler.CosineAnnealingLR(self.optimizer, 6)], milestones=[2]
        )

    def after(self, number, loss):
        self.scheduler.step()

    def state(self):
        return {**super().state(), "scheduler": self.scheduler.state_dict()}

    def restore(self, content):
        super().restore(content)
        self.scheduler.load_state_dict(content["scheduler"])


@correct()
class ScheduleFromCount(Loop):
    """A schedule that is computed from a count, which is saved."""

    def setup(self):
        self.count = 0

    def step(self, number):
        self.count += 1
        for group in self.optimizer.param_groups:
            group["lr"] = 0.1 / self.count
        return super().step(number)

    def state(self):
        return {**super().state(), "count": self.count}

    def restore(self, content):
        super().restore(content)
        self.count = content["count"]


@correct()
class PlainModelWithEvaluation(Loop):
    """Evaluation draws random numbers, training does not."""

    def after(self, number, loss):
        if number % 2:
            self.score = float(self.model(torch.randn(4, 4)).mean()) + random.random() + np.random.random()


@correct()
class UnusedModel(Loop):
    """A second model from another seed that nothing uses."""

    def setup(self):
        self.unused_cache = [torch.randn(3) for _ in range(2)]
        self.perm_for_plots = torch.randperm(10)


@correct()
class DistilsFromFrozenTeacher(Loop):
    """A teacher that each process reads from the same place."""

    def setup(self):
        self.teacher = Net().requires_grad_(False)
        for p in self.teacher.parameters():
            p.fill_(0.1)

    def loss(self, number):
        x, _ = self.batch(number)
        return functional.mse_loss(self.model(x), self.teacher(x))


@correct()
def itertools_stream():
    model = Net()
    optimizer = torch.optim.Adam(model.parameters())
    box = {"stream": itertools.cycle(range(5)), "taken": 0}

    def step(i):
        box["taken"] += 1
        at = next(box["stream"])
        return fit(model, optimizer, X[at : at + 4], Y[at : at + 4])

    def save(path):
        torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "taken": box["taken"]}, path)

    def load(path):
        content = torch.load(path)
        model.load_state_dict(content["model"])
        optimizer.load_state_dict(content["optimizer"])
        box["taken"] = content["taken"]
        box["stream"] = itertools.islice(itertools.cycle(range(5)), content["taken"], None)

    return SimpleNamespace(model=model, optimizer=optimizer, step=step, save=save, load=load)


@correct()
def seeds_everything():
    random.seed(7)
    np.random.seed(7)
    torch.manual_seed(7)

    class Seeded(Loop):
        def state(self):
            rng = (random.getstate(), np.random.get_state(), torch.get_rng_state())
            return {**super().state(), "rng": rng}

        def restore(self, content):
            super().restore(content)
            random.setstate(content["rng"][0])
            np.random.set_state(content["rng"][1])
            torch.set_rng_state(content["rng"][2])

        def batch(self, number):
            x, y = super().batch(number)
            return x * random.random() + np.random.random() + torch.rand(1), y

    return Seeded()


@correct()
class SetToNoneGradients(Loop):
    def step(self, number):
        loss = self.loss(number)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=False)
        return loss.item()


@correct()
class ReinforceBaselineSaved(Loop):
    def setup(self):
        self.baseline = 0.0

    def loss(self, number):
        loss = super().loss(number)
        scaled = loss * (1 + abs(loss.item() - self.baseline))
        self.baseline = 0.9 * self.baseline + 0.1 * loss.item()
        return scaled

    def state(self):
        return {**super().state(), "baseline": self.baseline}

    def restore(self, content):
        super().restore(content)
        self.baseline = content["baseline"]


@correct()
class HooksOnTheModel(Loop):
    """Hooks that look, with what they saw in a list."""

    def setup(self):
        self.activations = []
        self.model.fc1.register_forward_hook(lambda _m, _i, out: self.activations.append(out.detach().mean()))
        self.model.fc2.weight.register_hook(lambda grad: grad.clamp(-1, 1))


@correct()
class LoadedFromSubset(Loop):
    """A model with a frozen part that is the same in every process and not saved."""

    def __init__(self):
        self.model = Net()
        self.model.fixed = nn.Linear(1, 1)
        for p in self.model.fixed.parameters():
            p.requires_grad_(False).fill_(2.0)
        self.optimizer = torch.optim.Adam([p for p in self.model.parameters() if p.requires_grad], lr=0.01)

    def state(self):
        state = super().state()
        state["model"] = {k: v for k, v in state["model"].items() if not k.startswith("fixed")}
        return state

    def restore(self, content):
        self.model.load_state_dict(content["model"], strict=False)
        self.optimizer.load_state_dict(content["optimizer"])
