"""Crops are the official ones byte for byte, and stitching undoes the cutting."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from maibench.models.moondream.config import VisionConfig
from maibench.models.moondream.crops import (
    lanczos,
    lanczos_weights,
    overlap_crops,
    overlap_crops_tensor,
    select_tiling,
    stitch,
)

VISION = VisionConfig()
SIDES = st.integers(1, 5000)


@pytest.mark.parametrize("index", range(3))
def test_official_crops_byte_for_byte(reference, index):
    image = reference["images"][index]
    crops, tiling = overlap_crops(image["pixels"], VISION)
    assert tiling == tuple(image["tiling"])
    assert crops.shape == (image["n_crops"], 378, 378, 3)
    assert hashlib.sha256(np.ascontiguousarray(crops).tobytes()).hexdigest() == image["crops_sha256"]


@given(SIDES, SIDES, st.integers(1, 400), st.integers(1, 40))
def test_tiles_are_never_more_than_allowed(height, width, tile, most):
    rows, columns = select_tiling(height, width, tile, most)
    assert rows >= 1
    assert columns >= 1
    least_rows, least_columns = -(-height // tile), -(-width // tile)
    if max(least_rows, least_columns) <= most * min(least_rows, least_columns):
        assert rows * columns <= most
    if min(height, width) <= tile:
        assert (rows, columns) == (1, 1)


@given(SIDES, SIDES, st.integers(1, 400), st.integers(1, 40))
def test_a_turned_image_has_as_many_tiles_a_side(height, width, tile, most):
    assert sorted(select_tiling(height, width, tile, most)) == sorted(select_tiling(width, height, tile, most))


@given(st.integers(2, 30), st.integers(2, 30))
def test_what_fits_is_covered_at_its_own_resolution(rows, columns):
    """An image that needs no more tiles than allowed is never made smaller."""
    found = select_tiling(rows * 10, columns * 10, 10, rows * columns)
    assert found == (rows, columns)


# by the rules of moondream/torch/image_crops.py, worked out by hand; 266 pixels a tile after margins of 112
@pytest.mark.parametrize(
    ("height", "width", "tiling"),
    [
        (1, 1, (1, 1)),
        (378, 10_000, (1, 1)),  # 266 rows left: one tile
        (379, 378, (1, 1)),
        (379, 379, (3, 3)),  # at least 2 x 2; sqrt(12) = 3.46 a side
        (400, 4000, (1, 9)),  # 2 x 15 are too many: shrunk by sqrt(12 / 30)
        (4000, 400, (9, 1)),
        (800, 1000, (3, 4)),
        (632, 1702, (2, 6)),  # a panorama that uses all twelve
        (1702, 632, (6, 2)),
        (2000, 2000, (3, 3)),
        (400, 10_700, (1, 15)),  # 2 x 40: the official rule gives one row all the same, and more than twelve tiles
    ],
)
def test_tilings_of_the_official_rules(height, width, tiling):
    assert select_tiling(height - 112, width - 112, 266, 12) == tiling


@pytest.mark.parametrize(("size", "tiling"), [((4000, 400), (1, 9)), ((400, 4000), (9, 1)), ((1702, 632), (2, 6))])
def test_a_panorama_of_one_colour_gives_crops_of_that_colour(size, tiling):
    image = np.full((size[1], size[0], 3), (200, 30, 90), dtype=np.uint8)
    crops, found = overlap_crops(image, VISION)
    assert found == tiling
    assert len(crops) == 1 + tiling[0] * tiling[1]
    assert (crops == image[0, 0]).all()


def test_neighbouring_tiles_overlap_by_two_margins(texture):
    crops, tiling = overlap_crops(texture((640, 700), 4), VISION)
    assert tiling == (3, 3)
    tiles = crops[1:].reshape(3, 3, 378, 378, 3)
    assert np.array_equal(tiles[:, :-1, :, 266:], tiles[:, 1:, :, :112])
    assert np.array_equal(tiles[:-1, :, 266:], tiles[1:, :, :112])


def test_one_pixel():
    crops, tiling = overlap_crops(np.full((1, 1, 3), 7, dtype=np.uint8), VISION)
    assert (crops.shape, tiling) == ((2, 378, 378, 3), (1, 1))
    assert (crops == 7).all()


@pytest.mark.parametrize("tiling", [(1, 1), (1, 2), (2, 1), (3, 4), (9, 1), (2, 6)])
@pytest.mark.parametrize(("grid", "margin"), [(27, 4), (5, 2), (3, 0)])
def test_stitching_undoes_cutting(tiling, grid, margin):
    rows, columns = tiling
    step = grid - 2 * margin
    whole = torch.arange((rows * step + 2 * margin) * (columns * step + 2 * margin) * 2.0)
    whole = whole.view(rows * step + 2 * margin, columns * step + 2 * margin, 2)
    tiles = [
        whole[row * step : row * step + grid, column * step : column * step + grid]
        for row in range(rows)
        for column in range(columns)
    ]
    assert torch.equal(stitch(torch.stack(tiles), tiling, margin), whole)


def test_margins_at_a_seam_are_dropped_on_both_sides():
    tiles = torch.stack([torch.full((5, 5, 1), float(number)) for number in range(4)])
    found = stitch(tiles, (2, 2), 1)[..., 0]
    assert found.shape == (8, 8)
    assert torch.equal(found[0], torch.tensor([0.0] * 4 + [1.0] * 4))
    assert torch.equal(found[:, 0], torch.tensor([0.0] * 4 + [2.0] * 4))


@pytest.mark.parametrize(
    ("before", "after"), [((256, 256), (378, 378)), ((900, 1300), (378, 644)), ((30, 50), (700, 20))]
)
def test_lanczos_is_pillows_but_for_rounding(texture, before, after):
    image = texture((before[1], before[0]), 2)
    expected = np.asarray(Image.fromarray(image).resize((after[1], after[0]), Image.Resampling.LANCZOS))
    result = lanczos(torch.from_numpy(image).permute(2, 0, 1).double(), *after).permute(1, 2, 0).numpy()
    assert np.abs(result - expected).max() < 2  # Pillow rounds to levels after each of its two passes


@given(st.integers(1, 300), st.integers(1, 300))
def test_lanczos_keeps_what_is_even(before, after):
    np.testing.assert_allclose(lanczos_weights(before, after).sum(axis=1), 1)


@pytest.mark.parametrize("size", [(256, 256), (500, 400), (900, 1300)])
def test_crops_with_gradients_are_the_crops(texture, size):
    image = texture(size, 3)
    pixels = torch.from_numpy(image).permute(2, 0, 1).float().requires_grad_()
    expected, tiling = overlap_crops(image, VISION)
    crops, found = overlap_crops_tensor(pixels, VISION)
    assert found == tiling
    np.testing.assert_array_equal(crops.detach(), expected)
    (gradient,) = torch.autograd.grad(crops.sum(), pixels)
    assert (gradient != 0).float().mean() > 0.99


def test_every_tile_has_gradients_of_its_own(texture):
    """The last tile hangs on the lower right corner, the first on the upper left one, never on both."""
    pixels = torch.from_numpy(texture((900, 700), 4)).permute(2, 0, 1).float().requires_grad_()
    crops, (rows, columns) = overlap_crops_tensor(pixels, VISION)
    assert rows * columns > 1
    for tile, near, far in ((crops[1], (0, 0), (-1, -1)), (crops[-1], (-1, -1), (0, 0))):
        (gradient,) = torch.autograd.grad(tile.sum(), pixels, retain_graph=True)
        assert gradient[:, near[0], near[1]].abs().sum() > 0
        assert gradient[:, far[0], far[1]].abs().sum() == 0
