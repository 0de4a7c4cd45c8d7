"""A rule's page, in MyST Markdown: what `--explain` prints and the documentation shows."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lint_rules.rule import Example, Rule


def page(rule: Rule) -> str:
    """Write a rule's page: its docstring, and its examples where a reader looks for them.

    The first invalid example is the page's Example, and what its fix makes of it the page's Use instead. They stand
    before the section on fix safety, or at the end of the docstring if it has none; the other examples come last.

    Args:
        rule: The rule.

    Returns:
        MyST Markdown that begins with the page's heading and ends with a line feed.
    """
    introduction, *sections = inspect.getdoc(type(rule)).partition("\n## Fix safety")  # type: ignore[union-attr]
    parts = [
        f"# {rule.name} ({rule.code})",
        f"{rule.summary}. On by default." if rule.default else f"{rule.summary}. Off by default: select it.",
        introduction.strip(),
        *_main_example(rule.invalid[0]),
        "".join(sections).strip(),
        *_listed("More code that is reported", rule.invalid[1:]),
        *_listed("Code that is left alone", rule.valid),
        _suppression(rule),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _main_example(example: Example) -> Iterator[str]:
    yield "## Example"
    yield _block(example.source)
    if example.fixed:
        yield "Use instead:"
        yield _block(inspect.cleandoc(example.fixed) + "\n")


def _listed(heading: str, examples: Iterable[Example]) -> Iterator[str]:
    for number, example in enumerate(examples):
        if not number:
            yield f"## {heading}"
        yield f"{example.why[:1].upper()}{example.why[1:]}:"
        yield _block(example.source)


def _suppression(rule: Rule) -> str:
    silence = f"`# noqa: {rule.code}` at the end of the line"
    return f'## How to silence it\n\nFor one place, write {silence}; for a project, `ignore = ["{rule.code}"]`.'


def _block(source: str) -> str:
    return f"```python\n{source}```"
