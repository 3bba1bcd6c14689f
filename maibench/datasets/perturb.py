"""Perturbations: `none`, `jpeg:75`, `webp:80`, `resize:0.5`, `blur:1.0`, `noise:5`, `crop:0.8`, `longest:1080`,
`sharpen:50`, `flip:1`, `rot90:1`, chains with `+`.

Each is a pure function of the pixels and the image's id: two runs disturb an image in the same way.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from maibench.errors import ImageError, MaibenchError

Pixels = NDArray[np.uint8]

SHARPEN_RADIUS = 1
"""Sigma, in pixels, of the Gaussian whose difference from the image `sharpen` adds to it."""


class UnknownPerturbation(MaibenchError):
    """A name that is no perturbation's."""


@dataclass(frozen=True)
class Perturbation:
    """A parsed name: `steps` are applied in order; `name` is the text that tables show."""

    name: str
    steps: tuple[tuple[str, float], ...]

    def __call__(self, pixels: Pixels, image_id: str) -> Pixels:
        """uint8 height x width x 3 -> the same type, read-only; `resize`, `crop`, `longest`, `rot90` change its size.

        Raises ImageError when a codec cannot hold an image of this size.
        """
        for index, (kind, value) in enumerate(self.steps):
            pixels = _KINDS[kind].apply(pixels, value, f"{image_id}:{index}:{kind}:{value}")
        pixels = pixels.view()  # `none` hands on the caller's array, whose own flag is not ours to set
        pixels.setflags(write=False)
        return pixels


def parse_perturbation(text: str) -> Perturbation:
    """`resize:0.5+jpeg:75` -> a Perturbation.

    Raises UnknownPerturbation for an unknown kind and MaibenchError for a value out of its range; they say what there
    is.
    """
    text = text.strip()
    if text == "none":
        return Perturbation("none", ())
    steps = [step.strip() for step in text.split("+")]
    return Perturbation("+".join(steps), tuple(_parse_step(step, text) for step in steps))


def _parse_step(step: str, text: str) -> tuple[str, float]:
    kind, _, value = step.partition(":")
    if kind not in _KINDS:
        raise UnknownPerturbation(f"unknown perturbation '{kind}' in '{text}': there are none, {', '.join(_KINDS)}")
    low, high, meaning = _KINDS[kind].low, _KINDS[kind].high, _KINDS[kind].meaning
    try:
        number = float(value)
    except ValueError:
        number = float("nan")
    if not low <= number <= high or (_KINDS[kind].whole and number % 1):
        raise MaibenchError(f"perturbation '{step}': the value is {meaning}, from {low:g} to {high:g}")
    return kind, number


def _jpeg(pixels: Pixels, quality: float, _: str) -> Pixels:
    return _through_codec(pixels, format="JPEG", quality=int(quality))


def _webp(pixels: Pixels, quality: float, _: str) -> Pixels:
    return _through_codec(pixels, format="WEBP", quality=int(quality))


def _through_codec(pixels: Pixels, **settings: Any) -> Pixels:
    stream = io.BytesIO()
    try:
        Image.fromarray(pixels).save(stream, **settings)
    except (OSError, ValueError) as error:  # JPEG ends at 65,500 pixels a side, WebP at 16,383
        size = f"{pixels.shape[1]} x {pixels.shape[0]}"
        raise ImageError(f"{size} pixels cannot be stored as {settings['format']}: {error}") from error
    with Image.open(stream) as image:
        return np.array(image.convert("RGB"))


def _resize(pixels: Pixels, scale: float, _: str) -> Pixels:
    height, width = (max(1, round(side * scale)) for side in pixels.shape[:2])
    return np.array(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC))


def _blur(pixels: Pixels, sigma: float, _: str) -> Pixels:
    return np.array(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(sigma)))


def _noise(pixels: Pixels, sigma: float, key: str) -> Pixels:
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "little")
    noise = np.random.Generator(np.random.PCG64(seed)).normal(0, sigma, pixels.shape)
    return np.clip(pixels + noise, 0, 255).round().astype(np.uint8)


def _crop(pixels: Pixels, share: float, _: str) -> Pixels:
    height, width = (max(1, round(side * share)) for side in pixels.shape[:2])
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    return np.array(pixels[top : top + height, left : left + width])


def _longest(pixels: Pixels, most: float, _: str) -> Pixels:
    height, width = pixels.shape[:2]
    longest = max(height, width)
    if longest <= most:
        return pixels
    height, width = (max(1, round(side * most / longest)) for side in (height, width))
    return np.array(Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS))


def _sharpen(pixels: Pixels, percent: float, _: str) -> Pixels:
    mask = ImageFilter.UnsharpMask(radius=SHARPEN_RADIUS, percent=int(percent), threshold=0)
    return np.array(Image.fromarray(pixels).filter(mask))


def _flip(pixels: Pixels, axis: float, _: str) -> Pixels:
    return np.ascontiguousarray(np.flip(pixels, int(axis)))


def _rot90(pixels: Pixels, turns: float, _: str) -> Pixels:
    return np.ascontiguousarray(np.rot90(pixels, int(turns)))


@dataclass(frozen=True)
class _Kind:
    apply: Callable[[Pixels, float, str], Pixels]
    low: float
    high: float
    meaning: str
    whole: bool = False


_KINDS = {
    "jpeg": _Kind(_jpeg, 1, 100, "the JPEG quality, a whole number", whole=True),
    "webp": _Kind(_webp, 1, 100, "the WebP quality, a whole number", whole=True),
    "resize": _Kind(_resize, 0.05, 8, "the factor on both sides"),
    "blur": _Kind(_blur, 0, 50, "the Gaussian's sigma in pixels"),
    "noise": _Kind(_noise, 0, 128, "the Gaussian's sigma in levels of 255"),
    "crop": _Kind(_crop, 0.05, 1, "the share of each side that is kept, from the middle"),
    "longest": _Kind(_longest, 16, 65_500, "the longest side in whole pixels; smaller images stay", whole=True),
    "sharpen": _Kind(_sharpen, 0, 500, "the strength of the unsharp mask in whole percent", whole=True),
    "flip": _Kind(_flip, 0, 1, "0, top to bottom, or 1, left to right", whole=True),
    "rot90": _Kind(_rot90, 1, 3, "how many quarter turns anticlockwise", whole=True),
}
