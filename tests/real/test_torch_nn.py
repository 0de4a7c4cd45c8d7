"""Round trips of every module class that torch.nn exports."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from pytest_ckpt import check_module
from tests.real.known import Fault, judge
from tests.real.torch_nn import TABLE, exported
from tests.real.training import call, train

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

    from pytest_ckpt.call import Mode

NO_FORWARD = ("outputs were not compared, for want of inputs",)
FAULTS = dict.fromkeys(
    ("LazyInstanceNorm1d", "LazyInstanceNorm2d", "LazyInstanceNorm3d"),
    Fault("unsaved-state", ("num_features",), "set by the lazy initialization, which loading makes superfluous"),
)


def names(*, with_state: bool = False, with_forward: bool = False) -> list[str]:
    """Give the classes of this torch that the table knows, and of them those that have a state or a forward."""
    return [
        name
        for name in exported()
        if name in TABLE
        and (not with_state or TABLE[name].build(name).state_dict())
        and (not with_forward or TABLE[name].inputs is not None)
    ]


def test_every_exported_class_is_in_the_table() -> None:
    assert sorted(exported().keys() - TABLE.keys()) == []


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("name", names())
def test_fresh(name: str, mode: Mode) -> None:
    case = TABLE[name]
    report = check_module(lambda: case.build(name), case.inputs, mode=mode)
    judge(report, FAULTS.get(name))
    assert report.notes == (() if case.inputs is not None else NO_FORWARD)
    assert report.entries == len(ran(case.build(name), case.inputs).state_dict())


@pytest.mark.parametrize("name", names(with_state=True, with_forward=True))
def test_trained(name: str) -> None:
    case = TABLE[name]
    report = check_module(lambda: case.build(name), case.inputs, prepare=train(case.inputs))
    judge(report, FAULTS.get(name))
    assert not report.notes


def every_second_entry() -> Iterator[Any]:
    """For each class with a state give every second entry, and then the others where there are any."""
    for name in names(with_state=True):
        keys = tuple(ran(TABLE[name].build(name), TABLE[name].inputs).state_dict())
        for skipped in filter(None, (keys[::2], keys[1::2])):
            yield pytest.param(name, skipped, id=f"{name}-{skipped[0]}")


@pytest.mark.parametrize(("name", "skipped"), every_second_entry())
def test_entries_that_a_loader_skips_are_named_and_no_others(name: str, skipped: tuple[str, ...]) -> None:
    case, fault = TABLE[name], FAULTS.get(name)
    report = check_module(lambda: case.build(name), case.inputs, load_state=partial(load_all_but, skipped))
    assert {one.key for one in report.findings} == {*skipped, *(fault.keys if fault else ())}, report.text()


def load_all_but(skipped: tuple[str, ...], module: nn.Module, state: dict[str, Any]) -> None:
    module.load_state_dict({name: value for name, value in state.items() if name not in skipped}, strict=False)


def ran(module: nn.Module, inputs: Any) -> nn.Module:
    if inputs is not None:
        call(module, inputs)
    return module


def test_a_loaded_lazy_instance_norm_refuses_every_input() -> None:
    for name in FAULTS:
        case = TABLE[name]
        saved, loaded = ran(case.build(name), case.inputs), case.build(name)
        loaded.load_state_dict(saved.state_dict())
        with pytest.raises(ValueError, match=r"match num_features \(0\)"):
            loaded(case.inputs)
