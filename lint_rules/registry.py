"""Which rules there are: every `ckpNNN.py` in `lint_rules/rules/` is one.

Listing the codes imports nothing; a rule's module is imported when that rule is first asked for. Rules are spelled
by code (`CKP301`), by the beginning of a code (`CKP3`), by name (`unguarded-torch-load`) or as `ALL`.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from typing import TYPE_CHECKING

from lint_rules import rules
from lint_rules.rule import Rule

if TYPE_CHECKING:
    from collections.abc import Iterable

ALL = "ALL"
_FAMILY = "CKP"


class UnknownRuleError(ValueError):
    """Nothing is called that; the message gives the nearest spelling."""


@cache
def codes() -> tuple[str, ...]:
    """Give the code of every rule, sorted."""
    names = (module.name for module in pkgutil.iter_modules(rules.__path__))
    return tuple(sorted(name.upper() for name in names if name.startswith(_FAMILY.lower())))


@cache
def rule(code: str) -> Rule:
    """Give the rule of one code.

    Args:
        code: An exact code, such as `"CKP301"`.

    Raises:
        UnknownRuleError: There is no such code.
        TypeError: The rule's file does not hold exactly one rule, or that rule has another code.
    """
    if code not in codes():
        raise _unknown(code, codes())
    module = importlib.import_module(f"{rules.__name__}.{code.lower()}")
    found = [
        member
        for member in vars(module).values()
        if isinstance(member, type) and issubclass(member, Rule) and member.__module__ == module.__name__
    ]
    if len(found) != 1 or found[0].code != code:
        message = f"{module.__name__} must hold one Rule whose code is {code}, and holds {found}"
        raise TypeError(message)
    return found[0]()


def all_rules() -> tuple[Rule, ...]:
    """Give every rule, sorted by code."""
    return tuple(rule(code) for code in codes())


def find(spelling: str) -> Rule:
    """Give one rule by its code or its name, in any case.

    Raises:
        UnknownRuleError: There is no such rule.
    """
    code = spelling.strip().upper()
    if code in codes():
        return rule(code)
    by_name = {each.name: each for each in all_rules()}
    name = spelling.strip().lower()
    if name not in by_name:
        raise _unknown(spelling, (*codes(), *by_name))
    return by_name[name]


def expand(selector: str) -> tuple[str, ...]:
    """Give the codes that one entry of `select` or `ignore` stands for.

    Args:
        selector: A code, the beginning of one, a name, or `ALL`.

    Raises:
        UnknownRuleError: It stands for none.
    """
    wanted = selector.strip().upper()
    if wanted == ALL:
        return codes()
    if wanted.startswith(_FAMILY):
        below = tuple(code for code in codes() if code.startswith(wanted))
        if below:
            return below
    return (find(selector).code,)


def enabled(select: Iterable[str] | None, extend_select: Iterable[str], ignore: Iterable[str]) -> tuple[str, ...]:
    """Give the codes that are on.

    The more specific entry wins, as in ruff: `select = ["CKP301"]` with `ignore = ["CKP3"]` leaves CKP301 on. Between
    equals, `ignore` wins.

    Args:
        select: The rules to use instead of those that are on by default; None for the default.
        extend_select: Rules to use besides.
        ignore: Rules not to use.

    Raises:
        UnknownRuleError: An entry stands for no rule.
    """
    chosen = dict.fromkeys((each.code for each in all_rules() if each.default), 0) if select is None else {}
    chosen |= _specificity((*(select or ()), *extend_select))
    dropped = _specificity(ignore)
    return tuple(code for code in codes() if code in chosen and chosen[code] > dropped.get(code, -1))


def _specificity(selectors: Iterable[str]) -> dict[str, int]:
    """Map each code that the selectors stand for to how much of it was spelled out."""
    found: dict[str, int] = {}
    for selector in selectors:
        covered = expand(selector)
        spelled = selector.strip().upper()
        by_name = not spelled.startswith((ALL, _FAMILY))
        rank = len(covered[0]) if by_name else len(spelled.removeprefix(ALL))
        found |= {code: max(rank, found.get(code, 0)) for code in covered}
    return found


def _unknown(spelling: str, known: Iterable[str]) -> UnknownRuleError:
    import difflib

    choices = {choice.lower(): choice for choice in known}
    least = (
        0.8 if spelling.strip().upper().startswith(_FAMILY) else 0.5
    )  # all codes have half of their letters in common
    near = difflib.get_close_matches(spelling.strip().lower(), choices, n=1, cutoff=least)
    hint = f'did you mean "{choices[near[0]]}"?' if near else f"the rules are {', '.join(codes())}"
    return UnknownRuleError(f'there is no rule "{spelling}": {hint}')
