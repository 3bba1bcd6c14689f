"""Decoding, against Pillow's plain conversion, against numpy, and against files written by hand."""

from __future__ import annotations

import hashlib
import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from maibench.datasets.image import MAX_PIXELS, decode, parse_file
from maibench.datasets.images import FolderImages
from maibench.errors import ImageError, MaibenchError

ORIENTATION = 274


def stored(image: Image.Image, file_format: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, file_format, **options)
    return stream.getvalue()


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def handmade_png(width: int, height: int, bits: int, colour: int, rows: bytes) -> bytes:
    """A PNG without Pillow; `rows`: each row's filter byte 0 and its samples, big-endian."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + png_chunk(b"IDAT", zlib.compress(rows))
        + png_chunk(b"IEND", b"")
    )


def handmade_png16(values: np.ndarray, colour: int) -> bytes:
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return handmade_png(values.shape[1], values.shape[0], 16, colour, rows)


@pytest.fixture(scope="module")
def photo(texture) -> Image.Image:
    return Image.fromarray(texture((61, 43), 1))


@pytest.fixture(scope="module")
def deep() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 65536, (17, 23, 3), dtype=np.uint16)


def over_white(rgba: np.ndarray) -> np.ndarray:
    alpha = rgba[:, :, 3:] / 255
    return rgba[:, :, :3] * alpha + 255 * (1 - alpha)


class TestLossless:
    @settings(max_examples=40, deadline=None)
    @given(
        pixels=arrays.arrays(
            np.uint8, st.tuples(st.integers(1, 20), st.integers(1, 20), st.just(3)), elements=st.integers(0, 255)
        ),
        how=st.sampled_from([("PNG", {}), ("BMP", {}), ("TIFF", {}), ("WEBP", {"lossless": True})]),
    )
    def test_the_pixels_come_back_as_they_were(self, pixels, how):
        np.testing.assert_array_equal(decode(stored(Image.fromarray(pixels), how[0], **how[1])), pixels)

    @pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
    def test_compressed_tiff(self, photo, compression):
        np.testing.assert_array_equal(decode(stored(photo, "TIFF", compression=compression)), np.asarray(photo))

    @pytest.mark.parametrize("file_format", ["PNG", "BMP", "TIFF"])
    def test_grey_fills_all_three_channels(self, photo, file_format):
        grey = photo.convert("L")
        np.testing.assert_array_equal(decode(stored(grey, file_format)), np.dstack([np.asarray(grey)] * 3))

    @pytest.mark.parametrize("file_format", ["PNG", "BMP", "TIFF"])
    def test_black_and_white_becomes_0_and_255(self, photo, file_format):
        bits = photo.convert("1")
        np.testing.assert_array_equal(decode(stored(bits, file_format))[:, :, 1], np.asarray(bits) * np.uint8(255))

    @pytest.mark.parametrize("file_format", ["PNG", "BMP", "TIFF", "GIF"])
    def test_a_palette_becomes_its_colours(self, photo, file_format):
        indexed = photo.quantize(32)
        colours = np.array(indexed.getpalette()[:96]).reshape(-1, 3)[np.asarray(indexed)]
        np.testing.assert_array_equal(decode(stored(indexed, file_format)), colours)

    def test_one_pixel(self):
        assert decode(stored(Image.new("RGB", (1, 1), (3, 200, 77)), "PNG")).tolist() == [[[3, 200, 77]]]

    def test_width_and_height_are_not_swapped(self, photo):
        assert decode(stored(photo, "PNG")).shape == (43, 61, 3)


class TestAlphaIsLaidOverWhite:
    @pytest.mark.parametrize("how", [("PNG", {}), ("WEBP", {"lossless": True, "exact": True}), ("TIFF", {})])
    def test_rgba(self, texture, how):
        alpha = np.tile(np.array([0, 1, 64, 128, 254, 255], np.uint8), (8, 5))
        rgba = np.dstack([texture((30, 8), 2), alpha])
        pixels = decode(stored(Image.fromarray(rgba), how[0], **how[1]))
        np.testing.assert_allclose(pixels, over_white(rgba), atol=1)
        np.testing.assert_array_equal(pixels[alpha == 0], 255)
        np.testing.assert_array_equal(pixels[alpha == 255], rgba[:, :, :3][alpha == 255])

    def test_grey_with_alpha(self):
        image = Image.merge("LA", [Image.new("L", (4, 1), 40), Image.new("L", (4, 1))])
        image.putalpha(Image.fromarray(np.array([[0, 255, 128, 255]], np.uint8)))
        pixels = decode(stored(image, "PNG"))
        assert pixels[0, [0, 1, 3], 0].tolist() == [255, 40, 40]
        assert abs(int(pixels[0, 2, 0]) - (40 * 128 + 255 * 127) / 255) <= 1
        assert (pixels[:, :, 0] == pixels[:, :, 2]).all()

    def test_a_palette_with_a_transparent_colour(self):
        image = Image.fromarray(np.array([[0, 1, 2]], np.uint8), "P")
        image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
        assert decode(stored(image, "PNG", transparency=1)).tolist() == [[[10, 20, 30], [255, 255, 255], [70, 80, 90]]]

    def test_a_palette_with_an_alpha_for_each_colour(self):
        image = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
        image.putpalette([10, 20, 30, 40, 50, 60])
        first, second = decode(stored(image, "PNG", transparency=bytes([0, 102])))[0]
        assert first.tolist() == [255, 255, 255]
        np.testing.assert_allclose(second, [40 * 0.4 + 153, 50 * 0.4 + 153, 60 * 0.4 + 153], atol=1)

    @pytest.mark.parametrize(("mode", "key", "other"), [("RGB", (9, 8, 7), (1, 2, 3)), ("L", 9, 1)])
    def test_a_colour_named_as_transparent(self, mode, key, other):
        image = Image.new(mode, (2, 1), key)
        image.putpixel((1, 0), other)
        pixels = decode(stored(image, "PNG", transparency=key))
        assert pixels[0, 0].tolist() == [255, 255, 255]
        np.testing.assert_array_equal(pixels[0, 1], other)

    def test_a_transparent_gif(self):
        image = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
        image.putpalette([10, 20, 30, 40, 50, 60])
        assert decode(stored(image, "GIF", transparency=0)).tolist() == [[[255, 255, 255], [40, 50, 60]]]


class TestSixteenBitsAreCutToTheirUpperEight:
    def test_grey_png(self, deep):
        pixels = decode(handmade_png16(deep[:, :, :1], colour=0))
        np.testing.assert_array_equal(pixels, np.repeat(deep[:, :, :1] >> 8, 3, axis=2))

    def test_rgb_png(self, deep):
        np.testing.assert_array_equal(decode(handmade_png16(deep, colour=2)), deep >> 8)

    def test_rgba_png(self, deep):
        opaque = np.dstack([deep, np.full(deep.shape[:2], 65535, np.uint16)])
        np.testing.assert_array_equal(decode(handmade_png16(opaque, colour=6)), deep >> 8)

    @pytest.mark.parametrize("byteorder", ["<", ">"])
    def test_grey_tiff(self, deep, byteorder):
        stream = io.BytesIO()
        tifffile.imwrite(stream, deep[:, :, 0], byteorder=byteorder, photometric="minisblack")
        np.testing.assert_array_equal(decode(stream.getvalue())[:, :, 2], deep[:, :, 0] >> 8)

    @pytest.mark.parametrize("byteorder", ["<", ">"])
    def test_rgb_tiff(self, deep, byteorder):
        stream = io.BytesIO()
        tifffile.imwrite(stream, deep, byteorder=byteorder, photometric="rgb")
        np.testing.assert_array_equal(decode(stream.getvalue()), deep >> 8)

    def test_floating_point_is_refused(self):
        with pytest.raises(ImageError, match="floating-point"):
            decode(stored(Image.new("F", (3, 2), 0.5), "TIFF"))


class TestLossy:
    @pytest.mark.parametrize("options", [{"subsampling": 0}, {"subsampling": 2}, {"progressive": True}])
    def test_colour_jpeg_is_what_pillow_decodes(self, photo, options):
        data = stored(photo, "JPEG", quality=80, **options)
        with Image.open(io.BytesIO(data)) as image:
            np.testing.assert_array_equal(decode(data), np.asarray(image.convert("RGB")))
        assert np.abs(decode(data).astype(int) - np.asarray(photo)).mean() < 12

    def test_grey_jpeg(self, photo):
        data = stored(photo.convert("L"), "JPEG", quality=80)
        with Image.open(io.BytesIO(data)) as image:
            assert image.mode == "L"
            np.testing.assert_array_equal(decode(data), np.dstack([np.asarray(image)] * 3))

    @pytest.mark.parametrize(
        ("cmyk", "rgb"),
        [((0, 0, 0, 0), (255, 255, 255)), ((0, 0, 0, 255), (0, 0, 0)), ((255, 0, 0, 0), (0, 255, 255))],
    )
    def test_cmyk_jpeg_has_the_right_colours(self, cmyk, rgb):
        data = stored(Image.new("CMYK", (16, 16), cmyk), "JPEG", quality=100)
        np.testing.assert_allclose(decode(data).astype(int), np.broadcast_to(rgb, (16, 16, 3)), atol=2)

    def test_cmyk_jpeg_is_what_pillow_converts(self, photo):
        data = stored(photo.convert("CMYK"), "JPEG", quality=90)
        with Image.open(io.BytesIO(data)) as image:
            assert image.mode == "CMYK"
            np.testing.assert_array_equal(decode(data), np.asarray(image.convert("RGB")))

    def test_webp_is_what_pillow_decodes(self, photo):
        data = stored(photo, "WEBP", quality=70)
        with Image.open(io.BytesIO(data)) as image:
            np.testing.assert_array_equal(decode(data), np.asarray(image.convert("RGB")))

    def test_a_colour_profile_changes_nothing(self, photo):
        from PIL import ImageCms

        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
        np.testing.assert_array_equal(decode(stored(photo, "JPEG", icc_profile=profile)), decode(stored(photo, "JPEG")))


@pytest.mark.parametrize(
    ("file_format", "options"),
    [("WEBP", {"lossless": True}), ("GIF", {}), ("PNG", {}), ("TIFF", {})],
)
def test_of_an_animation_the_first_frame_is_taken(file_format, options):
    frames = [Image.new("RGB", (12, 8), colour) for colour in [(200, 10, 10), (10, 200, 10), (10, 10, 200)]]
    data = stored(frames[0], file_format, save_all=True, append_images=frames[1:], **options)
    with Image.open(io.BytesIO(data)) as image:
        assert image.n_frames == 3
    np.testing.assert_array_equal(decode(data), np.asarray(frames[0]))


def test_of_a_stereo_camera_the_first_picture_is_taken(photo):
    data = stored(photo, "MPO", save_all=True, append_images=[Image.new("RGB", photo.size)])
    assert parse_file("a.jpg", data).format == "MPO"
    np.testing.assert_array_equal(decode(data), decode(stored(photo, "JPEG")))


# EXIF 2.32, table 6: where the stored row 0 and column 0 belong in the picture as seen
SEEN = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a),
}


class TestOrientation:
    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize(("file_format", "options"), [("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {})])
    def test_is_applied(self, photo, orientation, file_format, options):
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        pixels = decode(stored(photo, file_format, exif=exif, **options))
        np.testing.assert_array_equal(pixels, SEEN[orientation](np.asarray(photo)))

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_is_applied_to_jpeg(self, photo, orientation):
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        plain = decode(stored(photo, "JPEG"))
        np.testing.assert_array_equal(decode(stored(photo, "JPEG", exif=exif)), SEEN[orientation](plain))

    def test_the_header_tells_the_size_as_stored(self, photo):
        exif = Image.Exif()
        exif[ORIENTATION] = 6
        file = parse_file("a.jpg", stored(photo, "JPEG", exif=exif))
        assert (file.width, file.height) == (61, 43)

    @pytest.mark.filterwarnings("ignore::UserWarning:PIL")
    @pytest.mark.parametrize("exif", [b"Exif\0\0nothing of the kind", b"Exif\0\0II*\0\xff\xff\xff\x7f", b"Exif\0\0MM"])
    @pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
    def test_a_broken_exif_block_costs_no_image(self, photo, exif, file_format):
        plain = decode(stored(photo, file_format))
        np.testing.assert_array_equal(decode(stored(photo, file_format, exif=exif)), plain)

    def test_is_applied_to_a_palette_with_transparency(self):
        image = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
        image.putpalette([10, 20, 30, 40, 50, 60])
        exif = Image.Exif()
        exif[ORIENTATION] = 6
        assert decode(stored(image, "PNG", transparency=0, exif=exif)).tolist() == [[[255] * 3], [[40, 50, 60]]]


def test_the_pixels_are_read_only(photo):
    pixels = decode(stored(photo, "PNG"))
    assert pixels.dtype == np.uint8
    with pytest.raises(ValueError, match="read-only"):
        pixels[0, 0, 0] = 1


def test_an_odd_file_does_not_litter_the_terminal(tmp_path, photo):
    exif = Image.Exif()
    exif[ORIENTATION] = 1
    (tmp_path / "a.jpg").write_bytes(stored(photo, "JPEG", exif=exif.tobytes()[:-6]))
    code = "import sys; from maibench.datasets.image import decode; decode(open(sys.argv[1], 'rb').read())"
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "a.jpg"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


class TestHeader:
    @pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
    def test_says_format_size_and_hash(self, photo, file_format):
        data = stored(photo, file_format)
        file = parse_file("below/a.bin", data)  # the content decides, not the name
        assert (file.path, file.format, file.width, file.height) == ("below/a.bin", file_format, 61, 43)
        assert file.data == data
        assert file.image_id == hashlib.sha256(data).hexdigest()


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
class TestWhatCannotBeRead:
    def read(self, root: Path, path: str) -> np.ndarray:
        return decode(parse_file(path, FolderImages(root).read(path)).data)

    @pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"])
    @pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
    def test_a_file_cut_short(self, tmp_path, texture, file_format, share):
        data = stored(Image.fromarray(texture((200, 150), 3)), file_format)
        (tmp_path / "cut").write_bytes(data[: int(len(data) * share)])
        with pytest.raises(ImageError, match=r"cannot be decoded: .+|not an image"):
            self.read(tmp_path, "cut")

    def test_text_that_is_named_jpg(self, tmp_path):
        (tmp_path / "a.jpg").write_text("404 Not Found")
        with pytest.raises(ImageError, match=r"not an image in a format that is read here.*JPEG"):
            self.read(tmp_path, "a.jpg")

    def test_an_empty_file(self, tmp_path):
        (tmp_path / "a.jpg").touch()
        with pytest.raises(ImageError, match="empty"):
            self.read(tmp_path, "a.jpg")

    def test_a_text_that_unpacks_to_megabytes(self):
        # behind the pixels, where Pillow's complaint is a ValueError and no OSError
        data = handmade_png(2, 2, 8, 0, b"\0ab" * 2)
        bomb = png_chunk(b"zTXt", b"comment\0\0" + zlib.compress(bytes(5_000_000)))
        with pytest.raises(ImageError, match=r"cannot be decoded: .*too large"):
            decode(data[:-12] + bomb + data[-12:])

    def test_a_folder_in_place_of_a_file(self, tmp_path):
        (tmp_path / "a.jpg").mkdir()
        with pytest.raises(ImageError, match="cannot be read: Is a directory"):
            self.read(tmp_path, "a.jpg")

    def test_a_missing_file(self, tmp_path):
        with pytest.raises(ImageError, match="cannot be read: No such file"):
            self.read(tmp_path, "a.jpg")

    def test_a_symbolic_link_to_itself(self, tmp_path):
        (tmp_path / "a.jpg").symlink_to("a.jpg")
        with pytest.raises(ImageError, match=r"cannot be read: .*symbolic links"):
            self.read(tmp_path, "a.jpg")

    def test_a_format_that_is_not_listed(self, photo):
        # formats that run an interpreter or read other files (EPS, WMF, ...) stay out
        with pytest.raises(ImageError, match="not an image in a format"):
            parse_file("a.jpg", stored(photo, "PPM"))

    def test_is_a_failed_row_and_a_maibench_error(self):
        assert issubclass(ImageError, MaibenchError)

    @settings(max_examples=150, deadline=None)
    @given(data=st.data())
    def test_no_damage_raises_anything_else(self, data):
        good = data.draw(st.sampled_from(GOOD))
        broken = bytearray(good)
        for _ in range(data.draw(st.integers(1, 6))):
            broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
        try:
            parse_file("a", bytes(broken), max_pixels=1_000_000)
            pixels = decode(bytes(broken))
        except ImageError as error:
            assert str(error)
        else:
            assert pixels.dtype == np.uint8
            assert pixels.ndim == 3
            assert pixels.shape[2] == 3


_SMALL = Image.fromarray(np.random.default_rng(5).integers(0, 256, (9, 11, 3), dtype=np.uint8))
_EXIF = Image.Exif()
_EXIF[ORIENTATION] = 6
GOOD = [stored(_SMALL, name, exif=_EXIF) for name in ("JPEG", "PNG", "WEBP", "TIFF")]
GOOD += [stored(_SMALL, "GIF"), stored(_SMALL, "BMP")]


class TestDecompressionBomb:
    BOMB = handmade_png(20_000, 20_000, 8, 2, b"\0" * 100)

    def test_is_refused_from_its_header(self):
        # 20,000 x 20,000 pixels: were it decoded, the cut-short data would be the complaint
        with pytest.raises(
            ImageError, match=r"20000 x 20000 pixels are more than the limit of 100,000,000.*max_pixels"
        ):
            parse_file("bomb.png", self.BOMB)

    def test_no_memory_is_taken_for_it(self):
        import tracemalloc

        tracemalloc.start()
        with pytest.raises(ImageError):
            parse_file("bomb.png", self.BOMB)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 10_000_000

    def test_the_limit_can_be_moved(self):
        small = handmade_png(10, 10, 8, 2, (b"\0" + b"\7" * 30) * 10)
        assert parse_file("a.png", small, max_pixels=100).width == 10
        with pytest.raises(ImageError, match="limit of 99 "):
            parse_file("a.png", small, max_pixels=99)
        assert parse_file("a.png", self.BOMB, max_pixels=400_000_000).height == 20_000

    def test_pillows_own_limit_is_not_in_the_way(self, recwarn):
        parse_file("a.png", handmade_png(9_500, 10_000, 8, 2, b""))
        assert MAX_PIXELS == 100_000_000
        assert not recwarn.list
