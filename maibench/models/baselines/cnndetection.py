"""CNNDetection: a ResNet-50 trained on one generator, with blur and JPEG as augmentation."""

from __future__ import annotations

from typing import ClassVar

from maibench.models.baselines.published import Cropped, cropped
from maibench.models.baselines.resnet import ResNet50
from maibench.models.card import IMAGENET_MEAN, IMAGENET_STD, Card, Reported

SIDE = 224


class CnnDetection(Cropped):
    """Wang et al. 2020 (CVPR, arXiv 1912.11035): torchvision's ResNet-50 with one logit.

    Written after github.com/PeterWang512/CNNDetection at ea0b562. Option pad: False reads smaller images as they are.
    """

    side: ClassVar[int] = SIDE
    cpu_chunk: ClassVar[int | None] = 2
    card = Card(
        name="cnndetection",
        summary="ResNet-50 with one logit",
        licence="Apache-2.0 (this code); CC BY-NC-SA 4.0 (official code and weights)",
        reference="arXiv 1912.11035 (CVPR 2020); https://github.com/PeterWang512/CNNDetection",
        parameters=23_510_081,
        input_size=SIDE,
        input_policy=cropped(SIDE),
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        reported=Reported(
            accuracy=0.744,
            on="the authors' 13 test sets, mean of the table's rows, Blur+JPEG(0.5), trained on ProGAN, crop of 224",
            source="README of the repository",
        ),
        notes=(
            "Official weights: blur_jpg_prob0.5.pth and blur_jpg_prob0.1.pth (Dropbox, linked in "
            "weights/download_weights.sh of the repository); sha256 not known here; not tried. With "
            "weights of our own the logits are those of the official code"
        ),
    )

    def __init__(self, *, pad: bool = True) -> None:
        super().__init__(pad=pad)
        self.network = ResNet50()
