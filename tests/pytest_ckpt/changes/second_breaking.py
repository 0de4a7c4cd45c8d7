"""More changes that break old checkpoints, as maintainers make them in larger modules."""

# Code under test, as people write it: to type it would change it.
# mypy: ignore-errors

from __future__ import annotations

import math
from collections import OrderedDict

import torch
from torch import nn
from torch.nn import functional

from tests.pytest_ckpt.changes import breaks
from tests.pytest_ckpt.changes.layers import Applied, Block, Chain, Stack, dropping, hiding, leniently, with_post_hook

KEYS, MEANING = "key-mismatch", "semantics"
TOKENS = torch.tensor([[1, 4, 2, 0], [3, 3, 5, 1]])
IMAGES = torch.linspace(-1, 1, 2 * 3 * 8 * 8).reshape(2, 3, 8, 8)


def without_head(module):
    return {key: one.clone() for key, one in module.state_dict().items() if "lm_head" not in key}


class Transformer(nn.Module):
    def __init__(self, *, heads=2, norm_first=False, activation="relu", positions=8, tied=True, scale=False, layers=2):
        super().__init__()
        self.embed, self.positions = nn.Embedding(6, 8), nn.Embedding(positions, 8)
        layer = nn.TransformerEncoderLayer(8, heads, 16, activation=activation, norm_first=norm_first, batch_first=True)
        self.body = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.lm_head = nn.Linear(8, 6, bias=False)
        if tied:
            self.lm_head.weight = self.embed.weight
        self.scale = math.sqrt(8) if scale else 1.0

    def forward(self, tokens):
        x = self.embed(tokens) * self.scale + self.positions(torch.arange(tokens.shape[1]))
        return self.lm_head(self.body(x))


@breaks(MEANING, key=("scale",), inputs=TOKENS)
def embedding_scaled():
    return Transformer, lambda: Transformer(scale=True)


@breaks(MEANING, key=("body.layers.0.norm_first", "body.layers.1.norm_first", "body"), inputs=TOKENS)
def norm_first():
    return Transformer, lambda: Transformer(norm_first=True)


@breaks(MEANING, key=("body.layers.0.self_attn.num_heads", "body.layers.1.self_attn.num_heads",
                      "body.layers.0.self_attn", "body.layers.1.self_attn"), inputs=TOKENS)  # fmt: skip
def heads_of_an_encoder():
    return Transformer, lambda: Transformer(heads=4)


@breaks("shape-changed", key=("positions.weight",), inputs=TOKENS)
def more_positions():
    return Transformer, lambda: Transformer(positions=16)


@breaks("tie-broken", key=("lm_head.weight", "embed.weight"), inputs=TOKENS)
def head_no_longer_tied():
    return Transformer, lambda: Transformer(tied=False)


@breaks(KEYS, key=("body.layers.2.linear1.weight",), inputs=TOKENS)
def layer_appended():
    return Transformer, lambda: Transformer(layers=3)


@breaks(KEYS, "tie-broken", key=("lm_head.weight", "embed.weight"), inputs=TOKENS,
        old_state=without_head)  # fmt: skip
def tied_weight_left_out_of_the_file():
    return Transformer, Transformer


class ConvNet(nn.Module):
    def __init__(self, *, pool="max", bias=True, width=4, bn_eps=1e-5, align=False, act=None, flatten="cs", stride=2):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, width, 3, padding=1, bias=bias), nn.BatchNorm2d(width, eps=bn_eps)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, padding=1, bias=bias), nn.BatchNorm2d(width, eps=bn_eps)
        self.pool = nn.MaxPool2d(2, stride) if pool == "max" else nn.AvgPool2d(2, stride)
        self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=align)
        self.act = act or nn.ReLU()
        self.fc = nn.Linear(width * 16 if stride == 2 else width * 49, 3)
        self.order = flatten

    def forward(self, x):
        x = self.pool(self.act(self.bn1(self.conv1(x))))
        x = self.up(self.act(self.bn2(self.conv2(x))))[:, :, ::2, ::2]
        x = x if self.order == "cs" else x.permute(0, 2, 3, 1)
        return self.fc(x.flatten(1))


