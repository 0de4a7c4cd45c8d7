"""Makes the runs that `check_resume` compares, and gathers what they show."""

from __future__ import annotations

import pickle
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from pytest_ckpt.compare import describe, equal
from pytest_ckpt.resume.effect import Effect, drift, typed
from pytest_ckpt.resume.environment import Environment
from pytest_ckpt.resume.families import stands_for_inputs
from pytest_ckpt.resume.naming import described, is_array, is_permutation, losses, shown
from pytest_ckpt.resume.resumption import Lost, Resumption
from pytest_ckpt.resume.run import (
    SEED,
    Driver,
    LoadError,
    SaveError,
    Trace,
    remembered,
    require_apart,
    save,
    settle,
    train,
)
from pytest_ckpt.resume.search import Search, Suspect, suspects
from pytest_ckpt.trip import Changed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pytest_ckpt.resume.slots import Slot, World

_CATEGORY_OF_SAVE = {"mode": "mode-changed", "flag": "requires-grad"}


def observe(training: Callable[[], Any], steps: int, resume_at: int) -> Resumption:
    """Make the runs and compare them.

    Args:
        training: The user's factory.
        steps: How many steps there are.
        resume_at: The step before which the run is saved.

    Raises:
        UsageError: The runs cannot be made as they were given.
    """
    driver = Driver(training, Environment(training))
    folder = Path(tempfile.mkdtemp(prefix="pytest-ckpt-"))
    try:
        return _Observer(driver, steps, resume_at, folder / "checkpoint.pt").observe()
    finally:
        driver.close()
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(slots=True)
class _Saved:
    """The uninterrupted run that was saved on its way: what it held before and after, and when it went on."""

    before: World
    after: World
    start: World
    effect: Effect


@dataclass(slots=True)
class _Observer:
    driver: Driver
    steps: int
    resume_at: int
    path: Path

    def observe(self) -> Resumption:
        seen = self._begin()
        plain = self._plain()
        try:
            saved = self._saved()
        except SaveError as error:
            seen.save_error = str(error)
            return seen
        unstable = self._unstable(plain, saved, seen)
        search = Search(self.driver, self.path, self.steps, self.resume_at, saved.start, saved.effect, unstable)
        try:
            fresh, loaded, effect = search.first()
        except LoadError as error:
            self._refused(seen, saved, error)
            return seen
        if unstable:
            certain = [one for one in suspects(saved.start, loaded) if _certain(one)]
            seen.lost = losses(certain, saved.start, fresh)
            return seen
        places = search.places(effect)
        if not places or search.reference.negligible(effect, places):
            return seen
        if not list(plain.differences(effect, self.resume_at)):  # the file holds what was before saving changed it
            seen.save_changes = seen.save_changes or tuple(_draws(saved))
            return seen
        seen.drift = drift(saved.effect, effect, self.resume_at)
        self._lost(seen, search, fresh, loaded, effect)
        return seen

    def _begin(self) -> Resumption:
        """Build two runs, to see that they are two and what they are made of."""
        one = self.driver.start(SEED)
        self.driver.environment.built()
        first = self.driver.world(one)
        other = self.driver.start(SEED)
        second = self.driver.world(other)
        require_apart(one, other, first, second)
        by_chance = {
            path: slot
            for suspect in suspects(first, second)
            for path, slot in suspect.expected.items()
            if slot is not None and slot.kind == "generator" and slot.family != "process"
        }
        if by_chance:
            self.driver.generators = remembered(self.driver, one)
            self.driver.generators.slots = {path: self.driver.generators.slots[path] for path in by_chance}
        model = first.nodes.get("model", one)
        entries = sum(slot.kind == "entry" and slot.value is not None for slot in first.slots.values())
        return Resumption(type(model).__name__, entries, self.steps, self.resume_at)

    def _plain(self) -> Effect:
        run, trace = self.driver.uninterrupted(self.steps)
        return Effect(trace, remembered(self.driver, run))

    def _saved(self) -> _Saved:
        run, before = self.driver.uninterrupted(self.resume_at)
        held = remembered(self.driver, run)
        save(run, self.path)
        after = remembered(self.driver, run)
        start = remembered(self.driver, run) if settle(run) else held
        rest = train(run, self.resume_at, self.steps)
        trace = replace(rest, losses={**before.losses, **rest.losses})
        return _Saved(held, after, start, Effect(trace, remembered(self.driver, run)))

    def _unstable(self, plain: Effect, saved: _Saved, seen: Resumption) -> frozenset[str]:
        """Compare the run that was saved with the one that was not; what differs is chance, or the fault of saving."""
        places = list(plain.differences(saved.effect))
        if not places or plain.negligible(saved.effect, places):
            return frozenset()
        again = list(plain.differences(self._plain()))
        if again:
            note = (
                f"two uninterrupted runs with the same seeds differ, first in {shown(again[0])}, so only what loading "
            )
            seen.notes += (f"{note}restores was compared, not how training goes on",)
            return frozenset(again)
        changes = [one for one in suspects(saved.before, saved.after) if one.sure]
        drew = any(slot.kind == "generator" for one in changes for slot in one.expected.values() if slot is not None)
        seen.save_changes = tuple(_changes(changes, saved, typed))
        if not seen.save_changes and not drew:  # gradients and counters, say, which a step may read
            seen.save_changes = tuple(_changes(changes, saved, lambda _slot: True))
        if not seen.save_changes:
            seen.notes += ("saving draws random numbers, so a run that is saved trains otherwise than one that is not",)
        return frozenset()

    def _refused(self, seen: Resumption, saved: _Saved, error: LoadError) -> None:
        """Take note of a load that raised; and whether it needs what only the saving process has."""
        seen.load_error = str(error)
        seen.load_refused = isinstance(error.error, pickle.UnpicklingError) and "weights_only" in str(error.error)
        seen.in_memory = _kept_in_process(saved)

    def _lost(self, seen: Resumption, search: Search, fresh: World, loaded: World, effect: Effect) -> None:
        everything = suspects(saved := search.saved, loaded)
        culprits = search.culprits(everything)
        if not culprits:
            culprits = tuple(one for one in everything if _is_typed(one))
            seen.lost = tuple(_other_batches(search.reference.trace, effect.trace))
            if not culprits and not seen.lost:
                seen.place = shown(search.places(effect)[0])
        inputs = [one for one in culprits if self._is_input(one, search)]
        seen.notes += tuple(
            f"{shown(one.name)} is drawn anew by each training(); it was held equal, as data from a file would be"
            for one in inputs
        )
        seen.lost += losses([one for one in culprits if one not in inputs], saved, fresh)

    @staticmethod
    def _is_input(one: Suspect, search: Search) -> bool:
        """Whether a suspect is examples or labels that differ between two builds and that training never changes."""
        slots = [slot for slot in one.expected.values() if slot is not None]
        end = search.reference.end.slots
        return bool(slots) and all(
            slot.kind == "value"
            and slot.family in {"", "data"}
            and _has_examples(slot)
            and slot.path in end
            and equal(slot.value, end[slot.path].value)
            for slot in slots
        )


