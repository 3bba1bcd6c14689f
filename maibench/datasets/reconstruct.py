"""Pairs for training: the real photographs of a manifest beside their reconstructions by the nano autoencoders.

    python -m maibench.datasets.reconstruct --data MANIFEST --out FOLDER --autoencoders nano-sd1.5,nano-sdxl

Splits and sources stay those of the photographs; the test split is never read.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from maibench.datasets.autoencoders import ARCHITECTURES, FACTOR
from maibench.datasets.demo import UNSEEN
from maibench.datasets.image import decode, read_file
from maibench.datasets.manifest import Manifest
from maibench.datasets.pairs import Crop, write_pairs
from maibench.datasets.readers import open_data
from maibench.errors import ImageError

SMALLEST_HALF = 208
"""Pixels on the shorter side that halving leaves at least."""


def crops_of(
    manifest: Manifest, size: int, autoencoders: list[str], each: int, most: int | None = None, shrink: bool = False
) -> Iterator[Crop]:
    """The middle of every real photograph of the train and validation splits, at most `size` pixels a side, with
    `each` of the autoencoders in turn; most: only so many photographs, evenly spread over the list; shrink: halved
    first. Unreadable photographs and those under 64 pixels a side are left out."""
    rows = manifest.rows[(manifest.rows["label"] == 0) & manifest.rows["split"].isin(["train", "validation"])]
    if most is not None and len(rows) > most:
        rows = rows.iloc[np.linspace(0, len(rows) - 1, most).round().astype(int)]
    for number, row in enumerate(rows.to_dict("records")):
        try:
            pixels = decode(read_file(manifest.root, row["path"]).data)
        except ImageError:
            continue
        if shrink:
            pixels = _halved(pixels)
        sides = [min(size, side) // FACTOR * FACTOR for side in pixels.shape[:2]]
        if min(sides) < 64:
            continue
        top, left = ((have - want) // 2 for have, want in zip(pixels.shape[:2], sides, strict=True))
        chosen = tuple(autoencoders[(number + k) % len(autoencoders)] for k in range(each))
        yield Crop(
            name=f"{manifest.name}-{number:06d}",
            pixels=pixels[top : top + sides[0], left : left + sides[1]],
            source=row.get("source") or row["path"],
            split=row["split"],
            autoencoders=chosen,
        )


def _halved(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Half the size, or less of a reduction for a small photograph: most photographs were JPEG once and their
    reconstructions never, and a detector would learn that instead."""
    height, width = pixels.shape[:2]
    scale = min(1.0, max(0.5, SMALLEST_HALF / min(height, width)))
    return np.asarray(
        Image.fromarray(pixels).resize((round(width * scale), round(height * scale)), Image.Resampling.LANCZOS)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="a SOURCE with real images in its train or validation split")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--autoencoders", default=",".join(name for name in ARCHITECTURES if name != UNSEEN))
    parser.add_argument("--each", type=int, default=1, help="reconstructions of each photograph")
    parser.add_argument("--most", type=int, help="at most so many photographs")
    parser.add_argument("--shrink", action="store_true", help="halve photographs first: no trace of JPEG stays")
    parser.add_argument("--size", type=int, default=256)
    args = parser.parse_args()
    crops = crops_of(open_data(args.data), args.size, args.autoencoders.split(","), args.each, args.most, args.shrink)
    rows = write_pairs(crops, args.out)
    rows.to_csv(args.out / "manifest.csv", index=False)
    print(f"{len(rows)} images in {args.out}")


if __name__ == "__main__":
    main()
