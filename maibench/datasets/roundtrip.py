"""Images through an autoencoder and back."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maibench.datasets.taef2 import Taef2

WHOLE = 1024
"""Images of more pixels a side are taken in tiles."""
TILE, OVERLAP = 512, 64
"""Pixels of TAEF2's tiles, and by how many neighbours overlap; diffusers' autoencoders have their own."""


def factor_of(model: Any) -> int:
    """What the sides of an image must be divisible by."""
    return model.factor if isinstance(model, Taef2) else 2 ** (len(model.config["block_out_channels"]) - 1)


def reconstruct(model: Any, images: list[NDArray[np.uint8]], device: str = "cpu") -> list[NDArray[np.uint8]]:
    """Encode and decode images of one size; the latent is the posterior's mean, so the result is deterministic.

    model: one of diffusers' AutoencoderKL classes, or a Taef2, on `device`. images: uint8 arrays, height x width x 3,
    all alike, sides divisible by `factor_of(model)`; those over WHOLE pixels a side go through it in tiles. Returns
    arrays of the same shape.
    """
    batch = torch.from_numpy(np.stack(images)).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
    tiled = max(batch.shape[2:]) > WHOLE
    with torch.inference_mode():
        decoded = _through_taef2(model, batch, tiled) if isinstance(model, Taef2) else _through(model, batch, tiled)
    pixels = ((decoded.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return list(pixels.permute(0, 2, 3, 1).contiguous().cpu().numpy())


def in_tiles(run: Callable[[Tensor], Tensor], batch: Tensor, tile: int = TILE, overlap: int = OVERLAP) -> Tensor:
    """`run` over tiles that overlap, blended linearly; a `run` that looks no further than a pixel is not disturbed.

    batch: n x channels x height x width; `run` keeps that shape. The last tile of a row or column is moved inwards, so
    that all are as large as the image allows.
    """
    height, width = batch.shape[2:]
    total, weight = torch.zeros_like(batch), torch.zeros_like(batch[:1, :1])
    for top, left in itertools.product(_starts(height, tile, overlap), _starts(width, tile, overlap)):
        window = (..., slice(top, top + tile), slice(left, left + tile))
        part = batch[window]
        share = _ramp(part.shape[2], overlap)[:, None] * _ramp(part.shape[3], overlap)
        share = share.to(batch.device)
        total[window] += run(part) * share
        weight[window] += share
    return total / weight


def _through(model: Any, batch: Tensor, tiled: bool) -> Tensor:
    if tiled:
        model.enable_tiling()
    else:
        model.disable_tiling()
    return model.decode(model.encode(batch).latent_dist.mode()).sample


def _through_taef2(model: Taef2, batch: Tensor, tiled: bool) -> Tensor:
    def run(part: Tensor) -> Tensor:
        return model((part + 1) / 2) * 2 - 1  # it works in [0, 1]

    return in_tiles(run, batch) if tiled else run(batch)


def _starts(length: int, tile: int, overlap: int) -> list[int]:
    if length <= tile:
        return [0]
    return [*range(0, length - tile, tile - overlap), length - tile]


def _ramp(length: int, overlap: int) -> Tensor:
    """A tile's weight along one side: it falls to nearly nothing over `overlap` pixels at both ends."""
    near = torch.minimum(torch.arange(length) + 1, length - torch.arange(length))
    return (near / (overlap + 1)).clamp(max=1)
