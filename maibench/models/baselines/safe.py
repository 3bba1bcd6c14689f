"""SAFE: the diagonal details of a wavelet transform, read by a ResNet-50 cut after its second stage."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from maibench.models.baselines.published import SIZE, Cropped, cropped
from maibench.models.baselines.resnet import CutResNet
from maibench.models.card import Card, Reported
from maibench.models.pixels import Colour


class Safe(Cropped):
    """Li et al. 2025 (KDD, arXiv 2408.06741): the HH band of one level of the bior1.3 wavelet, resized to the image's
    own size; two logits, of which the difference counts.

    Written after github.com/Ouxiang-Li/SAFE at 722620a. Option pad: False reads smaller images as they are.
    """

    side: ClassVar[int] = SIZE
    mean: ClassVar[Colour] = (0.0, 0.0, 0.0)
    std: ClassVar[Colour] = (1.0, 1.0, 1.0)
    card = Card(
        name="safe",
        summary="diagonal wavelet details, a cut ResNet-50",
        licence="Apache-2.0 (this code, the official code and weights)",
        reference="arXiv 2408.06741 (KDD 2025); https://github.com/Ouxiang-Li/SAFE",
        parameters=1_438_274,
        input_size=SIZE,
        input_policy=cropped(SIZE),
        mean=mean,
        std=std,
        reported=Reported(
            accuracy=0.968,
            on="four test sets (ForenSynths, Diffusion-6-cls, Synthetic-Pop, Synthetic-Aesthetic), as FerretNet's "
            "authors measured it",
            source="README of https://github.com/xigua7105/FerretNet",
        ),
        notes=(
            "Official weights: checkpoint/checkpoint-best.pth of the repository; sha256 not known here; not tried. "
            "With weights of our own the logits are those of the official code, its wavelets by PyWavelets"
        ),
    )

    def __init__(self, *, pad: bool = True) -> None:
        super().__init__(pad=pad)
        self.network = CutResNet(outputs=2)

    def tensor_logits(self, x: Tensor) -> Tensor:
        """(n, 3, height, width) -> (n,) logits, at once: synthetic minus real."""
        details = F.interpolate(diagonal_details(x), x.shape[2:], mode="bilinear")
        outputs = self.network(details)
        return outputs[:, 1] - outputs[:, 0]


def diagonal_details(x: Tensor) -> Tensor:
    """(n, c, h, w) -> (n, c, (h + 5) // 2, (w + 5) // 2): the HH band of bior1.3, borders mirrored with their edge.

    The wavelet's high-pass filter has two taps that are not zero: in each direction it is half a difference of
    neighbours, times the root of 2.
    """
    return _differences(_differences(x.transpose(2, 3)).transpose(2, 3)) / 2


def _differences(x: Tensor) -> Tensor:
    """(..., n) -> (..., (n + 5) // 2): x[2k - 2] - x[2k - 1], mirrored outside."""
    end = 2 + x.shape[-1] % 2
    mirrored = torch.cat([x[..., :2].flip(-1), x, x[..., -end:].flip(-1)], dim=-1)
    return mirrored[..., ::2] - mirrored[..., 1::2]
