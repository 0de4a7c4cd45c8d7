"""Copies values deeply, with what they share, and brings the originals back to what they held.

`copy.deepcopy` alone will not do: it refuses tensors that have a history and generators, it copies a module with all
that belongs to it, and it cannot bring an original back, which is what others, a hook's closure for one, may hold.
"""

from __future__ import annotations

import copy
import copyreg
import random
import threading
import weakref
from array import array
from collections import OrderedDict, deque
from collections.abc import MutableMapping
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.utils.hooks import RemovableHandle

from pytest_ckpt.compare import bound_in, difference, equal
from pytest_ckpt.containers import items_of, pairs_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

_DEFINED_IN_PYTHON = 1 << 9  # Py_TPFLAGS_HEAPTYPE
_ATOMS = (nn.Module, RemovableHandle, bool, int, float, complex, str, bytes, type, type(None))


def duplicate(value: Any, keep: Iterable[Any] = ()) -> Any:
    """Copy a value deeply, as far as it can be copied.

    Tensors are detached and cloned, generators keep their position, and modules, with everything listed in `keep`,
    stay the objects that they are. What cannot be copied is returned as it is.
    """
    return Copier(keep).copy(value)


def copy_tensor(tensor: Tensor) -> Tensor:
    """Clone a tensor without its history; lazy ones and those that cannot be cloned stay themselves."""
    if is_lazy(tensor):
        return tensor
    try:
        with torch.no_grad():
            result = tensor.detach().clone()
            return nn.Parameter(result, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else result
    except (RuntimeError, NotImplementedError, TypeError):
        return tensor


class Copier:
    """Copies any number of values; what two of them share, their copies share too."""

    def __init__(self, keep: Iterable[Any] = (), counterparts: Iterable[tuple[Any, Any]] = ()) -> None:
        """Begin with nothing copied.

        Args:
            keep: Objects that are not copied wherever they occur.
            counterparts: Pairs of objects, of which the second takes the place of the first in every copy.
        """
        others = list(counterparts)
        self._there = {id(one): other for one, other in others}
        self._pinned = [*((one, one) for one in keep), *others]
        self._memo: dict[int, Any] = {id(one): other for one, other in self._pinned}
        self._pairs: list[tuple[Any, Any]] = []

    def copy(self, value: Any) -> Any:
        """Copy one value."""
        if id(value) in self._memo:
            return self._memo[id(value)]
        if isinstance(value, _ATOMS):
            return value  # a handle's copy would bring a copy of the registry that it belongs to
        if isinstance(value, FunctionType):
            self._pinned.append((value, value))
            self._memo[id(value)] = value  # it may be bound to itself
            for one in bound_in(value):
                self.copy(one)  # a function is not copied, but what it is bound to can be brought back
            return value
        if isinstance(value, MethodType):
            return MethodType(value.__func__, self.copy(value.__self__))
        result = self._copy(value)
        self._remember(value, result)
        return result

    def _copy(self, value: Any) -> Any:
        kind: Any = type(value)
        if isinstance(value, torch.Tensor):
            return copy_tensor(value)
        if isinstance(value, torch.Generator):
            generator = torch.Generator(device=value.device)
            generator.set_state(value.get_state())
            return generator
        if kind in {tuple, set, frozenset}:
            return kind(map(self.copy, value))
        if kind is weakref.ref:
            there = self._there.get(id(value()))
            return value if there is None else weakref.ref(there)
        if kind is weakref.WeakSet:
            return kind(self._there.get(id(item), item) for item in value)
        if kind in {dict, list, deque, OrderedDict, weakref.WeakKeyDictionary}:
            result: Any = kind(maxlen=value.maxlen) if kind is deque else kind()
            self._memo[id(value)] = result
            if isinstance(result, MutableMapping):
                result.update({self._there.get(id(key), key): self.copy(item) for key, item in value.items()})
            else:
                result.extend(map(self.copy, value))
            return result
        if isinstance(value, list) and kind.__iter__ is not list.__iter__ and _is_usual(kind):
            result = kind.__new__(kind)  # deepcopy would iterate as the class does, perhaps without end
            self._memo[id(value)] = result
            list.extend(result, map(self.copy, items_of(value)))
            _refill_object(result, {name: self.copy(item) for name, item in fields(value).items()})
            return result
        if kind is threading.local:
            result = threading.local()
            self._memo[id(value)] = result
            vars(result).update((name, self.copy(item)) for name, item in vars(value).items())
            return result
        if _is_plain(value):
            result = kind.__new__(kind)
            self._memo[id(value)] = result
            for name, item in fields(value).items():
                object.__setattr__(result, name, self.copy(item))
            return result
        return self._deep_copy(value)

    def _deep_copy(self, value: Any) -> Any:
        memo = dict(self._memo)
        try:
            with torch.no_grad():
                result = copy.deepcopy(value, memo)
        except Exception:  # noqa: BLE001 -- a foreign __deepcopy__ may raise anything
            return value
        if type(result) is not type(value):
            return value  # a __deepcopy__ that refuses by giving something else
        for original in memo.get(id(memo), ()):  # deepcopy keeps what it has copied alive there
            if id(original) in memo and original is not value:
                self._remember(original, memo[id(original)])
        return result

    def _remember(self, original: Any, copied: Any) -> None:
        self._memo[id(original)] = copied
        self._pairs.append((original, copied))

    def restore(self) -> None:
        """Bring every original back to what it held when it was copied, in place."""
        back = {id(copied): original for original, copied in self._pairs}
        for original, copied in self._pairs:
            if original is not copied:
                _refill(original, copied, back)


def write_back(tensor: Tensor, value: Tensor) -> None:
    """Give a tensor its former value; in place where that is possible, since others may hold views of its memory."""
    if not is_lazy(tensor) and difference("", value, tensor) is None:
        return
    with torch.no_grad():
        try:
            tensor.data.copy_(value)
            if difference("", value, tensor) is None:
                return
        except (RuntimeError, ValueError, NotImplementedError):
            pass  # another shape or an expanded view: only a new storage can hold it
        tensor.data = value.detach().clone()


def _refill(original: Any, copied: Any, back: dict[int, Any]) -> None:
    def of(value: Any) -> Any:
        return back.get(id(value), value)

    try:
        if isinstance(original, torch.Tensor):
            write_back(original, copied)
        elif isinstance(original, torch.Generator):
            original.set_state(copied.get_state())
        elif isinstance(original, random.Random):
            original.setstate(copied.getstate())
        elif type(original).__module__.startswith("numpy"):
            _refill_numpy(original, copied)
        elif isinstance(original, MutableMapping):
            _refill_mapping(original, copied, {key: of(value) for key, value in pairs_of(copied)})
        elif isinstance(original, (list, deque, set, weakref.WeakSet)):
            items = [of(value) for value in items_of(copied)]
            original.clear()
            original.extend(items) if isinstance(original, (list, deque)) else original.update(items)
        elif isinstance(original, (array, bytearray)):
            original[:] = copied
        elif isinstance(original, threading.local):
            vars(original).clear()
            vars(original).update((name, of(value)) for name, value in vars(copied).items())
        elif not isinstance(original, tuple):
            _refill_object(original, {name: of(value) for name, value in fields(copied).items()})
    except Exception:  # noqa: BLE001, S110 -- a foreign container may refuse; its copy was only an attempt
        pass


def _refill_mapping(original: MutableMapping[Any, Any], copied: Any, held: dict[Any, Any]) -> None:
    if not isinstance(original, dict) and _holds_the_same(original, copied):
        return  # it may hold parameters, and what a foreign copy holds in their place is known to nobody
    original.clear()
    original.update(held)


def _holds_the_same(one: Any, other: Any) -> bool:
    """Whether two values are equal, foreign mappings by what they hold, since their other attributes may differ."""
    if isinstance(one, dict) or not isinstance(one, MutableMapping):
        return equal(one, other)
    return list(one) == list(other) and all(_holds_the_same(one[key], other[key]) for key in one)


def _refill_numpy(original: Any, copied: Any) -> None:
    if hasattr(original, "bit_generator"):
        original.bit_generator.state = copied.bit_generator.state
    elif hasattr(original, "set_state"):
        original.set_state(copied.get_state())
    elif hasattr(original, "flags") and original.flags.writeable:
        original[...] = copied


def _refill_object(original: Any, held: dict[str, Any]) -> None:
    for name in fields(original).keys() - held.keys():
        object.__delattr__(original, name)
    for name, value in held.items():
        object.__setattr__(original, name, value)


def _is_plain(value: Any) -> bool:
    """Whether a value is an object of an ordinary class, which is nothing but its attributes."""
    kind: Any = type(value)
    return (
        bool(kind.__flags__ & _DEFINED_IN_PYTHON)
        and bool(fields(value))
        and kind.__new__ is object.__new__
        and _is_usual(kind)
    )


def _is_usual(kind: type) -> bool:
    """Whether a class leaves it to Python how its objects are copied."""
    usual: Any = object
    return (
        not hasattr(kind, "__deepcopy__")
        and kind.__reduce_ex__ is usual.__reduce_ex__
        and kind.__reduce__ is usual.__reduce__
    )


def fields(value: Any) -> dict[str, Any]:
    """Give the attributes of an object, those in `__slots__` included."""
    found = dict(getattr(value, "__dict__", {}))
    slots = copyreg._slotnames(type(value))  # type: ignore[attr-defined]  # noqa: SLF001 -- what pickle itself uses
    found.update((name, getattr(value, name)) for name in slots if hasattr(value, name))
    return found
