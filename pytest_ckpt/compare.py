"""Two states of a module, and what differs between them: bits, dtype, shape, layout, ties, flags.

Comparison is by bits. NaN equals a NaN of the same bits, -0.0 is not 0.0, and a bfloat16 entry never equals a float32
one of the same value, which `torch.equal` calls equal.
"""

from __future__ import annotations

import copyreg
import inspect
import random
import sys
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from types import CellType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakKeyDictionary, WeakSet

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from pytest_ckpt.containers import CONTAINERS, items_of, pairs_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

Aspect = Literal["missing", "unexpected", "dtype", "shape", "layout", "device", "type", "value"]

_DEFAULT_EQUALITY: object = object.__eq__
_DEFAULT_TEXT: object = object.__repr__
INTEGER_OF_SIZE = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_WORD = 8  # bytes that are compared as one integer
_SHOWN = 3
_SHOWN_SEQUENCE = 4
_SHOWN_TEXT = 60  # characters


@dataclass(frozen=True, slots=True)
class Difference:
    """One entry that differs between two states.

    Attributes:
        key: The entry's fully qualified name.
        aspect: What differs; of several the first in the order of `Aspect`.
        expected: The saved entry, described.
        actual: The loaded entry, described.
        detail: For a value: how many elements differ and by how much.
    """

    key: str
    aspect: Aspect
    expected: str
    actual: str
    detail: str = ""


# ---------------------------------------------------------------------------------------------------------------- state


def entries(module: nn.Module) -> dict[str, Tensor]:
    """Give the live tensors of a module that a state_dict should carry.

    Args:
        module: Any module; one that occurs in several places gives its tensors under each name.

    Returns:
        Parameters and persistent buffers by fully qualified name, in registration order, tied ones under each name.
    """
    found: dict[str, Tensor] = {}
    for prefix, owner in module.named_modules(remove_duplicate=False):
        dot = f"{prefix}." if prefix else ""
        own = chain(owner._parameters.items(), owner._buffers.items())  # noqa: SLF001 -- torch has no public way
        skipped = owner._non_persistent_buffers_set  # noqa: SLF001 -- as above
        found.update((dot + name, tensor) for name, tensor in own if tensor is not None and name not in skipped)
    return found


def nonpersistent(module: nn.Module) -> dict[str, Tensor]:
    """Give the buffers that a state_dict leaves out, by fully qualified name."""
    found: dict[str, Tensor] = {}
    for prefix, owner in module.named_modules(remove_duplicate=False):
        dot = f"{prefix}." if prefix else ""
        for name in owner._non_persistent_buffers_set:  # noqa: SLF001 -- torch has no public way to tell persistent buffers
            tensor = owner._buffers.get(name)  # noqa: SLF001 -- as above
            if tensor is not None:
                found[dot + name] = tensor
    return found


def uninitialized(module: nn.Module) -> bool:
    """Whether a lazy parameter or buffer of the module has no shape yet."""
    return any(is_lazy(tensor) for tensor in chain(module.parameters(), module.buffers()))


# ---------------------------------------------------------------------------------------------------------- differences


def differences(expected: Mapping[str, Any], actual: Mapping[str, Any]) -> Iterator[Difference]:
    """Compare two states entry by entry.

    Args:
        expected: Entries on the saving side by name: tensors, or any other value that a state_dict may hold.
        actual: Entries on the loading side.

    Yields:
        At most one difference an entry, in the order of `expected`, then entries that only `actual` has.
    """
    for key, value in expected.items():
        if key not in actual:
            yield Difference(key, "missing", describe(value), "absent")
        elif (found := difference(key, value, actual[key])) is not None:
            yield found
    for key, value in actual.items():
        if key not in expected:
            yield Difference(key, "unexpected", "absent", describe(value))


def difference(key: str, expected: Any, actual: Any) -> Difference | None:
    """Compare one entry; None where it is the same to the last bit."""
    if isinstance(expected, torch.Tensor) and isinstance(actual, torch.Tensor):
        aspect = _tensor_aspect(expected, actual)
        if aspect is None:
            return None
        detail = spread(expected, actual) if aspect == "value" else ""
        return Difference(key, aspect, describe(expected), describe(actual), detail)
    if equal(expected, actual):
        return None
    aspect = "value" if type(expected) is type(actual) else "type"
    return Difference(key, aspect, describe(expected), describe(actual))


def _tensor_aspect(expected: Tensor, actual: Tensor) -> Aspect | None:
    if is_lazy(expected) or is_lazy(actual):
        return None if is_lazy(expected) and is_lazy(actual) else "shape"
    if expected.dtype != actual.dtype:
        return "dtype"
    if expected.is_nested or actual.is_nested:
        return None if bits_equal(expected, actual) else "value"
    if expected.shape != actual.shape:
        return "shape"
    if expected.layout != actual.layout:
        return "layout"
    if expected.device.type == "meta" or actual.device.type == "meta":
        return None if expected.device.type == actual.device.type else "device"
    return None if bits_equal(expected, actual) else "value"


