"""The round trip: source, save, fresh target, load, for each leg; then the checks look at what was observed.

Each leg is travelled twice at most. The first time the source's entries are moved a little, so that an entry that was
not restored shows. If a check then finds anything, the leg is travelled again with the source as the factory and
`prepare` left it, and only what is wrong there too, or what no moving of values can explain, is reported: a module may
rightly object to values that it would never have produced itself.
"""

from __future__ import annotations

import pickle
import shutil
import tempfile
import traceback
from collections.abc import Iterable, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from pytest_ckpt import formats as _formats
from pytest_ckpt import legs, registry
from pytest_ckpt.attribution import attribute_outputs
from pytest_ckpt.call import Call, Mode
from pytest_ckpt.compare import bits_equal, describe, difference, differences, entries, storages, uninitialized, untied
from pytest_ckpt.distinguish import distinguish, poison
from pytest_ckpt.findings import Finding, LegResult, Report, UsageError
from pytest_ckpt.moment import Moment, attributes, modules_within, reachable
from pytest_ckpt.outputs import ForwardError, Runner, first_difference, kept_randomness, where
from pytest_ckpt.snapshot import Prints, Snapshot, changed_modes, modes
from pytest_ckpt.trip import Changed, Trip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor

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
        load_state: Your own way to put a state_dict into a module; the default is `module.load_state_dict`.
        allow_missing: Patterns, as in fnmatch, of entries that the checkpoint need not bring back.
        allow_unexpected: Patterns of entries that the checkpoint may hold beyond those of a fresh module.
        devices: Device types to go between; the default is the CPU and the machine's accelerator, `cuda` where there
            is none, whose legs are then simulated or skipped.
        formats: Names of file formats; the default is `torch_zip`.
        checks: Names of the checks to run; the default is all.
        ignore: Names of checks to leave out.

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
            prepare,
            mode,
            save,
            load,
            load_state,
            _strings("allow_missing", allow_missing),
            _strings("allow_unexpected", allow_unexpected),
        )
        planned = legs.plan(_some("devices", devices), _formats.require(_some("formats", formats) or ("torch_zip",)))
        wanted = registry.select(_some("checks", checks), _strings("ignore", ignore))
        with kept_randomness():
            return _run(call, planned, wanted)
    except UsageError as error:
        message = str(error)
    raise UsageError(message) from None


def _strings(argument: str, given: Iterable[str] | None) -> tuple[str, ...]:
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
    strings = _strings(argument, given)
    if not strings:
        raise UsageError(f"{argument} is empty, so nothing would run: name at least one, or leave the argument out")
    return strings


# ------------------------------------------------------------------------------------------------------------- all legs


def _run(call: Call, planned: Sequence[Leg], checks: Sequence[Check]) -> Report:
    findings: dict[tuple[str, ...], Finding] = {}
    results: list[LegResult] = []
    notes: dict[str, None] = {}
    subject, count = "", 0
    for leg in planned:
        if leg.skipped:
            results.append(leg.result())
            continue
        trip, found, reason = _leg(call, leg, checks)
        results.append(leg.result(reason))
        notes.update(dict.fromkeys(trip.notes))
        subject, count = type(trip.source).__name__, len(trip.state) or count
        for one in found:
            place = (one.category, one.key)
            known = findings.get(place)
            findings[place] = replace(known, leg=f"{known.leg}, {leg}") if known else replace(one, leg=str(leg))
    if not subject:
        subject = type(call.build()).__name__
        notes["nothing was checked, since every leg was skipped"] = None
    return Report(
        subject=subject,
        entries=count,
        findings=tuple(findings.values()),
        legs=tuple(results),
        checks=tuple(check.name for check in checks),
        notes=tuple(notes),
    )


def _leg(call: Call, leg: Leg, checks: Sequence[Check]) -> tuple[Trip, tuple[Finding, ...], str]:
    """Travel one leg and let the checks look; a second time with untouched values if they find something."""
    with _folder() as folder:
        first, found = _look(call, leg, checks, folder / "first", natural=False)
        if not found and first.place is None:
            return first, (), _not_judged(first)
        second, confirmed = _look(call, leg, checks, folder / "second", natural=True)
    places = {(one.category, one.key) for one in confirmed}
    certain = [one for one in found if one.key in first.certain and (one.category, one.key) not in places]
    explained = {one.key for one in certain}
    merged = [one for one in confirmed if one.key not in explained] + certain
    order = {check.name: index for index, check in enumerate(checks)}
    merged.sort(key=lambda one: order[one.category])
    return second, tuple(merged), _not_judged(second)


