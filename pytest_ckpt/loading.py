"""Gives a loader a checkpoint that does not fit, and tells whether it said so.

A loader may say so in any way: raise, exit, warn, log, print, or return something else than for a checkpoint that fits.
"""

from __future__ import annotations

import copy
import io
import logging
import re
import shutil
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from unittest import mock
from weakref import WeakSet

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from pytest_ckpt import checkpoint_file
from pytest_ckpt.compare import bits_equal, describe, difference, entries, equal, tied_groups
from pytest_ckpt.facts import unwrapped
from pytest_ckpt.findings import UsageError
from pytest_ckpt.mismatches import FILL
from pytest_ckpt.trip import Lapse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from torch import Tensor

    from pytest_ckpt.mismatches import Mismatch
    from pytest_ckpt.trip import Outcome

_VARYING = re.compile(r"\S*pytest-ckpt-\S*|\d+\.\d+|0x[0-9a-f]+")  # what differs between two good loads as well


class UnreadableError(ValueError):
    """There is no state_dict to be found in a checkpoint, so none that does not fit can be made of it."""


class Heard:
    """What a loader let the user know.

    Attributes:
        swallowed: Whether load_state_dict raised inside it although the loader did not, nor loaded the module another
            way afterwards: with converted keys, or leniently on purpose.
        unexpected: The unexpected keys that load_state_dict told it.
        text: Everything that it printed, logged or warned of; a loader that says the same of a good checkpoint and of
            one that does not fit has said nothing.
    """

    def __init__(self) -> None:
        self.swallowed = False
        self.unexpected: set[str] = set()
        self.text = ""


