"""Traces of JPEG: found where they were planted, at the right place and quality, and nowhere else."""

import math

import numpy as np
import pytest
from PIL import Image, features

from maibench.evaluation.audit.history import history
from maibench.evaluation.audit.luma import luma
from maibench.evaluation.audit.traces import block_grids, jpeg_traces
from tests.evaluation.audit.photos import jpeg, photo


def traces(pixels):
    return jpeg_traces(luma(np.ascontiguousarray(pixels)))


@pytest.mark.parametrize("size", [(64, 64), (100, 333), (320, 320), (700, 520)])
def test_a_photograph_that_never_was_a_jpeg_has_none(size):
    for seed in range(3):
        found = traces(photo(seed, size))
        assert (found.aligned, found.shifted, found.twice) == (0, 0, 0)
        assert math.isnan(found.quality) and math.isnan(found.first_quality)


@pytest.mark.parametrize("quality", [60, 75, 90])
def test_a_jpeg_stored_as_png_shows_its_quality_and_its_cropping(quality):
    once = jpeg(photo(1), quality)
    assert traces(once).aligned > 0 and traces(once).shifted == 0 and traces(once).twice == 0
    assert abs(traces(once).quality - quality) <= 2
    assert traces(once[8:, 16:]).aligned > 0
    for top, left in [(3, 5), (0, 4), (7, 0)]:
        cropped = traces(once[top : top + 256, left : left + 256])
        assert cropped.shifted > 0 and cropped.aligned == 0
        grids = block_grids(luma(once[top : top + 256, left : left + 256]))
        assert np.unravel_index(grids.argmax(), (8, 8)) == (-top % 8, -left % 8)


def test_the_middle_of_a_large_image_keeps_the_place_of_its_blocks():
    assert traces(jpeg(photo(2, (1000, 1203)), 75)).aligned > 0


@pytest.mark.parametrize(("first", "second"), [(75, 90), (60, 82), (85, 93)])
def test_two_compressions_tell_the_first_quality(first, second):
    twice = traces(jpeg(jpeg(photo(3), first), second))
    assert twice.twice > 0 and abs(twice.first_quality - first) <= 2
    assert abs(twice.quality - second) <= 3


def test_a_cropped_jpeg_is_found_under_a_second_one():
    found = traces(jpeg(jpeg(photo(4), 70)[3:259, 5:261], 90))
    assert found.shifted > 0 and found.aligned > 0


def drawings():
    black = np.zeros((96, 96, 3), dtype=np.uint8)
    board = np.kron(np.indices((12, 12)).sum(axis=0) % 2, np.ones((9, 9)))[..., None] * [255, 255, 255]
    return [
        black,
        black + 255,
        board.astype(np.uint8),
        np.random.default_rng(0).integers(0, 256, (80, 90, 3), np.uint8),
    ]


@pytest.mark.usefixtures("warnings_are_errors")
def test_drawings_and_tiny_images_have_numbers_or_none():
    for pixels in drawings():
        found = history(pixels)
        assert all(math.isfinite(found[f"history_{name}"]) for name in ("aligned", "shifted", "twice", "sharpness"))
    for size in [(1, 1), (1, 900), (63, 64), (8, 8)]:
        found = history(np.zeros((*size, 3), dtype=np.uint8))
        assert found.keys() == history(drawings()[0]).keys()
        assert math.isnan(found["history_aligned"]) and found["history_frame"] == 0


def test_a_webp_of_the_past_is_not_called_a_jpeg(tmp_path):
    if not features.check("webp"):
        pytest.skip("this Pillow has no WebP")
    Image.fromarray(photo(5)).save(tmp_path / "a.webp", quality=60)
    assert traces(np.asarray(Image.open(tmp_path / "a.webp").convert("RGB"))).twice == 0
