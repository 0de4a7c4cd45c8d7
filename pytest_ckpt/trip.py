"""What one leg of a round trip showed: plain facts, for the checks to read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch

from pytest_ckpt.attribution import Attribution
from pytest_ckpt.compare import entries

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import Tensor, nn

    from pytest_ckpt.call import Call
    from pytest_ckpt.compare import Difference
    from pytest_ckpt.legs import Leg
    from pytest_ckpt.mismatches import Kind
    from pytest_ckpt.surroundings import Outside

Outcome = Literal["kept", "broadcast", "swallowed", "ignored", "skipped", "unnamed"]

_FAULTS: dict[Kind, str] = {
    "dropped": "lacks this entry",
    "renamed": "holds this entry under another name",
    "added": "holds this entry, which the module does not have",
    "reshaped": "holds this entry in another shape",
    "retyped": "holds this entry in another dtype",
    "prefixed": "holds every entry under a prefix",
    "emptied": "is empty",
    "nested": "holds all entries one level down",
    "partial": "has only some of the entries, and foreign ones",
}


@dataclass(frozen=True, slots=True)
class Changed:
    """Something that should have stayed as it was, or should be alike on both sides, and is not."""

    key: str
    expected: str
    actual: str


@dataclass(frozen=True, slots=True)
class Torn:
    """A save that lost the previous checkpoint.

    Attributes:
        how: What made it fail.
        outcome: What loading gives afterwards.
    """

    how: str
    outcome: str


@dataclass(frozen=True, slots=True)
class Lapse:
    """A checkpoint that does not fit, and a loader that did not say so.

    Attributes:
        kind: What was wrong with it.
        key: The entry.
        outcome: What the loader did: `kept` what the module held, `broadcast` one element over the entry, `swallowed`
            the error, `ignored` an entry that the module does not have, `skipped` all entries that fit, or raised and
            left the entry `unnamed`.
    """

    kind: Kind
    key: str
    outcome: Outcome

    @property
    def fault(self) -> str:
        """What was wrong with the checkpoint, as the end of a sentence that begins with it."""
        return _FAULTS[self.kind]


@dataclass(slots=True)
class Trip:
    """What one leg showed. Checks read it; facts that could not be observed are None or empty.

    Attributes:
        leg: The leg.
        content: The state_dict that was read from the file, where loading is the default one.
        only_weights: Whether the file could be read with `weights_only=True`, where loading is the default one.
        bloat: Tensors whose whole storage was written although they are a small part of it.
        lapses: Wrong checkpoints that the loader took for right ones.
        stale: Entries that a second save wrote as they were at the first.
        follows: Entries of the loaded module that changed when the file was written again.
        torn: A failed save that took the previous checkpoint with it, where that is promised not to happen.
        half: Entries that a load which raised has changed, where that is promised not to happen.
        damaged: A damaged file that the loader took, and what it gave for it.
        natural: Whether the source was saved as the factory and `prepare` left it.
        call: How it was travelled.
        source: The module that was saved.
        bare: What is compared: the source, or with a `load` of the user's own the module in the source's wrappers
            (DataParallel, torch.compile), since that may give the inner module.
        carried: Names of the live entries that the state is meant to carry.
        state: What `source.state_dict()` gave when it was saved.
        moved: Entries of the source whose values were moved first.
        unfit: Why the format cannot hold this state, which is not the module's fault.
        save_error: What saving raised.
        binds: What in the module cannot be written, its name and what it is, where the format knows.
        save_changes: What saving changed in the live module.
        save_modes: Submodules that saving left in another mode.
        tagged: How many storages were written with the leg's device tag, where that is simulated.
        unsafe_globals: What stands in the file that `weights_only=True` refuses.
        file_state: The tensors in the file by name, where the file could be read as a state_dict.
        load_error: What loading raised.
        blamed: Entries that the error of loading is about.
        loaded: The module that was loaded.
        kept: Entries of the loaded module that hold exactly what they held before loading.
        drawn: Those of them that hold something else each time that the user's loader is called.
        mixed: Entries in which the user's loader has mixed what the module held with what it read.
        misnamed: Names that the user's loader made up: load_state_dict did not know them, and the file has none such.
        strays: Entries that differ and are not in the file by name, and the foreign names under which their bits are.
        dict_changes: What loading changed in the caller's dict.
        differences: Live entries that differ between source and loaded module.
        rounded: Entries that hold the saved value rounded to a narrower dtype.
        collisions: Lost entries that were written under the name of another one.
        tie_conflicts: Lost entries that are one tensor with another on one side and not in the file.
        broken_ties: Names that are one tensor in the source and several in the loaded module.
        grad_flags: Parameters whose requires_grad differs.
        modes: Submodules whose mode loading changed.
        shared: Entries of the loaded module that share memory with something else, and with what.
        hidden: Unregistered submodules whose parameters differ, where there are no inputs to judge by.
        outputs: What makes the outputs differ.
        warm: What makes the outputs differ if the target had run before it was loaded, though a fresh one's agree.
        outside: Variables outside of the module that decide the outputs.
        behind: What stays on the CPU when the module goes to the leg's device, what it is, and where forward meets it.
        place: Where outputs differ; None where they agree or were not compared.
        notes: What could not be judged.
    """

    leg: Leg
    call: Call
    source: nn.Module
    bare: nn.Module
    natural: bool
    content: Any = None
    only_weights: bool = True
    bloat: tuple[Changed, ...] = ()
    lapses: tuple[Lapse, ...] = ()
    stale: tuple[Changed, ...] = ()
    follows: tuple[Changed, ...] = ()
    torn: Torn | None = None
    half: tuple[Changed, ...] = ()
    damaged: Changed | None = None
    carried: frozenset[str] = frozenset()
    state: Mapping[str, Any] = field(default_factory=dict)
    moved: frozenset[str] = frozenset()
    unfit: str = ""
    save_error: str = ""
    binds: tuple[str, str] | None = None
    save_changes: tuple[Changed, ...] = ()
    save_modes: tuple[Changed, ...] = ()
    tagged: int = 0
    unsafe_globals: tuple[str, ...] = ()
    file_state: Mapping[str, Tensor] | None = None
    load_error: str = ""
    blamed: tuple[Changed, ...] = ()
    loaded: nn.Module | None = None
    kept: frozenset[str] = frozenset()
    drawn: frozenset[str] = frozenset()
    mixed: frozenset[str] = frozenset()
    misnamed: frozenset[str] = frozenset()
    strays: Mapping[str, str] = field(default_factory=dict)
    dict_changes: tuple[Changed, ...] = ()
    differences: tuple[Difference, ...] = ()
    rounded: frozenset[str] = frozenset()
    collisions: tuple[Changed, ...] = ()
    tie_conflicts: tuple[Changed, ...] = ()
    broken_ties: tuple[tuple[str, ...], ...] = ()
    grad_flags: tuple[Changed, ...] = ()
    modes: tuple[Changed, ...] = ()
    shared: tuple[Changed, ...] = ()
    hidden: tuple[Changed, ...] = ()
    outputs: Attribution = field(default_factory=Attribution)
    warm: Attribution = field(default_factory=Attribution)
    outside: tuple[Outside, ...] = ()
    behind: tuple[Changed, ...] = ()
    place: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def certain(self) -> frozenset[str]:
        """Entries that were lost for certain, although their values were moved: left as they were, rounded, stale."""
        lost = {one.key for one in self.differences if one.aspect == "value"}
        return frozenset(lost & self.moved & (self.kept | self.rounded)) | {one.key for one in self.stale}

    @property
    def in_file(self) -> Mapping[str, Tensor]:
        """The tensors that the checkpoint holds, by name, as far as they are known."""
        known = self.file_state if self.file_state is not None else self.content
        return {key: value for key, value in (known or {}).items() if isinstance(value, torch.Tensor)}

    @property
    def device_refused(self) -> bool:
        """Whether loading raised because the file is tagged with a device that is not here."""
        return bool(self.load_error) and self.leg.saved_on != self.leg.loaded_on and "deserialize" in self.load_error

    @property
    def short_load_error(self) -> str:
        """What loading raised, cut after its first sentence; torch says the cause in the second line."""
        return " ".join(line.strip() for line in self.load_error.splitlines()[:2]).split(". ")[0]

    def of_category(self, category: str) -> Iterator[Difference]:
        """Give the differing entries that belong to one category; each belongs to exactly one."""
        return (one for one in self.differences if self._category(one) == category)

    def name_in_file(self, key: str) -> str:
        """Give the name under which the file holds an entry with a wrapper's prefix; empty if it does not."""
        names = (self.file_state or {}).keys() - self.state.keys()
        return next((f"{prefix}{key}" for prefix in _WRAPPERS if f"{prefix}{key}" in names), "")

    def foreign_name(self, key: str) -> str:
        """Give the name under which the file holds an entry that was not restored, though the module has no such name.

        It has a wrapper's prefix, or what stands there has the entry's bits; empty if there is none.
        """
        return self.name_in_file(key) or (self.strays.get(key, "") if key in self.kept else "")

    def _category(self, one: Difference) -> str:
        for category, conflicts in (("key-collision", self.collisions), ("tie-conflict", self.tie_conflicts)):
            if any(conflict.key == one.key for conflict in conflicts):
                return category
        if one.aspect != "value":
            return _BY_ASPECT[one.aspect]
        if self.file_state is not None and one.key not in self.file_state:
            if self.foreign_name(one.key):
                return "key-mismatch"
            return "value-changed" if one.key not in self.kept and self._came_changed(one.key) else "unsaved-state"
        saved, live = self.state.get(one.key), entries(self.bare).get(one.key)
        if saved is not None and live is not None and saved.dtype != live.dtype:
            return "dtype-changed"
        if one.key not in self.kept or (one.key in self.drawn and self._came_changed(one.key)):
            return "value-changed"
        return "key-mismatch" if self.misnamed or self.foreign_name(one.key) else "unsaved-state"

    def _came_changed(self, key: str) -> bool:
        """Whether what came back is made of saved values: its own, compressed or turned, or those of another entry."""
        if self.loaded is None:
            return False
        source, loaded = entries(self.bare), entries(self.loaded)[key].detach()
        if not loaded.is_floating_point() or loaded.layout != torch.strided:
            return False
        saved, given = source[key].detach().double(), loaded.double()
        return bool((given - saved).norm() < _NEAR * saved.norm()) or any(
            torch.equal(given.flatten().sort().values, other.detach().double().flatten().sort().values)
            for other in source.values()
            if other.numel() == loaded.numel() and other.is_floating_point() and other.layout == torch.strided
        )


_NEAR = 0.1  # of the norm of what was saved, within which a value is a changed one rather than another
_WRAPPERS = ("module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "model.", "_forward_module.")
_BY_ASPECT = {
    "missing": "key-mismatch",
    "unexpected": "key-mismatch",
    "dtype": "dtype-changed",
    "shape": "shape-changed",
    "layout": "shape-changed",
    "device": "device-location",
    "type": "value-changed",
}
