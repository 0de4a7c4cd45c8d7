"""State dicts that do not fit, each with what a right loader has to say of it."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch.nn.parameter import is_lazy

from pytest_ckpt.distinguish import is_simple

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from torch import Tensor

Kind = Literal["dropped", "renamed", "added", "reshaped", "retyped", "prefixed", "emptied", "nested", "partial"]
KINDS: tuple[Kind, ...] = get_args(Kind)

FILL = 0.734375  # exact in every floating-point dtype down to float8

_OTHER_DTYPE = {
    torch.float32: torch.float64,
    torch.float64: torch.float32,
    torch.float16: torch.float32,
    torch.bfloat16: torch.float32,
    torch.complex64: torch.complex128,
    torch.complex128: torch.complex64,
    torch.int64: torch.int32,
    torch.int32: torch.int64,
    torch.int16: torch.int64,
    torch.int8: torch.int64,
    torch.uint8: torch.int64,
    torch.bool: torch.uint8,
}


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Mismatch:
    """A state_dict that does not fit, and what a right loader has to say of it.

    Attributes:
        kind: What was done to it.
        state_dict: The state_dict to give to the loader; of the type of the original, with its `_metadata`. Entries
            that were not touched are the original's own tensors.
        missing: Keys of the original that it lacks, as `missing_keys` of `load_state_dict` must name them.
        unexpected: Keys that the original does not have, as `unexpected_keys` must name them.
        reshaped: Keys whose tensors have another shape; `load_state_dict` raises for them, whatever `strict` is.
        retyped: Keys whose tensors have another dtype and other values. torch converts them without a word, so a
            loader may do that or refuse them, but must not leave them out.
    """

    kind: Kind
    state_dict: Mapping[str, Any]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    reshaped: tuple[str, ...]
    retyped: tuple[str, ...]

    def __repr__(self) -> str:
        named = {
            name: getattr(self, name)
            for name in ("missing", "unexpected", "reshaped", "retyped")
            if getattr(self, name)
        }
        return f"Mismatch({self.kind}: {', '.join(f'{name}={list(keys)}' for name, keys in named.items())})"


def dropped(state: Mapping[str, Any], keys: Collection[str]) -> Mismatch:
    """Leave entries out."""
    return _mismatch("dropped", state, [(key, value) for key, value in state.items() if key not in keys])


def renamed(state: Mapping[str, Any], names: Mapping[str, str]) -> Mismatch:
    """Put entries under other names."""
    return _mismatch("renamed", state, [(names.get(key, key), value) for key, value in state.items()])


def added(state: Mapping[str, Any], entries: Mapping[str, Any]) -> Mismatch:
    """Add entries that nobody asks for."""
    return _mismatch("added", state, [*state.items(), *entries.items()])


def reshaped(state: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> Mismatch:
    """Give entries another shape; every element is `FILL`, so that its traces can be found."""
    return _mismatch(
        "reshaped",
        state,
        [
            (key, torch.full(shapes[key], FILL).to(value.dtype) if key in shapes else value)
            for key, value in state.items()
        ],
    )


def retyped(state: Mapping[str, Any], keys: Collection[str]) -> Mismatch:
    """Give entries another dtype and other values, `FILL` or 1, so that it shows whether they arrived."""
    return _mismatch(
        "retyped",
        state,
        [
            (key, torch.full_like(value, FILL if value.is_floating_point() else 1, dtype=_OTHER_DTYPE[value.dtype]))
            if key in keys
            else (key, value)
            for key, value in state.items()
        ],
    )


def prefixed(state: Mapping[str, Any], prefix: str) -> Mismatch:
    """Put a prefix before every key, as a wrapper does; `_metadata` keeps its own."""
    return _mismatch("prefixed", state, [(prefix + key, value) for key, value in state.items()])


def emptied(state: Mapping[str, Any]) -> Mismatch:
    """Leave everything out."""
    return _mismatch("emptied", state, [])


def nested(state: Mapping[str, Any], name: str) -> Mismatch:
    """Put the whole state_dict one level down, as a training checkpoint holds it beside the optimizer's."""
    return _mismatch("nested", state, [(name, dict(state))])


def partial(state: Mapping[str, Any], keys: Collection[str], entries: Mapping[str, Any]) -> Mismatch:
    """Keep some entries and add foreign ones: the checkpoint of another model, as a warm start takes it."""
    return _mismatch("partial", state, [*((key, state[key]) for key in state if key in keys), *entries.items()])


def reshapable(value: Any) -> bool:
    """Whether a value is a tensor that can be given in another shape."""
    return isinstance(value, torch.Tensor) and not is_lazy(value) and is_simple(value)


def retypable(value: Any) -> bool:
    """Whether a value is a tensor with elements that can be given in another dtype."""
    return reshapable(value) and bool(value.numel()) and value.dtype in _OTHER_DTYPE


def other_shapes(tensor: Tensor) -> tuple[tuple[int, ...], ...]:
    """Give shapes that a tensor does not have, the simplest first: one element, broadcastable, larger, turned, flat.

    torch itself takes one element in one dimension for a tensor of none, so that is not among them.
    """
    shape = tuple(tensor.shape)
    candidates = [
        (1,),
        (1, *shape[1:]),
        (*shape, 1),
        (shape[0] + 1, *shape[1:]) if shape else (2,),
        shape[::-1],
        (tensor.numel(),),
    ]
    return tuple(dict.fromkeys(one for one in candidates if one != shape and (shape or one != (1,))))


def _mismatch(kind: Kind, state: Mapping[str, Any], items: Iterable[tuple[str, Any]]) -> Mismatch:
    other: Any = copy.copy(state)  # its own copy() would lose the versions in `_metadata`
    other.clear()
    other.update(items)

    def differing(aspect: Callable[[Tensor], Any]) -> tuple[str, ...]:
        pairs = ((key, value, other[key]) for key, value in state.items() if key in other and other[key] is not value)
        return tuple(key for key, one, another in pairs if aspect(one) != aspect(another))

    return Mismatch(
        kind,
        other,
        missing=tuple(key for key in state if key not in other),
        unexpected=tuple(key for key in other if key not in state),
        reshaped=differing(lambda tensor: tensor.shape),
        retyped=differing(lambda tensor: tensor.dtype),
    )


def spread(keys: Sequence[str], count: int) -> tuple[str, ...]:
    """Give the first, the last and some keys between, evenly spread."""
    if len(keys) <= count:
        return tuple(keys)
    return tuple(keys[index * (len(keys) - 1) // (count - 1)] for index in range(count))


def _one_dropped(state: Mapping[str, Any], key: str) -> Mismatch:
    return dropped(state, [key])


def _one_element(state: Mapping[str, Any], key: str) -> Mismatch:
    return reshaped(state, {key: (1,)})


def _one_row(state: Mapping[str, Any], key: str) -> Mismatch:
    return reshaped(state, {key: (1, *state[key].shape[1:])})


def _one_renamed(state: Mapping[str, Any], key: str) -> Mismatch:
    return renamed(state, {key: f"{key}_renamed"})


def _one_retyped(state: Mapping[str, Any], key: str) -> Mismatch:
    return retyped(state, [key] if retypable(state[key]) else [])


SINGLE: dict[Kind, tuple[Callable[[Mapping[str, Any], str], Mismatch], ...]] = {
    "dropped": (_one_dropped,),
    "reshaped": (_one_element, _one_row),
    "renamed": (_one_renamed,),
    "retyped": (_one_retyped,),
}  # the plainest ways in which one entry may not fit
