"""Finds what makes today's outputs differ although the old state fits: one change that makes them agree again.

Each module here proposes changes: to what stands where in the state, to settings, to the calls that forward makes. A
change is made on the loaded module, forward runs, and the change is taken back. Only one that brings the old outputs
back, to the tolerance of the comparison, is reported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_ckpt.compatibility.search import calls, settings, wiring
from pytest_ckpt.compatibility.search.bench import Bench, Cause, Exhausted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pytest_ckpt.compatibility.provenance import Origin

__all__ = ["Bench", "Cause", "find_cause"]


def find_cause(bench: Bench, origins: Mapping[str, Origin], *, state_only: bool = False) -> tuple[Cause, ...]:
    """Look for one change that brings the old outputs back.

    Args:
        bench: The loaded module and the old outputs.
        origins: Where its entries came from.
        state_only: Whether to look only at what stands where in the state.

    Returns:
        What was changed, named once for each place that takes part in it; empty where nothing was found.
    """
    try:
        return next(_agreeing(bench, origins, state_only=state_only), ())
    except Exhausted:
        return ()


def _agreeing(bench: Bench, origins: Mapping[str, Origin], *, state_only: bool) -> Iterator[tuple[Cause, ...]]:
    yield from wiring.search(bench, origins)
    if not state_only:
        yield from settings.search(bench)
        yield from calls.search(bench)
