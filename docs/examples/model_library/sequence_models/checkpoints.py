"""Saving and loading."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from sequence_models.encoder import Encoder

if TYPE_CHECKING:
    from pathlib import Path


def save(model: Encoder, path: Path) -> None:
    """Write a checkpoint: what the model was built with, and its state."""
    torch.save({"settings": model.settings, "state": model.state_dict()}, path)


def load(path: Path) -> Encoder:
    """Read a checkpoint, on whatever device it was written."""
    content = torch.load(path, map_location="cpu", weights_only=True)
    model = Encoder(**content["settings"])
    model.load_state_dict(content["state"])
    return model
