"""bailu: a small CNN that reads generator artefacts at native resolution.

The BAILU model card publishes a size (at most 2 M parameters), a subject (the artefacts of latent autoencoders) and a
number, but no architecture; this one is our own. It is built for channels-last convolutions on a CPU core.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from maibench.errors import ImageError, MaibenchError
from maibench.models.base import Detector
from maibench.models.card import Card, Reported
from maibench.models.pixels import normalise, normalise_tensor
from maibench.models.tiles import (
    check_whole,
    cut_tiles,
    mean_logits,
    resized,
    resized_tensor,
    stack_or_list,
    tile_slices,
)

TILE = 256
SMALLEST = 64
FEATURES = 32 + 56 + 2 * 112
MEAN = (0.5, 0.5, 0.5)
STD = (0.25, 0.25, 0.25)
Input = Literal["residual", "rgb", "both"]


class ConvNorm(nn.Module):
    """A convolution and its batch normalisation, one convolution in evaluation mode (the scale is folded in).

    residual: how many of the filters, the first ones, are held to a sum of zero in every colour, so that they see
    differences between neighbours and never the colour itself (the constrained layer of Bayar & Stamm, 2016).

    What is folded is kept until a tensor that it is made of changes (by torch's own count of changes, which writing to
    `.data` escapes) or the mode does.
    """

    def __init__(self, before: int, after: int, kernel: int = 3, stride: int = 1, residual: int = 0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, kernel, stride, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(after)
        self.residual = residual
        self._folded: tuple[list[int], Tensor, Tensor] | None = None

    def _kernel(self) -> Tensor:
        weight = self.conv.weight
        if not self.residual:
            return weight
        constrained = weight[: self.residual]
        constrained = constrained - constrained.mean(dim=(2, 3), keepdim=True)
        return torch.cat([constrained, weight[self.residual :]])

    def forward(self, x: Tensor) -> Tensor:
        stride, padding = self.conv.stride, self.conv.padding
        if self.training:
            return self.norm(F.conv2d(x, self._kernel(), None, stride, padding))
        return F.conv2d(x, *self._kept(), stride, padding)

    def train(self, mode: bool = True) -> Self:
        self._folded = None
        return super().train(mode)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_folded": None}

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        self._folded = None  # moved, or of another type
        return super()._apply(fn, recurse)

    def _kept(self) -> tuple[Tensor, Tensor]:
        """`_fold`, computed anew only where it has to be."""
        norm = self.norm
        statistics = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
        sources = (self.conv.weight, norm.weight, norm.bias, *statistics)
        if torch.is_grad_enabled() or torch.compiler.is_compiling() or any(t.is_inference() for t in sources):
            return self._fold()
        stamp = [number for t in sources for number in (t.data_ptr(), t._version)]
        kept = self._folded  # read once: another thread may set it
        if kept is None or kept[0] != stamp:
            kept = self._folded = (stamp, *self._fold())
        return kept[1], kept[2]

    def _fold(self) -> tuple[Tensor, Tensor]:
        """The kernel and the bias of the convolution that does both."""
        norm = self.norm
        mean, variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
        scale = norm.weight * (variance + norm.eps).rsqrt()
        kernel = (self._kernel() * scale[:, None, None, None]).contiguous(memory_format=torch.channels_last)
        return kernel, norm.bias - mean * scale


class Residual(nn.Module):
    """x + two 3x3 convolutions, after He et al. 2015 (arXiv 1512.03385)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvNorm(channels, channels)
        self.second = ConvNorm(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.second(self.first(x).relu_())).relu_()


