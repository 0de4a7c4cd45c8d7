"""Changes that keep old checkpoints: nothing may be reported, with the old outputs at hand or without."""

# Code under test, as people write it: to type it would change it.
# mypy: ignore-errors

from __future__ import annotations

import copy
from collections import OrderedDict

import torch
from torch import nn
from torch.nn import functional

from tests.pytest_ckpt.changes import X, keeps
from tests.pytest_ckpt.changes.layers import (
    Applied,
    Attention,
    Block,
    Chain,
    Gated,
    Stack,
    dropping,
    hiding,
    joining,
    leniently,
    moving,
    with_post_hook,
    without_prefix,
)


def linear(**more):
    return Chain(fc=nn.Linear(8, 8), **more)


@keeps()
def nothing_changed():
    return linear, linear


@keeps()
def dropout_appended():
    return linear, lambda: linear(drop=nn.Dropout(0.3))


@keeps()
def dropout_rate_changed():
    return lambda: linear(drop=nn.Dropout(0.1)), lambda: linear(drop=nn.Dropout(0.5))


@keeps()
def identity_inserted_by_name():
    return lambda: linear(head=nn.Linear(8, 2)), lambda: linear(skip=nn.Identity(), head=nn.Linear(8, 2))


@keeps()
def training_head_dropped_by_a_hook():
    return (
        lambda: Applied(lambda m, x: m.fc(x), fc=nn.Linear(8, 8), aux=nn.Linear(8, 4)),
        lambda: Chain(dropping("aux."), fc=nn.Linear(8, 8)),
    )


@keeps()
def training_head_of_the_same_shape_dropped_and_norm_added():
    def new():
        return with_post_hook(
            Applied(lambda m, x: m.fc(m.norm(x) * 0 + x), dropping("aux."), fc=nn.Linear(8, 8), norm=nn.LayerNorm(8)),
            hiding("norm.weight", "norm.bias"),
        )

    return lambda: Applied(lambda m, x: m.fc(x), fc=nn.Linear(8, 8), aux=nn.LayerNorm(8)), new


@keeps(allow_unexpected=["aux.*"])
def training_head_allowed():
    return (
        lambda: Applied(lambda m, x: m.fc(x), fc=nn.Linear(8, 8), aux=nn.Linear(8, 4)),
        lambda: Chain(fc=nn.Linear(8, 8)),
    )


@keeps(allow_missing=["new.*"])
def new_head_allowed():
    return (
        lambda: Chain(fc=nn.Linear(8, 8)),
        lambda: Applied(lambda m, x: m.fc(x), fc=nn.Linear(8, 8), new=nn.Linear(8, 4)),
    )


class Scaled(nn.Module):
    """A buffer that came later, with a default for old checkpoints in one way or another."""

    def __init__(self, way):
        super().__init__()
        self.fc = nn.Linear(8, 8)
        self.register_buffer("scale", torch.ones(8))
        if way == "pre":
            self.register_load_state_dict_pre_hook(self.fill)
        if way == "post":
            self.register_load_state_dict_post_hook(hiding("scale"))
        if way == "own":
            self.register_load_state_dict_pre_hook(self.fill_with_own)

    @staticmethod
    def fill(_module, state, prefix, *_):
        state.setdefault(prefix + "scale", torch.ones(8))

    @staticmethod
    def fill_with_own(module, state, prefix, *_):
        state.setdefault(prefix + "scale", module.scale)

    def forward(self, x):
        return self.fc(x) * self.scale


@keeps()
def new_buffer_filled_by_a_pre_hook():
    return linear, lambda: Scaled("pre")


@keeps()
def new_buffer_taken_out_of_missing_keys():
    return linear, lambda: Scaled("post")


@keeps()
def new_buffer_filled_with_its_own_value():
    return linear, lambda: Scaled("own")


@keeps(load_state=leniently)
def new_buffer_loaded_leniently():
    return linear, lambda: Scaled("")


