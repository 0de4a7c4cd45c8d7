"""The round trip: source, save, fresh target, load, for each leg; then the checks look at what was observed.

Each leg is travelled twice at most. The first time the source's entries are moved a little, so that an entry that was
not restored shows. If a check then finds anything, the leg is travelled again with the source as the factory and
`prepare` left it, and only what is wrong there too, or what no moving of values can explain, is reported: a module may
rightly object to values that it would never have produced itself.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_ckpt import formats as _formats
from pytest_ckpt import legs, places, promises, ranks, registry
from pytest_ckpt.call import Call, Mode
from pytest_ckpt.checkpoint_file import Excerpt, tensors_within
from pytest_ckpt.checks.device_location import DeviceLocation
from pytest_ckpt.compare import differences
from pytest_ckpt.elsewhere import Elsewhere, simulate
from pytest_ckpt.findings import Finding, LegResult, Report, UsageError
from pytest_ckpt.outputs import Runner, kept_randomness
from pytest_ckpt.process_settings import keeping, kept_settings
from pytest_ckpt.travel import Traveller
from pytest_ckpt.trip import Trip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import nn

    from pytest_ckpt.checks import Check
    from pytest_ckpt.legs import Leg


def check_module(  # noqa: PLR0913 -- the contract: everything after inputs is optional and has a name
    make: Callable[[], nn.Module],
    inputs: Any = None,
    *,
    prepare: Callable[[Any], Any] | None = None,
    mode: Mode = "eval",
    save: Callable[[Any, Path], Any] | None = None,
    load: Callable[[Path], Any] | None = None,
    load_state: Callable[[Any, Any], Any] | None = None,
    allow_missing: Sequence[str] = (),
    allow_unexpected: Sequence[str] = (),
    devices: Sequence[str] | None = None,
    formats: Sequence[str] | None = None,
    checks: Sequence[str] | None = None,
    ignore: Sequence[str] = (),
    claims: Sequence[str] = (),
) -> Report:
    """Save a module, load it into a fresh one, and compare everything that a checkpoint should carry.

    Args:
        make: Gives a fresh module at each call: a class, a lambda, a function.
        inputs: What forward takes: a tensor or another single argument, a tuple of positional arguments, a dict of
            keyword arguments, or a function that gives one of these. Without it no outputs are compared, and state
            that is missing from the state_dict is found only where it is a whole submodule.
        prepare: Called with the module before it is saved: a few training steps, a fit, a forward.
        mode: Mode in which the outputs are compared, `"eval"` or `"train"`.
        save: Your own way to write a checkpoint, called with the module and a path that does not exist yet. The
            default is `torch.save(module.state_dict(), path)`.
        load: Your own way to get a module from that path. The default is `torch.load(path, weights_only=True)` into a
            fresh module.
        load_state: Your own way to put a state_dict into a module; the default is `module.load_state_dict`. Beside a
            `load`, which reads the file, it makes a round trip of its own with `module.state_dict()`.
        allow_missing: Patterns, as in fnmatch, of entries that the checkpoint need not bring back.
        allow_unexpected: Patterns of entries that the checkpoint may hold beyond those of a fresh module.
        devices: Device types to go between; the default is the CPU and the machine's accelerator, `cuda` where there
            is none, whose legs are then simulated or skipped.
        formats: Names of file formats; the default is `torch_zip`.
        checks: Names of the checks to run; the default is all.
        ignore: Names of checks to leave out.
        claims: Promises to hold it to: `"atomic"`, that a save which fails or is killed loses no earlier checkpoint,
            and `"unchanged-on-error"`, that a load which raises leaves the module as it was.

    Returns:
        The report. `report.raise_for_findings()` raises `CheckpointError`, an AssertionError, if anything is wrong.

    Raises:
        UsageError: The call cannot be carried out: the message says what was given and what to do.
    """
    __tracebackhide__ = True
    try:
        call = Call(
            make,
            Runner(inputs),
            keeping(prepare),
            mode,
            keeping(save),
            keeping(load),
            keeping(load_state),
            strings("allow_missing", allow_missing),
            strings("allow_unexpected", allow_unexpected),
            promises.require(strings("claims", claims)),
        )
        names = _formats.require(_some("formats", formats) or ("torch_zip",))
        planned = legs.plan(_some("devices", devices), names, forward=call.runner.given)
        wanted = registry.select(_some("checks", checks), strings("ignore", ignore))
        with kept_randomness(), kept_settings():
            report = _Journey(call, planned, wanted, asked=devices is not None).report()
            if load is not None and load_state is not None:
                by_state = replace(call, save=None, load=None)
                report = _joined(report, _Journey(by_state, planned, wanted, asked=devices is not None).report())
            return report
    except UsageError as error:
        message = str(error)
    raise UsageError(message) from None


def _joined(report: Report, other: Report) -> Report:
    """Add what a second way of loading showed; what is known already is not said again.

    A `load_state` that refuses a plain state_dict may be meant for the whole content of the user's file.
    """
    refused = next((one for one in other.findings if one.category == "not-loadable"), None)
    if refused is not None:
        why = f"load_state was not judged, since it did not take module.state_dict(): {refused.message}"
        return replace(report, notes=(*report.notes, why))
    known = {(one.category, one.key) for one in report.findings}
    more = tuple(one for one in other.findings if (one.category, one.key) not in known)
    notes = tuple(dict.fromkeys((*report.notes, *other.notes)))
    return replace(report, findings=report.findings + more, notes=notes)


def strings(argument: str, given: Iterable[str] | None) -> tuple[str, ...]:
    """Take an argument that is a list of strings; None is an empty one.

    Raises:
        UsageError: It is a single string, no list, or holds something else than strings.
    """
    if isinstance(given, str):
        raise UsageError(f"{argument} takes a list of strings, not a string: write {argument}=[{given!r}]")
    if given is not None and not isinstance(given, Iterable):
        raise UsageError(f"{argument} takes a list of strings, but {given!r} was given")
    strings = tuple(given or ())
    for one in strings:
        if not isinstance(one, str):
            raise UsageError(f"{argument} takes strings, but it holds {one!r}")
    return strings


def _some(argument: str, given: Iterable[str] | None) -> tuple[str, ...] | None:
    if given is None:
        return None
    names = strings(argument, given)
    if not names:
        raise UsageError(f"{argument} is empty, so nothing would run: name at least one, or leave the argument out")
    return names


# ------------------------------------------------------------------------------------------------------------- all legs


class _Journey:
    """All legs of one call, one after the other, and what they showed."""

    def __init__(self, call: Call, planned: Sequence[Leg], checks: Sequence[Check], *, asked: bool) -> None:
        """Prepare for the legs.

        Args:
            call: What the user asked for.
            planned: The legs.
            checks: The checks.
            asked: Whether the user named the devices; if not, what forward would not do elsewhere is only a note.
        """
        self._call, self._planned, self._checks, self._asked = call, planned, checks, asked
        self._findings: dict[tuple[str, str], Finding] = {}
        self._notes: dict[str, None] = {}
        self._plain: dict[str, Trip] = {}
        self._last: Trip | None = None

    def report(self) -> Report:
        """Travel all legs."""
        results = [self._go(leg) for leg in self._planned]
        if all(leg.status == "skipped" for leg in results):
            self._notes["nothing was checked, since every leg was skipped"] = None
        source = self._last.source if self._last is not None else self._call.build()
        return Report(
            subject=type(source).__name__,
            entries=len(self._last.state) if self._last is not None else 0,
            findings=tuple(self._findings.values()),
            legs=tuple(results),
            checks=tuple(check.name for check in self._checks),
            notes=tuple(self._notes),
        )

    def _go(self, leg: Leg) -> LegResult:
        own = leg.skipped or _own_way(self._call, leg, self._planned)
        if own:
            return leg.result(own)
        if leg.elsewhere:
            return self._elsewhere(leg)
        if leg.simulated and leg.format in self._plain:
            found, reason = _tagged(leg, self._plain[leg.format])
            for one in found:
                self._findings.setdefault((one.category, one.key), one)
            return leg.result(reason)
        trip, found, reason = _any_leg(self._call, leg, self._checks)
        if self._call.is_plain and trip.only_weights and trip.content is not None and not leg.simulated:
            self._plain[leg.format] = trip
        self._last = trip if trip.state or self._last is None else self._last
        self._add(found, leg)
        self._notes.update(dict.fromkeys(trip.notes))
        return leg.result(reason)

    def _add(self, found: Iterable[Finding], leg: Leg) -> None:
        for one in found:
            place = (one.category, one.key)
            known = self._findings.get(place)
            self._findings[place] = replace(known, leg=f"{known.leg}, {leg}") if known else replace(one, leg=str(leg))

    # ------------------------------------------------------------------------------------------------------- elsewhere

    def _elsewhere(self, leg: Leg) -> LegResult:
        """Say what forward would do on a device that is not here; what is known by name already is not said again."""
        seen = self._simulation
        if seen.reason:
            return leg.result(f"{leg.loaded_on} is not available here, and {seen.reason}")
        known = {key for category, key in self._findings if category != DeviceLocation.name}
        behind = tuple(one for one in seen.behind if one.key not in known)
        if self._asked:
            source = self._last.source if self._last is not None else self._call.build()
            trip = Trip(leg, self._call, source, source, natural=True, behind=behind)
            self._add(
                [one for check in self._checks if check.name == DeviceLocation.name for one in check.run(trip)], leg
            )
        else:
            for one in behind:
                where = f"on {leg.loaded_on}, forward would raise at {one.actual}"
                self._notes[f"{where}: {one.expected} of {one.key} stays on the CPU"] = None
        return leg.result()

    @cached_property
    def _simulation(self) -> Elsewhere:
        return simulate(self._call, self._last)


def _any_leg(call: Call, leg: Leg, checks: Sequence[Check]) -> tuple[Trip, tuple[Finding, ...], str]:
    written = _formats.get(leg.format)
    counts = written.ranks
    if counts is None:
        return _leg(places.given(call, written.place), leg, checks)
    with temporary_folder() as folder:
        trip = ranks.travel(call, leg, counts, folder)
    return trip, () if trip.unfit else tuple(found for check in checks for found in check.run(trip)), trip.unfit


def _leg(call: Call, leg: Leg, checks: Sequence[Check]) -> tuple[Trip, tuple[Finding, ...], str]:
    """Travel one leg and let the checks look; a second time with untouched values if they find something."""
    with temporary_folder() as folder:
        first, found = _look(Traveller(call, leg, folder / "first", natural=False, probing=True), checks)
        if not found and first.place is None:
            return first, (), _not_judged(first)
        once_more = Traveller(call, leg, folder / "second", natural=True, probing=not first.differences)
        second, confirmed = _look(once_more, checks)
    places = {(one.category, one.key) for one in confirmed}
    certain = [one for one in found if one.key in first.certain and (one.category, one.key) not in places]
    explained = {one.key for one in certain}
    merged = [one for one in confirmed if one.key not in explained] + certain
    order = {check.name: index for index, check in enumerate(checks)}
    merged.sort(key=lambda one: order[one.category])
    return second, tuple(merged), _not_judged(second)


def _tagged(leg: Leg, trip: Trip) -> tuple[tuple[Finding, ...], str]:
    """Write the state that another leg has saved once more, tagged with the leg's device, and read it on this machine.

    This is all that a tag can change where no save and no load of the user's own takes part: what follows gets the
    same tensors on the same device as before. A tag stands beside a storage whatever its size, so that of large entries
    the leading elements will do.
    """
    if not any(tensors_within(trip.state)):
        return (), f"the state_dict holds no tensor that could carry a {leg.saved_on} tag"
    written = _formats.get(leg.format)
    with temporary_folder() as folder:
        path = folder / f"checkpoint{written.suffix}"
        tagger, excerpt = legs.Tagger(leg.saved_on), Excerpt(trip.bare.state_dict())
        with tagger.active():
            written.write(excerpt, path)
        if not tagger.tagged:
            return (), f"torch.save wrote no {leg.saved_on} tag"
        content = written.read(path, leg.loaded_on, excerpt.state_dict)
        return tuple(
            Finding(
                "device-location",
                one.key,
                f"the entry does not come back from a file that is tagged {leg.saved_on}:0",
                "report it with the module: torch reads its own files otherwise",
                one.expected,
                one.actual,
                str(leg),
            )
            for one in differences(excerpt.state_dict(), content)
        ), ""


def _own_way(call: Call, leg: Leg, planned: Sequence[Leg]) -> str:
    """Say in which leg functions of the user's own have run already, where this leg's format adds nothing to them."""
    if call.save is None:
        return ""

    def way(other: Leg) -> tuple[str, str, str, str]:
        kind = _formats.get(other.format)
        reader = "" if call.load is not None else "torch.load" if kind.tagged else kind.name
        return other.saved_on, other.loaded_on, kind.place, reader

    first = next(other for other in planned if way(other) == way(leg))
    return "" if first == leg else f"save is your own, so the format changes nothing: see {first}"


def _not_judged(trip: Trip) -> str:
    if trip.unfit:
        return trip.unfit
    if trip.leg.simulated and not any(tensors_within(trip.state)):
        return f"the state_dict holds no tensor that could carry a {trip.leg.saved_on} tag"
    if trip.leg.simulated and not trip.tagged:
        return f"the file was not written by torch.save, so it carries no {trip.leg.saved_on} tag"
    return ""


def _look(traveller: Traveller, checks: Sequence[Check]) -> tuple[Trip, tuple[Finding, ...]]:
    trip = traveller.travel()
    return trip, () if trip.unfit else tuple(finding for check in checks for finding in check.run(trip))


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Give a temporary folder of our own, which is gone afterwards whatever was put there."""
    path = Path(tempfile.mkdtemp(prefix="pytest-ckpt-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
