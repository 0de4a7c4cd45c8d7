"""Promises of `claims`, held to what happens when writing or loading fails.

Writing fails for real: a forked process saves over an earlier checkpoint, with a limit on the size of files that the
system enforces, so that the write at that byte fails or kills the process, whoever makes it; and it is killed or
refused at each rename, removal and opening of a file. What is left is then loaded.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sys
import time
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from pytest_ckpt import formats
from pytest_ckpt.checkpoint_file import find_state, with_state
from pytest_ckpt.compare import differences, entries
from pytest_ckpt.distinguish import distinguish
from pytest_ckpt.facts import unwrapped
from pytest_ckpt.findings import UsageError, did_you_mean
from pytest_ckpt.outputs import where
from pytest_ckpt.snapshot import Prints
from pytest_ckpt.trip import Torn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from torch import Tensor

    from pytest_ckpt.trip import Changed, Trip

ATOMIC, UNCHANGED = "atomic", "unchanged-on-error"
CLAIMS = (ATOMIC, UNCHANGED)
_STEPS = frozenset({"open", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate"})
_MOST_STEPS = 24  # files opened, renamed or removed at each of which a save is made to fail
_PATIENCE = 60.0  # seconds
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


def require(claims: tuple[str, ...]) -> tuple[str, ...]:
    """Return the claims if all are known.

    Raises:
        UsageError: One is not; the message has the nearest.
    """
    for one in claims:
        if one not in CLAIMS:
            meant = did_you_mean(one, CLAIMS)
            raise UsageError(f"there is no claim {one!r}: {meant}The claims are {' and '.join(map(repr, CLAIMS))}")
    return claims


# ------------------------------------------------------------------------------------------------- unchanged-on-error


def half_loaded(trip: Trip) -> tuple[Changed, ...]:
    """Load states that do not fit into fresh modules, and list what a load that raised has changed all the same."""
    state = find_state(trip.content)
    if state is None:
        return ()
    for wrong in _wrong(state):
        target = trip.call.build_apart(trip.source)
        before = Prints(entries(target))
        try:
            trip.call.put(target, _with(trip.content, state, wrong))
        except (Exception, SystemExit):  # noqa: BLE001 -- the failing load that the claim is about
            changes = before.changes(entries(target))
            if changes:
                return changes
    return ()


def _wrong(state: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """Give states that lack the last entry, hold it in another shape, or hold one more."""
    *_, last = state
    yield {key: value for key, value in state.items() if key != last}
    yield {**state, last: torch.zeros(7, 5, 3)}
    yield {**state, "no_such_entry": torch.zeros(2)}


def _with(content: Any, state: Mapping[str, Tensor], other: dict[str, Tensor]) -> Any:
    copies = {key: value.clone() for key, value in other.items()}
    return with_state(content, state, copies)


# -------------------------------------------------------------------------------------------------------------- atomic


@dataclass(frozen=True, slots=True)
class _Failure:
    """How a save is made to fail: at a byte of a file, perhaps after a step, or at a step; by an error or a kill."""

    kills: bool
    byte: int | None = None
    step: int | None = None
    name: str = ""

    def __str__(self) -> str:
        place = f"at byte {self.byte} of a file" if self.byte is not None else f"at {self.name}"
        return f"{'killed' if self.kills else 'out of disk space'} {place}"


class _Crashes:
    """Saves twice to one path, in a process of its own, and lets the second save fail."""

    def __init__(self, trip: Trip, folder: Path) -> None:
        self._trip, self._folder = trip, folder
        self._name = f"checkpoint{formats.get(trip.leg.format).suffix}"
        self._count = 0

    def search(self) -> Torn | None:
        """Try failures from the most to the least likely; give the first that loses the checkpoint.

        Raises:
            UsageError: This system cannot fork, or the save cannot be called twice in a forked process.
        """
        steps = self._folder / "steps"
        both = self._saved_twice(None, steps)
        allowed = [self._loaded(self._saved_once()), self._loaded(both)]
        if any(isinstance(one, str) for one in allowed):
            raise UsageError(
                "claims=('atomic',) cannot be held to: saving twice to one path in a process of its own and loading it "
                f"gave {next(one for one in allowed if isinstance(one, str))}"
            )
        names = steps.read_text(encoding="utf-8").split()
        size = max((one.stat().st_size for one in both.parent.rglob("*") if one.is_file()), default=0)
        for failure in _failures(size, names):
            given = self._loaded(self._saved_twice(failure))
            if isinstance(given, str):
                return Torn(str(failure), given)
            if all(next(differences(one, given), None) for one in allowed if not isinstance(one, str)):
                return Torn(str(failure), "a module that is neither the previous checkpoint nor the new one")
        return None

    def _place(self) -> Path:
        self._count += 1
        folder = self._folder / str(self._count)
        folder.mkdir()
        return folder / self._name

    def _saved_once(self) -> Path:
        path = self._place()
        _in_child(lambda: self._save(path))
        return path

    def _saved_twice(self, failure: _Failure | None, steps: Path | None = None) -> Path:
        path = self._place()

        def work() -> None:
            self._save(path)
            distinguish(entries(self._trip.bare), seed=1)
            with_failures(failure, path.parent, steps)
            self._save(path)

        _in_child(work)
        return path

    def _save(self, path: Path) -> None:
        if self._trip.call.save is not None:
            self._trip.call.save(self._trip.source, path)
        else:
            formats.get(self._trip.leg.format).write(self._trip.source, path)

    def _loaded(self, path: Path) -> dict[str, Tensor] | str:
        """Load as the user does; give the entries, or say why there are none."""
        call = self._trip.call
        try:
            if call.load is not None:
                module = call.read(path)
            else:
                module = call.build_apart(self._trip.source)
                read = formats.get(self._trip.leg.format).read
                call.put(module, read(path, self._trip.leg.loaded_on, module.state_dict))
        except (Exception, SystemExit) as error:  # noqa: BLE001 -- what the user meets after a crash
            return where(error)
        if not isinstance(module, nn.Module):
            return f"no module but {module!r}"
        return entries(unwrapped(module))


def torn(trip: Trip, folder: Path) -> Torn | None:
    """Let a save over an earlier checkpoint fail in every way, and see whether that checkpoint can still be loaded.

    Args:
        trip: A finished trip.
        folder: A folder to make for the attempts.

    Returns:
        The first failure that lost it; None where none did.

    Raises:
        UsageError: The promise cannot be held to here.
    """
    folder.mkdir()
    try:
        return _Crashes(trip, folder).search()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _failures(size: int, steps: list[str]) -> Iterator[_Failure]:
    for byte in (size // 2, 0, max(size - 1, 0)):
        yield _Failure(kills=True, byte=byte)
        yield _Failure(kills=False, byte=byte)
    for index, name in enumerate(steps[:_MOST_STEPS]):
        yield _Failure(kills=True, step=index, name=name)
        yield _Failure(kills=False, step=index, name=name)
        if name == "open":
            yield _Failure(kills=True, byte=size // 2, step=index)


def with_failures(failure: _Failure | None, folder: Path, steps: Path | None) -> None:
    """Let what this process does from now on fail, for good: it is forked for that.

    Args:
        failure: How; None only records the steps.
        folder: Where steps count.
        steps: A file to record their names in.
    """
    if failure is not None and failure.step is None:
        _limit(failure)
        return
    seen = 0

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event not in _STEPS or not _concerns(event, arguments, folder):
            return
        if failure is None and steps is not None:
            with os.fdopen(os.open(steps, os.O_WRONLY | os.O_APPEND), "a") as file:
                file.write(f"{event}\n")
        elif failure is not None and seen == failure.step:
            seen += 1
            if failure.byte is not None:
                _limit(failure)
                return
            if failure.kills:
                os.kill(os.getpid(), signal.SIGKILL)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        seen += 1

    if steps is not None:
        steps.touch()
    sys.addaudithook(watch)


def _limit(failure: _Failure) -> None:
    """Let the system refuse to write past a byte of any file, and perhaps kill whoever tries."""
    import resource

    assert failure.byte is not None  # noqa: S101 -- for the type checker
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL if failure.kills else signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (failure.byte, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def _concerns(event: str, arguments: tuple[Any, ...], folder: Path) -> bool:
    """Whether an event is a step of writing in a folder."""
    if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & _WRITES):
        return False
    places = arguments[:2] if event == "os.rename" else arguments[:1]
    return any(isinstance(one, (str, bytes, os.PathLike)) and str(folder) in os.fsdecode(one) for one in places)


def _in_child(work: Callable[[], None]) -> None:
    """Fork, do the work there in silence, and wait for the end of it, whatever it is.

    Raises:
        UsageError: The process did not end.
    """
    if not hasattr(os, "fork"):
        raise UsageError("claims=('atomic',) needs a system that can fork a process: Linux or macOS")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # since 3.12, a word on forking where there are threads
        child = os.fork()
    if child == 0:
        _be_child(work)
    end = time.monotonic() + _PATIENCE
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise UsageError(
                f"claims=('atomic',) cannot be held to: save(module, path) did not end in {_PATIENCE:.0f} s in a "
                "forked process; it may wait for a thread or a process of its own"
            )
        time.sleep(0.001)


def _be_child(work: Callable[[], None]) -> None:
    """Do the work and leave, past everything that the parent process has set up for its own end."""
    try:
        silence = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(silence, stream)
        torch.set_num_threads(1)  # the other threads are not here
        work()
    finally:
        os._exit(0)
