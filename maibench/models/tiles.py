"""Several crops of one image, whose logits are averaged, and resizing before them: choices of the test, on which no
weights depend."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from maibench.errors import ImageError, MaibenchError

MOST_PIXELS = 100_000_000
"""Of a resized image: a strip of one pixel's height becomes gigabytes."""


def cut_tiles(image: NDArray[np.uint8], most: int, size: int) -> list[NDArray[np.uint8]]:
    """At most `most` tiles of up to size x size of an image height x width x 3, as `tile_slices` has them."""
    height, width = image.shape[:2]
    return [image[rows, columns] for rows, columns in tile_slices(height, width, most, size)]


def tile_slices(height: int, width: int, most: int, size: int) -> list[tuple[slice, slice]]:
    """Rows and columns of at most `most` tiles, on an even grid over the image, the ones nearest to its middle first.

    A side of `size` or less is kept whole. The first tile is the centre one.
    """
    tall, wide = min(height, size), min(width, size)
    middle = ((height - tall) // 2, (width - wide) // 2)
    tops, lefts = (
        np.linspace(0, side - tile, -(-side // tile)).round().astype(int)
        for side, tile in ((height, tall), (width, wide))
    )
    corners = {(int(top), int(left)) for top in tops for left in lefts} - {middle}
    ordered = sorted(corners, key=lambda c: (abs(c[0] - middle[0]) + abs(c[1] - middle[1]), c))
    return [(slice(top, top + tall), slice(left, left + wide)) for top, left in [middle, *ordered][:most]]


def stack_or_list(items: Sequence[Tensor]) -> Tensor | list[Tensor]:
    """Images of one size, each a single crop -> (n, 3, h, w); anything else stays a list."""
    if all(item.dim() == 3 and item.shape == items[0].shape for item in items):
        return torch.stack(list(items))
    return list(items)


def mean_logits(run: Callable[[Tensor], Tensor], items: Sequence[Tensor]) -> Tensor:
    """n images, each (3, h, w) or (tiles, 3, h, w) -> (n,) logits, those of an image's tiles averaged.

    run: (k, 3, h, w) -> (k,) logits, or (k, d) of anything else, for (n, d); it is called once for each size of tiles.
    """
    tiles = [item if item.dim() == 4 else item[None] for item in items]
    logits: list[Tensor] = [tiles[0].new_empty(0)] * len(tiles)
    for shape in dict.fromkeys(tile.shape[1:] for tile in tiles):
        members = [index for index, tile in enumerate(tiles) if tile.shape[1:] == shape]
        scored = run(torch.cat([tiles[index] for index in members]))
        parts = scored.split([len(tiles[index]) for index in members])
        for index, part in zip(members, parts, strict=True):
            logits[index] = part.mean(0)
    return torch.stack(logits)


def resized(image: NDArray[np.uint8], shorter: int | None) -> NDArray[np.uint8]:
    """The image, height x width x 3, with a shorter side of so many pixels (None: as it is), by Pillow's bilinear
    filter, which averages where it shrinks: what torchvision's Resize does to a picture. Raises ImageError for a strip
    that would become too large."""
    height, width = image.shape[:2]
    if shorter is None or min(height, width) == shorter:
        return image
    down, across = _resized_sides(height, width, shorter)
    return np.asarray(Image.fromarray(image).resize((across, down), Image.Resampling.BILINEAR))


def resized_tensor(pixels: Tensor, shorter: int | None) -> Tensor:
    """`resized` for float (3, height, width) in [0, 255]: exactly its values on the pixels rounded to whole numbers,
    with the gradients of torch's own bilinear filter, which does not round (backward pass differentiable approximation:
    Athalye et al. 2018, arXiv 1802.00420)."""
    height, width = pixels.shape[1:]
    if shorter is None or min(height, width) == shorter:
        return pixels
    whole = pixels.detach().round().clamp(0, 255).to("cpu", torch.uint8).permute(1, 2, 0).contiguous()
    exact = torch.from_numpy(resized(whole.numpy(), shorter).copy()).permute(2, 0, 1).to(pixels)
    smooth = F.interpolate(pixels[None], _resized_sides(height, width, shorter), mode="bilinear", antialias=True)[0]
    return exact + (smooth - smooth.detach())


def check_whole(detector: str, option: str, value: object, least: int) -> None:
    """Raise MaibenchError unless an option is a whole number from `least` on."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise MaibenchError(f"{detector}: the option {option} is {value!r}; it takes a whole number from {least}")


def _resized_sides(height: int, width: int, shorter: int) -> tuple[int, int]:
    """The longer side is rounded down, as torchvision's Resize has it."""
    short, long = sorted((height, width))
    longer = int(shorter * long / short)
    if shorter * longer > MOST_PIXELS:
        raise ImageError(f"{width} x {height} pixels are too long a strip to be resized to {shorter} on its short side")
    return (shorter, longer) if height <= width else (longer, shorter)
