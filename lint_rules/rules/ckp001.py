"""CKP001: a comment that silences nothing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lint_rules.regions import split_lines
from lint_rules.rule import Edit, Example, Finding, Fix, Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lint_rules.engine import Context
    from lint_rules.suppress import Directive

_FAMILY = "CKP"

#: What stands before the codes, and a comment of its own that comes after them.
_HEAD = re.compile(r".*noqa\s*:\s*", re.IGNORECASE)
_FURTHER = re.compile(r"\s(#\s.*)")


def _is_ours(code: str) -> bool:
    return code.startswith(_FAMILY) and code.removeprefix(_FAMILY).isdigit()


def _message(unused: list[str]) -> str:
    from lint_rules import registry

    try:
        for code in unused:
            registry.rule(code)
    except registry.UnknownRuleError as error:
        return f"{error}; until then, this comment silences nothing"
    codes, verb = (unused[0], "finds") if len(unused) == 1 else (f"{', '.join(unused[:-1])} and {unused[-1]}", "find")
    return f"{codes} {verb} nothing here, and would be silent about the next fault; take it out of the comment"


def _without(directive: Directive, unused: list[str], lines: list[str]) -> Fix | None:
    """Take codes out of a comment; the comment goes with the last of them, and a line that held nothing else too."""
    edit = _edit(directive, unused, lines)
    return Fix((edit,), safe=True) if edit else None


def _edit(directive: Directive, unused: list[str], lines: list[str]) -> Edit | None:
    number = directive.line
    left = [code for code in directive.codes or () if code not in unused]
    if left:
        head = _HEAD.match(directive.text)
        return Edit(number, directive.column, number, directive.end_column, (head[0] if head else "") + ", ".join(left))
    line = lines[number - 1].rstrip("\r\n")
    before = line[: directive.column - 1].rstrip()
    further = _FURTHER.search(line, directive.end_column - 1)
    if before or further:
        kept = f"{'  ' if before else ''}{further[1]}" if further else ""
        return Edit(number, len(before) + 1, number, len(line) + 1, kept)
    return Edit(number, 1, number + 1, 1, "") if number < len(lines) else None  # what would be left may be nothing


class UnusedNoqa(Rule):
    """Finds comments that silence a rule where that rule finds nothing.

    ## What it does

    Reports the codes of this linter in `# noqa: CKP301` and `# ckpt-lint: noqa: CKP301` that no finding answers to,
    whether or not their rules are on, and codes that no rule has. A bare `# noqa` and the codes of other linters are
    left alone.

    ## Why is this bad

    The comment outlives what it excused: it tells the reader of a fault that is gone, and hides the next one on the
    same line. A misspelled code silences nothing, and looks as if it did.

    ## Fix safety

    The fix is safe: it takes the code out of the comment, and the comment away where no other code is left in it,
    together with the reason that it gives.

    ## References

    - [ruff: unused-noqa](https://docs.astral.sh/ruff/rules/unused-noqa/)
    """

    code = "CKP001"
    name = "unused-noqa"
    summary = "A `# noqa` of this linter that silences nothing"
    needs = ((b"CKP", b"noqa", re.compile(rb"\bCKP\d")),)
    marks = frozenset({"noqa"})

    def check(self, context: Context) -> Iterator[Finding]:
        from lint_rules import engine, prefilter, registry, suppress

        text = context.text(None)
        named = [each for each in suppress.read(text) if each.codes and self.code not in each.codes]
        mentioned = {code for each in named for code in each.codes or () if _is_ours(code)}
        rules = [registry.rule(code) for code in sorted(mentioned.intersection(registry.codes()))]
        wanted = prefilter.wanted(text.encode(), rules)
        found = engine.lint_text(text, context.path, wanted, context.settings, shown=context.shown)
        lines = split_lines(text)
        for directive in named:
            used = {finding.code for finding in found if directive.silences(finding)}
            unused = [code for code in directive.codes or () if _is_ours(code) and code not in used]
            if unused:
                yield Finding(
                    self.code,
                    self.name,
                    context.path,
                    directive.line,
                    directive.column,
                    directive.line,
                    directive.end_column,
                    _message(unused),
                    _without(directive, unused, lines),
                )

    invalid = (
        Example(
            """
            import torch

            state = torch.load("model.pt", map_location="cpu", weights_only=True)  # noqa: CKP301 -- our own file
            """,
            why="the fault is gone",
            lines=(3,),
            fixed="""
            import torch

            state = torch.load("model.pt", map_location="cpu", weights_only=True)
            """,
        ),
        Example(
            """
            import torch

            state = torch.load("model.pt")  # noqa: CKP301, CKP201, S614 -- our own file
            """,
            why="one of several codes",
            lines=(3,),
            fixed="""
            import torch

            state = torch.load("model.pt")  # noqa: CKP301, S614 -- our own file
            """,
        ),
        Example(
            """
            import torch

            state = torch.load("model.pt")  # noqa: CKP3301
            """,
            why="a code that no rule has",
            lines=(3,),
            fixed="""
            import torch

            state = torch.load("model.pt")
            """,
        ),
        Example(
            """
            # ckpt-lint: noqa: CKP401
            import torch

            state = torch.load("model.pt")
            """,
            why="for the whole file",
            lines=(1,),
            fixed="""
            import torch

            state = torch.load("model.pt")
            """,
        ),
        Example(
            """
            import torch

            state = {}  # type: ignore[assignment]  # noqa: CKP301  # why not
            """,
            why="between other comments",
            lines=(3,),
            fixed="""
            import torch

            state = {}  # type: ignore[assignment]  # why not
            """,
        ),
    )
    valid = (
        Example(
            """
            import torch

            state = torch.load("model.pt")  # noqa: CKP301, CKP303 -- our own file
            """,
            why="it silences something",
        ),
        Example(
            """
            import torch

            state = torch.load("model.pt", weights_only=False)  # noqa: CKP302, CKP303
            """,
            why="it silences a rule that is off by default",
        ),
        Example(
            """
            import torch

            state = torch.load(  # noqa: CKP301
                "model.pt",
                map_location="cpu",
            )
            again = torch.load(
                "model.pt",
                map_location="cpu",
            )  # noqa: CKP301
            """,
            why="on the first or the last line of a finding",
        ),
        Example(
            """
            # ckpt-lint: noqa: CKP301, CKP303
            import torch

            state = torch.load("model.pt")
            """,
            why="for a whole file that has such a finding",
        ),
        Example(
            """
            x = 1  # noqa
            y = 1  # noqa: E501, CKPT1
            text = "  # noqa: CKP301"
            """,
            why="other linters' codes, none at all, and text",
        ),
        Example(
            """
            import torch

            state = {}  # noqa: CKP301, CKP001 -- for when we support older files
            """,
            why="a comment that silences this rule too",
        ),
    )
