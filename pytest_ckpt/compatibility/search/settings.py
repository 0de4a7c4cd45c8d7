"""Proposes other settings: numbers, flags, words and activations that submodules hold as attributes."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from math import isclose
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from pytest_ckpt.compare import describe
from pytest_ckpt.compatibility.search.bench import Cause
from pytest_ckpt.compatibility.search.vocabulary import (
    ACTIVATIONS,
    integers,
    is_activation,
    is_activation_module,
    other_pools,
    tuples,
    words,
)
from pytest_ckpt.moment import attributes, set_attribute

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from pytest_ckpt.compatibility.search.bench import Bench

_MOST_NAMED = 8
_BOUND = frozenset(
    {
        "in_features", "out_features", "in_channels", "out_channels", "num_embeddings", "embedding_dim", "num_features",
        "normalized_shape", "input_size", "hidden_size", "embed_dim", "kdim", "vdim", "padding_idx", "kernel_size",
        "training", "track_running_stats", "transposed", "output_padding",
    }
)  # fmt: skip


@dataclass(frozen=True)
class _Setting:
    """One attribute, of one submodule or of all submodules of a class that hold the same value in it."""

    name: str
    value: Any
    owners: tuple[tuple[str, nn.Module], ...]

    def put(self, value: Any) -> None:
        for _, owner in self.owners:
            set_attribute(owner, self.name, value)

    @property
    def keys(self) -> list[str]:
        return [".".join(filter(None, (path, self.name))) for path, _ in self.owners]


class Differing:
    """Settings of submodules that are known of the old version, and are others today."""

    def __init__(self, module: nn.Module, known: Mapping[str, Mapping[str, Any]]) -> None:
        """Compare.

        Args:
            module: The module of today.
            known: Settings of the old version by the names of submodules.
        """
        self._old = []
        for path, owner in module.named_modules():
            today = attributes(owner)
            for name, old in known.get(path, {}).items():
                value = tuple(old) if isinstance(old, list) else old
                if name in today and today[name] != value:
                    self._old.append((_Setting(name, today[name], ((path, owner),)), value))

    def causes(self, bench: Bench) -> tuple[Cause, ...]:
        """Give the one that alone brings the old outputs back, or all if they do together."""
        for setting, old in self._old:
            if bench.first([old], setting.put, setting.value) is not None:
                return _causes(setting.keys, _shown(old), _shown(setting.value))
        for setting, old in self._old:
            setting.put(old)
        try:
            agree = bool(self._old) and bench.agrees()
        finally:
            for setting, _ in self._old:
                setting.put(setting.value)
        return self.suspects() if agree else ()

    def suspects(self) -> tuple[Cause, ...]:
        """Give all of them, whether or not the outputs come back with the old ones."""
        return tuple(
            cause for setting, old in self._old for cause in _causes(setting.keys, _shown(old), _shown(setting.value))
        )


def search(bench: Bench) -> Iterator[tuple[Cause, ...]]:
    """Give settings with which the old outputs come back; those first that have few values to try."""
    alone = [
        _Setting(name, value, ((path, owner),))
        for path, owner in bench.module.named_modules()
        for name, value in attributes(owner).items()
        if _is_setting(value) and not _is_bound(owner, name)
    ]
    together = [group for group in _groups(alone) if len(group.owners) > 1]
    everything = [*together, *alone]
    yield from _other_values(bench, [one for one in everything if not isinstance(one.value, float)])
    yield from _activation_layers(bench)
    yield from _pools(bench)
    yield from _other_values(bench, [one for one in everything if isinstance(one.value, float)])


def _other_values(bench: Bench, settings: Iterable[_Setting]) -> Iterator[tuple[Cause, ...]]:
    for setting in settings:
        found = _other_value(bench, setting)
        if found is not None:
            yield _causes(setting.keys, _shown(found), _shown(setting.value))


def _is_bound(owner: nn.Module, name: str) -> bool:
    """Whether a setting goes with the shapes of the entries, or with kernels that trust it."""
    return isinstance(owner, nn.RNNBase) or name in _BOUND


def _is_setting(value: Any) -> bool:
    if isinstance(value, tuple):
        return bool(value) and all(type(one) is int for one in value)
    return isinstance(value, (bool, int, float, str)) or is_activation(value)


def _groups(alone: Iterable[_Setting]) -> Iterator[_Setting]:
    alike: defaultdict[tuple[Any, ...], list[_Setting]] = defaultdict(list)
    for one in alone:
        ((_, owner),) = one.owners
        alike[type(owner), one.name, type(one.value), one.value].append(one)
    for (_, name, _, value), members in alike.items():
        yield _Setting(name, value, tuple(owner for one in members for owner in one.owners))


def _other_value(bench: Bench, setting: _Setting) -> Any:
    value = setting.value
    if isinstance(value, bool):
        return bench.first([not value], setting.put, value)
    if isinstance(value, float):
        return bench.solve(setting.put, value)
    if isinstance(value, int):
        return _other_integer(bench, setting)
    if isinstance(value, str):
        return bench.first(words(value), setting.put, value)
    if isinstance(value, tuple):
        return _other_tuple(bench, setting)
    found = bench.first(ACTIVATIONS.values(), setting.put, value)
    return None if found is None else _name_of(found)


def _name_of(activation: Any) -> str:
    return next(name for name, function in ACTIVATIONS.items() if function is activation)


def _other_tuple(bench: Bench, setting: _Setting) -> Any:
    """Try tuples of whole numbers; the padding of a convolution that keeps the size follows its dilation."""
    held = [(owner, attributes(owner).get("padding")) for _, owner in setting.owners]

    def put(value: tuple[int, ...]) -> None:
        setting.put(value)
        for owner, padding in held:
            if setting.name == "dilation" and isinstance(padding, tuple):
                wide = [size * new // old for size, new, old in zip(padding, value, setting.value, strict=False)]
                set_attribute(owner, "padding", tuple(wide))

    return bench.first(tuples(setting.value), put, setting.value)


def _other_integer(bench: Bench, setting: _Setting) -> int | None:
    """Try whole numbers, with what follows from them: the size of a head from their number, a scale from the size."""

    def put(value: int) -> None:
        for _, owner in setting.owners:
            for name, other in _following(owner, setting, value).items():
                set_attribute(owner, name, other)
        setting.put(value)

    held = [(owner, attributes(owner)) for _, owner in setting.owners]
    try:
        found: int | None = bench.first(integers(setting.value), put, setting.value)
    finally:
        for owner, values in held:
            for name, value in values.items():
                if isinstance(value, (int, float)):
                    set_attribute(owner, name, value)
    return found


def _following(owner: nn.Module, setting: _Setting, value: int) -> dict[str, Any]:
    """Give the other numbers of a submodule that follow from one, where the product of two is a size of its tensors.

    The second of the two may be held by none: a scale follows from it even so.
    """
    sizes = {size for tensor in owner.parameters() for size in tensor.shape}
    found: dict[str, Any] = {}
    if value <= 0 or setting.value <= 0:
        return found
    numbers = {name: other for name, other in attributes(owner).items() if name not in {setting.name, *_BOUND}}
    for name, other in numbers.items():
        if type(other) is not int or other * setting.value not in sizes or other * setting.value % value:
            continue
        found[name] = other * setting.value // value
    for size in sizes:
        part = size // setting.value if size % setting.value == size % value == 0 else 0
        for scale, factor in numbers.items():
            if isinstance(factor, float) and part > 1 and isclose(factor, part**-0.5):
                found[scale] = (size // value) ** -0.5
    return found


def _shown(value: Any) -> str:
    """Show a setting as one types it."""
    return repr(value) if isinstance(value, tuple) else describe(value)


def _causes(keys: list[str], expected: str, actual: str) -> tuple[Cause, ...]:
    also = f", as in {len(keys) - 1} other place{'s' * (len(keys) != 2)}" if len(keys) > 1 else ""  # noqa: PLR2004 -- one or more
    return tuple(
        Cause(
            "semantics",
            key,
            expected,
            actual,
            f"the state fits, but the outputs are the old ones only with {expected} here{also}",
            f"build it as the checkpoint was made: {key.rpartition('.')[2]}={expected}; or save the setting with the "
            "weights (get_extra_state)",
        )
        for key in keys[:_MOST_NAMED]
    )


# -------------------------------------------------------------------------------------------------- whole activations


def _activation_layers(bench: Bench) -> Iterator[tuple[Cause, ...]]:
    layers = [(path, one) for path, one in bench.module.named_modules() if path and is_activation_module(one)]
    groups: defaultdict[type, list[tuple[str, nn.Module]]] = defaultdict(list)
    for path, layer in layers:
        groups[type(layer)].append((path, layer))
    for members in [*groups.values(), *([one] for one in layers)]:
        kind = type(members[0][1]).__name__.lower()
        for name, activation in ACTIVATIONS.items():
            if name.partition(" ")[0].replace("_", "") == kind:
                continue  # the same with another slope, which is a setting of its own
            if _agrees_with(bench, [layer for _, layer in members], activation):
                yield _causes([path for path, _ in members], name, type(members[0][1]).__name__)


def _agrees_with(bench: Bench, layers: list[nn.Module], forward: Callable[[Any], Any]) -> bool:
    with torch.no_grad():
        for layer in layers:
            set_attribute(layer, "forward", forward)
        try:
            return bench.agrees()
        finally:
            for layer in layers:
                object.__delattr__(layer, "forward")


def _pools(bench: Bench) -> Iterator[tuple[Cause, ...]]:
    """Pool by the mean instead of the largest element, or the other way round."""
    for path, layer in bench.module.named_modules():
        for name, other in other_pools(layer):
            if _agrees_with(bench, [layer], other):
                yield _causes([path], name, type(layer).__name__)
