"""Small modules that the changes are made on."""

# Code under test, as people write it: to type it would change it.
# mypy: ignore-errors

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable


class Chain(nn.Module):
    """Named layers, applied in order, with load hooks."""

    def __init__(self, *hooks: Any, **layers: nn.Module) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)
        for hook in hooks:
            self.register_load_state_dict_pre_hook(hook)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.children():
            x = layer(x)
        return x


class Applied(Chain):
    """Named layers and a forward of one's own."""

    def __init__(self, forward: Callable[..., Any], *hooks: Any, **layers: nn.Module) -> None:
        super().__init__(*hooks, **layers)
        self._forward = forward

    def forward(self, *x: Tensor) -> Any:
        return self._forward(self, *x)


def moving(renamed: dict[str, str], *, keep: bool = False) -> Any:
    """Give a load hook that renames by beginnings of names."""

    def hook(_module: Any, state: Any, prefix: str, *_: Any) -> None:
        moved = {}
        for old, new in renamed.items():
            for key in [key for key in state if key.startswith(prefix + old)]:
                moved[prefix + new + key[len(prefix + old) :]] = state[key] if keep else state.pop(key)
        state.update(moved)

    return hook


def dropping(*beginnings: str) -> Any:
    """Give a load hook that drops entries by beginnings of names."""

    def hook(_module: Any, state: Any, prefix: str, *_: Any) -> None:
        for key in [key for key in state if key.startswith(tuple(prefix + one for one in beginnings))]:
            del state[key]

    return hook


def joining(name: str, *parts: str, dim: int = 0) -> Any:
    """Give a load hook that joins entries to one."""

    def hook(_module: Any, state: Any, prefix: str, *_: Any) -> None:
        if all(prefix + part in state for part in parts):
            joined = torch.cat([state[prefix + part] for part in parts], dim)
            for part in set(parts):
                del state[prefix + part]
            state[prefix + name] = joined

    return hook


def hiding(*names: str) -> Any:
    """Give a load post hook that takes names out of the missing keys."""

    def hook(_module: Any, keys: Any) -> None:
        keys.missing_keys[:] = [key for key in keys.missing_keys if key not in names]

    return hook


def with_post_hook(module: nn.Module, hook: Any) -> nn.Module:
    module.register_load_state_dict_post_hook(hook)
    return module


class Attention(nn.Module):
    """Self-attention with three projections, or with one for all three, cut in some order."""

    def __init__(
        self, width: int = 8, heads: int = 2, *, fused: bool = False, order: str = "qkv", scale: float | None = None
    ) -> None:
        super().__init__()
        self.heads, self.head_dim = heads, width // heads
        self.scale = self.head_dim**-0.5 if scale is None else scale
        self.order = order
        if fused:
            self.qkv = nn.Linear(width, 3 * width)
        else:
            self.q_proj, self.k_proj, self.v_proj = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        if hasattr(self, "qkv"):
            parts = dict(zip(self.order, self.qkv(x).chunk(3, -1), strict=True))
        else:
            parts = {name: getattr(self, f"{name}_proj")(x) for name in "qkv"}
        q, k, v = (parts[name].unflatten(-1, (self.heads, self.head_dim)).transpose(-2, -3) for name in "qkv")
        weights = torch.softmax(q @ k.transpose(-1, -2) * self.scale, -1)
        return self.out((weights @ v).transpose(-2, -3).flatten(-2))


class Gated(nn.Module):
    """A gated feed-forward layer."""

    def __init__(self, width: int = 8, hidden: int = 8, names: tuple[str, str] = ("gate", "up")) -> None:
        super().__init__()
        self.names = names
        for name in names:
            self.add_module(name, nn.Linear(width, hidden))
        self.down = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = (getattr(self, name) for name in self.names)
        return self.down(functional.silu(gate(x)) * up(x))


class Block(nn.Module):
    """A residual layer, with the norm before it or after."""

    def __init__(self, width: int = 8, eps: float = 1e-5, *, pre: bool = True) -> None:
        super().__init__()
        self.norm, self.fc = nn.LayerNorm(width, eps=eps), nn.Linear(width, width)
        self.pre = pre

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.tanh(self.fc(self.norm(x))) if self.pre else self.norm(x + torch.tanh(self.fc(x)))


class Stack(nn.Module):
    """Blocks in a row and a head."""

    def __init__(self, count: int = 2, make: Callable[[], nn.Module] = Block, *hooks: Any) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(make() for _ in range(count))
        self.head = nn.Linear(8, 3)
        for hook in hooks:
            self.register_load_state_dict_pre_hook(hook)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def leniently(module: nn.Module, state: Any) -> None:
    module.load_state_dict(state, strict=False)


def where_it_fits(module: nn.Module, state: Any) -> None:
    own = module.state_dict()
    module.load_state_dict(
        {key: one for key, one in state.items() if key in own and own[key].shape == one.shape}, strict=False
    )


def copy_by_name(module: nn.Module, state: Any) -> None:
    for name, one in module.named_parameters():
        one.data.copy_(state[name])


def copy_by_position(module: nn.Module, state: Any) -> None:
    for one, old in zip(module.state_dict().values(), state.values(), strict=True):
        one.data.copy_(old)


def without_prefix(module: nn.Module, state: Any) -> None:
    module.load_state_dict({key.removeprefix("module."): one for key, one in state.items()})