@keeps()
def new_buffer_in_load_from_state_dict():
    class Own(Scaled):
        def _load_from_state_dict(self, state, prefix, *rest):
            if prefix + "scale" not in state:
                state[prefix + "scale"] = torch.ones(8)
            super()._load_from_state_dict(state, prefix, *rest)

    return linear, lambda: Own("")


@keeps()
def new_layer_scale_at_one_in_a_hook():
    class Layered(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.gamma = nn.Linear(8, 8), nn.Parameter(torch.ones(8))
            self.register_load_state_dict_pre_hook(
                lambda m, state, prefix, *_: (
                    state.setdefault(prefix + "gamma", torch.ones(8)) and None
                    if prefix + "gamma" not in state
                    else None
                )
            )

        def forward(self, x):
            return self.fc(x) * self.gamma

    def fill(_module, state, prefix, *_):
        if prefix + "gamma" not in state:
            state[prefix + "gamma"] = torch.ones(8)

    def new():
        module = Layered()
        module._load_state_dict_pre_hooks.clear()
        module.register_load_state_dict_pre_hook(fill)
        return module

    return linear, new


@keeps()
def renamed_by_a_hook():
    return lambda: Chain(body=nn.Linear(8, 8), fc=nn.Linear(8, 3)), lambda: Chain(
        moving({"fc.": "head."}), body=nn.Linear(8, 8), head=nn.Linear(8, 3)
    )


@keeps()
def renamed_norm_by_a_hook():
    return lambda: Chain(ln=nn.LayerNorm(8), fc=nn.Linear(8, 3)), lambda: Chain(
        moving({"ln.": "norm."}), norm=nn.LayerNorm(8), fc=nn.Linear(8, 3)
    )


@keeps()
def two_layers_exchange_names_by_a_hook():
    return (
        lambda: Applied(lambda m, x: m.b(torch.tanh(m.a(x))), a=nn.Linear(8, 8), b=nn.Linear(8, 8)),
        lambda: Applied(
            lambda m, x: m.a(torch.tanh(m.b(x))), moving({"a.": "b.", "b.": "a."}), a=nn.Linear(8, 8), b=nn.Linear(8, 8)
        ),
    )


@keeps()
def renumbered_by_a_hook():
    def new():
        module = nn.Sequential(nn.Linear(8, 8), nn.Dropout(), nn.Linear(8, 8))
        module.register_load_state_dict_pre_hook(moving({"1.": "2."}))
        return module

    return lambda: nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8)), new


@keeps()
def below_a_submodule_by_a_hook():
    return lambda: Chain(a=nn.Linear(8, 8), b=nn.Linear(8, 2)), lambda: Chain(
        moving({"": "net."}), net=Chain(a=nn.Linear(8, 8), b=nn.Linear(8, 2))
    )


@keeps()
def transposed_by_a_hook():
    class Columns(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(8, 8))

        def forward(self, x):
            return x @ self.weight

    def hook(_module, state, prefix, *_):
        state[prefix + "fc.weight"] = state[prefix + "fc.weight"].t().contiguous()

    return lambda: Chain(fc=Columns()), lambda: Chain(hook, fc=nn.Linear(8, 8, bias=False))


@keeps()
def fused_by_a_hook():
    def new():
        module = Attention(fused=True)
        for leaf in ("weight", "bias"):
            module.register_load_state_dict_pre_hook(joining(f"qkv.{leaf}", *(f"{one}_proj.{leaf}" for one in "qkv")))
        return module

    return Attention, new


@keeps()
def fused_in_an_order_of_its_own():
    def new():
        module = Chain(mix=nn.Linear(8, 16), cut=nn.GLU())
        for leaf in ("weight", "bias"):
            module.register_load_state_dict_pre_hook(joining(f"mix.{leaf}", f"value.{leaf}", f"gate.{leaf}"))
        return module

    return (
        lambda: Applied(lambda m, x: m.value(x) * m.gate(x).sigmoid(), gate=nn.Linear(8, 8), value=nn.Linear(8, 8)),
        new,
    )


