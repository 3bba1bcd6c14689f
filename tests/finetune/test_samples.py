"""Drawing training images: balance, pairs, what is left out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from maibench.datasets.manifest import Manifest
from maibench.datasets.pairs import Crop, write_pairs
from maibench.datasets.readers import read_manifest
from maibench.errors import MaibenchError
from maibench.finetune.samples import SampleSource


def test_half_of_a_batch_is_real_and_rare_generators_are_not_drowned(data_set):
    manifest = read_manifest(data_set(n_real=3, n_synthetic=8, splits=("train",), generators=["a"] * 7 + ["b"]))
    source = SampleSource([manifest])
    rng = np.random.default_rng(0)
    drawn = Counter(sample.label for _ in range(50) for sample in source.draw(8, 0.0, rng))
    assert drawn[0] == drawn[1] == 200
    assert source.generators == ["a", "b"]
    assert source._synthetic.shares == pytest.approx(np.sqrt([7, 1]) / np.sqrt([7, 1]).sum())


def test_pairs_stand_side_by_side_and_singles_do_not_repeat_them(data_set, texture, tmp_path: Path):
    crops = [Crop(f"c{i}", texture((64, 64), i), f"s{i}", "train", ("nano-sd1.5", "nano-sdxl")) for i in range(3)]
    pairs = Manifest.from_frame(write_pairs(crops, tmp_path), tmp_path, "pairs")
    source = SampleSource([pairs, read_manifest(data_set(splits=("train",)))])
    assert len(source.pairs) == 3
    samples = source.draw(16, 0.5, np.random.default_rng(0))
    assert [sample.label for sample in samples] == [0, 1] * 8
    assert [sample.pair for sample in samples] == [0, 0, 1, 1, 2, 2, 3, 3] + [-1] * 8
    for real, synthetic in zip(samples[:8:2], samples[1:8:2], strict=True):
        difference = np.abs(real.pixels.astype(int) - synthetic.pixels.astype(int)).mean()
        others = [np.abs(real.pixels.astype(int) - crop.pixels.astype(int)).mean() for crop in crops]
        assert difference < np.sort(others)[1]  # nearer to its own photograph than to any other


def test_excluded_generators_and_broken_images_are_left_out_and_told(data_set, tmp_path: Path):
    file = data_set(tmp_path, splits=("train",))
    (tmp_path / "train/real/000.png").write_bytes(b"no image")
    source = SampleSource([read_manifest(file)], ["gen-b"])
    assert source.generators == ["gen-a"]
    assert list(source.skipped) == ["train/real/000.png"]


def test_validation_and_test_rows_are_never_drawn(data_set, tmp_path: Path):
    file = data_set(tmp_path, n_real=2, n_synthetic=2, splits=("train", "validation", "test"))
    source = SampleSource([read_manifest(file)])
    assert source.singles == 4
    assert (pd.read_csv(file)["split"] == "train").sum() == 4


def test_one_class_is_refused(data_set):
    with pytest.raises(MaibenchError, match="real images and at least one generator"):
        SampleSource([read_manifest(data_set(n_synthetic=0, splits=("train",)))])
