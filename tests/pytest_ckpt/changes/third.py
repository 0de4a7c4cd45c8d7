"""A third set of changes: parametrised layers, statistics, containers, nested loaders."""

# Code under test, as people write it: to type it would change it.
# mypy: ignore-errors

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from tests.pytest_ckpt.changes import breaks, keeps
from tests.pytest_ckpt.changes.layers import (
    Applied,
    Attention,
    Block,
    Chain,
    Gated,
    Stack,
    dropping,
    hiding,
    leniently,
    moving,
    with_post_hook,
)

KEYS, MEANING = "key-mismatch", "semantics"


def blocks_alone(module, state):
    own = {key.removeprefix("blocks."): value for key, value in state.items() if key.startswith("blocks.")}
    module.blocks.load_state_dict(own)


@breaks(KEYS, key=("fc.weight", "fc.parametrizations.weight.original", "fc.parametrizations.weight.0.base"))
def orthogonal_today():
    return lambda: Chain(fc=nn.Linear(8, 8)), lambda: Chain(fc=nn.utils.parametrizations.orthogonal(nn.Linear(8, 8)))


@breaks(KEYS, key=("fc.weight", "fc.weight_g", "fc.parametrizations.weight.original0"))
def weight_norm_removed():
    return lambda: Chain(fc=nn.utils.parametrizations.weight_norm(nn.Linear(8, 8))), lambda: Chain(fc=nn.Linear(8, 8))


@breaks(KEYS, key=("temperature",))
def temperature_learnt_today():
    class Tempered(nn.Module):
        def __init__(self, learnt):
            super().__init__()
            self.fc = nn.Linear(8, 8)
            self.temperature = nn.Parameter(torch.tensor(1.0)) if learnt else 1.0

        def forward(self, x):
            return self.fc(x) / self.temperature

    return lambda: Tempered(False), lambda: Tempered(True)


@breaks(KEYS, key=("items.b.weight", "items.b.bias", "items.c.weight"))
def key_of_a_module_dict_renamed():
    def net(*names):
        return Applied(
            lambda m, x: sum(one(x) for one in m.items.values()),
            items=nn.ModuleDict({name: nn.Linear(8, 4) for name in names}),
        )

    return lambda: net("a", "b"), lambda: net("a", "c")


@breaks(
    KEYS, MEANING, key=("blocks.0", "blocks.0.fc.weight", "head.weight", "blocks.1.fc.weight"), load_state=blocks_alone
)
def loader_forgets_the_head():
    return Stack, Stack


@breaks(MEANING, key=("q_proj", "k_proj", "attn.q_proj", "attn.k_proj", "attn.v_proj"))
def value_and_query_exchanged_in_forward():
    class Turned(Attention):
        def forward(self, x):
            self._modules["q_proj"], self._modules["v_proj"] = self._modules["v_proj"], self._modules["q_proj"]
            try:
                return super().forward(x)
            finally:
                self._modules["q_proj"], self._modules["v_proj"] = self._modules["v_proj"], self._modules["q_proj"]

    return lambda: Chain(attn=Attention()), lambda: Chain(attn=Turned())


@breaks(MEANING, key=("weight", "bias", "norm.weight", "norm.bias"))
def shift_and_scale_exchanged():
    class Affine(nn.Module):
        def __init__(self, turned):
            super().__init__()
            self.weight, self.bias = nn.Parameter(torch.ones(8)), nn.Parameter(torch.zeros(8))
            self.__dict__["_turned"] = (turned,)

        def forward(self, x):
            one, other = (self.bias, self.weight) if self._turned[0] else (self.weight, self.bias)
            return x * one + other

    return lambda: Chain(norm=Affine(False)), lambda: Chain(norm=Affine(True))


@breaks(MEANING, key=("slope", "act", "inner", "Applied", "leaky_relu"))
def slope_in_a_functional_call():
    return (
        lambda: Applied(lambda m, x: functional.leaky_relu(m.fc(x), 0.2), fc=nn.Linear(8, 8)),
        lambda: Applied(lambda m, x: functional.leaky_relu(m.fc(x), 0.05), fc=nn.Linear(8, 8)),
    )


