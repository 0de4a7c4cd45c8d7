"""Output formats: every module here whose name has no leading underscore is one, with a function `render`."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lint_rules.runner import Result


class Render(Protocol):
    """Writes a result down."""

    def __call__(self, result: Result, *, color: bool) -> Iterator[str]:
        """Yield the lines of the output, without line ends.

        Args:
            result: What came of the run.
            color: Whether the output is for a terminal that shows colours.
        """


@cache
def formats() -> tuple[str, ...]:
    """Give the names of the formats, sorted."""
    return tuple(sorted(each.name for each in pkgutil.iter_modules(__path__) if not each.name.startswith("_")))


def renderer(name: str) -> Render:
    """Give the renderer of a format, one of `formats()`."""
    return cast("Render", importlib.import_module(f"{__name__}.{name}").render)
