"""One leg of a round trip: a source is saved, a target is loaded, and what is seen on the way is noted."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from pytest_ckpt import checkpoint_file, formats, hashing, legs, progress, promises
from pytest_ckpt.attribution import Attribution, Culprit, attribute_outputs, smallest
from pytest_ckpt.compare import (
    bits_equal,
    describe,
    difference,
    differences,
    entries,
    equal,
    storage_address,
    storages,
    untied,
)
from pytest_ckpt.conflicts import collisions, strays, tie_conflicts
from pytest_ckpt.copying import duplicate
from pytest_ckpt.distinguish import distinguish, is_count, is_table
from pytest_ckpt.elsewhere import simulate
from pytest_ckpt.facts import (
    blamed,
    extra_state_refused,
    hidden,
    loads_with_torch_alone,
    merged,
    mixed_modes,
    rounded,
    saves_its_own_way,
    saves_with_torch_alone,
    shared,
    to_device,
    unwrapped,
)
from pytest_ckpt.findings import UsageError
from pytest_ckpt.loading import FileLoader, listening, require_module
from pytest_ckpt.moment import Attributes, Moment, marks
from pytest_ckpt.outputs import ForwardError, Trained, draw, first_difference, same_randomness, set_mode, where
from pytest_ckpt.probes import probe
from pytest_ckpt.snapshot import Prints, Snapshot, changed_modes, modes
from pytest_ckpt.surroundings import EMPTY_CACHE, WHAT_IS_CACHED, emptied, filled_caches, kept_for, shared_with
from pytest_ckpt.trip import Changed, Trip

_HEAD = 4096  # elements of an entry that are written where only its tag matters

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    from torch import Tensor

    from pytest_ckpt.call import Call
    from pytest_ckpt.legs import Leg
    from pytest_ckpt.outputs import Runner
    from pytest_ckpt.surroundings import Kept, Outside, Place


class Traveller:
    """Takes one module through one leg, and notes what it sees on the trip."""

    def __init__(self, call: Call, leg: Leg, folder: Path, *, natural: bool, probing: bool) -> None:
        """Prepare one trip.

        Args:
            call: What the user asked for.
            leg: The leg.
            folder: A folder to make for the checkpoint; others are made beside it.
            natural: Whether the source is saved as it is, or with its values moved first.
            probing: Whether to try the loader's strictness too; not where it is known to skip entries.
        """
        self._call, self._leg, self._natural, self._probing = call, leg, natural, probing
        folder.mkdir()
        self._twin: nn.Module | None = None
        self._format = formats.get(leg.format)
        self._path = folder / f"checkpoint{self._format.suffix}"

    def travel(self) -> Trip:
        """Make the round trip; stop where there is nothing more to see."""
        progress.step(f"building the module that is saved ({self._leg})")
        source = self._source()
        trip = Trip(self._leg, self._call, source, self._bare(source), natural=self._natural)
        held = Attributes(trip.bare) if self._call.save is not None or saves_its_own_way(trip.bare) else None
        self._keys(trip)
        if not self._natural:
            self._distinguish(trip)
        self._step(trip, "saving")
        self._save(trip)
        if trip.save_error or trip.unfit:
            return trip
        if held is not None and self._call.runner.given and not self._leg.simulated:
            trip.save_changes = merged(trip.save_changes, tuple(self._replaced(trip, held)))
        training = [(module, module.training) for module in source.modules()]
        self._step(trip, "loading")
        self._load(trip)
        if trip.loaded is None:
            return trip
        self._step(trip, "comparing")
        self._compare(trip)
        if not self._leg.simulated:
            self._step(trip, "comparing outputs")
            self._outputs(trip)
            self._elsewhere(trip)
            for module, was_training in training:
                module.training = was_training
            self._step(trip, "probing")
            probe(trip, self._path, strictness=self._probing)
            self._promised(trip)
        return trip

    def _promised(self, trip: Trip) -> None:
        """Hold the trip to what is claimed of it."""
        claims = self._call.claims
        if promises.ATOMIC in claims and self._format.place in {"path", "str"}:
            trip.torn = promises.torn(trip, self._path.parent.with_name(f"{self._path.parent.name}-crashes"))
        if promises.UNCHANGED in claims:
            trip.half = promises.half_loaded(trip)
            if trip.content is None:
                why = "since load makes a new module: give load_state instead"
                trip.notes = (*trip.notes, f"claim {promises.UNCHANGED!r} was not judged, {why}")

    def _step(self, trip: Trip, what: str) -> None:
        progress.step(f"{type(trip.source).__name__}: {what} ({self._leg})")

    def _bare(self, module: nn.Module) -> nn.Module:
        """Give what is compared: the module itself, or what is in its wrappers where a loader of the user's own is."""
        return module if self._call.load is None else unwrapped(module)

    # ------------------------------------------------------------------------------------------------------- the source

    def _source(self) -> nn.Module:
        source = self._call.source()
        if self._leg.saved_on != "cpu" and not self._leg.simulated:
            to_device(source, self._leg.saved_on)
        return source

    def _keys(self, trip: Trip) -> None:
        """Find out which live entries the state_dict is meant to carry."""
        live = entries(trip.bare)
        before = Snapshot(trip.bare) if saves_its_own_way(trip.bare) else None
        try:
            keys = set(trip.bare.state_dict())
        except Exception as error:  # noqa: BLE001 -- a state_dict of the user's own may raise anything
            trip.save_error = where(error)
            return
        if before is not None:
            trip.save_changes, trip.save_modes = before.changes(), before.mode_changes()
        renamed = not keys <= live.keys()
        trip.carried = frozenset(name for name in live if renamed or name in keys)

    def _distinguish(self, trip: Trip) -> None:
        """Move every entry that the state carries, but not what is frozen or a table and alike in every instance.

        That is a pretrained base, which a save of the trainable parameters alone rightly leaves out, and what the
        constructor of a network counts out, such as position ids, which many loaders drop. Another buffer is moved even
        so, and every one where there are no parameters beside: a loader that drops what the constructor makes again
        says so with `allow_missing`. A flag that is set, and a count that is another than in a fresh module, stay too:
        turned back, as from "initialised" to "not yet", they would have forward overwrite what is to be compared.
        """
        self._twin = self._call.build_apart(trip.source)
        live = entries(trip.bare)  # now, since a constant that both are built on has been replaced
        twin = entries(self._bare(self._twin))
        learns = any(isinstance(tensor, nn.Parameter) for tensor in twin.values())
        given = {
            name
            for name, tensor in twin.items()
            if (not tensor.requires_grad if isinstance(tensor, nn.Parameter) else learns and is_table(tensor))
            and name in live
            and difference(name, live[name], tensor) is None
        }
        given |= {
            name
            for name, tensor in twin.items()
            if is_count(tensor)
            and name in live
            and ((tensor.dtype == torch.bool and tensor.all()) or difference(name, live[name], tensor) is not None)
        }
        trip.moved = frozenset(
            distinguish({name: live[name] for name in live if name in trip.carried and name not in given}, seed=0)
        )

    def _fresh(self, trip: Trip) -> nn.Module:
        """Give a module fresh from the factory; the one that values were compared with is as good as new."""
        fresh, self._twin = self._twin, None
        return fresh if fresh is not None else self._call.build_apart(trip.source)

    def _template(self, trip: Trip) -> Mapping[str, Any]:
        """Give the state_dict of the module that will be loaded."""
        self._twin = self._fresh(trip)
        return self._bare(self._twin).state_dict()

    # ------------------------------------------------------------------------------------------------------------- save

    def _save(self, trip: Trip) -> None:
        draw()
        plain = self._call.save is None and self._leg.format == "torch_zip" and saves_with_torch_alone(trip.bare)
        before = Snapshot(trip.bare, large=not plain)
        tagger = legs.Tagger(self._leg.saved_on)
        try:
            with tagger.active() if self._leg.simulated else nullcontext():
                trip.state = _state_dict(trip.bare)
                if self._call.save is not None:
                    self._call.save(trip.source, self._path)
                else:
                    self._format.write(trip.source, self._path)
        except formats.Unfit as reason:
            trip.unfit = str(reason)
            return
        except (Exception, SystemExit) as error:  # noqa: BLE001 -- whatever saving raises is what the report is about
            trip.save_error = where(error)
            trip.binds = self._format.binds(trip.source) if self._call.save is None else None
            return
        trip.tagged = tagger.tagged
        trip.save_changes = merged(trip.save_changes, before.changes())
        trip.save_modes = merged(trip.save_modes, before.mode_changes())
        if not any(self._path.parent.iterdir()):
            raise UsageError(
                f"save({type(trip.source).__name__}, path) wrote nothing to {self._path.name}: write the checkpoint to "
                "the path that it is given, and not to one of your own"
            )
        if self._call.load is None and not self._format.recognises(self._path):
            trip.unfit = f"save is your own, and wrote no {self._format.name}"

    def _replaced(self, trip: Trip, held: Attributes) -> Iterator[Changed]:
        """List the attributes that saving changed and without which the live module computes something else."""
        found = list(held.replaced())
        if not found:
            return
        moment = Moment(trip.bare)
        try:
            reference = self._run(trip.bare)
            moment.restore()
            if first_difference(reference, self._run(trip.bare)) is not None:
                return
            for one in found:
                moment.restore()
                one.put(one.before)
                differs = first_difference(reference, self._run(trip.bare)) is not None
                one.put(one.now)
                if differs:
                    shown = _hooks if one.is_hooks else repr if one.is_submodule else describe
                    yield Changed(one.key, shown(one.before), shown(one.now))
        except ForwardError:
            return  # what forward needs besides is another matter
        finally:
            moment.restore()

    # ------------------------------------------------------------------------------------------------------------- load

    def _load(self, trip: Trip) -> None:
        if self._call.load is not None:
            self._load_the_users_way(trip)
        else:
            self._load_by_default(trip)

    def _load_the_users_way(self, trip: Trip) -> None:
        content = checkpoint_file.read(self._path)
        trip.file_state, trip.bloat = checkpoint_file.find_state(content), checkpoint_file.bloat(content)
        found = checkpoint_file.unsafe_globals(self._path)
        try:
            loaded = self._call.read(self._path)
        except (Exception, SystemExit) as error:  # noqa: BLE001 -- whatever loading raises is what the report is about
            trip.load_error = where(error)
            trip.unsafe_globals = found if checkpoint_file.is_refusal(error) else ()
            target = self._bare(self._fresh(trip))
            trip.blamed = blamed(trip.state, trip.file_state or trip.state, target, str(error))
            self._collided(trip, trip.in_file)
            return
        require_module(loaded)
        if found and checkpoint_file.needs_more_than_weights(self._call.read, self._path):
            trip.unsafe_globals = found
        trip.unsafe_globals += checkpoint_file.pickled_modules(self._path)
        trip.loaded = unwrapped(loaded)
        got, again = entries(trip.loaded), self._load_again(trip)
        fresh = entries(self._bare(self._fresh(trip)))
        trip.shared = shared(got, again, "another model loaded from the same file")
        trip.drawn = frozenset(
            name for name in got if name in again and difference(name, again[name], got[name]) is not None
        )
        trip.kept = trip.drawn.union(
            name for name in got if name in fresh and difference(name, fresh[name], got[name]) is None
        )

    @staticmethod
    def _collided(trip: Trip, file: Mapping[str, Tensor]) -> None:
        """Find among what a failed load is about the entries that were written under the name of another."""
        live = entries(trip.bare)
        trip.collisions = collisions((one.key for one in trip.blamed), live, {}, file)

    def _load_again(self, trip: Trip) -> dict[str, Tensor]:
        """Give the entries of a second module loaded from the same file; what differs in it was not in the file."""
        try:
            with listening() as heard:
                again = self._call.read(self._path)
        except (Exception, SystemExit):  # noqa: BLE001 -- it worked once; nothing follows from this
            return {}
        trip.misnamed = frozenset(heard.unexpected - (trip.file_state or {}).keys())
        return entries(unwrapped(again)) if isinstance(again, nn.Module) else {}

    def _load_by_default(self, trip: Trip) -> None:
        content = self._read(trip)
        if trip.load_error:
            return
        if isinstance(content, nn.Module):
            trip.loaded = content
            trip.unsafe_globals += checkpoint_file.classes_of_main(self._path)
            return
        if not isinstance(content, Mapping):
            raise UsageError(
                f"save wrote {describe(content)}, which cannot be loaded into a module: save a state_dict, or give "
                "load=, a function of the path that returns the module"
            )
        trip.bloat = checkpoint_file.bloat(content)
        target = self._fresh(trip)
        bare = self._bare(target)
        if self._leg.loaded_on != "cpu":
            to_device(target, self._leg.loaded_on)
        before, mode = _heads(bare), modes(bare)
        prints = Prints(content, large=self._call.load_state is not None or not loads_with_torch_alone(target))
        try:
            self._call.put(target, content)
        except (Exception, SystemExit) as error:  # noqa: BLE001 -- whatever loading raises is what the report is about
            trip.load_error = where(error)
            trip.blamed = blamed(trip.state, content, target, str(error)) or extra_state_refused(error, target)
            self._collided(trip, checkpoint_file.tensors(content))
            return
        trip.loaded, trip.content = bare, content
        trip.kept = frozenset(
            name for name, head in _heads(bare).items() if name in before and bits_equal(head, before[name])
        )
        trip.modes = changed_modes(mode, modes(bare))
        trip.dict_changes = prints.changes(content)
        if self._call.load_state is None:
            held = checkpoint_file.tensors(content)
            trip.shared = shared(entries(bare), held, "the state_dict that it was loaded from")

    def _read(self, trip: Trip) -> Any:
        try:
            return self._format.read(self._path, self._leg.loaded_on, lambda: self._template(trip))
        except pickle.UnpicklingError as error:
            trip.only_weights = False
            if checkpoint_file.is_of_another_protocol(error):
                trip.notes = (*trip.notes, "torch.load refuses the file's pickle protocol unless weights_only=False")
            trip.unsafe_globals = checkpoint_file.unsafe_globals(self._path)
        except Exception as error:  # noqa: BLE001 -- whatever loading raises is what the report is about
            trip.load_error = where(error)
            if self._format.into:
                trip.blamed = blamed(trip.state, trip.state, self._fresh(trip), str(error))
            return None
        try:
            return torch.load(self._path, map_location=formats.location(self._leg.loaded_on), weights_only=False)
        except Exception as error:  # noqa: BLE001 -- whatever loading raises is what the report is about
            trip.load_error = where(error)
            return None

    # ---------------------------------------------------------------------------------------------------------- compare

    def _compare(self, trip: Trip) -> None:
        loaded = trip.loaded
        assert loaded is not None  # noqa: S101 -- for the type checker
        if self._call.load is not None:
            trip.modes = mixed_modes(trip.bare, loaded)
        if trip.bare.training and not loaded.training:
            trip.bare.eval()
        source, target = entries(trip.bare), entries(loaded)
        wanted = {name: tensor for name, tensor in source.items() if self._judged(trip, name)}
        have = {name: tensor for name, tensor in target.items() if not self._call.allowed(name)}
        ignored = source.keys() - wanted.keys()
        have = {name: tensor for name, tensor in have.items() if name not in ignored}
        trip.differences = (*differences(wanted, have), *self._other_differences(trip, source, loaded))
        trip.rounded = frozenset(
            one.key
            for one in trip.differences
            if one.aspect == "value" and one.key in source and rounded(source[one.key], target[one.key])
        )
        changed = [one.key for one in trip.differences if one.aspect == "value" and one.key in source]
        trip.mixed = self._made_of_the_file(trip, [key for key in changed if key in trip.drawn])
        trip.kept, trip.drawn = trip.kept - trip.mixed, trip.drawn - trip.mixed
        trip.strays = strays((key for key in changed if key not in trip.in_file), source, trip.in_file)
        lost = [one.key for one in trip.differences if one.aspect == "value" and one.key not in trip.kept]
        trip.tie_conflicts = tie_conflicts(lost, source, target, trip.in_file)
        conflicting = {one.key for one in trip.tie_conflicts}
        lost = [key for key in lost if key not in conflicting]
        trip.collisions = collisions(lost, source, target, trip.in_file)
        trip.broken_ties = untied(wanted, target)
        trip.grad_flags = self._grad_flags(wanted, target, loaded)
        if not self._call.runner.given:
            trip.hidden = hidden(trip.bare, loaded)
            trip.notes = (*trip.notes, "outputs were not compared, for want of inputs")

    def _made_of_the_file(self, trip: Trip, drawn: Collection[str]) -> frozenset[str]:
        """Give those of the drawn entries that follow the file too: a loader has mixed what it drew with what it read.

        The file is loaded twice from the same seed, the second time with other values in it.
        """
        if not drawn:
            return frozenset()
        try:
            loader = FileLoader(self._path, self._call.read, trip.name_in_file)
            other = {key: -value - 1 if value.is_floating_point() else value for key, value in loader.state.items()}
            with same_randomness():
                one = loader.give(loader.state, drawn).now
            with same_randomness():
                two = loader.give(other, drawn).now
        except Exception:  # noqa: BLE001 -- a file of another kind, or a loader that refuses such values
            return frozenset()
        both = one.keys() & two.keys()
        return frozenset(key for key in drawn if key in both and difference(key, one[key], two[key]) is not None)

    def _judged(self, trip: Trip, name: str) -> bool:
        return name in trip.carried and not self._call.allowed(name)

    def _other_differences(self, trip: Trip, live: Mapping[str, Tensor], loaded: nn.Module) -> Iterator[Any]:
        """Compare what a state_dict holds besides the live tensors: extra state, packed parameters.

        What two calls on the source give differently, such as the time of day, says nothing.
        """
        extra = {key: value for key, value in trip.state.items() if key not in live and not self._call.allowed(key)}
        known = storages(live).keys() if extra else ()
        extra = {key: value for key, value in extra.items() if storage_address(value) not in known}
        if not extra:
            return
        try:
            state, again = loaded.state_dict(), trip.bare.state_dict()
        except Exception:  # noqa: BLE001 -- it could be called on the source; nothing more to see
            return
        lasting = {key: value for key, value in extra.items() if key in again and equal(value, again[key])}
        yield from differences(lasting, {key: value for key, value in state.items() if key in lasting})

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
        source, loaded = trip.bare, trip.loaded
        if not self._call.runner.given or loaded is None:
            return
        device = self._leg.loaded_on
        if self._leg.saved_on != device:
            to_device(source, device)
        if device != "cpu":
            to_device(loaded, device)
        if self._natural:
            self._attribute(trip, loaded)
            return
        try:
            reference = self._run_on(source)
        except ForwardError:
            trip.place = "forward"
            return
        outputs = reference.outputs if isinstance(reference, Trained) else reference
        if outputs is None:
            trip.notes = (*trip.notes, "forward returned None, so there were no outputs to compare")
        before = marks(loaded)
        try:
            trip.place = first_difference(reference, self._run_on(loaded))
        except ForwardError as error:
            trip.place = f"forward of the loaded module raised {error}"
            return
        if trip.place is None and (before != marks(loaded) or filled_caches(loaded)):
            self._warm(trip, loaded, outputs)

    def _elsewhere(self, trip: Trip) -> None:
        """Load once more in the surroundings of a new process, where nothing was found in these."""
        known = trip.differences or trip.outputs.culprits or trip.outside or trip.place is not None
        if known or not self._call.runner.given:
            return

        runner = self._call.runner.reseeded()  # what was drawn once for all is drawn anew there, from another seed

        def load_and_run() -> Any:
            if self._call.load is not None:
                return self._run(unwrapped(self._call.load(self._path)), runner)
            target = self._call.build_apart(trip.source)
            self._call.put(target, self._format.read(self._path, self._leg.loaded_on, target.state_dict))
            return self._run(target, runner)

        trip.outside = self._call.surroundings.deciding(trip.source, load_and_run)
        if not trip.outside:
            trip.outside = hashing.deciding(self._call, trip, self._path, self._run)

    def _warm(self, trip: Trip, loaded: nn.Module, reference: Any) -> None:
        """Load into a module that has run before, and see whether it computes what a fresh one computes.

        A module that computes something else the second time anyway, such as one that counts its calls or keeps a
        stream, is left alone: what it keeps is not for a checkpoint.

        Args:
            trip: The trip; what makes the difference is added to it.
            loaded: The loaded module, after its first run.
            reference: The outputs of the saved module.
        """
        if self._call.load is not None or trip.content is None:
            return
        used = self._bare(self._call.build_apart(trip.source))
        if self._leg.loaded_on != "cpu":
            to_device(used, self._leg.loaded_on)
        moment = Moment(loaded)
        try:
            if first_difference(reference, self._run(loaded)) is not None:
                return
            self._run(used)
            mode = [(module, module.training) for module in used.modules()]
            self._call.put(used, self._format.read(self._path, self._leg.loaded_on, used.state_dict))
            for module, was_training in mode:
                module.training = was_training  # and not by eval(), which may renew what loading should have renewed
        except Exception:  # noqa: BLE001 -- a used module may refuse what a fresh one takes; that is another matter
            return
        warm = attribute_outputs(moment, loaded, used, {}, trip.carried, self._run_as_it_is, self._call.build)
        if any(one.kind == "unknown" for one in warm.culprits):
            found = self._in_caches(used, reference)
            if found is None and self._loads_in_training(used, reference):
                return  # its eval() writes to entries, as one that merges an adapter: it is loaded before that
            warm = found or warm
        trip.warm = warm

    def _loads_in_training(self, used: nn.Module, reference: Any) -> bool:
        """Whether a used module that is put into training mode, loaded and put back computes what it should."""
        try:
            used.train()
            self._call.put(used, self._format.read(self._path, self._leg.loaded_on, used.state_dict))
            return first_difference(reference, self._run(used)) is None
        except Exception:  # noqa: BLE001 -- as above
            return False

    def _in_caches(self, used: nn.Module, reference: Any) -> Attribution | None:
        """Name the functions whose caches, as `functools.lru_cache` keeps them, make a module compute something else.

        Args:
            used: A module that ran before it was loaded.
            reference: What it should compute.
        """
        moment = Moment(used)

        def place(caches: Sequence[Place]) -> str | None:
            moment.restore()
            with emptied(caches):
                return first_difference(reference, self._run_as_it_is(used))

        found, differing = filled_caches(used), place(())
        if differing is None or place(found) is not None:
            return None
        least = smallest(found, lambda caches: place(caches) is None)
        return Attribution(
            tuple(Culprit(one.key, "derived", EMPTY_CACHE, WHAT_IS_CACHED, "", differing) for one in least)
        )

    def _run(self, module: nn.Module, runner: Runner | None = None) -> Any:
        """Put a module into the mode that outputs are compared in, and run it."""
        set_mode(module, training=self._call.mode == "train")
        return (runner or self._call.runner)(module, self._leg.loaded_on)

    def _run_as_it_is(self, module: nn.Module) -> Any:
        """Run a module in the mode that it is in."""
        return self._call.runner(module, self._leg.loaded_on)

    def _run_on(self, module: nn.Module) -> Any:
        """Run a module; in training mode, note what that leaves in its buffers too, for training goes on from there."""
        outputs = self._run(module)
        if self._call.mode != "train":
            return outputs
        buffers = {name: one for name, one in entries(module).items() if not isinstance(one, nn.Parameter)}
        return Trained(outputs, duplicate(buffers))

    def _attribute(self, trip: Trip, loaded: nn.Module) -> None:
        source, target = entries(trip.bare), entries(loaded)
        moment = Moment(trip.bare)
        try:
            self._run(trip.bare)
        except ForwardError as error:
            if self._leg.loaded_on != "cpu":
                trip.behind = simulate(self._call, None).behind
            if trip.behind:
                return
            raise self._call.unfit(trip.source, error) from None
        moment.restore()
        lost = {one.key: source[one.key] for one in trip.differences if one.key in source}
        lost.update((name, source[name]) for name in source if name in target and self._call.allowed(name))
        trip.outputs = attribute_outputs(moment, trip.bare, loaded, lost, trip.carried, self._run_on, self._call.build)
        if any(one.kind == "unknown" for one in trip.outputs.culprits):
            moment.restore()
            trip.outside = self._kept_for(trip, loaded)
            trip.outputs = Attribution() if trip.outside else trip.outputs
        elif trip.outputs.reason:
            trip.notes = (*trip.notes, trip.outputs.reason)
        elif not trip.outputs.culprits and not trip.differences:
            reference, before = self._run(trip.bare), marks(loaded)
            same = first_difference(reference, self._run(loaded)) is None
            if same and (before != marks(loaded) or filled_caches(loaded)):
                self._warm(trip, loaded, reference)

    def _kept_for(self, trip: Trip, loaded: nn.Module) -> tuple[Outside, ...]:
        """Name the mappings that keep for the saved module what makes its outputs, and nothing for the loaded one."""
        moment = Moment(loaded)
        reference = self._run_on(trip.bare)

        def explains(kept: Sequence[Kept]) -> bool:
            moment.restore()
            with shared_with(kept):
                return first_difference(reference, self._run_on(loaded)) is None

        found = kept_for(trip.bare, loaded)
        return tuple(one.described for one in smallest(found, explains)) if found and explains(found) else ()


def _heads(module: nn.Module) -> dict[str, Tensor]:
    """Copy the first elements of each entry, enough to see whether something was written to it."""
    return {
        name: (
            tensor.detach().view(-1)[:_HEAD] if tensor.layout == torch.strided and tensor.is_contiguous() else tensor
        )
        .detach()
        .clone()
        for name, tensor in entries(module).items()
        if not is_lazy(tensor) and tensor.device.type != "meta" and type(tensor.data) is torch.Tensor
    }


def _hooks(registry: Mapping[int, Any]) -> str:
    return f"{len(registry)} hook{'s' * (len(registry) != 1)}"


def _state_dict(module: nn.Module) -> Mapping[str, Any]:
    state = module.state_dict()
    if not isinstance(state, Mapping):
        raise TypeError(f"state_dict() of {type(module).__name__} gave {describe(state)}, not a dict")
    return state
