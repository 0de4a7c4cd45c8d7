"""The order in which an old checkpoint is judged: keys, then what landed where, then outputs, then why they differ."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from pytest_ckpt import registry
from pytest_ckpt.checkpoint_file import tensors
from pytest_ckpt.compare import bits_equal, entries
from pytest_ckpt.compatibility.agreement import Agreement, rounding_errors
from pytest_ckpt.compatibility.attempt import Attempt, attempt
from pytest_ckpt.compatibility.keys import Misfit
from pytest_ckpt.compatibility.old import clone, copied
from pytest_ckpt.compatibility.outlook import constants
from pytest_ckpt.compatibility.provenance import Origin, trace
from pytest_ckpt.compatibility.search import Bench, Cause, find_cause
from pytest_ckpt.compatibility.search.settings import Differing
from pytest_ckpt.compatibility.values import Landing
from pytest_ckpt.distinguish import distinguish
from pytest_ckpt.facts import blamed
from pytest_ckpt.findings import Finding, LegResult, Report, UsageError
from pytest_ckpt.outputs import ForwardError, leaves, set_mode

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import Tensor, nn

    from pytest_ckpt.call import Call

LEG = "old checkpoint"
CATEGORIES = (
    "not-loadable",
    "key-mismatch",
    "strictness",
    "shape-changed",
    "dtype-changed",
    "value-changed",
    "tie-broken",
    "tie-conflict",
    "semantics",
)


def _findings(cause: Cause, difference: str) -> Iterator[Finding]:
    cause = replace(cause, message=f"{cause.message} ({difference})")
    if cause.category == "semantics":
        yield from registry.check("semantics").compared(cause)
    else:
        yield Finding(cause.category, cause.key, cause.message, cause.hint, cause.expected, cause.actual)


class Judge:
    """Judges one old state against today's code."""

    def __init__(
        self,
        call: Call,
        state: Mapping[str, Any],
        outputs: Mapping[str, Any] | None,
        tolerance: float | None = None,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        """Take what there is of the old version.

        Args:
            call: Today's factory, loader and inputs.
            state: What the older version saved.
            outputs: What it gave, as `leaves` gives it; None if that is not known.
            tolerance: Largest absolute difference of an output; None for the measured one.
            settings: Attributes of its submodules by name, as far as they are known.
        """
        self._call, self._state, self._outputs, self._tolerance = call, state, outputs, tolerance
        self._settings = settings or {}
        self._old = tensors(state)
        self._notes: list[str] = []

    def report(self) -> Report:
        """Load, look, and report."""
        fresh = self._call.build()
        self._constant = constants(fresh, self._call.build)
        loaded = attempt(self._call, fresh, copied(self._state))
        findings = self._refused(loaded) if loaded.error else self._taken(loaded)
        return Report(
            subject=type(fresh).__name__,
            entries=len(self._state),
            findings=tuple(replace(one, leg=LEG) for one in findings),
            legs=(LegResult(LEG, "real"),),
            checks=CATEGORIES,
            notes=tuple(dict.fromkeys(self._notes)),
        )

    # ----------------------------------------------------------------------------------- it could not be loaded

    def _refused(self, loaded: Attempt) -> Iterator[Finding]:
        if not loaded.about_keys:
            keys = blamed(self._state, self._state, self._call.build(), loaded.error)
            yield Finding(
                "not-loadable",
                keys[0].key if keys else type(loaded.module).__name__,
                f"loading the old checkpoint raised {loaded.error}",
                "make the load hooks take old checkpoints too: local_metadata.get('version') tells them apart",
                keys[0].expected if keys else "",
                keys[0].actual if keys else "",
            )
            return
        misfit = Misfit(self._call, self._state, loaded, self._constant)
        agrees = None
        if self._outputs is not None and misfit.works:
            misfit.settle(self._agrees)
            agrees = misfit.migrated is not None and self._agrees(misfit.migrated)
        yield from misfit.findings(agrees=agrees)
        if agrees is False and misfit.migrated is not None:
            yield from self._explained_after(misfit.migrated.module)

    def _explained_after(self, module: nn.Module) -> Iterator[Finding]:
        """Report why the outputs of a migrated module differ, if one change explains it."""
        try:
            agreement, actual = self._agreement(module), self._run(module)
        except UsageError:
            return
        bench, difference = Bench(module, self._call.runner, agreement), agreement.difference(actual)
        for cause in Differing(module, self._settings).causes(bench) or find_cause(bench, {}):
            yield from _findings(cause, str(difference))

    def _agrees(self, loaded: Attempt) -> bool:
        try:
            return self._agreement(loaded.module).difference(self._run(loaded.module)) is None
        except UsageError:  # forward objects; that there are keys to mend comes first
            return False

    # --------------------------------------------------------------------------------------------- it was taken

    def _taken(self, loaded: Attempt) -> Iterator[Finding]:
        origins, unused = self._traced()
        live = entries(loaded.module)
        origins = {name: origins.get(name, Origin("computed")) for name in live}
        agreement, difference, refused = self._compared(loaded.module)
        landing = Landing(
            self._old,
            live,
            origins,
            loaded,
            self._constant,
            unused,
            None if agreement is None else difference is None,
            self._call.load_state is not None,
            frozenset(name for name in live if self._call.may_miss(name)),
        )
        findings = list(landing.findings())
        yield from findings
        if refused is not None and not findings:
            raise refused
        if refused is not None:
            self._notes.append(f"outputs were not compared: {refused}")
        if agreement is not None and difference is not None:
            yield from self._explained(landing, agreement, difference, findings)

    def _compared(self, module: nn.Module) -> tuple[Agreement | None, str | None, UsageError | None]:
        """Give the old outputs, how today's differ, and why they could not be compared."""
        try:
            actual = self._run(module) if self._call.runner.given else {}
            agreement = None if self._outputs is None else self._agreement(module)
        except UsageError as error:
            return None, None, error
        return agreement, None if agreement is None else agreement.difference(actual), None

    def _traced(self) -> tuple[dict[str, Origin], tuple[str, ...]]:
        """Load entries that all differ, and tell which landed where and which nowhere."""
        state = copied(self._state)
        distinguish(tensors(state), seed=0)
        target = self._call.build()
        distinguish(entries(target), seed=1)
        before = {name: clone(one) for name, one in entries(target).items()}
        told = tensors(copied(state))
        if attempt(self._call, target, state).error:  # a hook that objects to values that it has never seen
            told = dict(self._old)
            target = attempt(self._call, self._call.build(), copied(self._state)).module
        after = entries(target)
        origins = trace(told, before, after)
        used = {part for origin in origins.values() for part in origin.parts}
        computed = [name for name, origin in origins.items() if origin.kind == "computed"]
        left = [name for name in told if name not in used and name not in computed]
        return origins, tuple(name for name in left if not computed or not self._matters(name, computed, told, after))

    def _matters(self, name: str, computed: list[str], told: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> bool:
        """Whether an old entry has a part in entries that are computed: whether they change with it."""
        state: dict[str, Any] = dict(copied({**self._state, **told}))
        state[name] = clone(told[name])
        distinguish({name: state[name]}, seed=2)
        changed = copied(self._state)
        for key, value in state.items():
            changed[key] = value  # type: ignore[index]  # copied gives a dict
        target = self._call.build()
        if attempt(self._call, target, changed).error:
            return True
        now = entries(target)
        return any(not bits_equal(now[key], after[key]) for key in computed if key in now)

    # -------------------------------------------------------------------------------------------------- outputs

    def _run(self, module: nn.Module) -> dict[str, Any]:
        set_mode(module, training=False)
        try:
            return leaves(self._call.runner(module))
        except ForwardError as error:
            raise UsageError(
                f"forward of {type(module).__name__} raised {error} on the inputs that were given, "
                f"{self._call.runner.describe()}: give the inputs that the outputs were computed from, as today's "
                "forward takes them"
            ) from None

    def _agreement(self, module: nn.Module) -> Agreement:
        actual = self._run(module)
        agreement = Agreement(
            self._outputs or {}, rounding_errors(self._twin(module), self._call.runner, actual), self._tolerance
        )
        other = leaves(self._call.runner.reseeded()(module))
        again = Agreement(actual, tolerance=0.0)
        agreement.unstable = again.places_apart(other) | again.places_apart(self._run(module))
        if agreement.unstable:
            places = ", ".join(sorted(agreement.unstable))
            self._notes.append(f"{places} differ from run to run or with the seed, and were not compared")
        return agreement

    def _twin(self, module: nn.Module) -> nn.Module:
        twin = self._call.build()
        live = entries(module)
        for name, tensor in entries(twin).items():
            if name in live:
                tensor.data = clone(live[name].data)
        return twin

    def _explained(
        self, landing: Landing, agreement: Agreement, difference: str, findings: list[Finding]
    ) -> Iterator[Finding]:
        """Report why the outputs differ, as far as the findings at hand do not explain it."""
        module, origins = landing.loaded.module, landing.origins
        narrowed = [one.key for one in findings if one.category == "dtype-changed"]
        if narrowed and self._agrees_unrounded(module, agreement, origins, narrowed):
            return
        known = {(one.category, one.key) for one in findings}
        bench = Bench(module, self._call.runner, agreement)
        differing = Differing(module, self._settings)
        causes = (
            landing.forgotten(bench) or differing.causes(bench) or find_cause(bench, origins, state_only=bool(findings))
        )
        for cause in causes or (() if known else differing.suspects() or landing.unexplained(difference)):
            if (cause.category, cause.key) not in known:
                yield from _findings(cause, difference)

    def _agrees_unrounded(
        self, module: nn.Module, agreement: Agreement, origins: Mapping[str, Origin], narrowed: list[str]
    ) -> bool:
        """Whether the outputs are the old ones once nothing is rounded."""
        twin = self._twin(module)
        twin.to(torch.promote_types(torch.float32, self._old[origins[narrowed[0]].parts[0]].dtype))
        live = entries(twin)
        for name in narrowed:
            parts = [self._old[part] for part in origins[name].parts]
            live[name].data = (
                torch.cat(parts, origins[name].axis) if len(parts) > 1 else clone(parts[0]).reshape(live[name].shape)
            )
        try:
            twin.eval()
            return agreement.difference(leaves(self._call.runner(twin))) is None
        except ForwardError:
            return False
