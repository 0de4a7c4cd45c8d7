"""More faults: orders that differ between instances, checkpoints in other forms, counters that come back wrong."""

# Code under test, as people write it: to type it would change it.
# mypy: ignore-errors

from __future__ import annotations

import copy
import itertools
import pickle
import random
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.optim import lr_scheduler

from tests.pytest_ckpt.trainings import Loop, X, Y, faulty
from tests.pytest_ckpt.trainings.optimizers_faulty import Scheduled
from tests.pytest_ckpt.trainings.state_faulty import Averaged, WithOwnEma

INSTANCES = itertools.count()


class TwoAlike(Loop):
    """Two layers of one shape, so that swapped state raises nothing."""

    def __init__(self):
        self.model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
        self.optimizer = torch.optim.Adam(self.ordered(list(self.model.parameters())), lr=0.01)

    def batch(self, number):
        x, _ = super().batch(number)
        return x, x.flip(1)


@faulty("optimizer-state", key=("0.weight exp_avg", "1.weight exp_avg"))
class OrderByGlobalCounter(TwoAlike):
    def ordered(self, parameters):
        return parameters[::-1] if next(INSTANCES) % 2 else parameters


@faulty("optimizer-state", key=("0.weight exp_avg", "1.weight exp_avg"))
class OrderByClassCounter(TwoAlike):
    built = 0

    def ordered(self, parameters):
        OrderByClassCounter.built += 1
        return parameters[::-1] if OrderByClassCounter.built % 2 else parameters


@faulty("optimizer-state", key=("0.weight exp_avg", "1.weight exp_avg"))
class OrderByHash(TwoAlike):
    """As the hash of a string differs between processes."""

    def ordered(self, parameters):
        return sorted(parameters, key=lambda p: random.random())


@faulty("optimizer-state", key=("fc1.weight exp_avg", "fc1.weight step"))
class EmptyStateLoaded(Loop):
    """The state was saved before the first step, by a reference that came too early."""

    def setup(self):
        self.first = copy.deepcopy(self.optimizer.state_dict())

    def state(self):
        return {"model": self.model.state_dict(), "optimizer": self.first}


@faulty("optimizer-state", key="fc1.weight step")
class StepOfAdamLost(Loop):
    def restore(self, content):
        super().restore(content)
        for state in self.optimizer.state.values():
            state["step"].zero_()


@faulty("optimizer-state", key="param_groups[0] weight_decay")
class DecayChangedByHandLost(Loop):
    def after(self, number, loss):
        self.optimizer.param_groups[0]["weight_decay"] += 0.05

    def restore(self, content):
        self.model.load_state_dict(content["model"])
        state = content["optimizer"]
        state["param_groups"] = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict(state)


@faulty("optimizer-state", key="param_groups[1]")
class GroupAddedLaterIsLost(Loop):
    """Unfreezing adds a group, which the new run does not have when the state is loaded."""

    def setup(self):
        self.optimizer = torch.optim.SGD(self.model.fc2.parameters(), lr=0.1, momentum=0.9)

    def step(self, number):
        if number == 1:
            self.optimizer.add_param_group({"params": [*self.model.fc1.parameters()], "lr": 0.05})
        return super().step(number)

    def restore(self, content):
        self.model.load_state_dict(content["model"])
        state = content["optimizer"]
        state["param_groups"] = state["param_groups"][:1]
        state["state"] = {key: value for key, value in state["state"].items() if key < 2}
        self.optimizer.load_state_dict(state)


@faulty("scheduler-state", key="scheduler")
class SchedulerLoadedThenRebuilt(Scheduled):
    def restore(self, content):
        super().restore(content)
        self.scheduler = lr_scheduler.StepLR(self.optimizer, step_size=2, gamma=0.5)


@faulty("scheduler-state", key="scheduler")
class SchedulerOneStepAhead(Scheduled):
    def restore(self, content):
        super().restore(content)
        self.scheduler.step()


@faulty("ema-state", key="ema")
class EmaHoldsTheModel(Averaged):
    """The average is overwritten by the model that was loaded."""

    def restore(self, content):
        super().restore(content)
        self.ema.module.load_state_dict(self.model.state_dict())


@faulty("ema-state", key="ema.shadow")
class ShadowIsRounded(WithOwnEma):
    def state(self):
        state = super().state()
        state["shadow"] = {name: value.bfloat16().float() for name, value in state["shadow"].items()}
        return state