@keeps()
def split_by_a_hook():
    def hook(_module, state, prefix, *_):
        for leaf in ("weight", "bias"):
            for name, part in zip("qkv", state.pop(f"{prefix}qkv.{leaf}").chunk(3), strict=True):
                state[f"{prefix}{name}_proj.{leaf}"] = part

    def new():
        module = Attention()
        module.register_load_state_dict_pre_hook(hook)
        return module

    return lambda: Attention(fused=True), new


@keeps()
def multihead_attention_from_three_projections():
    class Fused(nn.Module):
        def __init__(self):
            super().__init__()
            self.attn = nn.MultiheadAttention(8, 2)
            for leaf in ("weight", "bias"):
                self.register_load_state_dict_pre_hook(
                    joining(f"attn.in_proj_{leaf}", *(f"{one}_proj.{leaf}" for one in "qkv"))
                )
            self.register_load_state_dict_pre_hook(moving({"out.": "attn.out_proj."}))

        def forward(self, x):
            return self.attn(x, x, x)[0]

    return Attention, Fused


@keeps()
def gate_and_up_fused():
    class Fused(nn.Module):
        def __init__(self):
            super().__init__()
            self.gate_up_proj, self.down = nn.Linear(8, 16), nn.Linear(8, 8)
            for leaf in ("weight", "bias"):
                self.register_load_state_dict_pre_hook(joining(f"gate_up_proj.{leaf}", f"gate.{leaf}", f"up.{leaf}"))

        def forward(self, x):
            gate, up = self.gate_up_proj(x).chunk(2, -1)
            return self.down(functional.silu(gate) * up)

    return Gated, Fused


@keeps()
def gain_stored_as_distance_from_one_by_a_hook():
    class Gain(nn.Module):
        def __init__(self, plus):
            super().__init__()
            self.weight, self.plus = nn.Parameter(torch.ones(8) - plus), plus
            if plus:
                self.register_load_state_dict_pre_hook(self.hook)

        @staticmethod
        def hook(_module, state, prefix, *_):
            state[prefix + "weight"] = state[prefix + "weight"] - 1

        def forward(self, x):
            return functional.layer_norm(x, (8,)) * (self.weight + self.plus)

    return lambda: Chain(norm=Gain(0)), lambda: Chain(norm=Gain(1))


def old_batch_norm(module):
    state = module.state_dict()
    plain = OrderedDict((key, one) for key, one in state.items() if not key.endswith("num_batches_tracked"))
    plain._metadata = copy.deepcopy(state._metadata)
    for entry in plain._metadata.values():
        entry["version"] = 1
    return plain


@keeps(old_state=old_batch_norm)
def batch_norm_of_version_one():
    return lambda: Chain(norm=nn.BatchNorm1d(8), fc=nn.Linear(8, 2)), lambda: Chain(
        norm=nn.BatchNorm1d(8), fc=nn.Linear(8, 2)
    )


@keeps(old_state=lambda module: {key: one for key, one in module.state_dict().items() if "num_batches" not in key})
def batch_norm_without_versions():
    return batch_norm_of_version_one()


@keeps()
def version_gated_rename():
    class Versioned(nn.Module):
        _version = 2

        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(8, 8))

        def _load_from_state_dict(self, state, prefix, metadata, *rest):
            if (metadata.get("version") or 1) < 2:
                state[prefix + "weight"] = state.pop(prefix + "kernel").t().contiguous()
            super()._load_from_state_dict(state, prefix, metadata, *rest)

        def forward(self, x):
            return functional.linear(x, self.weight)

    class Old(nn.Module):
        def __init__(self):
            super().__init__()
            self.kernel = nn.Parameter(torch.randn(8, 8))

        def forward(self, x):
            return x @ self.kernel

    return lambda: Chain(fc=Old()), lambda: Chain(fc=Versioned())


