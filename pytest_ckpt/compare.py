"""Two states of a module, and what differs between them: bits, dtype, shape, layout, ties, flags.

Comparison is by bits. NaN equals a NaN of the same bits, -0.0 is not 0.0, and a bfloat16 entry never equals a float32
one of the same value, which `torch.equal` calls equal.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn
from torch.nn.parameter import is_lazy

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torch import Tensor

Aspect = Literal["missing", "unexpected", "dtype", "shape", "layout", "device", "type", "value"]

_INTEGER_OF_SIZE = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_WORD = 8
_SHOWN = 3
_SHOWN_SEQUENCE = 4
_SHOWN_TEXT = 60


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
    if one is other:
        return True
    if one.dtype != other.dtype or one.shape != other.shape or one.layout != other.layout:
        return False
    if one.is_nested:
        return _all_bits_equal(one.unbind(), other.unbind())
    if one.layout != torch.strided:
        return _all_bits_equal(_parts(one), _parts(other))
    if one.is_quantized:
        return _quantizer(one) == _quantizer(other) and bits_equal(one.int_repr(), other.int_repr())
    inner = _inner(one), _inner(other)
    if inner != ((), ()):
        return _all_bits_equal(*inner)
    one, other = words(one.detach()), words(other.detach())
    if one.shape != other.shape:  # only one of the two could be read as eight-byte words
        one, other = one.reshape(-1).view(torch.uint8), other.reshape(-1).view(torch.uint8)
    return torch.equal(one, other if other.device == one.device else other.to(one.device))


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
    return tuple(getattr(tensor, name) for name in names)


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
    return tensor.view(_INTEGER_OF_SIZE[size])


def equal(one: Any, other: Any) -> bool:
    """Whether two values of any kind are the same, tensors within them by bits.

    Containers are compared item by item, in order for mappings too. Objects that define no equality are equal if they
    are of one type and their attributes are equal. What cannot be compared counts as equal: it accuses no one.
    """
    return _equal(one, other, frozenset())


def _equal(one: Any, other: Any, above: frozenset[tuple[int, int]]) -> bool:
    if one is other:
        return True
    if (id(one), id(other)) in above:
        return True
    above |= {(id(one), id(other))}
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return _tensor_aspect(one, other) is None
    return type(one) is type(other) and _equal_of_one_type(one, other, above)


def _equal_of_one_type(one: Any, other: Any, above: frozenset[tuple[int, int]]) -> bool:
    if isinstance(one, float):
        return bool(one.hex() == other.hex())
    if isinstance(one, torch.Generator):
        return bits_equal(one.get_state(), other.get_state())
    if isinstance(one, dict):
        return list(one) == list(other) and all(_equal(one[key], other[key], above) for key in one)
    if isinstance(one, (list, tuple)) or type(one).__name__ == "deque":
        return len(one) == len(other) and all(_equal(*pair, above) for pair in zip(one, other, strict=True))
    if isinstance(one, nn.Module):
        return _equal(vars(one), vars(other), above)
    if type(one).__module__ == "numpy" and hasattr(one, "tobytes"):
        return bool(one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes())
    if _inherited(one, "__eq__"):
        state = _attributes(one), _attributes(other)
        return state[0] is None or state[1] is None or _equal(*state, above)
    try:
        return bool(one == other)
    except Exception:  # noqa: BLE001 -- a foreign __eq__ may raise anything
        return True


def _inherited(value: Any, name: str) -> bool:
    """Whether a special method of a value is the one that every object has."""
    method: object = getattr(type(value), name)
    return method is getattr(object, name)


def _attributes(value: Any) -> Any:
    get_state = getattr(value, "getstate", None) or getattr(getattr(value, "bit_generator", None), "state", None)
    if isinstance(get_state, dict):
        return get_state
    if callable(get_state):
        return get_state()
    return None if inspect.isroutine(value) else getattr(value, "__dict__", None)


def spread(expected: Tensor, actual: Tensor) -> str:
    """Say how many elements differ and by how much at the most."""
    if expected.layout != torch.strided or expected.is_quantized or expected.is_nested or _inner(expected):
        return ""
    one, other = expected.detach().cpu(), actual.detach().cpu()
    if one.dtype.itemsize == 1 and one.dtype.is_floating_point:
        one, other = one.float(), other.float()  # float8 kinds know no comparison
    apart = (one != other) & ~(one.isnan() & other.isnan())
    wide = torch.complex128 if one.is_complex() else torch.float64
    one, other = one.to(wide), other.to(wide)
    count = int(apart.sum())
    if not count:
        return "the values are equal, their bits (the sign of a zero or the payload of a NaN) are not"
    largest = float((one - other)[apart].abs().max())
    return f"{count} of {one.numel()} elements differ, by {largest:.3g} at the most"


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


def describe(value: Any) -> str:
    """Describe a value in a few words for a report: dtype, shape and the first elements for a tensor."""
    if isinstance(value, torch.Tensor):
        return _describe_tensor(value)
    if isinstance(value, nn.Module):
        count = sum(1 for _ in value.parameters())
        return f"{type(value).__name__} with {count} parameter{'s' * (count != 1)}"
    if isinstance(value, (list, tuple, set, frozenset)) or type(value).__name__ == "deque":
        shown = ", ".join(map(describe, list(value)[:_SHOWN_SEQUENCE]))
        return f"{type(value).__name__}({len(value)}) [{shown}{', …' if len(value) > _SHOWN_SEQUENCE else ''}]"
    if isinstance(value, dict):
        shown = ", ".join(f"{key!r}: {describe(item)}" for key, item in list(value.items())[:_SHOWN])
        return f"{type(value).__name__}({len(value)}) {{{shown}{', …' if len(value) > _SHOWN else ''}}}"
    if _inherited(value, "__repr__"):
        return f"{type(value).__name__} object"
    text = repr(value)
    return text if len(text) <= _SHOWN_TEXT else f"{text[: _SHOWN_TEXT - 1]}…"


def _describe_tensor(tensor: Tensor) -> str:
    dtype = str(tensor.dtype).removeprefix("torch.")
    if is_lazy(tensor):
        return f"{dtype}[uninitialized]"
    shape = f"{dtype}[{', '.join(map(str, tensor.shape))}]"
    place = "" if tensor.device.type == "cpu" else f" on {tensor.device}"
    if tensor.layout != torch.strided:
        return f"{shape} {str(tensor.layout).removeprefix('torch.')}{place}"
    if tensor.device.type in {"meta", "lazy"} or tensor.is_quantized or tensor.is_nested or not tensor.numel():
        return shape + place
    try:
        first = tensor.detach().flatten()[:_SHOWN].cpu()
        values = (first.to(torch.float64) if first.dtype.is_floating_point else first).tolist()
    except (RuntimeError, NotImplementedError):
        return shape + place
    shown = ", ".join(f"{item:.5g}" if isinstance(item, float) else str(item) for item in values)
    return f"{shape} {shown}{', …' if tensor.numel() > _SHOWN else ''}{place}"
