"""Trainings that hold the iterator of a DataLoader, scale their loss by hand, or draw or clear while they save."""

# Code under test, as people write it: to type it would change it.
# mypy: ignore-errors

from __future__ import annotations

import torch
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from tests.pytest_ckpt.trainings import Loop, X, Y, correct, faulty


class Shuffled(Loop):
    """Shuffles with a generator of its own."""

    def __init__(self):
        super().__init__()
        self.order = torch.Generator().manual_seed(0)
        self.loader = DataLoader(TensorDataset(X, Y), batch_size=8, shuffle=True, generator=self.order)
        self.begin()

    def begin(self):
        self.before, self.taken = self.order.get_state(), 0
        self.rows = iter(self.loader)

    def batch(self, number):
        if self.taken == len(self.loader):
            self.begin()
        self.taken += 1
        return next(self.rows)


@faulty("data-position", key="rows", steps=8, resume_at=4)
class ShuffledAnew(Shuffled):
    """Begins with the first epoch's order."""


@faulty("data-position", key="rows", steps=8, resume_at=4)
class ShuffledFromTheEpochOn(Shuffled):
    """Knows the generator of the epoch, and begins that anew."""

    def state(self):
        return {**super().state(), "before": self.before}

    def restore(self, content):
        super().restore(content)
        self.order.set_state(content["before"])
        self.begin()


@correct(steps=8, resume_at=4)
class ShuffledOn(ShuffledFromTheEpochOn):
    """Knows how many batches were taken too, and passes over them."""

    def state(self):
        return {**super().state(), "taken": self.taken}

    def restore(self, content):
        super().restore(content)
        for _ in range(content["taken"]):
            self.batch(0)


class ScaledByHand(Loop):
    """Doubles the scale of its loss by and by."""

    def __init__(self):
        super().__init__()
        self.loss_scale = 2.0**10

    def loss(self, number):
        return super().loss(number) * self.loss_scale

    def after(self, number, loss):
        self.loss_scale *= 2


@faulty("scaler-state", key="loss_scale")
class ScaleLost(ScaledByHand):
    """It begins anew."""


@correct()
class ScaleKept(ScaledByHand):
    """It goes on."""

    def state(self):
        return {**super().state(), "scale": self.loss_scale}

    def restore(self, content):
        super().restore(content)
        self.loss_scale = content["scale"]


class Noisy(Loop):
    """Adds noise to its examples, and saves where the generator is."""

    def batch(self, number):
        x, y = super().batch(number)
        return x + torch.randn_like(x) / 10, y

    def state(self):
        return {**super().state(), "generator": torch.get_rng_state()}

    def restore(self, content):
        super().restore(content)
        torch.set_rng_state(content["generator"])


@faulty("save-mutates", key="torch")
class DrawsAfterSaving(Noisy):
    """Makes samples once the file is written."""

    def save(self, path):
        super().save(path)
        self.model(torch.randn(2, 4))


@correct()
class DrawsBeforeSaving(Noisy):
    """Makes them before, so that a resumed run goes on as this one does."""

    def save(self, path):
        self.model(torch.randn(2, 4))
        super().save(path)


@correct()
class Accumulates(Loop):
    """Steps after every second batch, and may be saved in between."""

    def step(self, number):
        x, y = self.batch(number)
        loss = functional.mse_loss(self.model(x), y)
        loss.backward()
        if number % 2:
            self.optimizer.step()
            self.optimizer.zero_grad()
        return loss.item()

    def state(self):
        gradients = {name: p.grad for name, p in self.model.named_parameters() if p.grad is not None}
        return {**super().state(), "gradients": gradients}

    def restore(self, content):
        super().restore(content)
        for name, gradient in content["gradients"].items():
            self.model.get_parameter(name).grad = gradient


@faulty("save-mutates", key="fc1.weight.grad")
class ClearsWhenSaving(Accumulates):
    """Makes the checkpoint smaller than it is."""

    def save(self, path):
        self.optimizer.zero_grad()
        super().save(path)
