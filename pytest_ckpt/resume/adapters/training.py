"""A run made of its parts: a model, an optimizer and a step, saved as torch's tutorials do it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from pytest_ckpt.compare import describe
from pytest_ckpt.findings import UsageError
from pytest_ckpt.resume.slots import global_generators, set_global

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_PARTS_OF_TUPLE = 3


class Training:
    """A training run for `check_resume`, for code that has no class of its own for it.

    Without a `save` and a `load` of your own it saves what has a `state_dict`, and the position of the process's
    generators: the check then says whether these carry the whole training.
    """

    def __init__(
        self,
        model: Any,
        optimizer: Any,
        step: Callable[[Any, int], Any],
        *,
        save: Callable[[Any, Path], Any] | None = None,
        load: Callable[[Any, Path], Any] | None = None,
        **parts: Any,
    ) -> None:
        """Put a run together.

        Args:
            model: The model that is trained.
            optimizer: Its optimizer.
            step: Makes one training step, called with this run and the step's number; gives the loss.
            save: Writes a checkpoint, called with this run and a path.
            load: Restores a checkpoint, called with this run and that path.
            parts: Whatever else the training has, such as `scheduler`, `scaler` or `ema`; attributes of the run.
        """
        self.model, self.optimizer = model, optimizer
        self._step, self._save, self._load = step, save or _save, load or _load
        vars(self).update(parts)

    @classmethod
    def of_tuple(cls, given: tuple[Any, ...]) -> Training:
        """Make a run of a model, an optimizer and a step that takes the step's number.

        Raises:
            UsageError: It is another tuple.
        """
        if len(given) != _PARTS_OF_TUPLE or not callable(given[2]):
            raise UsageError(
                f"training() gave {describe(given)}: a tuple must be (model, optimizer, step), with a function step(i) "
                "that gives the loss"
            )
        model, optimizer, step = given
        return cls(model, optimizer, lambda _run, number: step(number))

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def __repr__(self) -> str:
        return f"Training of {type(self.model).__name__}"

    def step(self, number: int) -> Any:
        """Make one training step."""
        return self._step(self, number)

    def save(self, path: Path) -> None:
        """Write a checkpoint."""
        self._save(self, path)

    def load(self, path: Path) -> None:
        """Restore a checkpoint."""
        self._load(self, path)


def _stateful(run: Training) -> dict[str, Any]:
    return {name: value for name, value in vars(run).items() if hasattr(value, "state_dict")}


def _save(run: Training, path: Path) -> None:
    states = {name: value.state_dict() for name, value in _stateful(run).items()}
    torch.save({**states, "generators": global_generators()}, path)


def _load(run: Training, path: Path) -> None:
    # It holds NumPy's generator, which is no plain data, and was written by this very process.
    content = torch.load(path, map_location="cpu", weights_only=False)
    for name, value in _stateful(run).items():
        value.load_state_dict(content[name])
    for name, position in content["generators"].items():
        set_global(name, position)
