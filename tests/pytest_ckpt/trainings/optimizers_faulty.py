"""Optimizers, schedules and scalers that a resumed training has otherwise."""

# Code under test, as people write it: to type it would change it.
# mypy: ignore-errors

from __future__ import annotations

import copy
import random
from types import SimpleNamespace

import torch
from torch import nn
from torch.nn import functional
from torch.optim import lr_scheduler

from tests.pytest_ckpt.trainings import Loop, Net, X, Y, faulty


class ModelOnly(Loop):
    def state(self):
        return {"model": self.model.state_dict()}

    def restore(self, content):
        self.model.load_state_dict(content["model"])


@faulty("optimizer-state", key=("fc1.weight exp_avg", "fc1.weight step"))
class AdamLost(ModelOnly):
    pass


@faulty("optimizer-state", key="fc1.weight momentum_buffer")
class MomentumLost(ModelOnly):
    def setup(self):
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01, momentum=0.9)


@faulty("optimizer-state", key="fc1.weight sum")
class AdagradLost(ModelOnly):
    def setup(self):
        self.optimizer = torch.optim.Adagrad(self.model.parameters(), lr=0.1)


@faulty("optimizer-state", key="fc1.weight")
class LBFGSLost(ModelOnly):
    def setup(self):
        self.optimizer = torch.optim.LBFGS(self.model.parameters(), lr=0.1, max_iter=2)

    def step(self, number):
        def closure():
            self.optimizer.zero_grad()
            loss = self.loss(number)
            loss.backward()
            return loss

        return self.optimizer.step(closure).item()


@faulty("optimizer-state", key="param_groups[0] lr")
class LrSetByHandLost(ModelOnly):
    def setup(self):
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)

    def after(self, number, loss):
        for group in self.optimizer.param_groups:
            group["lr"] *= 0.9


@faulty("optimizer-state", key=("fc1.bias exp_avg", "scale exp_avg"))
def shuffled_parameters():
    class Shuffled(Loop):
        def setup(self):
            parameters = [self.model.fc1.bias, self.model.scale]
            random.shuffle(parameters)
            self.optimizer = torch.optim.Adam(
                [*parameters, self.model.fc1.weight, *self.model.fc2.parameters()], lr=0.01
            )

        def loss(self, number):
            return super().loss(number) + (self.model.scale - 1).square().sum()

        def __init__(self):
            self.model = Net()
            self.model.scale = nn.Parameter(torch.zeros(5))
            self.setup()

    return Shuffled()


@faulty("optimizer-state", key="fc1.weight exp_avg")
class MomentsSavedAsBfloat16(Loop):
    def state(self):
        state = copy.deepcopy(super().state())
        for values in state["optimizer"]["state"].values():
            for name in ("exp_avg", "exp_avg_sq"):
                values[name] = values[name].bfloat16()
        return state


@faulty("optimizer-state", key="fc1.weight")
class MasterWeightsCast(Loop):
    """`Optimizer.load_state_dict` casts the fp32 master weights to the dtype of the bf16 parameters."""

    def setup(self):
        self.model.bfloat16()

        class WithMaster(torch.optim.SGD):
            def step(self, closure=None):
                for group in self.param_groups:
                    for p in group["params"]:
                        state = self.state[p]
                        if not state:
                            state["master"] = p.detach().float().clone()
                        state["master"] -= group["lr"] * p.grad.float()
                        p.data.copy_(state["master"])

        self.optimizer = WithMaster(self.model.parameters(), lr=0.01)

    def batch(self, number):
        return tuple(one.bfloat16() for one in super().batch(number))


@faulty("optimizer-state", key="param_groups[0] params")
class HoldsReplacedParameters(Loop):
    def restore(self, content):
        self.model.load_state_dict(content["model"], assign=True)
        self.optimizer.load_state_dict(content["optimizer"])


@faulty("optimizer-state", key="param_groups[0] params")
class ModelRebuiltByLoad(Loop):
    def restore(self, content):
        self.model = Net()
        super().restore(content)


@faulty("optimizer-state", key="param_groups[0] params")
class HeadReplacedAfterLoading(Loop):
    def restore(self, content):
        super().restore(content)
        head = nn.Linear(5, 1)
        head.load_state_dict(self.model.fc2.state_dict())
        self.model.fc2 = head


@faulty("optimizer-state", key=("fc1.weight exp_avg", "fc1.weight step"))
class OptimizerRebuiltAfterLoading(Loop):
    def restore(self, content):
        super().restore(content)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.01)


