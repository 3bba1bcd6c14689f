"""A faster decoder of JPEG, used where it gives Pillow's pixels to the bit; what it does not read is Pillow's."""

from __future__ import annotations

import functools
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def decode_jpeg(data: bytes, width: int, height: int) -> NDArray[np.uint8] | None:
    """A whole and undamaged JPEG of grey or RGB -> its pixels (uint8, height x width x 3), not yet turned upright.

    width, height: as its header says. None where Pillow has to decode: without simplejpeg, where its pixels would not
    be Pillow's, and for a file with any fault, of which Pillow decides whether it can be read.
    """
    decoder = _decoder()
    return None if decoder is None else _decoded(decoder, data, width, height)


def _decoded(decoder: Any, data: bytes, width: int, height: int) -> NDArray[np.uint8] | None:
    pixels = np.empty((height, width, 3), np.uint8)  # handed over, so that no header makes it take more memory
    try:
        found: NDArray[np.uint8] = decoder.decode_jpeg(data, "RGB", buffer=pixels, strict=True)
    except ValueError:
        return None
    return found if found.shape == pixels.shape else None


@functools.cache
def _decoder() -> Any:
    """simplejpeg, where it is installed and its libjpeg computes what Pillow's does; else None."""
    try:
        import simplejpeg
    except ImportError:
        return None
    for sample in _samples():
        with Image.open(io.BytesIO(sample)) as image:
            expected = np.asarray(image.convert("RGB"))
        found = _decoded(simplejpeg, sample, *image.size)
        if found is None or not np.array_equal(found, expected):
            return None
    return simplejpeg


def _samples() -> list[bytes]:
    """Small JPEGs in which libjpegs that upsample colours, round or transform differently give themselves away."""
    noise = np.random.default_rng(0).integers(0, 256, (51, 83, 3), np.uint8)
    slopes = np.add.outer(np.arange(51), np.arange(83))[:, :, None] + noise // 8
    samples = []
    for pixels in (noise, slopes.astype(np.uint8)):
        image = Image.fromarray(pixels)
        for subsampling in (0, 1, 2):
            stream = io.BytesIO()
            image.save(stream, "JPEG", subsampling=subsampling, progressive=subsampling == 1)
            samples.append(stream.getvalue())
        stream = io.BytesIO()
        image.convert("L").save(stream, "JPEG")
        samples.append(stream.getvalue())
    return samples
