"""What a round trip reports: findings, legs and the report that gathers them.

Nothing here holds a tensor or a module, and nothing here imports torch: a finding is text from the moment it is made,
so a report can be pickled to another process, written as JSON, or kept for a whole test session.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from difflib import get_close_matches
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Status = Literal["real", "simulated", "skipped"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that did not survive the round trip.

    Attributes:
        category: The name of the check, such as `unsaved-state`; also the name of its page.
        key: The culprit: the fully qualified name of an entry, an attribute or a submodule.
        message: What is wrong, in one sentence.
        hint: What to type.
        expected: The value on the saving side, described; empty where there is none.
        actual: The value on the loading side, described; empty where there is none.
        leg: The leg that showed it, such as `cpu->cpu torch_zip`; several are joined with a comma.
    """

    category: str
    key: str
    message: str
    hint: str = ""
    expected: str = ""
    actual: str = ""
    leg: str = ""


@dataclass(frozen=True, slots=True)
class LegResult:
    """What became of one leg.

    Attributes:
        leg: Where it was saved, where it was loaded and the format, such as `cuda->cpu torch_zip`.
        status: `real`, `simulated` or `skipped`.
        reason: How it was simulated or why it was skipped; empty for a real one.
    """

    leg: str
    status: Status
    reason: str = ""


class UsageError(ValueError):
    """The call cannot be carried out as it was made: what was given, what is needed, and what to do."""


class CheckpointError(AssertionError):
    """A module did not survive its round trip; the message is the whole report.

    Attributes:
        report: The report, with every finding.
    """

    def __init__(self, report: Report) -> None:
        super().__init__(report)
        self.report = report

    def __str__(self) -> str:
        return self.report.text()


@dataclass(frozen=True, slots=True)
class Report:
    """All that one call of a checking function saw.

    Attributes:
        subject: The module's class name.
        entries: How many entries the module's state_dict holds.
        findings: Everything that is wrong, in the order in which the checks run.
        legs: What ran, what was simulated and what was skipped, each with its reason.
        checks: Names of the checks that ran.
        notes: What could not be judged, and why, such as outputs of a forward that does not repeat itself.
    """

    subject: str
    entries: int
    findings: tuple[Finding, ...] = ()
    legs: tuple[LegResult, ...] = ()
    checks: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def ok(self) -> bool:
        """Whether there is no finding."""
        return not self.findings

    def raise_for_findings(self) -> None:
        """Raise `CheckpointError` with every finding if there is any."""
        __tracebackhide__ = True
        if self.findings:
            raise CheckpointError(self)

    def text(self) -> str:
        """Give the whole report for a terminal: summary, a row for each finding, the legs, the notes.

        What findings that follow each other have in common, their message and their hint, is said once.
        """
        return "\n".join(self._lines())

    def as_dict(self) -> dict[str, Any]:
        """Give the report as plain lists, dicts and strings."""
        return asdict(self)

    def to_json(self) -> str:
        """Give the report as JSON text."""
        return json.dumps(self.as_dict(), indent=2, ensure_ascii=False)

    def _lines(self) -> Iterator[str]:
        yield self._summary()
        width = max((len(finding.category) for finding in self.findings), default=0)
        key_width = min(max((len(finding.key) for finding in self.findings), default=0), 40)
        several = len({finding.leg for finding in self.findings}) > 1
        for _, group in groupby(self.findings, lambda finding: (finding.category, finding.hint, finding.leg)):
            alike = list(group)
            yield ""
            for finding in alike:
                change = f"{finding.expected} -> {finding.actual}" if finding.expected or finding.actual else ""
                yield f"  {finding.category:<{width}}  {finding.key:<{key_width}}  {change}".rstrip()
                if finding is alike[-1] or len({each.message for each in alike}) > 1:
                    yield f"      {finding.message}" + (f" [{finding.leg}]" if several and finding.leg else "")
            if alike[-1].hint:
                head, *rest = alike[-1].hint.splitlines()
                yield f"      hint: {head}"
                yield from (f"            {line}" for line in rest)
        if self.findings:
            yield ""
        yield from (f"  leg {leg.leg}: {leg.status}" + (f" ({leg.reason})" if leg.reason else "") for leg in self.legs)
        yield from (f"  note: {note}" for note in self.notes)

    def _summary(self) -> str:
        ran = [leg for leg in self.legs if leg.status != "skipped"]
        if self.ok and not ran:
            return f"{self.subject}: nothing ran, every leg was skipped"
        if self.ok:
            simulated = sum(leg.status == "simulated" for leg in ran)
            legs = f"{len(ran)} leg{'s' * (len(ran) != 1)}" + (f", {simulated} of them simulated" if simulated else "")
            return f"{self.subject}: everything came back, {_entries(self.entries)} in the state_dict ({legs})"
        where = ", ".join(dict.fromkeys(leg for finding in self.findings for leg in finding.leg.split(", ") if leg))
        count = len(self.findings)
        return (
            f"{self.subject} ({where}): {count} finding{'s' * (count != 1)}, {_entries(self.entries)} in the state_dict"
        )


def did_you_mean(given: object, known: Sequence[str]) -> str:
    """Give the beginning of a hint, `did you mean 'aliasing'? `, or nothing where no known name is near."""
    near = get_close_matches(str(given), known, n=1) or [name for name in known if given and str(given) in name]
    return f"did you mean {near[0]!r}? " if near else ""


def _entries(count: int) -> str:
    return f"{count} entr{'y' if count == 1 else 'ies'}"
