"""What the fixtures return: the checking functions, bound to a test and to the session's settings."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from pytest_ckpt import formats, options, progress, registry, session, summary
from pytest_ckpt.call import Call
from pytest_ckpt.findings import UsageError
from pytest_ckpt.formats.safetensors import NEEDS
from pytest_ckpt.golden import MOST_BYTES, places
from pytest_ckpt.outputs import Runner
from pytest_ckpt.resume import check_resume
from pytest_ckpt.roundtrip import check_module, strings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from typing import TextIO

    from torch import nn

    from pytest_ckpt.findings import Report
    from pytest_ckpt.options import Settings


class _Fixture:
    """A checking function for one test: options of the command line apply, and findings fail the test."""

    name: ClassVar[str]

    def __init__(self, settings: Settings, node: pytest.Item, terminal: TextIO | None) -> None:
        self._settings, self._node, self._terminal = options.of(node, settings), node, terminal

    def __repr__(self) -> str:
        return self.name

    def _judge(self, check: Callable[..., Report], /, *arguments: Any, **words: Any) -> Report:
        """Call the checking function, and raise its faults here, so that no traceback shows its inside."""
        __tracebackhide__ = True
        try:
            with progress.shown(self._node.nodeid, self._terminal):
                report = check(*arguments, **words)
        except UsageError as error:
            message = str(error)
        else:
            session.remember(self._node, report)
            self._node.user_properties.extend(summary.properties(report))
            report.raise_for_findings()
            if all(leg.status == "skipped" for leg in report.legs):
                pytest.skip(report.text())
            return report
        raise UsageError(message)


class CkptRegression(_Fixture):
    """The goldens of one test, held against today's code."""

    name = "ckpt_regression"

    def __init__(self, settings: Settings, node: pytest.Item, terminal: TextIO | None, taken: dict[Path, str]) -> None:
        super().__init__(settings, node, terminal)
        self._taken = taken

    def __call__(  # noqa: PLR0913 -- everything after inputs is optional and has a name
        self,
        make: Callable[[], nn.Module],
        inputs: Any = None,
        *,
        name: str | None = None,
        prepare: Callable[[Any], Any] | None = None,
        load_state: Callable[[Any, Any], Any] | None = None,
        allow_missing: Sequence[str] = (),
        allow_unexpected: Sequence[str] = (),
        tolerance: float | None = None,
        most_bytes: int = MOST_BYTES,
    ) -> Report:
        """Load every generation of the test's golden into today's module, and compare it with what it was.

        Args:
            make: Gives a fresh module of today's code at each call.
            inputs: What forward takes, as for `check_module`; they are kept with the golden, and these are used.
            name: A name for the golden, where a test has several.
            prepare: Called with the module before a golden is written: a few training steps.
            load_state: Your own way to put a state_dict into a module; the default is `module.load_state_dict`.
            allow_missing: Patterns, as in fnmatch, of entries that an old checkpoint need not bring.
            allow_unexpected: Patterns of entries that it may hold beyond those of a fresh module.
            tolerance: Largest absolute difference of an output; the default is measured, as for `check_compatibility`.
            most_bytes: Size of a state_dict up to which the golden keeps a checkpoint; of a larger one it keeps the
                manifest alone, so keys, shapes, dtypes and ties are held against today's code, and no values.

        Returns:
            The report, if there is nothing to find.

        Raises:
            CheckpointError: Today's code does not fit a golden; the message has the migration that would make it fit.
            UsageError: There is no golden, it is damaged, or the call cannot be carried out as it was made.
        """
        __tracebackhide__ = True
        return self._judge(
            self._check,
            name,
            call=partial(
                Call,
                make=make,
                prepare=prepare,
                mode="eval",
                save=None,
                load=None,
                load_state=load_state,
            ),
            inputs=inputs,
            allowed=(allow_missing, allow_unexpected),
            tolerance=tolerance,
            most_bytes=most_bytes,
        )

    def _check(
        self,
        name: str | None,
        *,
        call: Callable[..., Call],
        inputs: Any,
        allowed: tuple[Sequence[str], Sequence[str]],
        **arguments: Any,
    ) -> Report:
        absent = formats.missing(NEEDS)
        if absent:
            raise UsageError(f"goldens are kept as safetensors, and {absent}")
        from pytest_ckpt.golden.regression import Goldens

        goldens = Goldens(
            places.folder_of(self._node, name, self._taken),
            call(
                runner=Runner(inputs),
                allow_missing=strings("allow_missing", allowed[0]),
                allow_unexpected=strings("allow_unexpected", allowed[1]),
            ),
            self._settings.update,
            **arguments,
        )
        root = self._node.config.rootpath
        self._node.user_properties.append((places.USED, _relative(goldens.folder, root)))
        try:
            return goldens.check()
        finally:
            written = [(places.WRITTEN, _relative(path, root)) for path in goldens.written]
            self._node.user_properties.extend(written)


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


