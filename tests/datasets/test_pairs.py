"""Pairs: where crops are cut, and that a real image and its reconstruction are stored alike."""

from __future__ import annotations

import hashlib
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from maibench.datasets import autoencoders
from maibench.datasets.autoencoders import FACTOR, build_autoencoder, load_autoencoder, reconstruct, save_autoencoder
from maibench.datasets.image import decode, read_file
from maibench.datasets.manifest import Manifest
from maibench.datasets.pairs import Crop, grid, store_uncompressed, write_pairs

NAMES = ("nano-sd1.5", "nano-flux.2")


class TestGrid:
    @given(size=st.integers(1, 300), room=st.integers(0, 3000))
    def test_covers_the_side_and_overlaps_by_half_at_most(self, size, room):
        starts = grid(size + room, size)
        assert starts[0] == 0
        assert len(starts) == 1 or starts[-1] == room
        gaps = np.diff(starts)
        assert (2 * gaps >= size).all()
        assert len(gaps) == 0 or gaps.max() - gaps.min() <= 1  # evenly spread
        assert room < (len(starts)) * ((size + 1) // 2)  # and as many as there is room for

    @given(size=st.integers(2, 300), data=st.data())
    def test_is_empty_where_no_crop_fits(self, size, data):
        assert grid(data.draw(st.integers(0, size - 1)), size) == []

    @pytest.mark.parametrize(
        ("length", "size", "starts"),
        [(200, 200, [0]), (299, 200, [0]), (300, 200, [0, 100]), (400, 200, [0, 100, 200]), (9, 5, [0, 4])],
    )
    def test_by_hand(self, length, size, starts):
        assert grid(length, size) == starts


class TestStore:
    @given(st.integers(0, 2**32 - 1))
    def test_the_size_on_disk_tells_nothing_of_the_content(self, seed):
        noise = np.random.default_rng(seed).integers(0, 256, (16, 24, 3), dtype=np.uint8)
        flat = np.full((16, 24, 3), seed % 256, np.uint8)
        assert len(store_uncompressed(noise)) == len(store_uncompressed(flat))
        np.testing.assert_array_equal(decode(store_uncompressed(noise)), noise)

    def test_is_a_png(self):
        with Image.open(io.BytesIO(store_uncompressed(np.zeros((8, 8, 3), np.uint8)))) as image:
            assert (image.format, image.mode, image.info) == ("PNG", "RGB", {})


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Random weights are as good as trained ones for where things lie and how they are stored."""
    import torch

    folder = tmp_path_factory.mktemp("weights")
    for name in NAMES:
        torch.manual_seed(0)
        save_autoencoder(build_autoencoder(name), name, folder, {})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(autoencoders, "WEIGHTS", folder)
        yield folder


@pytest.fixture(scope="module")
def crops(texture) -> list[Crop]:
    return [
        Crop("one", texture((48, 32), 1), "s", "train", NAMES),
        Crop("two", texture((48, 32), 2), "s", "train", NAMES[:1]),
        Crop("three", texture((32, 32), 3), "t", "test", NAMES[1:]),
        Crop("four", np.full((32, 48, 3), 128, np.uint8), "u", "test", ()),
    ]


@pytest.fixture(scope="module")
def written(weights, crops, tmp_path_factory) -> Manifest:
    folder = tmp_path_factory.mktemp("pairs")
    return Manifest.from_frame(write_pairs(crops, folder), folder, "pairs")


class TestWritePairs:
    def test_every_crop_and_every_reconstruction_is_listed(self, written):
        rows = {(r.path, r.label, r.generator, r.source, r.split) for r in written.rows.itertuples()}
        assert rows == {
            ("images/one.png", 0, "real", "s", "train"),
            ("images/two.png", 0, "real", "s", "train"),
            ("images/three.png", 0, "real", "t", "test"),
            ("images/four.png", 0, "real", "u", "test"),
            ("images/one.nano-sd1.5.png", 1, "nano-sd1.5", "s", "train"),
            ("images/one.nano-flux.2.png", 1, "nano-flux.2", "s", "train"),
            ("images/two.nano-sd1.5.png", 1, "nano-sd1.5", "s", "train"),
            ("images/three.nano-flux.2.png", 1, "nano-flux.2", "t", "test"),
        }
        assert {p.relative_to(written.root).as_posix() for p in written.root.rglob("*.png")} == {r[0] for r in rows}

    def test_the_listed_facts_are_those_of_the_files(self, written):
        for row in written.rows.itertuples():
            file = read_file(written.root, row.path)
            facts = (file.image_id, file.width, file.height, file.format, len(file.data))
            assert facts == (row.image_id, row.width, row.height, row.format, row.n_bytes)
            assert row.image_id == hashlib.sha256((written.root / row.path).read_bytes()).hexdigest()

    def test_a_pair_has_one_size_on_disk(self, written):
        sizes = written.rows.groupby(["width", "height"])["n_bytes"].nunique()
        assert len(sizes) == 2
        assert (sizes == 1).all()

    def test_the_pixels_are_the_crop_and_its_reconstruction(self, written, crops):
        for crop in crops:
            np.testing.assert_array_equal(decode((written.root / f"images/{crop.name}.png").read_bytes()), crop.pixels)
            for name in crop.autoencoders:
                made = decode((written.root / f"images/{crop.name}.{name}.png").read_bytes()).astype(int)
                [expected] = reconstruct(load_autoencoder(name), [crop.pixels])
                assert np.abs(made - expected).max() <= 1  # another batch size may round otherwise
                assert np.abs(made - crop.pixels).max() > 1

    def test_the_size_of_a_batch_does_not_change_which_pixels_belong_to_which_name(self, weights, crops, tmp_path):
        one, other = write_pairs(crops, tmp_path / "1", batch=1), write_pairs(crops, tmp_path / "8", batch=8)
        assert sorted(one["path"]) == sorted(other["path"])
        for path in one["path"]:
            pixels = [decode((tmp_path / folder / path).read_bytes()).astype(int) for folder in "18"]
            assert np.abs(pixels[0] - pixels[1]).max() <= 1

    @pytest.mark.parametrize("shape", [(32, 33, 3), (31, 32, 3), (FACTOR // 2, FACTOR, 3)])
    def test_sides_that_the_autoencoder_would_change_are_refused(self, tmp_path, shape):
        crop = Crop("odd", np.zeros(shape, np.uint8), "s", "test", NAMES)
        with pytest.raises(ValueError, match=f"odd: the sides of .* are not divisible by {FACTOR}"):
            write_pairs([crop], tmp_path)