@breaks(MEANING, key=("pool",), inputs=IMAGES)
def pool_of_another_kind():
    return ConvNet, lambda: ConvNet(pool="avg")


@breaks(MEANING, key=("bn1.eps", "bn2.eps"), inputs=IMAGES)
def eps_of_all_batch_norms():
    return ConvNet, lambda: ConvNet(bn_eps=1e-2)


@breaks(MEANING, key=("up.align_corners", "up"), inputs=IMAGES)
def corners_aligned():
    return ConvNet, lambda: ConvNet(align=True)


@breaks(MEANING, key=("act", "act.negative_slope"), inputs=IMAGES)
def leaky_relu_instead_of_relu():
    return ConvNet, lambda: ConvNet(act=nn.LeakyReLU(0.1))


@breaks(MEANING, key=("order", "fc", "fc.weight", "ConvNet"), inputs=IMAGES)
def channels_flattened_last():
    return ConvNet, lambda: ConvNet(flatten="sc")


@breaks(KEYS, key=("conv1.bias", "conv2.bias"), inputs=IMAGES)
def convolutions_lose_their_bias():
    return ConvNet, lambda: ConvNet(bias=False)


@breaks(KEYS, key=("bn1.weight", "bn1.running_mean", "norm1.weight", "norm1.running_mean"), inputs=IMAGES)
def norms_renamed():
    class Renamed(ConvNet):
        def __init__(self):
            super().__init__()
            self.norm1, self.norm2 = self.bn1, self.bn2
            del self.bn1, self.bn2

        def forward(self, x):
            x = self.pool(self.act(self.norm1(self.conv1(x))))
            return self.fc(self.up(self.act(self.norm2(self.conv2(x))))[:, :, ::2, ::2].flatten(1))

    return ConvNet, Renamed


@breaks(KEYS, "semantics", key=("bn1.running_mean", "bn1.running_var", "bn2.running_mean"), inputs=IMAGES)
def statistics_dropped_by_a_hook():
    def new():
        module = ConvNet()
        names = [f"bn{at}.running_{what}" for at in (1, 2) for what in ("mean", "var")]
        module.register_load_state_dict_pre_hook(dropping(*names))
        return with_post_hook(module, hiding(*names))

    return ConvNet, new


@breaks(
    MEANING,
    "value-changed",
    key=("bn1.weight", "bn1.bias", "bn1.running_mean", "bn1.running_var", "bn1", "bn1.eps"),
    inputs=IMAGES,
)
def weight_and_running_var_exchanged_by_a_hook():
    def exchange(_module, state, prefix, *_):
        one, other = f"{prefix}bn1.weight", f"{prefix}bn1.running_var"
        state[one], state[other] = state[other], state[one]

    def new():
        module = ConvNet()
        module.register_load_state_dict_pre_hook(exchange)
        return module

    return ConvNet, new


@breaks("value-changed", MEANING, key=("fc.weight",))
def hook_negates():
    def hook(_module, state, prefix, *_):
        state[prefix + "fc.weight"] = -state[prefix + "fc.weight"]

    return lambda: Chain(fc=nn.Linear(8, 3)), lambda: Chain(hook, fc=nn.Linear(8, 3))


@breaks("value-changed", MEANING, key=("fc.weight",))
def hook_scales():
    def hook(_module, state, prefix, *_):
        state[prefix + "fc.weight"] = state[prefix + "fc.weight"] * 8**-0.5

    return lambda: Chain(fc=nn.Linear(8, 3)), lambda: Chain(hook, fc=nn.Linear(8, 3))