@contextmanager
def listening() -> Iterator[Heard]:
    """Listen to warnings, logs, output, and to what load_state_dict returns and raises.

    Logs count from INFO on, whatever level is set here: an application sets its own, and libraries list missing keys at
    INFO too. Only what the level lets through goes on to the handlers.
    """
    heard, output, records = Heard(), io.StringIO(), []
    load_state_dict, handle = nn.Module.load_state_dict, logging.Logger.handle
    enabled = logging.Logger.isEnabledFor
    failed: WeakSet[nn.Module] = WeakSet()  # a module that was thrown away for another one does not count

    def watched(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        try:
            result = load_state_dict(self, *args, **kwargs)
        except RuntimeError:
            failed.add(self)
            raise
        failed.discard(self)
        heard.unexpected.update(result.unexpected_keys)
        return result

    def recording(self: logging.Logger, record: logging.LogRecord) -> None:
        records.append(record.getMessage())
        if enabled(self, record.levelno):
            handle(self, record)

    def audible(self: logging.Logger, level: int) -> bool:
        return level >= logging.INFO or enabled(self, level)

    with (
        warnings.catch_warnings(record=True) as caught,
        redirect_stdout(output),
        redirect_stderr(output),
        mock.patch.object(nn.Module, "load_state_dict", watched),
        mock.patch.object(logging.Logger, "handle", recording),
        mock.patch.object(logging.Logger, "isEnabledFor", audible),
    ):
        warnings.simplefilter("always")
        yield heard
        heard.swallowed = bool(failed)
    words = "\n".join([output.getvalue(), *records, *(str(one.message) for one in caught)])
    heard.text = _VARYING.sub("", words)


@dataclass(frozen=True, eq=False)
class Attempt:
    """What came of giving a checkpoint to a loader.

    Attributes:
        refused: What it raised; None where it took the checkpoint.
        said: Whether it let something be known that it does not say of a checkpoint that fits.
        loud: Whether it did so in words.
        heard: All that it let be known.
        result: What it returned.
        before: What the entries that matter held, where that is known: a loader of files builds its module itself.
        now: What the entries hold afterwards; empty where it refused the checkpoint or gave no module.
    """

    refused: BaseException | None = None
    said: bool = False
    loud: bool = False
    heard: Heard = field(default_factory=Heard)
    result: Any = None
    before: Mapping[str, Tensor] | None = None
    now: Mapping[str, Tensor] = field(default_factory=dict)

    def names(self, key: str) -> bool:
        """Whether the loader said something of one entry; in words, that is taken to be about all of them."""
        lists = [getattr(self.result, name, None) for name in ("missing_keys", "unexpected_keys")]
        return self.said if self.loud or None in lists else any(key in keys for keys in lists if keys)

    def kept(self, key: str, expected: Tensor) -> bool:
        """Whether an entry was left as it was, as far as that can be told."""
        now = self.now[key]
        if self.before is None:
            return difference("", expected, now) is not None
        return key in self.before and bits_equal(now, self.before[key])


class Loader(ABC):
    """One way to load a state, which can be given any number of state_dicts.

    Attributes:
        state: The state_dict that fits.
    """

    state: Mapping[str, Any]

    @abstractmethod
    def give(self, state: Mapping[str, Any], keys: Iterable[str]) -> Attempt:
        """Give it a state_dict, and note what becomes of that.

        Args:
            state: The state_dict.
            keys: Entries of the module that matter.
        """

    def name(self, key: str) -> str:
        """Give the name that an entry of the module has in the state."""
        return key


class StateLoader(Loader):
    """Loads a state_dict into a module, in memory."""

    def __init__(
        self, content: Mapping[str, Any], target: Callable[[], nn.Module], put: Callable[[nn.Module, Any], Any]
    ) -> None:
        """Load a state that fits, to know how that goes.

        Args:
            content: What fits: a state_dict, or a dict that has one under some key.
            target: Gives the module to load into.
            put: Loads that into a module, and returns what the loader returns.

        Raises:
            UnreadableError: There is no state_dict in the content.
            Exception: Whatever the loader raises for what fits.
        """
        if not isinstance(content, Mapping):
            raise UnreadableError(f"there is no state_dict in {describe(content)}")
        inner = checkpoint_file.find_state(content) or {}
        self._content, self._target, self._put = content, target, put
        self._flat = hasattr(content, "_metadata") or checkpoint_file.tensors(content).keys() == inner.keys()
        self.state = content if self._flat else inner
        with listening() as self._usual:
            self._usual_result = put(target(), copy.copy(content))

    def give(self, state: Mapping[str, Any], keys: Iterable[str]) -> Attempt:  # noqa: D102 -- as in Loader
        target = self._target()
        live = entries(target)
        before = {key: live[key].detach().clone() for key in keys if key in live and not is_lazy(live[key])}
        content = state if self._flat else checkpoint_file.with_state(self._content, self.state, state)
        with listening() as heard:
            try:
                result = self._put(target, content)
            except (Exception, SystemExit) as error:  # noqa: BLE001 -- a refusal, which is what is wanted
                return Attempt(error, heard=heard)
        loud = heard.text != self._usual.text
        said = loud or not equal(result, self._usual_result)
        return Attempt(None, said, loud, heard, result, before, entries(target))


class FileLoader(Loader):
    """Loads a module from a file, by a function of the user's."""

    def __init__(self, path: Path, load: Callable[[Path], Any], rename: Callable[[str], str]) -> None:
        """Load the file, to know how that goes.

        Args:
            path: A checkpoint that fits.
            load: Loads it.
            rename: Gives the name that an entry has in the file with a wrapper's prefix.

        Raises:
            UnreadableError: The file holds nothing that can be read as a state_dict.
            UsageError: The loader gave no module.
            Exception: Whatever the loader raises.
        """
        self._path, self._load, self._rename = path, load, rename
        self._content = checkpoint_file.read(path)
        state = checkpoint_file.find_state(self._content)
        if state is None:
            raise UnreadableError("the checkpoint is no file of torch.save with a state_dict in it")
        self.state: Mapping[str, Any] = state
        self._count = 0
        with listening() as self._usual:
            require_module(load(path))

    def give(self, state: Mapping[str, Any], keys: Iterable[str]) -> Attempt:  # noqa: ARG002, D102 -- as in Loader
        self._count += 1
        folder = beside(self._path, f"attempt-{self._count}")
        try:
            content = checkpoint_file.with_state(self._content, self.state, state)
            torch.save(content, folder / self._path.name)
            with listening() as heard:
                try:
                    module = self._load(folder / self._path.name)
                except (Exception, SystemExit) as error:  # noqa: BLE001 -- a refusal, which is what is wanted
                    return Attempt(error, heard=heard)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        now = entries(unwrapped(module)) if isinstance(module, nn.Module) else {}
        loud = heard.text != self._usual.text
        return Attempt(None, loud, loud, heard, None, None, now)

    def name(self, key: str) -> str:  # noqa: D102 -- as in Loader
        return key if key in self.state else self._rename(key)


def require_module(loaded: Any) -> nn.Module:
    """Return what the user's `load` gave if it is a module.

    Raises:
        UsageError: It is something else.
    """
    if not isinstance(loaded, nn.Module):
        raise UsageError(
            f"load(path) gave {describe(loaded)}, not a torch.nn.Module: return the module that was loaded"
        )
    return loaded


def beside(path: Path, name: str) -> Path:
    """Copy the folder of a checkpoint, for a file of the same name with other content."""
    folder = path.parent.parent / f"{path.parent.name}-{name}"
    shutil.copytree(path.parent, folder)
    return folder


# ------------------------------------------------------------------------------------------------------------ judgement


def lapses(loader: Loader, wrong: Mismatch, keys: Mapping[str, Tensor]) -> tuple[Lapse, ...]:
    """Give the loader a checkpoint that does not fit, and list the entries that it keeps quiet about.

    None are listed where it refuses the checkpoint or says something, nor those that fit after all: which it fills with
    a default, takes in the shape that the checkpoint has, or finds under their other name.

    Args:
        loader: The loader.
        wrong: The checkpoint.
        keys: Entries of the module to be judged by, each with the value that it has when all is loaded.
    """
    attempt = loader.give(wrong.state_dict, keys)
    found = ((key, outcome_for(loader, key, expected, wrong, attempt)) for key, expected in keys.items())
    return tuple(Lapse(wrong.kind, key, outcome) for key, outcome in found if outcome is not None)


def outcome_for(loader: Loader, key: str, expected: Tensor, wrong: Mismatch, attempt: Attempt) -> Outcome | None:
    """Tell what became of one entry for which a checkpoint does not fit; None where that is as it should be.

    Args:
        loader: The loader that the checkpoint was given to.
        key: The entry's name in the module.
        expected: Its value when all is loaded.
        wrong: The checkpoint.
        attempt: What came of it.
    """

    def converted() -> bool:
        """Whether the file holds the entry in another form, so that nobody knows what should come of other values."""
        return attempt.before is None and not bits_equal(loader.state[name].to(expected.dtype), expected)

    now, name = attempt.now.get(key), loader.name(key)
    if now is None or attempt.refused is not None:
        return None
    if name in wrong.reshaped and (attempt.before is not None or attempt.kept(key, expected)):
        return _outcome_of_reshaped(now, expected, wrong.state_dict[name], attempt)
    if name in wrong.retyped and (bits_equal(now.detach(), wrong.state_dict[name].to(now.dtype)) or converted()):
        return None
    if name not in {*wrong.missing, *wrong.retyped} or not attempt.kept(key, expected):
        return None  # filled with a default on purpose, or brought back from elsewhere
    if attempt.heard.swallowed:
        return "swallowed"
    return None if attempt.names(name) else "kept"


def _outcome_of_reshaped(now: Tensor, expected: Tensor, given: Tensor, attempt: Attempt) -> Outcome | None:
    if attempt.heard.swallowed:
        return "swallowed"
    if now.shape != expected.shape:
        return None  # a module that takes its shapes from the checkpoint
    if bool((now.detach().float() == FILL).all()):
        return "broadcast" if given.numel() < now.numel() else None  # cut or turned on purpose
    return None if attempt.said else "kept"


def unheard(put: Callable[..., object]) -> Callable[..., None]:
    """Give a loader whose result counts for nothing, as where torch documents that it raises: `strict=True`."""

    def load(*given: Any, **named: Any) -> None:
        put(*given, **named)

    return load


def judged(
    module: nn.Module, carried: frozenset[str], allowed: Callable[[str], bool], *, buffers: bool = False
) -> dict[str, Tensor]:
    """Give the entries that a loader's strictness is judged by, in the module's order.

    That is those with several elements, so that a single element shows when it is spread over them; in floating point,
    so that it is exact; and tied to nothing, since a tied one comes back through its other name.

    Args:
        module: The module.
        carried: Names of the entries that the state is meant to carry.
        allowed: Whether an entry need not come back.
        buffers: Whether to give buffers; else parameters.
    """
    everything = entries(module)
    tied = frozenset().union(*tied_groups(everything))
    return {
        name: tensor
        for name, tensor in everything.items()
        if isinstance(tensor, nn.Parameter) is not buffers
        and tensor.numel() > 1
        and tensor.dtype.is_floating_point
        and name in carried
        and name not in tied
        and not allowed(name)
    }
