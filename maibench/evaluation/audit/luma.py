"""What traces of compression and resizing are looked for in: the luma of the middle of an image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from maibench.datasets.image import Pixels

SIDE = 384
"""At most so many pixels a side are looked at, those in the middle."""
SMALLEST = 64
"""An image with a shorter side says too little."""


def luma(pixels: Pixels) -> NDArray[np.float32]:
    """The luma of the middle of an image, not rounded, less 128 as JPEG has it: at most SIDE x SIDE, from a multiple of
    8 pixels to another, so that a grid of blocks lies where it lies in the image. pixels: uint8 (height, width, 3)."""
    (top, height), (left, width) = (_middle(length) for length in pixels.shape[:2])
    part = pixels[top : top + height, left : left + width]
    grey: NDArray[np.float32] = part[..., 0] * np.float32(0.299)
    grey += part[..., 1] * np.float32(0.587)
    grey += part[..., 2] * np.float32(0.114)
    grey -= np.float32(128)
    return grey


def _middle(length: int) -> tuple[int, int]:
    """Where the part that is looked at begins, and how long it is."""
    used = min(length, SIDE) // 8 * 8
    return (length - used) // 16 * 8, used