def bits_equal(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors hold the same bits in the same shape, dtype and layout; the device may differ.

    Sparse tensors are compared by their indices and values, quantized ones by their integers and scales, and a tensor
    subclass by the plain tensors it is made of.
    """
    if one.is_nested or other.is_nested:  # before the shape, of which it has none, or one that no other has
        return one.is_nested and other.is_nested and _all_bits_equal(one.unbind(), other.unbind())
    if one.dtype != other.dtype or one.shape != other.shape or one.layout != other.layout:
        return False
    if one.layout != torch.strided:
        return _all_bits_equal(_parts(one), _parts(other))
    if one.is_quantized:
        return _quantizer(one) == _quantizer(other) and bits_equal(one.int_repr(), other.int_repr())
    inner = _inner(one), _inner(other)
    if inner != ((), ()):
        return _all_bits_equal(*inner)
    one, other = words(one.detach()), words(other.detach())
    if one.shape != other.shape:  # only one of the two could be read as eight-byte words
        one, other = (part.contiguous().view(-1).view(torch.uint8) for part in (one, other))
    return torch.equal(one, other.to(one.device))


def _all_bits_equal(ones: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    return len(ones) == len(others) and all(map(bits_equal, ones, others))


def _parts(tensor: Tensor) -> tuple[Tensor, ...]:
    if tensor.layout == torch.sparse_coo:
        tensor = tensor.detach().coalesce()
        return tensor.indices(), tensor.values()
    if tensor.layout in {torch.sparse_csr, torch.sparse_bsr}:
        return tensor.crow_indices(), tensor.col_indices(), tensor.values()
    if tensor.layout in {torch.sparse_csc, torch.sparse_bsc}:
        return tensor.ccol_indices(), tensor.row_indices(), tensor.values()
    return (tensor.to_dense(),)


def _quantizer(tensor: Tensor) -> tuple[Any, ...]:
    scheme = tensor.qscheme()
    if scheme in {torch.per_tensor_affine, torch.per_tensor_symmetric}:
        return scheme, tensor.q_scale(), tensor.q_zero_point()
    return (
        scheme,
        tensor.q_per_channel_axis(),
        tuple(tensor.q_per_channel_scales().tolist()),
        tuple(tensor.q_per_channel_zero_points().tolist()),
    )


def _inner(tensor: Tensor) -> tuple[Tensor, ...]:
    flatten = getattr(tensor, "__tensor_flatten__", None)
    if flatten is None or type(tensor) in {torch.Tensor, nn.Parameter}:
        return ()
    names, _ = flatten()
    parts = (getattr(tensor, name) for name in names)
    return tuple(part for part in parts if isinstance(part, torch.Tensor))  # a DTensor has its mesh among them


def words(tensor: Tensor) -> Tensor:
    """Give the tensor's bits as integers, as eight-byte words where its memory allows it (five times faster)."""
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.resolve_conj())
    tensor = tensor.resolve_neg()
    if tensor.dtype == torch.bool:
        return tensor.view(torch.uint8).ne(0)  # True may be stored as any byte but 0
    size = tensor.element_size()
    if (
        tensor.is_contiguous()
        and tensor.numel() * size % _WORD == 0
        and tensor.storage_offset() * size % _WORD == 0
        and tensor.numel()
    ):
        return tensor.view(-1).view(torch.int64)
    return tensor.view(INTEGER_OF_SIZE[size])


def equal(one: Any, other: Any, *, unknown: bool = True, counterparts: Mapping[int, int] | None = None) -> bool:
    """Whether two values of any kind are the same, tensors within them by bits.

    Containers are compared item by item, in order for mappings too. Objects that define no equality are equal if they
    are of one type and their attributes are equal.

    Args:
        one: Any value.
        other: Any value.
        unknown: What to say of two different objects that cannot be compared, such as functions.
        counterparts: Ids of objects on the one side and those of the objects in their place on the other, which are
            equal whatever they hold.
    """
    return _Equality(unknown, counterparts or {}).of(one, other)


