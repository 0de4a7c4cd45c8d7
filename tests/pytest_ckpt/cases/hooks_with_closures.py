"""Forward hooks whose closures hold something that decides the outputs, and hooks whose closures do not."""

# Code under test, as people write it: to type it would change it.
# mypy: ignore-errors

from __future__ import annotations

import torch
from torch import Tensor, nn

from tests.pytest_ckpt.cases import correct, faulty

X = torch.linspace(-1.0, 1.0, 8).reshape(2, 4)


class Hooked(nn.Module):
    """Two layers, of which the first gets a hook."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(4, 4), nn.Linear(4, 2)
        self.hook()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


@faulty("unsaved-state", key="body.scale", says='self.register_buffer("scale", ...)', inputs=X, alone=True)
class Scaled(Hooked):
    """The hook scales by what was drawn when it was made."""

    def hook(self) -> None:
        scale, seen = torch.rand(4) + 0.5, []

        def hook(_module, _inputs, output):
            seen.append(output.detach())
            return output * scale

        self.body.register_forward_hook(hook)


@faulty("unsaved-state", key="body.factor", inputs=X, prepare=lambda module: module.harden(), alone=True)
class Hardened(Hooked):
    """The hook is bound to a number that is set later."""

    def hook(self) -> None:
        factor = 1.0

        def hook(_module, inputs):
            return (inputs[0] * factor,)

        def harden() -> None:
            nonlocal factor
            factor = 3.0

        self.harden = harden
        self.body.register_forward_pre_hook(hook)


@faulty("unsaved-submodule", key="body.teacher", inputs=X, alone=True)
class Taught(Hooked):
    """The hook runs a layer that belongs to nobody."""

    def hook(self) -> None:
        teacher = nn.Linear(4, 4)
        self.body.register_forward_hook(lambda _module, _inputs, output: output + teacher(output))


@correct(inputs=X)
class TaughtByItsOwn(Hooked):
    """The hook runs a layer of the module."""

    def hook(self) -> None:
        self.teacher = teacher = nn.Linear(4, 4)
        self.body.register_forward_hook(lambda _module, _inputs, output: output + teacher(output))


@correct(inputs=X)
class Watched(Hooked):
    """The hook collects activations, and scales by a constant."""

    def hook(self) -> None:
        scale, seen, drawn = torch.full((4,), 2.0), [], torch.rand(4)

        def hook(_module, _inputs, output):
            seen.append((output.detach(), drawn))
            return output * scale

        self.body.register_forward_hook(hook)
