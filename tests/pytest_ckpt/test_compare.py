"""Comparison by bits: what is the same, what is not, and how it is said."""

from __future__ import annotations

import array
import math
import random
import struct
import threading
from collections import deque
from functools import partial
from types import CellType, FunctionType
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pytest_ckpt.compare import (
    bits_equal,
    describe,
    difference,
    differences,
    entries,
    equal,
    nonpersistent,
    spread,
    storage_address,
    storages,
    tied_groups,
    uninitialized,
    untied,
    words,
)


def clonable(dtype: torch.dtype) -> bool:
    """Whether torch can make and copy a tensor of a dtype; sub-byte and quantized dtypes it cannot, by bytes."""
    try:
        torch.zeros(16, dtype=torch.uint8).view(dtype).clone()
    except (RuntimeError, NotImplementedError):
        return False
    return True


DTYPES = sorted(
    {value for value in vars(torch).values() if isinstance(value, torch.dtype) and clonable(value)}, key=str
)
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))


def of_bytes(data: bytes, dtype: torch.dtype) -> torch.Tensor:
    raw = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    return raw.bool() if dtype == torch.bool else raw.view(dtype)


def aspect(expected, actual):
    found = difference("entry", expected, actual)
    return found and found.aspect


def test_torch_still_has_the_dtypes_that_must_be_covered():
    exotic = {torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e8m0fnu, torch.uint16, torch.uint64, torch.complex32}
    assert exotic <= set(DTYPES)
    assert len(DTYPES) > 20


# ----------------------------------------------------------------------------------------------------- dense, any dtype


