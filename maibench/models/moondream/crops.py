"""From an image of any size to moondream's crops: one global view and overlapping tiles, and their features back into
one map.

Source: moondream/torch/image_crops.py of https://github.com/vikhyat/moondream (read; this is our own code).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from maibench.models.moondream.config import VisionConfig

Tiling = tuple[int, int]
"""Rows and columns of tiles."""


def select_tiling(height: int, width: int, tile: int, max_tiles: int) -> Tiling:
    """How many rows and columns of tiles cover height x width pixels, with about the image's aspect ratio.

    tile: pixels a side that a tile adds. max_tiles: rows x columns at most, a larger image is shrunk to fit; only a
    panorama of more than `max_tiles` tiles' length gets more, as in the official code.
    """
    if height <= tile or width <= tile:
        return 1, 1
    least_rows, least_columns = math.ceil(height / tile), math.ceil(width / tile)
    if least_rows * least_columns > max_tiles:
        ratio = math.sqrt(max_tiles / (least_rows * least_columns))
        return max(1, math.floor(least_rows * ratio)), max(1, math.floor(least_columns * ratio))
    rows = max(math.floor(math.sqrt(max_tiles * height / width)), least_rows)
    columns = max(math.floor(math.sqrt(max_tiles * width / height)), least_columns)
    if rows * columns > max_tiles:
        if columns > rows:
            columns = max_tiles // rows
        else:
            rows = max_tiles // columns
    return max(1, rows), max(1, columns)


def overlap_crops(image: NDArray[np.uint8], config: VisionConfig) -> tuple[NDArray[np.uint8], Tiling]:
    """(1 + rows x columns, size, size, 3) uint8 crops, the global one first, and the tiling.

    image: uint8 RGB, height x width x 3. The image is resized (Pillow, Lanczos) to the tiling's size, whatever its own
    aspect ratio, and cut into tiles that overlap by two margins.
    """
    size, patch = config.crop_size, config.enc_patch_size
    margins = 2 * config.overlap_margin * patch
    step = size - margins
    height, width = image.shape[:2]
    rows, columns = select_tiling(height - margins, width - margins, step, config.max_crops)
    picture = Image.fromarray(image)
    crops = np.empty((1 + rows * columns, size, size, 3), np.uint8)
    crops[0] = np.asarray(picture.resize((size, size), Image.Resampling.LANCZOS))
    if (rows, columns) == (1, 1):
        crops[1] = crops[0]  # a single tile is the whole image at the same size
        return crops, (1, 1)
    large = np.asarray(picture.resize((columns * step + margins, rows * step + margins), Image.Resampling.LANCZOS))
    for row in range(rows):
        for column in range(columns):
            top, left = row * step, column * step
            crops[1 + row * columns + column] = large[top : top + size, left : left + size]
    return crops, (rows, columns)


def stitch(tiles: Tensor, tiling: Tiling, margin: int) -> Tensor:
    """(rows x columns, grid, grid, dim) features of overlapping tiles -> one (height, width, dim) map.

    Inner margins are dropped on both sides of a seam, outer ones are kept. margin: in patches.
    """
    rows, columns = tiling
    grid = tiles.shape[1]
    bands = []
    for row in range(rows):
        top, bottom = (0 if row == 0 else margin), (grid if row == rows - 1 else grid - margin)
        band = []
        for column in range(columns):
            left, right = (0 if column == 0 else margin), (grid if column == columns - 1 else grid - margin)
            band.append(tiles[row * columns + column, top:bottom, left:right])
        bands.append(torch.cat(band, dim=1))
    return torch.cat(bands, dim=0)