@breaks(MEANING, key=("layer_norm", "Applied"))
def eps_in_a_functional_call():
    return (
        lambda: Applied(lambda m, x: functional.layer_norm(m.fc(x), (8,), eps=1e-5), fc=nn.Linear(8, 8)),
        lambda: Applied(lambda m, x: functional.layer_norm(m.fc(x), (8,), eps=1e-2), fc=nn.Linear(8, 8)),
    )


@breaks(MEANING, key=("scaled_dot_product_attention", "Applied"))
def causal_today():
    def attend(causal):
        return lambda m, x: functional.scaled_dot_product_attention(
            m.q(x)[None], m.k(x)[None], m.v(x)[None], is_causal=causal
        )

    def net(causal):
        return Applied(attend(causal), q=nn.Linear(8, 8), k=nn.Linear(8, 8), v=nn.Linear(8, 8))

    return lambda: net(False), lambda: net(True)


@breaks("value-changed", MEANING, key=("attn.in_proj_weight", "attn.in_proj_bias"))
def torchs_attention_from_vkq():
    class Fused(nn.Module):
        def __init__(self):
            super().__init__()
            self.attn = nn.MultiheadAttention(8, 2)
            self.register_load_state_dict_pre_hook(self.join)
            self.register_load_state_dict_pre_hook(moving({"out.": "attn.out_proj."}))

        @staticmethod
        def join(_module, state, prefix, *_):
            for leaf in ("weight", "bias"):
                parts = [state.pop(f"{prefix}{one}_proj.{leaf}") for one in "vkq"]
                state[f"{prefix}attn.in_proj_{leaf}"] = torch.cat(parts)

        def forward(self, x):
            return self.attn(x, x, x)[0]

    return Attention, Fused


@breaks("dtype-changed", key=("table",))
def table_in_bytes_today():
    class Table(nn.Module):
        def __init__(self, dtype):
            super().__init__()
            self.fc = nn.Linear(8, 8)
            self.register_buffer("table", torch.tensor([3, 300, 7, 1]).to(dtype))

        def forward(self, x):
            return self.fc(x)

    return lambda: Table(torch.int64), lambda: Table(torch.int8)


@keeps()
def temperature_learnt_with_a_default():
    class Tempered(nn.Module):
        def __init__(self, learnt):
            super().__init__()
            self.fc = nn.Linear(8, 8)
            self.temperature = nn.Parameter(torch.tensor(1.0)) if learnt else 1.0
            if learnt:
                self.register_load_state_dict_pre_hook(self.fill)

        @staticmethod
        def fill(module, state, prefix, *_):
            state.setdefault(f"{prefix}temperature", torch.tensor(1.0))

        def forward(self, x):
            return self.fc(x) / self.temperature

    return lambda: Tempered(False), lambda: Tempered(True)


@keeps()
def weight_norm_added_through_torchs_own_hook():
    def hook(_module, state, prefix, *_):
        weight = state.pop(f"{prefix}fc.weight", None)
        if weight is not None:
            state[f"{prefix}fc.parametrizations.weight.original0"] = weight.norm(dim=1, keepdim=True)
            state[f"{prefix}fc.parametrizations.weight.original1"] = weight

    return lambda: Chain(fc=nn.Linear(8, 8)), lambda: Chain(
        hook, fc=nn.utils.parametrizations.weight_norm(nn.Linear(8, 8))
    )


@keeps(load_state=lambda m, s: m.load_state_dict({k: v for k, v in s.items() if not k.startswith("aux.")}))
def training_head_filtered_by_the_loader():
    return (
        lambda: Applied(lambda m, x: m.fc(x), fc=nn.Linear(8, 8), aux=nn.Linear(8, 4)),
        lambda: Chain(fc=nn.Linear(8, 8)),
    )


