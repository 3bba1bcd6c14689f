"""MAI's residual variant: 3/4/6/3 basic blocks on a 224 x 224 crop."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from maibench.models.base import Detector
from maibench.models.card import IMAGENET_MEAN, IMAGENET_STD, Card
from maibench.models.pixels import centre_crop, normalise, normalise_tensor, pad_to, tensor_crop

SIZE = 224
GROUPS = ((64, 3), (128, 4), (256, 6), (512, 3))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch normalisation around a shortcut (He et al. 2015, arXiv 1512.03385)."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(before, after, 3, stride, padding=1),
            nn.BatchNorm2d(after),
            nn.ReLU(inplace=True),
            nn.Conv2d(after, after, 3, padding=1),
            nn.BatchNorm2d(after),
        )
        self.shortcut = (
            nn.Identity() if stride == 1 else nn.Sequential(nn.Conv2d(before, after, 1, stride), nn.BatchNorm2d(after))
        )

    def forward(self, x: Tensor) -> Tensor:
        return (self.body(x) + self.shortcut(x)).relu()


class MaiResnet(Detector):
    """MAI's ResNet-34-shaped network (github.com/athen-lab/mai, resnet/resnet.py): a 3x3 stem with stride 2 and padding
    3, without normalisation or ReLU; max-pool 3/2; 3, 4, 6 and 3 basic blocks of 64 to 512 channels with biases in
    every convolution; average-pool 3; 2,048 -> 1. Its quirks are kept: they are its architecture."""

    concurrent: ClassVar[bool] = True
    card = Card(
        name="mai_resnet",
        summary="3/4/6/3 residual blocks in the shape of ResNet-34",
        licence="Apache-2.0 (code; the architecture is MAI's)",
        reference="https://github.com/athen-lab/mai",
        input_size=SIZE,
        input_policy="centre crop of 224 x 224; smaller images are padded by reflection; nothing is resized",
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 64, 3, stride=2, padding=3), nn.MaxPool2d(3, stride=2))
        blocks: list[nn.Module] = []
        before = 64
        for channels, count in GROUPS:
            for index in range(count):
                blocks.append(BasicBlock(before, channels, stride=2 if index == 0 and channels != 64 else 1))
                before = channels
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Sequential(nn.AvgPool2d(3), nn.Flatten(), nn.Linear(2048, 1))

    def preprocess(self, image: NDArray[np.uint8]) -> Tensor:
        """uint8 height x width x 3 -> float32 (3, 224, 224)."""
        return normalise(centre_crop(pad_to(image, SIZE), SIZE), IMAGENET_MEAN, IMAGENET_STD)

    def differentiable(self, pixels: Tensor) -> Tensor:
        """`preprocess` in torch: float (3, height, width) in [0, 255] -> (3, 224, 224)."""
        return normalise_tensor(tensor_crop(pixels, SIZE), IMAGENET_MEAN, IMAGENET_STD)

    def forward(self, batch: Tensor) -> Tensor:
        """(n, 3, 224, 224) -> (n,) logits."""
        return self.head(self.blocks(self.stem(batch))).squeeze(1)
