"""Finds what a resumed run lacks: suspects are transplanted from the uninterrupted run until the two train alike."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_ckpt.attribution import smallest
from pytest_ckpt.copying import Copier
from pytest_ckpt.resume.effect import Effect, typed
from pytest_ckpt.resume.run import SEEDS_OF_NEW_PROCESSES, Driver, load, remembered, settle, train
from pytest_ckpt.resume.slots import ABSENT, Reference, Slot, World, make_room, put, same

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_MOST_TRIALS = 120  # trainings from the saved step on, each with other parts transplanted
_ONE_BY_ONE = frozenset({"value", "buffer", "generator", "iterator", "reference"})


@dataclass(frozen=True, slots=True, eq=False)
class Suspect:
    """What is transplanted together.

    Attributes:
        name: What it is.
        expected: The slots of the uninterrupted run that differ, by path; None where it has no such slot.
        actual: The slots of the resumed run.
        sure: Whether the two are known to differ.
    """

    name: str
    expected: dict[str, Slot | None]
    actual: dict[str, Slot | None]
    sure: bool = True


def suspects(expected: World, actual: World) -> list[Suspect]:
    """List what differs between two worlds, the least suspicious first; the state of one optimizer is one suspect."""
    grouped: dict[str, Suspect] = {}
    for path in dict.fromkeys((*expected.slots, *actual.slots)):
        one, other = expected.slots.get(path), actual.slots.get(path)
        if same(one, other):
            continue
        slot = one or other
        assert slot is not None  # noqa: S101 -- the path comes from one of the two
        name = _together(slot)
        suspect = grouped.setdefault(name, Suspect(name, {}, {}, slot.kind != "iterator"))
        suspect.expected[path], suspect.actual[path] = one, other
    return sorted(grouped.values(), key=_suspicion)


def _together(slot: Slot) -> str:
    if slot.kind in _ONE_BY_ONE and not (slot.kind == "value" and slot.family in {"scheduler", "ema"}):
        return slot.path
    root = slot.path.partition(".")[0].partition("[")[0]
    kind = slot.family if slot.kind == "value" else slot.kind
    return f"{root} {kind}"


def _suspicion(one: Suspect) -> int:
    slot = next(slot for slot in (*one.expected.values(), *one.actual.values()) if slot is not None)
    return 2 * typed(slot) + (slot.kind == "generator")


@dataclass(slots=True)
class Search:
    """Resumes one checkpoint again and again, each time with other suspects transplanted.

    Attributes:
        driver: Builds runs.
        path: The checkpoint.
        steps: How many steps there are.
        resume_at: The step at which the resumed run begins.
        saved: A copy of what the uninterrupted run held when it was saved.
        reference: What the uninterrupted run came to.
        unstable: Places that differ between two uninterrupted runs, and are not compared.
        chance: What the generators of a new process are seeded with, before the factory builds the run; one that seeds
            them itself does so in every process.
        second: Whether the process has counted another run before.
        trials: How many times a run was resumed.
    """

    driver: Driver
    path: Path
    steps: int
    resume_at: int
    saved: World
    reference: Effect
    unstable: frozenset[str]
    chance: int = SEEDS_OF_NEW_PROCESSES[0]
    second: bool = False
    trials: int = 0

    def resumed(self, transplants: Sequence[Suspect] = ()) -> tuple[World, World, Effect]:
        """Build a new run, load, transplant, and train on.

        Returns:
            What the new run held before loading, what it held after loading and transplanting, and what it came to.

        Raises:
            LoadError: Loading raised.
        """
        self.trials += 1
        donor = self._donor() if any(not one.sure for one in transplants) else self.saved
        run = self.driver.start(self.chance, second=self.second)
        fresh = remembered(self.driver, run)
        load(run, self.path)
        live = self.driver.world(run)
        if transplants:
            self._transplant(live, donor, transplants)
        loaded = remembered(self.driver, run)
        trace = train(run, self.resume_at, self.steps)
        return fresh, loaded, Effect(trace, remembered(self.driver, run))

    def first(self) -> tuple[World, World, Effect]:
        """Resume without help, as `resumed` does it, in several new processes until one trains otherwise.

        Where the generators are not restored, one process alone could draw the same few numbers by chance. Where the
        process counts its runs, the order of parameters may follow from that, as it does from addresses elsewhere.

        Raises:
            LoadError: Loading raised.
        """
        for self.chance in SEEDS_OF_NEW_PROCESSES:
            found = self.resumed()
            generators = [slot for slot in found[1].slots.values() if slot.via == "global"]
            restored = all(same(slot, self.saved.slots.get(slot.path)) for slot in generators)
            if restored or self.places(found[2]):
                break
        if self.driver.environment.counts and not self.places(found[2]):
            self.second = True
            found = self.resumed()
        return found

    def places(self, effect: Effect) -> list[str]:
        """Give the places in which a resumed run differs from the uninterrupted one."""
        found = self.reference.differences(effect, self.resume_at)
        return [place for place in found if place not in self.unstable]

    def explains(self, transplants: Sequence[Suspect]) -> bool:
        """Whether the two train alike once these are transplanted."""
        if self.trials >= _MOST_TRIALS:
            return False
        _, _, effect = self.resumed(transplants)
        places = self.places(effect)
        return not places or self.reference.negligible(effect, places)

    def culprits(self, everything: Sequence[Suspect]) -> tuple[Suspect, ...]:
        """Give the smallest set of suspects that, once transplanted, makes the two train alike; or none.

        An iterator draws from the generator of the run that it is taken from, so it may explain the next steps alone.
        """
        sure = [one for one in everything if one.sure]
        for pool in (sure, everything) if len(sure) < len(everything) else (sure,):
            if pool and self.explains(pool):
                return smallest(pool, self.explains)
        if len(sure) == len(everything):
            return ()
        apart = self._apart(())

        def explains_longer(transplants: Sequence[Suspect]) -> bool:
            return self.trials < _MOST_TRIALS and self._apart(transplants) > apart

        return smallest(everything, explains_longer) if explains_longer(everything) else ()

    def _apart(self, transplants: Sequence[Suspect]) -> int:
        """Give the first step at which the losses differ."""
        losses, others = self.reference.trace.losses, self.resumed(transplants)[2].trace.losses
        return next(
            (number for number in range(self.resume_at, self.steps) if others.get(number) != losses[number]), self.steps
        )

    def _transplant(self, live: World, donor: World, transplants: Sequence[Suspect]) -> None:
        """Put the slots of the uninterrupted run into the resumed one: first what is referred to, then references."""
        copier = Copier(counterparts=[*self.saved.counterparts(live), *donor.counterparts(live)])
        slots = [(path, slot, one.actual[path]) for one in transplants for path, slot in one.expected.items()]
        slots.sort(key=lambda item: item[1] is not None and isinstance(item[1].value, Reference))
        slots.sort(key=lambda item: item[1] is None or item[1].kind != "held")
        for path, slot, present in slots:
            with suppress(Exception):  # what cannot be put there, such as a gradient of another dtype, explains nothing
                _put(live, donor, copier, path, slot, present)

    def _donor(self) -> World:
        """Train another run up to the same point, to take from it what cannot be copied."""
        run, _ = self.driver.uninterrupted(self.resume_at)
        settle(run)
        return self.driver.world(run)


def _put(live: World, donor: World, copier: Copier, path: str, slot: Slot | None, present: Slot | None) -> None:  # noqa: PLR0913, PLR0917 -- one slot on all sides
    if slot is not None and slot.via == "item":
        make_room(live, donor, slot.parent)
    if slot is None:
        if present is not None:
            put(live, present, ABSENT)
    elif slot.kind == "iterator":
        put(live, slot, donor.slots[path].value if path in donor.slots else ABSENT)
    elif slot.kind in {"held", "reference", "flag", "mode"}:
        put(live, slot, slot.value)
    elif path in live.nodes or slot.kind in {"entry", "buffer", "grad", "generator"}:
        put(live, slot, Copier().copy(slot.value))
    else:
        put(live, slot, copier.copy(slot.value))