class Bailu(Detector):
    """Full-resolution 3x3 filters, half of them held to be high-pass, then four strided stages; the means of three
    stages and the spread of the last are pooled over the whole tile, so that a trace counts wherever it is.

    No pooling and no blur before the strided convolutions. Options: input ("residual", "rgb", "both"): how many of
    the first filters are high-pass (all, none, half); tiles: how many tiles of a large image are read. Of the test
    alone: crop: pixels a side of a tile; resize: pixels of the shorter side, to which every image is resized first.
    """

    concurrent: ClassVar[bool] = True
    cpu_chunk: ClassVar[int | None] = 8  # 1.5 times as fast as 32
    card = Card(
        name="bailu",
        summary="constrained high-pass CNN at native resolution",
        licence="Apache-2.0",
        reference="the BAILU model card; its architecture and test set were never published, this network is our own",
        input_policy=(
            "native resolution, nothing is resized. Up to 256 x 256: the whole image. Larger: 256 x 256 tiles on an "
            "even grid, at most 5 (the centre among them), whose logits are averaged; each tile costs a pass. "
            "Under 64 pixels a side: refused"
        ),
        mean=MEAN,
        std=STD,
        reported=Reported(
            accuracy=0.9588,
            on="the BAILU card's own 800 images (767 right; 97.75 % of synthetic, 94.00 % of real)",
            source="BAILU model card",
        ),
    )

    def __init__(self, input: Input = "both", tiles: int = 5, crop: int = TILE, resize: int | None = None) -> None:
        super().__init__()
        if input not in ("residual", "rgb", "both"):
            raise MaibenchError(f"bailu: the option input is '{input}'; use residual, rgb or both")
        check_whole("bailu", "tiles", tiles, 1)
        check_whole("bailu", "crop", crop, SMALLEST)
        if resize is not None:
            check_whole("bailu", "resize", resize, SMALLEST)
        self.tiles, self.crop, self.resize = tiles, crop, resize
        high_pass = {"residual": 12, "rgb": 0, "both": 6}[input]
        self.stem = ConvNorm(3, 12, residual=high_pass)
        self.down = ConvNorm(12, 24, stride=2)
        self.stage1 = ConvNorm(24, 32, stride=2)
        self.stage2 = nn.Sequential(ConvNorm(32, 56, stride=2), nn.ReLU(inplace=True), Residual(56))
        self.stage3 = nn.Sequential(ConvNorm(56, 112, stride=2), nn.ReLU(inplace=True), Residual(112))
        self.head = nn.Sequential(nn.Linear(FEATURES, 64), nn.ReLU(inplace=True), nn.Dropout(0.2), nn.Linear(64, 1))
        self.to(memory_format=torch.channels_last)

    def facts(self) -> dict[str, str]:
        """What options of the test change of the card's input policy."""
        changes = [] if self.resize is None else [f"resized first, the shorter side to {self.resize}"]
        if (self.tiles, self.crop) != (5, TILE):
            changes.append(f"tiles of {self.crop} x {self.crop}, at most {self.tiles}")
        return {"changed": "; ".join(changes)} if changes else {}

    def preprocess(self, image: NDArray[np.uint8]) -> Tensor:
        """uint8 height x width x 3 -> float32 in [-2, 2]: (3, h, w) up to 256 a side, else (tiles, 3, 256, 256)."""
        _check_size(*image.shape[:2])
        image = resized(image, self.resize)
        if max(image.shape[:2]) <= self.crop:
            return normalise(image, MEAN, STD)
        return torch.stack([normalise(tile, MEAN, STD) for tile in cut_tiles(image, self.tiles, self.crop)])

    def differentiable(self, pixels: Tensor) -> Tensor:
        """`preprocess` in torch: float (3, height, width) in [0, 255] -> (3, h, w), or (tiles, 3, 256, 256)."""
        _check_size(*pixels.shape[1:])
        pixels = resized_tensor(pixels, self.resize)
        height, width = pixels.shape[1:]
        if max(height, width) <= self.crop:
            return normalise_tensor(pixels, MEAN, STD)
        tiles = [pixels[:, rows, columns] for rows, columns in tile_slices(height, width, self.tiles, self.crop)]
        return normalise_tensor(torch.stack(tiles), MEAN, STD)

    def collate(self, items: Sequence[Tensor]) -> Tensor | list[Tensor]:
        """Images of one size -> (n, 3, h, w); images of several sizes stay a list."""
        return stack_or_list(items)

    def forward(self, batch: Tensor | Sequence[Tensor]) -> Tensor:
        """(n, 3, h, w), or a list of n images as `preprocess` returns them -> (n,) logits."""
        return self.run(batch) if isinstance(batch, Tensor) else mean_logits(self.run, batch)

    def tensor_logits(self, x: Tensor) -> Tensor:
        """(n, 3, h, w) -> (n,) logits, at once."""
        return self.head(self.features(x)).squeeze(1)

    def features(self, x: Tensor) -> Tensor:
        """(n, 3, h, w) -> (n, FEATURES): what the trunk saw, pooled over the whole tile; the head reads it."""
        x = x.contiguous(memory_format=torch.channels_last)
        x = self.down(self.stem(x).relu_()).relu_()
        first = self.stage1(x).relu_()
        second = self.stage2(first)
        third = self.stage3(second)
        spread = third.var(dim=(2, 3), correction=0).add(1e-6).sqrt()
        return torch.cat([first.mean(dim=(2, 3)), second.mean(dim=(2, 3)), third.mean(dim=(2, 3)), spread], dim=1)


def _check_size(height: int, width: int) -> None:
    if min(height, width) < SMALLEST:
        raise ImageError(f"the image is {width} x {height}; bailu reads images of at least {SMALLEST} x {SMALLEST}")
