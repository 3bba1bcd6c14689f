"""NPR: the differences between neighbours that up-sampling leaves, read by a ResNet-50 cut after its second stage."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from maibench.models.baselines.published import NATIVE, RESIZED, SIZE, ResizedOrNative
from maibench.models.baselines.resnet import CutResNet
from maibench.models.card import IMAGENET_MEAN, IMAGENET_STD, Card, Reported


class Npr(ResizedOrNative):
    """Tan et al. 2024 (CVPR, arXiv 2312.10461): each pixel minus the first one of its 2 x 2 block, times 2/3.

    Written after github.com/chuangchuangtan/NPR-DeepfakeDetection at 73cde1c. Option resize: False reads images at
    native resolution, as the authors do on AIGCDetectBenchmark.
    """

    card = Card(
        name="npr",
        summary="neighbouring pixel relationships, a cut ResNet-50",
        licence="Apache-2.0 (this code); none stated (official code and weights)",
        reference="arXiv 2312.10461 (CVPR 2024); https://github.com/chuangchuangtan/NPR-DeepfakeDetection",
        parameters=1_437_761,
        input_size=SIZE,
        input_policy=f"{RESIZED}; with resize=false: {NATIVE}",
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        reported=Reported(
            accuracy=0.917,
            on="AIGCDetectBenchmark, mean of 16 generators, trained on four classes of ProGAN, native resolution",
            source="README of the repository",
        ),
        notes=(
            "Official weights: NPR.pth or model_epoch_last_3090.pth of the repository; sha256 not known here; not "
            "tried. With weights of our own the logits are those of the official code"
        ),
    )

    def __init__(self, *, resize: bool = True) -> None:
        super().__init__(resize=resize)
        self.network = CutResNet()

    def tensor_logits(self, x: Tensor) -> Tensor:
        """(n, 3, height, width) of even sides -> (n,) logits, at once."""
        return self.network(neighbour_differences(x) * (2 / 3)).squeeze(1)


def neighbour_differences(x: Tensor) -> Tensor:
    """(n, c, h, w) of even sides -> each pixel minus the top left one of its 2 x 2 block: what is lost when an image is
    halved and doubled without interpolation."""
    return x - F.interpolate(x[:, :, ::2, ::2], scale_factor=2.0, mode="nearest")
