"""The checkpoints of every model in `models.py`."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from models import ImageClassifier, Tagger, tiny_gpt2, train_classifier

MODELS: dict[str, dict[str, Any]] = {
    "classifier": {"make": ImageClassifier, "inputs": torch.randn(2, 3, 16, 16), "prepare": train_classifier},
    "tagger": {"make": Tagger, "inputs": torch.randint(50, (2, 7))},
    "gpt2": {"make": tiny_gpt2, "inputs": {"input_ids": torch.randint(64, (2, 7))}},
}


@pytest.mark.parametrize("name", MODELS)
def test_checkpoint(ckpt_roundtrip, name):
    ckpt_roundtrip(**MODELS[name])
