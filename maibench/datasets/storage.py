"""How the images of a data set that is made here are stored: both sides alike, so that a file tells nothing."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from maibench.errors import MaibenchError


@dataclass(frozen=True)
class Storage:
    """name: as it is asked for ("png", "jpeg:90"). format: Pillow's name. suffix: of the files. longest: the most
    pixels a side that the format holds. options: of Pillow's `save`."""

    name: str
    format: str
    suffix: str
    longest: int
    options: dict[str, Any] = field(default_factory=dict)

    def encode(self, pixels: NDArray[np.uint8]) -> bytes:
        """The bytes of a file that holds `pixels`, uint8 height x width x 3."""
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, self.format, **self.options)
        return stream.getvalue()


UNCOMPRESSED = Storage("png", "PNG", ".png", 2**31 - 1, {"compress_level": 0})
"""PNG without compression: a file's size tells nothing of its content (a smoother image would make a smaller one)."""


def parse_storage(text: str) -> Storage:
    """`png` (without compression) or `jpeg:QUALITY`, a whole number from 1 to 100. Raises MaibenchError for others."""
    if text == "png":
        return UNCOMPRESSED
    kind, _, quality = text.partition(":")
    if kind != "jpeg" or not quality.isdecimal() or not 1 <= int(quality) <= 100:
        raise MaibenchError(f"'{text}' is no way to store images: give png, or jpeg:QUALITY with a quality of 1 to 100")
    return Storage(f"jpeg:{int(quality)}", "JPEG", ".jpg", 65500, {"quality": int(quality)})
