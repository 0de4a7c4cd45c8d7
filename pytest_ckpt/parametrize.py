"""One test for each module and check: `parametrize_with_checkpoint_checks`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from inspect import Parameter, isclass, signature
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from pytest_ckpt import options, registry
from pytest_ckpt.findings import CheckpointError, UsageError
from pytest_ckpt.options import Settings

if TYPE_CHECKING:
    from pytest_ckpt.findings import Report

    Test = TypeVar("Test", bound=Callable[..., Any])

_NAMES = ("module", "check")


def parametrize_with_checkpoint_checks(
    modules: Iterable[Any],
    *,
    expected_failed: Mapping[str, str] | Callable[[Any], Mapping[str, str]] | None = None,
    checks: Iterable[str] | None = None,
    ignore: Iterable[str] = (),
) -> Callable[[Test], Test]:
    """Make one test a module and check, as scikit-learn's `parametrize_with_checks` does for estimators.

    The test gets the module's factory and a check, in its first two parameters, and calls the one with the other::

        @parametrize_with_checkpoint_checks([Net, (Decoder, torch.ones(2, 4))])
        def test_checkpoint(module, check):
            check(module)

    All checks of a module look at one and the same round trip, which the first of them makes.

    Args:
        modules: What to test, each one of: a factory, that is a class or function that builds a fresh module when it is
            called without arguments; a tuple of a factory and its inputs; a dict with the arguments of `check_module`;
            or `pytest.param` of one of these, for an id or marks of your own.
        expected_failed: Checks that fail and why, such as `{"unsaved-state": "the queue is rebuilt, see #12"}`, for all
            modules; or a function that gives that for a factory. They become strict expected failures: the test that
            begins to pass fails, so the entry is not forgotten.
        checks: Names of the checks; the default is all that look at round trips.
        ignore: Names of checks to leave out.

    Returns:
        A decorator for a test function, or for a class whose tests have the parameters `module` and `check`.

    Raises:
        UsageError: A module is given in another way, or a check is unknown.
    """
    __tracebackhide__ = True
    if isinstance(modules, str) or not isinstance(modules, Iterable):
        raise UsageError(f"modules must be a list of factories, but {modules!r} was given: write [Net], for one")
    names = [one.name for one in registry.select(checks, ignore)]
    values = [
        value
        for one in _unique([_read(given) for given in modules])
        for value in _tests(one, names, _reasons(expected_failed, one.make))
    ]

    def decorate(test: Test) -> Test:
        marked: Test = pytest.mark.parametrize(_parameters(test), values)(test)
        return marked

    return decorate


class SharedTrip:
    """One round trip of one module, made when it is first asked for, once for each set of options.

    Attributes:
        make: The module's factory.
        id: What the tests are called by.
        marks: The user's marks.
    """

    def __init__(self, arguments: Mapping[str, Any], name: str | None = None, marks: Iterable[Any] = ()) -> None:
        """Take the arguments of `check_module`."""
        self.make = arguments["make"]
        self.id = name or _name(self.make)
        self.marks = tuple(marks)
        self._arguments = arguments
        self._done: dict[Settings, Report | UsageError] = {}

    def report(self, settings: Settings) -> tuple[Report, bool]:
        """Give the report, and whether the round trip was made for it just now.

        Raises:
            UsageError: The round trip cannot be made as it was asked for.
        """
        made = settings not in self._done
        if made:
            self._done[settings] = self._travel(settings)
        result = self._done[settings]
        if isinstance(result, UsageError):
            raise UsageError(str(result))
        return result, made

    def _travel(self, settings: Settings) -> Report | UsageError:
        from pytest_ckpt.roundtrip import check_module

        try:
            return check_module(**{"devices": settings.devices, "formats": settings.formats, **self._arguments})
        except UsageError as error:
            return error


class SharedCheck:
    """What a test of `parametrize_with_checkpoint_checks` gets as its check; a function of the module's factory."""

    def __init__(self, trip: SharedTrip, name: str) -> None:
        """Take the round trip to look at and the name of the check."""
        self._trip, self._name = trip, name
        self._settings = Settings()
        self._node: pytest.Item | None = None

    def __repr__(self) -> str:
        return self._name

    def bind(self, node: pytest.Item, settings: Settings) -> None:
        """Say which test is about to run, with which settings; the plugin does that."""
        self._node, self._settings = node, replace(settings, checks=None, ignore=())
        if self._name in settings.ignore or self._name not in (settings.checks or (self._name,)):
            pytest.skip(f"{self._name} is left out by --ckpt-checks, --ckpt-ignore or their ini options")

    def __call__(self, module: Any = None) -> Report:
        """Look at the module's round trip.

        Args:
            module: The factory that came with this check; another one is a mistake.

        Returns:
            The report, if the check finds nothing.

        Raises:
            CheckpointError: The check found something; the message is the part of the report that is its own.
            UsageError: The round trip cannot be made as it was asked for.
        """
        __tracebackhide__ = True
        if module is not None and module is not self._trip.make:
            raise UsageError(f"check({module!r}): this check is for {self._trip.make!r}, the module that came with it")
        report, made = self._trip.report(self._settings)
        own = replace(
            report,
            findings=tuple(one for one in report.findings if one.category == self._name),
            checks=(self._name,),
        )
        if self._node is not None:
            from pytest_ckpt import session, summary

            session.remember(self._node, own)
            self._node.user_properties.extend(summary.properties(own if made else replace(own, legs=())))
        own.raise_for_findings()
        if all(leg.status == "skipped" for leg in own.legs):
            pytest.skip(own.text())
        return own


