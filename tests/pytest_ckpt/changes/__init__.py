"""Changes of a module's code, between the version that wrote a checkpoint and the one that loads it.

Each function in this package that is declared with `breaks` or `keeps` gives two factories: old version and today's.
"""

from __future__ import annotations

import pkgutil
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch

from pytest_ckpt import check_compatibility
from tests.generators import unmoved

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from pytest_ckpt.findings import Finding, Report

X = torch.linspace(-1.0, 1.0, 24).reshape(3, 8)


@dataclass(frozen=True)
class Change:
    """One change, and what is to be said of it.

    Attributes:
        name: Module and name of the function, shown as the test's id.
        versions: Gives the old factory and today's.
        categories: Categories that fit the fault, any of which is right; empty where the change keeps checkpoints.
        keys: Names of the culprit, any of which is right.
        inputs: What forward takes, in both versions.
        prepare: Gives the old module its state.
        old_state: Gives what the old version saved; the default is its state_dict.
        arguments: Further arguments of `check_compatibility`.
    """

    name: str
    versions: Callable[[], tuple[Callable[[], nn.Module], Callable[[], nn.Module]]]
    categories: frozenset[str] = frozenset()
    keys: frozenset[str] = frozenset()
    inputs: Any = field(default_factory=lambda: X)
    prepare: Callable[[nn.Module], Any] | None = None
    old_state: Callable[[nn.Module], Any] | None = None
    arguments: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name

    def check(self, *, outputs: bool = True) -> Report:
        """Save with the old version, and hold that against today's."""
        torch.manual_seed(0)
        old, new = self.versions()
        module = old()
        (self.prepare or trained)(module)
        state = module.state_dict() if self.old_state is None else self.old_state(module)
        given: dict[str, Any] = {}
        if outputs:
            module.eval()
            with torch.no_grad():
                inputs = self.inputs if isinstance(self.inputs, tuple) else (self.inputs,)
                given = {"inputs": self.inputs, "outputs": module(*inputs)}
        with unmoved():
            return check_compatibility(new, state, **given, **self.arguments)

    def named(self, report: Report) -> list[Finding]:
        """Give the findings that name the culprit in a fitting category."""
        return [one for one in report.findings if one.category in self.categories and one.key in self.keys]


BREAKING: list[Change] = []
KEEPING: list[Change] = []


def trained(module: nn.Module) -> None:
    """Move every floating-point entry, as training does; running variances stay positive."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for tensor in module.state_dict().values():
            if isinstance(tensor, torch.Tensor) and tensor.dtype.is_floating_point:
                tensor.mul_(1 + 0.3 * torch.rand(tensor.shape, generator=generator).to(tensor.dtype))
                tensor.add_(0.1 * torch.rand(tensor.shape, generator=generator).to(tensor.dtype))


def collect() -> None:
    """Import every module of this package, so that `BREAKING` and `KEEPING` are complete."""
    for module in pkgutil.iter_modules(__path__):
        import_module(f"{__name__}.{module.name}")


def breaks(*categories: str, key: str | tuple[str, ...], **details: Any) -> Callable[[Any], Any]:
    """Declare a change that breaks old checkpoints, the categories that fit, and all names of the culprit."""
    keys = frozenset([key] if isinstance(key, str) else key)
    return _declare(BREAKING, categories=frozenset(categories), keys=keys, **details)


def keeps(**details: Any) -> Callable[[Any], Any]:
    """Declare a change with which old checkpoints are what they were."""
    return _declare(KEEPING, **details)


def _declare(cases: list[Change], **details: Any) -> Callable[[Any], Any]:
    own = {name: details.pop(name) for name in list(details) if name in Change.__dataclass_fields__}

    def declare(versions: Any) -> Any:
        name = f"{versions.__module__.rpartition('.')[2]}.{versions.__name__}"
        cases.append(Change(name, versions, arguments=details, **own))
        return versions

    return declare
