"""Sequence models."""

from sequence_models.checkpoints import load, save
from sequence_models.encoder import Encoder

__all__ = ["Encoder", "load", "save"]
