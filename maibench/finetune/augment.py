"""Augmentation of training crops: resize, crop, flip, colour, noise, compression; the same for both sides of a pair."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from maibench.finetune.recipe import Augmentation
from maibench.finetune.samples import Sample

Pixels = NDArray[np.uint8]


def augment(samples: list[Sample], crop: int, settings: Augmentation, seed: tuple[int, ...]) -> list[Pixels]:
    """uint8 crops of `crop` x `crop` pixels (smaller where the image is), one a sample. What is drawn depends on `seed`
    and a sample's pair alone, or on its place where it has none; so both sides of a pair are cut, resized and
    compressed alike."""
    crops = []
    for place, sample in enumerate(samples):
        own = (sample.pair + 1, 0) if sample.pair >= 0 else (0, place)
        crops.append(_augment(sample, crop, settings, np.random.default_rng([*seed, *own])))
    return crops


def _augment(sample: Sample, crop: int, settings: Augmentation, rng: np.random.Generator) -> Pixels:
    pixels = sample.pixels
    crop = min(crop, *pixels.shape[:2])
    if rng.random() < settings.resize:
        pixels = _resize(pixels, rng.uniform(*settings.scale), crop, rng)
    top, left = (rng.integers(side - crop + 1) for side in pixels.shape[:2])
    pixels = pixels[top : top + crop, left : left + crop]
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


def _resize(pixels: Pixels, scale: float, crop: int, rng: np.random.Generator) -> Pixels:
    scale = max(scale, crop / min(pixels.shape[:2]))
    height, width = (max(crop, round(side * scale)) for side in pixels.shape[:2])
    kernel = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)[rng.integers(3)]
    return np.asarray(Image.fromarray(pixels).resize((width, height), kernel))


def _recolour(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Saturation, contrast and brightness within a quarter of what they were."""
    saturation, contrast, brightness = rng.uniform(0.75, 1.25, 3)
    grey = pixels.mean(axis=2, keepdims=True, dtype=np.float32)
    centre = grey.mean()
    changed = centre * brightness + contrast * (grey - centre + saturation * (pixels - grey))
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
