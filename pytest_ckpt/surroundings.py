"""What a module's code keeps outside of the module: globals, classes, closures, functions, caches, the environment.

No state_dict has it, and within one process nobody misses it: the loaded module finds there what the saved one left. In
a new process it is what the import makes of it. So the surroundings are brought back to what they were before the
module was used, or to what a new process has, and the checkpoint is loaded once more there.
"""

from __future__ import annotations

import os
import random
import sys
import sysconfig
import threading
from array import array
from collections import deque
from collections.abc import MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache, partial
from pathlib import Path
from types import CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

from pytest_ckpt import spare
from pytest_ckpt.attribution import counterparts, smallest
from pytest_ckpt.compare import describe, equal
from pytest_ckpt.containers import CONTAINERS, items_of
from pytest_ckpt.copying import Copier
from pytest_ckpt.moment import Moment, contents, modules_within, reachable
from pytest_ckpt.outputs import first_difference

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

_PLAIN = (type(None), bool, int, float, complex, str, bytes, bytearray)
_LIBRARIES = tuple(
    {str(Path(sysconfig.get_path(name)).resolve()) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
)  # resolved as the files are: an environment may lie behind a link
_ABSENT = object()
WHAT_IS_CACHED, EMPTY_CACHE = "what its cache holds", "an empty cache"
_CACHED = type(lru_cache(object))


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """A variable outside of a module.

    Attributes:
        owner: The Python module, the class or the function that has it, the cell of a closure that holds it, the
            environment, or a context variable.
        name: Its name.
        key: What a report calls it: a global by its name, an attribute of a class as one of the module.
    """

    owner: Any
    name: str
    key: str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Place) and self.owner is other.owner and self.name == other.name

    def __hash__(self) -> int:
        return hash((id(self.owner), self.name))

    def get(self) -> Any:
        """Give the value; a mark of its own where there is none."""
        if isinstance(self.owner, CellType):
            try:
                return self.owner.cell_contents
            except ValueError:
                return _ABSENT
        if isinstance(self.owner, ContextVar):
            try:
                return self.owner.get()
            except LookupError:
                return _ABSENT
        if self.owner is os.environ:
            return os.environ.get(self.name, _ABSENT)
        if self._is_default:
            return _defaults(self.owner)[self.name]
        return vars(self.owner).get(self.name, _ABSENT)

    def set(self, value: Any) -> None:
        """Set the value, or remove the variable."""
        if isinstance(self.owner, CellType):
            if value is not _ABSENT:
                self.owner.cell_contents = value
        elif isinstance(self.owner, ContextVar):
            if value is not _ABSENT:
                self.owner.set(value)
        elif self.owner is os.environ:
            os.environ.pop(self.name, None)
            os.environ.update({} if value is _ABSENT else {self.name: value})
        elif self._is_default:
            pass  # it is the same object for ever, and its content is brought back
        elif value is _ABSENT:
            if self.get() is not _ABSENT:
                delattr(self.owner, self.name)
        elif self.get() is not value:
            setattr(self.owner, self.name, value)

    @property
    def _is_default(self) -> bool:
        """Whether it is the default value of a function's parameter."""
        function = self.owner
        return (
            isinstance(function, FunctionType) and self.name not in vars(function) and self.name in _defaults(function)
        )

    @property
    def home(self) -> str:
        """Where it is, for a message."""
        if isinstance(self.owner, CellType):
            return "a closure"
        if self.owner is os.environ:
            return "the environment"
        if isinstance(self.owner, ContextVar):
            return "a context variable"
        if isinstance(self.owner, FunctionType):
            return f"function {self.owner.__qualname__}"
        return self.owner.__name__ if isinstance(self.owner, ModuleType) else f"class {self.owner.__qualname__}"


@dataclass(frozen=True, slots=True)
class Outside:
    """What decides a module's outputs and is another in a new process, described.

    Attributes:
        key: Its name.
        home: Where it is; empty for an attribute of the module.
        expected: What it is here.
        actual: What it is in a new process.
        hashed: Whether it follows the hashes of strings.
    """

    key: str
    home: str
    expected: str
    actual: str
    hashed: bool = False


