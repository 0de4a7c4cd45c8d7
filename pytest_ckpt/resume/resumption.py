"""What an interrupted training showed beside an uninterrupted one: plain facts, for the checks to read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_ckpt.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_ckpt.trip import Changed


_SHOWN = 4


@dataclass(frozen=True, slots=True)
class Lost:
    """Something that the resumed run does not have as the uninterrupted one has it, and that makes a difference.

    Attributes:
        category: The check that it belongs to.
        key: Its name.
        what: What happened to it, as the beginning of a sentence: "was not restored", ...
        expected: What the uninterrupted run holds, described.
        actual: What the resumed run holds right after loading, described.
        part: The run's attribute that it belongs to, such as `optimizer`; empty where it is the attribute itself.
        kind: What it is: an `entry` of a module, a `state` of an optimizer, a `generator`, a `value`, ...
        others: Names of what was lost in the same way.
        type: The type of a generator with its library, such as `numpy.Generator`; empty for anything else.
    """

    category: str
    key: str
    what: str
    expected: str
    actual: str
    part: str = ""
    kind: str = "value"
    others: tuple[str, ...] = ()
    type: str = ""


@dataclass(slots=True)
class Resumption:
    """What the runs showed. Checks read it; what could not be observed is empty.

    Attributes:
        subject: The class name of what is trained.
        entries: How many tensors the run's models hold.
        steps: How many steps the uninterrupted run made.
        resume_at: The number of the step before which it was saved.
        save_error: What saving raised.
        load_error: What loading raised.
        load_refused: Whether that was `weights_only=True` refusing the file's content.
        save_changes: What saving itself changed in the run that went on, with the category of each.
        in_memory: What the checkpoint needs that only the process that saved it has, and what loading raised without.
        lost: What was not restored, and makes a difference.
        drift: From which step on the two runs differ and by how much; empty where that is not known.
        place: What differs although everything that was found is restored; empty if nothing does.
        notes: What could not be judged.
    """

    subject: str
    entries: int
    steps: int
    resume_at: int
    save_error: str = ""
    load_error: str = ""
    load_refused: bool = False
    save_changes: tuple[tuple[str, Changed], ...] = ()
    in_memory: tuple[Changed, ...] = ()
    lost: tuple[Lost, ...] = ()
    drift: str = ""
    place: str = ""
    notes: tuple[str, ...] = field(default=())

    def findings(self, category: str, hint: str) -> Iterator[Finding]:
        """Report what was lost of one category.

        Args:
            category: The name of a check.
            hint: What to type; `{key}` and `{part}` stand for those of what was lost.
        """
        for one in self.lost:
            if one.category == category:
                others = f"; likewise {_listed(one.others)}" if one.others else ""
                drift = f" ({self.drift})" if self.drift else ""
                text = hint.format(key=one.key, part=one.part or one.key)
                yield Finding(category, one.key, f"{one.what}{others}{drift}", text, one.expected, one.actual, self.leg)

    def save_findings(self, category: str, hint: str) -> Iterator[Finding]:
        """Report what saving changed, of one category; `{key}` in the hint stands for its name."""
        for found, one in self.save_changes:
            if found == category:
                text = "saving changed it in the run that goes on"
                yield Finding(category, one.key, text, hint.format(key=one.key), one.expected, one.actual, self.leg)

    @property
    def leg(self) -> str:
        """Name the comparison as a leg of a report."""
        return f"resume {self.resume_at}/{self.steps}"


def _listed(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
