"""FerretNet: what the median of a pixel's neighbours does not explain, read by depthwise convolutions."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maibench.errors import MaibenchError
from maibench.models.baselines.published import SIZE, Cropped, cropped
from maibench.models.card import Card, Reported
from maibench.models.pixels import Colour

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


class FerretNet(Cropped):
    """Liang et al. 2025 (NeurIPS, arXiv 2509.20890): x minus the median of its 3 x 3 neighbourhood, whose own centre
    counts as 0, then strided blocks of two dilations.

    Written after github.com/xigua7105/FerretNet at e92796c. Options: dim: 32 (FerretNet-S, whose weights the repository
    holds) or 96 (FerretNet-B, whose numbers the paper reports); pad: False reads smaller images as they are.
    """

    side: ClassVar[int] = SIZE
    mean: ClassVar[Colour] = CLIP_MEAN
    std: ClassVar[Colour] = CLIP_STD
    card = Card(
        name="ferretnet",
        summary="median residual, depthwise convolutions (FerretNet-S)",
        licence="Apache-2.0 (this code, the official code and weights)",
        reference="arXiv 2509.20890 (NeurIPS 2025); https://github.com/xigua7105/FerretNet",
        parameters=126_289,
        input_size=SIZE,
        input_policy=cropped(SIZE),
        mean=CLIP_MEAN,
        std=CLIP_STD,
        reported=Reported(
            accuracy=0.971,
            on="four test sets of the paper (ForenSynths, Diffusion-6-cls, Synthetic-Pop, Synthetic-Aesthetic), "
            "FerretNet-B (dim 96), trained on four classes of ProGAN; none for FerretNet-S",
            source="README of the repository",
        ),
        notes=(
            "Official weights of FerretNet-S: checkpoints/4cls_ckpt/ferretnet-s-median-3.pth of the repository, sha256 "
            "5604ab1ade78dc615181b7d014242bf26f7bc5e2bc82351e6e8d42ce5f28f485; they load strictly, and ten logits of "
            "theirs are reproduced to 1e-3. FerretNet-B: ferretnet-b-median-3.pth (Baidu disk, linked there), sha256 "
            "not known here, not verified"
        ),
    )

    def __init__(self, *, dim: int = 32, pad: bool = True) -> None:
        super().__init__(pad=pad)
        if type(dim) is not int or dim < 2 or dim % 2:
            raise MaibenchError(f"ferretnet: the option dim is {dim!r}; it takes an even number, 32 (S) or 96 (B)")
        self.network = Ferret(dim)


class Ferret(nn.Module):
    """(n, 3, h, w) -> (n, 1): two convolutions, then stages of two blocks that double the channels each."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.cbr1 = _conv_norm_relu(3, dim // 2, stride=1)
        self.cbr2 = _conv_norm_relu(dim // 2, dim, stride=2)
        widths = (dim, 2 * dim, 4 * dim)
        stages: list[nn.Module] = [
            nn.Sequential(_Block(before, after, stride=2), _Block(after, after, stride=1))
            for before, after in pairwise(widths)
        ]
        self.feature = nn.Sequential(*stages, nn.Conv2d(widths[-1], widths[-1], 1, bias=False))
        self.logit = nn.Sequential(nn.Dropout(0.2), nn.Linear(widths[-1], 1))
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        x = (x - neighbour_median(x)).contiguous(memory_format=torch.channels_last)
        return self.logit(self.feature(self.cbr2(self.cbr1(x))).mean(dim=(2, 3)))


def neighbour_median(x: Tensor) -> Tensor:
    """(n, c, h, w) -> the median of each pixel's eight neighbours and a zero; outside the image there are zeros.

    As Paeth (1990) finds the median of nine: of three sorted columns, the median of the largest low, the middle middle
    and the smallest high one. Columns are sorted once for both pixels beside them.
    """
    padded = F.pad(x, (1, 1, 1, 1))
    above, here, below = padded[:, :, :-2], padded[:, :, 1:-1], padded[:, :, 2:]
    low, high = torch.minimum(above, below), torch.maximum(above, below)
    own_low, own_high = low[..., 1:-1], high[..., 1:-1]
    middle = torch.maximum(low, torch.minimum(high, here))
    low, high = torch.minimum(low, here), torch.maximum(high, here)
    own_middle = torch.maximum(own_low, own_high.clamp(max=0))
    lows = torch.maximum(torch.maximum(low[..., :-2], low[..., 2:]), own_low.clamp(max=0))
    highs = torch.minimum(torch.minimum(high[..., :-2], high[..., 2:]), own_high.clamp(min=0))
    middles = _median(middle[..., :-2], own_middle, middle[..., 2:])
    return _median(lows, middles, highs)


def _median(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    return torch.maximum(torch.minimum(a, b), torch.minimum(torch.maximum(a, b), c))


def _conv_norm_relu(before: int, after: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True)
    )


class _Dilated(nn.Module):
    """Two depthwise 3x3 convolutions of dilation 1 and 2, added, and a 1x1 one."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, padding=1, groups=before, bias=False)
        self.conv2 = nn.Conv2d(before, after, 3, stride, padding=2, dilation=2, groups=before, bias=False)
        self.conv3 = nn.Conv2d(after, after, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv3(self.conv1(x) + self.conv2(x))


class _Separable(nn.Module):
    """A depthwise 3x3 convolution and a 1x1 one."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depth_wise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.point_wise = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.point_wise(self.depth_wise(x))


class _Block(nn.Module):
    """A residual block of a dilated and a separable convolution."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            _Dilated(before, after, stride),
            nn.BatchNorm2d(after),
            nn.ReLU(inplace=True),
            _Separable(after),
            nn.BatchNorm2d(after),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or before != after:
            self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride), nn.BatchNorm2d(after))
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.layers(x) + self.shortcut(x))
