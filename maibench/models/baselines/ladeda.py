"""LaDeDa and Tiny-LaDeDa: every 9 x 9 patch has a logit, an image the mean of its patches'."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maibench.models.baselines.npr import neighbour_differences
from maibench.models.baselines.published import NATIVE, RESIZED, SIZE, ResizedOrNative
from maibench.models.baselines.resnet import initialise
from maibench.models.card import IMAGENET_MEAN, IMAGENET_STD, Card

LICENCE = "Apache-2.0 (this code); research use alone (official code and weights: Yissum's Software Research License)"
REFERENCE = "arXiv 2406.09398; https://github.com/barcavia/RealTime-DeepfakeDetection-in-the-RealWorld"
POLICY = f"{RESIZED}; with resize=false: {NATIVE}"


class Ladeda(ResizedOrNative):
    """Cavia et al. 2024 (arXiv 2406.09398): a ResNet-50 whose later stages have 1x1 kernels, so that a unit sees 9 x 9
    pixels, on the differences that NPR reads.

    Written after the authors' repository at e734562. Option resize: False reads images at native resolution.
    """

    card = Card(
        name="ladeda",
        summary="a ResNet-50 that sees 9 x 9 patches (LaDeDa-9)",
        licence=LICENCE,
        reference=REFERENCE,
        parameters=13_641_793,
        input_size=SIZE,
        input_policy=POLICY,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        notes=(
            "The authors report 93.7 % mean average precision on WildRF (README). Official weights: WildRF_LaDeDa.pth "
            "and the one trained on ForenSynths (Google Drive, linked in weights/LaDeDa of the repository); sha256 not "
            "known here; not tried. With weights of our own the logits are those of the official code"
        ),
    )

    def __init__(self, *, resize: bool = True) -> None:
        super().__init__(resize=resize)
        self.network = PatchResNet()

    def tensor_logits(self, x: Tensor) -> Tensor:
        """(n, 3, height, width) of even sides -> (n,) logits, at once."""
        return self.network(neighbour_differences(x)).squeeze(1)


class TinyLadeda(ResizedOrNative):
    """Cavia et al. 2024 (arXiv 2406.09398): four convolutions of eight channels on a diagonal gradient; the authors
    distil it from LaDeDa's patches, our recipe trains it on labels.

    Written after the authors' repository at e734562. Option resize: False reads images at native resolution.
    """

    cpu_chunk: ClassVar[int | None] = 2
    card = Card(
        name="tiny_ladeda",
        summary="four convolutions of eight channels on a gradient",
        licence=LICENCE,
        reference=REFERENCE,
        parameters=1_297,
        input_size=SIZE,
        input_policy=POLICY,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        notes=(
            "Official weights: weights/Tiny_LaDeDa/WildRF_Tiny_LaDeDa.pth (sha256 "
            "5e063100564d2ddfe9bf48074e351c8f2b38855552574a18a0738e7f2a764d80) and ForenSynth_Tiny_LaDeDa.pth (sha256 "
            "4624258c70489cbff2778153ce6fc7f5ed16170b59a541a06dc3d4c759fd68a6) of the repository; both load strictly, "
            "and their logits are those of the official code"
        ),
    )

    def __init__(self, *, resize: bool = True) -> None:
        super().__init__(resize=resize)
        self.network = TinyPatches()
        kernel = torch.tensor([[-2.0, -1.0, 0.0], [-1.0, 0.0, 1.0], [0.0, 1.0, 2.0]])
        self.register_buffer("gradient", kernel.expand(3, 1, 3, 3).contiguous(), persistent=False)

    def tensor_logits(self, x: Tensor) -> Tensor:
        """(n, 3, height, width) -> (n,) logits, at once."""
        return self.network(F.conv2d(x, self.get_buffer("gradient").to(x), padding=1, groups=3)).squeeze(1)


class TinyPatches(nn.Module):
    """(n, 3, h, w) -> (n, 1): 1x1, 3x3, 1x1 and 3x3 (stride 2) convolutions without padding, then the mean."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 1, bias=False)
        self.conv2 = nn.Conv2d(8, 8, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(8, momentum=0.001)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = nn.Sequential(_TinyBlock())
        self.fc = nn.Linear(8, 1)
        initialise(self)
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        x = self.relu(self.bn1(self.conv2(self.conv1(x))))
        return self.fc(self.layer1(x).mean(dim=(2, 3)))


class PatchResNet(nn.Module):
    """(n, 3, h, w) -> (n, 1): stages of 3, 4, 6 and 3 bottlenecks without padding; the first ones of the first two
    stages have 3x3 kernels, all others 1x1."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 1, bias=False)
        self.conv2 = nn.Conv2d(64, 64, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64, momentum=0.001)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = _make_stage(64, 64, 3, stride=2, kernel=3)
        self.layer2 = _make_stage(256, 128, 4, stride=2, kernel=3)
        self.layer3 = _make_stage(512, 256, 6, stride=2, kernel=1)
        self.layer4 = _make_stage(1024, 512, 3, stride=1, kernel=1)
        self.fc = nn.Linear(2048, 1)
        initialise(self)
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        x = self.relu(self.bn1(self.conv2(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean(dim=(2, 3)))


class _TinyBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(8, 8, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, 3, stride=2, bias=False)
        self.bn2 = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))))


class _Bottleneck(nn.Module):
    """A bottleneck without padding; what goes round it loses its last rows and columns."""

    def __init__(self, before: int, width: int, stride: int = 1, kernel: int = 1) -> None:
        super().__init__()
        after = 4 * width
        self.conv1 = nn.Conv2d(before, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, kernel, stride, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, after, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(after)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride != 1 or before != after:
            self.downsample = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        past = x if self.downsample is None else self.downsample(x)
        return self.relu(out + past[:, :, : out.shape[2], : out.shape[3]])


def _make_stage(before: int, width: int, blocks: int, stride: int, kernel: int) -> nn.Sequential:
    others = (_Bottleneck(4 * width, width) for _ in range(blocks - 1))
    return nn.Sequential(_Bottleneck(before, width, stride, kernel), *others)