class _Held:
    """What a place held at one time."""

    def __init__(self, place: Place, value: Any, known: Collection[int] = ()) -> None:
        self._place, self._value, self._mark = place, value, (id(value), *contents(value))
        self._copier = Copier()
        self.copy = value if value is _ABSENT else self._copier.copy(value)
        self._moments = [Moment(one) for one in modules_within(value) if id(one) not in known]

    def restore(self) -> None:
        self._place.set(self._value)
        self._copier.restore()
        for moment in self._moments:
            moment.restore()

    def same(self, other: _Held) -> bool:
        ours, theirs = ([(each.tensors, each.attributes) for each in one._moments] for one in (self, other))  # noqa: SLF001 -- of one class
        return equal(self.copy, other.copy) and equal(ours, theirs)

    @property
    def has_modules(self) -> bool:
        """Whether modules are in it that are no part of the one that is looked at."""
        return bool(self._moments)

    def untouched(self, other: _Held) -> bool:
        """Whether nobody has written to the place between two times, not even the same values anew."""
        return self._mark == other._mark and self.same(other)


@contextmanager
def kept(module: nn.Module) -> Iterator[None]:
    """Bring back what a module's code keeps outside of the module, whatever is run meanwhile."""
    held = [_Held(place, place.get()) for place in used(module)]
    try:
        yield
    finally:
        for one in held:
            one.restore()


class Surroundings:
    """The variables that a module's code uses, as they were when the first module had been built."""

    def __init__(self) -> None:
        """Begin with nothing known."""
        self._before: dict[Place, _Held] | None = None
        self._known: frozenset[int] = frozenset()

    def note(self, module: nn.Module) -> None:
        """Remember what is there, at the first call only."""
        if self._before is None:
            self._known = frozenset(map(id, reachable(module).values()))
            self._before = {place: _Held(place, place.get(), self._known) for place in used(module)}

    def deciding(self, module: nn.Module, load_and_run: Callable[[], Any]) -> tuple[Outside, ...]:
        """Name the variables without which a loaded module computes something else.

        Args:
            module: A module that was used.
            load_and_run: Builds a module, loads the checkpoint and gives the outputs.
        """
        before = self._before or {}
        places = dict.fromkeys((*before, *used(module)))
        now = {place: _Held(place, place.get(), self._known) for place in places}
        imported = _imported(before)
        start = {
            place: _Held(place, imported[place]) if place in imported else before.get(place) or _Held(place, _ABSENT)
            for place in places
        }
        emptied = [place for place, value in imported.items() if _is_empty(value)]
        filled = [place for place in emptied if before[place].untouched(now[place])]
        caches = [place for place in places if _is_cache(place.get())]
        start.update((place, _Held(place, _emptied(place.get()))) for place in caches)
        changed = [place for place in places if not start[place].same(now[place])]
        changed += [place for place in caches if place.get().cache_info().currsize]
        if not changed:
            return ()

        def outputs(kept: Sequence[Place]) -> Any:
            for place in changed:
                (now if place in kept else start)[place].restore()
            try:
                return load_and_run()
            except Exception as error:  # noqa: BLE001 -- where a variable is not as it was, anything may come of it
                return f"raised {type(error).__name__}"

        try:
            reference = outputs(changed)
            if isinstance(reference, str):
                return ()

            if filled:  # before the module was built: that counts where its own code would have filled it
                outputs(())
                for place in [place for place in filled if _is_empty(place.get())]:
                    now[place].restore()
                    changed.remove(place)

            def explains(kept: Sequence[Place]) -> bool:
                return first_difference(reference, outputs(kept)) is None

            if not explains(changed) or explains(()):
                return ()
            return tuple(
                Outside(place.key, place.home, *_described(now[place].copy, start[place].copy))
                for place in smallest(changed, explains)
            )
        finally:
            for held in now.values():
                held.restore()


def _described(now: Any, start: Any) -> tuple[str, str]:
    if _is_cache(now):
        return WHAT_IS_CACHED, EMPTY_CACHE
    one, other = ("not set" if value is _ABSENT else describe(value) for value in (now, start))
    return one, other


def filled_caches(module: nn.Module) -> tuple[Place, ...]:
    """List the functions with a cache of functools that a module's own code uses, where they hold something."""
    places = (place for place in used(module) if _is_cache(place.get()))
    return tuple(place for place in places if place.get().cache_info().currsize)


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """What a mapping outside of a module keeps for it, or for its id.

    Attributes:
        place: The place of the mapping, or of the object that has it.
        mapping: The mapping.
        value: What it keeps for a module or one of its submodules.
        other: The key of what stands in the same place in another module.
    """

    place: Place
    mapping: MutableMapping[Any, Any]
    value: Any
    other: Any

    @property
    def described(self) -> Outside:
        """What a report says of it."""
        return Outside(self.place.key, self.place.home, describe(self.value), "not set")


