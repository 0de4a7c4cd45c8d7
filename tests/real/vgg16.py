"""VGG16 as Simonyan and Zisserman describe it (configuration D of arXiv:1409.1556), written out.

The names of its entries are those of torchvision's `vgg16`, so its published weights fit.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

CHANNELS_OF_THE_BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
POOLED = 7


class VGG16(nn.Module):
    """Thirteen 3x3 convolutions in five blocks, each block halving the image, then three linear layers.

    Args:
        classes: Number of outputs.
        width: Width of the two hidden linear layers; 4096 in the paper.
    """

    def __init__(self, classes: int = 1000, width: int = 4096) -> None:
        super().__init__()
        self.features = nn.Sequential(*_blocks())
        self.avgpool = nn.AdaptiveAvgPool2d(POOLED)
        self.classifier = nn.Sequential(
            nn.Linear(CHANNELS_OF_THE_BLOCKS[-1][-1] * POOLED * POOLED, width),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(width, width),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(width, classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Give the logits.

        Args:
            images: `[batch, 3, height, width]`, at least 32 pixels high and wide.
        """
        pooled: Tensor = self.avgpool(self.features(images))
        logits: Tensor = self.classifier(pooled.flatten(1))
        return logits


def _blocks() -> Iterator[nn.Module]:
    before = 3
    for block in CHANNELS_OF_THE_BLOCKS:
        for incoming, outgoing in pairwise((before, *block)):
            yield nn.Conv2d(incoming, outgoing, kernel_size=3, padding=1)
            yield nn.ReLU(inplace=True)
        yield nn.MaxPool2d(kernel_size=2, stride=2)
        before = block[-1]
