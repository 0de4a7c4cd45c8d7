"""Gives the loader what it must refuse, and the saver a second call: what they do then is noted, not judged."""

from __future__ import annotations

import inspect
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from pytest_ckpt import checkpoint_file, mismatches
from pytest_ckpt.compare import describe, difference, differences, entries
from pytest_ckpt.facts import loads_its_own_way, saves_its_own_way, unwrapped
from pytest_ckpt.loading import FileLoader, Loader, StateLoader, beside, judged, lapses, listening, unheard
from pytest_ckpt.snapshot import Prints
from pytest_ckpt.trip import Changed, Lapse, Trip

_SMALL = 2**26  # bytes; of a larger checkpoint only the two most telling mistakes are written
_PAGE = b"<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head><body>Not Found</body></html>\n"
_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 1048576\n"

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from torch import Tensor

    from pytest_ckpt.mismatches import Kind


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
        trip.damaged = _damaged(trip, path)
        trip.follows = _follows(trip, path)
    if not trip.differences:
        trip.lapses = _lapses(trip, path) if strictness else ()
        trip.stale = _stale(trip, path)


# ---------------------------------------------------------------------------------------------------------- strictness


def _lapses(trip: Trip, path: Path) -> tuple[Lapse, ...]:
    """Give the loader checkpoints that do not fit.

    Each is tried with the first and the last parameter, and a lapse is noted only if the loader takes both: one that
    tolerates some entries on purpose knows which. So it is with buffers, where there are two.
    """
    loader = _loader(trip, path)
    if loader is None:
        return ()
    keys, buffers = (_first_and_last(trip, loader, buffers=buffers) for buffers in (False, True))
    small = _bytes(loader.state) <= _SMALL
    found = _of_single_entries(loader, keys, mismatches.SINGLE if small else ("dropped", "reshaped")) if keys else []
    if small and len(buffers) > 1 and not found:
        found = _of_single_entries(loader, buffers, ("dropped",))
    if small and keys and not any(one.kind == "dropped" for one in found):  # else what follows says nothing new
        for wrong in (mismatches.emptied(loader.state), mismatches.prefixed(loader.state, "module.")):
            all_at_once = lapses(loader, wrong, keys)
            found += all_at_once[:1] if len(all_at_once) == len(keys) else ()
    places = {(one.key, one.outcome): one for one in reversed(found)}
    return tuple(reversed(places.values()))


def _first_and_last(trip: Trip, loader: Loader, *, buffers: bool) -> dict[str, Tensor]:
    keys = judged(trip.bare, trip.carried, trip.call.allowed, buffers=buffers)
    return {key: keys[key] for key in mismatches.spread(list(keys), 2) if loader.name(key) in loader.state}


def _of_single_entries(loader: Loader, keys: Mapping[str, Tensor], kinds: Iterable[Kind]) -> list[Lapse]:
    """List the lapses over one entry at a time, for each way in which it may not fit."""
    found: list[Lapse] = []
    for wrong in (way for kind in kinds for way in mismatches.SINGLE[kind]):
        outcomes: list[Lapse] = []
        for key, expected in keys.items():
            outcome = lapses(loader, wrong(loader.state, loader.name(key)), {key: expected})
            if not outcome:
                break
            outcomes += outcome
        else:
            found += outcomes[:1]
    return found


def _bytes(state: Mapping[str, Any]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in checkpoint_file.tensors(state).values())


def _loader(trip: Trip, path: Path) -> Loader | None:
    """Give the loader to try; None where that is torch's own, or where it cannot be tried."""
    loaded, load = trip.loaded, trip.call.load
    try:
        if load is not None:
            return FileLoader(path, load, trip.name_in_file)
        if loaded is not None and (trip.call.load_state is not None or loads_its_own_way(trip.bare)):
            return StateLoader(trip.content, lambda: loaded, trip.call.put if _tells(trip) else unheard(trip.call.put))
    except Exception:  # noqa: BLE001 -- it worked once; without a usual there is no unusual
        return None
    return None  # torch's own load_state_dict, whose strictness is not the module's to answer for


def _tells(trip: Trip) -> bool:
    """Whether what loading returns counts as told: not so where torch documents that it raises, by `strict=True`."""
    parameters = inspect.signature(trip.bare.load_state_dict).parameters
    return trip.call.load_state is not None or "strict" not in parameters or not parameters["strict"].default


# ------------------------------------------------------------------------------------------------- the file afterwards


def _damaged(trip: Trip, path: Path) -> Changed | None:
    """Put damaged files in the place of the checkpoint; give the first that the loader takes, and what it makes of it.

    Of a checkpoint that is a folder, the largest file is damaged.
    """
    if trip.call.load is None or trip.loaded is None:
        return None
    folder = beside(path, "damaged")
    place = max((one for one in (folder, *folder.rglob("*")) if one.is_file()), key=lambda one: one.stat().st_size)
    if (folder / path.name).is_file():
        place = folder / path.name
    for what, data in _damages(place.read_bytes()):
        place.write_bytes(data)
        given = _given(trip, folder / path.name)
        if given is not None and next(differences(entries(trip.loaded), entries(unwrapped(given))), None) is not None:
            return Changed(what, "an error", describe(given))  # not read from a backup
    return None


def _given(trip: Trip, path: Path) -> nn.Module | None:
    """Give the module that the loader makes of a damaged file; None where it refuses it."""
    with listening():
        try:
            given = trip.call.read(path)
        except (Exception, SystemExit):  # noqa: BLE001 -- a refusal, which is what is wanted
            return None
    return given if isinstance(given, nn.Module) else None


def _damages(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Give what may stand in the place of a file, and what it is; torch.load refuses each."""
    yield "the first half of the file, as a crash while saving leaves it", data[: len(data) // 2]
    yield "an empty file, as a full disk leaves it", b""
    yield "a web page in the place of the file, as a failed download leaves it", _PAGE
    yield "the pointer of Git LFS in the place of the file", _POINTER
    if data.startswith(b"PK") and len(data) <= _SMALL:
        yield "an archive of which a record is gone", data.replace(b"/data/0", b"/data/-")


def _follows(trip: Trip, path: Path) -> tuple[Changed, ...]:
    """Save another module over the checkpoint, the user's way, and list the loaded entries that change with it.

    Only a process that still maps a file of it can see it change; Linux tells which do.
    """
    if trip.loaded is None or not sys.platform.startswith("linux"):
        return ()
    maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
    files = [path, *path.rglob("*")] if path.is_dir() else [path]
    sizes = {file: file.stat().st_size for file in files if file.is_file() and f"{file}\n" in maps}
    if not sizes:
        return ()
    before = Prints(entries(trip.loaded))
    save = trip.call.save or (lambda module, place: torch.save(module.state_dict(), place))
    try:
        save(trip.call.build_apart(trip.source), path)
    except Exception:  # noqa: BLE001 -- it worked once; nothing follows from this
        return ()
    finally:
        for file, size in sizes.items():
            if file.exists() and file.stat().st_size < size:  # whoever reads behind the end of a mapped file is killed
                os.truncate(file, size)
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
