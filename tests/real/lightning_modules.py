"""Modules of Lightning, trained by a real Trainer, and the ways in which its users save and load them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import torch
from lightning.fabric import Fabric
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelPruning, StochasticWeightAveraging
from lightning.pytorch.demos import boring_classes, lstm, transformer
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from torch import Tensor

GENERATOR = torch.Generator().manual_seed(0)
ROWS = torch.rand(8, 32, generator=GENERATOR)
LABELS = torch.arange(8) % 3
TOKENS = torch.randint(16, (8, 5), generator=GENERATOR)


class Classifier(pl.LightningModule):
    """A classifier with hyperparameters, metrics, and a learning rate that changes at every step."""

    def __init__(self, width: int = 8, classes: int = 3, dropout: float = 0.1) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.example_input_array = ROWS[:2]
        self.net: Any = nn.Sequential(
            nn.Linear(32, width), nn.BatchNorm1d(width), nn.GELU(), nn.Dropout(dropout), nn.Linear(width, classes)
        )
        self.loss = nn.CrossEntropyLoss(weight=torch.linspace(1, 2, classes))
        self.accuracy = MulticlassAccuracy(classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.net(x)
        return logits

    def training_step(self, batch: Any, _index: int) -> Tensor:
        rows, labels = batch
        logits = self(rows)
        loss: Tensor = self.loss(logits, labels)
        self.log_dict({"loss": loss, "accuracy": self.accuracy(logits, labels)})
        return loss

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=10)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class Measured(Classifier):
    """Its metrics belong to the checkpoint."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__(8, classes)
        self.save_hyperparameters()
        self.measures = MetricCollection([MulticlassAccuracy(classes), MulticlassF1Score(classes)], prefix="train_")
        self.mean = MeanMetric()
        self.measures.persistent(mode=True)
        self.mean.persistent(mode=True)

    def training_step(self, batch: Any, index: int) -> Tensor:
        loss = super().training_step(batch, index)
        self.measures.update(self(batch[0]), batch[1])
        self.mean.update(loss.detach())
        return loss


class Prepared(Classifier):
    """Its layers are made by `configure_model`, as large models are."""

    def __init__(self) -> None:
        super().__init__()
        self.net = None

    def configure_model(self) -> None:
        if self.net is None:
            self.net = nn.Sequential(nn.Linear(32, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 3))


class Calibrated(Classifier):
    """It carries a threshold and its labels over by the hooks for checkpoints."""

    def __init__(self) -> None:
        super().__init__()
        self.threshold, self.names = 0.0, ["?"] * 3

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) - self.threshold

    def on_train_end(self) -> None:
        self.threshold, self.names = 0.25, ["red", "green", "blue"]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint.update(threshold=self.threshold, names=self.names)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.threshold, self.names = checkpoint["threshold"], checkpoint["names"]


class Averaging(Classifier):
    """It predicts with an average of its weights, which it updates itself."""

    def __init__(self) -> None:
        super().__init__()
        self.average = AveragedModel(self.net, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.net(x) if self.training else self.average(x)
        return logits

    def on_train_batch_end(self, *_: Any) -> None:
        self.average.update_parameters(self.net)


class Adversarial(pl.LightningModule):
    """Two networks with an optimizer each, which are stepped by hand."""

    def __init__(self, latent: int = 32, width: int = 8) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.automatic_optimization = False
        self.generator = nn.Sequential(nn.Linear(latent, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, 32))
        self.critic = nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(32, 8)), nn.Linear(8, 1))

    def forward(self, noise: Tensor) -> Tensor:
        made: Tensor = self.generator(noise)
        return made

    def training_step(self, batch: Any, _index: int) -> None:
        rows, _ = batch
        optimizers: Any = self.optimizers()
        losses = (
            lambda: functional.softplus(-self.critic(self(torch.randn_like(rows)))).mean(),
            lambda: functional.softplus(self.critic(self(torch.randn_like(rows))) - self.critic(rows)).mean(),
        )
        for optimizer, loss in zip(optimizers, losses, strict=True):
            optimizer.zero_grad()
            self.manual_backward(loss())
            optimizer.step()

    def configure_optimizers(self) -> Any:
        return [torch.optim.Adam(one.parameters(), lr=1e-3, betas=(0.5, 0.9)) for one in (self.generator, self.critic)]


