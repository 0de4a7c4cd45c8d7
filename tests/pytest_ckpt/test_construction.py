import subprocess
import sys
import threading
from typing import Any

import pytest
import torch
from torch import nn

from pytest_ckpt import check_module
from pytest_ckpt.construction import BLOCK, LARGE, quick_fills

WIDE = (LARGE // 512 + 1, 512)


def seeded() -> Any:
    torch.manual_seed(0)
    with quick_fills():
        module: Any = nn.Sequential(nn.Linear(*WIDE), nn.Linear(8, 8), nn.Linear(*WIDE))
        nn.init.trunc_normal_(module[2].weight, std=0.02)
        module.register_buffer("projection", torch.randn(3), persistent=False)
    return module


def test_a_large_fill_repeats_one_block() -> None:
    with quick_fills():
        weight = nn.Linear(*WIDE).weight.detach().flatten()
    assert torch.equal(weight[:BLOCK], weight[BLOCK : 2 * BLOCK])
    assert torch.equal(weight[: weight.numel() % BLOCK], weight[weight.numel() // BLOCK * BLOCK :])
    assert weight[:BLOCK].unique().numel() > BLOCK // 2


def test_no_two_rows_are_alike() -> None:
    with quick_fills():
        weight = torch.empty(LARGE // 64, 64).normal_()
    rows = weight[: BLOCK // 64]
    assert rows.unique(dim=0).shape == rows.shape


@pytest.mark.parametrize(
    ("fill", "mean", "std"),
    [
        (lambda tensor: tensor.normal_(3, 2), 3, 2),
        (lambda tensor: tensor.data.normal_(mean=3, std=2), 3, 2),
        (lambda tensor: nn.init.normal_(tensor, std=2), 0, 2),
        (lambda tensor: tensor.uniform_(to=6), 3, 3**0.5),
        (nn.init.xavier_uniform_, 0, (2 / sum(WIDE)) ** 0.5),
        (lambda tensor: nn.init.kaiming_uniform_(tensor, a=5**0.5), 0, (3 * WIDE[1]) ** -0.5),
        (lambda tensor: nn.init.trunc_normal_(tensor, std=0.1, a=-9, b=9), 0, 0.1),
    ],
)
def test_values_follow_the_distribution_that_was_asked_for(fill, mean, std) -> None:
    with quick_fills(), torch.no_grad():
        tensor = nn.Parameter(torch.empty(WIDE))
        fill(tensor)
    assert tensor.mean().item() == pytest.approx(mean, abs=std / 20)
    assert tensor.std().item() == pytest.approx(std, rel=0.05)


def test_a_factory_that_seeds_builds_equal_modules() -> None:
    one, other = seeded(), seeded()
    assert all(map(torch.equal, one.state_dict().values(), other.state_dict().values()))
    assert torch.equal(one.projection, other.projection)


def test_the_users_own_loader_builds_as_the_factory_does() -> None:
    def load(path):
        module = large_and_seeded()
        module.load_state_dict(torch.load(path, weights_only=True))
        return module

    def large_and_seeded():
        torch.manual_seed(0)
        return Projected()

    assert not check_module(large_and_seeded, torch.ones(1, 3), load=load, devices=["cpu"]).findings


class Projected(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(WIDE).normal_())
        self.register_buffer("projection", torch.randn(3), persistent=False)

    def forward(self, x):
        return x * self.projection + self.weight[0, 0]


def test_small_tensors_are_filled_by_torch() -> None:
    torch.manual_seed(0)
    expected = nn.Linear(64, 64)
    torch.manual_seed(0)
    with quick_fills():
        actual = nn.Linear(64, 64)
    assert torch.equal(expected.weight, actual.weight)


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.empty(WIDE).normal_(generator=torch.Generator().manual_seed(1)),
        lambda: torch.empty(WIDE[::-1]).t().uniform_(generator=torch.Generator().manual_seed(1)),
        lambda: torch.empty(WIDE).t().normal_(),
        lambda: torch.empty(WIDE, dtype=torch.complex64).normal_(),
        lambda: torch.randn(WIDE),
    ],
)
def test_what_is_no_plain_fill_is_left_to_torch(make) -> None:
    torch.manual_seed(0)
    expected = make()
    torch.manual_seed(0)
    with quick_fills():
        actual = make()
    assert torch.equal(expected, actual)


def test_errors_are_torchs_own() -> None:
    leaf = nn.Parameter(torch.empty(WIDE))
    with quick_fills(), pytest.raises(RuntimeError, match="in-place operation"):
        leaf.normal_()


def test_meta_tensors_stay_without_memory() -> None:
    with quick_fills(), torch.device("meta"):
        assert nn.Linear(*WIDE).weight.device.type == "meta"


def test_other_threads_are_left_alone() -> None:
    filled = []
    with quick_fills():
        thread = threading.Thread(target=lambda: filled.append(torch.empty(2 * BLOCK + LARGE).normal_()))
        thread.start()
        thread.join()
    assert not torch.equal(filled[0][:BLOCK], filled[0][BLOCK : 2 * BLOCK])


def test_nothing_stays_behind() -> None:
    with pytest.raises(ZeroDivisionError), quick_fills():
        raise ZeroDivisionError
    assert not {"uniform_", "normal_"} & vars(torch.Tensor).keys()


def test_a_plain_round_trip_does_not_import_what_takes_seconds() -> None:
    code = (
        "import sys, torch\nfrom pytest_ckpt import check_module\n"
        "check_module(lambda: torch.nn.Linear(2, 2), torch.ones(1, 2), devices=['cpu'])\n"
        "print({'torch._dynamo', 'torch._inductor', 'hypothesis', 'safetensors'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
