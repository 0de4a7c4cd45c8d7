"""Gives the loader what it must refuse, and the saver a second call: what they do then is noted, not judged."""

from __future__ import annotations

import io
import logging
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
from pytest_ckpt.compare import bits_equal, describe, difference, entries, tied_groups
from pytest_ckpt.distinguish import distinguish
from pytest_ckpt.facts import unwrapped
from pytest_ckpt.snapshot import Prints
from pytest_ckpt.trip import Changed, Lapse, Trip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

_FILL = 0.734375  # exact in every floating-point dtype down to float8


def probe(trip: Trip, path: Path) -> None:
    """Note what the loader and the saver do beyond a plain round trip.

    Args:
        trip: A finished trip on this machine; the facts are added to it. Its modules are changed.
        path: The checkpoint.
    """
    if trip.loaded is None:
        return
    if trip.call.load is not None:
        trip.truncated = _truncated(trip, path)
        trip.follows = _follows(trip, path)
    if not trip.differences:
        trip.lapses = _lapses(trip, path)
        trip.stale = _stale(trip, path)


# ---------------------------------------------------------------------------------------------------------- strictness


def _lapses(trip: Trip, path: Path) -> tuple[Lapse, ...]:
    """Give the loader checkpoints that lack an entry, or hold one in another shape.

    The first and the last parameter are tried, and a lapse is noted only if the loader takes both: one that tolerates
    some entries on purpose knows which.
    """
    if trip.call.load is not None:
        attempt: Callable[[str, str], str] | None = _file_attempt(trip, path)
    elif trip.call.load_state is not None or _has_loading_of_its_own(trip.bare):
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


def _has_loading_of_its_own(module: nn.Module) -> bool:
    """Whether loading goes through code that is not torch's: an override or a hook that is not a parametrization's."""
    for one in module.modules():
        for name in ("load_state_dict", "_load_from_state_dict"):
            function = getattr(type(one), name)
            if not function.__module__.startswith("torch."):
                return True
        hooks = [*one._load_state_dict_post_hooks.values(), *one._load_state_dict_pre_hooks.values()]  # noqa: SLF001 -- no public way
        inner = [getattr(hook, "hook", hook) for hook in hooks]
        if any(not str(getattr(hook, "__module__", "")).startswith("torch.") for hook in inner):
            return True
    return False


def _file_attempt(trip: Trip, path: Path) -> Callable[[str, str], str] | None:
    content = checkpoint_file.read(path)
    state = checkpoint_file.find_state(content)
    if state is None or trip.call.load is None:
        return None
    load = trip.call.load
    expected = entries(trip.bare)

    def attempt(kind: str, key: str) -> str:
        name = key if key in state else trip.name_in_file(key)
        if name not in state:
            return ""
        folder = path.parent.parent / f"{path.parent.name}-{kind}-{len(list(path.parent.parent.iterdir()))}"
        shutil.copytree(path.parent, folder)
        torch.save(checkpoint_file.with_state(content, state, _without(state, kind, name)), folder / path.name)
        with _heard() as heard:
            try:
                module = load(folder / path.name)
            except Exception:  # noqa: BLE001 -- a refusal, which is what is wanted
                return ""
        if not isinstance(module, nn.Module):
            return ""
        return _outcome(entries(unwrapped(module)).get(key), expected[key], heard, kind)

    return attempt


def _state_attempt(trip: Trip) -> Callable[[str, str], str] | None:
    content, loaded = trip.content, trip.loaded
    if content is None or loaded is None:
        return None
    state = checkpoint_file.find_state(content) or {}

    def attempt(kind: str, key: str) -> str:
        if key not in state or loaded is None:
            return ""
        other = content.copy()
        other.pop(key)
        other.update(_without({key: state[key]}, kind, key))
        before = entries(loaded)[key].detach().clone()
        with _heard() as heard:
            try:
                result = trip.call.put(loaded, other)
            except Exception:  # noqa: BLE001 -- a refusal, which is what is wanted
                return ""
        if getattr(result, "missing_keys", ()) or getattr(result, "unexpected_keys", ()):
            return ""
        now = entries(loaded).get(key)
        if now is not None and kind == "dropped" and not bits_equal(now, before):
            return ""  # filled with a default on purpose
        return _outcome(now, None, heard, kind)

    return attempt


def _without(state: dict[str, Tensor], kind: str, name: str) -> dict[str, Tensor]:
    if kind == "dropped":
        return {key: value for key, value in state.items() if key != name}
    return {key: torch.full((1,), _FILL).to(value.dtype) if key == name else value for key, value in state.items()}


def _outcome(now: Tensor | None, expected: Tensor | None, heard: _Heard, kind: str) -> str:
    if now is None or (expected is not None and difference("", expected, now) is None):
        return ""
    if heard.swallowed:
        return "swallowed"
    if kind == "reshaped" and bool((now.detach().float() == _FILL).all()):
        return "broadcast"
    return "" if heard.said else "kept"


class _Heard:
    """What a loader let the user know.

    Attributes:
        swallowed: Whether load_state_dict raised inside it although the loader did not.
    """

    def __init__(self) -> None:
        self.swallowed = False
        self._output = io.StringIO()
        self._records: list[str] = []

    @property
    def said(self) -> bool:
        """Whether it warned, logged or printed something about keys that do not fit."""
        text = "\n".join([self._output.getvalue(), *self._records]).lower()
        return any(
            word in text for word in ("missing", "unexpected", "mismatch", "not match", "not found", "skip", "ignor")
        )


@contextmanager
def _heard() -> Iterator[_Heard]:
    """Listen to warnings, logs, output, and to load_state_dict raising."""
    heard = _Heard()
    original = nn.Module.load_state_dict

    def listening(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        try:
            return original(self, *args, **kwargs)
        except RuntimeError:
            heard.swallowed = True
            raise

    handler = logging.Handler()
    handler.emit = lambda record: heard._records.append(record.getMessage())  # type: ignore[method-assign]  # noqa: SLF001 -- its own
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        with (
            warnings.catch_warnings(record=True) as caught,
            redirect_stdout(heard._output),  # noqa: SLF001 -- its own
            redirect_stderr(heard._output),  # noqa: SLF001 -- its own
            mock.patch.object(nn.Module, "load_state_dict", listening),
        ):
            warnings.simplefilter("always")
            yield heard
        heard._records += [str(one.message) for one in caught]  # noqa: SLF001 -- its own
    finally:
        root.removeHandler(handler)


# ------------------------------------------------------------------------------------------------- the file afterwards


def _truncated(trip: Trip, path: Path) -> str:
    """Let the loader read the first half of the file; describe what it gives if it does not refuse."""
    if trip.call.load is None or not path.is_file():
        return ""
    folder = path.parent.parent / f"{path.parent.name}-truncated"
    shutil.copytree(path.parent, folder)
    data = path.read_bytes()
    (folder / path.name).write_bytes(data[: len(data) // 2])
    with _heard():
        try:
            given = trip.call.load(folder / path.name)
        except Exception:  # noqa: BLE001 -- a refusal, which is what is wanted
            return ""
    return describe(given) if isinstance(given, nn.Module) else ""


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
    own_state_dict = not type(trip.bare).state_dict.__module__.startswith("torch.")
    if trip.call.save is None and not own_state_dict:
        return ()
    live = {name: tensor for name, tensor in entries(trip.bare).items() if name in trip.carried}
    first = {name: tensor.detach().clone() for name, tensor in live.items() if tensor.layout == torch.strided}
    moved = distinguish({name: live[name] for name in first if live[name].device.type == "cpu"}, seed=2)
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