@every_dtype
@settings(max_examples=15, deadline=None)
@given(data=st.binary(min_size=16, max_size=96), bit=st.integers(0, 127))
def test_a_clone_is_equal_and_one_flipped_bit_is_not(dtype, data, bit):
    data = data[: len(data) // 16 * 16]
    tensor = of_bytes(data, dtype)
    assert bits_equal(tensor, tensor.clone())
    flipped = bytearray(data)
    if dtype == torch.bool:
        flipped[bit // 8] = not flipped[bit // 8]
    else:
        flipped[bit // 8] ^= 1 << bit % 8
    assert not bits_equal(tensor, of_bytes(bytes(flipped), dtype))
    assert not bits_equal(of_bytes(bytes(flipped), dtype), tensor)


@every_dtype
def test_views_are_compared_by_what_they_show(dtype):
    base = of_bytes(bytes(range(192)), dtype).reshape(2, -1)
    other = of_bytes(bytes(192), dtype).reshape(2, -1)
    other[1:] = base[1:]
    assert bits_equal(base[1], other[1])
    assert bits_equal(base[1, 1:], other[1].clone()[1:])
    assert bits_equal(base[:, ::2], base[:, ::2].clone())
    assert bits_equal(base.t(), base.t().contiguous())
    assert bits_equal(base[1, 1], other[1, 1].clone())
    assert not bits_equal(base, other)
    assert not bits_equal(base[0, ::2], other[0, ::2])


@every_dtype
def test_empty_and_scalar_tensors(dtype):
    tensor = of_bytes(bytes(range(16)), dtype)
    assert bits_equal(tensor[:0], tensor[:0].clone())
    assert bits_equal(tensor[:0].reshape(0, 3), tensor[:0].reshape(0, 3).clone())
    assert not bits_equal(tensor[:0].reshape(0, 3), tensor[:0].reshape(3, 0))
    assert bits_equal(tensor[0], tensor[0].clone())
    assert not bits_equal(tensor[0], tensor[:1])


@every_dtype
def test_a_difference_is_found_and_said_without_an_exception(dtype):
    one, other = of_bytes(bytes(range(48)), dtype), of_bytes(bytes(reversed(range(48))), dtype)
    found = difference("weight", one, other)
    assert found is not None
    assert (found.key, found.aspect) == ("weight", "value")
    assert found.expected.startswith(str(dtype).removeprefix("torch."))
    assert difference("weight", one, one.clone()) is None


@pytest.mark.parametrize(
    ("dtype", "pattern", "code"),
    [
        (torch.float32, "<I", 0x7FC00001),
        (torch.float32, "<I", 0xFFC00000),
        (torch.float32, "<I", 0x7F800001),
        (torch.float64, "<Q", 0x7FF8000000000001),
        (torch.float16, "<H", 0x7E01),
        (torch.bfloat16, "<H", 0x7FC1),
    ],
)
def test_nan_is_the_same_only_with_the_same_payload(dtype, pattern, code):
    nan = of_bytes(struct.pack(pattern, code) * 16, dtype)
    plain = torch.full_like(nan, math.nan)
    assert nan.isnan().all()
    assert bits_equal(nan, nan.clone())
    assert not bits_equal(nan, plain)
    found = difference("weight", nan, plain)
    assert found is not None
    assert "payload of a NaN" in found.detail


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.complex64])
@pytest.mark.parametrize("count", [1, 3, 8])
def test_negative_zero_is_not_zero(dtype, count):
    zero = torch.zeros(count, dtype=dtype)
    negative = torch.complex(torch.full((count,), -0.0), torch.zeros(count)) if dtype.is_complex else -zero
    assert torch.equal(zero, negative)
    assert bits_equal(negative, negative.clone())
    assert not bits_equal(zero, negative)


def test_dtype_comes_before_value():
    narrow, wide = torch.ones(3, dtype=torch.bfloat16), torch.ones(3)
    assert torch.equal(narrow.float(), wide)
    assert not bits_equal(narrow, wide)
    found = difference("weight", narrow, wide)
    assert found is not None
    assert found.aspect == "dtype"
    assert (found.expected, found.actual) == ("bfloat16[3] 1, 1, 1", "float32[3] 1, 1, 1")


@pytest.mark.parametrize(
    ("dtype", "other"),
    [(torch.float32, torch.int32), (torch.float16, torch.bfloat16), (torch.float64, torch.complex64)],
)
def test_equal_bits_of_another_dtype_are_another_value(dtype, other):
    tensor = torch.arange(4.0).to(dtype)
    same_bits = tensor.view(other)
    assert not bits_equal(tensor, same_bits)
    assert aspect(tensor, same_bits) == "dtype"


def test_shape_comes_before_value_even_where_values_broadcast():
    found = difference("bias", torch.ones(3), torch.ones(1))
    assert found is not None
    assert found.aspect == "shape"
    assert not bits_equal(torch.ones(3), torch.ones(1))


def test_lazily_conjugated_and_negated_tensors_are_their_values():
    base = torch.randn(8, dtype=torch.complex64)
    assert base.conj().is_conj()
    assert bits_equal(base.conj(), base.conj().resolve_conj())
    assert not bits_equal(base.conj(), base)
    imaginary = base.conj().imag
    assert imaginary.is_neg()
    assert bits_equal(imaginary, imaginary.resolve_neg())
    assert not bits_equal(imaginary, base.imag)


def test_unaligned_and_aligned_memory_of_equal_bits():
    base = torch.arange(9, dtype=torch.int32)
    shifted = base[1:]  # starts four bytes into its storage, so it cannot be read in eight-byte words
    assert bits_equal(shifted, shifted.clone())
    assert bits_equal(shifted.clone(), shifted)
    assert not bits_equal(shifted, shifted.clone() + 1)


def test_true_is_any_byte_but_zero():
    assert bits_equal(torch.tensor([2, 0], dtype=torch.uint8).view(torch.bool), torch.tensor([True, False]))


@pytest.mark.parametrize(
    ("tensor", "dtype"),
    [
        (torch.ones(2, 3), torch.int64),
        (torch.ones(3), torch.int32),
        (torch.ones(0), torch.int32),
        (torch.ones(2, 4).t(), torch.int32),
        (torch.ones(6)[2:], torch.int64),
        (torch.ones(5)[1:], torch.int32),
        (torch.ones(8, dtype=torch.float16), torch.int64),
        (torch.ones(3, dtype=torch.float16), torch.int16),
        (torch.ones(3, dtype=torch.complex64), torch.int64),
    ],
    ids=["even", "odd", "empty", "turned", "within", "unaligned", "half", "odd half", "complex"],
)
def test_bits_are_read_in_words_of_eight_bytes_where_memory_allows_it(tensor, dtype):
    assert words(tensor).dtype == dtype


def test_a_parameter_and_a_tensor_of_equal_bits():
    weight = nn.Parameter(torch.randn(3, 3))
    assert bits_equal(weight, weight.detach().clone())
    assert difference("weight", weight, weight.detach().clone()) is None


# ---------------------------------------------------------------------------------------------------------- other kinds


def sparse(layout):
    dense: Any = torch.tensor([[0, 1, 0, 2], [3, 0, 0, 0], [0, 0, 0, 0], [0, 0, 4, 0]], dtype=torch.float32)
    return dense.to_sparse(layout=layout, blocksize=BLOCKS.get(layout))


BLOCKS = {torch.sparse_bsr: (2, 2), torch.sparse_bsc: (2, 2)}
LAYOUTS = [torch.sparse_coo, torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc]


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.filterwarnings("ignore:Sparse")
def test_sparse_tensors(layout):
    one, other = sparse(layout), sparse(layout)
    assert bits_equal(one, other)
    other.values().flatten()[1] += 1
    assert not bits_equal(one, other)
    assert not bits_equal(one, one.to_dense())
    found = difference("buffer", one, one.to_dense())
    assert found is not None
    assert found.aspect == "layout"
    assert aspect(one, other) == "value"


def test_sparse_tensors_with_another_pattern_of_zeros():
    stored = torch.sparse_coo_tensor(torch.tensor([[0, 1]]), torch.tensor([1.0, 0.0]), (3,))
    implied = torch.sparse_coo_tensor(torch.tensor([[0]]), torch.tensor([1.0]), (3,))
    assert torch.equal(stored.to_dense(), implied.to_dense())
    assert not bits_equal(stored, implied)


@pytest.mark.parametrize("layout", LAYOUTS[1:], ids=str)
@pytest.mark.filterwarnings("ignore:Sparse")
def test_compressed_tensors_that_store_a_zero(layout):
    one, other = sparse(layout), sparse(layout)
    one.values().zero_()
    assert torch.equal(one.to_dense(), torch.zeros(4, 4))
    assert not bits_equal(one, torch.zeros(4, 4).to_sparse(layout=layout, blocksize=BLOCKS.get(layout)))
    assert not bits_equal(one, other)


def test_uncoalesced_sparse_tensors_are_compared_by_their_sum_and_left_uncoalesced():
    twice = torch.sparse_coo_tensor(torch.tensor([[1, 1]]), torch.tensor([1.0, 2.0]), (3,))
    once = torch.sparse_coo_tensor(torch.tensor([[1]]), torch.tensor([3.0]), (3,))
    assert bits_equal(twice, once)
    assert not twice.is_coalesced()


def test_quantized_per_tensor():
    values = torch.tensor([0.5, 1.0, -1.0])
    one = torch.quantize_per_tensor(values, 0.1, 10, torch.quint8)
    assert bits_equal(one, torch.quantize_per_tensor(values, 0.1, 10, torch.quint8))
    assert not bits_equal(one, torch.quantize_per_tensor(values, 0.2, 10, torch.quint8))
    assert not bits_equal(one, torch.quantize_per_tensor(values, 0.1, 11, torch.quint8))
    assert not bits_equal(one, torch.quantize_per_tensor(values + 1, 0.1, 10, torch.quint8))
    assert aspect(one, torch.quantize_per_tensor(values, 0.2, 10, torch.quint8)) == "value"


def test_quantized_integers_mean_nothing_without_their_scale():
    integers = torch.tensor([1, 2], dtype=torch.int8)
    one = torch._make_per_tensor_quantized_tensor(integers, 0.1, 0)
    assert bits_equal(one, torch._make_per_tensor_quantized_tensor(integers, 0.1, 0))
    assert not bits_equal(one, torch._make_per_tensor_quantized_tensor(integers, 0.2, 0))
    assert not bits_equal(one, torch._make_per_tensor_quantized_tensor(integers, 0.1, 1))


def test_quantized_integers_mean_nothing_without_the_scale_of_their_channel():
    integers, points = torch.tensor([[1, 2], [3, 4]], dtype=torch.int8), torch.tensor([0, 1])
    scales = torch.tensor([0.1, 0.2], dtype=torch.float64)
    make = torch._make_per_channel_quantized_tensor
    one = make(integers, scales, points, 0)
    assert bits_equal(one, make(integers, scales, points, 0))
    assert not bits_equal(one, make(integers, scales * 2, points, 0))
    assert not bits_equal(one, make(integers, scales, points + 1, 0))
    assert not bits_equal(one, make(integers, scales, points, 1))


def test_quantized_per_channel():
    values, points = torch.tensor([[0.5, 1.0], [1.0, -1.0]]), torch.tensor([0, 0])
    make = torch.quantize_per_channel
    one = make(values, torch.tensor([0.1, 0.2]), points, 0, torch.qint8)
    assert bits_equal(one, make(values, torch.tensor([0.1, 0.2]), points, 0, torch.qint8))
    assert not bits_equal(one, make(values, torch.tensor([0.1, 0.3]), points, 0, torch.qint8))
    assert not bits_equal(one, make(values, torch.tensor([0.1, 0.2]), points + 1, 0, torch.qint8))
    assert not bits_equal(one, make(values, torch.tensor([0.1, 0.2]), points, 1, torch.qint8))
    assert not bits_equal(one, torch.quantize_per_tensor(values, 0.1, 0, torch.qint8))


@pytest.mark.parametrize("layout", [torch.strided, torch.jagged], ids=str)
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_nested_tensors(layout):
    parts = [torch.ones(2, 3), torch.zeros(1, 3)]
    one = torch.nested.nested_tensor(parts, layout=layout)
    assert bits_equal(one, torch.nested.nested_tensor(parts, layout=layout))
    assert difference("entry", one, torch.nested.nested_tensor(parts, layout=layout)) is None
    parts[1][0, 0] = -0.0
    other = torch.nested.nested_tensor(parts, layout=layout)
    assert not bits_equal(one, other)
    assert not bits_equal(one, torch.nested.nested_tensor(parts[:1], layout=layout))
    found = difference("entry", one, other)
    assert found is not None
    assert (found.aspect, found.expected, found.detail) == ("value", "float32[nested, 2 tensors]", "")


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_a_nested_tensor_and_a_plain_one():
    nested, plain = torch.nested.nested_tensor([torch.ones(3)]), torch.ones(1, 3)
    assert not bits_equal(nested, plain)
    assert not bits_equal(plain, nested)
    assert aspect(nested, plain) == aspect(plain, nested) == "value"


def test_a_layout_without_parts_is_compared_as_a_dense_one():
    one = torch.tensor([1.0, 2.0]).to_mkldnn()
    assert bits_equal(one, torch.tensor([1.0, 2.0]).to_mkldnn())
    assert not bits_equal(one, torch.tensor([1.0, 3.0]).to_mkldnn())


class Scaled(torch.Tensor):
    """A tensor made of two, in the way of quantization libraries: it can be flattened, and knows no other operation."""

    @staticmethod
    def __new__(cls, values, scale):
        return torch.Tensor._make_wrapper_subclass(cls, values.shape, dtype=torch.float32)

    def __init__(self, values, scale):
        self.numbers, self.scale = values, scale

    def __tensor_flatten__(self):
        return ["numbers", "scale"], None

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):  # type: ignore[override]
        if func is torch.ops.aten.detach.default:
            return cls(args[0].numbers, args[0].scale)
        raise TypeError(func)


