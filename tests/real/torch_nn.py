"""Every module class that torch.nn exports: how to build one, and what to call it with."""

from __future__ import annotations

import copy
import inspect
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor

# --------------------------------------------------------------------------------------------------------------- inputs


def floats(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


def integers(high: int, *shape: int) -> Tensor:
    return torch.randint(high, shape, generator=torch.Generator().manual_seed(0))


VECTORS = floats(3, 6)
SIGNALS, IMAGES, VOLUMES = SPATIAL = floats(2, 4, 8), floats(2, 4, 8, 8), floats(2, 4, 8, 8, 8)
SEQUENCES = floats(5, 2, 8)
TOKENS = integers(10, 2, 5)
SIGNS = VECTORS.sign()
PROBABILITIES = VECTORS.sigmoid()
CLASSES = integers(6, 3)


def pooled(dimensions: int) -> tuple[Tensor, Tensor]:
    pool = getattr(nn, f"MaxPool{dimensions}d")(2, return_indices=True)
    values, indices = pool(SPATIAL[dimensions - 1])
    return values, indices


# ---------------------------------------------------------------------------------------------------------------- table


@dataclass(frozen=True)
class Row:
    """How to build a class of torch.nn and what to call it with; `inputs` is None where it has no forward."""

    arguments: tuple[Any, ...] = ()
    inputs: Any = None
    keywords: dict[str, Any] = field(default_factory=dict)

    def build(self, name: str) -> nn.Module:
        module: nn.Module = getattr(nn, name)(*copy.deepcopy(self.arguments), **self.keywords)
        return module


def row(*arguments: Any, on: Any = None, **keywords: Any) -> Row:
    return Row(arguments, on, keywords)


def in_every_dimension(family: str, *arguments: Any, **keywords: Any) -> dict[str, Row]:
    return {f"{family}{n}d": row(*arguments, on=SPATIAL[n - 1], **keywords) for n in (1, 2, 3)}


POINTWISE = (
    *("AlphaDropout", "CELU", "Dropout", "ELU", "Flatten", "GELU", "GLU", "Hardshrink", "Hardsigmoid", "Hardswish"),
    *("Hardtanh", "Identity", "LeakyReLU", "LogSigmoid", "Mish", "PReLU", "RReLU", "ReLU", "ReLU6", "SELU", "SiLU"),
    *("Sigmoid", "Softplus", "Softshrink", "Softsign", "Tanh", "Tanhshrink"),
)
LOSSES = ("HuberLoss", "L1Loss", "MSELoss", "SmoothL1Loss")
OF_PROBABILITIES = ("BCELoss", "BCEWithLogitsLoss", "MultiLabelSoftMarginLoss")
OF_CLASSES = ("CrossEntropyLoss", "MultiMarginLoss", "NLLLoss")
OF_SIGNS = ("HingeEmbeddingLoss", "SoftMarginLoss")

TABLE: dict[str, Row] = {
    **dict.fromkeys(POINTWISE, row(on=VECTORS)),
    **dict.fromkeys(("LogSoftmax", "Softmax", "Softmin"), row(1, on=VECTORS)),
    "Threshold": row(0.1, 0.2, on=VECTORS),
    "Softmax2d": row(on=IMAGES),
    "FeatureAlphaDropout": row(on=IMAGES),
    # what comes for signals, images and volumes
    **in_every_dimension("AdaptiveAvgPool", 2),
    **in_every_dimension("AdaptiveMaxPool", 2),
    **in_every_dimension("AvgPool", 2),
    **in_every_dimension("LPPool", 2, 2),
    **in_every_dimension("MaxPool", 2),
    **in_every_dimension("CircularPad", 1),
    **in_every_dimension("ConstantPad", 1, 0.5),
    **in_every_dimension("ReflectionPad", 1),
    **in_every_dimension("ReplicationPad", 1),
    **in_every_dimension("ZeroPad", 1),
    **in_every_dimension("Dropout"),
    **in_every_dimension("Conv", 4, 3, 3),
    **in_every_dimension("ConvTranspose", 4, 3, 3),
    **in_every_dimension("LazyConv", 3, 3),
    **in_every_dimension("LazyConvTranspose", 3, 3),
    **in_every_dimension("BatchNorm", 4),
    **in_every_dimension("LazyBatchNorm"),
    **in_every_dimension("InstanceNorm", 4, affine=True, track_running_stats=True),
    **in_every_dimension("LazyInstanceNorm", affine=True, track_running_stats=True),
    **{f"MaxUnpool{n}d": row(2, on=pooled(n)) for n in (1, 2, 3)},
    "FractionalMaxPool2d": row(2, output_size=4, on=IMAGES),
    "FractionalMaxPool3d": row(2, output_size=4, on=VOLUMES),
    "Fold": row((4, 4), 2, on=floats(2, 8, 9)),
    "Unfold": row(2, on=IMAGES),
    "ChannelShuffle": row(2, on=IMAGES),
    "PixelShuffle": row(2, on=IMAGES),
    "PixelUnshuffle": row(2, on=IMAGES),
    "Unflatten": row(1, (2, 3), on=VECTORS),
    "Upsample": row(scale_factor=2, on=IMAGES),
    "UpsamplingBilinear2d": row(scale_factor=2, on=IMAGES),
    "UpsamplingNearest2d": row(scale_factor=2, on=IMAGES),
    # norms
    "CrossMapLRN2d": row(3, on=IMAGES),
    "GroupNorm": row(2, 4, on=IMAGES),
    "LayerNorm": row(6, on=VECTORS),
    "LocalResponseNorm": row(2, on=IMAGES),
    "RMSNorm": row(6, on=VECTORS),
    "SyncBatchNorm": row(4, on=IMAGES),
    # linear, embeddings, recurrent, attention
    "Bilinear": row(6, 6, 2, on=(VECTORS, VECTORS)),
    "LazyLinear": row(2, on=VECTORS),
    "Linear": row(6, 2, on=VECTORS),
    "Embedding": row(10, 4, on=TOKENS),
    "EmbeddingBag": row(10, 4, on=TOKENS),
    **dict.fromkeys(("GRU", "LSTM", "RNN"), row(8, 3, num_layers=2, bidirectional=True, on=SEQUENCES)),
    **dict.fromkeys(("GRUCell", "LSTMCell", "RNNCell"), row(6, 4, on=VECTORS)),
    "RNNBase": row("LSTM", 6, 4),
    "RNNCellBase": row(6, 4, bias=True, num_chunks=2),
    "MultiheadAttention": row(8, 2, on=(SEQUENCES, SEQUENCES, SEQUENCES)),
    "Transformer": row(8, 2, 1, 1, 16, on=(SEQUENCES, SEQUENCES)),
    "TransformerEncoderLayer": row(8, 2, 16, on=SEQUENCES),
    "TransformerDecoderLayer": row(8, 2, 16, on=(SEQUENCES, SEQUENCES)),
    "TransformerEncoder": row(nn.TransformerEncoderLayer(8, 2, 16), 2, enable_nested_tensor=False, on=SEQUENCES),
    "TransformerDecoder": row(nn.TransformerDecoderLayer(8, 2, 16), 2, on=(SEQUENCES, SEQUENCES)),
    # modules of modules, and what holds parameters only
    **dict.fromkeys(("Container", "Module"), row()),
    "DataParallel": row(nn.Linear(6, 2), on=VECTORS),
    "ModuleDict": row({"one": nn.Linear(6, 2), "other": nn.PReLU()}),
    "ModuleList": row([nn.Linear(6, 2), nn.PReLU()]),
    "ParameterDict": row({"one": VECTORS, "other": SIGNS}),
    "ParameterList": row([VECTORS, SIGNS]),
    "Sequential": row(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Dropout(), on=VECTORS),
    # losses and distances
    **dict.fromkeys(LOSSES, row(on=(VECTORS, VECTORS.flip(0)))),
    **dict.fromkeys(OF_PROBABILITIES, row(on=(PROBABILITIES, PROBABILITIES.round()))),
    **dict.fromkeys(OF_CLASSES, row(on=(VECTORS, CLASSES))),
    **dict.fromkeys(OF_SIGNS, row(on=(VECTORS, SIGNS))),
    "AdaptiveLogSoftmaxWithLoss": row(6, 6, cutoffs=[2, 4], div_value=2, on=(VECTORS, CLASSES)),
    "CTCLoss": row(on=(SEQUENCES.log_softmax(2), integers(7, 2, 3) + 1, torch.tensor([5, 5]), torch.tensor([3, 2]))),
    "CosineEmbeddingLoss": row(on=(VECTORS, VECTORS.flip(0), SIGNS[:, 0])),
    "CosineSimilarity": row(on=(VECTORS, VECTORS.flip(0))),
    "GaussianNLLLoss": row(on=(VECTORS, VECTORS.flip(0), PROBABILITIES)),
    "KLDivLoss": row(on=(VECTORS.log_softmax(1), PROBABILITIES)),
    "LinearCrossEntropyLoss": row(6, 6, on=(VECTORS, CLASSES)),
    "MarginRankingLoss": row(on=(VECTORS, VECTORS.flip(0), SIGNS)),
    "MultiLabelMarginLoss": row(on=(VECTORS, integers(6, 3, 6))),
    "NLLLoss2d": row(on=(IMAGES, integers(4, 2, 8, 8))),
    "PairwiseDistance": row(on=(VECTORS, VECTORS.flip(0))),
    "PoissonNLLLoss": row(on=(VECTORS, PROBABILITIES)),
    "TripletMarginLoss": row(on=(VECTORS, VECTORS.flip(0), VECTORS.flip(1))),
    "TripletMarginWithDistanceLoss": row(on=(VECTORS, VECTORS.flip(0), VECTORS.flip(1))),
}


def exported() -> dict[str, type[nn.Module]]:
    """Give the module classes that torch.nn exports, by name."""
    return {name: value for name, value in vars(nn).items() if inspect.isclass(value) and issubclass(value, nn.Module)}
