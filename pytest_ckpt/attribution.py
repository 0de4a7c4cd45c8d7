"""Finds which attribute makes the outputs differ when a loaded module holds the saved state.

What was not saved is transplanted from the source into the loaded module, all of it at first; if the outputs then
agree, it is reduced by delta debugging to the smallest set that still makes them agree. Only attributes in that set
are named. What changes nothing, such as a debug counter or a constant, is never in it.
"""

from __future__ import annotations

import inspect
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from types import CellType, FunctionType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pytest_ckpt.compare import OTHER_VALUES, describe, entries, equal, storage_address
from pytest_ckpt.containers import items_of, pairs_of
from pytest_ckpt.copying import Copier, duplicate
from pytest_ckpt.distinguish import is_simple
from pytest_ckpt.moment import (
    Moment,
    attributes,
    modules_within,
    reachable,
    remove_attribute,
    set_attribute,
)
from pytest_ckpt.outputs import WHOLE, ForwardError, differing_places, first_difference

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from torch import Tensor

One = TypeVar("One")
Run: TypeAlias = "Callable[[nn.Module], Any]"
Kind = Literal["attribute", "submodule", "buffer", "derived", "config", "closure", "on a tensor", "unknown"]
_ABSENT = object()


@dataclass(frozen=True, slots=True)
class Culprit:
    """What makes the outputs differ.

    Attributes:
        key: Fully qualified name of the attribute or buffer; of the first submodule that differs where none was found.
        kind: What it is: an `attribute`, unregistered `submodule`s, a non-persistent `buffer`, a value `derived` from
            the state when the module was built, a `config` value that the loader built differently, a variable in the
            `closure` of a hook, an attribute `on a tensor`, or `unknown`.
        expected: The value on the saving side, described.
        actual: The value on the loading side, described.
        type: Name of the value's type on the saving side, or of the module that it should be.
        place: Where the outputs differ, and how.
    """

    key: str
    kind: Kind
    expected: str
    actual: str
    type: str
    place: str


@dataclass(frozen=True, slots=True, eq=False)
class _Candidate:
    """What could make the outputs differ: `sure` where the two sides certainly differ in it.

    It is held by a registry of the module, or by a holder: a cell of the closure of one of its hooks, or a tensor, of
    which it is an attribute.
    """

    path: str
    name: str
    where: Literal["attributes", "_parameters", "_buffers", "cell", "tensor"]
    expected: Any
    actual: Any
    sure: bool = True
    hides_modules: bool = False
    holder: CellType | Tensor | None = None

    @property
    def key(self) -> str:
        return ".".join(filter(None, (self.path, self.name)))

    def hold(self, value: Any) -> None:
        """Have the holder hold a value."""
        if isinstance(self.holder, CellType):
            self.holder.cell_contents = value
        elif value is _ABSENT:
            vars(self.holder).pop(self.name, None)
        else:
            vars(self.holder)[self.name] = value


@dataclass(frozen=True, slots=True)
class Attribution:
    """What came of a search.

    Attributes:
        culprits: What makes the outputs differ; empty where nothing has to be named.
        reason: Why the outputs could not be judged; empty if they could.
    """

    culprits: tuple[Culprit, ...] = ()
    reason: str = ""


