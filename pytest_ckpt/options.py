"""Every flag and ini option of the plugin, as one typed Settings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping

_OPTIONS = {
    "ckpt_devices": "device types to go between, such as 'cpu cuda'; default: the CPU and the machine's accelerator",
    "ckpt_formats": "file formats of the round trips, such as 'torch_zip'",
    "ckpt_checks": "names of the checks to run; default: all",
    "ckpt_ignore": "names of checks to leave out",
}
_MODULES = "ckpt_module"
MARKER = "ckpt"
MARKER_HELP = (
    f"{MARKER}(devices=, formats=, checks=, ignore=): settings of pytest-ckpt for the tests that are marked; they come "
    "before those of the command line and the ini file"
)


_UPDATES = {
    "ckpt_update": "write goldens that are missing, and those that today's code no longer fits, anew",
    "ckpt_update_new_only": "write goldens that are missing, and leave those that are there alone",
}

Update = Literal["", "new", "all"]


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line and the ini file say; a call's own arguments come before it.

    Attributes:
        devices: Device types to go between; None for the default.
        formats: File formats; None for the default.
        checks: Names of checks to run; None for all.
        ignore: Names of checks to leave out.
        reports: Files to write what every check-up saw to.
        update: Which goldens may be written: none, missing ones (`new`), or those that no longer fit too (`all`).
    """

    devices: tuple[str, ...] | None = None
    formats: tuple[str, ...] | None = None
    checks: tuple[str, ...] | None = None
    ignore: tuple[str, ...] = ()
    reports: tuple[Path, ...] = ()
    update: Update = ""


#: Where pytest keeps, with its configuration, the settings and the terminal that progress is shown on.
SETTINGS = pytest.StashKey[Settings]()
TERMINAL = pytest.StashKey[TextIO | None]()


def add(parser: pytest.Parser) -> None:
    """Declare the flags `--ckpt-...` and the ini options `ckpt_...` of the same names."""
    group = parser.getgroup("ckpt", "checkpoints (pytest-ckpt)")
    for name, text in _OPTIONS.items():
        flag = f"--{name.replace('_', '-')}"
        group.addoption(flag, dest=name, metavar="NAMES", help=f"{text} (separated by commas)")
        parser.addini(name, text, type="args")
    text = "write what every check-up saw to FILE, as JSON or as a page by its ending, .json or .html; repeatable"
    group.addoption("--ckpt-report", action="append", default=[], metavar="FILE", help=text)
    parser.addini("ckpt_report", text, type="args")
    group.addoption("--ckpt-lint", action="store_true", help="run ckpt-lint on each file that is collected, as a test")
    for name, text in _UPDATES.items():
        group.addoption(f"--{name.replace('_', '-')}", dest=name, action="store_true", help=text)
    text = "a module to round-trip without a test file, as package.module:factory"
    group.addoption(
        "--ckpt-module", dest=_MODULES, metavar="FACTORY", action="append", default=[], help=f"{text}; may be repeated"
    )
    parser.addini(_MODULES, text, type="args")


def modules(config: pytest.Config) -> list[str]:
    """Give the factories that are to be round-tripped without a test file; those of the ini file come first.

    Raises:
        pytest.UsageError: One is not of the form `package.module:factory`.
    """
    targets = [*config.getini(_MODULES), *config.getoption(_MODULES)]
    for target in targets:
        module, colon, factory = target.partition(":")
        if not (colon and all(part.isidentifier() for part in (*module.split("."), *factory.split(".")))):
            raise pytest.UsageError(
                f"--ckpt-module: {target!r} is not of the form package.module:factory, such as mylib.models:Encoder"
            )
    return list(dict.fromkeys(targets))


def of(item: pytest.Item, settings: Settings) -> Settings:
    """Give the settings that hold for one test: what its markers `ckpt` say comes before those of the session.

    Raises:
        UsageError: A marker has something else than the settings, or an unknown name.
    """
    markers = list(item.iter_markers(MARKER))
    for marker in reversed(markers):  # the nearest comes last and decides
        settings = replace(settings, **_read_marker(marker))
    return settings


def _read_marker(marker: pytest.Mark) -> dict[str, Any]:
    from pytest_ckpt import formats, registry
    from pytest_ckpt.findings import UsageError

    known = [name.removeprefix("ckpt_") for name in _OPTIONS]
    if marker.args or not marker.kwargs.keys() <= set(known):
        raise UsageError(
            f"@pytest.mark.ckpt takes the keywords {', '.join(known)}, each with a list of names; it was given "
            f"{', '.join([*map(repr, marker.args), *(f'{name}={value!r}' for name, value in marker.kwargs.items())])}"
        )
    given: Mapping[str, Any] = marker.kwargs
    for name in ("checks", "ignore"):
        registry.require(given.get(name, ()))
    formats.require(given.get("formats", ()))
    return {name: tuple(value) for name, value in given.items()}


def read(config: pytest.Config) -> Settings:
    """Gather the settings of one pytest run.

    Raises:
        pytest.UsageError: A name of a check or format is unknown, with the nearest in the message; or the path of a
            report says no format.
    """
    given = {name.removeprefix("ckpt_"): _names(config, name) for name in _OPTIONS}
    reports, update = _files(config), _update(config)
    if not any(given.values()):
        return Settings(reports=reports, update=update)
    from pytest_ckpt import formats, registry
    from pytest_ckpt.findings import UsageError

    try:
        registry.require([*(given["checks"] or ()), *(given["ignore"] or ())])
        formats.require(given["formats"] or ())
    except UsageError as error:
        raise pytest.UsageError(f"pytest-ckpt options: {error}") from None
    return Settings(given["devices"], given["formats"], given["checks"], given["ignore"] or (), reports, update)


def _files(config: pytest.Config) -> tuple[Path, ...]:
    """Take the paths of `--ckpt-report`, which start where pytest was started, or those of the ini file beside it."""
    given = [(name, config.invocation_params.dir) for name in config.getoption("ckpt_report")]
    given = given or [(name, config.rootpath) for name in config.getini("ckpt_report")]
    if not given:
        return ()
    from pytest_ckpt import reports

    paths = tuple(base / Path(name).expanduser() for name, base in given)
    for path in paths:
        if path.suffix not in reports.suffixes():
            endings = " or ".join(reports.suffixes())
            raise pytest.UsageError(f"--ckpt-report takes a file that ends with {endings}, but {path.name!r} was given")
        if path.is_dir():
            raise pytest.UsageError(f"--ckpt-report takes a file, but {path} is a folder")
    return paths


def _update(config: pytest.Config) -> Update:
    if not (config.getoption("ckpt_update") or config.getoption("ckpt_update_new_only")):
        return ""
    if config.getoption("numprocesses", None) or hasattr(config, "workerinput"):
        raise pytest.UsageError(
            "pytest-ckpt options: goldens are written by one process, so --ckpt-update does not go with -n: leave -n "
            "out, or say -n 0"
        )
    return "all" if config.getoption("ckpt_update") else "new"


def _names(config: pytest.Config, name: str) -> tuple[str, ...] | None:
    flag: str | None = config.getoption(name)
    if flag is not None:
        return tuple(filter(None, (part.strip() for part in flag.split(","))))
    values: list[str] = config.getini(name)
    return tuple(part for value in values for part in filter(None, value.split(","))) or None
