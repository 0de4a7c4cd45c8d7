"""Runs a trainer's own loop in a thread of its own, and holds it wherever a step begins or ends.

A trainer's `fit` or `train` comes back only when the training is over; the check goes step by step. The thread hands
over at every pause and works only while the other waits, so nothing happens at the same time.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any
from weakref import finalize

from pytest_ckpt.copying import duplicate
from pytest_ckpt.findings import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BEGIN, END = "begin", "end"
_PATIENCE = 600.0  # seconds for one step; a trainer that takes longer hangs


class Abandoned(BaseException):
    """Ends the loop of a run that nobody needs any more; no handler of the trainer's takes it for an error."""


class Stepper:
    """A function in a thread, which runs from one `pause` to the next.

    Attributes:
        place: Where it pauses.
    """

    def __init__(self) -> None:
        self.place = ""
        self._go, self._stop = threading.Semaphore(0), threading.Semaphore(0)
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._abandoned = False

    @property
    def started(self) -> bool:
        """Whether the function has been called."""
        return self._thread is not None

    @property
    def alive(self) -> bool:
        """Whether the function has not come back yet."""
        return self._thread is not None and self._thread.is_alive()

    def start(self, function: Callable[[], Any]) -> None:
        """Call the function and wait for its first pause, or its end.

        Raises:
            Exception: What the function raised before.
        """

        def work() -> None:
            try:
                function()
            except Abandoned:
                pass
            except BaseException as error:  # noqa: BLE001 -- raised again in the thread that waits
                self._error = error
            finally:
                self._stop.release()

        self._thread = threading.Thread(target=work, daemon=True)
        self._thread.start()
        self._wait()

    def go_on(self) -> None:
        """Let the function run up to its next pause, or its end.

        Raises:
            Exception: What the function raised.
        """
        self._go.release()
        self._wait()

    def pause(self, place: str) -> None:
        """Hand over; called by the function.

        Args:
            place: What to call this pause.

        Raises:
            Abandoned: The run is not needed any more.
        """
        self.place = place
        self._stop.release()
        self._go.acquire()
        if self._abandoned:
            raise Abandoned

    def close(self) -> None:
        """End the function at its pause."""
        self._abandoned = True
        if self._thread is not None and self._thread.is_alive():
            self._go.release()
            self._thread.join(_PATIENCE)

    def _wait(self) -> None:
        if not self._stop.acquire(timeout=_PATIENCE):
            raise UsageError(f"the trainer made no step within {_PATIENCE:.0f} seconds: use a smaller model or dataset")
        if self._error is not None:
            error, self._error = self._error, None
            raise error


class SteppedRun(ABC):
    """A run whose steps a trainer makes; the adapters say how it is started, saved and looked at.

    Attributes:
        batches: A copy of the batch of each step so far.
    """

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer
        self.batches: dict[int, Any] = {}
        self._stepper = Stepper()
        self._losses: list[tuple[float, ...]] = []
        self._number = 0
        finalize(self, self._stepper.close)

    def __repr__(self) -> str:
        return f"{type(self.trainer).__name__}"

    @abstractmethod
    def begin(self, checkpoint: Path | None) -> Callable[[], Any]:
        """Give the function that trains, from a checkpoint if there is one; it pauses where steps begin and end."""

    @abstractmethod
    def save(self, path: Path) -> None:
        """Write a checkpoint."""

    @abstractmethod
    def parts(self) -> dict[str, Any]:
        """Give what the run consists of."""

    def own_attributes(self) -> dict[str, Any]:
        """Give what the trainer has beyond what its library has put there."""
        return {}

    def load(self, path: Path) -> None:
        """Start training from a checkpoint, and stop before its first step."""
        self._stepper.start(self.begin(path))

    def step(self, number: int) -> tuple[float, ...]:
        """Let the trainer make one step.

        Raises:
            UsageError: The trainer has come to its end.
        """
        self._number = number
        if not self._stepper.started:
            self._stepper.start(self.begin(None))
        self.settle()
        made = len(self._losses)
        if self._stepper.alive:
            self._stepper.go_on()
        if len(self._losses) == made:
            raise UsageError(
                f"the {type(self.trainer).__name__} ended after {number} steps: let it make more, max_steps=... or "
                "more epochs, or give check_resume fewer steps"
            )
        return self._losses[-1]

    def close(self) -> None:
        """End the training."""
        self._stepper.close()

    def settle(self) -> None:
        """Go from the end of a step to the beginning of the next one, where a run that was loaded stands as well."""
        if self._stepper.alive and self._stepper.place != BEGIN:
            self._stepper.go_on()

    def took(self, loss: Any, batch: Any) -> None:
        """Take note of the loss of a step and of its batch, which tells whether the data are the same."""
        self._losses.append(loss)
        self.batches[self._number] = duplicate(batch)


def attributes_of_subclass(value: Any, base: type) -> dict[str, Any]:
    """Give the attributes that an object has beyond those that its library's own class works with."""
    known = {
        name
        for one in base.__mro__
        for function in vars(one).values()
        if hasattr(function, "__code__")
        for name in function.__code__.co_names
    }
    return {name: held for name, held in vars(value).items() if name not in known and not name.startswith("_")}
