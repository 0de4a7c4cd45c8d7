"""A forward on an accelerator that is not here: on stand-ins for tensors, which have shape and device but no values.

The module and its inputs are moved to `lazy`, a device type that no build of torch runs anything on, under a
FakeTensorMode. Whatever `Module.to` does not move stays behind on the CPU, and the first operation that meets both
raises, as it would on the accelerator.
"""

from __future__ import annotations

import logging
import operator
import re
import traceback
import warnings
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from pytest_ckpt.compare import describe, uninitialized
from pytest_ckpt.containers import items_of
from pytest_ckpt.moment import attributes, modules_within, reachable, set_attribute
from pytest_ckpt.outputs import ForwardError, Runner, moved, set_mode, where
from pytest_ckpt.surroundings import kept
from pytest_ckpt.trip import Changed, Trip

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import Tensor
    from torch._subclasses.fake_tensor import FakeTensorMode

    from pytest_ckpt.call import Call

DEVICE = "lazy:0"
_APART = re.compile(r"found (?:at least )?two (?:different )?devices,? (?=.*cpu)")
_DEEP = 4  # containers and objects inside each other
_CANDIDATES = 64  # attributes that are tried


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What a simulated forward showed.

    Attributes:
        behind: What stays on the CPU when the module is moved (an attribute, or a forward that makes a tensor there),
            what it is, and the place in the code where the two devices meet.
        reason: Why nothing can be said; empty if the forward could be simulated.
        reads: Whether that is because forward reads the values of tensors.
    """

    behind: tuple[Changed, ...] = ()
    reason: str = ""
    reads: bool = False


class _Apart(Exception):  # noqa: N818 -- a way out of a forward, not an error of ours
    """An operation met tensors of two devices.

    Attributes:
        place: The place in the code.
        key: The forward in which it happened.
    """

    def __init__(self, place: str, key: str) -> None:
        super().__init__(place)
        self.place, self.key = place, key


def simulate(call: Call, trip: Trip | None) -> Elsewhere:
    """Say what forward would do on a device that is not here.

    The loaded module of a finished trip will do, and is used up. Where it shows something, a module that has never run
    decides: what forward keeps for the next time stays where the first one ran, which is not the constructor's fault.

    Args:
        call: What the user asked for; it has inputs.
        trip: A trip on the CPU, if there was one.
    """
    if trip is not None and trip.loaded is not None and trip.content is not None and call.load is None:
        seen = _in_mode(call, trip.loaded)
        if seen == Elsewhere() or seen.reads:
            return seen
    fresh = call.build()
    if uninitialized(fresh):
        try:
            call.runner(fresh)
        except ForwardError as error:
            return Elsewhere(reason=f"forward cannot be simulated: {error}")
    return _in_mode(call, fresh)


def _in_mode(call: Call, module: nn.Module) -> Elsewhere:
    set_mode(module, training=call.mode == "train")
    with kept(module):  # no stand-in may stay in a global or a class
        return forward_elsewhere(module, call.runner)


def forward_elsewhere(module: nn.Module, runner: Runner) -> Elsewhere:
    """Move a module to the stand-in device and run it there.

    A culprit is named only if forward runs through once it is moved, and does not without.

    Args:
        module: A module in the mode that it is to be run in, on the CPU. It is of no use afterwards.
        runner: The inputs.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    with _silence(), FakeTensorMode(allow_non_fake_inputs=True) as mode:
        try:
            _move(module, mode)
            try:
                _run(module, runner)
            except _Apart as apart:
                return _behind(module, runner, apart, mode)
        except Exception as error:  # noqa: BLE001 -- a forward that reads values, or anything else
            return _refusal(error)
    return Elsewhere()


