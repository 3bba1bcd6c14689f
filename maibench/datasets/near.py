"""Which images look alike: difference hashes, those that are near each other, and groups of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from maibench.datasets.hamming import neighbours
from maibench.datasets.image import Pixels

__all__ = ["DISTANCE", "DISTANCE_DOWN", "dhash", "groups", "likeness", "look_alikes", "near_groups", "neighbours"]

DISTANCE = 4
"""Near-duplicates differ in at most so many of the 64 bits of their difference hash ..."""
DISTANCE_DOWN = 9
"""... and in at most so many bits of the same hash taken downwards. Unlike pictures of one bright thing in the middle
have the same difference hash, but not both. Of 1,196 images that were recompressed, resized, brightened or cropped by
2 %, none that was near in the first differed in more than 9 bits of the second; unlike ones began at 10."""
_CLEAR, _FEW_STEPS, _FEW_EDGES = 3, 16, 24
"""Flat: fewer than _FEW_STEPS of the 127 steps between neighbours in the 9 x 8 picture are of _CLEAR grey levels, or
fewer than _FEW_EDGES of the 224 neighbouring bits of both hashes differ. A bright spot in the middle makes 16."""


def dhash(pixels: Pixels) -> tuple[int, bool]:
    """The 64-bit difference hash of an image, and whether the image is flat.

    The image is made grey and 9 x 8; a bit is 1 where a pixel is brighter than the one on its left; rows from the top,
    the first bit the most significant (N. Krawetz, "Kind of Like That", 2013; the bits of imagehash.dhash). A flat
    image has too little structure to be told by: one colour, a ramp, a spot. pixels: uint8 (height, width, 3).
    """
    told = likeness(pixels)
    return int(told["dhash"]), bool(told["flat"])


def likeness(pixels: Pixels) -> dict[str, Any]:
    """What `look_alikes` takes of an image: `dhash`; `dhash_down`, the same downwards (both uint64); `flat`."""
    grey = Image.fromarray(pixels).convert("L")
    wide, tall = (np.asarray(grey.resize(size, Image.Resampling.LANCZOS)) for size in ((9, 8), (8, 9)))
    across, down = wide[:, 1:] > wide[:, :-1], tall[1:] > tall[:-1]
    steps = sum(int((np.abs(step) >= _CLEAR).sum()) for step in _steps(wide.astype(np.int16)))
    edges = sum(int((step != 0).sum()) for bits in (across, down) for step in _steps(bits.astype(np.int16)))
    flat = steps < _FEW_STEPS or edges < _FEW_EDGES
    return {"dhash": np.uint64(_packed(across)), "dhash_down": np.uint64(_packed(down)), "flat": flat}


def look_alikes(
    across: ArrayLike, down: ArrayLike, flat: ArrayLike
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]]:
    """Near-duplicates among n images by `likeness`: near in both hashes, and not flat.

    across: `dhash`, down: `dhash_down`, flat: each (n,). Returns the picture that each image shows (n,), as the
    position of the first image that shows it (the same in both hashes; a flat image shows its own); pairs (m, 2) of
    pictures that are near; and the pairs' distances in `across`. However many copies there are, m stays small.
    """
    across, down = np.asarray(across, dtype=np.uint64), np.asarray(down, dtype=np.uint64)
    told = np.flatnonzero(~np.asarray(flat, dtype=bool))
    order = told[np.lexsort((down[told], across[told]))]  # stable: the first image of a picture comes first
    starts = np.r_[True, (across[order[1:]] != across[order[:-1]]) | (down[order[1:]] != down[order[:-1]])]
    starts = starts[: len(order)]
    pictures = order[starts]
    shown = np.arange(len(across))
    shown[order] = pictures[np.cumsum(starts) - 1]
    pairs, distances = neighbours(across[pictures], DISTANCE)
    ends = pictures[pairs]
    near = np.bitwise_count(down[ends[:, 0]] ^ down[ends[:, 1]]) <= DISTANCE_DOWN
    return shown, np.sort(ends[near], axis=1), distances[near]


def groups(pairs: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Which of n things belong together by these pairs (m, 2), also by way of others: each one's group, named by the
    position of its first member."""
    links = coo_array((np.ones(len(pairs), dtype=bool), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    _, labels = connected_components(links, directed=False)
    _, first = np.unique(labels, return_index=True)
    return first[labels]


def near_groups(across: ArrayLike, down: ArrayLike, flat: ArrayLike) -> NDArray[np.int64]:
    """The `groups` (n,) of images that look alike, exact copies among them."""
    shown, pairs, _ = look_alikes(across, down, flat)
    copies = np.stack([np.arange(len(shown)), shown], axis=1)
    return groups(np.concatenate([copies, pairs]), len(shown))


def _steps(values: NDArray[np.int16]) -> list[NDArray[np.int16]]:
    """From each pixel to the next, downwards and to the right."""
    return [np.diff(values, axis=axis) for axis in (0, 1)]


def _packed(bits: NDArray[np.bool_]) -> int:
    return int.from_bytes(np.packbits(bits.ravel()).tobytes(), "big")