class _Equality:
    def __init__(self, unknown: bool, counterparts: Mapping[int, int]) -> None:  # noqa: FBT001 -- what it is about
        self._unknown, self._counterparts = unknown, counterparts
        self._above: set[tuple[int, int]] = set()

    def of(self, one: Any, other: Any) -> bool:
        pair = (id(one), id(other))
        if one is other or pair in self._above or self._counterparts.get(pair[0]) == pair[1]:
            return True
        if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
            return _tensor_aspect(one, other) is None
        if type(one) is not type(other):
            return False
        self._above.add(pair)
        try:
            return self._of_one_type(one, other)
        finally:
            self._above.discard(pair)

    def _of_one_type(self, one: Any, other: Any) -> bool:
        if isinstance(one, float):
            return bool(one.hex() == other.hex())
        if isinstance(one, torch.Generator):
            return bits_equal(one.get_state(), other.get_state())
        if isinstance(one, dict):
            keys = ([key for key, _ in pairs_of(held)] for held in (one, other))
            return self._of_keys(*keys) and all(map(self.of, items_of(one), items_of(other)))
        if isinstance(one, (list, tuple, deque)):
            ones, others = items_of(one), items_of(other)
            return len(ones) == len(others) and all(map(self.of, ones, others))
        if isinstance(one, nn.Module):
            return self.of(vars(one), vars(other))
        if type(one).__module__ == "numpy" and hasattr(one, "tobytes"):
            return bool(one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes())
        if isinstance(one, (FunctionType, MethodType, partial)):
            return self._of_functions(one, other)
        if type(one).__eq__ is not _DEFAULT_EQUALITY:
            try:
                return bool(one == other) and (self._unknown or self._same_attributes(one, other))
            except Exception:  # noqa: BLE001, S110 -- a foreign __eq__ may raise anything, a dataclass of tensors does
                pass
        return self._states(state_of(one), state_of(other))

    def _same_attributes(self, one: Any, other: Any) -> bool:
        """Compare what an equality of its own may leave out, such as an attribute that was added to a dataclass."""
        states = state_of(one), state_of(other)
        return any(state is None for state in states) or self.of(*states)

    def _of_keys(self, ones: list[Any], others: list[Any]) -> bool:
        """Compare the keys of two dicts in their order; an optimizer's state has tensors for keys."""
        if not any(isinstance(key, torch.Tensor) for key in chain(ones, others)):
            return ones == others
        return len(ones) == len(others) and all(map(self.of, ones, others))

    def _of_functions(self, one: Any, other: Any) -> bool:
        if isinstance(one, partial):
            return all(map(self.of, (one.func, one.args, one.keywords), (other.func, other.args, other.keywords)))
        if isinstance(one, MethodType):
            same = self.of(one.__func__, other.__func__) and self.of(one.__self__, other.__self__)
            return same or (self._unknown and isinstance(one.__self__, nn.Module))
        if one.__code__ is not other.__code__:
            return self._unknown
        return self.of(bound_in(one), bound_in(other))

    def _states(self, one: Any, other: Any) -> bool:
        return self._unknown if one is None and other is None else self.of(one, other)


def bound_in(function: FunctionType) -> list[Any]:
    """Give the values that a function carries with it: its defaults and what its closure holds."""
    cells = [cell.cell_contents for cell in function.__closure__ or () if _filled(cell)]
    return [function.__defaults__, function.__kwdefaults__, *cells]


def _filled(cell: CellType) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:
        return False


def state_of(value: Any) -> Any:
    """Give what an object without equality of its own consists of; None where that cannot be told.

    That is the position of a random number generator or of an iterator, else the attributes, those in `__slots__`
    included.
    """
    if inspect.isroutine(value) or isinstance(value, type):
        return None
    if isinstance(value, Iterator) and type(value).__module__ in {"builtins", "itertools"}:
        return _position(value)
    if isinstance(value, random.Random):
        return value.getstate()
    if type(value).__module__.startswith("numpy.random"):
        if hasattr(value, "bit_generator"):
            return value.bit_generator.state
        if isinstance(value, sys.modules["numpy"].random.RandomState):
            return value.get_state(legacy=False)
    state = dict(getattr(value, "__dict__", {}))
    slots = [name for name in copyreg._slotnames(type(value)) if hasattr(value, name)]  # type: ignore[attr-defined]  # noqa: SLF001 -- what pickle itself uses
    state.update((name, getattr(value, name)) for name in slots)
    return state or None


def _position(iterator: Iterator[Any]) -> Any:
    """Give what a built-in iterator would be copied by; None for those that cannot be copied, such as generators."""
    try:
        return iterator.__reduce__()[1:]
    except TypeError:
        return None


def spread(expected: Tensor, actual: Tensor) -> str:
    """Say how many elements differ and by how much at the most; nothing of what torch cannot compare or subtract."""
    try:
        one, other = expected.detach().cpu(), actual.detach().cpu()
        apart = (one != other) & ~(one.isnan() & other.isnan())
        wide = torch.float64 if one.dtype.is_floating_point else torch.int64
        wide = torch.complex128 if one.is_complex() else wide
        count, largest = int(apart.sum()), (one[apart].to(wide) - other[apart].to(wide)).abs()
    except Exception:  # noqa: BLE001 -- a dtype or layout without arithmetic, or what a subclass of tensor raises
        return ""
    if not count:
        return "the values are equal, their bits (the sign of a zero or the payload of a NaN) are not"
    return f"{count} of {one.numel()} elements differ, by {float(largest.max()):.3g} at the most"