def _not_judged(trip: Trip) -> str:
    if trip.leg.simulated and not any(isinstance(value, torch.Tensor) for value in trip.state.values()):
        return f"the state_dict holds no tensor that could carry a {trip.leg.saved_on} tag"
    if trip.leg.simulated and not trip.tagged:
        return f"the file was not written by torch.save, so it carries no {trip.leg.saved_on} tag"
    return ""


def _look(
    call: Call, leg: Leg, checks: Sequence[Check], folder: Path, *, natural: bool
) -> tuple[Trip, tuple[Finding, ...]]:
    folder.mkdir()
    trip = _Traveller(call, leg, folder, natural=natural).travel()
    return trip, tuple(finding for check in checks for finding in check.run(trip))


@contextmanager
def _folder() -> Iterator[Path]:
    """Give a temporary folder of our own, which is gone afterwards whatever was put there."""
    path = Path(tempfile.mkdtemp(prefix="pytest-ckpt-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


# -------------------------------------------------------------------------------------------------------------- one leg


class _Traveller:
    """Takes one module through one leg, and notes what it sees on the trip."""

    def __init__(self, call: Call, leg: Leg, folder: Path, *, natural: bool) -> None:
        self._call, self._leg, self._natural = call, leg, natural
        self._format = _formats.get(leg.format)
        self._path = folder / f"checkpoint{self._format.suffix}"
        self._moment: Moment | None = None

    def travel(self) -> Trip:
        trip = Trip(leg=self._leg, call=self._call, source=self._source(), natural=self._natural)
        self._keys(trip)
        if not self._natural:
            self._distinguish(trip)
        self._save(trip)
        if trip.save_error:
            return trip
        self._load(trip)
        if trip.loaded is None:
            return trip
        self._compare(trip)
        if not self._leg.simulated:
            self._outputs(trip)
        return trip

    # ------------------------------------------------------------------------------------------------------- the source

    def _source(self) -> nn.Module:
        source = self._call.build()
        if self._call.prepare is not None:
            try:
                self._call.prepare(source)
            except Exception as error:  # noqa: BLE001 -- the user's function may raise anything
                raise UsageError(
                    f"prepare({type(source).__name__}) raised {where(error)}: it is called with the module that make() "
                    "built and must leave it in the state that is to be saved"
                ) from None
        elif self._call.runner.given and uninitialized(source):
            self._call.runner(source)
        if self._leg.saved_on != "cpu" and not self._leg.simulated:
            source.to(self._leg.saved_on)
        return source

    def _keys(self, trip: Trip) -> None:
        """Find out which live entries the state_dict is meant to carry."""
        live, before = entries(trip.source), Snapshot(trip.source)
        try:
            keys = set(trip.source.state_dict())
        except Exception as error:  # noqa: BLE001 -- a state_dict of the user's own may raise anything
            trip.save_error = where(error)
            return
        trip.save_changes, trip.save_modes = before.changes(), before.mode_changes()
        renamed = not keys <= live.keys()
        trip.carried = frozenset(name for name in live if renamed or name in keys)

    def _distinguish(self, trip: Trip) -> None:
        live = entries(trip.source)
        twin = self._call.build_apart(trip.source)
        frozen = {
            name: tensor
            for name, tensor in entries(twin).items()
            if isinstance(tensor, nn.Parameter) and not tensor.requires_grad
        }
        given = {
            name for name, tensor in frozen.items() if name in live and difference(name, live[name], tensor) is None
        }
        trip.moved = frozenset(
            distinguish({name: live[name] for name in live if name in trip.carried and name not in given}, seed=0)
        )

    # ------------------------------------------------------------------------------------------------------------- save

    def _save(self, trip: Trip) -> None:
        before = Snapshot(trip.source)
        tagger = legs.Tagger(self._leg.saved_on)
        try:
            with tagger.active() if self._leg.simulated else nullcontext():
                trip.state = trip.source.state_dict()
                if self._call.save is not None:
                    self._call.save(trip.source, self._path)
                else:
                    self._format.save(trip.source, self._path)
        except Exception as error:  # noqa: BLE001 -- whatever saving raises is what the report is about
            trip.save_error = where(error)
            return
        trip.tagged = tagger.tagged
        trip.save_changes = _merged(trip.save_changes, before.changes())
        trip.save_modes = _merged(trip.save_modes, before.mode_changes())
        if not any(self._path.parent.iterdir()):
            raise UsageError(
                f"save({type(trip.source).__name__}, path) wrote nothing to {self._path.name}: write the checkpoint to "
                "the path that it is given, and not to one of your own"
            )

    # ------------------------------------------------------------------------------------------------------------- load

    def _load(self, trip: Trip) -> None:
        if self._call.load is not None:
            self._load_the_users_way(trip)
        else:
            self._load_by_default(trip)

    def _load_the_users_way(self, trip: Trip) -> None:
        assert self._call.load is not None  # noqa: S101 -- for the type checker
        try:
            loaded = self._call.load(self._path)
        except Exception as error:  # noqa: BLE001 -- whatever loading raises is what the report is about
            trip.load_error = where(error)
            return
        if not isinstance(loaded, nn.Module):
            raise UsageError(
                f"load(path) gave {describe(loaded)}, not a torch.nn.Module: return the module that was loaded"
            )
        trip.loaded = unwrapped(loaded)
        trip.file_state = self._read_file()
        fresh = entries(self._call.build_apart(trip.source))
        got = entries(trip.loaded)
        again = self._load_again()
        trip.shared = _shared(got, again, "another model loaded from the same file")
        trip.kept = frozenset(
            name
            for name in got
            if (name in fresh and difference(name, fresh[name], got[name]) is None)
            or (name in again and difference(name, again[name], got[name]) is not None)
        )

    def _read_file(self) -> Mapping[str, Tensor] | None:
        """Read the user's file as a state_dict, if that is what it is, at the top or one key below."""
        try:
            content = self._format.load(self._path, "cpu")
        except Exception:  # noqa: BLE001 -- the user's own format; nothing follows from it
            return None
        if not isinstance(content, Mapping):
            return None
        found = _tensors(content)
        for value in content.values():
            if isinstance(value, Mapping) and len(inner := _tensors(value)) > len(found):
                found = inner
        return found or None

    def _load_again(self) -> dict[str, Tensor]:
        """Give the entries of a second module loaded from the same file; what differs in it was not in the file."""
        assert self._call.load is not None  # noqa: S101 -- for the type checker
        try:
            again = self._call.load(self._path)
        except Exception:  # noqa: BLE001 -- it worked once; nothing follows from this
            return {}
        return entries(unwrapped(again)) if isinstance(again, nn.Module) else {}

    def _load_by_default(self, trip: Trip) -> None:
        content = self._read(trip)
        if trip.load_error:
            return
        if isinstance(content, nn.Module):
            trip.loaded = unwrapped(content)
            return
        if not isinstance(content, Mapping):
            raise UsageError(
                f"save wrote {describe(content)}, which cannot be loaded into a module: save a state_dict, or give "
                "load=, a function of the path that returns the module"
            )
        target = self._call.build_apart(trip.source)
        if self._leg.loaded_on != "cpu":
            target.to(self._leg.loaded_on)
        poison(entries(target), entries(trip.source), trip.carried)
        before = Snapshot(target)
        prints = Prints(content)
        try:
            self._call.put(target, content)
        except Exception as error:  # noqa: BLE001 -- whatever loading raises is what the report is about
            trip.load_error = where(error)
            trip.blamed = _blamed(trip.state, content, target, str(error)) or _extra_state_refused(error, target)
            return
        trip.loaded = target
        trip.kept = before.unchanged()
        trip.modes = before.mode_changes()
        trip.dict_changes = prints.changes(content)
        if self._call.load_state is None:
            held = _tensors(content)
            trip.shared = _shared(entries(target), held, "the state_dict that it was loaded from")

    def _read(self, trip: Trip) -> Any:
        try:
            return self._format.load(self._path, self._leg.loaded_on)
        except pickle.UnpicklingError:
            trip.unsafe_globals = _unsafe_globals(self._path)
        except Exception as error:  # noqa: BLE001 -- whatever loading raises is what the report is about
            trip.load_error = where(error)
            return None
        try:
            return torch.load(self._path, map_location=self._leg.loaded_on, weights_only=False)
        except Exception as error:  # noqa: BLE001 -- whatever loading raises is what the report is about
            trip.load_error = where(error)
            return None

    # ---------------------------------------------------------------------------------------------------------- compare

    def _compare(self, trip: Trip) -> None:
        loaded = trip.loaded
        assert loaded is not None  # noqa: S101 -- for the type checker
        if self._call.load is not None:
            trip.modes = _mixed_modes(trip.source, loaded)
        if trip.source.training and not loaded.training:
            trip.source.eval()
        source, target = entries(trip.source), entries(loaded)
        wanted = {name: tensor for name, tensor in source.items() if self._judged(trip, name)}
        have = {name: tensor for name, tensor in target.items() if not self._call.allowed(name)}
        ignored = source.keys() - wanted.keys()
        have = {name: tensor for name, tensor in have.items() if name not in ignored}
        trip.differences = (*differences(wanted, have), *self._other_differences(trip, source, loaded))
        trip.rounded = frozenset(
            one.key
            for one in trip.differences
            if one.aspect == "value" and one.key in source and _rounded(source[one.key], target[one.key])
        )
        trip.broken_ties = untied(wanted, target)
        trip.grad_flags = self._grad_flags(wanted, target, loaded)
        if not self._call.runner.given:
            trip.hidden = _hidden(trip.source, loaded)
            trip.notes = (*trip.notes, "outputs were not compared, for want of inputs")

    def _judged(self, trip: Trip, name: str) -> bool:
        return name in trip.carried and not self._call.allowed(name)

    def _other_differences(self, trip: Trip, live: Mapping[str, Tensor], loaded: nn.Module) -> Iterator[Any]:
        """Compare what a state_dict holds besides the live tensors: extra state, packed parameters."""
        extra = {key: value for key, value in trip.state.items() if key not in live and not self._call.allowed(key)}
        if not extra:
            return
        try:
            state = loaded.state_dict()
        except Exception:  # noqa: BLE001 -- it could be called on the source; nothing more to see
            return
        yield from differences(extra, {key: value for key, value in state.items() if key in extra})

    def _grad_flags(
        self, source: Mapping[str, Tensor], target: Mapping[str, Tensor], loaded: nn.Module
    ) -> tuple[Changed, ...]:
        frozen_for_inference = (
            self._call.load is not None
            and not loaded.training
            and not any(parameter.requires_grad for parameter in loaded.parameters())
        )
        if frozen_for_inference:
            return ()
        return tuple(
            Changed(name, str(tensor.requires_grad), str(target[name].requires_grad))
            for name, tensor in source.items()
            if name in target
            and isinstance(tensor, nn.Parameter)
            and isinstance(target[name], nn.Parameter)
            and tensor.requires_grad != target[name].requires_grad
        )

    # ---------------------------------------------------------------------------------------------------------- outputs

    def _outputs(self, trip: Trip) -> None:
        source, loaded = trip.source, trip.loaded
        if not self._call.runner.given or loaded is None:
            return
        device = self._leg.loaded_on
        if device != "cpu":
            source.to(device)
            loaded.to(device)
        if self._natural:
            self._attribute(trip, loaded)
            return
        try:
            reference = self._run(source)
        except ForwardError:
            trip.place = "forward"
            return
        try:
            trip.place = first_difference(reference, self._run(loaded))
        except ForwardError as error:
            trip.place = f"forward of the loaded module raised {error}"

    def _run(self, module: nn.Module) -> Any:
        """Put a module into the mode that outputs are compared in, and run it."""
        if self._call.mode == "train":
            module.train()
        else:
            module.eval()  # its result is not used: some modules return another one, or None
        return self._call.runner(module, self._leg.loaded_on)

    def _attribute(self, trip: Trip, loaded: nn.Module) -> None:
        source = entries(trip.source)
        moment = Moment(trip.source)
        try:
            self._run(trip.source)
        except ForwardError as error:
            raise UsageError(
                f"forward of {type(trip.source).__name__} raised {error} on the inputs that were given, "
                f"{self._call.runner.describe()}: give the tensor, tuple or dict of keywords that forward takes"
            ) from None
        moment.restore()
        lost = {one.key: source[one.key] for one in trip.differences if one.key in source}
        trip.outputs = attribute_outputs(moment, trip.source, loaded, lost, trip.carried, self._run, self._call.build)
        if trip.outputs.reason:
            trip.notes = (*trip.notes, trip.outputs.reason)


# ---------------------------------------------------------------------------------------------------------- small facts


def unwrapped(module: nn.Module) -> nn.Module:
    """Give the module inside the wrappers of torch.compile, DataParallel and DistributedDataParallel."""
    while True:
        inner = getattr(module, "_orig_mod", None)
        if inner is None and isinstance(module, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            inner = module.module
        if not isinstance(inner, nn.Module):
            return module
        module = inner


def _tensors(content: Mapping[Any, Any]) -> dict[str, Tensor]:
    return {str(key): value for key, value in content.items() if isinstance(value, torch.Tensor)}


def _rounded(expected: Tensor, actual: Tensor) -> bool:
    if not expected.dtype.is_floating_point or expected.layout != torch.strided:
        return False
    narrower = (torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2)
    saved, loaded = expected.detach(), actual.detach()
    try:
        return any(
            bits_equal(saved.to(dtype).to(saved.dtype), loaded)
            for dtype in narrower
            if dtype.itemsize < saved.dtype.itemsize
        )
    except (RuntimeError, NotImplementedError):  # a dtype without conversions
        return False


def _shared(ours: Mapping[str, Tensor], theirs: Mapping[str, Any], what: str) -> tuple[Changed, ...]:
    """List our entries that use memory of theirs."""
    memory = storages(theirs)
    return tuple(
        Changed(name, "memory of its own", f"memory of {memory[address]!r} in {what}")
        for address, name in storages(ours).items()
        if address in memory
    )


def _hidden(source: nn.Module, loaded: nn.Module) -> tuple[Changed, ...]:
    """List attributes that hold unregistered submodules whose parameters differ between the two sides."""
    known = {id(one) for one in source.modules()}
    others = reachable(loaded)
    found = []
    for path, owner in source.named_modules():
        for name, value in attributes(owner).items():
            inside = [one for one in modules_within(value) if id(one) not in known]
            theirs = modules_within(attributes(others[path]).get(name)) if path in others else []
            pairs = zip(inside, theirs, strict=False)
            if any(next(differences(entries(one), entries(other)), None) for one, other in pairs):
                key = ".".join(filter(None, (path, name)))
                found.append(Changed(key, describe(value), describe(attributes(others[path])[name])))
    return tuple(found)


def _mixed_modes(source: nn.Module, loaded: nn.Module) -> tuple[Changed, ...]:
    """List submodules in another mode than in the source, unless the loader put the whole module into one mode."""
    ours, theirs = modes(source), modes(loaded)
    return () if len(set(theirs.values())) == 1 else changed_modes(ours, theirs)


def _unsafe_globals(path: Path) -> tuple[str, ...]:
    try:
        found = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        return tuple(name for name in found if not name.startswith("torch.nn.parameter.Uninitialized"))
    except Exception:  # noqa: BLE001 -- a legacy file, or one that is not torch's
        return ()


def _blamed(saved: Mapping[str, Any], content: Mapping[str, Any], target: nn.Module, error: str) -> tuple[Changed, ...]:
    """List the entries that a failed load is about: those that do not fit, else those that the error names."""
    try:
        wanted = target.state_dict()
    except Exception:  # noqa: BLE001 -- the error at hand is the one to report
        wanted = {}
    found = []
    for key, value in content.items():
        if key not in wanted:
            found.append(Changed(key, describe(value), "no such entry in a fresh module"))
        elif isinstance(value, torch.Tensor) and isinstance(wanted[key], torch.Tensor):
            one, other = value, wanted[key]
            if not is_lazy(one) and not is_lazy(other) and one.shape != other.shape:
                found.append(Changed(key, describe(one), describe(other)))
    found += [
        Changed(key, "absent from the file", describe(value)) for key, value in wanted.items() if key not in content
    ]
    named = [key for key in saved if f'"{key}"' in error or f"'{key}'" in error or f" {key}: " in error]
    return tuple(found) or tuple(Changed(key, describe(saved[key]), "") for key in named)


def _extra_state_refused(error: BaseException, target: nn.Module) -> tuple[Changed, ...]:
    """Name the extra state that a submodule could not take back, if that is where the error came from."""
    names = {id(one): name for name, one in target.named_modules()}
    for frame, _ in traceback.walk_tb(error.__traceback__):
        owner = frame.f_locals.get("self")
        if frame.f_code.co_name == "set_extra_state" and id(owner) in names:
            key = ".".join(filter(None, (names[id(owner)], "_extra_state")))
            return (Changed(key, "", ""),)
    return ()


def _merged(first: tuple[Changed, ...], second: tuple[Changed, ...]) -> tuple[Changed, ...]:
    seen = {one.key for one in first}
    return (*first, *(one for one in second if one.key not in seen))
