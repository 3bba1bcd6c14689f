"""The MAI CNN: three conv-pool stages and three linear layers on a 200 x 200 crop."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from maibench.models.base import Detector
from maibench.models.card import IMAGENET_MEAN, IMAGENET_STD, Card
from maibench.models.pixels import centre_crop, normalise, normalise_tensor, pad_to, tensor_crop

SIZE = 200


class MaiCnn(Detector):
    """MAI's first network (github.com/athen-lab/mai): 3 x [conv 3x3 -> max-pool 2 -> ReLU], channels 3-16-32-64, then
    40,000 -> 120 -> 30 -> 1; 4,827,365 parameters. Pooling before the ReLU gives what pooling after it gives, for a
    quarter of the work."""

    concurrent: ClassVar[bool] = True
    cpu_chunk: ClassVar[int | None] = 8
    card = Card(
        name="mai_cnn",
        summary="three conv-pool stages and three linear layers",
        licence="Apache-2.0 (code and weights; the architecture is MAI's)",
        reference="https://github.com/athen-lab/mai",
        parameters=4_827_365,
        input_size=SIZE,
        input_policy="centre crop of 200 x 200; smaller images are padded by reflection; nothing is resized",
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )

    def __init__(self) -> None:
        super().__init__()
        channels = (3, 16, 32, 64)
        stages: list[nn.Module] = []
        for before, after in pairwise(channels):
            stages += [nn.Conv2d(before, after, 3, padding=1), nn.MaxPool2d(2), nn.ReLU()]
        self.features = nn.Sequential(*stages)
        self.head = nn.Sequential(
            nn.Flatten(), nn.Linear(40_000, 120), nn.ReLU(), nn.Linear(120, 30), nn.ReLU(), nn.Linear(30, 1)
        )
        self.to(memory_format=torch.channels_last)

    def preprocess(self, image: NDArray[np.uint8]) -> Tensor:
        """uint8 height x width x 3 -> float32 (3, 200, 200)."""
        return normalise(centre_crop(pad_to(image, SIZE), SIZE), IMAGENET_MEAN, IMAGENET_STD)

    def differentiable(self, pixels: Tensor) -> Tensor:
        """`preprocess` in torch: float (3, height, width) in [0, 255] -> (3, 200, 200)."""
        return normalise_tensor(tensor_crop(pixels, SIZE), IMAGENET_MEAN, IMAGENET_STD)

    def forward(self, batch: Tensor) -> Tensor:
        """(n, 3, 200, 200) -> (n,) logits."""
        return self.run(batch)

    def tensor_logits(self, x: Tensor) -> Tensor:
        """(n, 3, 200, 200) -> (n,) logits, at once."""
        return self.head(self.features(x.contiguous(memory_format=torch.channels_last))).squeeze(1)
