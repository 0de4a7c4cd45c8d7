"""What a run shares with others through its process: globals, class attributes and closures of the user's code.

A new process has none of what was put there during a run. Each run therefore begins with the values that were there
before the first one.
"""

from __future__ import annotations

import inspect
import random
import sys
from collections import deque
from functools import partial
from itertools import count
from pathlib import Path
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any

import torch

from pytest_ckpt.copying import Copier
from pytest_ckpt.resume.slots import ABSENT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_ckpt.resume.slots import Via

_PLAIN = (bool, int, float, complex, str, bytes, type(None), list, dict, tuple, set, deque, torch.Tensor)
_GENERATORS = (torch.Generator, random.Random, count)


class Environment:
    """The bindings outside of a run that its code names, and what they held at the beginning."""

    def __init__(self, training: Any) -> None:
        """Look at a factory, the functions and the classes that it names, as far as they are of the same module."""
        self._places: dict[tuple[int, str], tuple[str, Any, str, Via]] = {}
        self._first: list[tuple[Any, str, Via, Any]] = []
        self._copier = Copier()
        self._seen: set[int] = set()
        self._home = _package(getattr(training, "__module__", None) or "")
        self._advanced: dict[tuple[int, str], Any] = {}
        self.add(training)

    def add(self, value: Any) -> None:
        """Look at one more function, class or instance."""
        for where, code in _functions(value, self._seen):
            if _package(where) == self._home or _is_users(where):
                self._look(where, code)

    def bindings(self) -> list[tuple[str, Any, Any, Via, Any]]:
        """Give path, holder, name, way and present value of each binding."""
        return [(path, *place, _read(*place)) for path, *place in self._places.values()]

    def built(self) -> None:
        """Take note of the counters that building a run has moved, now that the first one is built."""
        for holder, name, via, first in self._first:
            now = _read(holder, name, via)
            if isinstance(now, (int, count)) and repr(now) != repr(first):
                self._advanced[id(holder), name] = now if isinstance(now, int) else _start(now)[0]

    @property
    def counts(self) -> bool:
        """Whether the process counts how many runs were built."""
        return bool(self._advanced)

    def reset(self, *, second: bool = False) -> None:
        """Give every binding the value that it had at the beginning.

        Args:
            second: Whether counters of runs shall stand as if one had been built already in the process.
        """
        for holder, name, via, value in self._first:
            moved = self._advanced.get((id(holder), name), value) if second else value
            _write(holder, name, via, moved if type(value) is not count else count(*_start(moved)))
        self._copier.restore()

    def _look(self, where: str, function: FunctionType | type) -> None:
        if isinstance(function, type):
            for name, value in list(vars(function).items()):
                if not name.startswith("__") and _plain(value):
                    self._remember(f"{function.__name__}.{name}", function, name, "attribute")
            return
        cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=False))
        for name, cell in cells.items():
            if _plain(_read(cell, name, "cell")):
                self._remember(name, cell, name, "cell")
            else:
                self.add(_read(cell, name, "cell"))
        for name in _names(function.__code__):
            value = function.__globals__.get(name, ABSENT)
            if _plain(value):
                self._remember(name, function.__globals__, name, "item")
            elif getattr(value, "__module__", None) == where:
                self.add(value)

    def _remember(self, path: str, holder: Any, name: str, via: Via) -> None:
        place = (id(holder), name)
        if place in self._places:
            return
        self._places[place] = (path, holder, name, via)
        value = _read(holder, name, via)
        if isinstance(value, count):
            value = count(*_start(value))
            _write(holder, name, via, count(*_start(value)))
        self._copier.copy(value)
        self._first.append((holder, name, via, value))


def _functions(value: Any, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """Give the functions and classes that a value consists of, each once, with the name of its module."""
    if isinstance(value, partial):
        value = value.func
    value = inspect.unwrap(getattr(value, "__func__", value))
    if isinstance(value, property):
        value = value.fget
    if not isinstance(value, (FunctionType, type)):
        value = type(value)
    module = getattr(value, "__module__", "") or ""
    if id(value) in seen or module.partition(".")[0] in {"builtins", "torch", "numpy", "collections", "types"}:
        return
    seen.add(id(value))
    yield module, value
    if isinstance(value, type):
        for one in [*vars(value).values(), *value.__bases__]:
            if isinstance(one, (FunctionType, classmethod, staticmethod, property, type)):
                yield from _functions(one, seen)


def _start(value: Any) -> tuple[int, ...]:
    """Give the arguments with which `itertools.count` begins where a counter of that kind stands."""
    return (value,) if isinstance(value, int) else tuple(map(int, repr(value)[6:-1].split(", ")))


def _package(module: str) -> str:
    return module.partition(".")[0]


def _is_users(module: str) -> bool:
    """Whether a module is the user's: neither the standard library's nor an installed package's."""
    file = getattr(sys.modules.get(module), "__file__", None) or ""
    return _package(module) not in sys.stdlib_module_names and not {"site-packages", "dist-packages"} & {
        *Path(file).parts
    }


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _plain(value: Any) -> bool:
    return isinstance(value, (*_PLAIN, *_GENERATORS)) or type(value).__module__.startswith("numpy")


def _read(holder: Any, name: str, via: Via) -> Any:
    if via == "cell":
        try:
            return holder.cell_contents
        except ValueError:
            return ABSENT
    return vars(holder).get(name, ABSENT) if via == "attribute" else holder.get(name, ABSENT)


def _write(holder: Any, name: str, via: Via, value: Any) -> None:
    if via == "cell":
        holder.cell_contents = value
    elif via == "attribute":
        setattr(holder, name, value)
    else:
        holder[name] = value