@faulty("optimizer-state", key=("critic.fc1.weight", "opt_critic"))
def gan_second_optimizer_lost():
    return Gan(saved=("generator", "critic", "opt_generator"))


@faulty("unsaved-state", key="critic.fc1.weight")
def gan_critic_lost():
    return Gan(saved=("generator", "opt_generator", "opt_critic"))


class Gan:
    def __init__(self, saved):
        self.generator, self.critic = nn.Linear(4, 4), Net()
        self.opt_generator = torch.optim.Adam(self.generator.parameters(), lr=0.01)
        self.opt_critic = torch.optim.Adam(self.critic.parameters(), lr=0.02)
        self.saved = saved

    def step(self, number):
        real = X[number * 4 % 24 :][:4]
        fake = self.generator(real)
        loss = functional.softplus(self.critic(fake.detach())).mean() + functional.softplus(-self.critic(real)).mean()
        self.opt_critic.zero_grad()
        loss.backward()
        self.opt_critic.step()
        other = functional.softplus(-self.critic(fake)).mean()
        self.opt_generator.zero_grad()
        other.backward()
        self.opt_generator.step()
        return {"critic": loss.item(), "generator": other.item()}

    def save(self, path):
        torch.save({name: getattr(self, name).state_dict() for name in self.saved}, path)

    def load(self, path):
        for name, state in torch.load(path).items():
            getattr(self, name).load_state_dict(state)


@faulty("optimizer-state", key="optimizers['critic']")
def gan_in_dicts_swapped():
    """Two optimizers of the same shape, restored crosswise."""
    models = nn.ModuleDict({"critic": Net(), "generator": Net()})
    optimizers = {
        name: torch.optim.SGD(m.parameters(), lr=lr, momentum=0.9)
        for (name, m), lr in zip(models.items(), (0.01, 0.02))
    }

    def step(i):
        total = 0.0
        for name, model in models.items():
            loss = (model(X[i : i + 4]) - Y[i : i + 4] * len(name)).square().mean()
            optimizers[name].zero_grad()
            loss.backward()
            optimizers[name].step()
            total += loss.item()
        return total

    def save(path):
        torch.save(
            {"models": models.state_dict(), **{name: one.state_dict() for name, one in optimizers.items()}}, path
        )

    def load(path):
        content = torch.load(path)
        models.load_state_dict(content["models"])
        optimizers["critic"].load_state_dict(content["generator"])
        optimizers["generator"].load_state_dict(content["critic"])

    return SimpleNamespace(models=models, optimizers=optimizers, step=step, save=save, load=load)


@faulty("optimizer-state", key=("fc2.weight momentum_buffer", "param_groups[1]"))
class SecondGroupLost(Loop):
    def setup(self):
        groups = [{"params": self.model.fc1.parameters()}, {"params": self.model.fc2.parameters(), "lr": 0.1}]
        self.optimizer = torch.optim.SGD(groups, lr=0.01, momentum=0.9)

    def restore(self, content):
        self.model.load_state_dict(content["model"])
        state = content["optimizer"]
        first = state["param_groups"][0]["params"]
        state["state"] = {key: value for key, value in state["state"].items() if key in first}
        self.optimizer.load_state_dict(state)


@faulty("optimizer-state", key="fc1.weight momentum_buffer")
def closure_style_without_optimizer():
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.8)

    def step(i):
        optimizer.zero_grad()
        loss = functional.mse_loss(model(X[i : i + 6]), Y[i : i + 6])
        loss.backward()
        optimizer.step()
        return loss.detach()

    return SimpleNamespace(
        model=model,
        optimizer=optimizer,
        step=step,
        save=lambda path: torch.save(model.state_dict(), path),
        load=lambda path: model.load_state_dict(torch.load(path)),
    )


@faulty("optimizer-state", key="optimizer.")
class LookaheadInPlainAttributes(Loop):
    """An optimizer whose slow weights are attributes, which `state_dict` does not know."""

    def setup(self):
        class Lookahead(torch.optim.SGD):
            def __init__(self, parameters, **words):
                super().__init__(parameters, **words)
                self.slow = [p.detach().clone() for p in self.param_groups[0]["params"]]
                self.calls = 0

            @torch.no_grad()
            def step(self, closure=None):
                super().step()
                self.calls += 1
                if self.calls % 2 == 0:
                    for slow, p in zip(self.slow, self.param_groups[0]["params"]):
                        slow += 0.5 * (p - slow)
                        p.copy_(slow)

        self.optimizer = Lookahead(self.model.parameters(), lr=0.1)


# ------------------------------------------------------------------------------------------------------------ schedules


