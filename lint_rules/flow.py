"""What happens to each object, in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import libcst as cst

    from lint_rules.names import Names


class Flow:
    """The objects of one file."""

    def __init__(self, tree: cst.Module, names: Names) -> None:
        self.tree = tree
        self.names = names
