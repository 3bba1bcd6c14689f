"""Reconstruction error: its distances are what they are called, and it finds what its autoencoders made."""

import numpy as np
import pytest
import torch

from maibench.datasets.autoencoders import load_autoencoder
from maibench.datasets.roundtrip import reconstruct
from maibench.errors import DetectorError, MaibenchError
from maibench.models.baselines.aeroblade import DISTANCES, SCALES, Aeroblade, distances
from maibench.models.loading import fingerprint, load_detector
from maibench.models.weights import load_weights, save_weights

VAE = "nano-sd1.5,nano-flux.1"


@pytest.fixture(scope="module")
def detector():
    return load_detector("aeroblade", vae=VAE, size=64)


@pytest.fixture(scope="module")
def images(texture):
    """Twelve textures, and what an autoencoder makes of each."""
    real = [texture((64, 64), seed) for seed in range(12)]
    return real, reconstruct(load_autoencoder("nano-sd1.5"), real)


def batch_of(detector, images):
    return torch.stack([detector.preprocess(image) for image in images])


def test_distances_of_known_pairs():
    planes = torch.rand(2, 3, 16, 16)
    assert distances(planes, planes).abs().max() == 0
    torch.testing.assert_close(
        distances(planes, planes + 0.1), torch.tensor([[0.01, 0, 0, 0]]).expand(2, -1), atol=1e-6, rtol=0
    )
    ramp = torch.arange(16.0).expand(1, 3, 16, 16) / 100  # rises by 0.01 to the right, not downwards
    expected = [*(0.01 * scale / 2 for scale in SCALES)]
    torch.testing.assert_close(distances(ramp, 0 * ramp)[0, 1:], torch.tensor(expected))


def test_features_are_distances_the_nearest_and_activity(detector, images):
    features = detector.fit_features(batch_of(detector, images[0])).exp()
    assert features.shape == (12, 3 * DISTANCES + len(SCALES))
    first, second, nearest = features[:, : 3 * DISTANCES].split(DISTANCES, dim=1)
    torch.testing.assert_close(nearest, torch.minimum(first, second))
    again = torch.from_numpy(np.stack(images[1])).double() / 255
    error = ((torch.from_numpy(np.stack(images[0])).double() / 255 - again) ** 2).mean(dim=(1, 2, 3))
    torch.testing.assert_close(first[:, 0], error, rtol=1e-4, atol=1e-6)


def test_finds_what_its_autoencoder_made(detector, images, tmp_path):
    assert "nano-flux.1" in detector.card.summary
    real, made = (batch_of(detector, group) for group in images)
    with torch.inference_mode():
        features = detector.fit_features(torch.cat([real[:8], made[:8]])).numpy()
    detector.fit(features, np.repeat([0, 1], 8))
    unseen = torch.cat([real[8:], made[8:]])
    with torch.inference_mode():
        logits = detector(unseen)
        single = torch.cat([detector(one[None]) for one in unseen])
    assert ((logits > 0) == torch.tensor([False] * 4 + [True] * 4)).all()
    torch.testing.assert_close(single, logits, atol=1e-3, rtol=1e-3)
    save_weights(detector, tmp_path / "fitted.safetensors")
    again = load_detector("aeroblade", vae=VAE, size=64)
    load_weights(again, tmp_path / "fitted.safetensors")
    torch.testing.assert_close(again(unseen), logits)
    assert (tmp_path / "fitted.safetensors").stat().st_size < 3000  # what was fitted, not the autoencoders


@pytest.mark.parametrize("size", [(1, 1), (200, 20), (64, 64)])
def test_all_sizes_and_flat_images(detector, texture, size):
    for image in (texture(size), np.zeros((*size[::-1], 3), np.uint8)):
        features = detector.fit_features(detector.preprocess(image)[None])
        assert torch.isfinite(features).all()


def test_fingerprint_tells_autoencoders_apart_loaded_or_not(tmp_path):
    fresh = load_detector("aeroblade", vae="nano-sd1.5", size=64)
    before = fingerprint(fresh)
    fresh.check_ready()
    assert fingerprint(fresh) == before
    prints = set()
    for number, name in enumerate(("nano-sd1.5", "nano-sdxl")):
        folder = tmp_path / str(number) / "same"
        model = load_autoencoder(name)
        model.save_pretrained(folder)
        prints.add(Aeroblade(vae=str(folder), size=64).identities)
    assert len(prints) == 2
    assert Aeroblade(vae="x=nano-sdxl").identities == Aeroblade(vae="nano-sdxl").identities


def test_refusals(tmp_path):
    with pytest.raises(MaibenchError, match=r"unknown autoencoder 'nano-sd1\.4': did you mean"):
        load_detector("aeroblade", vae="nano-sd1.4")
    with pytest.raises(MaibenchError, match=r"aeroblade\.size is pixels a side"):
        load_detector("aeroblade", size=100)
    (tmp_path / "config.json").write_text("{}")
    broken = load_detector("aeroblade", vae=str(tmp_path))
    with pytest.raises(DetectorError, match="is missing; weights in other formats are not read"):
        broken.check_ready()
    with pytest.raises(MaibenchError, match="aeroblade: not fitted yet"):
        load_detector("aeroblade", vae="nano-sd1.5", size=32)(torch.zeros(1, 32, 32, 3, dtype=torch.uint8))
