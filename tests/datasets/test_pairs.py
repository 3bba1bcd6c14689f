"""Pairs: where crops are cut, and that a real image and its reconstruction are stored alike."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from maibench.datasets import autoencoders, roundtrip
from maibench.datasets.autoencoders import FACTOR, build_autoencoder, load_autoencoder, save_autoencoder
from maibench.datasets.image import decode
from maibench.datasets.manifest import Manifest
from maibench.datasets.pairs import Crop, grid, write_pairs
from maibench.datasets.roundtrip import reconstruct
from maibench.datasets.storage import parse_storage

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
            file = written.read(row.path)
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

    def test_a_licence_is_a_column_where_there_is_one(self, crops, weights, tmp_path):
        bare = write_pairs(crops[3:], tmp_path / "bare")
        free = write_pairs([dataclasses.replace(crops[2], licence="CC0")], tmp_path / "free")
        assert "licence" not in bare
        assert list(free["licence"]) == ["CC0", "CC0"]

    def test_both_sides_are_stored_alike(self, weights, crops, tmp_path):
        rows = write_pairs(crops, tmp_path, storage=parse_storage("jpeg:90"))
        assert set(rows["format"]) == {"JPEG"}
        tables = set()
        for row in rows.itertuples():
            assert row.path.endswith(".jpg")
            with Image.open(tmp_path / row.path) as image:
                assert image.size == (row.width, row.height)
                tables.add(repr(image.quantization))
        assert len(tables) == 1

    def test_what_is_there_is_not_computed_again(self, weights, crops, tmp_path, monkeypatch):
        whole = write_pairs(crops, tmp_path / "whole", batch=1)
        again = write_pairs(crops, tmp_path / "again", batch=1)
        (tmp_path / "again" / "images" / "two.nano-sd1.5.png").unlink()
        calls = []

        def counted(*given):
            calls.append(len(given[1]))
            return reconstruct(*given)

        monkeypatch.setattr(roundtrip, "reconstruct", counted)
        again = write_pairs(crops, tmp_path / "again", batch=1)
        assert calls == [1]
        pd.testing.assert_frame_equal(whole, again)

    @pytest.mark.parametrize(
        ("side", "batch", "sizes"), [(256, 4, [4, 2]), (128, 4, [4, 2]), (512, 4, [1] * 6), (512, 8, [2] * 3)]
    )
    def test_a_batch_holds_fewer_large_crops(self, tmp_path, monkeypatch, side, batch, sizes):
        seen = []
        monkeypatch.setattr(roundtrip, "factor_of", lambda model: 1)
        monkeypatch.setattr(roundtrip, "reconstruct", lambda model, images, device: seen.append(len(images)) or images)
        pixels = np.zeros((side, side, 3), np.uint8)
        crops = [Crop(f"{number}", pixels, "s", "train", ("echo",)) for number in range(6)]
        write_pairs(crops, tmp_path, batch, {"echo": object()})
        assert seen == sizes
