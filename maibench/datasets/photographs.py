"""The real photographs of a data set, and the part of each that is reconstructed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from maibench.datasets.image import ImageFile, decode
from maibench.datasets.manifest import Manifest
from maibench.datasets.readers import open_data
from maibench.errors import ImageError, MaibenchError

SMALLEST = 64
"""Pixels a side that a crop must have."""
SMALLEST_HALF = 208
"""Pixels on the shorter side that halving leaves at least."""


@dataclass(frozen=True)
class Cut:
    """Which part of a photograph is taken. size: the middle, at most so many pixels a side; None: all of it. factor:
    the sides are cut to a multiple of it. shrink: photographs are halved first. longest: the most pixels a side that
    can be stored."""

    size: int | None
    factor: int
    shrink: bool
    longest: int

    def __call__(self, file: ImageFile) -> NDArray[np.uint8]:
        """The pixels of a photograph, uint8 height x width x 3.

        Raises ImageError, with the reason in words, for one that is broken, too small or too large.
        """
        pixels = decode(file.data)
        if self.shrink:
            pixels = _halved(pixels)
        sides = [min(self.size or side, side) // self.factor * self.factor for side in pixels.shape[:2]]
        if min(sides) < SMALLEST:
            raise ImageError(f"smaller than {SMALLEST} pixels a side")
        if max(sides) > self.longest:
            raise ImageError(f"longer than the {self.longest} pixels that can be stored")
        top, left = ((have - want) // 2 for have, want in zip(pixels.shape[:2], sides, strict=True))
        return pixels[top : top + sides[0], left : left + sides[1]].copy()  # a view would keep the whole photograph


def open_photographs(data: str, out: Path, columns: str = "") -> Manifest:
    """The data that photographs are taken from. data, columns: as `open_data` takes them.

    Raises MaibenchError where `out` lies in the folder that they are listed from: it would be listed with them.
    """
    manifest = open_data(data, columns)
    is_folder = Path(data.removeprefix("hf:")).expanduser().is_dir()
    if is_folder and out.resolve().is_relative_to(manifest.root):
        raise MaibenchError(
            f"{out}: lies in the folder of the photographs and would be listed with them; choose an --out outside of it"
        )
    return manifest


def photographs(manifest: Manifest, splits: Sequence[str], most: int | None = None) -> list[dict[str, Any]]:
    """The rows of the real images in `splits`, in order; most: only so many, evenly spread over the list.

    Raises MaibenchError where there are none.
    """
    real = manifest.rows[manifest.rows["label"] == 0]
    rows = real[real["split"].isin(splits)]
    if rows.empty:
        raise MaibenchError(
            f"the data '{manifest.name}' has no real photographs in {' or '.join(splits)} ({_described(real)}); "
            "the test split is never read, and images without a split belong to it: list them in a manifest with a "
            "column split, or put them into train/real/"
        )
    if most is not None and len(rows) > most:
        rows = rows.iloc[np.linspace(0, len(rows) - 1, most).round().astype(int)]
    return [{str(key): value for key, value in row.items()} for row in rows.to_dict("records")]


def _described(real: pd.DataFrame) -> str:
    counts = real["split"].value_counts()
    return ", ".join(f"{count} in {split}" for split, count in counts.items()) or "none at all"


def _halved(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Half the size, or less of a reduction for a small photograph: most photographs were JPEG once and their
    reconstructions never, and a detector would learn that instead."""
    height, width = pixels.shape[:2]
    scale = min(1.0, max(0.5, SMALLEST_HALF / min(height, width)))
    return np.asarray(
        Image.fromarray(pixels).resize((round(width * scale), round(height * scale)), Image.Resampling.LANCZOS)
    )
