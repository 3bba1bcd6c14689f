"""Detectors of which the answer is known beforehand; the tests name them as FILE.py:Class, as a user names his own."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import maibench


class Brightness(maibench.Detector):
    """logit = (mean of all values - middle) / 10: images brighter than `middle` are called synthetic."""

    card = maibench.Card(name="brightness", summary="how bright it is", trained_on=("gen-a",))

    def __init__(self, middle: float = 127.5) -> None:
        super().__init__()
        self.register_buffer("middle", torch.tensor(float(middle), dtype=torch.float64))

    def preprocess(self, image: NDArray[np.uint8]) -> Tensor:
        return torch.tensor(float(image.mean()), dtype=torch.float64)

    def forward(self, batch: Tensor) -> Tensor:
        return (batch - self.middle) / 10


class Attackable(Brightness):
    """Brightness that gradients reach."""

    card = maibench.Card(name="attackable")

    def differentiable(self, pixels: Tensor) -> Tensor:
        return pixels.double().mean()


class RaisesInAttack(Brightness):
    card = maibench.Card(name="raises_in_attack")

    def differentiable(self, pixels: Tensor) -> Tensor:
        raise ValueError("no gradient today")


class Slow(Brightness):
    """Brightness that takes `seconds` a batch, and makes the file `started` when it begins with its first."""

    card = maibench.Card(name="slow")

    def __init__(self, seconds: float = 0.1, started: str = "") -> None:
        super().__init__()
        self.seconds, self.started = seconds, started

    def forward(self, batch: Tensor) -> Tensor:
        if self.started:
            Path(self.started).touch()
        time.sleep(self.seconds)
        return super().forward(batch)


class Killed(Brightness):
    """Brightness whose process is killed in its third batch, once: then there is the file `marker`."""

    card = maibench.Card(name="killed")

    def __init__(self, marker: str = "") -> None:
        super().__init__()
        self.marker, self.batches = marker, 0

    def forward(self, batch: Tensor) -> Tensor:
        self.batches += 1
        if self.batches == 3 and not Path(self.marker).exists():
            Path(self.marker).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(batch)


class Homesick(Brightness):
    """Brightness that can be read in the process that made it alone."""

    card = maibench.Card(name="homesick")

    def __init__(self) -> None:
        super().__init__()
        self.home = os.getpid()

    def __setstate__(self, state: dict) -> None:
        if state["home"] != os.getpid():
            raise ImportError("No module named 'home'")
        super().__setstate__(state)


class Rooted(Brightness):
    """Brightness that cannot be pickled."""

    card = maibench.Card(name="rooted")

    def __init__(self) -> None:
        super().__init__()
        self.root = threading.Lock()


class Broken(Brightness):
    card = maibench.Card(name="broken")

    def forward(self, batch: Tensor) -> Tensor:
        raise RuntimeError("out of order")


class NanDetector(Brightness):
    """NaN for every image darker than the middle."""

    card = maibench.Card(name="nan")

    def forward(self, batch: Tensor) -> Tensor:
        logits = super().forward(batch)
        return torch.where(logits > 0, logits, torch.nan)


class WrongShape(Brightness):
    """Two numbers an image, as a softmax classifier has them."""

    card = maibench.Card(name="wrong_shape")

    def forward(self, batch: Tensor) -> Tensor:
        return torch.stack([batch, -batch], dim=1)


class RaisesInPreprocess(Brightness):
    card = maibench.Card(name="raises_in_preprocess")

    def preprocess(self, image: NDArray[np.uint8]) -> Tensor:
        raise ValueError("no such colour")


class NoCard(maibench.Detector):
    pass


class NotADetector:
    pass
