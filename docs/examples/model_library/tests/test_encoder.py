"""Checkpoints of the encoder: of today, and of every version before."""

import pytest
import torch
from sequence_models import Encoder, load, save

TOKENS = torch.arange(10).reshape(2, 5)


def test_checkpoint(ckpt_roundtrip):
    ckpt_roundtrip(Encoder, inputs=TOKENS, save=save, load=load)


@pytest.mark.parametrize("depth", [1, 3])
def test_old_checkpoints(ckpt_regression, depth):
    ckpt_regression(lambda: Encoder(depth=depth), inputs=TOKENS)
