"""Residual networks of bottlenecks, whole or cut after the second stage, under the names of torchvision's tensors."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Bottleneck(nn.Module):
    """x + [1x1 -> 3x3 (stride) -> 1x1], He et al. 2015 (arXiv 1512.03385) with the stride in the 3x3 as torchvision."""

    def __init__(self, before: int, width: int, stride: int = 1) -> None:
        super().__init__()
        after = 4 * width
        self.conv1 = nn.Conv2d(before, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
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
        return self.relu(out + (x if self.downsample is None else self.downsample(x)))


def make_stage(before: int, width: int, blocks: int, stride: int = 1) -> nn.Sequential:
    """So many bottlenecks, the first with the stride; 4 x width channels come out."""
    return nn.Sequential(Bottleneck(before, width, stride), *(Bottleneck(4 * width, width) for _ in range(blocks - 1)))


def initialise(network: nn.Module) -> None:
    """Convolutions as torchvision begins with them: Kaiming's normal distribution over what goes out."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


class ResNet50(nn.Module):
    """torchvision's ResNet-50 with one logit: (n, 3, h, w) -> (n, 1); 23,510,081 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = make_stage(64, 64, 3)
        self.layer2 = make_stage(256, 128, 4, stride=2)
        self.layer3 = make_stage(512, 256, 6, stride=2)
        self.layer4 = make_stage(1024, 512, 3, stride=2)
        self.fc = nn.Linear(2048, 1)
        initialise(self)
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean(dim=(2, 3)))


class CutResNet(nn.Module):
    """ResNet-50 with a 3x3 stem, cut after its second stage: (n, 3, h, w) -> (n, outputs)."""

    def __init__(self, outputs: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = make_stage(64, 64, 3)
        self.layer2 = make_stage(256, 128, 4, stride=2)
        self.fc1 = nn.Linear(512, outputs)
        initialise(self)
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return self.fc1(self.layer2(self.layer1(x)).mean(dim=(2, 3)))
