"""UnivFD: a linear layer on CLIP's image embedding."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from maibench.models.baselines.clip_tower import CLIP_MEAN, CLIP_STD, INPUT_POLICY, OFFICIAL, SIZE, ClipDetector
from maibench.models.card import Card, Reported


class UnivFD(ClipDetector):
    """Ojha et al. 2023 (CVPR, arXiv 2302.10174): CLIP ViT-L/14, frozen, and Linear(768, 1) on its embedding. Written
    after github.com/WisconsinAIVision/UniversalFakeDetect at 76a0e3e.

    backbone: as `ClipDetector` takes it. The paper's other head, nearest neighbours, is `clip:MODEL` with head=knn.
    """

    card = Card(
        name="univfd",
        summary="a linear layer on CLIP's image embedding",
        licence="Apache-2.0 (this code); MIT (official code and weights); MIT (OpenAI's CLIP)",
        reference="arXiv 2302.10174 (CVPR 2023); https://github.com/WisconsinAIVision/UniversalFakeDetect",
        parameters=303_966_977,
        input_size=SIZE,
        input_policy=INPUT_POLICY,
        mean=CLIP_MEAN,
        std=CLIP_STD,
        reported=Reported(
            accuracy=0.8138,
            on="mean over 19 test sets (GANs, diffusion and others), trained on ProGAN, threshold 0.5",
            source="table 2 of the paper",
        ),
        notes=(
            "Official weights: pretrained_weights/fc_weights.pth of the repository (769 numbers), sha256 "
            "477100745713bcc957beb2b40859536859b6483fd6301b3b9293151b194c7847; they load strictly. Backbone: "
            f"{OFFICIAL}. Its parameters are counted as published; logits of the whole with the published tower were "
            "not compared, for want of its weights"
        ),
    )

    def __init__(self, *, backbone: str | Path | None = None) -> None:
        super().__init__(backbone)
        self.fc = nn.Linear(self.embedding, 1)
        # as published: trainer.py of the repository
        nn.init.normal_(self.fc.weight, 0.0, 0.02)

    def rename_official(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """The official file is the state of the linear layer alone."""
        return {f"fc.{name}" if name in ("weight", "bias") else name: tensor for name, tensor in tensors.items()}

    def tensor_logits(self, x: Tensor) -> Tensor:
        """(n, 3, 224, 224) -> (n,) logits, at once."""
        return self.fc(self.needed_tower().embed(x)).squeeze(1)
