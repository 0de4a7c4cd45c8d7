"""`transformers.Trainer` as a run: saved where it saves by itself, resumed by `train(resume_from_checkpoint=...)`."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import finalize

import transformers

from pytest_ckpt.resume.adapters.stepping import BEGIN, END, SteppedRun, attributes_of_subclass

if TYPE_CHECKING:
    from collections.abc import Callable


class TransformersRun(SteppedRun):
    """A Hugging Face trainer; one step is one step of its optimizer.

    The trainer saves model, optimizer, scheduler, its own state and the generators of the process, and goes through the
    data again up to where it was, unless `ignore_data_skip` is set or the checkpoint holds the model alone.
    """

    def __init__(self, trainer: Any) -> None:
        """Take over a trainer; checkpoints go to a temporary folder instead of its `output_dir`."""
        super().__init__(trainer)
        self._folder = tempfile.mkdtemp(prefix="pytest-ckpt-")
        self._remove = finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        trainer.args.output_dir = self._folder
        self._asked: list[bool] = []
        self._seen: list[tuple[float, Any]] = []
        self._watch_steps()
        trainer.add_callback(self._pauses())

    def begin(self, checkpoint: Path | None) -> Callable[[], Any]:
        """Train, from a checkpoint if there is one."""
        return lambda: self.trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)

    def save(self, path: Path) -> None:
        """Let the trainer save a checkpoint of its own, and copy it."""
        self._asked.append(True)
        self._stepper.go_on()
        written = Path(self._folder) / f"checkpoint-{self.trainer.state.global_step}"
        shutil.copytree(written, path)

    def close(self) -> None:
        """End the training, and remove its checkpoints."""
        super().close()
        self._remove()

    def parts(self) -> dict[str, Any]:
        """Give what the run consists of, without what accelerate wraps around it."""
        trainer = self.trainer
        own = [one for one in trainer.callback_handler.callbacks if not _is_librarys(one)]
        return {
            "model": trainer.model,
            "optimizer": _unwrapped(trainer.optimizer, "optimizer"),
            "scheduler": _unwrapped(trainer.lr_scheduler, "scheduler"),
            "scaler": getattr(trainer.accelerator, "scaler", None),
            "callbacks": own,
        }

    def own_attributes(self) -> dict[str, Any]:
        """Give what the user's subclass has put into the trainer."""
        return attributes_of_subclass(self.trainer, transformers.Trainer)

    def _watch_steps(self) -> None:
        """Take note of what each step gets and gives."""
        original, seen = self.trainer.training_step, self._seen

        def training_step(model: Any, inputs: Any, *words: Any, **more: Any) -> Any:
            loss = original(model, inputs, *words, **more)
            seen.append((float(loss.detach()), inputs))
            return loss

        self.trainer.training_step = training_step

    def _pauses(self) -> Any:
        stepper, asked, took, seen = self._stepper, self._asked, self.took, self._seen
        handler = self.trainer.callback_handler

        class Pauses(transformers.TrainerCallback):
            def on_train_begin(self, *_words: Any, **_more: Any) -> None:
                """Come last again: those that resuming has built anew come after it."""
                handler.callbacks = [*(one for one in handler.callbacks if one is not self), self]

            def on_step_begin(self, *_words: Any, **_more: Any) -> None:
                stepper.pause(BEGIN)

            def on_step_end(self, args: Any, state: Any, control: Any, **_more: Any) -> None:  # noqa: ARG002 -- as called
                took(tuple(loss for loss, _ in seen), [inputs for _, inputs in seen])
                seen.clear()
                stepper.pause(END)
                if asked:
                    control.should_save = True

            def on_save(self, *_words: Any, **_more: Any) -> None:
                if asked:
                    asked.clear()
                    stepper.pause(END)

        return Pauses()


def _is_librarys(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] in {"transformers", "pytest_ckpt"}


def _unwrapped(value: Any, name: str) -> Any:
    """Give what accelerate has wrapped."""
    return getattr(value, name) if type(value).__module__.startswith("accelerate") else value
