"""A detector that cannot be used: every image fails with the reason."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from maibench.errors import ImageError
from maibench.models.base import Detector
from maibench.models.card import Card


class Broken(Detector):
    """Stands in the row of a detector that was asked for and cannot be used. reason: why not."""

    concurrent: ClassVar[bool] = True

    def __init__(self, *, name: str, reason: str) -> None:
        super().__init__()
        self.reason = reason
        self.card = Card(name=name, notes=reason)
        self.built_from = name

    def preprocess(self, image: NDArray[np.uint8]) -> Tensor:
        """Raises ImageError."""
        raise ImageError(self.reason)
