"""From an original to the crop that `wild` lists, and whether it became that crop."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from maibench.datasets.image import Pixels, decode, parse_file
from maibench.datasets.storage import Storage
from maibench.errors import ImageError

BYTE_EQUAL, PIXEL_EQUAL, CLOSE = "byte-equal", "pixel-equal", "within 1 level"
BLOCKS = 4
"""Blocks a side whose mean colours are listed."""
TOLERANCE = 1.0


def cut(original: bytes, row: Any) -> bytes:
    """The JPEG file of the crop that `row` (of the list) describes: upright, at native resolution, nothing resized.

    Raises ImageError where the original cannot be decoded or does not hold the box.
    """
    pixels = decode(parse_file(row.origin_path, original).data)
    box = pixels[row.crop_top : row.crop_top + row.height, row.crop_left : row.crop_left + row.width]
    if box.shape[:2] != (row.height, row.width):
        raise ImageError(f"the original has {pixels.shape[1]} x {pixels.shape[0]} pixels and does not hold the crop")
    options = {"quality": row.jpeg_quality, "subsampling": row.jpeg_subsampling}
    # the listed crops were written by Pillow from the opened original, which hands its JPEG comment on
    if comment := Image.open(io.BytesIO(original)).info.get("comment"):
        options["comment"] = comment
    return Storage("jpeg", "JPEG", ".jpg", 65500, options).encode(np.ascontiguousarray(box))


def agreement(crop: bytes, row: Any) -> str:
    """How far a crop is the listed one: BYTE_EQUAL, PIXEL_EQUAL, or CLOSE.

    CLOSE: the mean colour of each of 4 x 4 blocks lies within 1 of 256 levels of the listed mean (which is rounded), as
    after another version of a JPEG decoder; another picture or orientation does not pass. Raises ImageError where it is
    none of them.
    """
    if hashlib.sha256(crop).hexdigest() == row.image_id:
        return BYTE_EQUAL
    pixels = decode(crop)
    if pixels.shape[:2] != (row.height, row.width):
        raise ImageError("the crop does not have the listed size")
    if pixel_hash(pixels) == row.pixel_hash:
        return PIXEL_EQUAL
    listed = np.frombuffer(row.block_means, np.uint8).reshape(BLOCKS, BLOCKS, 3)
    if np.abs(block_means(pixels) - listed).max() > TOLERANCE:
        raise ImageError("the crop differs from the listed one by more than 1 level")
    return CLOSE


def pixel_hash(pixels: Pixels) -> bytes:
    """16 bytes of the sha256 of an image's pixels, row by row; its size is checked apart from them."""
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).digest()[:16]


def block_means(pixels: Pixels) -> NDArray[np.float64]:
    """The mean colour of each of 4 x 4 blocks that share the image: 4 x 4 x 3, 0 to 255."""
    means = np.empty((BLOCKS, BLOCKS, 3))
    for top, rows in enumerate(np.array_split(pixels, BLOCKS, axis=0)):
        for left, block in enumerate(np.array_split(rows, BLOCKS, axis=1)):
            means[top, left] = block.mean(axis=(0, 1))
    return means
