"""Which kind of source a file is, told by its ending."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lint_rules.sources.document import MarkdownSource, RestSource, TextSource
from lint_rules.sources.notebook import NotebookSource
from lint_rules.sources.python import PythonSource

if TYPE_CHECKING:
    from lint_rules.sources.base import Source

_KINDS: tuple[type[Source], ...] = (NotebookSource, MarkdownSource, RestSource, TextSource)


def kind_of(path: str) -> type[Source]:
    """Give the kind of source that a path is; what has no other kind is Python."""
    return next((kind for kind in _KINDS if path.lower().endswith(kind.endings)), PythonSource)