# ----------------------------------------------------------------------------------------------------------------- ties


def tied_groups(tensors: Mapping[str, Tensor]) -> tuple[frozenset[str], ...]:
    """Group names that hold one and the same tensor object; groups of one are left out.

    A tie is identity, not shared memory: two Parameters over one storage get two optimizer states and part at the
    first step that reassigns one of them.
    """
    groups: dict[int, list[str]] = {}
    for name, tensor in tensors.items():
        groups.setdefault(id(tensor), []).append(name)
    return tuple(frozenset(names) for names in groups.values() if len(names) > 1)


def untied(expected: Mapping[str, Tensor], actual: Mapping[str, Tensor]) -> tuple[tuple[str, ...], ...]:
    """Give the groups of names that are one tensor in `expected` and several in `actual`, each in saved order."""
    broken = []
    for group in tied_groups(expected):
        present = [name for name in expected if name in group and name in actual]
        if len({id(actual[name]) for name in present}) > 1:
            broken.append(tuple(present))
    return tuple(broken)


def storages(tensors: Mapping[str, Any]) -> dict[int, str]:
    """Give the memory that tensors occupy: address of each storage and the first name that uses it."""
    found: dict[int, str] = {}
    for name, tensor in tensors.items():
        address = storage_address(tensor)
        if address:
            found.setdefault(address, name)
    return found


def storage_address(tensor: Any) -> int:
    """Give the address of a tensor's storage; 0 where it has none of its own (meta, lazy, sparse, subclasses)."""
    if not isinstance(tensor, torch.Tensor) or is_lazy(tensor):
        return 0
    try:
        storage = tensor.untyped_storage()
        return storage.data_ptr() if storage.nbytes() else 0
    except (RuntimeError, NotImplementedError):
        return 0


# -------------------------------------------------------------------------------------------------------------- wording


#: What a report says in place of a value that reads like the one it is compared with.
OTHER_VALUES = "the same with other values"


def describe(value: Any) -> str:
    """Describe a value in a few words for a report: dtype, shape and the first elements for a tensor."""
    if isinstance(value, torch.Tensor):
        return _describe_tensor(value)
    if isinstance(value, nn.Module):
        count = sum(1 for _ in value.parameters())
        return f"{type(value).__name__} with {count} parameter{'s' * (count != 1)}"
    if isinstance(value, (*CONTAINERS, WeakSet)) and not isinstance(value, dict):
        items = items_of(value)
        shown = ", ".join(map(describe, items[:_SHOWN_SEQUENCE]))
        return f"{type(value).__name__}({len(items)}) [{shown}{', …' if len(items) > _SHOWN_SEQUENCE else ''}]"
    if isinstance(value, (dict, WeakKeyDictionary)):
        pairs = pairs_of(value)
        shown = ", ".join(f"{_described_key(key)}: {describe(item)}" for key, item in pairs[:_SHOWN])
        return f"{type(value).__name__}({len(pairs)}) {{{shown}{', …' if len(pairs) > _SHOWN else ''}}}"
    if isinstance(value, threading.local):
        return f"local {describe(vars(value))}"
    if type(value).__repr__ is _DEFAULT_TEXT:
        return f"{type(value).__name__} object"
    text = repr(value)
    return text if len(text) <= _SHOWN_TEXT else f"{text[: _SHOWN_TEXT - 1]}…"


def _described_key(key: Any) -> str:
    return describe(key) if isinstance(key, (torch.Tensor, nn.Module)) else repr(key)


def _describe_tensor(tensor: Tensor) -> str:
    dtype = str(tensor.dtype).removeprefix("torch.")
    if is_lazy(tensor):
        return f"{dtype}[uninitialized]"
    if tensor.is_nested:
        return f"{dtype}[nested, {len(tensor.unbind())} tensors]"
    shape = f"{dtype}[{', '.join(map(str, tensor.shape))}]"
    place = "" if tensor.device.type == "cpu" else f" on {tensor.device}"
    if tensor.layout != torch.strided:
        return f"{shape} {str(tensor.layout).removeprefix('torch.')}{place}"
    if not tensor.numel():
        return shape + place
    try:
        values = tensor.detach().flatten()[:_SHOWN].cpu().tolist()
    except Exception:  # noqa: BLE001 -- no data, a dtype that Python does not have, or what a subclass of tensor raises
        return shape + place
    shown = ", ".join(f"{item:.5g}" if isinstance(item, float) else str(item) for item in values)
    return f"{shape} {shown}{', …' if tensor.numel() > _SHOWN else ''}{place}"
