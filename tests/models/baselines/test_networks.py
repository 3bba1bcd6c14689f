"""What each published network does before it convolves, against its definition."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from maibench.models.baselines.ferretnet import neighbour_median
from maibench.models.baselines.freqnet import FrequencyNetwork, high_frequencies
from maibench.models.baselines.npr import neighbour_differences
from maibench.models.baselines.safe import diagonal_details
from maibench.models.loading import load_detector

SHARED = Path(__file__).parents[4] / "shared"


@pytest.mark.skipif(not (SHARED / "ferretnet").is_dir(), reason="the official weights are in ../shared alone")
def test_ferretnet_reproduces_the_official_logits():
    """Official weights, ten images: logits of the official code, to 1e-3."""
    detector = load_detector("ferretnet", weights=SHARED / "ferretnet" / "ferretnet_s_median3.safetensors")
    expected = json.loads((SHARED / "ferretnet" / "expected.json").read_text())
    assert detector.card.parameters == expected["parameters"]
    files = [SHARED / "data" / vector["path"] for vector in expected["vectors"]]
    items = [detector.preprocess(np.asarray(Image.open(file).convert("RGB"))) for file in files]
    with torch.inference_mode():
        logits = detector(detector.collate(items))
    np.testing.assert_allclose(logits, [vector["logit"] for vector in expected["vectors"]], atol=1e-3)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (9, 8)])
def test_the_median_of_eight_neighbours_and_a_zero(size):
    torch.manual_seed(1)
    x = torch.randn(2, 3, *size)
    windows = F.unfold(x, 3, padding=1).view(2, 3, 9, -1).clone()
    windows[:, :, 4] = 0
    expected = windows.median(dim=2).values.view(x.shape)
    assert torch.equal(neighbour_median(x), expected)


def test_the_median_of_equal_neighbours():
    x = torch.full((1, 1, 5, 5), -2.0)
    assert torch.equal(neighbour_median(x)[0, 0, 1:4, 1:4], x[0, 0, 1:4, 1:4])
    assert neighbour_median(x)[0, 0, 0, 0] == 0  # three neighbours, six zeros


def test_neighbour_differences():
    x = torch.tensor([[1.0, 3.0, 10.0, 10.0], [4.0, 9.0, 10.0, 11.0]])[None, None]
    expected = torch.tensor([[0.0, 2.0, 0.0, 0.0], [3.0, 8.0, 0.0, 1.0]])[None, None]
    assert torch.equal(neighbour_differences(x), expected)
    doubled = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert not neighbour_differences(doubled).any()


@pytest.mark.parametrize("size", [(7, 8), (9, 5), (3, 2)])
def test_diagonal_details_are_those_of_the_wavelet(size):
    """bior1.3's high-pass filter, written out, on both sides of an image mirrored as far as the filter reaches."""
    high = np.array([0, 0, -(2**-0.5), 2**-0.5, 0, 0])
    x = np.random.default_rng(2).normal(size=size)

    def transform(rows):
        mirrored = np.pad(rows, ((0, 0), (5, 5)), mode="symmetric")
        return np.stack([np.convolve(row, high, mode="valid") for row in mirrored])[:, 1::2]

    expected = transform(transform(x).T).T
    found = diagonal_details(torch.from_numpy(x)[None, None])[0, 0].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-12)


def middle(size):
    return slice(size // 2 - size // 4, size // 2 + size // 4)


@pytest.mark.parametrize("size", [(16, 16), (10, 14), (12, 7)])
def test_high_frequencies_are_what_the_spectrum_keeps(size):
    torch.manual_seed(4)
    x = torch.randn(2, 3, *size)
    spectrum = torch.fft.fftshift(torch.fft.fft2(x), dim=(2, 3))
    spectrum[:, :, middle(size[0]), middle(size[1])] = 0
    expected = torch.fft.ifft2(torch.fft.ifftshift(spectrum, dim=(2, 3))).real.relu()
    torch.testing.assert_close(high_frequencies(x), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(16, 16), (9, 14)])
def test_freqnet_s_block_without_transforms_is_the_one_with_them(size):
    torch.manual_seed(5)
    network, x = FrequencyNetwork(), torch.randn(1, 3, *size)
    y = F.conv2d(high_frequencies(x), network.weight1, network.bias1).relu()
    spectrum = torch.fft.fftshift(torch.fft.fft(y, dim=1), dim=1)
    spectrum[:, middle(64)] = 0
    y = torch.fft.ifft(torch.fft.ifftshift(spectrum, dim=1), dim=1).real.relu()
    spectrum = torch.fft.fft2(y)
    spectrum = torch.complex(network.realconv1(spectrum.real), network.imagconv1(spectrum.imag))
    expected = torch.fft.ifft2(spectrum).real.relu()
    torch.testing.assert_close(network._block(x, 1, stride=1, channels=True), expected, atol=1e-4, rtol=1e-4)


def test_freqnet_trains_at_a_size_that_it_was_scored_at():
    """What it keeps between calls was made where no gradients were wanted."""
    network, x = FrequencyNetwork(), torch.randn(2, 3, 40, 36)
    with torch.inference_mode():
        network.eval()(x)
    network.train()(x).sum().backward()
    assert network.weight1.grad.abs().sum() > 0