@breaks("value-changed", MEANING, key=("kv.weight", "kv.bias"))
def key_and_value_joined_the_wrong_way():
    class Old(nn.Module):
        def __init__(self):
            super().__init__()
            self.k, self.v = nn.Linear(8, 4), nn.Linear(8, 4)

        def forward(self, x):
            return torch.tanh(self.k(x)) * self.v(x)

    class New(nn.Module):
        def __init__(self):
            super().__init__()
            self.kv = nn.Linear(8, 8)
            self.register_load_state_dict_pre_hook(self.join)

        @staticmethod
        def join(_module, state, prefix, *_):
            for leaf in ("weight", "bias"):
                state[f"{prefix}kv.{leaf}"] = torch.cat(
                    [state.pop(f"{prefix}v.{leaf}"), state.pop(f"{prefix}k.{leaf}")]
                )

        def forward(self, x):
            k, v = self.kv(x).chunk(2, -1)
            return torch.tanh(k) * v

    return Old, New


@breaks("value-changed", MEANING, key=("experts.weight", "experts"))
def experts_stacked_in_the_order_of_strings():
    count = 12

    class Old(nn.Module):
        def __init__(self):
            super().__init__()
            self.experts = nn.ModuleList(nn.Linear(8, 8, bias=False) for _ in range(count))

        def forward(self, x):
            return sum((at + 1) * torch.tanh(one(x)) for at, one in enumerate(self.experts))

    class New(nn.Module):
        def __init__(self):
            super().__init__()
            self.experts = nn.Module()
            self.experts.weight = nn.Parameter(torch.randn(count, 8, 8))
            self.register_load_state_dict_pre_hook(self.stack)

        @staticmethod
        def stack(_module, state, prefix, *_):
            names = sorted(key for key in state if key.startswith(f"{prefix}experts."))
            state[f"{prefix}experts.weight"] = torch.stack([state.pop(name) for name in names])

        def forward(self, x):
            return sum((at + 1) * torch.tanh(functional.linear(x, one)) for at, one in enumerate(self.experts.weight))

    return Old, New


@breaks("dtype-changed", key=("steps",))
def counter_in_half_precision():
    class Counted(nn.Module):
        def __init__(self, dtype):
            super().__init__()
            self.fc = nn.Linear(8, 8)
            self.register_buffer("steps", torch.tensor(100_001, dtype=dtype))

        def forward(self, x):
            return self.fc(x)

    return lambda: Counted(torch.int64), lambda: Counted(torch.bfloat16)


@breaks("dtype-changed", key=("logit_scale",))
def logit_scale_in_half():
    class Scaled(nn.Module):
        def __init__(self, dtype):
            super().__init__()
            self.fc, self.logit_scale = nn.Linear(8, 8), nn.Parameter(torch.tensor(2.6592).to(dtype))

        def forward(self, x):
            return functional.normalize(self.fc(x), dim=-1) * self.logit_scale.float().exp()

    return lambda: Scaled(torch.float32), lambda: Scaled(torch.float16)


@breaks(KEYS, "strictness", key=("adapter.weight", "adapter.bias"), load_state=leniently)
def adapter_added_and_loaded_leniently():
    return (
        lambda: Applied(lambda m, x: m.fc(x), fc=nn.Linear(8, 8)),
        lambda: Applied(lambda m, x: m.fc(x) + m.adapter(x), fc=nn.Linear(8, 8), adapter=nn.Linear(8, 8)),
    )


def by_shape(module, state):
    """Fill each entry with the first unused one of its shape."""
    left = OrderedDict(state)
    for one in module.state_dict().values():
        key = next(key for key, value in left.items() if value.shape == one.shape)
        one.copy_(left.pop(key))


@breaks(
    MEANING,
    "value-changed",
    KEYS,
    key=("down.weight", "up.weight", "down", "up", "up.bias", "down.bias"),
    load_state=by_shape,
)
def matched_by_shape_after_a_swap():
    return (
        lambda: Applied(lambda m, x: m.down(torch.tanh(m.up(x))), up=nn.Linear(8, 8), down=nn.Linear(8, 8)),
        lambda: Applied(lambda m, x: m.down(torch.tanh(m.up(x))), down=nn.Linear(8, 8), up=nn.Linear(8, 8)),
    )


