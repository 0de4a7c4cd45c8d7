"""Gives the loader what it must refuse, and the saver a second call: what they do then is noted, not judged."""

from __future__ import annotations

import copy
import io
import logging
import re
import shutil
import sys
import warnings
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import torch
from torch import nn

from pytest_ckpt import checkpoint_file
from pytest_ckpt.compare import bits_equal, describe, difference, differences, entries, equal, tied_groups
from pytest_ckpt.facts import loads_its_own_way, saves_its_own_way, unwrapped
from pytest_ckpt.snapshot import Prints
from pytest_ckpt.trip import Changed, Lapse, Trip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

_VARYING = re.compile(r"\S*pytest-ckpt-\S*|\d+\.\d+|0x[0-9a-f]+")  # what differs between two good loads as well
_FILL = 0.734375  # exact in every floating-point dtype down to float8


def probe(trip: Trip, path: Path, *, strictness: bool) -> None:
    """Note what the loader and the saver do beyond a plain round trip.

    Args:
        trip: A finished trip on this machine; the facts are added to it. Its modules are changed.
        path: The checkpoint.
        strictness: Whether to give the loader checkpoints that do not fit.
    """
    if trip.loaded is None:
        return
    if trip.call.load is not None:
        trip.truncated = _truncated(trip, path)
        trip.follows = _follows(trip, path)
    if not trip.differences:
        trip.lapses = _lapses(trip, path) if strictness else ()
        trip.stale = _stale(trip, path)


# ---------------------------------------------------------------------------------------------------------- strictness


def _lapses(trip: Trip, path: Path) -> tuple[Lapse, ...]:
    """Give the loader checkpoints that lack an entry, or hold one in another shape.

    The first and the last parameter are tried, and a lapse is noted only if the loader takes both: one that tolerates
    some entries on purpose knows which.
    """
    if trip.call.load is not None:
        attempt: Callable[[str, str], str] | None = _file_attempt(trip, path)
    elif trip.call.load_state is not None or loads_its_own_way(trip.bare):
        attempt = _state_attempt(trip)
    else:
        attempt = None  # torch's own load_state_dict, whose strictness is not the module's to answer for
    if attempt is None:
        return ()
    found = []
    for kind in ("dropped", "reshaped"):
        outcomes: list[Lapse] = []
        for key in _tried(trip):
            outcome = attempt(kind, key)
            if not outcome:
                break
            outcomes.append(Lapse(kind, key, outcome))  # type: ignore[arg-type]
        else:
            found += outcomes[:1]
    return tuple(found)


def _tried(trip: Trip) -> tuple[str, ...]:
    tied = frozenset().union(*tied_groups(entries(trip.bare)))
    keys = [
        name
        for name, tensor in entries(trip.bare).items()
        if isinstance(tensor, nn.Parameter)
        and tensor.numel() > 1
        and tensor.dtype.is_floating_point
        and name in trip.carried
        and name not in tied
        and not trip.call.allowed(name)
    ]
    return (keys[0], keys[-1]) if len(keys) > 1 else tuple(keys)


def _file_attempt(trip: Trip, path: Path) -> Callable[[str, str], str] | None:
    content = checkpoint_file.read(path)
    state = checkpoint_file.find_state(content)
    if state is None or trip.call.load is None:
        return None
    load, expected = trip.call.load, entries(trip.bare)
    with _heard() as usual:
        try:
            load(path)
        except Exception:  # noqa: BLE001 -- it worked once; without a usual there is no unusual
            return None

    def attempt(kind: str, key: str) -> str:
        name = key if key in state else trip.name_in_file(key)
        if name not in state:
            return ""
        folder = _beside(path, f"{kind}-{key}")
        torch.save(checkpoint_file.with_state(content, state, _without(state, kind, name)), folder / path.name)
        with _heard() as heard:
            try:
                module = load(folder / path.name)
            except (Exception, SystemExit):  # noqa: BLE001 -- a refusal, which is what is wanted
                return ""
        if not isinstance(module, nn.Module):
            return ""
        now = entries(unwrapped(module)).get(key)
        if now is None or difference("", expected[key], now) is None:
            return ""
        return _outcome(now, expected[key], kind, swallowed=heard.swallowed, said=heard.text != usual.text)

    return attempt


def _state_attempt(trip: Trip) -> Callable[[str, str], str] | None:
    content, loaded = trip.content, trip.loaded
    state = checkpoint_file.find_state(content)
    if state is None or loaded is None:
        return None
    with _heard() as usual:
        try:
            usual_result = trip.call.put(loaded, copy.copy(content))
        except Exception:  # noqa: BLE001 -- it worked once; without a usual there is no unusual
            return None

    def attempt(kind: str, key: str) -> str:
        if key not in state:
            return ""
        other = copy.copy(content)  # its own copy() would lose the versions in `_metadata`
        other.pop(key)
        other.update(_without({key: state[key]}, kind, key))
        before = entries(loaded)[key].detach().clone()
        with _heard() as heard:
            try:
                result = trip.call.put(loaded, other)
            except (Exception, SystemExit):  # noqa: BLE001 -- a refusal, which is what is wanted
                return ""
        now = entries(loaded).get(key)
        if now is None or (kind == "dropped" and not bits_equal(now, before)):
            return ""  # filled with a default on purpose
        said = heard.text != usual.text or not equal(result, usual_result)
        return _outcome(now, before, kind, swallowed=heard.swallowed, said=said)

    return attempt


