"""How made images are stored."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from maibench.datasets.image import decode
from maibench.datasets.storage import UNCOMPRESSED, parse_storage
from maibench.errors import MaibenchError


class TestUncompressed:
    @given(st.integers(0, 2**32 - 1))
    def test_the_size_on_disk_tells_nothing_of_the_content(self, seed):
        noise = np.random.default_rng(seed).integers(0, 256, (16, 24, 3), dtype=np.uint8)
        flat = np.full((16, 24, 3), seed % 256, np.uint8)
        assert len(UNCOMPRESSED.encode(noise)) == len(UNCOMPRESSED.encode(flat))
        np.testing.assert_array_equal(decode(UNCOMPRESSED.encode(noise)), noise)

    def test_is_a_png(self):
        with Image.open(io.BytesIO(UNCOMPRESSED.encode(np.zeros((8, 8, 3), np.uint8)))) as image:
            assert (image.format, image.mode, image.info) == ("PNG", "RGB", {})


class TestParse:
    def test_png_is_uncompressed(self):
        assert parse_storage("png") is UNCOMPRESSED

    def test_jpeg_has_the_quality_that_was_asked_for(self, texture):
        pixels = texture((64, 48))
        expected = io.BytesIO()
        Image.fromarray(pixels).save(expected, "JPEG", quality=83)
        assert parse_storage("jpeg:83").encode(pixels) == expected.getvalue()

    @pytest.mark.parametrize("text", ["", "jpeg", "jpeg:", "jpeg:0", "jpeg:101", "jpeg:9.5", "png:1", "webp:80", "PNG"])
    def test_others_are_refused(self, text):
        with pytest.raises(MaibenchError, match="give png, or jpeg:QUALITY"):
            parse_storage(text)