@keeps()
def version_gated_hook_on_a_new_file():
    _, new = version_gated_rename()
    return new, new


@keeps()
def torchs_own_weight_norm_migration():
    return (
        lambda: Chain(fc=nn.utils.weight_norm(nn.Linear(8, 8))),
        lambda: Chain(fc=nn.utils.parametrizations.weight_norm(nn.Linear(8, 8))),
    )


@keeps()
def weight_norm_folded_by_a_hook():
    def hook(_module, state, prefix, *_):
        g, v = state.pop(prefix + "fc.weight_g"), state.pop(prefix + "fc.weight_v")
        state[prefix + "fc.weight"] = v * (g / v.norm(dim=1, keepdim=True))

    return lambda: Chain(fc=nn.utils.weight_norm(nn.Linear(8, 8))), lambda: Chain(hook, fc=nn.Linear(8, 8))


@keeps()
def low_rank_update_merged_by_a_hook():
    class Adapted(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.a, self.b = nn.Linear(8, 8), nn.Parameter(torch.randn(2, 8)), nn.Parameter(torch.randn(8, 2))

        def forward(self, x):
            return self.fc(x) + x @ self.a.t() @ self.b.t()

    def hook(_module, state, prefix, *_):
        a, b = state.pop(prefix + "a"), state.pop(prefix + "b")
        state[prefix + "fc.weight"] = state[prefix + "fc.weight"] + b @ a

    return Adapted, lambda: Chain(hook, fc=nn.Linear(8, 8))


@keeps()
def half_file_into_single_precision():
    class Typed(nn.Module):
        def __init__(self, dtype):
            super().__init__()
            self.fc, self.gain = nn.Linear(8, 8), nn.Parameter(torch.ones(8, dtype=dtype))

        def forward(self, x):
            return self.fc(x) * self.gain.float()

    return lambda: Typed(torch.bfloat16), lambda: Typed(torch.float32)


@keeps()
def single_into_double():
    class Typed(nn.Module):
        def __init__(self, dtype):
            super().__init__()
            self.fc, self.gain = nn.Linear(8, 8), nn.Parameter(torch.ones(8, dtype=dtype))

        def forward(self, x):
            return self.fc(x) * self.gain.float()

    return lambda: Typed(torch.float32), lambda: Typed(torch.float64)


@keeps()
def counter_from_float_to_integer():
    class Counted(nn.Module):
        def __init__(self, dtype):
            super().__init__()
            self.fc = nn.Linear(8, 8)
            self.register_buffer("steps", torch.tensor(3, dtype=dtype))

        def forward(self, x):
            return self.fc(x)

    return lambda: Counted(torch.int64), lambda: Counted(torch.int32)


class Tied(nn.Module):
    def __init__(self, *, function=False):
        super().__init__()
        self.embed = nn.Embedding(6, 8)
        if not function:
            self.head = nn.Linear(8, 6, bias=False)
            self.head.weight = self.embed.weight
        else:
            self.register_load_state_dict_pre_hook(dropping("head."))

    def forward(self, x):
        y = x @ self.embed.weight.t() @ self.embed.weight
        return self.head(y) if hasattr(self, "head") else functional.linear(y, self.embed.weight)


@keeps()
def tie_kept():
    return Tied, Tied


@keeps()
def tie_made_a_function():
    return Tied, lambda: Tied(function=True)


@keeps()
def tie_since_filled_by_a_hook():
    class Old(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(6, 8)

        def forward(self, x):
            return functional.linear(x @ self.embed.weight.t() @ self.embed.weight, self.embed.weight)

    class New(Tied):
        def __init__(self):
            super().__init__()
            self.register_load_state_dict_pre_hook(
                lambda _m, state, prefix, *_: state.update({prefix + "head.weight": state[prefix + "embed.weight"]})
            )

    return Old, New


@keeps(old_state=lambda module: copy.deepcopy(module).state_dict())
def target_network_equal_at_the_start():
    def make():
        module = Applied(lambda m, x: m.online(x), online=nn.Linear(8, 8), target=nn.Linear(8, 8))
        module.target.load_state_dict(module.online.state_dict())
        return module

    return make, make


@keeps()
def registered_in_another_order():
    return (
        lambda: Applied(lambda m, x: m.b(m.a(x)), a=nn.Linear(8, 8), b=nn.Linear(8, 2)),
        lambda: Applied(lambda m, x: m.b(m.a(x)), b=nn.Linear(8, 2), a=nn.Linear(8, 8)),
    )


@keeps()
def rewritten_with_the_same_result():
    return lambda: Chain(a=nn.Linear(8, 8), act=nn.ReLU(), b=nn.Linear(8, 2)), lambda: Applied(
        lambda m, x: functional.linear(m.a(x).clamp(min=0), m.b.weight, m.b.bias), a=nn.Linear(8, 8), b=nn.Linear(8, 2)
    )


@keeps()
def added_up_in_another_order():
    class Summed(nn.Module):
        def __init__(self, turned):
            super().__init__()
            self.weight, self.turned = nn.Parameter(torch.randn(64, 8)), turned

        def forward(self, x):
            y = x @ self.weight.t()
            return torch.stack([y[:, at] for at in (range(63, -1, -1) if self.turned else range(64))], -1).sum(-1)

    return lambda: Summed(False), lambda: Summed(True)


@keeps()
def fused_attention_kernel():
    class Kernel(Attention):
        def forward(self, x):
            q, k, v = (getattr(self, f"{one}_proj")(x).unflatten(-1, (2, 4)).transpose(-2, -3) for one in "qkv")
            return self.out(functional.scaled_dot_product_attention(q, k, v).transpose(-2, -3).flatten(-2))

    return Attention, Kernel


@keeps(inputs=torch.arange(12).reshape(3, 4) % 7)
def bfloat16_rewritten():
    class Words(nn.Module):
        def __init__(self, fused):
            super().__init__()
            self.embed, self.a, self.b, self.fused = nn.Embedding(7, 16), nn.Linear(16, 32), nn.Linear(32, 7), fused
            self.bfloat16()

        def forward(self, x):
            x = self.embed(x)
            hidden = self.a(x) if not self.fused else (x @ self.a.weight.t() + self.a.bias)
            return self.b(functional.gelu(hidden))

    return lambda: Words(False), lambda: Words(True)


@keeps()
def output_gains_a_field():
    return (
        lambda: Applied(lambda m, x: {"logits": m.fc(x)}, fc=nn.Linear(8, 8)),
        lambda: Applied(lambda m, x: {"logits": m.fc(x), "hidden": x}, fc=nn.Linear(8, 8)),
    )


@keeps()
def noise_in_forward():
    def noisy(m, x):
        return m.fc(x) + torch.randn(8)

    return lambda: Applied(noisy, fc=nn.Linear(8, 8)), lambda: Applied(noisy, fc=nn.Linear(8, 8))


@keeps()
def train_only_behaviour_changed():
    def forward(m, x):
        return m.fc(x) if not m.training else m.fc(x) * 2

    return lambda: Applied(lambda m, x: m.fc(x), fc=nn.Linear(8, 8)), lambda: Applied(forward, fc=nn.Linear(8, 8))


@keeps()
def setting_that_inference_does_not_use():
    return lambda: Chain(norm=nn.BatchNorm1d(8), fc=nn.Linear(8, 2)), lambda: Chain(
        norm=nn.BatchNorm1d(8, momentum=0.01), fc=nn.Linear(8, 2)
    )


@keeps()
def factory_that_seeds():
    def make():
        torch.manual_seed(3)
        return linear()

    return make, make


@keeps(
    old_state=lambda module: {"model": module.state_dict(), "epoch": 3, "optimizer": {"state": {}, "param_groups": []}}
)
def state_below_a_key():
    return linear, linear


@keeps(load_state=without_prefix,
       old_state=lambda module: nn.DataParallel(module).state_dict())  # fmt: skip
def prefix_stripped_by_the_loader():
    return linear, linear


@keeps(load_state=lambda module, state: module.load_state_dict(state, assign=True))
def loaded_by_assignment():
    return linear, linear


@keeps()
def extra_state_kept():
    class Extra(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.vocabulary = nn.Linear(8, 8), ["a", "b"]

        def get_extra_state(self):
            return {"vocabulary": self.vocabulary}

        def set_extra_state(self, state):
            self.vocabulary = state["vocabulary"]

        def forward(self, x):
            return self.fc(x)

    return Extra, Extra


@keeps()
def lstm_with_the_same_names():
    class Recurrent(nn.Module):
        def __init__(self, *, batch_first):
            super().__init__()
            self.lstm, self.batch_first = nn.LSTM(8, 4, batch_first=batch_first), batch_first

        def forward(self, x):
            return self.lstm(x[None] if self.batch_first else x[:, None])[0].reshape(3, 4)

    return lambda: Recurrent(batch_first=True), lambda: Recurrent(batch_first=False)


@keeps(old_state=lambda module: copy.deepcopy(module.state_dict()))
def state_copied_deeply():
    return Tied, Tied


@keeps(inputs=torch.arange(6))
def larger_vocabulary_padded_by_a_hook():
    class Words(nn.Module):
        def __init__(self, count):
            super().__init__()
            self.embed = nn.Embedding(count, 8)
            self.register_load_state_dict_pre_hook(self.pad)

        @staticmethod
        def pad(module, state, prefix, *_):
            old = state[prefix + "embed.weight"]
            more = module.embed.weight.detach()[len(old) :]
            state[prefix + "embed.weight"] = torch.cat([old, more])

        def forward(self, x):
            return self.embed(x)

    return lambda: Words(6), lambda: Words(9)


@keeps()
def grouped_heads_repeated_by_a_hook():
    class Grouped(nn.Module):
        def __init__(self, groups):
            super().__init__()
            self.q, self.k, self.groups = nn.Linear(8, 8, bias=False), nn.Linear(8, 4 * groups, bias=False), groups

        def forward(self, x):
            k = self.k(x)
            return self.q(x) * (torch.cat([k, k], -1) if self.groups == 1 else k)

    def hook(_module, state, prefix, *_):
        if len(state[prefix + "k.weight"]) == 4:
            state[prefix + "k.weight"] = torch.cat([state[prefix + "k.weight"]] * 2)

    def new():
        module = Grouped(2)
        module.register_load_state_dict_pre_hook(hook)
        return module

    return lambda: Grouped(1), new


@keeps()
def running_average_model():
    def make():
        return torch.optim.swa_utils.AveragedModel(linear())

    return make, make


@keeps()
def frozen_today():
    def new():
        module = Stack()
        for one in module.blocks.parameters():
            one.requires_grad_(False)
        return module

    return Stack, new


@keeps()
def blocks_shared_in_a_loop():
    def shared():
        block = Block()
        return Stack(2, lambda: block)

    return shared, shared


@keeps(inputs=(X, X))
def two_inputs():
    def make():
        return Applied(lambda m, x, y: m.fc(x) + m.fc(y) * 2, fc=nn.Linear(8, 8))

    return make, make


@keeps()
def mask_of_another_integer_type():
    class Masked(nn.Module):
        def __init__(self, dtype):
            super().__init__()
            self.fc = nn.Linear(8, 8)
            self.register_buffer("ids", torch.arange(8, dtype=dtype))

        def forward(self, x):
            return self.fc(x)[:, self.ids.long()]

    return lambda: Masked(torch.int64), lambda: Masked(torch.int32)
