"""What saving and loading are given to write to and read from: a path, its text, an open file or a buffer."""

from __future__ import annotations

import io
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_ckpt.call import Call

PLACES = ("path", "str", "file", "buffer")


@contextmanager
def writing(path: Path, place: str) -> Iterator[Any]:
    """Give what a save is called with; afterwards its bytes are at the path.

    Args:
        path: A path that does not exist yet.
        place: `str` for its text, `file` for a file that is open for writing bytes, `buffer` for an `io.BytesIO`;
            anything else for the `pathlib.Path` itself.
    """
    if place == "file":
        with path.open("wb") as file:
            yield file
    elif place == "buffer":
        buffer = io.BytesIO()
        yield buffer
        path.write_bytes(buffer.getvalue())
    else:
        yield str(path) if place == "str" else path


@contextmanager
def reading(path: Path, place: str) -> Iterator[Any]:
    """Give what a load is called with: as for `writing`, at the beginning of the file."""
    if place == "file":
        with path.open("rb") as file:
            yield file
    elif place == "buffer":
        yield io.BytesIO(path.read_bytes())
    else:
        yield str(path) if place == "str" else path


@contextmanager
def plainly() -> Iterator[None]:
    """Raise what a rank raised, where torch.distributed.checkpoint raises its collection of all ranks' tracebacks.

    That is a BaseException, which nobody expects who catches errors.
    """
    try:
        yield
    except BaseException as error:
        failures = getattr(error, "failures", None)
        if type(error).__name__ != "CheckpointException" or not failures:
            raise
        first, _ = next(iter(failures.values()))
        raise first from None


def given(call: Call, place: str) -> Call:
    """Give the call with a save and a load of the user's own that take a path and are called with the place."""
    own_save, own_load = call.save, call.load

    def save(module: Any, path: Path) -> None:
        assert own_save is not None  # noqa: S101 -- for the type checker
        with plainly(), writing(path, place) as target:
            own_save(module, target)

    def load(path: Path) -> Any:
        assert own_load is not None  # noqa: S101 -- for the type checker
        with plainly(), reading(path, place) as source:
            return own_load(source)

    return replace(call, save=own_save and save, load=own_load and load)