def _beside(path: Path, name: str) -> Path:
    """Copy the folder of a checkpoint, for a file of the same name with other content."""
    folder = path.parent.parent / f"{path.parent.name}-{name}"
    shutil.copytree(path.parent, folder)
    return folder


def _without(state: dict[str, Tensor], kind: str, name: str) -> dict[str, Tensor]:
    if kind == "dropped":
        return {key: value for key, value in state.items() if key != name}
    return {key: torch.full((1,), _FILL).to(value.dtype) if key == name else value for key, value in state.items()}


def _outcome(now: Tensor, expected: Tensor, kind: str, *, swallowed: bool, said: bool) -> str:
    """Put into a word what became of an entry that was dropped or reshaped; empty where that is as it should be."""
    if swallowed:
        return "swallowed"
    if kind == "reshaped" and now.shape != expected.shape:
        return ""  # a module that takes its shapes from the checkpoint
    if kind == "reshaped" and bool((now.detach().float() == _FILL).all()):
        return "broadcast"
    return "" if said else "kept"


class _Heard:
    """What a loader let the user know.

    Attributes:
        swallowed: Whether load_state_dict raised inside it although the loader did not.
        text: Everything that it printed, logged or warned of; a loader that says the same of a good checkpoint and of
            one that does not fit has said nothing.
    """

    def __init__(self) -> None:
        self.swallowed = False
        self.text = ""


@contextmanager
def _heard() -> Iterator[_Heard]:
    """Listen to warnings, logs, output, and to load_state_dict raising."""
    heard, output, records = _Heard(), io.StringIO(), []
    load_state_dict, handle = nn.Module.load_state_dict, logging.Logger.handle

    def listening(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        try:
            return load_state_dict(self, *args, **kwargs)
        except RuntimeError:
            heard.swallowed = True
            raise

    def recording(self: logging.Logger, record: logging.LogRecord) -> None:
        records.append(record.getMessage())
        handle(self, record)

    with (
        warnings.catch_warnings(record=True) as caught,
        redirect_stdout(output),
        redirect_stderr(output),
        mock.patch.object(nn.Module, "load_state_dict", listening),
        mock.patch.object(logging.Logger, "handle", recording),
    ):
        warnings.simplefilter("always")
        yield heard
    words = "\n".join([output.getvalue(), *records, *(str(one.message) for one in caught)])
    heard.text = _VARYING.sub("", words)


# ------------------------------------------------------------------------------------------------- the file afterwards


def _truncated(trip: Trip, path: Path) -> str:
    """Let the loader read the first half of the file; describe what it gives if it does not refuse."""
    if trip.call.load is None or trip.loaded is None or not path.is_file():
        return ""
    folder = _beside(path, "truncated")
    data = path.read_bytes()
    (folder / path.name).write_bytes(data[: len(data) // 2])
    with _heard():
        try:
            given = trip.call.read(folder / path.name)
        except (Exception, SystemExit):  # noqa: BLE001 -- a refusal, which is what is wanted
            return ""
    if (
        not isinstance(given, nn.Module)
        or next(differences(entries(trip.loaded), entries(unwrapped(given))), None) is None
    ):
        return ""  # read from a backup
    return describe(given)


def _follows(trip: Trip, path: Path) -> tuple[Changed, ...]:
    """Save another module over the file, the user's way, and list the loaded entries that change with it.

    Only a process that still maps the file can see it change; Linux tells which do.
    """
    maps = Path("/proc/self/maps")
    if trip.loaded is None or not path.is_file() or not sys.platform.startswith("linux"):
        return ()
    if str(path) not in maps.read_text(encoding="utf-8", errors="replace"):
        return ()
    before, size = Prints(entries(trip.loaded)), path.stat().st_size
    save = trip.call.save or (lambda module, place: torch.save(module.state_dict(), place))
    try:
        save(trip.call.build_apart(trip.source), path)
    except Exception:  # noqa: BLE001 -- it worked once; nothing follows from this
        return ()
    finally:
        if path.stat().st_size < size:  # whoever reads behind the end of a mapped file is killed
            with path.open("r+b") as file:
                file.truncate(size)
    return before.changes(entries(trip.loaded))


def _stale(trip: Trip, path: Path) -> tuple[Changed, ...]:
    """Move the source's entries and save once more; list those that the second file holds as the first did."""
    if trip.call.save is None and not saves_its_own_way(trip.bare):
        return ()
    live = {name: tensor for name, tensor in entries(trip.bare).items() if name in trip.carried}
    first = {name: tensor.detach().clone() for name, tensor in live.items() if tensor.dtype.is_floating_point}
    moved = [name for name in first if _turn_over(live[name])]
    second = path.parent.parent / f"{path.parent.name}-second"
    second.mkdir()
    try:
        if trip.call.save is not None:
            trip.call.save(trip.source, second / path.name)
            written = checkpoint_file.find_state(checkpoint_file.read(second / path.name)) or {}
        else:
            written = checkpoint_file.tensors(trip.bare.state_dict())
    except Exception:  # noqa: BLE001 -- it worked once; nothing follows from this
        return ()
    return tuple(
        Changed(name, describe(live[name]), describe(written[name]))
        for name in moved
        if name in written
        and difference(name, live[name], written[name]) is not None
        and difference(name, first[name], written[name]) is None
    )


def _turn_over(tensor: Tensor) -> bool:
    """Give a tensor values far from its own; whether that was possible."""
    try:
        with torch.no_grad():
            tensor.detach().copy_(-tensor.detach() - 1)
    except (RuntimeError, NotImplementedError):
        return False
    return True
