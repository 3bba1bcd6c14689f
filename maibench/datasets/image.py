"""From a file's bytes to the pixels that every detector sees: uint8 RGB, height x width x 3, decoded once.

Decoding is exact: no draft mode, no fast DCT, no colour management. What a file holds beyond that is reduced by fixed
rules: the first frame of an animation, EXIF orientation applied, alpha over white, 16 bits cut to their upper eight,
CMYK and palettes converted to RGB.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from maibench.datasets.jpeg import decode_jpeg
from maibench.errors import ImageError

MAX_PIXELS = 100_000_000
"""Images of more pixels are refused before they are decoded (a small file can hold a huge picture)."""

EXTENSIONS = frozenset([".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"])
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
"""Pillow's names; its JPEG reader opens MPO, the JPEG with several pictures, too."""

Pixels = NDArray[np.uint8]

# Our own limit is checked from the header before anything is decoded; Pillow's would only warn, and at another size.
Image.MAX_IMAGE_PIXELS = None
# Broken EXIF blocks and odd TIFF tags: the pixels are what counts. For good, as catch_warnings is not safe in threads.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


@dataclass(frozen=True)
class ImageFile:
    """What a file says of itself before its pixels are decoded.

    path: the row's key in its manifest. data: the file's bytes. format: Pillow's name ("JPEG"). width, height: as
    stored, before EXIF orientation. image_id: sha256 of the bytes. orientation: EXIF's, where it is all that decoding
    needs to know beyond the size (a JPEG of grey or RGB); else None.
    """

    path: str
    data: bytes
    format: str
    width: int
    height: int
    image_id: str
    orientation: int | None = None


def parse_file(path: str, data: bytes, max_pixels: int = MAX_PIXELS) -> ImageFile:
    """An image's header, from its bytes.

    Raises ImageError, with the reason in words, when there are none, when they are not an image, or one larger than
    `max_pixels`.
    """
    if not data:
        raise ImageError("the file is empty (0 bytes)")
    with _open(data) as image:
        width, height = image.size
        if width * height > max_pixels:
            raise ImageError(
                f"{width} x {height} pixels are more than the limit of {max_pixels:,} (a decompression bomb?); "
                "raise it with --set max_pixels=N"
            )
        image_id = hashlib.sha256(data).hexdigest()
        return ImageFile(path, data, image.format or "", width, height, image_id, _known_orientation(image))


def decode(data: bytes) -> Pixels:
    """Decode to a read-only uint8 array, height x width x 3, after the rules at the top of this file.

    Raises ImageError when the data is cut short or broken.
    """
    with _open(data) as image:
        pixels = _fast(data, *image.size, _known_orientation(image))
        return _with_pillow(image) if pixels is None else pixels


def decode_file(file: ImageFile) -> Pixels:
    """`decode` of the file's bytes, without reading its header again. Raises ImageError as it does."""
    pixels = _fast(file.data, file.width, file.height, file.orientation)
    if pixels is not None:
        return pixels
    with _open(file.data) as image:
        return _with_pillow(image)


def orientation(data: bytes) -> int:
    """The EXIF orientation that `decode` undoes; 1 where there is nothing to undo. Raises ImageError as it does."""
    with _open(data) as image:
        return _orientation(image)


def _open(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as error:
        raise ImageError(f"not an image in a format that is read here ({', '.join(FORMATS)})") from error
    except Exception as error:
        raise ImageError(f"cannot be decoded: {error}") from error


def _fast(data: bytes, width: int, height: int, turned: int | None) -> Pixels | None:
    pixels = None if turned is None else decode_jpeg(data, width, height)
    return None if pixels is None else _read_only(np.ascontiguousarray(_TURNS[turned or 1](pixels)))


def _with_pillow(image: Image.Image) -> Pixels:
    try:
        image.load()
        return _read_only(_to_rgb(_upright(image)))
    except ImageError:
        raise
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error and others
        raise ImageError(f"cannot be decoded: {error}") from error


def _read_only(pixels: Pixels) -> Pixels:
    pixels.setflags(write=False)
    return pixels


_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> what undoes it."""

_TURNS: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda pixels: pixels,
    2: np.fliplr,
    3: lambda pixels: pixels[::-1, ::-1],
    4: np.flipud,
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: np.rot90,
}
"""The same of an array."""


def _upright(image: Image.Image) -> Image.Image:
    """ImageOps.exif_transpose, but a broken EXIF block costs no image (Pillow forgives it in JPEG alone)."""
    turned = _orientation(image)
    return image.transpose(_UPRIGHT[turned]) if turned in _UPRIGHT else image


def _known_orientation(image: Image.Image) -> int | None:
    """Of a JPEG of grey or RGB; not of others, which may have to be read to the end for it."""
    plain = image.format in ("JPEG", "MPO") and image.mode in ("L", "RGB")
    return _orientation(image) if plain else None


def _orientation(image: Image.Image) -> int:
    try:
        found = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:
        return 1
    return found if found in _UPRIGHT else 1


def _to_rgb(image: Image.Image) -> Pixels:
    if image.mode.startswith("I") or image.mode == "F":
        return _deep_grey(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))  # converting would copy it


def _deep_grey(image: Image.Image) -> Pixels:
    """Grey of more than 8 bits: Pillow's own conversion clips at 255, so that most of the picture would turn white."""
    values = np.asarray(image)
    if image.mode == "F":
        raise ImageError("floating-point pixels have no agreed range; convert the image to 8 or 16 bits")
    grey = (np.clip(values, 0, 65535).astype(np.uint16) >> 8).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)
