"""Traces of resizing, and frames."""

import math

import numpy as np
import pytest
from PIL import Image

from maibench.evaluation.audit.luma import luma
from maibench.evaluation.audit.resizing import frame_width, resizing_traces
from tests.evaluation.audit.photos import jpeg, photo, resized

BICUBIC, LANCZOS = Image.Resampling.BICUBIC, Image.Resampling.LANCZOS


def traces(pixels):
    return resizing_traces(luma(np.ascontiguousarray(pixels)))


def test_what_was_not_enlarged_has_no_waves():
    for seed in range(4):
        found = traces(photo(seed))
        assert found.resampled == 0 and math.isnan(found.wave)
        assert traces(jpeg(photo(seed), 75)).resampled == 0


@pytest.mark.parametrize(("factor", "wave"), [(1.3, 1 - 1 / 1.3), (1.5, 1 / 3)])
@pytest.mark.parametrize("how", [BICUBIC, LANCZOS])
def test_an_enlarged_image_has_the_wave_of_its_factor(factor, wave, how):
    found = traces(resized(photo(1), factor, how))
    assert found.resampled > 0 and found.wave == pytest.approx(wave, abs=0.01)


@pytest.mark.parametrize("how", [BICUBIC, LANCZOS])
def test_an_image_of_twice_the_size_lacks_fine_detail(how):
    for seed in range(3):
        assert traces(resized(photo(seed), 2, how)).sharpness < traces(photo(seed)).sharpness - 6


@pytest.mark.parametrize("side", range(4))
def test_a_frame_is_as_wide_as_it_was_drawn(side):
    pixels = np.rot90(photo(2, (120, 90)), side).copy()
    pixels[:7] = (200, 10, 30)
    assert frame_width(pixels) == 7
    for turn in range(4):
        assert frame_width(np.rot90(pixels, turn)) == 7
    assert 5 <= frame_width(jpeg(pixels, 95)) <= 7  # colour bleeds into its last lines


def test_a_sky_and_a_plain_picture_are_no_frame():
    sky = photo(3, (200, 200))
    sky[:80] = np.linspace(200, 180, 80)[:, None, None]
    assert frame_width(sky) == 0
    assert frame_width(np.full((50, 50, 3), 9, dtype=np.uint8)) == 0
    assert frame_width(photo(4)) == 0
