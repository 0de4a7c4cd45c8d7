"""Changes of names, shapes, dtypes and ties with which old checkpoints no longer load, or lose something."""

# Code under test, as people write it: to type it would change it.
# mypy: ignore-errors

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from tests.pytest_ckpt.changes import breaks
from tests.pytest_ckpt.changes.layers import (
    Applied,
    Attention,
    Block,
    Chain,
    Gated,
    Stack,
    copy_by_name,
    copy_by_position,
    dropping,
    hiding,
    joining,
    leniently,
    moving,
    where_it_fits,
    with_post_hook,
)

KEYS = "key-mismatch"


@breaks(KEYS, key=("head.weight", "fc.weight"))
def layer_renamed():
    return lambda: Chain(body=nn.Linear(8, 8), fc=nn.Linear(8, 3)), lambda: Chain(
        body=nn.Linear(8, 8), head=nn.Linear(8, 3)
    )


@breaks(KEYS, key=("encoder.0.fc.weight", "blocks.0.fc.weight"))
def container_renamed():
    class Renamed(Stack):
        def __init__(self):
            super().__init__()
            self.encoder = self.blocks
            del self.blocks

        def forward(self, x):
            for block in self.encoder:
                x = block(x)
            return self.head(x)

    return Stack, Renamed


@breaks(KEYS, key=("net.a.weight", "a.weight"))
def moved_below_a_submodule():
    return lambda: Chain(a=nn.Linear(8, 8), b=nn.Linear(8, 2)), lambda: Chain(
        net=Chain(a=nn.Linear(8, 8), b=nn.Linear(8, 2))
    )


@breaks(KEYS, key=("2.weight", "1.weight", "1.bias", "2.bias"))
def dropout_inserted_renumbers():
    return lambda: nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8)), lambda: nn.Sequential(
        nn.Linear(8, 8), nn.Dropout(), nn.Linear(8, 8)
    )


@breaks(KEYS, "shape-changed", key=("2.weight", "1.weight", "3.weight"))
def norm_inserted_renumbers():
    return lambda: nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 8), nn.Linear(8, 2)), lambda: nn.Sequential(
        nn.Linear(8, 4), nn.LayerNorm(4), nn.Linear(4, 8), nn.Linear(8, 2)
    )


class WithBuffer(nn.Module):
    def __init__(self, *, persistent=True, dtype=torch.float32):
        super().__init__()
        self.fc = nn.Linear(8, 8)
        self.register_buffer("scale", torch.ones(8, dtype=dtype), persistent=persistent)

    def forward(self, x):
        return self.fc(x) * self.scale


@breaks(KEYS, key="scale")
def buffer_added():
    return _Plain, WithBuffer


class _Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 8)

    def forward(self, x):
        return self.fc(x)


@breaks(KEYS, key="scale")
def buffer_no_longer_saved():
    return WithBuffer, lambda: WithBuffer(persistent=False)


@breaks(KEYS, key="scale")
def buffer_saved_since():
    return lambda: WithBuffer(persistent=False), WithBuffer


@breaks(KEYS, key="fc.bias")
def bias_added():
    return lambda: Chain(fc=nn.Linear(8, 8, bias=False)), lambda: Chain(fc=nn.Linear(8, 8))


@breaks(KEYS, key="fc.bias")
def bias_removed():
    return lambda: Chain(fc=nn.Linear(8, 8)), lambda: Chain(fc=nn.Linear(8, 8, bias=False))


@breaks(KEYS, key="norm.num_batches_tracked")
def counter_dropped_from_a_modern_file():
    def new():
        return Chain(norm=nn.BatchNorm1d(8, track_running_stats=True), fc=nn.Linear(8, 2))

    def old():
        module = new()
        module.norm.num_batches_tracked = None
        return module

    return old, new


class OldWeightNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.g, self.v, self.bias = (
            nn.Parameter(torch.ones(8)),
            nn.Parameter(torch.randn(8, 8)),
            nn.Parameter(torch.zeros(8)),
        )

    def forward(self, x):
        return functional.linear(x, self.v * (self.g / self.v.norm(dim=1))[:, None], self.bias)


@breaks(
    KEYS, key=("parametrizations.weight.original0", "parametrizations.weight.original1", "fc.g", "fc.v",
               "fc.parametrizations.weight.original0", "fc.parametrizations.weight.original1"),
)  # fmt: skip
def weight_norm_to_parametrization():
    return lambda: Chain(fc=OldWeightNorm()), lambda: Chain(fc=nn.utils.parametrizations.weight_norm(nn.Linear(8, 8)))