class CkptResume(_Fixture):
    """`check_resume` for one test."""

    name = "ckpt_resume"

    def __call__(self, training: Callable[[], Any], steps: int = 6, resume_at: int = 3, **arguments: Any) -> Report:
        """Resume a training.

        Args:
            training: Gives a new run at each call.
            steps: How many steps the uninterrupted run makes.
            resume_at: How many of them are made before saving.
            arguments: The other arguments of `pytest_ckpt.check_resume`; they come before options of the session.

        Returns:
            The report, if there is nothing to find.

        Raises:
            CheckpointError: Something was not restored; the message is the whole report.
            UsageError: The call cannot be carried out as it was made.
        """
        __tracebackhide__ = True
        given = {"checks": self._settings.checks, "ignore": self._settings.ignore, **arguments}
        look = {one.name for one in registry.select(None, (), looks="resumed")}
        if "checks" not in arguments and not look & {*(self._settings.checks or look)} - {*self._settings.ignore}:
            pytest.skip("none of the checks that this session runs looks at a training")
        return self._judge(check_resume, training, steps, resume_at, **given)


class CkptRoundtrip(_Fixture):
    """`check_module` for one test."""

    name = "ckpt_roundtrip"

    def __call__(self, make: Callable[[], nn.Module], inputs: Any = None, **arguments: Any) -> Report:
        """Make the round trip.

        Args:
            make: Gives a fresh module at each call.
            inputs: What forward takes.
            arguments: The other arguments of `pytest_ckpt.check_module`; they come before options of the session.

        Returns:
            The report, if there is nothing to find.

        Raises:
            CheckpointError: Something did not come back; the message is the whole report.
            UsageError: The call cannot be carried out as it was made.
        """
        __tracebackhide__ = True
        settings = self._settings
        given: dict[str, Any] = {
            "devices": settings.devices,
            "formats": settings.formats,
            "checks": settings.checks,
            "ignore": settings.ignore,
            **arguments,
        }
        return self._judge(check_module, make, inputs, **given)


class CkptStrict(_Fixture):
    """`check_strict` for one test."""

    name = "ckpt_strict"

    def __call__(self, make: Callable[[], nn.Module], inputs: Any = None, **arguments: Any) -> Report:
        """Give the loader checkpoints that do not fit.

        Args:
            make: Gives a fresh module at each call.
            inputs: What forward takes; used only to initialise lazy modules.
            arguments: The other arguments of `pytest_ckpt.check_strict`; they come before options of the session.

        Returns:
            The report, if there is nothing to find.

        Raises:
            CheckpointError: The loader takes what does not fit; the message is the whole report.
            UsageError: The call cannot be carried out as it was made.
        """
        __tracebackhide__ = True
        from pytest_ckpt.strict import CHECKS, check_strict

        settings = self._settings
        wanted = [name for name in settings.checks or CHECKS if name in CHECKS and name not in settings.ignore]
        if not wanted and not {"checks", "ignore"} & arguments.keys():
            pytest.skip(f"ckpt_strict has the checks {', '.join(CHECKS)}, and the options leave none of them")
        return self._judge(check_strict, make, inputs, **{"checks": wanted, **arguments})
