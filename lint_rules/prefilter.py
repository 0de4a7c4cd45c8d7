"""Bytes that a source must hold before anything is parsed.

Most files of a project never save or load anything. Looking for a few tokens in the raw bytes costs a thousandth of a
parse, so each rule says which tokens its faults cannot do without.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lint_rules.rule import Needle, Rule


def wanted(data: bytes, rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """Choose the rules that could find anything in a source.

    Args:
        data: The source as it is on disk, in an encoding that agrees with ASCII. A notebook's JSON will do too.
        rules: The rules that are on.

    Returns:
        The rules of which at least one alternative of `needs` occurs in full.
    """
    seen: dict[Needle, bool] = {}
    return tuple(rule for rule in rules if any(_all_held(data, need, seen) for need in rule.needs))


def _all_held(data: bytes, need: Iterable[Needle], seen: dict[Needle, bool]) -> bool:
    """Look for the tokens of one alternative; several rules ask for the same ones, which are looked for once."""
    for token in need:
        held = seen.get(token)
        if held is None:
            held = seen[token] = _holds(data, token)
        if not held:
            return False
    return True


def _holds(data: bytes, token: Needle) -> bool:
    if isinstance(token, bytes):
        return token in data
    return token(data) if callable(token) else token.search(data) is not None
