"""What the detectors of the literature have in common: official weights, and two published ways to read an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from maibench.errors import ImageError, MaibenchError
from maibench.models.base import Detector
from maibench.models.baselines.inputs import (
    crop_or_black,
    crop_or_black_tensor,
    even,
    even_tensor,
    resize,
    resize_tensor,
)
from maibench.models.card import IMAGENET_MEAN, IMAGENET_STD
from maibench.models.pixels import Colour, normalise, normalise_tensor

SIZE = 256
SMALLEST = 32
RESIZED = f"resized to {SIZE} x {SIZE} (bilinear, whatever the aspect ratio), no crop"
NATIVE = f"native resolution, an odd last row or column left out; under {SMALLEST} pixels a side: refused"


class Published(Detector):
    """A detector whose authors published its weights: `network`'s tensors have the names of the official file.

    A batch is (n, 3, height, width), or a list of n images of several sizes.
    """

    concurrent: ClassVar[bool] = True
    cpu_chunk: ClassVar[int | None] = 4
    network: nn.Module

    def rename_official(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Official names are those of `network` alone."""
        own = self.state_dict()
        return {name if name in own else f"network.{name}": tensor for name, tensor in tensors.items()}

    def collate(self, items: Sequence[Tensor]) -> Tensor | list[Tensor]:
        """Images of one size -> (n, 3, h, w); images of several sizes stay a list."""
        if all(item.shape == items[0].shape for item in items):
            return torch.stack(list(items))
        return list(items)

    def forward(self, batch: Tensor | Sequence[Tensor]) -> Tensor:
        """(n, 3, height, width), or a list of n images of several sizes -> (n,) logits."""
        if isinstance(batch, Tensor):
            return self.run(batch)
        logits: list[Tensor] = [batch[0].new_empty(())] * len(batch)
        for shape in dict.fromkeys(item.shape for item in batch):
            members = [index for index, item in enumerate(batch) if item.shape == shape]
            for index, logit in zip(members, self.run(torch.stack([batch[i] for i in members])), strict=True):
                logits[index] = logit
        return torch.stack(logits)

    def tensor_logits(self, x: Tensor) -> Tensor:
        """(n, 3, height, width) -> (n,) logits, at once."""
        return self.network(x).squeeze(1)


class Cropped(Published):
    """A published detector that reads a centre crop, of small images one with black around them; or, with pad=False,
    small images as they are. side: of the crop. mean, std: of the normalisation."""

    side: ClassVar[int]
    mean: ClassVar[Colour] = IMAGENET_MEAN
    std: ClassVar[Colour] = IMAGENET_STD

    def __init__(self, *, pad: bool = True) -> None:
        super().__init__()
        self.pad = checked_bool(self.card.name, "pad", pad)
        if not pad:
            self.card = self.card.updated(input_size=None, input_policy=cropped(self.side, pad=False))

    def preprocess(self, image: NDArray[np.uint8]) -> Tensor:
        """uint8 height x width x 3 -> float32 (3, side, side); without `pad` at most that."""
        if not self.pad:
            check_size(*image.shape[:2])
        return normalise(crop_or_black(image, self.side, self.pad), self.mean, self.std)

    def differentiable(self, pixels: Tensor) -> Tensor:
        """`preprocess` in torch: float (3, height, width) in [0, 255] -> (3, side, side), or at most that."""
        if not self.pad:
            check_size(*pixels.shape[1:])
        return normalise_tensor(crop_or_black_tensor(pixels, self.side, self.pad), self.mean, self.std)


class ResizedOrNative(Published):
    """A published detector that reads images resized to 256 x 256, or, with resize=False, at native resolution."""

    def __init__(self, *, resize: bool = True) -> None:
        super().__init__()
        self.resize = checked_bool(self.card.name, "resize", resize)
        if not resize:
            self.card = self.card.updated(input_size=None, input_policy=NATIVE)

    def preprocess(self, image: NDArray[np.uint8]) -> Tensor:
        """uint8 height x width x 3 -> float32 (3, 256, 256), or (3, height, width) of even sides."""
        if not self.resize:
            check_size(*image.shape[:2])
        return normalise(resize(image, SIZE) if self.resize else even(image), IMAGENET_MEAN, IMAGENET_STD)

    def differentiable(self, pixels: Tensor) -> Tensor:
        """`preprocess` in torch: float (3, height, width) in [0, 255] -> (3, 256, 256), or of even sides."""
        if not self.resize:
            check_size(*pixels.shape[1:])
        read = resize_tensor(pixels, SIZE) if self.resize else even_tensor(pixels)
        return normalise_tensor(read, IMAGENET_MEAN, IMAGENET_STD)


def cropped(side: int, pad: bool = True) -> str:
    """The card's words for what a `Cropped` detector reads."""
    small = "in the middle of black" if pad else "as they are"
    refused = "" if pad else f"; under {SMALLEST} pixels a side: refused"
    return f"centre crop of {side} x {side}; smaller images {small}; nothing is resized{refused}"


def check_size(height: int, width: int) -> None:
    """Raise ImageError for an image that is too small to be read at native resolution."""
    if min(height, width) < SMALLEST:
        raise ImageError(f"the image is {width} x {height}; at native resolution it needs {SMALLEST} x {SMALLEST}")


def checked_bool(name: str, option: str, value: object) -> bool:
    """An option of detector `name` that is true or false. Raises MaibenchError for anything else."""
    if not isinstance(value, bool):
        raise MaibenchError(f"{name}: the option {option} is {value!r}; use true or false")
    return value
