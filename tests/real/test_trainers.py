"""Real trainers of other libraries, driven through their own checkpointing: bit for bit, and their documented gaps."""

from __future__ import annotations

import tempfile
import warnings
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
import transformers
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset
from transformers.trainer_callback import ExportableState

from pytest_ckpt import UsageError, check_resume

X = torch.randn(16, 4, generator=torch.Generator().manual_seed(1))
Y = torch.randn(16, 1, generator=torch.Generator().manual_seed(2))
CONFIG = transformers.GPT2Config(
    vocab_size=11, n_positions=8, n_embd=8, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0
)


class Module(pl.LightningModule):
    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 6), nn.Dropout(dropout), nn.Linear(6, 1))
        self.seen = 0

    def training_step(self, batch: Any, _index: int) -> Any:
        self.seen += 1
        x, y = batch
        return functional.mse_loss(self.net(x), y)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=0.01)
        return [optimizer], [{"scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 2), "interval": "step"}]


class Forgetful(Module):
    """Its loss depends on a count that is in no checkpoint."""

    def training_step(self, batch: Any, index: int) -> Any:
        return super().training_step(batch, index) / self.seen


def lightning(module: Any = Module, batch_size: int = 4, *, shuffle: bool = False, **words: Any) -> Any:
    def training() -> Any:
        trainer = pl.Trainer(
            accelerator="cpu", devices=1, max_epochs=4, logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        return trainer, module(**words), DataLoader(TensorDataset(X, Y), batch_size, shuffle=shuffle)

    return training


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def test_lightning_resumes_bit_for_bit_at_the_end_of_an_epoch():
    report = check_resume(lightning(), steps=8, resume_at=4)
    assert report.ok, report.text()
    assert (report.subject, report.entries) == ("Module", 4)


def test_lightning_loses_the_place_in_an_epoch():
    report = check_resume(lightning(), steps=6, resume_at=2)
    assert [(one.category, one.key) for one in report.findings] == [("data-position", "train_dataloader")], (
        report.text()
    )


def test_lightning_loses_the_generators():
    report = check_resume(lightning(dropout=0.5), steps=8, resume_at=4)
    assert [(one.category, one.key) for one in report.findings] == [("rng-state", "torch")], report.text()


def test_lightning_loses_attributes_of_the_module():
    report = check_resume(lightning(Forgetful), steps=8, resume_at=4)
    assert [one.key for one in report.findings] == ["seen"], report.text()


def test_lightning_that_ends_too_early_is_one_message():
    with pytest.raises(UsageError, match=r"the Trainer ended after 16 steps: let it make more"):
        check_resume(lightning(), steps=20, resume_at=4)


class Rows(torch.utils.data.Dataset[Any]):
    def __len__(self) -> int:
        return 16

    def __getitem__(self, index: int) -> Any:
        tokens = torch.tensor([(index * 3 + at) % 11 for at in range(6)])
        return {"input_ids": tokens, "labels": tokens}


def huggingface(trainer: Any = transformers.Trainer, callback: Any = None, **words: Any) -> Any:
    def training() -> Any:
        arguments = transformers.TrainingArguments(
            output_dir="unused", per_device_train_batch_size=2, max_steps=20, report_to=[], use_cpu=True,
            disable_tqdm=True, save_strategy="no", logging_strategy="no", learning_rate=0.01, **words,
        )  # fmt: skip
        model, callbacks = transformers.GPT2LMHeadModel(CONFIG), [callback()] if callback else []
        return trainer(model=model, args=arguments, train_dataset=Rows(), callbacks=callbacks)

    return training


class Counting(transformers.Trainer):
    """Its loss depends on a count that is in no checkpoint."""

    def __init__(self, *words: Any, **more: Any) -> None:
        super().__init__(*words, **more)
        self.rounds = 0

    def compute_loss(self, *words: Any, **more: Any) -> Any:
        self.rounds += 1
        loss: Any = super().compute_loss(*words, **more)
        return loss / self.rounds


def test_transformers_resumes_bit_for_bit_in_the_middle_of_an_epoch(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    report = check_resume(huggingface(), steps=4, resume_at=2)
    assert report.ok, report.text()
    assert list(tmp_path.glob("pytest-ckpt-*")) == []  # of the folders that the trainers write to


def test_transformers_that_skips_no_data_is_found():
    report = check_resume(huggingface(ignore_data_skip=True), steps=4, resume_at=2)
    assert ("data-position", "train_dataloader") in [(one.category, one.key) for one in report.findings], report.text()


def test_transformers_that_saves_the_model_alone_is_found():
    report = check_resume(huggingface(save_only_model=True), steps=4, resume_at=2)
    assert "optimizer-state" in {one.category for one in report.findings}, report.text()


def test_transformers_loses_attributes_of_the_trainer():
    report = check_resume(huggingface(Counting), steps=4, resume_at=2)
    assert [one.key for one in report.findings] == ["trainer.rounds"], report.text()


class Decaying(transformers.TrainerCallback, ExportableState):
    """Raises the weight decay with each step, and has the trainer save how far it is."""

    def __init__(self, steps: int = 0) -> None:
        self.steps = steps

    def state(self) -> dict[str, Any]:
        return {"args": {}, "attributes": {"steps": self.steps}}

    def on_step_end(self, args: Any, state: Any, control: Any, **parts: Any) -> None:
        self.steps += 1
        for group in parts["optimizer"].param_groups:
            group["weight_decay"] = 0.05 * self.steps


@pytest.mark.parametrize("restored", [True, False])
def test_transformers_restores_callbacks_if_it_is_told_to(restored):
    report = check_resume(huggingface(callback=Decaying, restore_callback_states_from_checkpoint=restored))
    assert [one.category for one in report.findings] == ([] if restored else ["step-counter"]), report.text()
