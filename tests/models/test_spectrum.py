"""The classic baseline: its spectrum and statistics are what their definitions say, and it learns what they show."""

import numpy as np
import pytest
import scipy.ndimage
import torch

from maibench.datasets.image import decode_file
from maibench.datasets.readers import open_data
from maibench.errors import MaibenchError
from maibench.evaluation.fitting import fit_detector
from maibench.models.loading import fingerprint, load_detector
from maibench.models.spectrum import NAMES, RINGS, SIZE, Spectrum, correlation, describe, median3
from maibench.models.weights import load_weights, save_weights


def told(image):
    return dict(zip(NAMES, describe(image), strict=True))


def noise(seed=0, deviation=20.0):
    return np.random.default_rng(seed).normal(128, deviation, (SIZE, SIZE, 3)).clip(0, 255).round().astype(np.uint8)


def test_median_equals_scipys(texture):
    image = texture((61, 47))
    np.testing.assert_array_equal(median3(image), scipy.ndimage.median_filter(image, size=(3, 3, 1), mode="mirror"))


def test_correlation_equals_numpys():
    first, second = np.random.default_rng(0).normal(size=(2, 9, 7))
    assert correlation(first, second + first) == pytest.approx(
        np.corrcoef(first.ravel(), (second + first).ravel())[0, 1]
    )
    assert correlation(first, np.ones((9, 7))) == 0


@pytest.mark.parametrize("cycles", [8, 40, 100])
def test_a_wave_is_in_its_ring(cycles):
    wave = 128 + 60 * np.sin(2 * np.pi * cycles * np.arange(SIZE) / SIZE)
    facts = told(np.broadcast_to(wave.round().astype(np.uint8)[None, :, None], (SIZE, SIZE, 3)))
    rings = [facts[f"luma_ring_{ring}"] for ring in range(RINGS)]
    assert np.argmax(rings) == int(cycles / SIZE / np.sqrt(0.5) * RINGS)


def test_white_noise_has_a_flat_spectrum_of_its_variance():
    facts = told(noise())
    rings = np.array([facts[f"luma_ring_{ring}"] for ring in range(2, RINGS - 2)])
    window = 9 / 64  # the mean power of a squared Hann window, both ways
    expected = np.log(20**2 * (0.299**2 + 0.587**2 + 0.114**2) * window)
    np.testing.assert_allclose(rings, expected, atol=0.4)
    assert rings.mean() == pytest.approx(expected, abs=0.03)
    assert abs(facts["residual_rg"]) < 0.02
    assert abs(facts["edges_lag_0_4"]) < 0.02
    assert facts["edges_lag_0_1"] == pytest.approx(-0.4, abs=0.02)  # of a Laplacian of white noise: -(1/2) / (5/4)


def test_doubled_pixels_show(texture):
    image = texture((SIZE, SIZE))
    doubled = image[::2, ::2].repeat(2, axis=0).repeat(2, axis=1)
    assert told(doubled)["edges_lag_1_1"] < told(image)["edges_lag_1_1"] - 0.1
    tiled = image.copy()
    tiled[::8, ::8] = np.minimum(tiled[::8, ::8], 200) + 40
    assert told(tiled)["residual_peaks_8"] > told(image)["residual_peaks_8"] + 1


@pytest.mark.parametrize("size", [(1, 1), (400, 17), (256, 256), (700, 300)])
def test_all_sizes_and_flat_images_have_finite_features(texture, size):
    for image in (texture(size), np.full((*size[::-1], 3), 90, dtype=np.uint8)):
        before = image.copy()
        image.setflags(write=False)
        item = Spectrum().preprocess(image)
        assert item.shape == (len(NAMES),)
        assert torch.isfinite(item).all()
        np.testing.assert_array_equal(image, before)


def test_learns_by_the_harness_and_survives_the_disk(data_set, tmp_path):
    manifest = open_data(str(data_set(n_real=8, n_synthetic=8, splits=("train", "test"))))
    detector = load_detector("spectrum")
    fit_detector("spectrum", detector, fingerprint(detector), manifest, tmp_path, 2, 10**8)
    rows = manifest.split("test")
    batch = torch.stack([detector.preprocess(decode_file(manifest.read(path))) for path in rows["path"]])
    logits = detector(batch)
    assert ((logits > 0).numpy() == rows["label"].to_numpy()).all()
    torch.testing.assert_close(torch.cat([detector(one[None]) for one in batch]), logits, rtol=0, atol=0)
    save_weights(detector, tmp_path / "fitted.safetensors")
    again = Spectrum()
    load_weights(again, tmp_path / "fitted.safetensors")
    torch.testing.assert_close(again(batch), logits, rtol=0, atol=0)


def test_refuses_before_fit_and_with_one_class():
    with pytest.raises(MaibenchError, match="spectrum: not fitted yet"):
        Spectrum()(torch.zeros(1, len(NAMES)))
    with pytest.raises(MaibenchError, match="spectrum: the training split holds one class only"):
        Spectrum().fit(np.zeros((2, len(NAMES))), np.zeros(2, dtype=np.int64))
