"""What a rule is, what it reports, and the examples that it carries.

A rule is one file in `lint_rules/rules/`. Its tests, its page, `--explain` and the bytes prefilter are derived from
that file: nothing else is edited when a rule is added. Findings hold text and numbers only, never a syntax node, so
that a file's tree can be dropped as soon as the file is done, and a finding can cross a process or be cached.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Collection, Iterator

    from lint_rules.engine import Context
    from lint_rules.outline import Outline

#: What the prefilter looks for: bytes that must occur, a pattern that must match somewhere, or a test of its own for
#: what no pattern can say cheaply.
Needle: TypeAlias = "bytes | re.Pattern[bytes] | Callable[[bytes], bool]"

DOCS_URL = "https://pytest-ckpt.readthedocs.io/en/latest/reference/rules/"


@dataclass(frozen=True, slots=True, order=True)
class Edit:
    """Replace one span of a source by other text.

    Lines count from 1 and columns from 1, in characters; the end is exclusive.
    """

    line: int
    column: int
    end_line: int
    end_column: int
    text: str


@dataclass(frozen=True, slots=True)
class Fix:
    """Edits that remedy one finding.

    Attributes:
        edits: Spans to replace; they do not overlap.
        safe: Whether the program's meaning stays the same wherever it already worked.
        imports: Modules that the new text needs, such as `"torch"`, added once where they are missing.
    """

    edits: tuple[Edit, ...]
    safe: bool
    imports: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Give the fix as the JSON output has it."""
        return {
            "safe": self.safe,
            "imports": list(self.imports),
            "edits": [
                {
                    "line": edit.line,
                    "column": edit.column,
                    "end_line": edit.end_line,
                    "end_column": edit.end_column,
                    "text": edit.text,
                }
                for edit in self.edits
            ],
        }


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault at one place.

    Attributes:
        code: The rule's code, `CKP` and three digits.
        name: The rule's name in words, such as `missing-eval`.
        path: The file as the user named it, or as it was found below a folder that the user named.
        line: Line where the call or assignment begins, from 1; inside the cell for a notebook.
        column: Column in characters, from 1.
        end_line: Line of the end.
        end_column: Column behind the last character.
        message: Fault, consequence and remedy in one sentence or two.
        fix: The remedy as edits, where there is one.
        cell: The notebook cell, counted from 0 over code and prose cells alike; None outside notebooks.
        file_line: Line of the notebook's file that holds the cell's line; None outside notebooks.
    """

    code: str
    name: str
    path: str
    line: int
    column: int
    end_line: int
    end_column: int
    message: str
    fix: Fix | None = None
    cell: int | None = None
    file_line: int | None = None

    @property
    def url(self) -> str:
        """Address of the rule's page."""
        return f"{DOCS_URL}{self.code}.html"

    @property
    def place(self) -> tuple[str, int, int, int, str]:
        """What findings are sorted by: path, cell, line, column, code."""
        return (self.path, -1 if self.cell is None else self.cell, self.line, self.column, self.code)

    def as_dict(self) -> dict[str, Any]:
        """Give the finding as an object of the JSON output; `cell` is present for notebooks only."""
        record: dict[str, Any] = {
            "code": self.code,
            "name": self.name,
            "path": self.path,
            "line": self.line,
            "column": self.column,
            "end_line": self.end_line,
            "end_column": self.end_column,
            "message": self.message,
            "url": self.url,
            "fix": self.fix.as_dict() if self.fix else None,
        }
        if self.cell is not None:
            record["cell"] = self.cell
        return record


@dataclass(frozen=True, slots=True)
class Example:
    """A piece of code that a rule must report, or must not.

    Attributes:
        code: The source; it is dedented.
        lines: Lines that must be reported, in order. Empty for code that must stay silent.
        fixed: The source after every fix was applied, where the rule has one.
        settings: Settings of `[tool.ckpt-lint]` that the example needs, such as `{"target-torch": "2.6"}`.
        why: What the example shows; becomes part of the test's name.
    """

    code: str
    why: str
    lines: tuple[int, ...] = ()
    fixed: str | None = None
    settings: tuple[tuple[str, Any], ...] = ()

    @property
    def source(self) -> str:
        """The dedented code, with a final newline."""
        return inspect.cleandoc(self.code) + "\n"


class Rule(ABC):
    """One rule of the linter. The class docstring is the rule's page, in MyST Markdown.

    Attributes:
        code: `CKP` and three digits; the file's name is the code in lower case.
        name: The name in words.
        summary: One line for tables: what it finds.
        default: Whether it is on unless it is asked for.
        needs: Alternatives of tokens for the prefilter: a source is parsed for this rule if all tokens of at least one
            alternative occur in it.
        marks: Words of which a function must hold at least one to be of interest; of the others only the names are
            left before libcst parses the source.
        follows: Whether the rule follows objects, so that the functions which call or are called by an interesting
            one are of interest too.
        needs_all: Whether it can say something only where every object was followed. It is left out of sources in which
            that would take too long.
        invalid: Code that it reports; the first one is the page's Example, its `fixed` the page's Use instead.
        valid: Code that it leaves alone.
    """

    code: ClassVar[str]
    name: ClassVar[str]
    summary: ClassVar[str]
    default: ClassVar[bool] = True
    needs: ClassVar[tuple[tuple[Needle, ...], ...]]
    marks: ClassVar[frozenset[str]]
    follows: ClassVar[bool] = False
    needs_all: ClassVar[bool] = False
    invalid: ClassVar[tuple[Example, ...]]
    valid: ClassVar[tuple[Example, ...]]

    def follows_in(self, outline: Outline) -> bool:  # noqa: ARG002 -- what rules override
        """Tell whether the rule follows objects in one source; unless it is overridden, as `follows` says.

        Args:
            outline: The source's calls and statements, and what its names may stand for.
        """
        return self.follows

    def marks_in(self, outline: Outline) -> frozenset[str]:  # noqa: ARG002 -- what rules override
        """Give the words that make a function of one source interesting; unless it is overridden, `marks`.

        Args:
            outline: The source's calls and statements, and what its names may stand for.
        """
        return self.marks

    def lines_in(self, outline: Outline) -> Collection[int]:  # noqa: ARG002 -- what rules override
        """Give lines that make the functions around them interesting, besides those with marks; none by default.

        Args:
            outline: The source's calls and statements, and what its names may stand for.

        Returns:
            Lines of the source, from 1.
        """
        return ()

    def may_find(self, outline: Outline) -> bool:  # noqa: ARG002 -- what rules override
        """Tell from what Python's own parser sees whether there can be anything to report.

        Where it is False the source is not parsed by libcst for this rule, so it may be wrong in one direction only.

        Args:
            outline: The source's calls and statements, and what its names may stand for.

        Returns:
            False only where `check` would yield nothing.
        """
        return True

    @abstractmethod
    def check(self, context: Context) -> Iterator[Finding]:
        """Report what is wrong in one source.

        Args:
            context: The source's regions with their names resolved and their objects followed.

        Yields:
            Findings, in any order; the engine sorts them and drops those that are suppressed.
        """
