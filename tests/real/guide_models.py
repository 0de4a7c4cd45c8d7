"""The models of the PyTorch guides to saving and loading, and their checkpoints, written as the guides write them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn, optim
from torch.nn import functional

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor


class TheModelClass(nn.Module):
    """The convolutional classifier of 32x32 images from "Saving and loading models"."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 5)
        self.pool = nn.MaxPool2d(2, 2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * 5 * 5, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Give the logits of images `[batch, 3, 32, 32]`."""
        x = self.pool(functional.relu(self.conv1(x)))
        x = self.pool(functional.relu(self.conv2(x)))
        x = x.view(-1, 16 * 5 * 5)
        x = functional.relu(self.fc1(x))
        x = functional.relu(self.fc2(x))
        x = self.fc3(x)
        return x  # noqa: RET504 -- as the guide writes it


def sequential_net() -> nn.Sequential:
    """Build the network of "Saving and loading a whole model"."""
    return nn.Sequential(nn.Linear(128, 16), nn.ReLU(), nn.Linear(16, 1))


class SimpleNet(nn.Module):
    """The network of "torch.save and torch.load"."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(10, 5)
        self.fc2 = nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Give two numbers for each row of ten."""
        x = torch.relu(self.fc1(x))
        x = self.fc2(x)
        return x  # noqa: RET504 -- as the guide writes it


class TheModelBClass(nn.Module):
    """A model that is warm-started from `TheModelClass`: its convolutions, and a head of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 5)
        self.pool = nn.MaxPool2d(2, 2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.head = nn.Linear(16 * 5 * 5, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Give two logits of images `[batch, 3, 32, 32]`."""
        x = self.pool(functional.relu(self.conv1(x)))
        x = self.pool(functional.relu(self.conv2(x)))
        x = self.head(x.flatten(1))
        return x  # noqa: RET504 -- as the guide writes it


class GAN(nn.Module):
    """Two models that are saved in one file."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 8), nn.Tanh())
        self.discriminator = nn.Sequential(nn.Linear(8, 16), nn.LeakyReLU(0.2), nn.Dropout(), nn.Linear(16, 1))

    def forward(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Give what is made of noise `[batch, 4]`, and how real it looks."""
        made = self.generator(noise)
        return made, self.discriminator(made)


class Tensors(nn.Module):
    """The two tensors that "torch.save and torch.load" keeps in one dict."""

    x: Tensor
    y: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("x", torch.tensor([1, 2, 3, 4, 5]))
        self.register_buffer("y", torch.randn(3, 4))


# -------------------------------------------------------------------------------------------------------- checkpoints


def optimizer_of(model: nn.Module) -> optim.Optimizer:
    """Give the guides' optimizer with state in it, as after a step."""
    optimizer = optim.SGD(model.parameters(), lr=0.001, momentum=0.9)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad()
    return optimizer


def save_general_checkpoint(model: nn.Module, path: Path) -> None:
    """Save a checkpoint to resume training from."""
    checkpoint = {
        "epoch": 5,
        "model_state_dict": model.state_dict(),
        "optimizer_state_dict": optimizer_of(model).state_dict(),
        "loss": 0.4,
    }
    torch.save(checkpoint, path)


def load_general_checkpoint(path: Path) -> nn.Module:
    """Load it for inference."""
    model = TheModelClass()
    optimizer = optim.SGD(model.parameters(), lr=0.001, momentum=0.9)
    checkpoint: dict[str, Any] = torch.load(path, map_location="cpu")
    model.load_state_dict(checkpoint["model_state_dict"])
    optimizer.load_state_dict(checkpoint["optimizer_state_dict"])
    model.eval()
    return model


def save_pair(gan: GAN, path: Path) -> None:
    """Save several models in one file."""
    checkpoint = {
        "modelA_state_dict": gan.generator.state_dict(),
        "modelB_state_dict": gan.discriminator.state_dict(),
        "optimizerA_state_dict": optimizer_of(gan.generator).state_dict(),
        "optimizerB_state_dict": optimizer_of(gan.discriminator).state_dict(),
    }
    torch.save(checkpoint, path)


def load_pair(path: Path) -> GAN:
    """Load them."""
    gan = GAN()
    checkpoint: dict[str, Any] = torch.load(path, map_location="cpu")
    gan.generator.load_state_dict(checkpoint["modelA_state_dict"])
    gan.discriminator.load_state_dict(checkpoint["modelB_state_dict"])
    gan.generator.eval()
    gan.discriminator.eval()
    return gan
