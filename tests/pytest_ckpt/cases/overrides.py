"""Modules whose own methods of saving and loading empty, forgive or stir something; and right ones beside them."""

# Code under test, as people write it: to type it would change it.
# mypy: ignore-errors

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from tests.pytest_ckpt.cases import correct, faulty
from tests.pytest_ckpt.cases.broken_loaders import X, read

if TYPE_CHECKING:
    from pathlib import Path


def use(module: nn.Module) -> None:
    module.train()
    for _ in range(3):
        module(torch.randn(2, 4))


class Collects(nn.Module):
    """Collects means until it is saved."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.pending, self.saves = nn.Linear(4, 2), [], 0

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.pending.append(x.mean().item())
        return self.linear(x) + sum(self.pending)

    def get_extra_state(self):
        self.saves += 1
        return list(self.pending)

    def set_extra_state(self, state) -> None:
        self.pending = list(state)


class Empties(Collects):
    """Hands them over to the checkpoint, and forgets them itself."""

    def get_extra_state(self):
        given = super().get_extra_state()
        self.pending.clear()
        return given


correct(inputs=X, prepare=use)(Collects)
faulty("save-mutates", key="pending", inputs=X, prepare=use, alone=True)(Empties)


class Adapted(nn.Module):
    """A linear layer and an adapter that can be switched off."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.adapter, self.on = nn.Linear(4, 2), nn.Linear(4, 2), True

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) + (self.adapter(x) if self.on else 0)


def save_with_the_adapter_off(module: Adapted, path: Path) -> None:
    module.on = False
    torch.save(module.state_dict(), path)


def save_and_switch_on_again(module: Adapted, path: Path) -> None:
    save_with_the_adapter_off(module, path)
    module.on = True


@faulty("save-mutates", key="on", inputs=X, save=save_with_the_adapter_off)
def adapter_left_off() -> nn.Module:
    return Adapted()


@correct(inputs=X, save=save_and_switch_on_again)
def adapter_switched_on_again() -> nn.Module:
    return Adapted()


class Forgives(nn.Sequential):
    """Returns what is missing, but takes it as it is, whatever `strict` says."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(4, 4), nn.Linear(4, 2))

    def load_state_dict(self, state_dict, strict=True, assign=False):
        known = {key: value for key, value in state_dict.items() if key in self.state_dict()}
        return super().load_state_dict(known, strict=False, assign=assign)


class ForgivesOpenly(Forgives):
    """Is lenient by its signature, as the method of a mixin that adds adapters is."""

    def load_state_dict(self, state_dict, strict=False, assign=False):
        return nn.Module.load_state_dict(self, state_dict, strict=strict, assign=assign)


faulty("strictness", key="0.weight", inputs=X, alone=True)(Forgives)
correct(inputs=X)(ForgivesOpenly)


def load_with_noise(path: Path) -> nn.Module:
    module = nn.Linear(4, 2)
    module.load_state_dict(read(path))
    with torch.no_grad():
        module.weight += torch.randn_like(module.weight) / 1000
    return module


@faulty("value-changed", key="weight", inputs=X, load=load_with_noise, alone=True)
def stirred_after_loading() -> nn.Module:
    return nn.Linear(4, 2)
