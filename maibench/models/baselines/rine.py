"""RINE: the class tokens of all of CLIP's blocks, weighed by how much each tells."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maibench.errors import MaibenchError
from maibench.models.baselines.clip_tower import CLIP_MEAN, CLIP_STD, INPUT_POLICY, OFFICIAL, SIZE, ClipDetector
from maibench.models.card import Card, Reported

FACTOR = 0.2
"""Of the contrastive loss, for the published models of two and four classes."""
TEMPERATURE = 0.07


class Rine(ClipDetector):
    """Koutlis and Papadopoulos 2024 (ECCV, arXiv 2402.19091): class tokens of all blocks of CLIP ViT-L/14, frozen; a
    projection of each (Q1), a trainable importance of each block (TIE), their sum, a second projection (Q2) and a head.
    Written after github.com/mever-team/rine at 9b7fd58, which takes the tokens as they enter a block's MLP.

    backbone: as `ClipDetector` takes it. projections: linear layers in each of Q1 and Q2. width: of their outputs.
    Published: 2 and 1024 (trained on four classes of ProGAN), 4 and 128 (two classes), 4 and 1024 (one class; LDM).
    """

    card = Card(
        name="rine",
        summary="class tokens of all of CLIP's blocks",
        licence="Apache-2.0 (this code, the official code and weights); MIT (OpenAI's CLIP)",
        reference="arXiv 2402.19091 (ECCV 2024); https://github.com/mever-team/rine",
        parameters=310_289_409,
        input_size=SIZE,
        input_policy=INPUT_POLICY,
        mean=CLIP_MEAN,
        std=CLIP_STD,
        reported=Reported(
            accuracy=0.915,
            on="mean over 20 test sets (GANs, diffusion and others), trained on four classes of ProGAN, threshold 0.5",
            source="the paper; results/grid of the repository",
        ),
        notes=(
            "Official weights: ckpt/ of the repository. model_2class_trainable.pth (projections=4, width=128), sha256 "
            "680d301b6d191da85b9dabcebf42cd3df20c5c669fa8320c498f835d02bf5ccb, loads strictly; model_4class_trainable."
            "pth (the default options; 6.3 M trained parameters, as published), model_1class_trainable.pth and "
            "model_ldm_trainable.pth (projections=4): sha256 not known here, not verified. Backbone: "
            f"{OFFICIAL}; logits of the whole with the published tower were not compared, for want of its weights"
        ),
    )

    def __init__(self, *, backbone: str | Path | None = None, projections: int = 2, width: int = 1024) -> None:
        super().__init__(backbone)
        for name, value in (("projections", projections), ("width", width)):
            if type(value) is not int or value < 1:
                raise MaibenchError(f"rine.{name} is a whole number of at least 1; got {value!r}")
        self.head = RineHead(self.blocks, self.width, projections, width)

    def rename_official(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """The official file holds what is trained, without a name before it."""
        own = self.state_dict()
        return {name if name in own else f"head.{name}": tensor for name, tensor in tensors.items()}

    def tensor_logits(self, x: Tensor) -> Tensor:
        """(n, 3, 224, 224) -> (n,) logits, at once."""
        return self.head(self.needed_tower().class_tokens(x))[0]

    def loss(self, batch: Tensor, labels: Tensor) -> Tensor:
        """As published: cross-entropy, summed over the batch, and FACTOR of the contrastive loss of what the head
        reads."""
        logits, features = self.head(self.needed_tower().class_tokens(batch))
        entropy = F.binary_cross_entropy_with_logits(logits.float(), labels.float(), reduction="sum")
        return entropy + FACTOR * contrastive(features.float(), labels)


class RineHead(nn.Module):
    """What is trained of RINE; tensors have the names of the official file. blocks, before: shape of the tokens."""

    def __init__(self, blocks: int, before: int, projections: int, width: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.randn(1, blocks, width))
        self.proj1 = nn.Sequential(nn.Dropout(), *_layers([before] + [width] * projections))
        self.proj2 = nn.Sequential(nn.Dropout(), *_layers([width] * (projections + 1)))
        self.head = nn.Sequential(*_layers([width] * 3), nn.Linear(width, 1))

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """(n, blocks, before) -> (n,) logits and (n, width), what they are read off."""
        importance = torch.softmax(self.alpha, dim=1)
        features = self.proj2((importance * self.proj1(tokens)).sum(dim=1))
        return self.head(features).squeeze(1), features


def contrastive(features: Tensor, labels: Tensor) -> Tensor:
    """The supervised contrastive loss (Khosla et al. 2020, arXiv 2004.11362, equation 2) of (n, d) features.

    An image that is alone with its label counts as 0, as in the official code.
    """
    unit = F.normalize(features)
    itself = torch.eye(len(unit), dtype=torch.bool, device=unit.device)
    alike = (labels[:, None] == labels[None, :]) & ~itself
    similarity = (unit @ unit.T / TEMPERATURE).masked_fill(itself, -torch.inf)
    surprise = similarity.logsumexp(dim=1, keepdim=True) - similarity
    return (surprise.masked_fill(~alike, 0).sum(dim=1) / alike.sum(dim=1).clamp(min=1)).mean()


def _layers(widths: list[int]) -> list[nn.Module]:
    """Linear, ReLU and dropout from each width to the next."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU(), nn.Dropout()]
    return layers