class Scheduled(Loop):
    def setup(self):
        self.scheduler = lr_scheduler.StepLR(self.optimizer, step_size=2, gamma=0.5)

    def after(self, number, loss):
        self.scheduler.step()

    def state(self):
        return {**super().state(), "scheduler": self.scheduler.state_dict()}

    def restore(self, content):
        super().restore(content)
        self.scheduler.load_state_dict(content["scheduler"])


@faulty("scheduler-state", key="scheduler")
class SchedulerLost(Scheduled):
    def restore(self, content):
        Loop.restore(self, content)


@faulty("scheduler-state", key=("scheduler", "param_groups[0] lr"))
class SchedulerRebuiltAfterOptimizer(Scheduled):
    def restore(self, content):
        Loop.restore(self, content)
        self.scheduler = lr_scheduler.LambdaLR(self.optimizer, lambda epoch: 0.5**epoch)

    def setup(self):
        self.scheduler = lr_scheduler.LambdaLR(self.optimizer, lambda epoch: 0.5**epoch)


@faulty("scheduler-state", key="scheduler")
class SchedulerOfAnotherOptimizer(Scheduled):
    """The scheduler goes on driving the optimizer from before the load."""

    def restore(self, content):
        self.model.load_state_dict(content["model"])
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.01)
        self.optimizer.load_state_dict(content["optimizer"])
        self.scheduler.load_state_dict(content["scheduler"])


@faulty("scheduler-state", key="scheduler")
class LongScheduleLost(Scheduled):
    """The learning rate changes only after the compared steps."""

    def setup(self):
        self.scheduler = lr_scheduler.StepLR(self.optimizer, step_size=50)

    def restore(self, content):
        Loop.restore(self, content)


@faulty("scheduler-state", key="scheduler")
class OneCycleLost(Scheduled):
    def setup(self):
        self.scheduler = lr_scheduler.OneCycleLR(self.optimizer, max_lr=0.1, total_steps=20)

    def restore(self, content):
        Loop.restore(self, content)


@faulty("scheduler-state", key="scheduler")
class PlateauLost(Scheduled):
    def setup(self):
        self.scheduler = lr_scheduler.ReduceLROnPlateau(self.optimizer, patience=1, factor=0.5, threshold=10.0)

    def after(self, number, loss):
        self.scheduler.step(loss)

    def restore(self, content):
        Loop.restore(self, content)


@faulty("scheduler-state", key=("scheduler", "warmup"))
class InnerScheduleOfSequenceLost(Scheduled):
    def setup(self):
        self.warmup = lr_scheduler.LinearLR(self.optimizer, 0.1, total_iters=2)
        self.scheduler = lr_scheduler.SequentialLR(
            self.optimizer, [self.warmup, lr_scheduler.CosineAnnealingLR(self.optimizer, 6)], milestones=[2]
        )

    def restore(self, content):
        Loop.restore(self, content)


@faulty("scheduler-state", key=("lr_sched", "scheduler"))
class OwnScheduleObject(Loop):
    class NoamSchedule:
        def __init__(self, optimizer):
            self.optimizer, self.step_num = optimizer, 0

        def step(self):
            self.step_num += 1
            for group in self.optimizer.param_groups:
                group["lr"] = 0.1 * min(self.step_num**-0.5, self.step_num * 4**-1.5)

    def setup(self):
        self.lr_scheduler = self.NoamSchedule(self.optimizer)

    def after(self, number, loss):
        self.lr_scheduler.step()


# -------------------------------------------------------------------------------------------------------------- scalers


class Scaled(Loop):
    def setup(self):
        self.scaler = torch.amp.GradScaler("cpu", init_scale=64.0, growth_interval=2)

    def step(self, number):
        loss = self.loss(number)
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss.item()

    def state(self):
        return {**super().state(), "scaler": self.scaler.state_dict()}

    def restore(self, content):
        super().restore(content)
        self.scaler.load_state_dict(content["scaler"])


@faulty("scaler-state", key="scaler")
class ScalerLost(Scaled):
    def restore(self, content):
        Loop.restore(self, content)


@faulty("scaler-state", key="scaler")
class ScalerCreatedAfterLoading(Scaled):
    def restore(self, content):
        super().restore(content)
        Scaled.setup(self)


@faulty("unsaved-state", "scaler-state", key=("loss_scale", "good_steps"))
class OwnLossScaleLost(Loop):
    def setup(self):
        self.loss_scale = 1.0

    def loss(self, number):
        return super().loss(number) * self.loss_scale

    def after(self, number, loss):
        self.loss_scale *= 1.5