@faulty("value-changed", "unsaved-state", key=("fc1.weight", "fc1.bias", "fc2"))
class LoadsEmaIntoModel(Averaged):
    def restore(self, content):
        super().restore(content)
        self.model.load_state_dict(self.ema.module.state_dict())


@faulty("rng-state", key="torch")
class SeedsAgainOnLoad(Loop):
    def setup(self):
        self.model.dropout.p = 0.5

    def restore(self, content):
        super().restore(content)
        torch.manual_seed(0)


@faulty("rng-state", key="numpy")
class NumpySeededByFactory(Loop):
    def __init__(self):
        np.random.seed(0)
        super().__init__()

    def batch(self, number):
        rows = np.random.choice(24, 4)
        return X[rows], Y[rows]


@faulty("rng-state", key="noise.generator")
class GeneratorInModule(Loop):
    class Noise(nn.Module):
        def __init__(self):
            super().__init__()
            self.generator = torch.Generator().manual_seed(1)

        def forward(self, x):
            return x + torch.randn(x.shape, generator=self.generator)

    def setup(self):
        self.noise = self.Noise()

    def loss(self, number):
        x, y = self.batch(number)
        return functional.mse_loss(self.model(self.noise(x)), y)


@faulty("step-counter", "unsaved-state", key="iteration")
class CounterOffByOne(Loop):
    def setup(self):
        self.iteration = 0

    def step(self, number):
        self.iteration += 1
        self.optimizer.param_groups[0]["lr"] = 0.1 / self.iteration
        return super().step(number)

    def state(self):
        return {**super().state(), "iteration": self.iteration}

    def restore(self, content):
        super().restore(content)
        self.iteration = content["iteration"] + 1


@faulty("step-counter", "unsaved-state", "data-position", key="epoch")
class EpochDecidesLoss(Loop):
    def setup(self):
        self.epoch = 0

    def step(self, number):
        if number % 2 == 0:
            self.epoch += 1
        return super().step(number)

    def loss(self, number):
        return super().loss(number) * 0.9**self.epoch


@faulty("step-counter", "unsaved-state", key=("fc1.steps", "steps"))
class CounterBufferNotPersistent(Loop):
    def setup(self):
        self.model.fc1.steps = 0
        self.model.fc1.register_forward_hook(self.count)

    @staticmethod
    def count(module, inputs, output):
        module.steps += 1
        return output / module.steps


@faulty("nonpersistent-buffer", key="momentum_mean")
class NonpersistentMean(Loop):
    def setup(self):
        self.model.register_buffer("momentum_mean", torch.zeros(4), persistent=False)

    def batch(self, number):
        x, y = super().batch(number)
        self.model.momentum_mean.lerp_(x.mean(0), 0.2)
        return x - self.model.momentum_mean, y


@faulty("data-position", key=("loader.taken", "taken", "loader"))
class BatchesOfOwnLoader(Loop):
    class Loader:
        def __init__(self):
            self.taken = 0

        def __next__(self):
            self.taken += 1
            return X[self.taken : self.taken + 4], Y[self.taken : self.taken + 4]

        def __iter__(self):
            return self

    def setup(self):
        self.loader = self.Loader()

    def batch(self, number):
        return next(self.loader)


@faulty("data-position", key="queue")
class QueueOfIndicesLost(Loop):
    def setup(self):
        self.queue_of_indices = list(range(24))

    def batch(self, number):
        rows, self.queue_of_indices = self.queue_of_indices[:4], self.queue_of_indices[4:]
        return X[rows], Y[rows]


@faulty("not-weights-only", key="types.SimpleNamespace")
class NeedsPickle(Loop):
    def state(self):
        return {**super().state(), "config": SimpleNamespace(lr=0.1)}

    def load(self, path):
        self.restore(torch.load(path))


@faulty("optimizer-state", key="fc1.weight")
class PickledWithoutOptimizer(Loop):
    """The optimizer is pickled beside another model than the one that trains."""

    def save(self, path):
        path.write_bytes(pickle.dumps((self.model, self.optimizer.state_dict()["param_groups"])))

    def load(self, path):
        model, groups = pickle.loads(path.read_bytes())
        self.model.load_state_dict(model.state_dict())
        self.optimizer.param_groups[0]["lr"] = groups[0]["lr"]


@faulty("mode-changed", key=("teacher", "Net", "model"))
class TeacherLeftInTraining(Loop):
    def setup(self):
        self.model.dropout.p = 0.5
        self.model.eval()

    def restore(self, content):
        super().restore(content)
        self.model.train()