@contextmanager
def _silence() -> Iterator[None]:
    """Keep to ourselves what torch logs and warns of where a forward cannot be simulated."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _refusal(error: Exception) -> Elsewhere:
    text, _, place = where(error).partition(" (at ")
    reads = type(error).__name__ in {"DataDependentOutputException", "DynamicOutputShapeException"}
    what = "it reads the values of a tensor" if reads else text.splitlines()[0].removesuffix(".")
    return Elsewhere(reason=f"forward cannot be simulated: {what}" + (f" (at {place}" if place else ""), reads=reads)


# ------------------------------------------------------------------------------------------------------------- moving


def _move(module: nn.Module, mode: FakeTensorMode) -> None:
    """Do what `module.to` does: a parameter is moved for all who refer to it, a buffer only where it is registered."""
    if any(map(_moves_its_own_way, module.modules())):
        module.to(DEVICE)
        return
    there: dict[int, Tensor] = {}
    for owner in module.modules():
        for parameter in owner._parameters.values():  # noqa: SLF001 -- as Module._apply does
            if parameter is not None and id(parameter) not in there:
                there[id(parameter)] = nn.Parameter(_stand_in(parameter, mode), parameter.requires_grad)
    for owner in module.modules():
        for name, held in (*owner._parameters.items(), *attributes(owner).items()):  # noqa: SLF001 -- as above
            other = _replaced(held, there, _DEEP)
            if other is not held and name in owner._parameters:  # noqa: SLF001 -- as above
                owner._parameters[name] = other  # noqa: SLF001 -- as above
            elif other is not held:
                set_attribute(owner, name, other)
        for name, buffer in owner._buffers.items():  # noqa: SLF001 -- as above
            if buffer is not None:
                owner._buffers[name] = _stand_in(buffer, mode)  # noqa: SLF001 -- as above


def _replaced(value: Any, there: Mapping[int, Tensor], deep: int) -> Any:
    """Give a value with the parameters in it replaced; the value itself where it holds none."""
    if isinstance(value, torch.Tensor):
        return there.get(id(value), value)
    if not isinstance(value, (list, tuple, dict)) or hasattr(value, "_fields") or not deep:
        return value
    items = items_of(value)
    others = [_replaced(item, there, deep - 1) for item in items]
    if all(map(operator.is_, others, items)):
        return value
    return type(value)(zip(value, others, strict=True) if isinstance(value, dict) else others)


def _moves_its_own_way(module: nn.Module) -> bool:
    methods = (type(module).to, type(module)._apply, type(module).cuda)  # noqa: SLF001 -- which of them is overridden
    return any(not method.__module__.startswith("torch.") for method in methods)


def _stand_in(tensor: Tensor, mode: FakeTensorMode) -> Tensor:
    """Give a tensor of the same kind on the stand-in device; plain ones without the detour over `to`, which is slow."""
    from torch._subclasses.fake_tensor import FakeTensor
    from torch.utils._mode_utils import no_dispatch

    if type(tensor) not in {torch.Tensor, nn.Parameter} or tensor.layout != torch.strided or tensor.is_quantized:
        return tensor.to(DEVICE)
    with no_dispatch():
        shape = torch.empty_like(tensor, device="meta")
    return FakeTensor(mode, shape, torch.device(DEVICE))


# ------------------------------------------------------------------------------------------------------------ running


def _run(module: nn.Module, runner: Runner, *, factories: bool = False) -> None:
    """Run forward.

    Args:
        module: The module, moved.
        runner: The inputs.
        factories: Whether tensors that forward makes without naming a device come to the stand-in device too.

    Raises:
        _Apart: An operation met tensors of both devices.
        Exception: Whatever else forward raises.
    """
    with torch.device(DEVICE) if factories else nullcontext():
        try:
            runner.bare(module, DEVICE)
        except RuntimeError as error:
            if not _APART.search(str(error)):
                raise
            raise _Apart(where(error).rpartition(" (at ")[2].removesuffix(")"), _forward(module, error)) from None


def _forward(module: nn.Module, error: BaseException) -> str:
    """Name the innermost forward that an error came through."""
    names = {id(one): name for name, one in reachable(module).items()}
    owners = [frame.f_locals.get("self") for frame, _ in traceback.walk_tb(error.__traceback__)]
    inside = [names[id(owner)] for owner in owners if id(owner) in names]
    return ".".join(filter(None, (inside[-1] if inside else "", "forward")))


def _passes(module: nn.Module, runner: Runner, *, factories: bool) -> bool:
    try:
        _run(module, runner, factories=factories)
    except _Apart:
        return False
    return True


def _behind(module: nn.Module, runner: Runner, apart: _Apart, mode: FakeTensorMode) -> Elsewhere:
    """Find what stayed behind: move all tensors in attributes, then put back each that need not have been moved.

    Submodules that are not registered cannot be put back; they are moved one after the other until forward passes.
    """
    candidates = [*_candidates(module)][:_CANDIDATES]
    for _, owner, name, value in candidates:
        set_attribute(owner, name, moved(value, DEVICE))
    passes = _passes(module, runner, factories=False)
    found = []
    for key, unregistered in () if passes else _unregistered(module):
        for one in unregistered:
            _move(one, mode)
        found.append(Changed(key, describe(unregistered), apart.place))
        passes = _passes(module, runner, factories=False)
        if passes:
            break
    factories = not passes
    if factories and not _passes(module, runner, factories=True):
        return Elsewhere(reason=f"forward cannot be simulated: it meets a tensor of the CPU at {apart.place}")
    for key, owner, name, value in candidates:
        there = attributes(owner)[name]
        set_attribute(owner, name, value)
        if not _passes(module, runner, factories=factories):
            set_attribute(owner, name, there)
            found.append(Changed(key, describe(value), apart.place))
    if factories:
        found.append(Changed(apart.key, "a new tensor", apart.place))
    return Elsewhere(tuple(found))


def _unregistered(module: nn.Module) -> Iterator[tuple[str, list[nn.Module]]]:
    known = {id(one) for one in module.modules()}
    for prefix, owner in [*module.named_modules()]:
        for name, value in attributes(owner).items():
            inside = [one for one in modules_within(value) if id(one) not in known and [*one.parameters()]]
            if inside:
                yield ".".join(filter(None, (prefix, name))), inside


def _candidates(module: nn.Module) -> Iterator[tuple[str, nn.Module, str, Any]]:
    for prefix, owner in reachable(module).items():
        for name, value in attributes(owner).items():
            if _holds_tensor(value, _DEEP):
                yield ".".join(filter(None, (prefix, name))), owner, name, value


def _holds_tensor(value: Any, deep: int) -> bool:
    if isinstance(value, torch.Tensor):
        return value.device.type == "cpu"
    return deep > 0 and any(_holds_tensor(item, deep - 1) for item in items_of(value))
