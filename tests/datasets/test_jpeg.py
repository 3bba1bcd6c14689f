"""The fast decoder of JPEG against Pillow, to the bit: kinds of JPEG, sizes, damage, builds that decode otherwise."""

from __future__ import annotations

import io
import random
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from maibench.datasets import jpeg
from maibench.datasets.image import decode, decode_file, parse_file
from maibench.datasets.jpeg import decode_jpeg
from maibench.errors import ImageError

simplejpeg = pytest.importorskip("simplejpeg")

KINDS = {
    "plain": {},
    "4:4:4": {"subsampling": 0},
    "4:2:2": {"subsampling": 1},
    "4:2:0": {"subsampling": 2},
    "progressive": {"progressive": True},
    "progressive 4:4:4": {"progressive": True, "subsampling": 0, "optimize": True},
    "optimised": {"optimize": True},
    "coarse": {"quality": 5},
    "fine": {"quality": 100, "subsampling": 0},
    "restart markers": {"restart_marker_blocks": 3},
    "restart markers by row": {"restart_marker_rows": 1, "progressive": True},
    "stored as RGB": {"keep_rgb": True},
    "comment and profile": {"comment": b"a" * 300, "icc_profile": b"not a profile"},
}


def stored(pixels: np.ndarray, mode: str = "RGB", **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(stream, "JPEG", **options)
    return stream.getvalue()


def by_pillow(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def fast(data: bytes) -> np.ndarray | None:
    with Image.open(io.BytesIO(data)) as image:
        return decode_jpeg(data, *image.size)


@pytest.fixture(autouse=True)
def fresh():
    """Each test, and the one after it, checks the decoder again."""
    jpeg._decoder.cache_clear()
    yield
    jpeg._decoder.cache_clear()


@pytest.fixture(scope="module")
def photo(texture) -> np.ndarray:
    return texture((131, 97), 1)


class TestIsPillowsToTheBit:
    @pytest.mark.parametrize("mode", ["RGB", "L"])
    @pytest.mark.parametrize("kind", KINDS)
    def test_every_kind(self, photo, kind, mode):
        data = stored(photo, mode, **KINDS[kind])
        pixels = fast(data)
        assert pixels is not None
        assert pixels.flags.c_contiguous
        np.testing.assert_array_equal(pixels, by_pillow(data))
        np.testing.assert_array_equal(decode(data), by_pillow(data))

    @settings(max_examples=60, deadline=None)
    @given(
        width=st.integers(1, 70),
        height=st.integers(1, 70),
        subsampling=st.sampled_from([0, 1, 2]),
        progressive=st.booleans(),
        quality=st.integers(1, 100),
        seed=st.integers(0, 999),
    )
    def test_every_size(self, width, height, subsampling, progressive, quality, seed):
        noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
        data = stored(noise, subsampling=subsampling, progressive=progressive, quality=quality)
        np.testing.assert_array_equal(fast(data), by_pillow(data))

    @pytest.mark.parametrize("subsampling", ["440", "411"])
    def test_samplings_that_pillow_does_not_write(self, photo, subsampling):
        data = simplejpeg.encode_jpeg(photo, 90, colorsubsampling=subsampling)
        np.testing.assert_array_equal(decode(data), by_pillow(data))

    def test_a_sampling_of_grey(self, photo):
        plain = stored(photo, "L")
        at = plain.index(b"\xff\xc0") + 11  # SOF0: length, precision, height, width, components, id, sampling
        assert plain[at] == 0x11
        data = plain[:at] + b"\x22" + plain[at + 1 :]
        np.testing.assert_array_equal(decode(data), by_pillow(data))

    def test_of_several_pictures_the_first(self, photo):
        stream = io.BytesIO()
        first = Image.fromarray(photo)
        first.save(stream, "MPO", save_all=True, append_images=[Image.new("RGB", first.size)])
        np.testing.assert_array_equal(fast(stream.getvalue()), by_pillow(stream.getvalue()))

    @pytest.mark.parametrize("orientation", [None, *range(10)])
    def test_turned(self, photo, orientation):
        exif = Image.Exif()
        if orientation is not None:
            exif[274] = orientation
        data = stored(photo, exif=exif)
        file = parse_file("a.jpg", data)
        assert file.orientation == (orientation if orientation in range(1, 9) else 1)
        alone = jpeg_off(decode, data)
        for pixels in (decode(data), decode_file(file)):
            assert pixels.flags.c_contiguous
            assert not pixels.flags.writeable
            np.testing.assert_array_equal(pixels, alone)

    def test_in_many_threads(self, photo):
        data = [stored(np.roll(photo, at, 1), quality=70 + at) for at in range(20)] * 10
        with ThreadPoolExecutor(8) as pool:
            for found, one in zip(pool.map(decode, data), data, strict=True):
                np.testing.assert_array_equal(found, by_pillow(one))


def jpeg_off(function, *given):
    """The function's result with Pillow alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "simplejpeg", None)
        jpeg._decoder.cache_clear()
        result = function(*given)
    jpeg._decoder.cache_clear()
    return result


class TestPillowDecides:
    @pytest.mark.parametrize(
        ("mode", "file_format"), [("CMYK", "JPEG"), ("RGB", "PNG"), ("RGB", "WEBP"), ("L", "TIFF"), ("RGB", "BMP")]
    )
    def test_what_else_it_reads(self, photo, mode, file_format):
        stream = io.BytesIO()
        Image.fromarray(photo).convert(mode).save(stream, file_format)
        file = parse_file("a", stream.getvalue())
        assert file.orientation is None
        np.testing.assert_array_equal(decode_file(file), by_pillow(file.data))

    def test_where_the_header_tells_another_size(self, photo):
        data = stored(photo)
        assert decode_jpeg(data, 131, 97) is not None
        assert decode_jpeg(data, 130, 97) is None
        assert decode_jpeg(data, 131, 200) is None

    def test_without_simplejpeg(self, photo, monkeypatch):
        data = stored(photo)
        monkeypatch.setitem(sys.modules, "simplejpeg", None)
        assert decode_jpeg(data, 131, 97) is None
        np.testing.assert_array_equal(decode(data), by_pillow(data))

    @pytest.mark.parametrize("option", ["fastdct", "fastupsample"])
    def test_where_the_other_library_computes_otherwise(self, photo, option, monkeypatch):
        def otherwise(*given, **options):
            return simplejpeg.decode_jpeg(*given, **{option: True}, **options)

        data = stored(photo)
        monkeypatch.setitem(sys.modules, "simplejpeg", SimpleNamespace(decode_jpeg=otherwise))
        assert decode_jpeg(data, 131, 97) is None
        np.testing.assert_array_equal(decode(data), by_pillow(data))


DAMAGES = {
    "cut": lambda data, draw: data[: draw.randrange(700, len(data))],
    "without its end": lambda data, draw: data[: -draw.randint(1, 4)],
    "with a tail": lambda data, draw: data + draw.randbytes(30),
    "zeros from somewhere": lambda data, draw: data[: (at := draw.randrange(700, len(data)))] + bytes(len(data) - at),
    "bytes put in": lambda data, draw: data[: (at := draw.randrange(len(data)))] + draw.randbytes(9) + data[at:],
    "bytes taken out": lambda data, draw: data[: (at := draw.randrange(len(data)))] + data[at + 7 :],
    "bytes changed": lambda data, draw: data[: (at := draw.randrange(len(data)))] + draw.randbytes(3) + data[at + 3 :],
}


class TestDamage:
    @pytest.mark.filterwarnings("ignore::UserWarning:PIL")
    @pytest.mark.parametrize("damage", DAMAGES)
    def test_does_what_pillow_does_and_prints_nothing(self, photo, damage, capfd):
        draw = random.Random(0)
        kinds = [stored(photo[:48, :65], **options) for options in KINDS.values()]
        for data in kinds * 8:
            broken = DAMAGES[damage](data, draw)
            expected = jpeg_off(outcome, broken)
            found = outcome(broken)
            if isinstance(expected, str):
                assert found == expected
            else:
                np.testing.assert_array_equal(found, expected)
        assert capfd.readouterr() == ("", "")


def outcome(data: bytes) -> np.ndarray | str:
    """The pixels, or why there are none."""
    try:
        return decode_file(parse_file("a", data, max_pixels=100_000))
    except ImageError as error:
        return str(error)
