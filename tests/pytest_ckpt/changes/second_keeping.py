"""More changes that keep old checkpoints, as maintainers make them in larger modules."""

# Code under test, as people write it: to type it would change it.
# mypy: ignore-errors

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn import functional

from tests.pytest_ckpt.changes import keeps
from tests.pytest_ckpt.changes.layers import (
    Applied,
    Block,
    Chain,
    Stack,
    dropping,
    hiding,
    leniently,
    moving,
    with_post_hook,
)
from tests.pytest_ckpt.changes.second_breaking import IMAGES, TOKENS, ConvNet, Transformer, without_head


@keeps(inputs=TOKENS)
def transformer_kept():
    return Transformer, Transformer


@keeps(inputs=TOKENS, old_state=lambda module: copy.deepcopy(module).state_dict())
def state_of_a_copy():
    return Transformer, Transformer


@keeps(inputs=IMAGES)
def conv_net_kept():
    return ConvNet, ConvNet


@keeps(inputs=IMAGES)
def channels_last():
    return ConvNet, lambda: ConvNet().to(memory_format=torch.channels_last)


@keeps(inputs=IMAGES)
def pool_of_the_same_result():
    return ConvNet, lambda: ConvNet(stride=2)


def _tied(module, state):
    missing, unexpected = module.load_state_dict(state, strict=False)
    if set(missing) != {"lm_head.weight"} or unexpected:
        raise KeyError(*missing, *unexpected)


@keeps(inputs=TOKENS, load_state=_tied, old_state=without_head)
def tied_weight_left_out_and_tied_by_the_loader():
    return Transformer, Transformer


@keeps(inputs=TOKENS)
def positions_padded_by_a_hook():
    class Longer(Transformer):
        def __init__(self):
            super().__init__(positions=12)
            self.register_load_state_dict_pre_hook(self.pad)

        @staticmethod
        def pad(_module, state, prefix, *_):
            old = state[f"{prefix}positions.weight"]
            state[f"{prefix}positions.weight"] = functional.pad(old, (0, 0, 0, 12 - len(old)))

    return Transformer, Longer


@keeps()
def experts_stacked():
    class Old(nn.Module):
        def __init__(self):
            super().__init__()
            self.experts = nn.ModuleList(nn.Linear(8, 8, bias=False) for _ in range(4))

        def forward(self, x):
            return sum(torch.tanh(one(x)) for one in self.experts)

    class New(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(4, 8, 8))
            self.register_load_state_dict_pre_hook(self.stack)

        @staticmethod
        def stack(_module, state, prefix, *_):
            state[f"{prefix}weight"] = torch.stack([state.pop(f"{prefix}experts.{at}.weight") for at in range(4)])

        def forward(self, x):
            return sum(torch.tanh(functional.linear(x, one)) for one in self.weight)

    return Old, New