def test_tensor_subclasses_are_compared_by_what_they_are_made_of():
    values, scale = torch.tensor([1, 2], dtype=torch.int8), torch.tensor(0.5)
    assert bits_equal(Scaled(values, scale), Scaled(values.clone(), scale.clone()))
    assert not bits_equal(Scaled(values, scale), Scaled(values, scale * 2))
    assert not bits_equal(Scaled(values, scale), Scaled(values + 1, scale))
    found = difference("weight", Scaled(values, scale), Scaled(values, scale * 2))
    assert found is not None
    assert (found.aspect, found.expected, found.detail) == ("value", "float32[2]", "")


class Placed(Scaled):
    """Made of something else besides, as a DTensor is of its mesh."""

    mesh = object()

    def __tensor_flatten__(self):
        return ["numbers", "mesh"], None


def test_what_a_subclass_holds_besides_tensors_is_left_out():
    values, scale = torch.tensor([1, 2], dtype=torch.int8), torch.tensor(0.5)
    assert bits_equal(Placed(values, scale), Placed(values.clone(), scale))
    assert not bits_equal(Placed(values, scale), Placed(values + 1, scale))


def test_plain_subclasses_are_compared_as_tensors():
    class Named(torch.Tensor):
        pass

    tensor = torch.randn(4)
    assert bits_equal(tensor.as_subclass(Named), tensor.clone().as_subclass(Named))
    assert not bits_equal(tensor.as_subclass(Named), (tensor + 1).as_subclass(Named))


