"""Says what a check-up is doing where it takes more than a few seconds, so that nobody takes it for hung.

The checking functions tell the steps; who listens decides whether to show them. Under pytest a timer does, which writes
to the terminal past pytest's capture.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Seconds after which the first line comes; each further one waits three times as long.
PATIENCE = 5.0

_LISTENER: ContextVar[Callable[[str], None] | None] = ContextVar("pytest_ckpt_progress", default=None)


def step(text: str) -> None:
    """Say what comes next, such as `Net: saving (cpu->cpu torch_zip)`."""
    listener = _LISTENER.get()
    if listener is not None:
        listener(text)


def terminal(*, always: bool) -> TextIO | None:
    """Give a stream to the terminal that stays open to it while pytest captures; to be closed in the end.

    Args:
        always: Whether to give one to a file or a pipe too.

    Returns:
        The stream; None where output goes nowhere, or is not to be disturbed. It has to be asked for while nothing is
        captured.
    """
    try:
        if not (always or sys.stdout.isatty()):
            return None
        return os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8", errors="replace")
    except (OSError, ValueError, AttributeError):
        return None


@contextmanager
def shown(name: str, stream: TextIO | None) -> Iterator[None]:
    """Write a line with the present step where what happens in the `with` block takes long.

    Args:
        name: What the lines begin with.
        stream: Where they go; None for nowhere.
    """
    if stream is None:
        yield
        return
    watch = _Watch(name, stream)
    token = _LISTENER.set(watch.note)
    try:
        yield
    finally:
        _LISTENER.reset(token)
        watch.stop()


class _Watch:
    def __init__(self, name: str, stream: TextIO) -> None:
        self._name, self._stream = name, stream
        self._begin = time.monotonic()
        self._step = "beginning"
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def note(self, text: str) -> None:
        """Take note of a step; the thread that watches begins with the first."""
        self._step = text
        if self._thread is None:
            self._thread = threading.Thread(target=self._wait, name="pytest-ckpt progress", daemon=True)
            self._thread.start()

    def _wait(self) -> None:
        patience = PATIENCE
        while not self._stopped.wait(patience):
            passed = time.monotonic() - self._begin
            self._stream.write(f"\n{self._name}: {self._step}, {passed:.0f} s so far\n")
            self._stream.flush()
            patience *= 3

    def stop(self) -> None:
        """Write nothing more."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
