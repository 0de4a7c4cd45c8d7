"""A small model library: three models whose checkpoints can be trusted, and one whose checkpoint loses state."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ImageClassifier(nn.Module):
    """A small CNN; what BatchNorm has seen in training is part of its state."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, kernel_size=3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Dropout2d(0.1),
            nn.Conv2d(8, 16, kernel_size=3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.head = nn.Linear(16, classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))


class Tagger(nn.Module):
    """An embedding, a bidirectional LSTM and a projection: one score for each token and tag."""

    def __init__(self, words: int = 50, tags: int = 5) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, 12)
        self.lstm = nn.LSTM(12, 16, num_layers=2, bidirectional=True, batch_first=True)
        self.projection = nn.Linear(32, tags)

    def forward(self, tokens: Tensor) -> Tensor:
        states, _ = self.lstm(self.embedding(tokens))
        return self.projection(states)


def tiny_gpt2() -> nn.Module:
    """GPT-2 with two layers, its output layer tied to its embedding."""
    from transformers import GPT2Config, GPT2LMHeadModel

    sizes = {"vocab_size": 64, "n_positions": 32, "n_embd": 16, "n_layer": 2, "n_head": 2}
    return GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=0, eos_token_id=0))


class Forecaster(nn.Module):
    """It trains and predicts, and three parts of it are in no checkpoint."""

    def __init__(self, features: int = 4, hidden: int = 8) -> None:
        super().__init__()
        self.scale = torch.rand(features) + 0.5
        self.layers = [nn.Linear(features, hidden), nn.Linear(hidden, hidden)]
        self.head = nn.Linear(hidden, 1)
        self.register_buffer("running_mean", torch.zeros(features), persistent=False)

    def forward(self, series: Tensor) -> Tensor:
        if self.training:
            self.running_mean.lerp_(series.mean(dim=0), 0.1)
        hidden = (series - self.running_mean) * self.scale
        for layer in self.layers:
            hidden = layer(hidden).relu()
        return self.head(hidden)


def train_classifier(model: nn.Module) -> None:
    """Train an image classifier for a few steps on noise."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(torch.randn(8, 3, 16, 16)), torch.randint(10, (8,)))
        loss.backward()
        optimizer.step()


def train_forecaster(model: nn.Module) -> None:
    """Train a forecaster for a few steps on a series with a mean of one."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(5):
        optimizer.zero_grad()
        model(torch.randn(16, 4) + 1).square().mean().backward()
        optimizer.step()