def test_meta_tensors_have_no_bits_to_compare():
    meta = torch.empty(3, device="meta")
    assert difference("weight", meta, torch.empty(3, device="meta")) is None
    found = difference("weight", torch.ones(3), meta)
    assert found is not None
    assert found.aspect == "device"
    assert found.actual == "float32[3] on meta"


def test_lazy_tensors_have_no_shape_to_compare():
    one, other = nn.LazyLinear(3).weight, nn.LazyLinear(3).weight
    assert difference("weight", one, other) is None
    found = difference("weight", nn.Linear(2, 3).weight, other)
    assert found is not None
    assert found.aspect == "shape"
    assert found.actual == "float32[uninitialized]"


# ----------------------------------------------------------------------------------------------------------- two states


def test_differences_come_in_the_order_of_the_saved_state_then_what_is_new():
    saved = {"a": torch.ones(1), "gone": torch.ones(1), "b": torch.ones(1), "same": torch.ones(1)}
    loaded = {"new": torch.ones(1), "same": torch.ones(1), "b": torch.ones(1).double(), "a": torch.zeros(1)}
    found = list(differences(saved, loaded))
    assert [(one.key, one.aspect) for one in found] == [
        ("a", "value"),
        ("gone", "missing"),
        ("b", "dtype"),
        ("new", "unexpected"),
    ]
    assert found[1].actual == found[3].expected == "absent"


