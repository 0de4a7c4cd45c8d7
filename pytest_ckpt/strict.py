"""The property test of strictness: Hypothesis draws checkpoints that do not fit, and the loader must say so."""

from __future__ import annotations

import copy
import inspect
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import hypothesis
import torch
from hypothesis import HealthCheck, Phase, Verbosity, configuration, given
from hypothesis import strategies as st

from pytest_ckpt import checkpoint_file, mismatches, registry
from pytest_ckpt.call import Call
from pytest_ckpt.compare import difference, entries, uninitialized
from pytest_ckpt.distinguish import distinguish
from pytest_ckpt.facts import blamed, unwrapped
from pytest_ckpt.findings import Report, UsageError
from pytest_ckpt.legs import Leg
from pytest_ckpt.loading import FileLoader, StateLoader, UnreadableError, judged, lapses, outcome_for, unheard
from pytest_ckpt.outputs import Runner, kept_randomness, where
from pytest_ckpt.roundtrip import strings, temporary_folder
from pytest_ckpt.strategies import key_mismatches, possible_kinds
from pytest_ckpt.trip import Lapse, Trip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from torch import Tensor, nn

    from pytest_ckpt.checks import Check
    from pytest_ckpt.loading import Attempt, Loader
    from pytest_ckpt.mismatches import Kind, Mismatch

CHECKS = ("not-saveable", "not-loadable", "key-mismatch", "strictness", "half-loaded", "shape-changed")

_EXAMPLES = 20  # of each kind, in each of the loader's modes
_ASKED = 8  # how many entries decide whether a loader tolerates something throughout
_WHOLE: tuple[Kind, ...] = ("prefixed", "emptied", "nested")
_IMPLIED: tuple[Kind, ...] = ("renamed", *_WHOLE)  # by `dropped`: where that goes unsaid, they do too
_TORCH = "Error(s) in loading state_dict for"


def check_strict(  # noqa: PLR0913 -- the same names as check_module has, all optional
    make: Callable[[], nn.Module],
    inputs: Any = None,
    *,
    prepare: Callable[[Any], Any] | None = None,
    save: Callable[[Any, Path], Any] | None = None,
    load: Callable[[Path], Any] | None = None,
    load_state: Callable[[Any, Any], Any] | None = None,
    allow_missing: Sequence[str] = (),
    allow_unexpected: Sequence[str] = (),
    checks: Sequence[str] | None = None,
    ignore: Sequence[str] = (),
    settings: hypothesis.settings | None = None,
) -> Report:
    """Give a loader checkpoints that do not fit, drawn by Hypothesis, and demand that it says so.

    Entries are dropped, renamed, added, reshaped, given in another dtype, put under a prefix or one level down; some
    are replaced by foreign ones, as for a warm start; all are left out.

    A module's own `load_state_dict` is held to what torch documents, with `strict` and `assign` as they can be: with
    `strict=True` it raises for every key that does not fit, and names it; with `strict=False` it returns the missing
    and the unexpected keys and loads all that fits; shapes that differ raise in both. A `load_state` that takes a
    keyword `strict` is held to the same. Any other loader must raise, warn, log, print or return something else than
    usual. What a loader tolerates for some entries and not for others, as for those that older versions did not write,
    is a note and no finding.

    Args:
        make: Gives a fresh module at each call.
        inputs: What forward takes; used only to initialise lazy modules.
        prepare: Called with the module before it is saved.
        save: Your own way to write a checkpoint, called with the module and a path.
        load: Your own way to get a module from that path. Without it no file is written.
        load_state: Your own way to put a state_dict into a module; the default is `module.load_state_dict`. A `load`
            takes its place.
        allow_missing: Patterns, as in fnmatch, of entries that may be missing without a word.
        allow_unexpected: Patterns of keys that may be there without a word. For a warm start, which takes what there
            is, both are `["*"]`: what fits must still be loaded, and what has another shape must not.
        checks: Names of the checks to report; the default is all that concern loading.
        ignore: Names of checks to leave out.
        settings: Settings of Hypothesis, such as `settings(max_examples=1000)`. By default 20 examples of each kind
            are drawn, the same in every run, and nothing is remembered between runs.

    Returns:
        The report. Each kind of mistake that goes unsaid is one finding, of the first entry that shows it.

    Raises:
        UsageError: The call cannot be carried out: the message says what was given and what to do.
    """
    __tracebackhide__ = True
    try:
        _require_settings(settings)
        allowed = strings("allow_missing", allow_missing), strings("allow_unexpected", allow_unexpected)
        call = Call(make, Runner(inputs), prepare, "eval", save, load, load_state, *allowed)
        wanted = _select(checks, ignore)
        with kept_randomness(), temporary_folder() as folder:
            trip, notes, untried = _try(call, folder, settings)
    except UsageError as error:
        message = str(error)
    else:
        return Report(
            subject=type(trip.source).__name__,
            entries=len(trip.state),
            findings=tuple(replace(one, leg=str(trip.leg)) for check in wanted for one in check.run(trip)),
            legs=(trip.leg.result(untried),),
            checks=tuple(check.name for check in wanted),
            notes=notes,
        )
    raise UsageError(message) from None


