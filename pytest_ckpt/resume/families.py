"""What a part of a run belongs to, as far as its type and its name tell."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from torch.optim import Optimizer, lr_scheduler
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, Dataset, Sampler

if TYPE_CHECKING:
    from pytest_ckpt.resume.slots import Family

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_WORDS: dict[Family, frozenset[str]] = {
    "ema": frozenset({"ema", "shadow", "averaged", "average", "averager", "averages", "avg", "swa", "polyak"}),
    "scheduler": frozenset({"scheduler", "schedulers", "sched", "lrscheduler", "schedule"}),
    "scaler": frozenset({"scaler", "gradscaler"}),
    "data": frozenset(
        {"batch", "batches", "cursor", "data", "dataloader", "dataset", "deck", "idx", "index", "indices", "iterator"}
        | {"loader", "offset", "order", "perm", "permutation", "pos", "position", "ptr", "reader", "sampler", "shard"}
        | {"shards", "shuffle", "shuffled", "stream"}
    ),
}
#: What has an average that is none of the weights.
_MEASURED = frozenset({"accuracy", "grad", "loss", "losses", "metric", "norm", "return", "reward", "rewards", "score"})
COUNTERS = frozenset(
    {
        "age",
        "calls",
        "clock",
        "count",
        "counter",
        "done",
        "epoch",
        "epochs",
        "i",
        "it",
        "iter",
        "iteration",
        "iterations",
    }
    | {
        "iters",
        "micro",
        "n",
        "num",
        "seen",
        "step",
        "steps",
        "t",
        "tick",
        "ticks",
        "time",
        "update",
        "updates",
        "warmup",
    }
)
_INPUTS = frozenset(
    {"batch", "batches", "data", "dataset", "examples", "feature", "features", "image", "images", "input", "inputs"}
    | {
        "label",
        "labels",
        "sample",
        "samples",
        "target",
        "targets",
        "test",
        "token",
        "tokens",
        "train",
        "val",
        "x",
        "xs",
    }
    | {"y", "ys"}
)


def words(name: object) -> frozenset[str]:
    """Split a name such as `train_loader` or `trainLoader` into its words, in lower case."""
    return frozenset(word.lower() for word in _WORD.findall(str(name)))


def family_of(value: Any, name: object, inherited: Family) -> Family:
    """Tell what an object belongs to.

    Args:
        value: The object.
        name: The attribute or key that holds it.
        inherited: What its holder belongs to, which it belongs to unless it is something of its own.
    """
    if isinstance(value, Optimizer):
        return "optimizer"
    if isinstance(value, lr_scheduler.LRScheduler):
        return "scheduler"
    if isinstance(value, AveragedModel):
        return "ema"
    if isinstance(value, (DataLoader, Dataset, Sampler)):
        return "data"
    if inherited in {"ema", "scheduler", "scaler", "data"}:
        return inherited
    found = words(name) | (words(type(value).__name__) if hasattr(value, "__dict__") else frozenset())
    if "exp" in found:
        found -= {"avg"}  # exp_avg and exp_avg_sq are Adam's
    if found & _MEASURED:
        found -= _WORDS["ema"]
    if {"loss", "scale"} <= found:
        return "scaler"
    return next((family for family in _WORDS if found & _WORDS[family]), inherited)


def stands_for_inputs(name: object) -> bool:
    """Whether a name is one that examples and labels have, which come from a file in a real training."""
    return bool(words(name) & _INPUTS)