def test_entries_that_are_no_tensors():
    assert difference("extra", {"a": 1}, {"a": 1}) is None
    assert aspect({"a": 1}, {"a": 2}) == "value"
    assert aspect(1, 1.0) == "type"
    assert aspect(torch.ones(1), 1.0) == "type"
    assert aspect(None, torch.ones(1)) == "type"


@pytest.mark.parametrize("dtype", [one for one in DTYPES if one != torch.bool], ids=str)
def test_spread_counts_and_measures_in_every_dtype_that_has_arithmetic(dtype):
    one = torch.tensor([1.0, 2.0])
    try:
        pair = one.to(dtype), one.mul(torch.tensor([1.0, 2.0])).to(dtype)
    except NotImplementedError:
        pair = of_bytes(bytes(16), dtype), of_bytes(bytes(range(16)), dtype)
        assert spread(*pair) == ""
    else:
        assert spread(*pair) == "1 of 2 elements differ, by 2 at the most"


def test_spread_counts_and_measures():
    one, other = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 2.5, 2.0])
    assert spread(one, other) == "2 of 3 elements differ, by 1 at the most"
    nan = torch.tensor([math.nan, 1.0])
    assert spread(nan, torch.tensor([math.nan, 2.0])) == "1 of 2 elements differ, by 1 at the most"
    assert spread(nan, torch.tensor([2.0, 1.0])) == "1 of 2 elements differ, by nan at the most"
    assert spread(torch.tensor([1.0 + 1j]), torch.tensor([1.0 + 3j])) == "1 of 1 elements differ, by 2 at the most"
    assert spread(torch.tensor([True, False]), torch.tensor([True, True])) == "1 of 2 elements differ, by 1 at the most"


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint64])
def test_spread_sees_that_large_integers_differ(dtype):
    one, other = torch.tensor([2**53], dtype=dtype), torch.tensor([2**53 + 1], dtype=dtype)
    assert spread(one, other) == "1 of 1 elements differ, by 1 at the most"


