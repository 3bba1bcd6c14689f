"""The preprocessing steps that detectors share: pad, crop, normalise. Nothing here resizes.

The arithmetic is numpy's: these run in worker threads, where torch would start a team of threads of its own in each.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Colour = tuple[float, float, float]


def pad_to(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Reflect the borders (without repeating the edge, as albumentations' PadIfNeeded did) until both sides are at
    least `size`; the image stays in the middle. height x width x 3 in and out."""
    short = [max(0, size - side) for side in image.shape[:2]]
    if not any(short):
        return image
    return np.pad(image, [*((n // 2, n - n // 2) for n in short), (0, 0)], mode="reflect")


def centre_crop(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """The middle `size` x `size` pixels of an image that is at least that large."""
    top, left = ((side - size) // 2 for side in image.shape[:2])
    return image[top : top + size, left : left + size]


def normalise(image: NDArray[np.uint8], mean: Colour, std: Colour) -> Tensor:
    """uint8 height x width x 3 -> float32 (3, height, width): (pixel / 255 - mean) / std for each colour."""
    scale = np.asarray(std, dtype=np.float32) * np.float32(255)
    shift = np.divide(mean, std, dtype=np.float32)
    pixels = image.astype(np.float32)
    pixels /= scale
    pixels -= shift
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
