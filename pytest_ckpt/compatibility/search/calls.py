"""Proposes other calls in forward: another number, another flag, another activation or reduction, another order."""

from __future__ import annotations

from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode

from pytest_ckpt.compare import describe
from pytest_ckpt.compatibility.search.bench import Cause
from pytest_ckpt.compatibility.search.vocabulary import (
    ACTIVATIONS,
    REDUCTIONS,
    dimensions,
    integers,
    is_activation,
    takes_dimensions,
    words,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import nn

    from pytest_ckpt.compatibility.search.bench import Bench

_MOST_CALLS = 80
_ARITHMETIC = ("add", "sub", "mul", "div", "truediv", "pow", "rsub", "rmul", "radd", "rtruediv", "clamp", "rpow")
_SYMMETRIC = {"add", "mul", "__add__", "__mul__", "__radd__", "__rmul__", "eq", "ne"}


@dataclass(frozen=True)
class _Call:
    """One call of a torch function in forward: which in order, by which submodule, and with what besides tensors."""

    at: int
    path: str
    name: str
    function: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class _Altered(TorchFunctionMode):
    """Lets forward run with some of its calls replaced; with none, it takes note of all."""

    def __init__(self, module: nn.Module, changes: dict[int, Any] | None = None) -> None:
        super().__init__()
        self._names = {id(one): name for name, one in module.named_modules()}
        self._changes = changes or {}
        self._above: list[str] = []
        self.calls: list[_Call] = []
        self._count = 0

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        at, self._count = self._count, self._count + 1
        if at in self._changes:
            return self._changes[at](function, args, kwargs)
        name = getattr(function, "__name__", "")
        if not self._changes and name != "__get__" and not name.startswith("_set_"):  # these set what torch itself does
            path = self._above[-1] if self._above else ""
            self.calls.append(_Call(at, path, name, function, args, kwargs))
        return function(*args, **kwargs)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Take effect for a while, and follow which submodule is running."""

        def enter(one: nn.Module, _args: Any) -> None:
            self._above.append(self._names.get(id(one), self._above[-1] if self._above else ""))

        def leave(_one: nn.Module, _args: Any, _output: Any) -> None:
            if self._above:
                self._above.pop()

        handles = (register_module_forward_pre_hook(enter), register_module_forward_hook(leave))
        try:
            with self:
                yield
        finally:
            for handle in handles:
                handle.remove()


def search(bench: Bench) -> Iterator[tuple[Cause, ...]]:
    """Give changed calls with which the old outputs come back."""
    listening = _Altered(bench.module)
    with listening.running():
        bench.distance()
    calls = listening.calls[:_MOST_CALLS]
    yield from _functions(bench, calls)
    for call in calls:
        yield from _arguments(bench, call)
        yield from _orders(bench, call)


def _agrees(bench: Bench, changes: dict[int, Any]) -> bool:
    return bench.under(lambda: _Altered(bench.module, changes).running()).agrees()


def _functions(bench: Bench, calls: list[_Call]) -> Iterator[tuple[Cause, ...]]:
    """Call another activation or reduction, in all places of one at once and in each."""
    for is_one, others, what in (
        (is_activation, ACTIVATIONS, "activation"),
        (lambda function: getattr(function, "__name__", "") in REDUCTIONS, REDUCTIONS, "reduction"),
    ):
        found = [call for call in calls if is_one(call.function)]
        groups: defaultdict[str, list[_Call]] = defaultdict(list)
        for call in found:
            groups[call.name].append(call)
        for members in [*groups.values(), *([call] for call in found)]:
            for name, other in others.items():
                if name != members[0].name and _agrees(bench, {call.at: _calling(other, what) for call in members}):
                    yield (_cause(members[0], name, members[0].name, f"the {what} {name}()"),)


def _calling(other: Callable[..., Any], what: str) -> Callable[..., Any]:
    def call(_function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return other(args[0]) if what == "activation" else other(*args, **kwargs)

    return call


def _arguments(bench: Bench, call: _Call) -> Iterator[tuple[Cause, ...]]:
    named: list[tuple[int | str, Any]] = [*enumerate(call.args), *call.kwargs.items()]
    for place, value in named:
        if not isinstance(value, (bool, int, float, str)):
            continue
        found = _other_argument(bench, call, place, value)
        if found is not None:
            text = f"{call.name}(..., {describe(found)}) instead of {describe(value)}"
            yield (_cause(call, describe(found), describe(value), text),)


def _other_argument(bench: Bench, call: _Call, place: int | str, value: Any) -> Any:
    held = [value]

    def put(other: Any) -> None:
        held[0] = other

    def altered(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if isinstance(place, int):
            args = (*args[:place], held[0], *args[place + 1 :])
        else:
            kwargs = {**kwargs, place: held[0]}
        return function(*args, **kwargs)

    changed = bench.under(lambda: _Altered(bench.module, {call.at: altered}).running())
    if isinstance(value, bool):
        return changed.first([not value], put, value)
    if isinstance(value, float) or (isinstance(value, int) and _is_arithmetic(call.name)):
        return changed.solve(put, float(value))
    if isinstance(value, str):
        return changed.first(words(value), put, value)
    return changed.first((dimensions if takes_dimensions(call.name) else integers)(value), put, value)


def _is_arithmetic(name: str) -> bool:
    return name.strip("_") in _ARITHMETIC


def _orders(bench: Bench, call: _Call) -> Iterator[tuple[Cause, ...]]:
    """Give a call its tensors in the other order."""
    first = call.args[0] if call.args else None
    if isinstance(first, (list, tuple)) and len(first) > 1 and all(isinstance(one, torch.Tensor) for one in first):

        def reverse(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            return function(list(args[0])[::-1], *args[1:], **kwargs)

        if _agrees(bench, {call.at: reverse}):
            yield (_cause(call, "reversed", "in order", f"the tensors in the reverse order in {call.name}()"),)
    tensors = sum(isinstance(one, torch.Tensor) for one in call.args[:2])
    if tensors == 2 and call.name not in _SYMMETRIC:  # noqa: PLR2004 -- the two operands

        def exchange(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            return function(args[1], args[0], *args[2:], **kwargs)

        if _agrees(bench, {call.at: exchange}):
            yield (_cause(call, "exchanged", "in order", f"the operands exchanged in {call.name}()"),)


def _cause(call: _Call, expected: str, actual: str, what: str) -> Cause:
    return Cause(
        "semantics",
        call.path or call.name,
        expected,
        actual,
        f"the state fits, but forward computes something else: the outputs are the old ones with {what}",
        f"compute {call.name}() as the old version did, or make it a setting that is saved with the weights "
        "(get_extra_state)",
    )
