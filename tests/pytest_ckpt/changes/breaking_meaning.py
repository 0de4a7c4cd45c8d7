"""Changes after which an old state fits and means something else."""

# Code under test, as people write it: to type it would change it.
# mypy: ignore-errors

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from tests.pytest_ckpt.changes import breaks
from tests.pytest_ckpt.changes.layers import Applied, Attention, Block, Chain, Gated, Stack, leniently

MEANING = "semantics"


@breaks(MEANING, key=("norm.eps", "norm"))
def layer_norm_eps():
    return lambda: Chain(norm=nn.LayerNorm(8), fc=nn.Linear(8, 2)), lambda: Chain(
        norm=nn.LayerNorm(8, eps=1e-2), fc=nn.Linear(8, 2)
    )


@breaks(MEANING, key=("norm.eps", "norm"))
def layer_norm_eps_a_little():
    return lambda: Chain(norm=nn.LayerNorm(8, eps=1e-6), fc=nn.Linear(8, 2)), lambda: Chain(
        norm=nn.LayerNorm(8, eps=1e-5), fc=nn.Linear(8, 2)
    )


@breaks(MEANING, key=("norm.eps", "norm"))
def batch_norm_eps():
    return lambda: Chain(norm=nn.BatchNorm1d(8), fc=nn.Linear(8, 2)), lambda: Chain(
        norm=nn.BatchNorm1d(8, eps=1e-3), fc=nn.Linear(8, 2)
    )


@breaks(MEANING, key=("blocks.0.norm.eps", "blocks.1.norm.eps", "blocks.0.norm", "blocks.1.norm"))
def eps_of_all_blocks():
    return Stack, lambda: Stack(2, lambda: Block(eps=1e-3))


@breaks(MEANING, key=("act", "act.approximate"))
def relu_to_gelu():
    return lambda: Chain(a=nn.Linear(8, 8), act=nn.ReLU(), b=nn.Linear(8, 2)), lambda: Chain(
        a=nn.Linear(8, 8), act=nn.GELU(), b=nn.Linear(8, 2)
    )


@breaks(MEANING, key=("act", "act.approximate"))
def gelu_to_tanh_gelu():
    return lambda: Chain(a=nn.Linear(8, 8), act=nn.GELU(), b=nn.Linear(8, 2)), lambda: Chain(
        a=nn.Linear(8, 8), act=nn.GELU(approximate="tanh"), b=nn.Linear(8, 2)
    )


@breaks(MEANING, key=("act", "act.negative_slope"))
def negative_slope():
    return lambda: Chain(a=nn.Linear(8, 8), act=nn.LeakyReLU(0.2), b=nn.Linear(8, 2)), lambda: Chain(
        a=nn.Linear(8, 8), act=nn.LeakyReLU(), b=nn.Linear(8, 2)
    )