@breaks(KEYS, key="head.bias")
def hook_forgets_the_bias_and_hides_it():
    hook = moving({"fc.weight": "head.weight"})

    def new():
        return with_post_hook(
            Chain(hook, dropping("fc."), body=nn.Linear(8, 8), head=nn.Linear(8, 3)), hiding("head.bias")
        )

    return lambda: Chain(body=nn.Linear(8, 8), fc=nn.Linear(8, 3)), new


@breaks(KEYS, key=("norm.weight", "norm.bias"))
def hook_drops_the_norm_and_hides_it():
    def new():
        hook = hiding("norm.weight", "norm.bias")
        return with_post_hook(
            Chain(moving({"fc.": "head."}), dropping("ln."), norm=nn.LayerNorm(8), head=nn.Linear(8, 3)), hook
        )

    return lambda: Chain(ln=nn.LayerNorm(8), fc=nn.Linear(8, 3)), new


@breaks(KEYS, "strictness", key=("head.weight", "head.bias"), load_state=leniently)
def renamed_and_loaded_leniently():
    return lambda: Chain(body=nn.Linear(8, 8), fc=nn.Linear(8, 3)), lambda: Chain(
        body=nn.Linear(8, 8), head=nn.Linear(8, 3)
    )


@breaks(KEYS, "strictness", key=("norm.weight", "norm.bias", "ln.weight", "ln.bias"), load_state=leniently)
def norm_renamed_and_loaded_leniently():
    return lambda: Chain(ln=nn.LayerNorm(8), fc=nn.Linear(8, 3)), lambda: Chain(
        norm=nn.LayerNorm(8), fc=nn.Linear(8, 3)
    )


@breaks(KEYS, "strictness", "shape-changed", key=("fc.weight", "fc.bias"), load_state=where_it_fits)
def widened_and_loaded_where_it_fits():
    return lambda: Chain(fc=nn.Linear(8, 3)), lambda: Chain(fc=nn.Linear(8, 5))


@breaks("shape-changed", key=("fc.weight", "fc.bias"))
def more_classes():
    return lambda: Chain(body=nn.Linear(8, 8), fc=nn.Linear(8, 3)), lambda: Chain(
        body=nn.Linear(8, 8), fc=nn.Linear(8, 5)
    )


