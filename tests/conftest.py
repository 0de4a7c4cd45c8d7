"""The plugin under test is installed; pytester runs it in sessions of its own."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

# Tiny modules on several workers: with more threads than cores, OpenMP spends its time waiting.
os.environ.setdefault("OMP_NUM_THREADS", "1")

pytest_plugins = ["pytester"]


@pytest.fixture(scope="session", autouse=True)
def nothing_left_behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Hold the whole suite, on each worker, to leaving no files, processes, taggers and settings behind.

    Tests draw random numbers themselves, so that generators are looked at around each case: `tests.generators`.
    """
    before, folder = tempfile.tempdir, tmp_path_factory.mktemp("left")
    tempfile.tempdir = str(folder)
    was = _settings()
    yield
    tempfile.tempdir = before
    assert [path.name for path in folder.glob("pytest-ckpt-*")] == []
    spare = sys.modules.get("pytest_ckpt.spare")
    if spare is not None:
        spare.stop()
    assert _children() == []
    if was:
        assert _settings() == was


def _settings() -> tuple[object, ...]:
    """Give what torch's settings are, where it is loaded."""
    torch = sys.modules.get("torch")
    if torch is None:
        return ()
    taggers = [(priority, tagger.__module__) for priority, tagger, _ in torch.serialization._package_registry]
    settings = (torch.get_default_dtype(), torch.get_default_device(), torch.get_num_threads())
    return (*settings, torch.is_grad_enabled(), taggers)


def _children() -> list[str]:
    """Give the command lines of processes that this one has started and that still run; none where it cannot tell."""
    found = []
    for task in Path("/proc/self/task").glob("*/children"):
        for child in task.read_text(encoding="ascii").split():
            command = Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
            if command and "multiprocessing.resource_tracker" not in command:
                found.append(command)
    return found
