from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from maibench import Card, Detector, load_detector
from maibench.datasets.image import decode
from maibench.datasets.readers import read_manifest
from maibench.errors import ImageError
from maibench.evaluation.evidence import (
    FEWEST_CELLS,
    MOST_CELLS,
    NEGLIGIBLE,
    PER_MAP,
    at_once,
    blurred,
    choose_cells,
    evidence_map,
    has_evidence,
    map_cost,
    overlay,
    pass_cost,
)


def detail(image: np.ndarray) -> float:
    """How much neighbours differ: what a blur takes away."""
    return float(np.abs(np.diff(image.astype(float), axis=1)).mean())


class TwoSided(Detector):
    """Detail on the left speaks for synthetic, on the right for real; the lowest quarter is not looked at."""

    card = Card(name="two_sided")

    def __init__(self) -> None:
        super().__init__()
        self.passes = 0

    def preprocess(self, image):
        assert image.dtype == np.uint8 and not image.flags.writeable
        height, width = image.shape[:2]
        seen = image[: height * 3 // 4]
        return torch.tensor(detail(seen[:, : width // 2]) - detail(seen[:, width // 2 :]))

    def forward(self, batch):
        self.passes += len(batch)
        return batch


class Nan(TwoSided):
    def forward(self, batch):
        return batch * torch.nan


@pytest.fixture
def noise():
    return np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)


def test_what_lowers_the_logit_when_hidden_speaks_for_synthetic(noise):
    found = evidence_map(TwoSided(), noise, cells=8)
    assert found.values.shape == (8, 8)
    assert (found.values[:6, :3] > 0).all()
    assert (found.values[:6, 5:] < 0).all()
    assert np.abs(found.values).max() == 1
    # a window may reach over from the row above
    assert (found.values[7] == 0).all()


def test_each_cell_is_the_mean_change_of_the_windows_that_cover_it(noise):
    detector, hidden = TwoSided(), blurred(noise)

    def logit(image):
        image.setflags(write=False)
        return float(detector.preprocess(image))

    total, count = np.zeros((6, 6)), np.zeros((6, 6))
    for row in range(5):
        for column in range(5):
            image = noise.copy()
            window = np.s_[row * 16 : row * 16 + 32, column * 16 : column * 16 + 32]
            image[window] = hidden[window]
            total[row : row + 2, column : column + 2] += logit(noise.copy()) - logit(image)
            count[row : row + 2, column : column + 2] += 1
    expected = total / count
    expected[np.abs(expected) < NEGLIGIBLE] = 0
    found = evidence_map(detector, noise, cells=6)
    np.testing.assert_allclose(found.values * found.strongest, expected, atol=1e-9)


def test_a_map_takes_as_many_passes_as_was_said(noise):
    wide = np.concatenate([noise, noise, noise], axis=1)
    for pixels, cells in ((noise, 5), (noise, 8), (wide, 6)):
        detector = TwoSided()
        evidence_map(detector, pixels, cells)
        assert detector.passes == map_cost(1, pixels, cells) + 1  # and the image itself


def test_cells_are_about_square(noise):
    assert evidence_map(TwoSided(), np.concatenate([noise] * 4, axis=1), 8).values.shape == (2, 8)
    assert evidence_map(TwoSided(), noise[:, :24], 8).values.shape == (8, 2)
    assert evidence_map(TwoSided(), noise[:4, :4], 8).values.shape == (4, 4)


def test_the_caller_s_pixels_stay_as_they_are(noise):
    before = noise.copy()
    evidence_map(TwoSided(), noise, 5)
    assert noise.flags.writeable
    np.testing.assert_array_equal(noise, before)


def test_an_indifferent_detector_has_an_empty_map():
    flat = np.full((64, 64, 3), 90, dtype=np.uint8)
    found = evidence_map(TwoSided(), flat, 5)
    assert found.strongest == 0
    assert (found.values == 0).all()


def test_nan_is_an_error(noise):
    with pytest.raises(ImageError, match="NaN"):
        evidence_map(Nan(), noise, 5)


def test_two_maps_of_an_image_are_the_same(noise):
    detector = load_detector("mai_cnn")
    first, second = evidence_map(detector, noise), evidence_map(detector, noise)
    np.testing.assert_array_equal(first.values, second.values)
    assert first.strongest == second.strongest


def test_what_a_detector_crops_away_is_zero(texture):
    found = evidence_map(load_detector("mai_cnn"), texture((400, 400)), cells=8)
    assert (found.values[[0, 7]] == 0).all() and (found.values[:, [0, 7]] == 0).all()
    assert (found.values[2:6, 2:6] != 0).all()


def test_the_costlier_a_pass_the_coarser_the_grid(noise):
    chosen = [choose_cells(cost, noise, "cpu") for cost in (0, 1e8, 1e9, 2e9, 5e9, 1e15)]
    assert chosen == sorted(chosen, reverse=True)
    assert (chosen[0], chosen[-1]) == (MOST_CELLS, FEWEST_CELLS)
    for cost in (1e9, 1.5e9, 3e9):
        assert map_cost(cost, noise, choose_cells(cost, noise, "cpu")) <= PER_MAP["cpu"]


def test_large_images_are_hidden_in_fewer_versions_at_a_time(noise, monkeypatch):
    def sized(height, width):
        return np.broadcast_to(np.uint8(0), (height, width, 3))  # takes no memory

    assert [at_once(noise, device) for device in ("cpu", "cuda")] == [4, 32]
    for side in (4_000, 5_000, 8_000):
        for device in ("cpu", "cuda"):
            assert at_once(sized(side, side), device) * side * side * 3 <= 2**28
    assert at_once(sized(20_000, 20_000), "cuda") == 1

    batches = []

    class Counts(TwoSided):
        def forward(self, batch):
            batches.append(len(batch))
            return super().forward(batch)

    before = evidence_map(TwoSided(), noise, 5)
    monkeypatch.setattr("maibench.evaluation.evidence._BYTES_AT_ONCE", 3 * noise.nbytes - 1)
    np.testing.assert_array_equal(evidence_map(Counts(), noise, 5).values, before.values)
    assert max(batches) == 2


def test_cost_is_counted_in_the_convolutions(noise):
    # mai_cnn on 200 x 200: three convolutions of 3 x 3 and three linear layers, two operations a multiplication
    convolutions = 200**2 * 27 * 16 + 100**2 * 144 * 32 + 50**2 * 288 * 64
    linear = 40_000 * 120 + 120 * 30 + 30
    assert pass_cost(load_detector("mai_cnn"), noise) == 2 * (convolutions + linear)


def test_detectors_of_files_have_no_evidence():
    assert has_evidence(load_detector("bailu"))
    assert not has_evidence(load_detector("metadata"))


def test_overlay_is_orange_for_synthetic_and_blue_for_real():
    pixels = np.full((50, 100, 3), 128, dtype=np.uint8)
    picture = overlay(pixels, np.array([[1.0, 0.0, -1.0]]))
    assert picture.shape == pixels.shape and picture.dtype == np.uint8
    left, middle, right = (picture[25, column].astype(int) for column in (2, 50, 97))
    assert left[0] > left[1] > left[2]
    assert right[2] > right[1] > right[0]
    assert np.ptp(middle) < 12


def test_maps_of_half_synthetic_images_tell_the_halves_apart(demo_cache):
    """The demo's pairs are the same pixels up to the autoencoder's trace, so that the halves differ in nothing else."""
    manifest = read_manifest(next(demo_cache.glob("demo-*/manifest.csv")))
    rows = manifest.split("test")
    real = rows[rows["label"] == 0].set_index("pair")["path"]
    detector = load_detector("bailu")
    areas = []
    for index, row in enumerate(rows[rows["label"] == 1].iloc[::16].to_dict("records")):
        pixels = decode(manifest.read(real[row["pair"]]).data).copy()
        half = np.s_[:, :100] if index % 2 else np.s_[:100]
        pixels[half] = decode(manifest.read(row["path"]).data)[half]
        truth = np.zeros((8, 8), dtype=int)
        truth[np.s_[:, :4] if index % 2 else np.s_[:4]] = 1
        areas.append(roc_auc_score(truth.ravel(), evidence_map(detector, pixels, 8).values.ravel()))
    assert np.mean(areas) > 0.7
