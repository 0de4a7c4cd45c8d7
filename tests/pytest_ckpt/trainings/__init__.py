"""Faulty and correct training loops, as real code has them, for `check_resume` to judge.

Each is declared where it is written, by a decorator on its class or factory: `@faulty("rng-state", key="numpy")` says
what the report must hold, `@correct()` that it must hold nothing.
"""

from __future__ import annotations

import pkgutil
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import nn
from torch.nn import functional

from pytest_ckpt import check_resume
from tests.generators import unmoved

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_ckpt.findings import Finding, Report

    Make = TypeVar("Make", bound=Callable[[], Any])

#: Examples and labels, the same for every run, as a file would hold them.
X = torch.randn(24, 4, generator=torch.Generator().manual_seed(1))
Y = torch.randn(24, 1, generator=torch.Generator().manual_seed(2))


@dataclass(frozen=True)
class Case:
    """One training, and what is to be said of it.

    Attributes:
        name: Module and name of the factory, shown as the test's id.
        make: Gives a new run.
        arguments: Further arguments of `check_resume`.
        categories: Categories that fit the fault, any of which is right; empty where the code is correct.
        keys: Beginnings of the culprit's name, any of which is right.
        says: What the finding's message or hint must say.
    """

    name: str
    make: Callable[[], Any]
    arguments: dict[str, Any]
    categories: frozenset[str] = frozenset()
    keys: tuple[str, ...] = ()
    says: str = ""

    def __str__(self) -> str:
        return self.name

    def check(self) -> Report:
        """Resume the training, on one thread: several only wait for each other over tensors of four elements."""
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with unmoved():
                return check_resume(self.make, **self.arguments)
        finally:
            torch.set_num_threads(threads)

    def named(self, report: Report) -> list[Finding]:
        """Give the findings that name the culprit in a fitting category."""
        return [one for one in report.findings if one.category in self.categories and one.key.startswith(self.keys)]


FAULTY: list[Case] = []
CORRECT: list[Case] = []


def collect() -> None:
    """Import every module of this package, so that `FAULTY` and `CORRECT` are complete."""
    for module in pkgutil.iter_modules(__path__):
        import_module(f"{__name__}.{module.name}")


def faulty(*categories: str, key: str | tuple[str, ...], says: str = "", **arguments: Any) -> Callable[[Make], Make]:
    """Declare a class or factory faulty.

    Args:
        *categories: The categories that fit; the report must hold one of them.
        key: The beginning of the culprit's name, or of all the names that point at it.
        says: What the finding's message or hint must say.
        **arguments: Further arguments of `check_resume`.
    """
    keys = (key,) if isinstance(key, str) else key

    def declare(make: Make) -> Make:
        FAULTY.append(Case(_name(make), make, arguments, frozenset(categories), keys, says))
        return make

    return declare


def correct(**arguments: Any) -> Callable[[Make], Make]:
    """Declare a class or factory correct."""

    def declare(make: Make) -> Make:
        CORRECT.append(Case(_name(make), make, arguments))
        return make

    return declare


def _name(make: Any) -> str:
    return f"{make.__module__.rpartition('.')[2]}.{make.__name__}"


# ------------------------------------------------------------------------------------------------- what the loops share


class Net(nn.Module):
    """Two layers with dropout in between, which does nothing where `dropout` is 0."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.fc1 = nn.Linear(4, 5)
        self.dropout = nn.Dropout(dropout)
        self.fc2 = nn.Linear(5, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.fc2(self.dropout(self.fc1(x).tanh()))
        return result


class Loop:
    """A complete training loop on four examples a step; the cases say what is special in theirs."""

    def __init__(self) -> None:
        self.model: Any = Net()
        self.optimizer: Any = torch.optim.Adam(self.model.parameters(), lr=0.01)
        self.setup()

    def setup(self) -> None:
        """Build what else there is."""

    def batch(self, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        at = number * 4 % 24
        return X[at : at + 4], Y[at : at + 4]

    def loss(self, number: int) -> torch.Tensor:
        x, y = self.batch(number)
        return functional.mse_loss(self.model(x), y)

    def step(self, number: int) -> float:
        loss = self.loss(number)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.after(number, loss.detach())
        return loss.item()

    def after(self, number: int, loss: torch.Tensor) -> None:
        """Do what follows a step."""

    def state(self) -> dict[str, Any]:
        """Give what is saved."""
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    def restore(self, content: dict[str, Any]) -> None:
        """Take back what was saved."""
        self.model.load_state_dict(content["model"])
        self.optimizer.load_state_dict(content["optimizer"])

    def save(self, path: Any) -> None:
        torch.save(self.state(), path)

    def load(self, path: Any) -> None:
        self.restore(torch.load(path, weights_only=False))
