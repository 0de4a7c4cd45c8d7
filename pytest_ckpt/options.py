"""Every flag and ini option of the plugin, as one typed Settings."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

_OPTIONS = {
    "ckpt_devices": "device types to go between, such as 'cpu cuda'; default: the CPU and the machine's accelerator",
    "ckpt_formats": "file formats of the round trips, such as 'torch_zip'",
    "ckpt_checks": "names of the checks to run; default: all",
    "ckpt_ignore": "names of checks to leave out",
}


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line and the ini file say; a call's own arguments come before it.

    Attributes:
        devices: Device types to go between; None for the default.
        formats: File formats; None for the default.
        checks: Names of checks to run; None for all.
        ignore: Names of checks to leave out.
    """

    devices: tuple[str, ...] | None = None
    formats: tuple[str, ...] | None = None
    checks: tuple[str, ...] | None = None
    ignore: tuple[str, ...] = ()


def add(parser: pytest.Parser) -> None:
    """Declare the flags `--ckpt-...` and the ini options `ckpt_...` of the same names."""
    group = parser.getgroup("ckpt", "checkpoints (pytest-ckpt)")
    for name, text in _OPTIONS.items():
        flag = f"--{name.replace('_', '-')}"
        group.addoption(flag, dest=name, metavar="NAMES", help=f"{text} (separated by commas)")
        parser.addini(name, text, type="args")


def read(config: pytest.Config) -> Settings:
    """Gather the settings of one pytest run.

    Raises:
        pytest.UsageError: A name of a check or format is unknown; the message has the nearest.
    """
    given = {name.removeprefix("ckpt_"): _names(config, name) for name in _OPTIONS}
    if not any(given.values()):
        return Settings()
    from pytest_ckpt import formats, registry
    from pytest_ckpt.findings import UsageError

    try:
        registry.require([*(given["checks"] or ()), *(given["ignore"] or ())])
        formats.require(given["formats"] or ())
    except UsageError as error:
        raise pytest.UsageError(f"pytest-ckpt options: {error}") from None
    return Settings(given["devices"], given["formats"], given["checks"], given["ignore"] or ())


def _names(config: pytest.Config, name: str) -> tuple[str, ...] | None:
    flag: str | None = config.getoption(name)
    if flag is not None:
        return tuple(filter(None, (part.strip() for part in flag.split(","))))
    values: list[str] = config.getini(name)
    return tuple(part for value in values for part in filter(None, value.split(","))) or None