class Language(pl.LightningModule):
    """A language model whose head is its embedding."""

    def __init__(self, vocabulary: int = 16) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.embedding = nn.Embedding(vocabulary, 8)
        self.encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.head = nn.Linear(8, vocabulary, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.head(self.encoder(self.embedding(tokens)))
        return logits

    def training_step(self, batch: Any, _index: int) -> Tensor:
        (tokens,) = batch
        return functional.cross_entropy(self(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


class Transformer(transformer.LightningTransformer):
    """The demonstration, without its download."""

    def prepare_data(self) -> None:
        """Do nothing."""


class LSTM(lstm.LightningLSTM):
    """The demonstration, without its download."""

    def prepare_data(self) -> None:
        """Do nothing."""


# ---------------------------------------------------------------------------------------------------------------- ways

Kind = Any  # a subclass of LightningModule
LABELLED = [(ROWS[:4], LABELS[:4]), (ROWS[4:], LABELS[4:])]
PLAIN = [ROWS[:4], ROWS[4:]]
TEXT = [(TOKENS[:4],), (TOKENS[4:],)]
PAIRS = [(TOKENS[:4], TOKENS[:4]), (TOKENS[4:], TOKENS[4:])]

#: What is trained: a class, the arguments to build it with, the batches, and the inputs to compare the outputs on.
TRAINED: list[tuple[Kind, dict[str, Any], list[Any], Any]] = [
    (boring_classes.DemoModel, {}, PLAIN, ROWS),
    (Classifier, {}, LABELLED, ROWS),
    (boring_classes.BoringModel, {}, PLAIN, ROWS),
    (boring_classes.ManualOptimBoringModel, {}, PLAIN, ROWS),
    (Measured, {}, LABELLED, ROWS),
    (Averaging, {}, LABELLED, ROWS),
    (Adversarial, {}, LABELLED, ROWS),
    (Language, {}, TEXT, TOKENS),
    (Transformer, {"vocab_size": 16}, PAIRS, (TOKENS, TOKENS)),
    (LSTM, {"vocab_size": 16}, PAIRS, None),
]

#: Modules of Lightning's demonstrations that no Trainer trains.
UNTRAINED: list[tuple[Any, Any]] = [
    (partial(lstm.SimpleLSTM, 16, 8, 8, 2), (TOKENS, (torch.zeros(2, 8, 8), torch.zeros(2, 8, 8)))),
    (partial(transformer.Transformer, 16, 8, 2, 8, 1), (TOKENS, TOKENS)),
    (partial(transformer.PositionalEncoding, 8), torch.rand(2, 5, 8, generator=GENERATOR)),
    (boring_classes.Net, torch.rand(2, 1, 28, 28, generator=GENERATOR)),
]


def trainer(**words: Any) -> pl.Trainer:
    """Give a Trainer that runs on the CPU and neither writes nor prints anything."""
    return pl.Trainer(
        accelerator="cpu", devices=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, **{"max_epochs": 1, **words},
    )  # fmt: skip


def fit(module: Any, batches: Any, **words: Any) -> None:
    """Train a module as a `prepare` of `check_module`."""
    trainer(**words).fit(module, DataLoader(batches, batch_size=None))


def save(module: Any, path: Path, *, weights_only: bool = False) -> None:
    """Write the checkpoint that the module's Trainer writes."""
    module.trainer.save_checkpoint(path, weights_only=weights_only)


def build(kind: Kind, words: dict[str, Any]) -> Any:
    """Build a module."""
    return kind(**words)


def load(path: Path, kind: Kind, words: dict[str, Any]) -> Any:
    """Load a checkpoint of a Trainer, with the arguments that the module did not save as hyperparameters."""
    return kind.load_from_checkpoint(path, **words)


def fabric(**words: Any) -> Fabric:
    """Give a Fabric on the CPU."""
    return Fabric(accelerator="cpu", devices=1, **words)


def wrapped(kind: Kind, words: dict[str, Any], **more: Any) -> Any:
    """Build a module in Fabric's wrapper."""
    return fabric(**more).setup(kind(**words))


def save_with_fabric(module: Any, path: Path) -> None:
    """Write a checkpoint as loops of one's own do with Fabric."""
    fabric().save(path, {"model": module, "epoch": 3})


def load_with_fabric(path: Path, kind: Kind, words: dict[str, Any]) -> Any:
    """Load it."""
    module = wrapped(kind, words)
    fabric().load(path, {"model": module, "epoch": 0})
    return module


def compiled() -> Any:
    """Build a module that torch.compile has wrapped."""
    return torch.compile(Classifier(), backend="eager")


LABELLED_FIT: dict[str, Any] = {"prepare": partial(fit, batches=LABELLED)}


def ways() -> Iterator[tuple[str, Callable[[], nn.Module], Any, dict[str, Any]]]:
    """Give a name, a factory, inputs and further arguments of `check_module` for each module and way."""
    for kind, words, batches, inputs in TRAINED:
        make, trained = partial(build, kind, words), {"prepare": partial(fit, batches=batches)}
        from_file: dict[str, Any] = {"load": partial(load, kind=kind, words=words)}
        with_fabric = {"save": save_with_fabric, "load": partial(load_with_fabric, kind=kind, words=words)}
        name, fabrics = kind.__name__, partial(wrapped, kind, words)
        yield f"{name}-fresh", make, inputs, {}
        yield f"{name}-fit", make, inputs, trained
        yield f"{name}-fit-train", make, inputs, {**trained, "mode": "train"}
        yield f"{name}-checkpoint", make, inputs, {**trained, "save": save, **from_file}
        yield f"{name}-weights", make, inputs, {**trained, "save": partial(save, weights_only=True), **from_file}
        yield f"{name}-fabric", fabrics, inputs, {}
        yield f"{name}-fabric-file", fabrics, inputs, with_fabric
    yield from _with_callbacks()
    for kind in (Calibrated, Prepared):  # both are whole only in a checkpoint of their Trainer
        yield (
            f"{kind.__name__}-checkpoint",
            kind,
            ROWS,
            {**LABELLED_FIT, "save": save, "load": kind.load_from_checkpoint},
        )
    yield "Classifier-compiled", compiled, ROWS, {}
    for precision in ("64-true", "bf16-true", "16-true", "bf16-mixed"):
        yield f"Classifier-{precision}", partial(wrapped, Classifier, {}, precision=precision), ROWS, {}
    for make, inputs in UNTRAINED:
        yield getattr(make, "func", make).__name__, make, inputs, {}


def _with_callbacks() -> Iterator[tuple[str, Callable[[], nn.Module], Any, dict[str, Any]]]:
    """Give the callbacks that change the weights."""
    callbacks: dict[str, Callable[[], Any]] = {
        "average": partial(EMAWeightAveraging, decay=0.9),
        "swa": partial(StochasticWeightAveraging, swa_lrs=1e-2, swa_epoch_start=1),
        "pruned": partial(ModelPruning, "l1_unstructured", amount=0.5),
    }
    for name, callback in callbacks.items():

        def prepare(module: Any, callback: Callable[[], Any] = callback) -> None:
            fit(module, LABELLED, callbacks=[callback()], max_epochs=3)

        yield f"Classifier-{name}", Classifier, ROWS, {"prepare": prepare}
        file = {"save": save, "load": Classifier.load_from_checkpoint}
        yield f"Classifier-{name}-checkpoint", Classifier, ROWS, {"prepare": prepare, **file}