def attribute_outputs(  # noqa: PLR0913, PLR0917 -- the two sides, each at its point, and how to run them
    source: Moment,
    source_module: nn.Module,
    loaded_module: nn.Module,
    state: Mapping[str, Tensor],
    carried: Collection[str],
    runner: Run,
    make: Callable[[], nn.Module],
) -> Attribution:
    """Compare the outputs of two modules and name what makes them differ.

    Args:
        source: The source at the point where it was saved.
        source_module: The source; it is brought back to that point.
        loaded_module: The loaded module, which has not run since it was loaded.
        state: The source's tensors of those entries that differ; they are accounted for elsewhere.
        carried: Names of the entries that the state carries, which are no candidates therefore.
        runner: Puts a module into the mode that outputs are compared in, and runs forward.
        make: Gives a fresh module, to learn what is derived at construction.

    Returns:
        The culprits, or why there can be none.
    """
    loaded = Moment(loaded_module)
    try:
        reference = _reference(source, source_module, runner)
    except ForwardError as error:
        return Attribution(reason=f"forward of the saved module raised {error}")
    if WHOLE in reference.unstable:
        return Attribution(
            reason="forward gives other outputs on the same inputs, state and seed, so outputs were not compared"
        )
    search = _Search(source, loaded, source_module, loaded_module, state, runner, reference)
    place = search.difference(())
    if place is None:
        unstable = ", ".join(sorted(reference.unstable))
        return Attribution(reason=unstable and f"{unstable} differ from run to run and were not compared")
    loaded_again = search.difference(())
    if loaded_again is None:
        return Attribution(reason="outputs of the loaded module differ from run to run, so they were not compared")
    explanation = _explanation(_candidates(source, loaded, source_module, loaded_module, carried), search)
    if not explanation:
        return Attribution((search.unknown(place),))
    derived, fresh = _derived(make, {one.key for one in explanation}), _fresh_attributes(make)
    return Attribution(tuple(_culprit(one, place, derived, fresh) for one in explanation))


def _explanation(everything: Sequence[_Candidate], search: _Search) -> tuple[_Candidate, ...]:
    """Give the smallest set of candidates that makes the outputs agree; an empty one if none does.

    What both sides have and is certainly different comes first. A function comes last: it may be bound to the source
    itself, and then explains anything.
    """

    def explains(candidates: Sequence[_Candidate]) -> bool:
        return search.difference(candidates) is None

    sure = [one for one in everything if one.sure]
    on_both_sides = [one for one in sure if one.expected is not _ABSENT and one.actual is not _ABSENT]
    for pool in (sure, on_both_sides, everything):
        if pool and explains(pool):
            return smallest(pool, explains)
    return next(((one,) for one in sure if explains([one])), ())


@dataclass(frozen=True, slots=True, eq=False)
class _Reference:
    """Outputs of the saved module, and the places in them that differ from run to run."""

    outputs: Any
    unstable: frozenset[str]


def _reference(moment: Moment, module: nn.Module, runner: Run) -> _Reference:
    """Run forward twice from one point."""
    moment.restore()
    first = runner(module)
    moment.restore()
    second = runner(module)
    moment.restore()
    return _Reference(first, differing_places(first, second))


class _Search:
    def __init__(  # noqa: PLR0913, PLR0917 -- the two sides, each at its point, and how to run them
        self,
        source: Moment,
        loaded: Moment,
        source_module: nn.Module,
        loaded_module: nn.Module,
        state: Mapping[str, Tensor],
        runner: Run,
        reference: _Reference,
    ) -> None:
        self._source, self._loaded = source, loaded
        self._source_module, self._module = source_module, loaded_module
        self._state, self._runner, self._reference = state, runner, reference

    def difference(self, transplants: Sequence[_Candidate]) -> str | None:
        """Run the loaded module with the state and these candidates transplanted; say where outputs still differ."""
        self._transplant(transplants)
        try:
            return first_difference(self._reference.outputs, self._runner(self._module), self._reference.unstable)
        except ForwardError as error:
            return f"forward of the loaded module raised {error}"
        finally:
            self._source.restore()  # a function that was transplanted may have run on it
            self._loaded.restore()
            for one in transplants:
                if one.holder is not None:
                    one.hold(one.actual)

    def _transplant(self, transplants: Sequence[_Candidate]) -> None:
        modules = reachable(self._module)
        for name, saved in self._state.items():
            path, _, last = name.rpartition(".")
            owner = modules.get(path)
            if owner is not None:
                registry = owner._parameters if last in owner._parameters else owner._buffers  # noqa: SLF001 -- replaces the object
                registry[last] = duplicate(saved)
        copier = Copier(counterparts=_pairs(self._source_module, self._module))
        for candidate in transplants:
            expected = candidate.expected if candidate.expected is _ABSENT else copier.copy(candidate.expected)
            if candidate.holder is not None:
                candidate.hold(expected)
            elif candidate.where != "attributes":
                getattr(modules[candidate.path], candidate.where)[candidate.name] = expected
            elif expected is _ABSENT:
                remove_attribute(modules[candidate.path], candidate.name)
            else:
                _put(modules[candidate.path], candidate.name, expected)

    def unknown(self, place: str) -> Culprit:
        """Name the first submodule whose outputs differ, where no attribute explains it."""
        expected = _trace(self._source_module, self._runner)
        self._source.restore()
        self._transplant(())
        actual = _trace(self._module, self._runner)
        self._loaded.restore()
        for name, outputs in expected.items():
            if name in actual and (found := first_difference(outputs, actual[name])) is not None:
                return Culprit(name, "unknown", "", "", "", f"{name}: {found}")
        return Culprit(type(self._module).__name__, "unknown", "", "", "", place)


