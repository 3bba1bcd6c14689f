"""Augmentation of training crops: resize, crop, flip, colour, noise, compression; the same for both sides of a pair."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from maibench.finetune.recipe import Augmentation
from maibench.finetune.samples import Sample

Pixels = NDArray[np.uint8]


def augment(
    samples: list[Sample],
    crop: int,
    settings: Augmentation,
    seed: tuple[int, ...],
    places: Sequence[int] | None = None,
) -> list[Pixels]:
    """uint8 crops of `crop` x `crop` pixels (smaller where the image is), one a sample. What is drawn depends on `seed`
    and a sample's pair alone, or on its place where it has none; so both sides of a pair are cut, resized and
    compressed alike. places: those of the samples in the batch that they are a part of; 0, 1, ... by default."""
    crops = []
    for place, sample in zip(range(len(samples)) if places is None else places, samples, strict=True):
        own = (sample.pair + 1, 0) if sample.pair >= 0 else (0, place)
        crops.append(_augment(sample, crop, settings, np.random.default_rng([*seed, *own])))
    return crops


def _augment(sample: Sample, crop: int, settings: Augmentation, rng: np.random.Generator) -> Pixels:
    crop = min(crop, *sample.pixels.shape[:2])
    scale = rng.uniform(*settings.scale) if rng.random() < settings.resize else 1.0
    pixels = _cut(sample.pixels, crop, scale, rng)
    if settings.flip and rng.random() < 0.5:
        pixels = pixels[:, ::-1]
    if settings.rotate:
        pixels = np.rot90(pixels, int(rng.integers(4)))
    if rng.random() < settings.colour:
        pixels = _recolour(pixels, rng)
    if rng.random() < settings.noise:
        noise = rng.normal(0, rng.uniform(1, 5), pixels.shape)
        pixels = np.clip(pixels + noise, 0, 255).round().astype(np.uint8)
    if rng.random() < (settings.pair_jpeg if sample.pair >= 0 else settings.jpeg):
        pixels = _compress(pixels, settings.quality, rng)
    return np.ascontiguousarray(pixels)


def _cut(pixels: Pixels, crop: int, scale: float, rng: np.random.Generator) -> Pixels:
    """A random crop x crop of the picture at `scale`, or at the least scale that is large enough; only what the crop
    shows is resized."""
    height, width = pixels.shape[:2]
    scale = max(scale, crop / min(height, width))
    top, left = (int(rng.integers(max(0, round(side * scale) - crop) + 1)) for side in (height, width))
    if scale == 1.0:
        return pixels[top : top + crop, left : left + crop]
    first_row, first_column, size = int(top / scale), int(left / scale), crop / scale
    region = pixels[first_row : math.ceil(top / scale + size) + 1, first_column : math.ceil(left / scale + size) + 1]
    x, y = left / scale - first_column, top / scale - first_row
    box = (x, y, min(x + size, region.shape[1]), min(y + size, region.shape[0]))
    kernel = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)[rng.integers(3)]
    return np.asarray(Image.fromarray(region).resize((crop, crop), kernel, box=box))


def _recolour(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Saturation, contrast and brightness within a quarter of what they were."""
    saturation, contrast, brightness = rng.uniform(0.75, 1.25, 3)
    centre = pixels.mean()
    # grey + saturation * (colour - grey), then contrast around the centre: one matrix, grey being the mean of colours
    mixed = contrast * (saturation * np.eye(3) + (1 - saturation) / 3)
    changed = pixels.astype(np.float32) @ mixed.astype(np.float32) + np.float32(centre * (brightness - contrast))
    return np.clip(changed, 0, 255).round().astype(np.uint8)


def _compress(pixels: Pixels, quality: tuple[int, int], rng: np.random.Generator) -> Pixels:
    stream = io.BytesIO()
    level = int(rng.integers(quality[0], quality[1] + 1))
    if rng.random() < 0.85:
        Image.fromarray(pixels).save(stream, "JPEG", quality=level, subsampling=int(rng.choice([0, 2])))
    else:
        Image.fromarray(pixels).save(stream, "WEBP", quality=level, method=2)
    with Image.open(stream) as image:
        return np.asarray(image.convert("RGB"))
