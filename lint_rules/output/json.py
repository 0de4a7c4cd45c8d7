"""An array of objects, for scripts; its fields are part of the command's contract."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lint_rules.runner import Result


def render(result: Result, *, color: bool) -> Iterator[str]:
    """Yield one JSON document, in ASCII."""
    del color
    yield json.dumps([finding.as_dict() for finding in result.findings], indent=2)