class Functional(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.inner = Inner(function)
        self.out = nn.Linear(8, 2)

    def forward(self, x):
        return self.out(self.inner(x))


class Inner(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.fc = nn.Linear(8, 8)
        self.__dict__["_call"] = lambda x: function(self.fc(x))

    def forward(self, x):
        return self._call(x)


@breaks(MEANING, key=("inner", "relu", "silu"))
def functional_activation():
    return lambda: Functional(functional.relu), lambda: Functional(functional.silu)


@breaks(MEANING, key=("inner", "mul", "inner.mul"))
def number_in_forward():
    return lambda: Functional(lambda x: x * 0.5), lambda: Functional(lambda x: x * 0.25)


@breaks(MEANING, key=("inner", "softmax"))
def temperature_in_forward():
    return lambda: Functional(lambda x: torch.softmax(x / 2.0, -1)), lambda: Functional(
        lambda x: torch.softmax(x / 3.0, -1)
    )


@breaks(MEANING, key=("inner", "softmax"))
def softmax_over_another_dimension():
    return lambda: Functional(lambda x: torch.softmax(x, -1)), lambda: Functional(lambda x: torch.softmax(x, 0))


@breaks(MEANING, key=("heads", "attn.heads", "attn.head_dim"))
def number_of_heads():
    return lambda: Chain(attn=Attention(heads=2)), lambda: Chain(attn=Attention(heads=4))


@breaks(MEANING, key=("attn.scale", "attn"))
def attention_scale():
    return lambda: Chain(attn=Attention()), lambda: Chain(attn=Attention(scale=0.25))


@breaks(MEANING, key=("attn.num_heads", "attn"))
def heads_of_torchs_attention():
    class Wrapped(nn.Module):
        def __init__(self, heads):
            super().__init__()
            self.attn = nn.MultiheadAttention(8, heads)

        def forward(self, x):
            return self.attn(x, x, x)[0]

    return lambda: Wrapped(2), lambda: Wrapped(4)


@breaks(MEANING, key=("gate", "up"))
def gate_and_up_exchanged():
    return Gated, lambda: Gated(names=("up", "gate"))


@breaks(MEANING, key=("qkv.weight", "qkv.bias", "qkv", "attn.qkv", "attn.qkv.weight", "attn.qkv.bias", "attn.order"))
def query_and_key_exchanged():
    return lambda: Chain(attn=Attention(fused=True)), lambda: Chain(attn=Attention(fused=True, order="vkq"))


@breaks(MEANING, key=("first", "second"))
def layers_applied_in_another_order():
    return (
        lambda: Applied(lambda m, x: m.second(torch.tanh(m.first(x))), first=nn.Linear(8, 8), second=nn.Linear(8, 8)),
        lambda: Applied(lambda m, x: m.first(torch.tanh(m.second(x))), first=nn.Linear(8, 8), second=nn.Linear(8, 8)),
    )


@breaks(MEANING, key=("blocks.0", "blocks.1", "blocks.2"))
def blocks_in_reverse_order():
    class Reversed(Stack):
        def forward(self, x):
            for block in reversed(self.blocks):
                x = block(x)
            return self.head(x)

    return lambda: Stack(3), lambda: Reversed(3)


@breaks(MEANING, key=("blocks.1",), load_state=leniently)
def block_inserted_in_the_middle():
    return lambda: Stack(2), lambda: Stack(3)


@breaks(MEANING, key=("blocks.0", "blocks.1", "blocks.2", "blocks.3"), load_state=leniently)
def block_inserted_in_a_long_row():
    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(8, 8)

        def forward(self, x):
            return torch.tanh(self.fc(x))

    return lambda: Stack(3, Plain), lambda: Stack(4, Plain)


@breaks(MEANING, key=("norm", "norm.weight"), load_state=leniently)
def norm_added_before_the_head():
    return lambda: Chain(a=nn.Linear(8, 8), head=nn.Linear(8, 2)), lambda: Chain(
        a=nn.Linear(8, 8), norm=nn.LayerNorm(8), head=nn.Linear(8, 2)
    )


@breaks(MEANING, key=("act",))
def activation_added():
    return lambda: Chain(a=nn.Linear(8, 8), b=nn.Linear(8, 2)), lambda: Chain(
        a=nn.Linear(8, 8), act=nn.ReLU(), b=nn.Linear(8, 2)
    )


@breaks(MEANING, key=("act", "a", "b", "Chain"))
def activation_removed():
    return lambda: Chain(a=nn.Linear(8, 8), act=nn.ReLU(), b=nn.Linear(8, 2)), lambda: Chain(
        a=nn.Linear(8, 8), b=nn.Linear(8, 2)
    )


@breaks(MEANING, key=("block.pre", "block"))
def norm_after_instead_of_before():
    return lambda: Chain(block=Block()), lambda: Chain(block=Block(pre=False))


@breaks(MEANING, key=("conv.padding_mode", "conv"))
def padding_mode():
    class Conv(nn.Module):
        def __init__(self, mode):
            super().__init__()
            self.conv = nn.Conv1d(1, 2, 3, padding=1, padding_mode=mode)

        def forward(self, x):
            return self.conv(x[:, None])

    return lambda: Conv("zeros"), lambda: Conv("reflect")


@breaks(MEANING, key=("conv.stride", "conv"))
def stride():
    class Conv(nn.Module):
        def __init__(self, stride):
            super().__init__()
            self.conv = nn.Conv1d(1, 2, 3, padding=1, stride=stride)

        def forward(self, x):
            return self.conv(x[:, None])

    return lambda: Conv(2), lambda: Conv(1)


@breaks(MEANING, key=("conv.dilation", "conv", "conv.padding"))
def dilation():
    class Conv(nn.Module):
        def __init__(self, dilation):
            super().__init__()
            self.conv = nn.Conv1d(1, 2, 3, dilation=dilation)

        def forward(self, x):
            return self.conv(x[:, None])[..., :4]

    return lambda: Conv(1), lambda: Conv(2)


@breaks(MEANING, key=("mean", "amax", "Applied", "fc"))
def pooling():
    return (
        lambda: Applied(lambda m, x: m.fc(x).mean(dim=0), fc=nn.Linear(8, 8)),
        lambda: Applied(lambda m, x: m.fc(x).amax(dim=0), fc=nn.Linear(8, 8)),
    )


@breaks(MEANING, key=("cat", "Applied"))
def concatenated_in_another_order():
    return (
        lambda: Applied(lambda m, x: m.out(torch.cat([m.a(x), x], -1)), a=nn.Linear(8, 8), out=nn.Linear(16, 2)),
        lambda: Applied(lambda m, x: m.out(torch.cat([x, m.a(x)], -1)), a=nn.Linear(8, 8), out=nn.Linear(16, 2)),
    )


@breaks(MEANING, key=("Applied", "a", "add", "sub"))
def residual_removed():
    return (
        lambda: Applied(lambda m, x: x + m.a(x), a=nn.Linear(8, 8)),
        lambda: Applied(lambda m, x: m.a(x), a=nn.Linear(8, 8)),
    )


@breaks(MEANING, key=("rate", "theta", "Rotated", "base"))
def base_of_a_table():
    class Rotated(nn.Module):
        def __init__(self, base):
            super().__init__()
            self.fc, self.base = nn.Linear(8, 8), base

        def forward(self, x):
            angles = torch.arange(8) / self.base
            return self.fc(x) * angles.cos()

    return lambda: Rotated(100.0), lambda: Rotated(500.0)


@breaks(MEANING, key=("table", "Tabled"))
def table_that_is_not_saved():
    class Tabled(nn.Module):
        def __init__(self, base):
            super().__init__()
            self.fc = nn.Linear(8, 8)
            self.register_buffer("table", torch.arange(8).div(base).cos(), persistent=False)

        def forward(self, x):
            return self.fc(x) * self.table

    return lambda: Tabled(100.0), lambda: Tabled(5.0)


@breaks(MEANING, key=("norm.num_groups", "norm"))
def number_of_groups():
    return lambda: Chain(norm=nn.GroupNorm(2, 8), fc=nn.Linear(8, 2)), lambda: Chain(
        norm=nn.GroupNorm(4, 8), fc=nn.Linear(8, 2)
    )


@breaks(MEANING, key=("lstm", "lstm.weight_ih", "lstm.weight_hh"))
def gates_of_a_hand_written_cell():
    class Cell(nn.Module):
        def __init__(self, order):
            super().__init__()
            self.lstm, self.order = nn.LSTMCell(8, 4), order

        def forward(self, x):
            lstm = self.lstm
            gates = functional.linear(x, lstm.weight_ih, lstm.bias_ih + lstm.bias_hh).chunk(4, -1)
            i, f, g, o = (gates[at] for at in self.order)
            return o.sigmoid() * (i.sigmoid() * g.tanh() + f.sigmoid()).tanh()

    return lambda: Cell((0, 1, 2, 3)), lambda: Cell((1, 0, 2, 3))


@breaks(MEANING, key=("norm.weight", "norm"))
def gain_stored_as_its_distance_from_one():
    class Gain(nn.Module):
        def __init__(self, plus):
            super().__init__()
            self.weight = nn.Parameter(torch.full((8,), 0.3))
            self.__dict__["_plus"] = (plus,)

        def forward(self, x):
            return functional.layer_norm(x, (8,), self.weight + 1 if self._plus[0] else self.weight)

    return lambda: Chain(norm=Gain(True), fc=nn.Linear(8, 2)), lambda: Chain(norm=Gain(False), fc=nn.Linear(8, 2))