@breaks("shape-changed", key="conv.weight")
def kernel_changed():
    class Conv(nn.Module):
        def __init__(self, kernel):
            super().__init__()
            self.conv = nn.Conv1d(1, 2, kernel, padding=kernel // 2)

        def forward(self, x):
            return self.conv(x[:, None])

    return lambda: Conv(3), lambda: Conv(5)


@breaks("shape-changed", key=("proj.weight", "proj.bias"))
def groups_changed():
    class Conv(nn.Module):
        def __init__(self, groups):
            super().__init__()
            self.proj = nn.Conv1d(8, 8, 1, groups=groups)

        def forward(self, x):
            return self.proj(x[..., None])

    return lambda: Conv(1), lambda: Conv(2)


class Typed(nn.Module):
    def __init__(self, dtype=torch.float32):
        super().__init__()
        self.fc, self.gain = nn.Linear(8, 8), nn.Parameter(torch.ones(8, dtype=dtype))

    def forward(self, x):
        return self.fc(x) * self.gain.float()


@breaks("dtype-changed", key="gain")
def parameter_bfloat16_today():
    return Typed, lambda: Typed(torch.bfloat16)


@breaks("dtype-changed", key="gain")
def double_parameter_single_today():
    return lambda: Typed(torch.float64), Typed


@breaks("dtype-changed", key="scale")
def buffer_half_today():
    class Half(WithBuffer):
        def forward(self, x):
            return self.fc(x) * self.scale.float()

    return Half, lambda: Half(dtype=torch.float16)


@breaks("dtype-changed", key=("norm.weight", "norm.bias"))
def norm_in_low_precision_today():
    class Mixed(nn.Module):
        def __init__(self, dtype):
            super().__init__()
            self.fc, self.norm = nn.Linear(8, 8), nn.LayerNorm(8).to(dtype)

        def forward(self, x):
            return self.norm(self.fc(x).to(self.norm.weight.dtype)).float()

    return lambda: Mixed(torch.float32), lambda: Mixed(torch.bfloat16)


@breaks("dtype-changed", key="gain")
def bfloat16_to_half():
    return lambda: Typed(torch.bfloat16), lambda: Typed(torch.float16)


@breaks("value-changed", "dtype-changed", key="fc.weight")
def hook_rounds_through_half():
    def hook(_module, state, prefix, *_):
        state[prefix + "fc.weight"] = state[prefix + "fc.weight"].half().float()

    return lambda: Chain(fc=nn.Linear(8, 8)), lambda: Chain(hook, fc=nn.Linear(8, 8))


class Tied(nn.Module):
    def __init__(self, *, tied=True):
        super().__init__()
        self.embed, self.head = nn.Embedding(6, 8), nn.Linear(8, 6, bias=False)
        if tied:
            self.head.weight = self.embed.weight

    def forward(self, x):
        return self.head(x @ self.embed.weight.t() @ self.embed.weight)


@breaks("tie-broken", key=("head.weight", "embed.weight"))
def tied_then_untied():
    return Tied, lambda: Tied(tied=False)


@breaks("tie-conflict", "tie-broken", key=("head.weight", "embed.weight"))
def untied_then_tied():
    return lambda: Tied(tied=False), Tied


@breaks("tie-broken", key=("b.weight", "a.weight", "b.bias", "a.bias"))
def shared_layer_copied_today():
    def shared():
        layer = nn.Linear(8, 8)
        return Chain(a=layer, c=nn.Tanh(), b=layer)

    return shared, lambda: Chain(a=nn.Linear(8, 8), c=nn.Tanh(), b=nn.Linear(8, 8))


@breaks(KEYS, key=("blocks.2.fc.weight", "blocks.2.norm.weight", "blocks.2.norm.bias", "blocks.2.fc.bias"))
def block_appended():
    return Stack, lambda: Stack(3)


@breaks(KEYS, key=("blocks.2.fc.weight", "blocks.2.norm.weight", "blocks.2"))
def block_removed():
    return lambda: Stack(3), Stack


@breaks(KEYS, key=("module.fc.weight", "fc.weight"), old_state=lambda module: nn.DataParallel(module).state_dict())
def saved_wrapped():
    return lambda: Chain(fc=nn.Linear(8, 8)), lambda: Chain(fc=nn.Linear(8, 8))


@breaks(KEYS, key=("qkv.weight", "q_proj.weight", "k_proj.weight", "v_proj.weight"))
def projections_fused_without_migration():
    return Attention, lambda: Attention(fused=True)


@breaks(KEYS, key=("gate_proj.weight", "gate.weight", "up_proj.weight"))
def both_gates_renamed():
    return Gated, lambda: Gated(names=("gate_proj", "up_proj"))


@breaks(KEYS, key=("0.fc.weight", "blocks.0.fc.weight"))
def list_flattened():
    return Stack, lambda: nn.Sequential(Block(), Block(), nn.Linear(8, 3))


@breaks(KEYS, "shape-changed", key=("gamma", "weight"))
def gamma_to_weight_with_another_shape():
    class Gain(nn.Module):
        def __init__(self, name, shape):
            super().__init__()
            self.register_parameter(name, nn.Parameter(torch.ones(shape)))
            self.name = name

        def forward(self, x):
            return x * getattr(self, self.name)

    return lambda: Gain("gamma", (8,)), lambda: Gain("weight", (1, 8))


@breaks(KEYS, key=("running_mean", "mean"))
def buffer_renamed():
    class Centred(nn.Module):
        def __init__(self, name):
            super().__init__()
            self.name, self.fc = name, nn.Linear(8, 8)
            self.register_buffer(name, torch.zeros(8))

        def forward(self, x):
            return self.fc(x - getattr(self, self.name))

    return lambda: Centred("mean"), lambda: Centred("running_mean")


@breaks("value-changed", key=("qkv.weight", "qkv.bias"))
def fused_in_the_order_kqv():
    hooks = [
        joining(f"qkv.{leaf}", f"k_proj.{leaf}", f"q_proj.{leaf}", f"v_proj.{leaf}") for leaf in ("weight", "bias")
    ]

    def new():
        module = Attention(fused=True)
        for hook in hooks:
            module.register_load_state_dict_pre_hook(hook)
        return module

    return Attention, new


@breaks("value-changed", KEYS, key=("qkv.weight", "qkv.bias", "v_proj.weight"))
def fused_with_the_key_twice():
    def new():
        module = Attention(fused=True)
        for leaf in ("weight", "bias"):
            module.register_load_state_dict_pre_hook(
                joining(f"qkv.{leaf}", f"q_proj.{leaf}", f"k_proj.{leaf}", f"k_proj.{leaf}")
            )
        module.register_load_state_dict_pre_hook(dropping("v_proj."))
        return module

    return Attention, new


@breaks("value-changed", "semantics", key=("fc.weight", "linear.weight"))
def hook_transposes_a_square_weight():
    def hook(_module, state, prefix, *_):
        state[prefix + "fc.weight"] = state.pop(prefix + "linear.weight").t().contiguous()
        state[prefix + "fc.bias"] = state.pop(prefix + "linear.bias")

    return lambda: Chain(linear=nn.Linear(8, 8)), lambda: Chain(hook, fc=nn.Linear(8, 8))


@breaks("value-changed", "semantics", key=("up_proj.weight", "gate_proj.weight", "up_proj", "gate_proj"))
def hook_exchanges_gate_and_up():
    hook = moving({"gate.": "up_proj.", "up.": "gate_proj."})

    def new():
        module = Gated(names=("gate_proj", "up_proj"))
        module.register_load_state_dict_pre_hook(hook)
        return module

    return Gated, new


@breaks("value-changed", "semantics", key="fc.weight")
def hook_runs_on_every_checkpoint():
    def hook(_module, state, prefix, *_):
        state[prefix + "fc.weight"] = state[prefix + "fc.weight"].t().contiguous()

    return lambda: Chain(fc=nn.Linear(8, 8)), lambda: Chain(hook, fc=nn.Linear(8, 8))


@breaks("value-changed", "semantics", key=("norm.weight", "norm"))
def hook_adds_one_to_a_gain():
    def hook(_module, state, prefix, *_):
        state[prefix + "norm.weight"] = state[prefix + "norm.weight"] + 1

    return lambda: Chain(norm=nn.RMSNorm(8, eps=1e-6), fc=nn.Linear(8, 2)), lambda: Chain(
        hook, norm=nn.RMSNorm(8, eps=1e-6), fc=nn.Linear(8, 2)
    )


@breaks("not-loadable", "half-loaded", KEYS, key=("fc.weight", "Chain", "head.weight"))
def hook_raises_on_old_names():
    def hook(_module, state, prefix, *_):
        state[prefix + "head.weight"] = state[prefix + "head.weight"].clone()

    return lambda: Chain(fc=nn.Linear(8, 3)), lambda: Chain(hook, head=nn.Linear(8, 3))


@breaks(KEYS, key=("a.extra", "extra"))
def parameter_added_at_random():
    class More(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.extra = nn.Linear(8, 8), nn.Parameter(torch.randn(8))

        def forward(self, x):
            return self.fc(x) + self.extra

    return _Plain, More


@breaks(KEYS, "strictness", key=("extra", "a.extra"), load_state=leniently)
def parameter_added_and_loaded_leniently():
    return parameter_added_at_random()


@breaks("shape-changed", "value-changed", key="fc.bias",
        load_state=copy_by_name)  # fmt: skip
def bias_repeated_by_copying():
    class One(nn.Module):
        def __init__(self, size):
            super().__init__()
            self.fc = nn.Linear(8, 4)
            self.fc.bias = nn.Parameter(torch.randn(size))

        def forward(self, x):
            bias = self.fc.bias if len(self.fc.bias) > 1 else functional.pad(self.fc.bias, (0, 3))
            return functional.linear(x, self.fc.weight, bias)

    return lambda: One(1), lambda: One(4)


@breaks(KEYS, "semantics", "value-changed", key=("first", "second", "first.weight", "second.weight"),
        load_state=copy_by_position)  # fmt: skip
def loaded_by_position_after_layers_changed_places():
    return (
        lambda: Applied(lambda m, x: m.second(torch.tanh(m.first(x))), first=nn.Linear(8, 8), second=nn.Linear(8, 8)),
        lambda: Applied(lambda m, x: m.second(torch.tanh(m.first(x))), second=nn.Linear(8, 8), first=nn.Linear(8, 8)),
    )
