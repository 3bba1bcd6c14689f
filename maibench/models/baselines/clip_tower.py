"""Detectors on CLIP's frozen image tower: where it comes from, and how they read an image."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maibench.errors import MaibenchError
from maibench.models.base import Detector
from maibench.models.baselines.inputs import crop_or_black, crop_or_black_tensor
from maibench.models.frozen import Frozen
from maibench.models.hub_models.files import find_files
from maibench.models.hub_models.loading import load_network
from maibench.models.pixels import normalise, normalise_tensor

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
OFFICIAL = "openai/clip-vit-large-patch14"
"""ViT-L/14 as the Hub has it: the weights that OpenAI published, in transformers' layout."""
SIZE = 224
BLOCKS, WIDTH, EMBEDDING = 24, 1024, 768
"""Of ViT-L/14."""
INPUT_POLICY = f"centre crop of {SIZE} x {SIZE}; smaller images in the middle of black; nothing is resized"


class ClipTower(Frozen):
    """The image tower of a CLIP, frozen. Tensors are float32, as CLIP's own code has them on a CPU."""

    def embed(self, x: Tensor) -> Tensor:
        """(n, 3, side, side) -> (n, d): what CLIP compares with texts, not normalised."""
        embedding: Tensor = self(pixel_values=x).image_embeds
        return embedding

    def class_tokens(self, x: Tensor) -> Tensor:
        """(n, 3, side, side) -> (n, blocks, width): the class token of each block as it enters the block's MLP (the
        output of `ln_2` in CLIP's code)."""
        tower = self.network.vision_model
        hidden = tower.pre_layrnorm(tower.embeddings(x))
        tokens = []
        for block in tower.encoder.layers:
            hidden = hidden + block.self_attn(block.layer_norm1(hidden))[0]
            normed = block.layer_norm2(hidden)
            tokens.append(normed[:, 0])
            hidden = hidden + block.mlp(normed)
        return torch.stack(tokens, dim=1)


class ClipDetector(Detector):
    """What is trained on a frozen CLIP: `tower` is None until `backbone` names one.

    backbone: a folder in transformers' layout, or OWNER/NAME[@REVISION] of the Hub. Only its safetensors are read.

    Raises MaibenchError where there is neither; DetectorError for what is no whole CLIP.
    """

    concurrent: ClassVar[bool] = True
    cpu_chunk: ClassVar[int | None] = 8

    def __init__(self, backbone: str | Path | None) -> None:
        super().__init__()
        self.tower: ClipTower | None = None
        self.backbone_sha256 = ""
        self.blocks, self.width, self.embedding, self.size = BLOCKS, WIDTH, EMBEDDING, SIZE
        if backbone is None:
            return
        from transformers import CLIPVisionModelWithProjection

        files = find_files(backbone)
        self.tower = ClipTower(load_network(CLIPVisionModelWithProjection, files, torch.float32))
        self.backbone_sha256 = files.sha256  # is part of the fingerprint
        config = self.tower.network.config
        self.blocks, self.width = int(config.num_hidden_layers), int(config.hidden_size)
        self.embedding, self.size = int(config.projection_dim), int(config.image_size)
        self.card = self.card.updated(
            input_size=self.size,
            input_policy=INPUT_POLICY.replace(str(SIZE), str(self.size)),
            notes=f"on {files.name} (sha256 of its weights: {self.backbone_sha256}). {self.card.notes}",
        )

    def preprocess(self, image: NDArray[np.uint8]) -> Tensor:
        """uint8 height x width x 3 -> float32 (3, 224, 224)."""
        return normalise(crop_or_black(image, self.size), CLIP_MEAN, CLIP_STD)

    def differentiable(self, pixels: Tensor) -> Tensor:
        """`preprocess` in torch: float (3, height, width) in [0, 255] -> (3, 224, 224)."""
        return normalise_tensor(crop_or_black_tensor(pixels, self.size), CLIP_MEAN, CLIP_STD)

    def forward(self, batch: Tensor) -> Tensor:
        """(n, 3, 224, 224) -> (n,) logits."""
        return self.run(batch)

    def check_ready(self) -> None:
        """Raises MaibenchError where no backbone was named."""
        self.needed_tower()

    def needed_tower(self) -> ClipTower:
        """The tower. Raises MaibenchError where no backbone was named."""
        if self.tower is None:
            name = self.card.name
            raise MaibenchError(
                f"{name} stands on CLIP's image tower, which is not bundled: --set {name}.backbone={OFFICIAL} fetches "
                "it (1.7 GB, once), or name a folder that holds it (in a recipe: options.backbone)"
            )
        return self.tower

    def parameter_count(self) -> int:
        """Of the tower and of what is trained on it."""
        return super().parameter_count() + (self.tower.parameter_count() if self.tower is not None else 0)

    def facts(self) -> dict[str, str]:
        """How many of the parameters are trained."""
        return {"trained parameters": f"{super().parameter_count():,}"}
