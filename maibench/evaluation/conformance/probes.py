"""Images to try a detector on: a small data set that is made as it is read, and shapes that nobody expects."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from maibench.datasets.image import ImageFile, parse_file
from maibench.datasets.manifest import SPLITS, Manifest
from maibench.datasets.readers import open_data
from maibench.evaluation.draw import drawn

Pixels = NDArray[np.uint8]

COUNT = 32
"""Images of each split."""
SIZES = ((256, 256), (320, 240), (224, 224), (200, 300), (384, 304))
"""Width x height of ordinary images."""
ODD_SIZES = ((1, 1), (2, 5), (17, 400), (400, 17), (4096, 3), (3, 4096))
LEVELS = {"black": 0, "grey": 128, "white": 255}


def probe_data() -> Manifest:
    """`COUNT` textures with the spectrum of photographs in each split; every second one is called synthetic: at half
    the resolution, doubled again."""
    rows = [
        (f"{split}/{'doubled' if index % 2 else 'real'}/{index:02}.png", index % 2, "doubled" if index % 2 else "real")
        for split in SPLITS
        for index in range(COUNT)
    ]
    frame = pd.DataFrame(rows, columns=["path", "label", "generator"])
    frame["split"] = frame["path"].str.partition("/")[0]
    return Manifest.from_frame(frame, Path(), "probes", images=_Made())


def probes_of(source: str, columns: str = "") -> Manifest:
    """A SOURCE, cut to `COUNT` images of each split. Raises MaibenchError as `open_data` does."""
    manifest = open_data(source, columns)
    rows = pd.concat([drawn(manifest.split(name), COUNT, 0) for name in SPLITS])
    return replace(manifest, rows=rows.reset_index(drop=True))


def image_file(name: str, pixels: Pixels) -> ImageFile:
    """Pixels as the PNG that they could have come from."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return parse_file(name, buffer.getvalue())


@cache
def odd_images() -> dict[str, ImageFile]:
    """Images of sizes that few expect, by "width x height"."""
    sizes = {f"{width} x {height}": (height, width, 3) for width, height in ODD_SIZES}
    return {name: image_file(f"{name}.png", np.resize(_texture(0), shape)) for name, shape in sizes.items()}


@cache
def flat_images() -> dict[str, ImageFile]:
    """Images of one colour, by its name."""
    return {
        name: image_file(f"{name}.png", np.full((256, 256, 3), level, dtype=np.uint8)) for name, level in LEVELS.items()
    }


class _Made:
    """Images that are made when they are read: their names say how."""

    in_order = False

    def read(self, path: str) -> bytes:
        """The bytes of a PNG."""
        split, kind, name = path.split("/")
        number = COUNT * SPLITS.index(split) + int(name.removesuffix(".png"))
        return image_file(path, _probe(number, kind == "doubled")).data

    def expect(self, paths: Sequence[str]) -> None:
        """They can be made in any order."""


def _probe(number: int, doubled: bool) -> Pixels:
    width, height = SIZES[number % len(SIZES)]
    random = np.random.default_rng(number)
    texture = _texture(number % 3)
    top, left = (int(random.integers(0, 512 - side)) for side in (height, width))
    pixels = texture[top : top + height, left : left + width]
    if doubled:
        pixels = pixels[::2, ::2].repeat(2, axis=0).repeat(2, axis=1)
    shade = random.uniform(0.6, 1.2) * pixels.astype(np.float32) + random.uniform(-20, 20)
    return np.clip(shade, 0, 255).astype(np.uint8)


@cache
def _texture(seed: int) -> Pixels:
    """A texture of 512 x 512 whose amplitudes fall with frequency, as those of photographs do."""
    random = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(512)[:, None], np.fft.rfftfreq(512)[None, :])
    frequency[0, 0] = np.inf
    spectrum = np.fft.rfft2(random.normal(size=(512, 512, 1)) + 0.3 * random.normal(size=(512, 512, 3)), axes=(0, 1))
    waves = np.fft.irfft2(spectrum / frequency[:, :, None], s=(512, 512), axes=(0, 1))
    return np.clip(128 + 45 * waves / waves.std() + random.normal(0, 3, waves.shape), 0, 255).astype(np.uint8)
