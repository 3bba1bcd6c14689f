"""Pairs of a real crop and its reconstruction: the same content, stored alike, so that only the traces differ."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from maibench.datasets.autoencoders import FACTOR, load_autoencoder, reconstruct


@dataclass(frozen=True)
class Crop:
    """A real crop: `name` is unique and becomes the file's name; `pixels` uint8 height x width x 3, sides divisible by
    FACTOR; `source` and `split` as in a manifest; `autoencoders`: by which ones it is to be reconstructed."""

    name: str
    pixels: NDArray[np.uint8]
    source: str
    split: str
    autoencoders: tuple[str, ...]


def grid(length: int, size: int) -> list[int]:
    """Start positions of crops of `size` along a side of `length`: evenly spread, overlapping by half at most.

    Empty when not even one crop fits.
    """
    room = length - size
    if room < 0:
        return []
    steps = room // ((size + 1) // 2)
    # half-way positions go up, each of them: with round()'s "to even" two neighbours could come too close
    return [(2 * room * step + steps) // (2 * steps) for step in range(steps + 1)] if steps else [0]


def store_uncompressed(pixels: NDArray[np.uint8]) -> bytes:
    """A PNG without compression: its size tells nothing of its content (a smoother image would make a smaller file)."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", compress_level=0)
    return stream.getvalue()


def write_pairs(crops: Iterable[Crop], folder: Path, batch: int = 8) -> pd.DataFrame:
    """Write every crop and its reconstructions to `folder`/images, and return the rows of a manifest.

    Crops are reconstructed in batches of one size, in the order given.
    """
    (folder / "images").mkdir(parents=True, exist_ok=True)
    crops = list(crops)
    rows = [_store(folder, crop, crop.pixels, "real") for crop in crops]
    groups: dict[tuple[str, tuple[int, ...]], list[Crop]] = defaultdict(list)
    for crop in crops:
        if any(side % FACTOR for side in crop.pixels.shape[:2]):
            raise ValueError(f"{crop.name}: the sides of {crop.pixels.shape} are not divisible by {FACTOR}")
        for name in crop.autoencoders:
            groups[name, crop.pixels.shape].append(crop)
    models = {name: load_autoencoder(name) for name in {name for name, _ in groups}}
    for (name, _), members in groups.items():
        for start in range(0, len(members), batch):
            chunk = members[start : start + batch]
            made = reconstruct(models[name], [crop.pixels for crop in chunk])
            rows += [_store(folder, crop, pixels, name) for crop, pixels in zip(chunk, made, strict=True)]
    return pd.DataFrame(rows)


def _store(folder: Path, crop: Crop, pixels: NDArray[np.uint8], generator: str) -> dict[str, object]:
    name = f"images/{crop.name}.png" if generator == "real" else f"images/{crop.name}.{generator}.png"
    data = store_uncompressed(pixels)
    (folder / name).write_bytes(data)
    height, width = pixels.shape[:2]
    return {
        "image_id": sha256(data).hexdigest(),
        "path": name,
        "label": int(generator != "real"),
        "generator": generator,
        "source": crop.source,
        "pair": crop.name,
        "split": crop.split,
        "width": width,
        "height": height,
        "format": "PNG",
        "n_bytes": len(data),
    }
