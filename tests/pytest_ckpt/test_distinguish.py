"""Entries are moved a little, so that one that was not restored cannot look restored."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pytest_ckpt.compare import bits_equal
from pytest_ckpt.distinguish import distinguish

FLOATS = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
BYTE_FLOATS = [torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz]
COMPLEX = [torch.complex32, torch.complex64, torch.complex128]
INTEGERS = [
    *(torch.int8, torch.int16, torch.int32, torch.int64),
    *(torch.uint8, torch.uint16, torch.uint32, torch.uint64),
]
DTYPES = [*FLOATS, *BYTE_FLOATS, *COMPLEX, *INTEGERS, torch.bool]
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))


def moved(tensor: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """Give a moved copy, and make sure that what distinguish says of it is true."""
    copied = tensor.detach().clone()
    names = distinguish({"entry": copied}, seed=seed)
    assert names == (() if bits_equal(copied, tensor.detach()) else ("entry",))
    return copied


@every_dtype
@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 3)], ids=str)
def test_constants_of_every_dtype_are_moved(dtype, shape):
    if dtype == torch.bool and shape not in {(), (1,)}:
        pytest.skip("a mask of one value is no flag: flipping parts of it would make another model")
    for value in (0, 1):
        before = torch.full(shape, value).to(dtype)
        assert not bits_equal(moved(before), before), value


@pytest.mark.parametrize("dtype", [*FLOATS, *COMPLEX])
def test_every_element_is_moved(dtype):
    before = torch.tensor([0.0, 1.0, -1.0, 100.0, 1e-3] * 4).to(dtype)
    after = moved(before)
    assert bool((before != after).all())


@pytest.mark.parametrize("dtype", FLOATS)
def test_floats_keep_their_sign_and_stay_near(dtype):
    before = torch.tensor([0.0, 1.0, -1.0, 100.0, -0.25, 1e-3]).to(dtype)
    after = moved(before).double()
    before = before.double()
    assert bool((after[before > 0] > 0).all())
    assert bool((after[before < 0] < 0).all())
    assert bool(((after - before).abs() <= 0.1 * before.abs() + 0.06).all())
    assert bool((after.isfinite()).all())


@pytest.mark.parametrize("dtype", [*FLOATS, torch.complex64, torch.complex128])
def test_special_values_stay_to_the_last_bit(dtype):
    special = [math.nan, math.inf, -math.inf, -0.0]
    before = torch.tensor([*special, 1.0] if not dtype.is_complex else [*special[:3], 1.0]).to(dtype)
    after = moved(before)
    assert bits_equal(after[: before.numel() - 1], before[:-1])
    assert not bits_equal(after[-1], before[-1])


@pytest.mark.parametrize("dtype", [*FLOATS, *BYTE_FLOATS])
def test_the_largest_values_do_not_become_infinite(dtype):
    before = torch.full((4,), torch.finfo(dtype).max, dtype=dtype)
    assert bool(moved(before).double().isfinite().all())


def test_entries_of_special_values_alone_are_said_not_to_be_moved():
    assert bits_equal(moved(torch.full((3,), math.nan)), torch.full((3,), math.nan))
    assert distinguish({"nan": torch.full((3,), math.nan), "one": torch.ones(3)}, seed=0) == ("one",)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_index_tables_stay_permutations_of_themselves(dtype):
    before = torch.tensor([0, 1, 2, 3, 7]).to(dtype)
    after = moved(before)
    assert sorted(after.tolist()) == before.tolist()
    assert not bits_equal(after, before)


def test_a_table_with_one_row_or_with_equal_rows_moves_too():
    for before in (torch.tensor([[0, 1, 2]]), torch.tensor([[0, 1], [0, 1]])):
        after = moved(before)
        assert not bits_equal(after, before)
        assert sorted(after.flatten().tolist()) == sorted(before.flatten().tolist())


def test_counters_move_up():
    assert moved(torch.tensor(5)).item() == 6
    assert moved(torch.zeros(3, dtype=torch.int64)).tolist() == [1, 1, 1]


def test_masks_are_rolled():
    assert moved(torch.tensor([True, False, False])).sum() == 1


@pytest.mark.parametrize(
    "view",
    [
        lambda base: base.t(),
        lambda base: base[:, 1:],
        lambda base: base[:, ::2],
        lambda base: base.contiguous(memory_format=torch.channels_last) if base.dim() == 4 else base.t()[1:],
    ],
)
def test_views_are_moved_in_place(view):
    base = torch.ones(4, 6)
    tensor = view(base)
    assert distinguish({"view": tensor}, seed=0) == ("view",)
    assert bool((tensor != 1).all())
    assert bool((base != 1).sum() == tensor.numel())


@pytest.mark.filterwarnings("ignore:Sparse")
@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr, torch.sparse_csc], ids=str)
def test_sparse_tensors_keep_their_pattern(layout):
    tensor = torch.eye(3).to_sparse(layout=layout)
    assert distinguish({"sparse": tensor}, seed=0) == ("sparse",)
    assert torch.equal(tensor.to_dense() != 0, torch.eye(3) != 0)
    assert not torch.equal(tensor.to_dense(), torch.eye(3))


UNMOVABLE = {
    "expanded": lambda: torch.ones(1).expand(3),
    "quantized": lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
    "empty": lambda: torch.ones(0),
    "meta": lambda: torch.ones(3, device="meta"),
    "lazy": lambda: nn.LazyLinear(3).weight,
    "float4": lambda: torch.zeros(4, dtype=torch.uint8).view(torch.float4_e2m1fn_x2),
}


@pytest.mark.parametrize("kind", UNMOVABLE)
@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_what_cannot_be_moved_is_left_alone_and_not_named(kind):
    assert distinguish({"entry": UNMOVABLE[kind]()}, seed=0) == ()


def test_tied_entries_are_moved_once():
    weight = nn.Parameter(torch.zeros(2, dtype=torch.float64))
    other = weight.detach().clone()
    assert distinguish({"a": weight, "b": weight}, seed=0) == ("a",)
    distinguish({"a": other}, seed=0)
    assert bits_equal(weight, other)


def test_parameters_can_be_moved_without_a_trace():
    weight = nn.Parameter(torch.ones(2))
    distinguish({"weight": weight}, seed=0)
    assert weight.grad_fn is None
    assert weight.requires_grad
    assert weight.is_leaf


@pytest.mark.parametrize("dtype", [*FLOATS, *COMPLEX])
def test_two_seeds_move_differently_and_one_the_same(dtype):
    before = torch.ones(8, dtype=dtype)
    assert bits_equal(moved(before, seed=0), moved(before, seed=0))
    assert not bits_equal(moved(before, seed=0), moved(before, seed=1))


def test_the_global_generator_is_not_used():
    before = torch.get_rng_state()
    distinguish({"a": torch.ones(3)}, seed=0)
    assert torch.equal(before, torch.get_rng_state())


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(width=32), min_size=1, max_size=12),
    st.sampled_from([torch.float32, torch.float16, torch.bfloat16, torch.complex64]),
)
def test_any_values_are_moved_or_special(values, dtype):
    before = torch.tensor(values, dtype=torch.float32).to(dtype)
    after = moved(before)
    ordinary = (
        before.isfinite() & ~((before == 0) & torch.view_as_real(before)[..., 0].signbit())
        if (dtype.is_complex)
        else before.isfinite() & ~((before == 0) & before.signbit())
    )
    if bool(ordinary.any()):
        assert not bits_equal(after, before)
    assert torch.equal(after.isnan(), before.isnan())
    assert torch.equal(after.isinf(), before.isinf())
