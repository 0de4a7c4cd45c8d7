"""The page of a rule: what `--explain` prints and the documentation shows."""

from __future__ import annotations

import pytest

from lint_rules import registry
from lint_rules.pages import page
from lint_rules.rule import Example, Rule


class Made(Rule):
    """First words.

    ## What it does

    Something.

    ## Fix safety

    Safe.
    """

    code = "CKP900"
    name = "made-up"
    summary = "Finds nothing"
    needs = ((b"x",),)
    invalid = (
        Example("bad()", why="the first", lines=(1,), fixed="good()"),
        Example("worse()", why="another", lines=(1,)),
    )
    valid = (Example("fine()", why="nothing wrong"),)

    def check(self, context):
        return iter(())


def test_a_page_has_its_parts_in_order():
    assert page(Made()) == (
        "# made-up (CKP900)\n\n"
        "Finds nothing. On by default.\n\n"
        "First words.\n\n"
        "## What it does\n\nSomething.\n\n"
        "## Example\n\n```python\nbad()\n```\n\nUse instead:\n\n```python\ngood()\n```\n\n"
        "## Fix safety\n\nSafe.\n\n"
        "## More code that is reported\n\nAnother:\n\n```python\nworse()\n```\n\n"
        "## Code that is left alone\n\nNothing wrong:\n\n```python\nfine()\n```\n\n"
        "## How to silence it\n\n"
        'For one place, write `# noqa: CKP900` at the end of the line; for a project, `ignore = ["CKP900"]`.\n'
    )


@pytest.mark.parametrize("code", registry.codes())
def test_every_rule_has_a_page(code):
    rule = registry.rule(code)

    text = page(rule)

    assert text.startswith(f"# {rule.name} ({code})\n")
    assert text.index("## What it does") < text.index("## Why is this bad") < text.index("## Example")
    assert rule.invalid[0].source in text
    assert text.count("```") % 2 == 0