def _require_settings(given: object) -> None:
    if given is not None and not isinstance(given, hypothesis.settings):
        raise UsageError(f"settings must be of hypothesis.settings(...), but {given!r} was given")


def _select(checks: Sequence[str] | None, ignore: Sequence[str]) -> list[Check]:
    wanted = [one for one in registry.select(checks, ignore) if one.name in CHECKS]
    if not wanted:
        raise UsageError(f"checks and ignore leave no check to run: those of check_strict are {', '.join(CHECKS)}")
    return wanted


@dataclass(frozen=True, eq=False)
class _Mode:
    """One way to call the loader: with `strict` said, or as the user wrote it.

    Attributes:
        loader: The loader, called that way.
        strict: What it was told; None where it cannot be told.
        documented: Whether what `strict` means is documented: for a module's own load_state_dict.
    """

    loader: Loader
    strict: bool | None = None
    documented: bool = False


def _try(call: Call, folder: Path, settings: hypothesis.settings | None) -> tuple[Trip, tuple[str, ...], str]:
    """Load what fits, then what does not; once more with the values as they came if the moved ones do not load.

    Returns:
        What was seen, notes, and why nothing could be tried; empty if something was.
    """
    for natural in (False, True):
        (place := folder / f"natural-{natural}").mkdir()
        source = call.source()
        bare = source if call.load is None else unwrapped(source)
        form = "state_dict" if call.load is None and call.save is None else "torch_zip"
        trip = Trip(Leg("cpu", "cpu", form), call, source, bare, natural=natural)
        if not natural:
            distinguish(entries(bare), seed=0)
        if uninitialized(bare):
            return trip, (), "the module is lazy and was not initialised: give inputs, or a prepare that runs it"
        try:
            modes = _modes(trip, place / "checkpoint.pt")
        except UnreadableError as error:
            return trip, (), str(error)
        if modes:
            trial = _Trial(trip, modes, settings)
            trip.lapses = trial.lapses()
            return trip, tuple(trial.notes), ""
    return trip, (), ""


def _modes(trip: Trip, path: Path) -> tuple[_Mode, ...]:
    """Save the module, and load it once in each mode; what that raises is noted in the trip, and there are no modes."""
    call = trip.call
    try:
        content: Any = trip.bare.state_dict()
        trip.state = content
        if call.save is not None or call.load is not None:
            (call.save or _save)(trip.source, path)
            content = checkpoint_file.read(path)
    except Exception as error:  # noqa: BLE001 -- whatever saving raises is what the report is about
        trip.save_error = where(error)
        return ()
    trip.file_state = checkpoint_file.find_state(content)
    usual, *others = _ways(trip, path, content)
    try:
        modes = [_Mode(usual())]
    except (UnreadableError, UsageError):
        raise
    except Exception as error:  # noqa: BLE001 -- whatever loading raises is what the report is about
        trip.load_error = where(error)
        trip.blamed = blamed(trip.state, trip.state, call.build_apart(trip.source), str(error))
        return ()
    for make, strict, documented in others:
        with suppress(Exception):  # a module may be lenient unless told otherwise
            modes.append(_Mode(make(), strict, documented))
    return tuple(modes[1:] or modes)


def _save(module: nn.Module, path: Path) -> None:
    torch.save(module.state_dict(), path)


def _ways(trip: Trip, path: Path, content: Any) -> Iterator[Any]:
    """Give what makes the loader as it is usually called; then each way to tell it `strict`, with what that means."""
    call = trip.call
    if call.load is not None:
        yield partial(FileLoader, path, call.load, trip.name_in_file)
        return

    def target() -> nn.Module:
        module = call.build_apart(trip.source)
        if not trip.natural:
            distinguish(entries(module), seed=1)  # so that it holds no default that a hook may fill in
        return module

    make = partial(StateLoader, content, target)
    yield partial(make, call.put)
    put: Callable[..., Any] = call.load_state or _load
    function = call.load_state or trip.bare.load_state_dict
    assigning = call.load_state is None and _takes(function, "assign")
    if not _takes(function, "strict"):
        return
    for keywords in ({}, {"assign": True}) if assigning else ({},):
        for strict in (True, False):
            way = partial(put, strict=strict, **keywords)
            documented = call.load_state is None
            yield partial(make, unheard(way) if documented and strict else way), strict, documented
    if call.load_state is None and (call.allow_missing or call.allow_unexpected):
        yield partial(make, call.put), True, False


