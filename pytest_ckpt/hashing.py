"""State that follows the hashes of strings: the order of a set, and `hash()` itself, are others in each new process.

Within one process they agree, so nobody misses what was not saved. A module whose code uses either is loaded in two new
processes with different hashes, and their outputs are compared.
"""

from __future__ import annotations

import dis
import marshal
import pickle
import sys
import warnings
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from inspect import CO_OPTIMIZED
from operator import attrgetter
from pathlib import Path
from types import CellType, CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from pytest_ckpt import formats, spare
from pytest_ckpt.attribution import smallest
from pytest_ckpt.compare import describe, equal
from pytest_ckpt.facts import unwrapped
from pytest_ckpt.moment import attributes, set_attribute
from pytest_ckpt.outputs import Runner, first_difference, leaves, same_randomness, set_mode
from pytest_ckpt.surroundings import Outside, Place, code_of, dotted, used

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from pytest_ckpt.call import Call
    from pytest_ckpt.trip import Trip

_HASHES = ("1", "2")
_NAMES = frozenset({"hash", "set", "frozenset"})
_LOADS = frozenset({"LOAD_GLOBAL", "LOAD_NAME"})
_SETS = frozenset(dis.opmap[name] for name in ("BUILD_SET", "SET_ADD"))
_COMPREHENSIONS = ("<setcomp>", "<listcomp>", "<dictcomp>", "<genexpr>")
_CONTAINERS = (dict, list, tuple, set, frozenset)


def deciding(call: Call, trip: Trip, path: Path, run: Callable[[nn.Module], Any]) -> tuple[Outside, ...]:
    """Name what follows the hashes of strings and decides the outputs.

    Args:
        call: What the user asked for.
        trip: A finished trip in which nothing was found.
        path: The checkpoint.
        run: Puts a module into the mode that outputs are compared in, and runs it.
    """
    module = trip.loaded
    if module is None or not _uses_hashes(module):
        return ()
    question = _question(call, trip, path, module)
    if question is None:
        return ()
    try:
        one, other = spare.ask(_there, question, _imports(question), _HASHES)
    except Exception:  # noqa: BLE001 -- it cannot be asked; nothing follows from that
        return ()
    if not one or not other or first_difference(one["outputs"], other["outputs"]) is None:
        return ()
    return _named(trip, run, one, other) or (
        Outside("hash()", "the process", "its own hashes of strings", "others", hashed=True),
    )


# ------------------------------------------------------------------------------------------------------------ suspicion


def _uses_hashes(module: nn.Module) -> bool:
    """Whether the module's own code, or a Python module whose variables it uses, makes a set or hashes something."""
    if any(map(_hashes, code_of(module))):
        return True
    return any(_hashes(code) for home in dict.fromkeys(map(_home, _places(module))) for code in _imported(home))


def _hashes(code: CodeType) -> bool:
    if not _SETS.isdisjoint(code.co_code[::2]):
        return True
    named = not _NAMES.isdisjoint(code.co_names)  # though it may be a method, as that of a context variable
    return named and any(one.opname in _LOADS and one.argval in _NAMES for one in dis.get_instructions(code))


@cache
def _imported(name: str) -> tuple[CodeType, ...]:
    """Give the code of a Python module that ran when it was imported: its own, and that of its classes' bodies."""
    try:
        code = sys.modules[name].__spec__.loader.get_code(name)  # type: ignore[union-attr]  # any loader
    except Exception:  # noqa: BLE001 -- a loader without code, such as that of a notebook
        return ()
    return tuple(_run_at_once(code)) if code is not None else ()


def _run_at_once(code: CodeType) -> Iterator[CodeType]:
    yield code
    for one in code.co_consts:
        if isinstance(one, CodeType) and (not one.co_flags & CO_OPTIMIZED or one.co_name in _COMPREHENSIONS):
            yield from _run_at_once(one)


def _places(module: nn.Module) -> dict[tuple[str, str], Place]:
    """Give the variables that the module's code uses, of Python modules and classes, by where they are."""
    places = [place for place in used(module) if isinstance(place.owner, (ModuleType, type))]
    return {(_home_of(place), dotted(place)): place for place in places}


def _home_of(place: Place) -> str:
    return str(place.owner.__name__ if isinstance(place.owner, ModuleType) else place.owner.__module__)


def _home(place: tuple[str, str]) -> str:
    return place[0]


# ------------------------------------------------------------------------------------------------------------- question


def _question(call: Call, trip: Trip, path: Path, module: nn.Module) -> dict[str, Any] | None:
    """Give what another process needs to load the checkpoint and run the module; None if it cannot be sent."""
    try:
        question = {
            "make": _sent(call.make),
            "load": _sent(call.load),
            "load_state": _sent(call.load_state),
            "allowed": (call.allow_missing, call.allow_unexpected),
            "inputs": pickle.dumps(call.runner.inputs),
            "mode": call.mode,
            "path": str(path),
            "format": trip.leg.format,
            "globals": [key for key, place in _places(module).items() if _is_plain(place.get())],
            "dtype": torch.get_default_dtype(),
        }
        pickle.dumps(question)
    except Exception:  # noqa: BLE001 -- what is bound to this process stays here
        return None
    return question


