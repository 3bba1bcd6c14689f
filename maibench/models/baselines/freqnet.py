"""FreqNet: high frequencies of the image and of features, and convolutions of the spectrum, before a cut ResNet-50.

Three of the paper's steps are computed without a Fourier transform, to the same numbers: what is kept of a spectrum
over channels is a fixed matrix; 1x1 convolutions of a spectrum's real and imaginary parts are those of the even and odd
parts of the image.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from maibench.models.baselines.published import NATIVE, RESIZED, SIZE, ResizedOrNative
from maibench.models.baselines.resnet import initialise, make_stage
from maibench.models.card import IMAGENET_MEAN, IMAGENET_STD, Card


class FreqNet(ResizedOrNative):
    """Tan et al. 2024 (AAAI, arXiv 2403.07240).

    Written after the paper and a public copy of the authors' networks/freqnet.py: the copy at hand of
    github.com/chuangchuangtan/FreqNet-DeepfakeDetection (0dc0643) has no code. Option resize: False reads images at
    native resolution.
    """

    card = Card(
        name="freqnet",
        summary="high frequencies and spectral convolutions, a cut ResNet-50",
        licence="Apache-2.0 (this code); none known (official code and weights)",
        reference="arXiv 2403.07240 (AAAI 2024); https://github.com/chuangchuangtan/FreqNet-DeepfakeDetection",
        parameters=1_850_433,
        input_size=SIZE,
        input_policy=f"{RESIZED}; with resize=false: {NATIVE}",
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        notes=(
            "Official weights: 4-classes-freqnet-v2.pth of the repository; sha256 not known here; not tried. With "
            "weights of our own the logits are those of the authors' steps, every Fourier transform written out"
        ),
    )

    def __init__(self, *, resize: bool = True) -> None:
        super().__init__(resize=resize)
        self.network = FrequencyNetwork()


class FrequencyNetwork(nn.Module):
    """(n, 3, h, w) -> (n, 1): two frequency blocks on the image, a stage of ResNet-50, two more, the next stage."""

    def __init__(self) -> None:
        super().__init__()
        for number, (before, after) in enumerate([(3, 64), (64, 64), (256, 256), (256, 256)], start=1):
            self.register_parameter(f"weight{number}", nn.Parameter(torch.randn(after, before, 1, 1)))
            self.register_parameter(f"bias{number}", nn.Parameter(torch.randn(after)))
            self.add_module(f"realconv{number}", nn.Conv2d(after, after, 1, bias=False))
            self.add_module(f"imagconv{number}", nn.Conv2d(after, after, 1, bias=False))
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = make_stage(64, 64, 3)
        self.layer2 = make_stage(256, 128, 4, stride=2)
        self.fc1 = nn.Linear(512, 1)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self._block(x, 1, stride=1, channels=True)
        x = self._block(x, 2, stride=2, channels=True)
        x = self.layer1(self.maxpool(x))
        x = self._block(x, 3, stride=1)
        x = self._block(x, 4, stride=2)
        return self.fc1(self.layer2(x).mean(dim=(2, 3)))

    def _block(self, x: Tensor, number: int, stride: int, channels: bool = False) -> Tensor:
        """High frequencies of space, a 1x1 convolution, high frequencies of channels (if asked), the spectral one."""
        kernel, bias = self.get_parameter(f"weight{number}"), self.get_parameter(f"bias{number}")
        x = F.conv2d(high_frequencies(x), kernel, bias, stride).relu()
        if channels:
            x = F.conv2d(x, torch.from_numpy(_channel_filter(x.shape[1])).to(x)[:, :, None, None]).relu()
        mirrored = x.flip((2, 3)).roll((1, 1), (2, 3))
        even, odd = (x + mirrored) / 2, (x - mirrored) / 2
        return (self.get_submodule(f"realconv{number}")(even) + self.get_submodule(f"imagconv{number}")(odd)).relu()


def high_frequencies(x: Tensor) -> Tensor:
    """(n, c, h, w) -> the real part of what is left without the middle half of the spectrum in both directions, above
    zero."""
    height, width = x.shape[2:]
    kept = torch.from_numpy(_kept(height, width)).to(x.device)
    return torch.fft.irfft2(torch.fft.rfft2(x.float()) * kept, s=(height, width)).relu().to(x.dtype)


@lru_cache(maxsize=16)
def _kept(height: int, width: int) -> NDArray[np.float32]:
    """(height, width // 2 + 1): how much of each frequency of rfft2 the real part keeps. The authors' middle half lies
    off the centre by one, so that of some frequencies one of the two signs goes, and half is left."""
    low = np.outer(_is_low(height), _is_low(width)).astype(np.float32)
    opposite = np.roll(low[::-1, ::-1], (1, 1), (0, 1))
    return np.ascontiguousarray((1 - (low + opposite) / 2)[:, : width // 2 + 1])


@lru_cache(maxsize=16)
def _channel_filter(channels: int) -> NDArray[np.float32]:
    """(channels, channels): the real part of keeping what lies outside the middle half of a spectrum over channels."""
    spectrum = np.fft.fft(np.eye(channels), axis=0)
    spectrum[_is_low(channels)] = 0
    return np.fft.ifft(spectrum, axis=0).real.astype(np.float32)


def _is_low(size: int) -> NDArray[np.bool_]:
    """(size,), in the order of numpy.fft: from size // 2 - size // 4 up to size // 2 + size // 4 of the shifted one."""
    shifted = np.zeros(size, dtype=bool)
    shifted[size // 2 - size // 4 : size // 2 + size // 4] = True
    return np.fft.ifftshift(shifted)