def _other_batches(expected: Trace, actual: Trace) -> Iterator[Lost]:
    """Report that a trainer reads other batches after loading, where it shows them."""
    for number, batch in actual.batches.items():
        if not equal(batch, expected.batches.get(number)):
            before = [at for at, one in expected.batches.items() if equal(one, batch)]
            what = f"step {number} gets another batch" + (f", that of step {before[0]}" if before else "")
            text = describe(expected.batches.get(number)), describe(batch)
            yield Lost("data-position", "train_dataloader", what, *text, kind="iterator")
            return


def _has_examples(slot: Slot) -> bool:
    """Whether a slot holds what stands for examples: tensors or arrays that are called so, and give no order."""
    items = slot.value if isinstance(slot.value, (list, tuple)) else [slot.value]
    held = all((isinstance(item, torch.Tensor) or is_array(item)) and item.ndim > 0 for item in items)
    return bool(items) and held and stands_for_inputs(slot.path) and not is_permutation(slot.value)


def _is_typed(one: Suspect) -> bool:
    return any(slot is not None and typed(slot) for slot in (*one.expected.values(), *one.actual.values()))


def _certain(one: Suspect) -> bool:
    """Whether a difference right after loading is a fault whatever follows: settings may be set anew by each step."""
    slots = [slot for slot in (*one.expected.values(), *one.actual.values()) if slot is not None]
    return all(typed(slot) and slot.kind != "group" for slot in slots)


def _changes(changed: Sequence[Suspect], saved: _Saved, counts: Callable[[Slot], bool]) -> Any:
    modes = {
        slot.parent
        for one in changed
        for slot in (*one.expected.values(), *one.actual.values())
        if slot is not None and slot.kind == "mode"
    }
    for one in changed:
        for path in one.expected:
            slot, now = saved.before.slots.get(path), saved.after.slots.get(path)
            either = slot or now
            if either is None or (either.kind == "mode" and either.parent.rpartition(".")[0] in modes):
                continue  # of a subtree that was put into another mode, its root is named
            if counts(either):
                name = path.removesuffix(" mode").removesuffix(" requires_grad")
                if either.kind == "grad":
                    name = f"{either.parent}.grad"
                yield (
                    _CATEGORY_OF_SAVE.get(either.kind, "save-mutates"),
                    Changed(shown(name), described(slot), described(now)),
                )


def _draws(saved: _Saved) -> Iterator[tuple[str, Changed]]:
    """Name the generators that saving drew from after it had written where they were."""
    for one in suspects(saved.before, saved.after):
        for path, slot in one.expected.items():
            if slot is not None and slot.kind == "generator":
                yield "save-mutates", Changed(path, "where it was when saved", "further on")


def _kept_in_process(saved: _Saved) -> tuple[Changed, ...]:
    return tuple(
        Changed(path, described(saved.before.slots.get(path)), described(slot))
        for path, slot in saved.after.slots.items()
        if slot.family == "process"
        and slot.kind == "value"
        and described(saved.before.slots.get(path)) != described(slot)
    )
