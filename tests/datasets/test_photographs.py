"""Which photographs are taken, and which part of each."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from maibench.datasets.image import decode
from maibench.datasets.manifest import Manifest
from maibench.datasets.photographs import Cut, photographs
from maibench.datasets.readers import open_data
from maibench.errors import ImageError, MaibenchError


class TestPhotographs:
    def test_are_the_real_ones_of_the_splits_in_order(self, data_set):
        manifest = open_data(str(data_set(splits=("test", "train", "validation"))))
        rows = photographs(manifest, ["train", "validation"])
        expected = manifest.rows[(manifest.rows["label"] == 0) & (manifest.rows["split"] != "test")]
        assert [row["path"] for row in rows] == list(expected["path"])
        assert {row["split"] for row in photographs(manifest, ["validation"])} == {"validation"}

    @pytest.mark.parametrize(
        ("most", "kept"), [(1, [0]), (2, [0, 6]), (3, [0, 3, 6]), (7, [*range(7)]), (9, [*range(7)])]
    )
    def test_are_thinned_evenly(self, tmp_path, most, kept):
        rows = pd.DataFrame({"path": [f"{n}.png" for n in range(7)], "label": 0, "generator": "real", "split": "train"})
        manifest = Manifest.from_frame(rows, tmp_path, "seven")
        assert [row["path"] for row in photographs(manifest, ["train"], most)] == [f"{n}.png" for n in kept]

    def test_none_is_an_error_that_says_where_they_are(self, data_set):
        manifest = open_data(str(data_set(n_real=3)))
        words = r"no real photographs in train or validation \(3 in test\); the test split is never read"
        with pytest.raises(MaibenchError, match=words):
            photographs(manifest, ["train", "validation"])


@pytest.fixture
def manifest(tmp_path):
    """manifest(pixels, ...) -> a manifest that lists them as 0.png, 1.png, ..."""

    def make(*images: np.ndarray) -> Manifest:
        for number, image in enumerate(images):
            Image.fromarray(image).save(tmp_path / f"{number}.png")
        paths = [f"{number}.png" for number in range(len(images))]
        return Manifest.from_frame(pd.DataFrame({"path": paths, "label": 0, "generator": "real"}), tmp_path, "images")

    return make


class TestCut:
    def test_takes_the_middle_to_a_multiple_of_the_factor(self, manifest, texture):
        image = texture((301, 130))
        pixels = Cut(256, 8, shrink=False, longest=9999)(manifest(image).read("0.png"))
        np.testing.assert_array_equal(pixels, image[1:129, 22:278])
        assert pixels.base is None  # nothing holds the whole photograph

    def test_takes_all_of_it(self, manifest, texture):
        image = texture((301, 130))
        pixels = Cut(None, 2, shrink=False, longest=9999)(manifest(image).read("0.png"))
        np.testing.assert_array_equal(pixels, image[:, :300])

    @pytest.mark.parametrize(
        ("size", "expected"), [((500, 420), (210, 250)), ((400, 300), (208, 277)), ((180, 90), (90, 180))]
    )
    def test_halves_but_keeps_something_to_see(self, manifest, texture, size, expected):
        pixels = Cut(None, 1, shrink=True, longest=9999)(manifest(texture(size)).read("0.png"))
        assert pixels.shape[:2] == expected

    @pytest.mark.parametrize(
        ("size", "cut", "words"),
        [
            ((200, 63), Cut(256, 1, False, 9999), "smaller than 64 pixels a side"),
            ((200, 65), Cut(256, 24, False, 9999), "smaller than 64 pixels a side"),
            ((200, 64), Cut(None, 1, False, 199), "longer than the 199 pixels"),
        ],
    )
    def test_leaves_out_what_does_not_fit(self, manifest, texture, size, cut, words):
        with pytest.raises(ImageError, match=words):
            cut(manifest(texture(size)).read("0.png"))

    def test_leaves_out_what_cannot_be_read(self, manifest, texture, tmp_path):
        listed = manifest(texture((64, 64)), texture((64, 64)))
        (tmp_path / "0.png").write_bytes(b"broken")
        (tmp_path / "1.png").unlink()
        cut = Cut(256, 1, False, 9999)
        for path, words in (("0.png", "not an image"), ("1.png", "cannot be read")):
            with pytest.raises(ImageError, match=words):
                cut(listed.read(path))

    def test_pixels_are_the_decoders(self, manifest, texture, tmp_path):
        listed = manifest(texture((64, 64)))
        expected = decode((tmp_path / "0.png").read_bytes())
        np.testing.assert_array_equal(Cut(256, 1, False, 9999)(listed.read("0.png")), expected)