@breaks(KEYS, key=("layers.1.fc.weight", "blocks.1.fc.weight", "layers.0.fc.weight", "blocks.0.fc.weight"))
def list_renamed_and_head_kept():
    class Layers(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers, self.head = nn.ModuleList([Block(), Block()]), nn.Linear(8, 3)

        def forward(self, x):
            for layer in self.layers:
                x = layer(x)
            return self.head(x)

    return Stack, Layers


@breaks(MEANING, key=("blocks.0", "blocks.1", "blocks.2"), load_state=leniently)
def first_block_inserted():
    return lambda: Stack(2), lambda: Stack(3)


@breaks(MEANING, key=("drop", "drop.scale"))
def evaluation_scales_by_the_keep_rate():
    class Drop(nn.Module):
        def __init__(self, scale):
            super().__init__()
            self.scale = scale

        def forward(self, x):
            return x * self.scale

    class Noisy(nn.Module):
        def __init__(self, scale):
            super().__init__()
            self.fc, self.drop = nn.Linear(8, 8), Drop(scale)

        def forward(self, x):
            return self.drop(self.fc(x))

    return lambda: Noisy(1.0), lambda: Noisy(0.9)


@breaks(MEANING, key="norm")
def features_normalised_since():
    class Normalised(nn.Module):
        def __init__(self, norm):
            super().__init__()
            self.fc, self.norm = nn.Linear(8, 8), norm

        def forward(self, x):
            y = self.fc(x)
            return functional.normalize(y, dim=-1) if self.norm else y

    # `norm` is a flag that both versions have
    return lambda: Normalised(False), lambda: Normalised(True)


@breaks(KEYS, key=("rnn.weight_hh_l0", "lstm.weight_hh_l0"))
def recurrent_layer_renamed():
    def net(name):
        return Applied(lambda m, x: getattr(m, name)(x)[0], **{name: nn.LSTM(8, 4)})

    return lambda: net("rnn"), lambda: net("lstm")


@breaks("shape-changed", KEYS, key=("rnn.weight_ih_l0", "rnn.weight_hh_l0"))
def gru_instead_of_lstm():
    def net(kind):
        return Applied(lambda m, x: m.rnn(x)[0], rnn=kind(8, 4))

    return lambda: net(nn.LSTM), lambda: net(nn.GRU)


@breaks(KEYS, key=("bn.num_batches_tracked", "bn.running_mean"))
def layer_norm_became_batch_norm():
    return lambda: Chain(bn=nn.LayerNorm(8), fc=nn.Linear(8, 2)), lambda: Chain(
        bn=nn.BatchNorm1d(8), fc=nn.Linear(8, 2)
    )


@breaks(MEANING, key=("norm", "norm.axis"))
def batch_norm_became_group_norm_of_the_same_names():
    class Frozen(nn.Module):
        def __init__(self, axis):
            super().__init__()
            self.weight, self.bias, self.axis = nn.Parameter(torch.ones(8)), nn.Parameter(torch.zeros(8)), axis

        def forward(self, x):
            return (x - x.mean(self.axis, keepdim=True)) * self.weight + self.bias

    return lambda: Chain(norm=Frozen(0)), lambda: Chain(norm=Frozen(1))


class Attention(nn.Module):
    """The size of a head is held by nobody, and the scale follows from it."""

    def __init__(self, heads=2):
        super().__init__()
        self.heads, self.scale = heads, (8 // heads) ** -0.5
        self.embed, self.qkv, self.out = nn.Embedding(6, 8), nn.Linear(8, 24), nn.Linear(8, 8)

    def forward(self, tokens):
        query, key, value = self.qkv(self.embed(tokens)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        weights = (query @ key.transpose(-2, -1) * self.scale).softmax(-1)
        return self.out((weights @ value).transpose(1, 2).flatten(2))


@breaks(MEANING, key="heads", inputs=TOKENS)
def heads_and_the_scale_with_them():
    return Attention, lambda: Attention(heads=4)


def convolution(dilation=1):
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=dilation, dilation=dilation), nn.ReLU(), nn.Conv2d(4, 4, 1))


@breaks(MEANING, key="0.dilation", inputs=IMAGES)
def dilation_and_the_padding_with_it():
    return convolution, lambda: convolution(dilation=2)
