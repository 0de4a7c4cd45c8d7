"""One changed setting among many, of which most take long to try."""

# Code under test, as people write it: to type it would change it.
# mypy: ignore-errors

from __future__ import annotations

from torch import nn

from tests.pytest_ckpt.changes import breaks

HEADS = {"d_model": 8, "dim_feedforward": 8, "batch_first": True}


def _deep(activation):
    layers = [layer for _ in range(4) for layer in (nn.Linear(8, 8), activation(), nn.LayerNorm(8))]
    return nn.Sequential(*layers, nn.Linear(8, 2))


@breaks("semantics", key=("1", "4", "7", "10"))
def activation_among_many_norms():
    return lambda: _deep(nn.ReLU), lambda: _deep(nn.GELU)


@breaks("semantics", key=("1.negative_slope", "4.negative_slope", "7.negative_slope", "10.negative_slope"))
def slope_of_an_activation():
    return lambda: _deep(lambda: nn.LeakyReLU(0.1)), lambda: _deep(lambda: nn.LeakyReLU(0.2))


@breaks("semantics", key="self_attn.num_heads")
def heads_of_an_encoder_layer():
    return (
        lambda: nn.TransformerEncoderLayer(nhead=2, **HEADS),
        lambda: nn.TransformerEncoderLayer(nhead=4, **HEADS),
    )


@breaks("semantics", key="1.self_attn.num_heads")
def heads_whose_size_times_three_is_a_row():
    sizes = {"d_model": 6, "dim_feedforward": 8, "batch_first": True}
    return (
        lambda: nn.Sequential(nn.Linear(8, 6), nn.TransformerEncoderLayer(nhead=2, **sizes)),
        lambda: nn.Sequential(nn.Linear(8, 6), nn.TransformerEncoderLayer(nhead=3, **sizes)),
    )
