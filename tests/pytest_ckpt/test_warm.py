"""A target that has run before it is loaded: what it kept of its former weights must go, what is a stream may stay."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from pytest_ckpt import check_module

X = torch.ones(2, 3)


class Base(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(3) + 1)
        self.cache: Any = None


class KeptInAttribute(Base):
    def forward(self, x):
        if self.cache is None:
            self.cache = self.weight / self.weight.norm()
        return x * self.cache


class KeptInDict(Base):
    def __init__(self):
        super().__init__()
        self.cache = {}

    def forward(self, x):
        return x * self.cache.setdefault("doubled", self.weight * 2)


class KeptInBuffer(Base):
    def __init__(self):
        super().__init__()
        del self.cache
        self.register_buffer("cache", None, persistent=False)

    def forward(self, x):
        if self.cache is None:
            self.cache = self.weight.detach().exp()
        return x * self.cache


class DroppedByHook(KeptInAttribute):
    def __init__(self):
        super().__init__()
        self.register_load_state_dict_post_hook(lambda module, _keys: setattr(module, "cache", None))


class Constant(Base):
    def forward(self, x):
        if self.cache is None:
            self.cache = torch.arange(3.0)
        return x * self.weight + self.cache


class Stream(Base):
    def forward(self, x):
        result = x * self.weight + (0 if self.cache is None else self.cache)
        self.cache = result.detach()
        return result


@pytest.mark.parametrize("make", [KeptInAttribute, KeptInDict, KeptInBuffer])
def test_what_was_computed_from_former_weights_is_named(make):
    findings = check_module(make, X).findings
    assert [(one.category, one.key) for one in findings] == [("stale-cache", "cache")]


@pytest.mark.parametrize("make", [DroppedByHook, Constant, Stream])
def test_what_is_renewed_or_constant_or_a_stream_is_left_alone(make):
    assert check_module(make, X).findings == ()
