"""How published detectors read an image: torchvision's transforms of a Pillow image, without torchvision.

Resize((n, n)) is Pillow's bilinear resizing, which shrinks with as wide a triangle as it needs; CenterCrop pads with
black.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

Pixels = NDArray[np.uint8]


def resize(image: Pixels, size: int) -> Pixels:
    """height x width x 3 -> size x size x 3, whatever the aspect ratio."""
    if image.shape[:2] == (size, size):
        return image
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))


def resize_tensor(pixels: Tensor, size: int) -> Tensor:
    """`resize` in torch: float (3, height, width) in [0, 255] -> (3, size, size).

    The values are those of `resize`, exactly, on the pixels rounded to whole numbers; the gradients are those of
    bilinear resizing without rounding to levels (Athalye et al. 2018, arXiv 1802.00420).
    """
    if tuple(pixels.shape[1:]) == (size, size):
        return pixels
    whole = pixels.detach().round().clamp(0, 255).to("cpu", torch.uint8).permute(1, 2, 0).contiguous()
    exact = torch.tensor(resize(whole.numpy(), size)).permute(2, 0, 1).to(pixels)
    smooth = F.interpolate(pixels[None], (size, size), mode="bilinear", antialias=True)[0]
    return smooth + (exact - smooth).detach()


def crop_or_black(image: Pixels, size: int, pad: bool = True) -> Pixels:
    """The centre size x size of an image; a smaller one in the middle of black, or as it is."""
    (top, left), padding = _places(image.shape[0], image.shape[1], size)
    if any(padding) and pad:
        image = np.pad(image, (padding[2:], padding[:2], (0, 0)))
    return image[top : top + size, left : left + size]


def crop_or_black_tensor(pixels: Tensor, size: int, pad: bool = True) -> Tensor:
    """`crop_or_black` in torch: (3, height, width) -> (3, size, size), the same pixels."""
    (top, left), padding = _places(pixels.shape[1], pixels.shape[2], size)
    padded = F.pad(pixels, padding) if pad else pixels
    return padded[:, top : top + size, left : left + size]


def even(image: Pixels) -> Pixels:
    """An image without its last row or column where it has an odd number of them."""
    height, width = image.shape[:2]
    return image[: height - height % 2, : width - width % 2]


def even_tensor(pixels: Tensor) -> Tensor:
    """`even` in torch: (3, height, width)."""
    height, width = pixels.shape[1:]
    return pixels[:, : height - height % 2, : width - width % 2]


def _places(height: int, width: int, size: int) -> tuple[tuple[int, int], tuple[int, int, int, int]]:
    """Top and left of torchvision's CenterCrop, in the padded image; what it pads: left, right, top, bottom."""
    tall, wide = max(0, size - height), max(0, size - width)
    padding = (wide // 2, (wide + 1) // 2, tall // 2, (tall + 1) // 2)
    return (round((height + tall - size) / 2), round((width + wide - size) / 2)), padding
