"""A line on the terminal that says how far a long run is."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TextIO

#: Seconds before the line appears, and between two changes of it.
_PATIENCE = 1.0
_PACE = 0.1

_CLEAR = "\r\x1b[K"


class Progress:
    """Counts files on a terminal, and leaves nothing behind; anywhere else it is silent."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._next = time.monotonic() + _PATIENCE
        self._is_shown = False

    def __call__(self, done: int, of: int) -> None:
        """Say how many files have been linted, or how many have been read so far if `of` is 0."""
        if not self._is_terminal or (now := time.monotonic()) < self._next:
            return
        self._next = now + _PACE
        self._is_shown = True
        self._stream.write(_CLEAR + (f"linted {done} of {of} files" if of else f"read {done} files"))
        self._stream.flush()

    def close(self) -> None:
        """Take the line away."""
        if self._is_shown:
            self._stream.write(_CLEAR)
            self._stream.flush()