def kept_for(module: nn.Module, other: nn.Module) -> tuple[Kept, ...]:
    """List what mappings outside keep for a module and its submodules, and not for those of another."""
    return tuple(
        Kept(place, mapping, mapping[key], instead)
        for place in used(module)
        for mapping in _mappings(place.get())
        for one, twin in counterparts(module, other)
        for key, instead in ((one, twin), (id(one), id(twin)))
        if key in mapping and instead not in mapping
    )


def _mappings(value: Any) -> list[MutableMapping[Any, Any]]:
    """Give the mapping that a value is, or those that an object, such as a descriptor, has for attributes."""
    held = [value] if isinstance(value, MutableMapping) else getattr(value, "__dict__", {}).values()
    return [one for one in held if isinstance(one, MutableMapping)]


@contextmanager
def shared_with(kept: Iterable[Kept]) -> Iterator[None]:
    """Let the mappings keep the same for the other module."""
    for one in kept:
        one.mapping[one.other] = one.value
    try:
        yield
    finally:
        for one in kept:
            del one.mapping[one.other]


@contextmanager
def emptied(caches: Iterable[Place]) -> Iterator[None]:
    """Let functions have empty caches; afterwards they have their own again, with what they held."""
    held = [(place, place.get()) for place in caches]
    for place, cached in held:
        place.set(_emptied(cached))
    try:
        yield
    finally:
        for place, cached in held:
            place.set(cached)


def _is_cache(value: Any) -> bool:
    """Whether a value is a function of the user's own with a cache of functools."""
    return isinstance(value, _CACHED) and _is_own(value.__module__)


def _emptied(cached: Any) -> Any:
    """Give the same function with a cache of its own, for a cache that is emptied cannot be filled again."""
    return lru_cache(**cached.cache_parameters())(cached.__wrapped__)


def _imported(before: Mapping[Place, _Held]) -> dict[Place, Any]:
    """Give what a new process has in those places that hold tensors or modules and whose module it can import."""
    found = {}
    for place, held in before.items():
        if isinstance(place.owner, (CellType, ContextVar)) or not (spare.holds_tensor(place.get()) or held.has_modules):
            continue
        home = place.owner.__name__ if isinstance(place.owner, ModuleType) else place.owner.__module__
        values = spare.values(home)
        if values and (there := values.get(dotted(place), _ABSENT)) is not ...:
            found[place] = there
    return found


def _is_empty(value: Any) -> bool:
    return value is _ABSENT or spare.is_empty(value)


def dotted(place: Place) -> str:
    """Give the dotted path of a place within its Python module."""
    return place.name if isinstance(place.owner, ModuleType) else f"{place.owner.__qualname__}.{place.name}"


# ------------------------------------------------------------------------------------------------- what the code uses


def code_of(module: nn.Module) -> Iterator[CodeType]:
    """Give the code of all functions of the user's own that a module's classes are made of or call."""
    seen: dict[int, Any] = {}
    for kind in dict.fromkeys(kind for one in module.modules() for kind in type(one).__mro__):
        if _is_own(kind.__module__):
            for _ in _of_class(kind, seen):
                pass
    for function in seen.values():
        if isinstance(function, FunctionType):
            yield from _nested(function.__code__)


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for one in code.co_consts:
        if isinstance(one, CodeType):
            yield from _nested(one)


def used(module: nn.Module) -> tuple[Place, ...]:
    """List the variables outside of a module that its own code uses, as far as they can hold state.

    Code of libraries, what is installed and what belongs to Python, is not looked into.
    """
    kinds: dict[type, str] = {}
    for path, one in module.named_modules():
        for kind in type(one).__mro__:
            if _is_own(kind.__module__):
                kinds.setdefault(kind, path)
    seen: dict[int, Any] = {}
    found: dict[Place, None] = {}
    for place in [place for kind in kinds for place in _of_class(kind, seen)]:
        found.setdefault(place)
        for kind, path in kinds.items():
            if isinstance(place.owner, type) and issubclass(kind, place.owner):  # a subclass may get its own value
                found.pop(Place(kind, place.name, ""), None)
                found.setdefault(Place(kind, place.name, ".".join(filter(None, (path, place.name)))))
    return tuple(found)


def _of_class(kind: type, seen: dict[int, Any]) -> Iterator[Place]:
    """List the attributes of a class, and what its methods use."""
    seen[id(kind)] = kind
    for name, value in vars(kind).items():
        functions = _functions(value)
        for function in functions:
            yield from _of_function(function, seen)
        if _is_cache(value) or (not functions and not name.startswith("__") and _may_hold_state(value)):
            yield Place(kind, name, name)