@keeps(load_state=leniently)
def training_head_dropped_by_a_lenient_loader():
    return (
        lambda: Applied(lambda m, x: m.fc(x), fc=nn.Linear(8, 8), aux=nn.Linear(8, 4)),
        lambda: Chain(fc=nn.Linear(8, 8)),
    )


@keeps()
def module_dict_key_renamed_by_a_hook():
    def net(*names, hooks=()):
        forward = lambda m, x: sum(one(x) for one in m.items.values())
        return Applied(forward, *hooks, items=nn.ModuleDict({name: nn.Linear(8, 4) for name in names}))

    return lambda: net("a", "b"), lambda: net("a", "c", hooks=[moving({"items.b.": "items.c."})])


@keeps()
def gated_rewritten_with_glu():
    class Fused(nn.Module):
        def __init__(self):
            super().__init__()
            self.up_gate, self.down = nn.Linear(8, 16), nn.Linear(8, 8)
            self.register_load_state_dict_pre_hook(self.join)

        @staticmethod
        def join(_module, state, prefix, *_):
            for leaf in ("weight", "bias"):
                state[f"{prefix}up_gate.{leaf}"] = torch.cat(
                    [state.pop(f"{prefix}up.{leaf}"), state.pop(f"{prefix}gate.{leaf}")]
                )

        def forward(self, x):
            up, gate = self.up_gate(x).chunk(2, -1)
            return self.down(functional.silu(gate) * up)

    return Gated, Fused


@keeps()
def post_hook_that_only_logs():
    def new():
        return with_post_hook(Stack(), lambda _module, keys: keys.missing_keys.sort())

    return Stack, new


@keeps()
def parameter_became_a_buffer():
    class Scaled(nn.Module):
        def __init__(self, kind):
            super().__init__()
            self.fc = nn.Linear(8, 8)
            if kind == "buffer":
                self.register_buffer("scale", torch.ones(8))
            else:
                self.scale = nn.Parameter(torch.ones(8))

        def forward(self, x):
            return self.fc(x) * self.scale

    return lambda: Scaled("parameter"), lambda: Scaled("buffer")


@keeps()
def scalar_and_one_element():
    class Scaled(nn.Module):
        def __init__(self, shape):
            super().__init__()
            self.scale = nn.Parameter(torch.full(shape, 2.0))

        def forward(self, x):
            return x * self.scale

    return lambda: Scaled((1,)), lambda: Scaled(())


@keeps()
def layers_nested_by_a_hook():
    return (
        lambda: Chain(a=Block(), b=nn.Linear(8, 2)),
        lambda: Chain(moving({"a.": "body.0.", "b.": "body.1."}), body=nn.Sequential(Block(), nn.Linear(8, 2))),
    )


@keeps()
def auxiliary_statistics_dropped_and_new_ones_hidden():
    class Counted(nn.Module):
        def __init__(self, name):
            super().__init__()
            self.fc = nn.Linear(8, 8)
            self.register_buffer(name, torch.zeros(3))
            if name == "seen":
                self.register_load_state_dict_pre_hook(dropping("count"))
                self.register_load_state_dict_post_hook(hiding("seen"))

        def forward(self, x):
            return self.fc(x)

    return lambda: Counted("count"), lambda: Counted("seen")


@breaks(KEYS, key=("0.fc.bias", "1.fc.bias"), load_state=leniently)
def biases_gone_and_loaded_leniently():
    def stack(bias):
        return lambda: nn.Sequential(Chain(fc=nn.Linear(8, 8, bias=bias)), Chain(fc=nn.Linear(8, 8, bias=bias)))

    return stack(True), stack(False)


@keeps(load_state=leniently)
def bias_of_a_head_for_training_gone_and_loaded_leniently():
    class Trained(nn.Module):
        def __init__(self, bias):
            super().__init__()
            self.fc, self.auxiliary = nn.Linear(8, 8), nn.Linear(8, 3, bias=bias)

        def forward(self, x):
            return (self.fc(x), self.auxiliary(x)) if self.training else self.fc(x)

    return lambda: Trained(True), lambda: Trained(False)