class Everything(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.register_parameter("absent", None)
        self.register_buffer("kept", torch.ones(1))
        self.register_buffer("none", None)
        self.register_buffer("left_out", torch.ones(1), persistent=False)
        self.register_buffer("none_left_out", None, persistent=False)
        self.plain = torch.ones(1)
        self.inner = nn.Linear(1, 1)
        self.again = self.inner


def test_entries_are_the_live_tensors_that_a_state_dict_carries():
    module = Everything()
    live = entries(module)
    assert list(live) == list(module.state_dict())
    assert live["weight"] is module.weight
    assert live["again.weight"] is live["inner.weight"]
    assert set(nonpersistent(module)) == {"left_out"}
    assert nonpersistent(module)["left_out"] is module.left_out


def test_buffers_that_are_left_out_are_given_under_each_name():
    module = nn.Module()
    module.first = module.second = Everything()
    assert set(nonpersistent(module)) == {"first.left_out", "second.left_out"}


@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_uninitialized_until_the_first_forward():
    module = nn.Sequential(nn.LazyLinear(2), nn.LazyBatchNorm1d())
    assert uninitialized(module)
    module(torch.ones(2, 3))
    assert not uninitialized(module)


# ------------------------------------------------------------------------------------------------ values of other types


class Opaque:
    def __init__(self, value):
        self.value = value


class Raises:
    def __eq__(self, other):
        raise RuntimeError("no")

    __hash__ = None  # type: ignore[assignment]


SAME = [
    (1.5, 1.5),
    (math.nan, math.nan),
    ("text", "text"),
    ([1, [torch.ones(2)]], [1, [torch.ones(2)]]),
    ({"a": torch.ones(2)}, {"a": torch.ones(2)}),
    (deque([1, 2]), deque([1, 2])),
    (np.ones(3), np.ones(3)),
    (np.poly1d([1.0, 2.0]), np.poly1d([1.0, 2.0])),
    (array.array("d", [1.0]), array.array("d", [1.0])),
    (np.array([math.nan]), np.array([math.nan])),
    (torch.Generator().manual_seed(1), torch.Generator().manual_seed(1)),
    (np.random.default_rng(1), np.random.default_rng(1)),
    (Opaque(torch.ones(2)), Opaque(torch.ones(2))),
    (Raises(), Raises()),
    (torch.Size([2, 3]), torch.Size([2, 3])),
    (iter([1, 2]), iter([1, 2])),
]
OTHER = [
    (1, 1.0),
    (1, True),
    (0.0, -0.0),
    ("text", "Text"),
    ([1, 2], (1, 2)),
    ([1, 2], [2, 1]),
    ([1, 2], [1, 2, 3]),
    ({"a": 1, "b": 2}, {"a": 1}),
    ({"a": torch.ones(2)}, {"a": torch.zeros(2)}),
    ({1, 2}, {1, 3}),
    (deque([1, 2]), deque([2, 1])),
    (np.ones(3), np.zeros(3)),
    (np.poly1d([1.0, 2.0]), np.poly1d([1.0, 3.0])),
    (array.array("d", [1.0]), array.array("d", [2.0])),
    (np.ones(3, np.float32), np.ones(3, np.float64)),
    (torch.Generator().manual_seed(1), torch.Generator().manual_seed(2)),
    (np.random.default_rng(1), np.random.default_rng(2)),
    (Opaque(torch.ones(2)), Opaque(torch.zeros(2))),
    (torch.ones(2), torch.ones(2, dtype=torch.bfloat16)),
    (None, 0),
    (iter([1, 2]), iter([1, 3])),
    (iter(range(2, 4)), iter(range(3, 4))),
]


@pytest.mark.parametrize(("one", "other"), SAME, ids=lambda value: type(value).__name__)
def test_equal_values_of_other_types(one, other):
    assert equal(one, other)
    assert equal(other, one)


@pytest.mark.parametrize(("one", "other"), OTHER, ids=lambda value: type(value).__name__)
def test_unequal_values_of_other_types(one, other):
    assert not equal(one, other)
    assert not equal(other, one)


def scaled(factor, *, shift=0.0):
    return lambda x, more=factor, *, less=shift: x * factor + more - less


class Scales:
    def __init__(self, factor):
        self.factor = factor

    def __call__(self, x):
        return x * self.factor

    scale = __call__


def times(factor):
    return lambda x: x * factor


@pytest.mark.parametrize("unknown", [True, False])
@pytest.mark.parametrize(
    "make",
    [
        times,
        scaled,
        lambda factor: scaled(1.0, shift=factor),
        lambda factor: partial(scaled, factor),
        lambda factor: partial(scaled, 1.0, shift=factor),
        lambda factor: Scales(factor).scale,
    ],
    ids=["closure", "all", "default", "arguments", "keywords", "method"],
)
def test_a_function_is_what_it_carries_with_it(make, unknown):
    assert equal(make(torch.ones(2)), make(torch.ones(2)), unknown=unknown)
    assert not equal(make(torch.ones(2)), make(torch.zeros(2)), unknown=unknown)


def unfinished():
    finished = scaled(1.0)
    return FunctionType(finished.__code__, {}, closure=tuple(CellType() for _ in finished.__closure__ or ()))


@pytest.mark.parametrize(
    ("one", "other"),
    [(lambda: 1, lambda: 1), (int, str), (str.join, str.split), (object(), object()), (partial(int), partial(str))],
    ids=["functions", "types", "descriptors", "objects", "partials"],
)
def test_what_shows_nothing_of_itself_cannot_be_compared(one, other):
    assert equal(one, other)
    assert not equal(one, other, unknown=False)


def test_methods_of_two_modules_may_be_the_same_unless_it_must_be_known():
    one, other = nn.Linear(1, 1), nn.Linear(1, 1)
    assert equal(one.forward, other.forward)
    assert not equal(one.forward, other.forward, unknown=False)


def test_what_is_not_known_of_a_method_does_not_hold_for_its_module():
    one, other = nn.Linear(1, 1), nn.Linear(1, 1)
    assert not equal([one.forward, one], [other.forward, other])


def test_modules_are_what_they_hold_whatever_they_say_of_themselves():
    class Alike(nn.Linear):
        def __eq__(self, other):
            return True

        __hash__ = nn.Linear.__hash__

    assert not equal(Alike(1, 1), Alike(1, 1))


def test_a_closure_whose_variable_is_not_set_yet_holds_nothing():
    assert equal(unfinished(), unfinished(), unknown=False)


class Slotted:
    __slots__ = ("unset", "value")

    def __init__(self, value):
        self.value = value


def test_objects_with_slots_are_what_the_slots_hold():
    assert equal(Slotted(1), Slotted(1), unknown=False)
    assert not equal(Slotted(1), Slotted(2))


def test_an_object_that_holds_nothing_is_not_one_that_holds_something():
    one, other = Opaque(1), Opaque(1)
    del one.value
    assert not equal(one, other)
    assert not equal(other, one)


def test_positions_of_generators_are_compared():
    assert equal(random.Random(1), random.Random(1), unknown=False)
    assert not equal(random.Random(1), random.Random(2))


def test_positions_of_iterators_are_compared():
    one, other = iter([1, 2]), iter([1, 2])
    assert equal(one, other, unknown=False)
    next(one)
    assert not equal(one, other)
    assert not equal((x for x in "a"), (x for x in "a"), unknown=False)


def test_counterparts_are_equal_whatever_they_hold():
    one, other = nn.Linear(1, 1), nn.Linear(1, 1)
    assert not equal([one], [other])
    assert equal([one], [other], counterparts={id(one): id(other)})
    assert not equal([one], [nn.Linear(1, 1)], counterparts={id(one): id(other)})


def test_values_that_contain_themselves():
    one: list[Any] = [1]
    other: list[Any] = [1]
    one.append(one)
    other.append(other)
    assert equal(one, other)
    other.append(2)
    assert not equal(one, other)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=50, deadline=None)
