"""A detector of seven numbers, for trainings that take no time; the fixture `tiny` installs it as a plug-in."""

from __future__ import annotations

import os

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import maibench


class Tiny(maibench.Detector):
    """A linear function of how much neighbouring pixels differ, down and across, in each colour: less where an image
    was enlarged. dropout: of those six numbers, in training."""

    card = maibench.Card(name="tiny", summary="how much neighbouring pixels differ")

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(6, 1)

    def preprocess(self, image: NDArray[np.uint8]) -> Tensor:
        pixels = image.astype(np.float32) / 10
        return torch.from_numpy(np.concatenate([np.abs(np.diff(pixels, axis=axis)).mean((0, 1)) for axis in (0, 1)]))

    def forward(self, batch: Tensor) -> Tensor:
        return self.linear(self.dropout(batch)).squeeze(1)


class Breaking(Tiny):
    """Tiny whose `what` ("loss", or "gradient" alone) is not a number when the loss is asked for the `at`-th time;
    process: in this one of several processes alone."""

    card = maibench.Card(name="tiny_breaking")

    def __init__(self, what: str = "loss", at: int = 1, process: int = 0) -> None:
        super().__init__()
        self.what, self.at, self.asked = what, at, 0
        self.is_here = int(os.environ.get("RANK", 0)) == process

    def loss(self, batch: Tensor, labels: Tensor) -> Tensor:
        self.asked += 1
        loss = super().loss(batch, labels)
        if self.asked == self.at and self.is_here:
            zero = self.linear.weight.sum() * 0
            loss = loss + (zero / 0 if self.what == "loss" else zero.sqrt())
        return loss