def _put(owner: nn.Module, name: str, value: Any) -> None:
    """Set an attribute; a container is refilled, since a hook may hold the very object."""
    present: Any = attributes(owner).get(name)
    if type(present) is not type(value) or type(value) not in {dict, list, deque, set}:
        set_attribute(owner, name, value)
        return
    present.clear()
    present.extend(value) if isinstance(value, (list, deque)) else present.update(value)


def _trace(module: nn.Module, runner: Run) -> dict[str, Any]:
    """Run forward and give the first outputs of each submodule, in the order in which they finish.

    The hooks that it leaves behind are removed when the module is brought back to its `Moment`.
    """
    seen: dict[str, Any] = {}

    def remember(name: str, _module: nn.Module, _inputs: Any, outputs: Any) -> None:
        seen.setdefault(name, duplicate(outputs))

    for name, one in module.named_modules():
        if name:
            one.register_forward_hook(partial(remember, name))
    with suppress(ForwardError):
        runner(module)
    return seen


def _candidates(
    source: Moment,
    loaded: Moment,
    source_module: nn.Module,
    loaded_module: nn.Module,
    carried: Collection[str],
) -> tuple[_Candidate, ...]:
    """List what differs between the two sides and is not in the state: attributes, unsaved buffers and parameters."""
    registered = {id(one) for one in source_module.modules()}
    owners = reachable(source_module)
    places = {id(one): id(other) for one, other in counterparts(source_module, loaded_module)}
    found = []
    for path, held in source.attributes.items():
        if path not in loaded.attributes or id(owners[path]) not in registered:
            continue  # what an unregistered submodule holds is transplanted with the attribute that holds it
        theirs = loaded.attributes[path]
        for name in dict.fromkeys((*held, *theirs)):
            expected, actual = held.get(name, _ABSENT), theirs.get(name, _ABSENT)
            if equal(expected, actual, unknown=False, counterparts=places):
                continue
            sure = not equal(expected, actual, counterparts=places)
            hides = any(id(one) not in registered for one in modules_within(expected))
            found.append(_Candidate(path, name, "attributes", expected, actual, sure, hides))
        for name, tensor in source.tensors[path].items():
            actual = loaded.tensors[path].get(name, _ABSENT)
            one = _Candidate(path, name, _registry_of(owners[path], name), tensor, actual)
            if one.key not in carried and not equal(tensor, actual):
                found.append(one)
    bound = _bound_to_hooks(source_module, loaded_module, places), _bound_to_tensors(source_module, loaded_module)
    return (*found, *chain(*bound))


def _bound_to_hooks(source: nn.Module, loaded: nn.Module, places: Mapping[int, int]) -> Iterator[_Candidate]:
    """List what the closures of forward hooks hold, where it differs between the two sides."""
    names = {id(one): name for name, one in source.named_modules()}
    for one, other in counterparts(source, loaded):
        for ours, theirs in zip(_hooks(one), _hooks(other), strict=False):
            if not isinstance(ours, FunctionType) or getattr(theirs, "__code__", None) is not ours.__code__:
                continue
            cells = zip(ours.__closure__ or (), theirs.__closure__ or (), strict=True)
            for name, (mine, cell) in zip(ours.__code__.co_freevars, cells, strict=True):
                try:
                    expected, actual = mine.cell_contents, cell.cell_contents
                except ValueError:  # not bound yet
                    continue
                if not equal(expected, actual, counterparts=places):
                    hides = any(id(inner) not in names for inner in modules_within(expected))
                    yield _Candidate(names[id(one)], name, "cell", expected, actual, hides_modules=hides, holder=cell)