def bind(item: pytest.Item, settings: Settings) -> None:
    """Tell the check that a test is parametrised with, if there is one, where it runs and with which settings."""
    callspec = getattr(item, "callspec", None)
    for value in callspec.params.values() if callspec is not None else ():
        if isinstance(value, SharedCheck):
            value.bind(item, options.of(item, settings))


# ------------------------------------------------------------------------------------------------------------- reading


def _tests(trip: SharedTrip, names: Iterable[str], reasons: Mapping[str, str]) -> Iterable[Any]:
    for name in names:
        marks = list(trip.marks)
        if name in reasons:
            marks.append(pytest.mark.xfail(reason=reasons[name], strict=True, raises=CheckpointError))
        yield pytest.param(trip.make, SharedCheck(trip, name), id=f"{trip.id}-{name}", marks=marks)


def _read(given: Any) -> SharedTrip:
    """Read one of the modules to test.

    Raises:
        UsageError: It is given in none of the possible ways.
    """
    if isinstance(given, type(pytest.param())):
        if len(given.values) != 1:
            raise UsageError(f"modules: pytest.param takes one module here, but {len(given.values)} values were given")
        trip = _read(given.values[0])
        return SharedTrip(trip._arguments, given.id or trip.id, given.marks)  # type: ignore[arg-type]  # noqa: SLF001 -- our own
    if isinstance(given, Mapping):
        arguments = dict(given)
    elif isinstance(given, tuple) and len(given) == 2:  # noqa: PLR2004 -- a pair
        arguments = {"make": given[0], "inputs": given[1]}
    else:
        arguments = {"make": given}
    make = arguments.get("make")
    if not callable(make) or (hasattr(make, "state_dict") and not isclass(make)):
        raise UsageError(
            "modules: each must be a factory, a tuple (factory, inputs), a dict of check_module's arguments with "
            f"'make', or pytest.param of one, but {_described(given)} was given; a factory is a class, function or "
            "lambda that builds a fresh module each time"
        )
    return SharedTrip(arguments)


def _described(given: Any) -> str:
    return f"a module, {type(given).__name__}(...)," if hasattr(given, "state_dict") else repr(given)


def _unique(trips: list[SharedTrip]) -> list[SharedTrip]:
    """Number the ids that occur more than once."""
    seen: dict[str, int] = {}
    for trip in trips:
        seen[trip.id] = seen.get(trip.id, 0) + 1
        if seen[trip.id] > 1:
            trip.id = f"{trip.id}{seen[trip.id]}"
    return trips


def _name(make: Any) -> str:
    """Give a factory a short name: its own; for a lambda that of the first class that it mentions."""
    if isinstance(make, partial):
        return _name(make.func)
    name = str(getattr(make, "__name__", type(make).__name__))
    if name != "<lambda>":
        return name
    return next((one for one in make.__code__.co_names if one[:1].isupper()), "lambda")


def _reasons(given: Any, make: Any) -> Mapping[str, str]:
    reasons = given(make) if callable(given) else given or {}
    if not isinstance(reasons, Mapping):
        raise UsageError(
            f"expected_failed must be a dict of checks and reasons, or a function that gives one, not {reasons!r}"
        )
    registry.require(reasons)
    for name, reason in reasons.items():
        if not isinstance(reason, str) or not reason.strip():
            raise UsageError(f"expected_failed: say why {name!r} fails, in a string; {reason!r} was given")
    return reasons


def _parameters(test: Any) -> tuple[str, ...]:
    """Give the names of the parameters for module and check: the first two of a function, whatever they are called."""
    if isclass(test):
        return _NAMES
    names = [
        name
        for name, one in signature(test).parameters.items()
        if name != "self" and one.kind is Parameter.POSITIONAL_OR_KEYWORD
    ]
    if len(names) < len(_NAMES):
        raise UsageError(
            f"{test.__name__} must take a module and a check: def {test.__name__}(module, check): check(module)"
        )
    return tuple(names[:2])
