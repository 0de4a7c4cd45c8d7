"""`lightning.Trainer` as a run: saved by `save_checkpoint`, resumed by `fit(ckpt_path=...)`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch

from pytest_ckpt.findings import UsageError
from pytest_ckpt.resume.adapters.stepping import BEGIN, END, SteppedRun

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class LightningRun(SteppedRun):
    """A Lightning trainer with its module and data; one step is one batch.

    Lightning saves the module, optimizers, schedulers, callbacks and the counts of its loops. It saves neither the
    generators of the process nor the place in the data within an epoch, unless the dataloader has a `state_dict`.
    """

    def __init__(self, trainer: Any, module: Any, *data: Any) -> None:
        """Take what `trainer.fit` takes."""
        super().__init__(trainer)
        self.module, self._data = module, data
        trainer.callbacks.append(self._pauses())

    @classmethod
    def of_tuple(cls, given: tuple[Any, ...]) -> LightningRun:
        """Make a run of `(trainer, module)` or `(trainer, module, data)`.

        Raises:
            UsageError: There is no module.
        """
        if len(given) < 2 or not isinstance(given[1], torch.nn.Module):  # noqa: PLR2004 -- trainer and module
            raise UsageError("training() gave a lightning Trainer without its module: return (trainer, module, data)")
        return cls(*given)

    def begin(self, checkpoint: Path | None) -> Callable[[], Any]:
        """Fit, from a checkpoint if there is one."""
        # Lightning's own file holds plain objects besides tensors, and was written by this very process.
        trusted = {"ckpt_path": str(checkpoint), "weights_only": False} if checkpoint else {}
        return lambda: self.trainer.fit(self.module, *self._data, **trusted)

    def save(self, path: Path) -> None:
        """Save as `ModelCheckpoint` does at the end of a batch."""
        self.trainer.save_checkpoint(path)

    def parts(self) -> dict[str, Any]:
        """Give what the run consists of."""
        trainer = self.trainer
        own = [one for one in trainer.callbacks if type(one).__module__.partition(".")[0] not in _LIBRARIES]
        return {
            "model": self.module,
            **_numbered("optimizer", trainer.optimizers),
            **_numbered("scheduler", [one.scheduler for one in trainer.lr_scheduler_configs]),
            "scaler": getattr(trainer.precision_plugin, "scaler", None),
            "callbacks": own,
        }

    def _pauses(self) -> Any:
        library = import_module(f"{type(self.trainer).__module__.partition('.')[0]}.pytorch")
        stepper, took = self._stepper, self.took

        class Pauses(library.Callback):  # type: ignore[misc,name-defined]
            def on_train_batch_start(self, *_words: Any) -> None:
                stepper.pause(BEGIN)

            def on_train_batch_end(self, trainer: Any, _module: Any, outputs: Any, batch: Any, _index: int) -> None:
                took(_loss(trainer, outputs), batch)
                stepper.pause(END)

        return Pauses()


_LIBRARIES = {"lightning", "pytorch_lightning", "pytest_ckpt"}


def _loss(trainer: Any, outputs: Any) -> tuple[float, ...]:
    """Give a step's loss, or with manual optimisation what the step has logged."""
    if isinstance(outputs, dict) and "loss" in outputs:
        outputs = outputs["loss"]
    if isinstance(outputs, torch.Tensor):
        return (float(outputs.detach()),)
    return tuple(float(value) for value in trainer.callback_metrics.values())


def _numbered(name: str, values: list[Any]) -> dict[str, Any]:
    return {name: values[0]} if len(values) == 1 else {f"{name}s": list(values)} if values else {}
