"""The MAI CNN: three conv-pool stages and three linear layers on a 200 x 200 crop."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from maibench.models.base import Detector
from maibench.models.card import IMAGENET_MEAN, IMAGENET_STD, Card
from maibench.models.pixels import centre_crop, normalise, normalise_tensor, pad_tensor, pad_to, tensor_crop
from maibench.models.tiles import (
    check_whole,
    cut_tiles,
    mean_logits,
    resized,
    resized_tensor,
    stack_or_list,
    tile_slices,
)

SIZE = 200


class MaiCnn(Detector):
    """MAI's first network (github.com/athen-lab/mai): 3 x [conv 3x3 -> max-pool 2 -> ReLU], channels 3-16-32-64, then
    40,000 -> 120 -> 30 -> 1; 4,827,365 parameters. Pooling before the ReLU gives what pooling after it gives, for a
    quarter of the work.

    Options, of the test alone: crops: how many 200 x 200 crops are read (the centre one first, then on an even grid),
    whose logits are averaged; resize: pixels of the shorter side, to which every image is resized first.
    """

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

    def __init__(self, crops: int = 1, resize: int | None = None) -> None:
        super().__init__()
        check_whole("mai_cnn", "crops", crops, 1)
        if resize is not None:
            check_whole("mai_cnn", "resize", resize, 1)
        self.crops, self.resize = crops, resize
        channels = (3, 16, 32, 64)
        stages: list[nn.Module] = []
        for before, after in pairwise(channels):
            stages += [nn.Conv2d(before, after, 3, padding=1), nn.MaxPool2d(2), nn.ReLU()]
        self.features = nn.Sequential(*stages)
        self.head = nn.Sequential(
            nn.Flatten(), nn.Linear(40_000, 120), nn.ReLU(), nn.Linear(120, 30), nn.ReLU(), nn.Linear(30, 1)
        )
        self.to(memory_format=torch.channels_last)

    def facts(self) -> dict[str, str]:
        """What options of the test change of the card's input policy."""
        changes = [] if self.resize is None else [f"resized first, the shorter side to {self.resize}"]
        changes += [] if self.crops == 1 else [f"at most {self.crops} crops, their logits averaged"]
        return {"changed": "; ".join(changes)} if changes else {}

    def preprocess(self, image: NDArray[np.uint8]) -> Tensor:
        """uint8 height x width x 3 -> float32 (3, 200, 200), with several crops (crops, 3, 200, 200)."""
        padded = pad_to(resized(image, self.resize), SIZE)
        if self.crops == 1:
            return normalise(centre_crop(padded, SIZE), IMAGENET_MEAN, IMAGENET_STD)
        tiles = cut_tiles(padded, self.crops, SIZE)
        return torch.stack([normalise(tile, IMAGENET_MEAN, IMAGENET_STD) for tile in tiles])

    def differentiable(self, pixels: Tensor) -> Tensor:
        """`preprocess` in torch: float (3, height, width) in [0, 255] -> (3, 200, 200) or (crops, 3, 200, 200)."""
        pixels = resized_tensor(pixels, self.resize)
        if self.crops == 1:
            return normalise_tensor(tensor_crop(pixels, SIZE), IMAGENET_MEAN, IMAGENET_STD)
        padded = pad_tensor(pixels, SIZE)
        height, width = padded.shape[1:]
        places = tile_slices(height, width, self.crops, SIZE)
        tiles = torch.stack([padded[:, rows, columns] for rows, columns in places])
        return normalise_tensor(tiles, IMAGENET_MEAN, IMAGENET_STD)

    def collate(self, items: Sequence[Tensor]) -> Tensor | list[Tensor]:
        """One crop an image -> (n, 3, 200, 200); several stay a list."""
        return stack_or_list(items)

    def forward(self, batch: Tensor | Sequence[Tensor]) -> Tensor:
        """(n, 3, 200, 200), or a list of n images as `preprocess` returns them -> (n,) logits."""
        return self.run(batch) if isinstance(batch, Tensor) else mean_logits(self.run, batch)

    def tensor_logits(self, x: Tensor) -> Tensor:
        """(n, 3, 200, 200) -> (n,) logits, at once."""
        return self.head(self.features(x.contiguous(memory_format=torch.channels_last))).squeeze(1)