def _of_function(function: FunctionType, seen: dict[int, Any]) -> Iterator[Place]:
    """List the globals and the closure's variables that a function uses, and those of what it calls."""
    if id(function) in seen or not _is_own(function.__module__):
        return
    seen[id(function)] = function
    for name, value in vars(function).items():
        if _may_hold_state(value):
            yield Place(function, name, f"{function.__name__}.{name}")
    for name, value in _defaults(function).items():
        if isinstance(value, (list, dict, set, deque)):  # one object for all calls
            yield Place(function, name, name)
    home = sys.modules.get(function.__module__)
    names = _names(function.__code__)
    if names & {"environ", "getenv"}:
        yield from (Place(os.environ, name, name) for name in _strings(function.__code__) if name in os.environ)
    for name in names:
        value = function.__globals__.get(name, _ABSENT)
        if isinstance(value, ContextVar):
            yield Place(value, name, name)
        elif home is not None and vars(home) is function.__globals__ and _may_hold_state(value):
            yield Place(home, name, name)
        yield from _within(value, names, seen)
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        place = Place(cell, name, name)
        value = place.get()
        if _may_hold_state(value):
            yield place
        yield from _within(value, names, seen)


def _defaults(function: FunctionType) -> dict[str, Any]:
    """Give the default values of a function's parameters by name."""
    code = function.__code__
    positional = code.co_varnames[: code.co_argcount]
    values = function.__defaults__ or ()
    return {
        **dict(zip(positional[len(positional) - len(values) :], values, strict=True)),
        **(function.__kwdefaults__ or {}),
    }


def _within(value: Any, names: Collection[str], seen: dict[int, Any]) -> Iterator[Place]:
    """List what a function or class that is used uses itself, and the variables of a Python module that are used."""
    if isinstance(value, FunctionType) or _is_cache(value):
        yield from _of_function(getattr(value, "__wrapped__", value), seen)
    elif isinstance(value, type):
        if id(value) not in seen and _is_own(value.__module__):
            yield from _of_class(value, seen)
    elif isinstance(value, ModuleType) and _is_own(value.__name__):
        for name in names:
            inner = vars(value).get(name, _ABSENT)
            if _may_hold_state(inner):
                yield Place(value, name, name)
            elif not isinstance(inner, ModuleType):
                yield from _within(inner, names, seen)


def _functions(value: Any) -> list[FunctionType]:
    if isinstance(value, (staticmethod, classmethod)):
        value = value.__func__
    if isinstance(value, property):
        return [one for one in (value.fget, value.fset) if isinstance(one, FunctionType)]
    if isinstance(value, cached_property):
        value = value.func
    value = getattr(value, "__wrapped__", value)
    return [value] if isinstance(value, FunctionType) else []


@cache
def _names(code: CodeType) -> frozenset[str]:
    """Give every name that a piece of code uses, code within it included."""
    inner = (_names(one) for one in code.co_consts if isinstance(one, CodeType))
    return frozenset(code.co_names).union(*inner)


@cache
def _strings(code: CodeType) -> frozenset[str]:
    """Give every string that stands in a piece of code, code within it included."""
    inner = (_strings(one) for one in code.co_consts if isinstance(one, CodeType))
    return frozenset(one for one in code.co_consts if isinstance(one, str)).union(*inner)


def _may_hold_state(value: Any) -> bool:
    """Whether a value is one that code may change or set anew, and that can be copied and compared."""
    if isinstance(value, (type, FunctionType, MethodType, ModuleType, partial)):
        return False
    if _is_cache(value):
        return True
    if isinstance(value, (*_PLAIN, *CONTAINERS, torch.Tensor, nn.Module, threading.local, WeakKeyDictionary, array)):
        return value is not _ABSENT
    return type(value).__module__ == "numpy" or _is_own(type(value).__module__) or _is_record(value)


def _is_record(value: Any) -> bool:
    """Whether a value is an object of a library's that holds plain values alone, such as a namespace; no generator."""
    held = getattr(value, "__dict__", {})
    return bool(held) and not isinstance(value, random.Random) and all(map(_is_plain, held.values()))


def _is_plain(value: Any) -> bool:
    if isinstance(value, CONTAINERS):
        return all(map(_is_plain, items_of(value)))
    return isinstance(value, (*_PLAIN, torch.Tensor, torch.dtype))


@cache
def _is_own(name: str) -> bool:
    """Whether a Python module is the user's own code, and neither installed nor a part of Python."""
    module = sys.modules.get(name)
    if name == "__main__":
        return True
    file = getattr(module, "__file__", None)
    return file is not None and not str(Path(file).resolve()).startswith(_LIBRARIES)
