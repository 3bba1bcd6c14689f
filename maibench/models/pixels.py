"""The preprocessing steps that detectors share: pad, crop, normalise. Nothing here resizes.

The arithmetic is numpy's: these run in worker threads, where torch would start a team of threads of its own in each.
`tensor_crop` and `normalise_tensor` do the same in torch, for gradients.
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


def tensor_crop(pixels: Tensor, size: int) -> Tensor:
    """`pad_to` and `centre_crop` in torch: (3, height, width) -> (3, size, size), the same pixels."""
    rows, columns = (torch.from_numpy(_shown(side, size)).to(pixels.device) for side in pixels.shape[1:])
    return pixels[:, rows][:, :, columns]


def pad_tensor(pixels: Tensor, size: int) -> Tensor:
    """`pad_to` in torch: (3, height, width) -> both sides at least `size`, the same pixels."""
    rows, columns = (torch.from_numpy(_padded(side, size)).to(pixels.device) for side in pixels.shape[1:])
    return pixels[:, rows][:, :, columns]


def normalise_tensor(pixels: Tensor, mean: Colour, std: Colour) -> Tensor:
    """`normalise` in torch: float (..., 3, height, width) in [0, 255] -> the same shape; of float32 the same bits."""
    deviation = torch.tensor(std, dtype=pixels.dtype)
    shift = torch.tensor(mean, dtype=pixels.dtype) / deviation
    scale, shift = (each[:, None, None].to(pixels.device) for each in (deviation * 255, shift))
    return pixels / scale - shift


def _shown(side: int, size: int) -> NDArray[np.int64]:
    """Which of `side` pixels in a row a padded centre crop of `size` shows."""
    padded = _padded(side, size)
    start = (len(padded) - size) // 2
    return padded[start : start + size]


def _padded(side: int, size: int) -> NDArray[np.int64]:
    """Which of `side` pixels stand in a row that `pad_to` made."""
    short = max(0, size - side)
    return np.pad(np.arange(side), (short // 2, short - short // 2), mode="reflect")
