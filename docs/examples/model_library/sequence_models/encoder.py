"""An encoder of token sequences."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Block(nn.Module):
    """A residual layer with the norm before it."""

    def __init__(self, width: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=eps)
        self.fc = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.tanh(self.fc(self.norm(x)))


class Encoder(nn.Module):
    """Embeds tokens, mixes them, and scores classes."""

    def __init__(self, tokens: int = 12, width: int = 8, depth: int = 3, classes: int = 4) -> None:
        super().__init__()
        self.settings = {"tokens": tokens, "width": width, "depth": depth, "classes": classes}
        self.embedding = nn.Embedding(tokens, width)
        self.layers = nn.ModuleList(Block(width) for _ in range(depth))
        self.gain = nn.Parameter(torch.ones(width))
        self.drop = nn.Dropout(0.1)
        self.head = nn.Linear(width, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens)
        for layer in self.layers:
            x = layer(x)
        return self.head(self.drop(x.mean(1) * self.gain))