@given(plain, plain)
def test_equality_is_that_of_the_written_form(one, other):
    assert equal(one, one)
    assert equal(one, other) == (repr(one) == repr(other))


# --------------------------------------------------------------------------------------------------------- ties, memory


def test_a_tie_is_one_object_and_not_only_shared_memory():
    weight = nn.Parameter(torch.ones(2))
    tied = {"a": weight, "b": torch.ones(2), "c": weight}
    assert tied_groups(tied) == (frozenset({"a", "c"}),)
    shared = {"a": weight, "c": nn.Parameter(weight.data)}
    assert storage_address(shared["a"]) == storage_address(shared["c"])
    assert tied_groups(shared) == ()
    assert untied(tied, shared) == (("a", "c"),)
    assert untied(tied, tied) == ()
    assert untied(shared, tied) == ()


def test_ties_among_absent_names_are_not_broken():
    weight = nn.Parameter(torch.ones(2))
    assert untied({"a": weight, "b": weight}, {"a": weight}) == ()
    assert untied({"a": weight, "b": weight, "c": weight}, {"a": weight, "c": torch.ones(2)}) == (("a", "c"),)


def test_storages_are_those_that_hold_memory_of_their_own():
    base = torch.ones(4)
    found = storages(
        {
            "base": base,
            "view": base[1:],
            "other": torch.ones(1),
            "meta": torch.ones(2, device="meta"),
            "sparse": torch.eye(2).to_sparse(),
            "empty": torch.ones(0),
            "text": "no tensor",
        }
    )
    assert list(found.values()) == ["base", "other"]
    assert storage_address(base[1:]) == base.data_ptr()