def _bound_to_tensors(source: nn.Module, loaded: nn.Module) -> Iterator[_Candidate]:
    """List the attributes of parameters and buffers that differ, such as the scale of a quantised weight."""
    theirs = entries(loaded)
    for key, tensor in entries(source).items():
        other = theirs.get(key)
        if other is None or not (is_simple(tensor) and is_simple(other)):
            continue
        for name in dict.fromkeys((*vars(tensor), *vars(other))):
            expected, actual = vars(tensor).get(name, _ABSENT), vars(other).get(name, _ABSENT)
            if not equal(expected, actual):
                yield _Candidate(key, name, "tensor", expected, actual, holder=other)


def _hooks(module: nn.Module) -> list[Any]:
    return [*module._forward_pre_hooks.values(), *module._forward_hooks.values()]  # noqa: SLF001 -- no public way


def counterparts(one: nn.Module, other: nn.Module) -> list[tuple[nn.Module, nn.Module]]:
    """Pair the registered submodules of two modules that stand in the same place."""
    theirs = dict(other.named_modules())
    return [(module, theirs[name]) for name, module in one.named_modules() if name in theirs]


def _pairs(one: nn.Module, other: nn.Module) -> Iterator[tuple[Any, Any]]:
    """Pair the submodules, parameters and buffers of two modules that stand in the same place."""
    for module, twin in counterparts(one, other):
        yield module, twin
        theirs = _registered(twin)
        yield from ((tensor, theirs[name]) for name, tensor in _registered(module).items() if name in theirs)


def _registered(owner: nn.Module) -> dict[str, Tensor]:
    held = chain(owner._parameters.items(), owner._buffers.items())  # noqa: SLF001 -- the registry is what is asked for
    return {name: tensor for name, tensor in held if tensor is not None}


def _registry_of(owner: nn.Module, name: str) -> Literal["_parameters", "_buffers"]:
    return "_parameters" if name in owner._parameters else "_buffers"  # noqa: SLF001 -- the registry is what is asked for


