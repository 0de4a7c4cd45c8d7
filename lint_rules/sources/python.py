"""Python files: one piece, which stands where it stands."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from lint_rules.sources.base import Piece, Source, decode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lint_rules.rule import Edit


class PythonSource(Source):
    """A module, a stub or a script; a file of no other kind is taken for one, for scripts often have no ending."""

    endings: ClassVar = (".py", ".pyi", ".pyw")
    is_plain: ClassVar = True

    def __init__(self, data: bytes) -> None:
        self._decoded = decode(data)
        self.pieces = (Piece(0, self._decoded.text),)

    def texts(self) -> Mapping[int | None, str]:
        """Give the whole text."""
        return {None: self._decoded.text}

    def edited(self, edits: Mapping[int, Sequence[Edit]]) -> bytes:
        """Apply the edits and encode the text as it was."""
        from lint_rules.fixes import edit

        return self._decoded.encode(edit(self._decoded.text, edits.get(0, ())))