# -------------------------------------------------------------------------------------------------------------- wording


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (torch.tensor([1.0, 2.5, -3.0, 4.0]), "float32[4] 1, 2.5, -3, …"),
        (torch.tensor([1.0, 2.5, -3.0]), "float32[3] 1, 2.5, -3"),
        (torch.tensor(7), "int64[] 7"),
        (torch.zeros(0, 3), "float32[0, 3]"),
        (torch.tensor([1.0]).to(torch.float8_e4m3fn), "float8_e4m3fn[1] 1"),
        (torch.eye(2).to_sparse(), "float32[2, 2] sparse_coo"),
        (torch.tensor([1.0, 2.0], dtype=torch.bfloat16), "bfloat16[2] 1, 2"),
        (torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8), "qint8[2]"),
        (torch.ones(2, device="meta"), "float32[2] on meta"),
        (nn.Linear(1, 1), "Linear with 2 parameters"),
        (nn.Identity(), "Identity with 0 parameters"),
        ([1, 2, 3, 4], "list(4) [1, 2, 3, 4]"),
        ([1, 2, 3, 4, 5], "list(5) [1, 2, 3, 4, …]"),
        (dict.fromkeys("abc", 1), "dict(3) {'a': 1, 'b': 1, 'c': 1}"),
        (dict.fromkeys("abcd", 1), "dict(4) {'a': 1, 'b': 1, 'c': 1, …}"),
        ({"a": torch.ones(1)}, "dict(1) {'a': float32[1] 1}"),
        ({nn.Identity(): 1, torch.ones(1): 2}, "dict(2) {Identity with 0 parameters: 1, float32[1] 1: 2}"),
        (Opaque(1), "Opaque object"),
        ("x" * 58, "'" + "x" * 58 + "'"),
        ("x" * 59, "'" + "x" * 58 + "…"),
        ("x" * 100, "'" + "x" * 58 + "…"),
    ],
)
def test_describe(value, text):
    assert describe(value) == text


def test_a_thread_local_is_described_by_what_this_thread_holds():
    local = threading.local()
    local.gain = 3.0
    assert describe(local) == "local dict(1) {'gain': 3.0}"


def test_a_weak_mapping_is_described_by_what_it_holds():
    layer = nn.Identity()
    assert describe(WeakKeyDictionary({layer: 0.5})) == "WeakKeyDictionary(1) {Identity with 0 parameters: 0.5}"
    assert describe(WeakSet([layer])) == "WeakSet(1) [Identity with 0 parameters]"


def test_dicts_whose_keys_are_tensors():
    def states(first=1.0, second=2.0, step=3):
        return {torch.full((2,), first): {"step": 1}, torch.full((2,), second): {"step": step}}

    assert equal(states(), states())
    assert not equal(states(), states(second=4.0))
    assert not equal(states(), states(step=5))
    assert not equal(states(), dict(list(states().items())[:1]))
    assert not equal(states(), {"a": {"step": 1}, "b": {"step": 3}})