def smallest(candidates: Sequence[One], explains: Callable[[Sequence[One]], bool]) -> tuple[One, ...]:
    """Reduce a set that explains the difference to one of which no part can be left out (ddmin, Zeller 2002)."""
    kept, parts = list(candidates), 2
    while len(kept) > 1:
        size = -(-len(kept) // parts)
        chunks = [kept[start : start + size] for start in range(0, len(kept), size)]
        for chunk in chunks:
            rest = [one for one in kept if one not in chunk]
            if explains(rest):
                kept, parts = rest, max(parts - 1, 2)
                break
        else:
            if parts >= len(kept):
                break
            parts = min(parts * 2, len(kept))
    return tuple(kept)


def _culprit(one: _Candidate, place: str, derived: frozenset[str], fresh: dict[str, Any]) -> Culprit:
    kind: Kind = "attribute"
    if one.hides_modules:
        kind = "submodule"
    elif one.where == "cell":
        kind = "closure"
    elif one.where == "tensor":
        kind = "on a tensor"
    elif one.key in derived:
        kind = "derived"
    elif one.where == "_buffers":
        kind = "buffer"
    elif _is_setting(one.expected) and one.key in fresh and _same(fresh[one.key], one.expected):
        kind = "config"
    expected = "not set" if one.expected is _ABSENT else describe(one.expected)
    actual = "not set" if one.actual is _ABSENT else describe(one.actual)
    return Culprit(
        one.key,
        kind,
        expected,
        actual if actual != expected else _within(one.expected, one.actual),
        "" if one.expected is _ABSENT else _type_name(one.expected),
        place,
    )


def _type_name(value: Any) -> str:
    """Name a value's type; `numpy.Generator` is not torch's, and a list of parameters should be a `ParameterList`."""
    kind = type(value)
    named = isinstance(value, dict) and all(isinstance(key, str) for key, _ in pairs_of(value))
    items = items_of(value) if named or isinstance(value, (list, tuple)) else []
    if items and all(isinstance(item, nn.Parameter) for item in items):
        return "ParameterDict" if named else "ParameterList"
    return f"numpy.{kind.__name__}" if kind.__module__.partition(".")[0] == "numpy" else kind.__name__


def _within(one: Any, other: Any) -> str:
    """Say where in two values that read alike they differ, if that can be said."""
    found = first_difference(one, other)
    return f"{OTHER_VALUES} ({found})" if found and not found.startswith(WHOLE) else OTHER_VALUES


def _same(one: Any, other: Any) -> bool:
    return equal(one, other, unknown=False)


def _is_setting(value: Any) -> bool:
    """Whether a value is of a kind that a constructor takes: plain, a dtype, a function, or a few of these."""
    if isinstance(value, dict):
        return all(map(_is_setting, chain.from_iterable(pairs_of(value))))
    if isinstance(value, (list, tuple)):
        return all(map(_is_setting, items_of(value)))
    return isinstance(value, (bool, int, float, str, type(None), torch.dtype)) or inspect.isroutine(value)


def _fresh_attributes(make: Callable[[], nn.Module]) -> dict[str, Any]:
    return {
        ".".join(filter(None, (path, name))): value
        for path, one in reachable(make()).items()
        for name, value in attributes(one).items()
    }


class _Provenance(TorchDispatchMode):
    """Records, for every storage that is written while it is active, the storages that its values came from."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.origins: dict[int, set[int]] = {}
        self.numbers: list[tuple[Any, set[int]]] = []
        self._alive: list[Any] = []  # an address must not be used again while it is recorded

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else the first operation imports torch._dynamo, which takes two seconds

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        read: set[int] = set()
        for leaf in tree_leaves(args):
            address = storage_address(leaf)
            if address:
                self._alive.append(leaf)
                read |= {address} | self.origins.get(address, set())
        for leaf in tree_leaves(result):
            address = storage_address(leaf)
            if address:
                self._alive.append(leaf)
                self.origins.setdefault(address, set()).update(read - {address})
            elif isinstance(leaf, (bool, int, float)):
                self.numbers.append((leaf, read))
        return result

    def origins_of(self, value: Any) -> set[int]:
        """Give the storages behind an array or a list of numbers that left torch by `numpy()` or `tolist()`."""
        same = [tensor for tensor in self._alive if tensor.dtype.is_floating_point and _holds_values_of(tensor, value)]
        addresses = {storage_address(tensor) for tensor in same}
        return addresses.union(*(self.origins.get(address, ()) for address in addresses))


def _holds_values_of(tensor: Tensor, value: Any) -> bool:
    if not (isinstance(value, list) or type(value).__module__ == "numpy") or tensor.numel() <= 1:
        return False
    try:
        other = torch.as_tensor(items_of(value) if isinstance(value, list) else value)
        return other.shape == tensor.shape and bool((other == tensor.detach()).all())
    except (TypeError, ValueError, RuntimeError):  # lists of other things, tensors that cannot be compared
        return False


def _derived(make: Callable[[], nn.Module], suspects: Collection[str]) -> frozenset[str]:
    """Name those of the suspected attributes and buffers that a constructor computes from the module's saved state."""
    record = _Provenance()
    with record:
        module = make()
    state = {storage_address(tensor) for tensor in entries(module).values()}
    found = set()
    for path, one in reachable(module).items():
        buffers = {name: one._buffers.get(name) for name in one._non_persistent_buffers_set}  # noqa: SLF001 -- no public way
        for name, value in {**attributes(one), **buffers}.items():
            key = ".".join(filter(None, (path, name)))
            if key not in suspects:
                continue
            if isinstance(value, torch.Tensor):
                came_from = record.origins.get(storage_address(value), set())
            elif isinstance(value, float):
                came_from = set().union(*(read for number, read in record.numbers if number == value))
            else:
                came_from = record.origins_of(value)
            if came_from & state:
                found.add(key)
    return frozenset(found)