def _imports(question: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name the Python modules that the functions of a question belong to, with their files."""
    functions = (question["make"], question["load"], question["load_state"])
    return list(dict.fromkeys((one.module, one.file) for one in functions if one is not None))


@dataclass(frozen=True)
class _Function:
    """A function of the user's, to be found or made again in another process.

    Attributes:
        module: The Python module that it belongs to.
        file: The file of that.
        pickled: The function, where it can be pickled.
        parts: Its code, its defaults and what its closure holds, where it cannot.
    """

    module: str
    file: str
    pickled: bytes = b""
    parts: tuple[bytes, Any, tuple[Any, ...]] | None = None

    def made(self) -> Any:
        """Give the function, in the other process."""
        home = spare.imported(self.module, self.file)
        if self.parts is None:
            return pickle.loads(self.pickled)  # noqa: S301 -- from the process that asks
        code, defaults, cells = self.parts
        closure = tuple(CellType(one.made() if isinstance(one, _Function) else one) for one in cells)
        return FunctionType(marshal.loads(code), vars(home), "make", defaults, closure)  # noqa: S302 -- as above


def _sent(function: Any) -> _Function | None:
    """Describe a function for another process.

    Raises:
        Exception: It is bound to this one.
    """
    if function is None:
        return None
    function = getattr(function, "func", function) if not isinstance(function, partial) else function
    name = getattr(function, "__module__", None) or type(function).__module__
    file = getattr(sys.modules[name], "__file__", None)
    if name == "__main__" or file is None:
        raise pickle.PicklingError(f"{name} cannot be imported")
    with suppress(Exception):
        return _Function(name, file, pickle.dumps(function))
    cells = [one.cell_contents for one in function.__closure__ or ()]
    held = tuple(_sent(one) if isinstance(one, (FunctionType, type)) else one for one in cells)
    return _Function(name, file, parts=(marshal.dumps(function.__code__), function.__defaults__, held))


# ------------------------------------------------------------------------------------------------- in the other process


def _there(question: Mapping[str, Any]) -> dict[str, Any]:
    """Load the checkpoint, run the module, and give its outputs and what may have followed the hashes."""
    torch.set_num_threads(1)
    torch.set_default_dtype(question["dtype"])
    load, load_state = (one and one.made() for one in (question["load"], question["load_state"]))
    path = Path(question["path"])
    with warnings.catch_warnings(), same_randomness():
        warnings.simplefilter("ignore")
        if load is not None:
            module = load(path)
        else:
            module = question["make"].made()()
            state = formats.get(question["format"]).read(path, "cpu", module.state_dict)
            if load_state is not None:
                load_state(module, state)
            else:
                module.load_state_dict(state, strict=not any(question["allowed"]))
    set_mode(module, training=question["mode"] == "train")
    outputs = Runner(pickle.loads(question["inputs"]))(module)  # noqa: S301 -- as above
    known = {(home, path): attrgetter(path)(sys.modules[home]) for home, path in question["globals"]}
    return {
        "outputs": {place: value for place, value in leaves(outputs).items() if spare.can_be_sent(value)},
        "attributes": _ordered(_plain_attributes(unwrapped(module))),
        "globals": _ordered(known),
    }


def _plain_attributes(module: nn.Module) -> dict[tuple[str, str], Any]:
    return {
        (path, name): value
        for path, one in module.named_modules()
        for name, value in attributes(one).items()
        if _is_plain(value)
    }


def _is_plain(value: Any) -> bool:
    return isinstance(value, _CONTAINERS) and bool(value) and spare.can_be_sent(value)


def _ordered(found: Mapping[tuple[str, str], Any]) -> dict[tuple[str, str], Any]:
    """Give sets as lists, in their order there."""
    return {key: list(value) if isinstance(value, (set, frozenset)) else value for key, value in found.items()}


# --------------------------------------------------------------------------------------------------------------- naming


def _named(
    trip: Trip, run: Callable[[nn.Module], Any], one: Mapping[str, Any], other: Mapping[str, Any]
) -> tuple[Outside, ...]:
    """Name the attributes and globals which, taken from another process, give the outputs that it gave.

    Where none do, a set in another order is what the outputs follow.
    """
    module = trip.loaded
    assert module is not None  # noqa: S101 -- for the type checker: asked only where there is one
    modules = dict(unwrapped(module).named_modules())
    here = _plain_attributes(unwrapped(module))
    found = [
        _Suspect(".".join(filter(None, key)), "", partial(set_attribute, modules[key[0]], key[1]), here[key], value)
        for key, value in one["attributes"].items()
        if key in here and not equal(value, other["attributes"].get(key))
    ]
    found += [
        _Suspect(place.key, place.home, place.set, place.get(), one["globals"][key])
        for key, place in _places(module).items()
        if key in one["globals"] and not equal(one["globals"][key], other["globals"].get(key))
    ]

    def explains(kept: Sequence[_Suspect]) -> bool:
        for suspect in kept:
            suspect.put(suspect.there)
        try:
            return first_difference(one["outputs"], leaves(run(module))) is None
        except Exception:  # noqa: BLE001 -- with values from elsewhere, anything may come of it
            return False
        finally:
            for suspect in kept:
                suspect.put(suspect.here)

    values = [suspect for suspect in found if type(suspect.here) is type(suspect.there)]
    chosen = smallest(values, explains) if values and explains(values) else found[:1]
    return tuple(
        Outside(suspect.key, suspect.home, describe(suspect.here), describe(suspect.there), hashed=True)
        for suspect in chosen
    )


@dataclass(frozen=True, eq=False)
class _Suspect:
    """A value that is another in each process, how to set it, and what it is here and there."""

    key: str
    home: str
    put: Callable[[Any], None]
    here: Any
    there: Any