def _load(module: nn.Module, state: Any, **keywords: Any) -> Any:
    return module.load_state_dict(state, **keywords)


def _takes(function: Callable[..., Any], name: str) -> bool:
    """Whether a function takes an argument of a name; not if that is unknown."""
    try:
        return name in inspect.signature(function).parameters
    except (ValueError, TypeError):
        return False


class _Trial:
    """Draws checkpoints that do not fit, and collects what goes unsaid.

    Attributes:
        notes: What the loader tolerates for some entries only.
    """

    def __init__(self, trip: Trip, modes: tuple[_Mode, ...], settings: hypothesis.settings | None) -> None:
        self._call, self._modes, self._settings = trip.call, modes, settings
        loader = modes[0].loader
        self._state = loader.state
        self._everything = {
            key: tensor.detach().clone()
            for key, tensor in judged(trip.bare, frozenset(entries(trip.bare)), lambda _key: False).items()
            if loader.name(key) in loader.state
        }
        self._keys = {key: value for key, value in self._everything.items() if not trip.call.allowed(key)}
        buffers = judged(trip.bare, frozenset(entries(trip.bare)), trip.call.allowed, buffers=True)
        self._buffers = {key: tensor.detach().clone() for key, tensor in buffers.items()}
        self.notes: dict[str, None] = {}
        self._exact: dict[_Mode, Mapping[str, Tensor]] = {}

    def lapses(self) -> tuple[Lapse, ...]:
        """Give at most one lapse a kind, over the first entry that shows it."""
        found: list[Lapse] = []
        for kind in possible_kinds(self._state):
            if kind in _IMPLIED and any(one.kind == "dropped" for one in found):
                continue
            lapse = self._simplest(kind)
            if lapse is not None and not any(_alike(lapse, one) for one in found):
                found.append(lapse)
        return tuple(found) or self._over_buffers()

    def _over_buffers(self) -> tuple[Lapse, ...]:
        """Give the first buffer, of several, if the loader keeps quiet about each that a checkpoint lacks."""
        for mode in self._modes:
            loader = mode.loader
            buffers = [key for key in self._buffers if loader.name(key) in loader.state]
            asked = mismatches.spread(buffers, _ASKED)
            wrong = {key: mismatches.dropped(loader.state, [loader.name(key)]) for key in asked}
            found = [lapse for key in asked for lapse in lapses(loader, wrong[key], {key: self._buffers[key]})]
            if len(found) == len(asked) > 1:
                return tuple(found[:1])
        return ()

    def _simplest(self, kind: Kind) -> Lapse | None:
        """Let Hypothesis look for a lapse of one kind, and shrink it."""
        found: list[Lapse] = []

        @given(key_mismatches(self._state, kinds=[kind]), st.sampled_from(self._modes))
        def says_so(wrong: Mismatch, mode: _Mode) -> None:
            lapse = self._lapse(wrong, mode)
            if lapse is not None:
                found.append(lapse)
                raise _UnsaidError

        asked = self._settings or _SETTINGS
        phases = [one for one in asked.phases if one is not Phase.explain]  # slow, and nobody would see its words
        test = hypothesis.settings(asked, verbosity=Verbosity.quiet, phases=phases)(says_so)
        try:
            with _no_folder_of_its_own():
                test()
        except _UnsaidError:
            return found[-1]
        return None

    def _lapse(self, wrong: Mismatch, mode: _Mode) -> Lapse | None:
        """Judge one checkpoint in one mode."""
        attempt = mode.loader.give(wrong.state_dict, self._keys)
        if attempt.refused is not None:
            return self._unnamed(wrong, mode, attempt.refused)
        unfit = [] if wrong.kind == "partial" else self._unsaid(wrong, mode, attempt)
        if wrong.kind in _WHOLE:
            return unfit[0] if unfit and len(unfit) == len(self._keys) else None
        for lapse in (*unfit, *self._ignored(wrong, mode, attempt)):
            if self._throughout(lapse, mode):
                return lapse
            if lapse.outcome != "ignored":
                self.notes[f"the loader takes a checkpoint that {lapse.fault} without a word: {lapse.key}"] = None
        return self._skipped(wrong, mode, attempt)

    def _unsaid(self, wrong: Mismatch, mode: _Mode, attempt: Attempt) -> list[Lapse]:
        """List the entries that do not fit and of which nothing was said."""
        found = ((key, outcome_for(mode.loader, key, expected, wrong, attempt)) for key, expected in self._keys.items())
        return [Lapse(wrong.kind, key, outcome) for key, outcome in found if outcome is not None]

    def _ignored(self, wrong: Mismatch, mode: _Mode, attempt: Attempt) -> list[Lapse]:
        """List the entries that the module does not have and of which nothing was said.

        A loader that takes what it needs from a checkpoint is left alone; not so one that load_state_dict told of it.
        """
        if attempt.refused is not None or wrong.kind not in {"added", "partial"}:
            return []
        told = wrong.unexpected if mode.strict is not None else attempt.heard.unexpected
        keys = [key for key in wrong.unexpected if key in told and not self._call.allowed(key)]
        return [Lapse("added", key, "ignored") for key in keys if not attempt.names(key)]

    def _skipped(self, wrong: Mismatch, mode: _Mode, attempt: Attempt) -> Lapse | None:
        """Give the first entry that fits if no entry that fits was loaded."""
        if attempt.said and not mode.documented:
            return None
        unfit = {*wrong.missing, *wrong.reshaped, *wrong.retyped}
        fitting = {key: value for key, value in self._restored(mode).items() if mode.loader.name(key) not in unfit}
        if any(_arrived(value, attempt.now.get(key)) for key, value in fitting.items()):
            return None
        return next((Lapse(wrong.kind, key, "skipped") for key in fitting), None)

    def _restored(self, mode: _Mode) -> Mapping[str, Tensor]:
        """Give the entries that come back exactly from a checkpoint that fits."""
        if mode not in self._exact:
            now = mode.loader.give(copy.copy(self._state), ()).now
            self._exact[mode] = {key: value for key, value in self._everything.items() if _arrived(value, now.get(key))}
        return self._exact[mode]

    def _unnamed(self, wrong: Mismatch, mode: _Mode, error: BaseException) -> Lapse | None:
        """Give an entry that torch's error does not name among others, although it names it alone."""
        if _TORCH not in str(error) or not mode.strict:
            return None
        for key in self._keys:
            name = mode.loader.name(key)
            if name in {*wrong.missing, *wrong.reshaped} and name not in str(error):
                single = mismatches.SINGLE["reshaped" if name in wrong.reshaped else "dropped"][0]
                alone = mode.loader.give(single(self._state, name).state_dict, ())
                if alone.refused is not None and name in str(alone.refused):
                    return Lapse(wrong.kind, key, "unnamed")
        return None

    def _throughout(self, lapse: Lapse, mode: _Mode) -> bool:
        """Whether the loader keeps quiet whichever entry it is; one that tolerates some on purpose knows which."""
        if lapse.kind == "added":
            places = dict.fromkeys(["", *(f"{key.rpartition('.')[0]}." for key in self._state if "." in key)])
            names = [f"{place}ckpt_added" for place in mismatches.spread(list(places), _ASKED)]
            wrong = [mismatches.added(self._state, {name: torch.ones(2)}) for name in names]
            return all(self._ignored(one, mode, mode.loader.give(one.state_dict, ())) for one in wrong)
        return all(
            any(
                self._unsaid(wrong, mode, mode.loader.give(wrong.state_dict, [key]))
                for wrong in self._single(lapse.kind, name)
            )
            for key, name in ((key, mode.loader.name(key)) for key in mismatches.spread(list(self._keys), _ASKED))
        )

    def _single(self, kind: Kind, name: str) -> list[Mismatch]:
        """Give the plainest checkpoints of a kind in which only one entry does not fit."""
        return [way(self._state, name) for way in mismatches.SINGLE.get(kind, ())]


def _alike(one: Lapse, other: Lapse) -> bool:
    """Whether a lapse says nothing new beside another."""
    return one.outcome == other.outcome and (one.key == other.key or one.outcome == "skipped")


def _arrived(expected: Tensor, now: Tensor | None) -> bool:
    """Whether an entry holds what was to be loaded, in whatever dtype."""
    return now is not None and difference("", expected, now.detach().to(expected.dtype)) is None


_SETTINGS = hypothesis.settings(
    max_examples=_EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    print_blob=False,
    suppress_health_check=list(HealthCheck),
)


class _UnsaidError(Exception):
    """The loader took a checkpoint that does not fit, and said nothing."""


@contextmanager
def _no_folder_of_its_own() -> Iterator[None]:
    """Keep Hypothesis from making its folder where the tests were started; what it would cache there is small."""
    with (
        tempfile.TemporaryDirectory(prefix="pytest-ckpt-") as folder,
        mock.patch.object(configuration, "__hypothesis_home_directory", Path(folder)),
    ):
        yield
