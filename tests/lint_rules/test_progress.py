"""The line that says how far a long run is."""

from __future__ import annotations

import io

import pytest

from lint_rules.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch):
    """Give a list whose last item is the time."""
    times = [0.0]
    monkeypatch.setattr("lint_rules.progress.time.monotonic", lambda: times[-1])
    return times


def test_a_short_run_shows_nothing(clock):
    stream = Terminal()
    progress = Progress(stream)
    for done in range(100):
        progress(done, 0)
    clock.append(0.9)
    progress(100, 0)
    progress.close()

    assert stream.getvalue() == ""


def test_a_long_run_shows_how_far_it_is_and_cleans_up(clock):
    stream = Terminal()
    progress = Progress(stream)
    clock.append(1.5)
    progress(300, 0)
    progress(301, 0)
    clock.append(1.7)
    progress(2, 40)
    progress.close()

    assert stream.getvalue() == "\r\x1b[Kread 300 files\r\x1b[Klinted 2 of 40 files\r\x1b[K"


def test_only_a_terminal_sees_it(clock):
    stream = io.StringIO()
    progress = Progress(stream)
    clock.append(100.0)
    progress(1, 2)
    progress.close()

    assert stream.getvalue() == ""