@keeps()
def batch_norm_folded():
    class Old(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.bn = nn.Linear(8, 8), nn.BatchNorm1d(8)

        def forward(self, x):
            return self.bn(self.fc(x))

    class New(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(8, 8)
            self.register_load_state_dict_pre_hook(self.fold)

        @staticmethod
        def fold(_module, state, prefix, *_):
            bn = {name: state.pop(f"{prefix}bn.{name}") for name in ("weight", "bias", "running_mean", "running_var")}
            state.pop(f"{prefix}bn.num_batches_tracked")
            factor = bn["weight"] / (bn["running_var"] + 1e-5).sqrt()
            state[f"{prefix}fc.bias"] = (state[f"{prefix}fc.bias"] - bn["running_mean"]) * factor + bn["bias"]
            state[f"{prefix}fc.weight"] = state[f"{prefix}fc.weight"] * factor[:, None]

        def forward(self, x):
            return self.fc(x)

    return Old, New


@keeps()
def gain_split_in_two():
    class Old(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.gain = nn.Linear(8, 8), nn.Parameter(torch.ones(8))

        def forward(self, x):
            return self.fc(x) * self.gain

    class New(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.one, self.two = nn.Linear(8, 8), nn.Parameter(torch.ones(4)), nn.Parameter(torch.ones(4))
            self.register_load_state_dict_pre_hook(self.cut)

        @staticmethod
        def cut(_module, state, prefix, *_):
            if f"{prefix}gain" in state:
                state[f"{prefix}one"], state[f"{prefix}two"] = state.pop(f"{prefix}gain").chunk(2)

        def forward(self, x):
            return self.fc(x) * torch.cat([self.one, self.two])

    return Old, New


@keeps()
def log_parametrised():
    class Old(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.rand(8) + 1)

        def forward(self, x):
            return x * self.scale

    class New(nn.Module):
        def __init__(self):
            super().__init__()
            self.log_scale = nn.Parameter(torch.zeros(8))
            self.register_load_state_dict_pre_hook(self.log)

        @staticmethod
        def log(_module, state, prefix, *_):
            if f"{prefix}scale" in state:
                state[f"{prefix}log_scale"] = state.pop(f"{prefix}scale").log()

        def forward(self, x):
            return x * self.log_scale.exp()

    return Old, New


@keeps(prepare=lambda module: None)
def buffer_recomputed_by_a_hook_and_dropped_from_the_file():
    class Table(nn.Module):
        def __init__(self, *, saved):
            super().__init__()
            self.fc = nn.Linear(8, 8)
            self.register_buffer("table", torch.arange(8).div(10).cos(), persistent=saved)
            if not saved:
                self.register_load_state_dict_pre_hook(dropping("table"))

        def forward(self, x):
            return self.fc(x) * self.table

    def natural():
        return Table(saved=True)

    return natural, lambda: Table(saved=False)


@keeps(load_state=leniently, prepare=lambda module: None)
def buffer_no_longer_saved_and_loaded_leniently():
    return buffer_recomputed_by_a_hook_and_dropped_from_the_file()


@keeps()
def identity_initialised_block_added_by_a_hook():
    """A new residual block at the end whose last layer is zero changes nothing."""

    class Zero(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(8, 8)
            nn.init.zeros_(self.fc.weight)
            nn.init.zeros_(self.fc.bias)

        def forward(self, x):
            return x + self.fc(x)

    def new():
        return with_post_hook(
            Chain(body=nn.Linear(8, 8), extra=Zero(), head=nn.Linear(8, 3)), hiding("extra.fc.weight", "extra.fc.bias")
        )

    return lambda: Chain(body=nn.Linear(8, 8), head=nn.Linear(8, 3)), new


@keeps()
def training_only_projector_added_and_hidden():
    def new():
        return with_post_hook(
            Applied(lambda m, x: m.fc(x), fc=nn.Linear(8, 3), projector=nn.Linear(3, 5)),
            hiding("projector.weight", "projector.bias"),
        )

    # nothing of the outputs depends on it, but only outputs can tell
    return lambda: Applied(lambda m, x: m.fc(x), fc=nn.Linear(8, 3)), new


@keeps(allow_missing=["*.lora_*"])
def adapters_allowed():
    class Adapted(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(8, 8)
            self.fc.lora_a, self.fc.lora_b = nn.Parameter(torch.randn(2, 8)), nn.Parameter(torch.zeros(8, 2))

        def forward(self, x):
            return self.fc(x) + x @ self.fc.lora_a.t() @ self.fc.lora_b.t()

    return lambda: Chain(fc=nn.Linear(8, 8)), Adapted


@keeps()
def scale_written_another_way():
    return (
        lambda: Applied(lambda m, x: m.fc(x) / 8**0.5, fc=nn.Linear(8, 8)),
        lambda: Applied(lambda m, x: m.fc(x) * 8**-0.5, fc=nn.Linear(8, 8)),
    )


@keeps()
def deep_stack_with_fused_norm():
    class Fused(Stack):
        def forward(self, x):
            for block in self.blocks:
                h = x - x.mean(-1, keepdim=True)
                h = (
                    h * torch.rsqrt(h.square().mean(-1, keepdim=True) + block.norm.eps) * block.norm.weight
                    + block.norm.bias
                )
                x = x + torch.tanh(h @ block.fc.weight.t() + block.fc.bias)
            return self.head(x)

    return lambda: Stack(12), lambda: Fused(12)


@keeps()
def settings_object_added():
    class Configured(Stack):
        def __init__(self):
            super().__init__()
            self.version, self.names = 3, ["a", "b"]

    return Stack, Configured


@keeps()
def compiled_today():
    return Stack, Stack


@keeps(load_state=lambda module, state: module.load_state_dict({f"module.{key}": one for key, one in state.items()}))
def wrapped_today():
    return lambda: Chain(fc=nn.Linear(8, 8)), lambda: nn.DataParallel(Chain(fc=nn.Linear(8, 8)))


@keeps()
def spectral_norm_kept():
    def make():
        return Chain(fc=nn.utils.parametrizations.spectral_norm(nn.Linear(8, 8)))

    return make, make


@keeps()
def frozen_batch_norm_of_another_class():
    class Frozen(nn.Module):
        def __init__(self):
            super().__init__()
            for name in ("weight", "bias", "running_mean", "running_var"):
                self.register_buffer(name, torch.ones(8))
            self.register_load_state_dict_pre_hook(dropping("num_batches_tracked"))

        def forward(self, x):
            scale = self.weight * (self.running_var + 1e-5).rsqrt()
            return (x - self.running_mean) * scale + self.bias

    return lambda: Chain(bn=nn.BatchNorm1d(8), fc=nn.Linear(8, 2)), lambda: Chain(bn=Frozen(), fc=nn.Linear(8, 2))


@keeps()
def lists_merged_by_a_hook():
    hook = moving({"blocks.0.": "first.", "blocks.1.": "second."})
    return Stack, lambda: Chain(hook, first=Block(), second=Block(), head=nn.Linear(8, 3))


@keeps()
def prefix_of_a_wrapper_added():
    return lambda: Chain(moving({}), fc=nn.Linear(8, 3)), lambda: Chain(
        moving({"fc.": "model.fc."}), model=Chain(fc=nn.Linear(8, 3))
    )


@keeps()
def random_projection_from_its_own_seed():
    class Projected(nn.Module):
        def __init__(self, *, saved):
            super().__init__()
            generator = torch.Generator().manual_seed(4)
            self.fc = nn.Linear(8, 8)
            self.register_buffer("projection", torch.randn(8, 8, generator=generator), persistent=saved)

        def forward(self, x):
            return self.fc(x @ self.projection)

    def new():
        return with_post_hook(Projected(saved=True), hiding("projection"))

    return lambda: Projected(saved=False), new
