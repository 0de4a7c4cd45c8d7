"""The report of a session as JSON, for programs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pytest_ckpt.reports import FORMAT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_ckpt.reports import Tested


def render(tests: Sequence[Tested], versions: Mapping[str, str]) -> str:
    """Give the text of the file: format, versions, and each test with its reports."""
    data = {
        "format": FORMAT,
        "versions": dict(versions),
        "tests": [
            {"test": one.nodeid, "outcome": one.outcome, "seconds": round(one.seconds, 3), "reports": one.reports}
            for one in tests
        ],
    }
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"
