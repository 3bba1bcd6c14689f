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


def overlap_crops_tensor(pixels: Tensor, config: VisionConfig) -> tuple[Tensor, Tiling]:
    """`overlap_crops` in torch: float (3, height, width) in [0, 255] -> float (1 + rows x columns, size, size, 3).

    The values are those of `overlap_crops`, exactly, on the pixels rounded to whole numbers; the gradients are those of
    Lanczos resizing without rounding to levels: backward pass differentiable approximation (Athalye et al. 2018, arXiv
    1802.00420).
    """
    whole = pixels.detach().round().clamp(0, 255).to("cpu", torch.uint8).permute(1, 2, 0).contiguous()
    crops, (rows, columns) = overlap_crops(whole.numpy(), config)
    exact = torch.from_numpy(crops).to(pixels)
    size = config.crop_size
    soft = [lanczos(pixels, size, size)]
    if (rows, columns) == (1, 1):
        soft *= 2
    else:
        margins = 2 * config.overlap_margin * config.enc_patch_size
        step = size - margins
        large = lanczos(pixels, rows * step + margins, columns * step + margins)
        soft += [
            large[:, row * step : row * step + size, column * step : column * step + size]
            for row in range(rows)
            for column in range(columns)
        ]
    smooth = torch.stack(soft).permute(0, 2, 3, 1)
    return smooth + (exact - smooth).detach(), (rows, columns)


def lanczos(pixels: Tensor, height: int, width: int) -> Tensor:
    """(3, h, w) -> (3, height, width), float in [0, 255]: Pillow's Lanczos resizing, but for rounding to levels."""
    down, across = (
        torch.from_numpy(lanczos_weights(before, after)).to(pixels)
        for before, after in zip(pixels.shape[1:], (height, width), strict=True)
    )
    return (down @ (pixels @ across.T).clamp(0, 255)).clamp(0, 255)  # Pillow cuts what overshoots after each pass


def lanczos_weights(before: int, after: int) -> NDArray[np.float64]:
    """(after, before): how much each of `before` pixels in a row counts for each of `after`; rows sum to 1.

    The filter of Pillow (src/libImaging/Resample.c, read): sinc(x) sinc(x / 3) within 3 pixels of the smaller scale.
    """
    scale = before / after
    stretch = max(scale, 1.0)
    centres = (np.arange(after)[:, None] + 0.5) * scale
    first = np.maximum(np.floor(centres - 3 * stretch + 0.5), 0)
    last = np.minimum(np.floor(centres + 3 * stretch + 0.5), before)
    columns = np.arange(before)[None, :]
    distances = (columns - centres + 0.5) / stretch
    weights = np.where(np.abs(distances) < 3, np.sinc(distances) * np.sinc(distances / 3), 0.0)
    weights *= (columns >= first) & (columns < last)
    return weights / weights.sum(axis=1, keepdims=True)


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
