"""hf:OWNER/NAME: any image classifier of the Hub, or of a folder, whose classes tell synthetic from real."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maibench.errors import DetectorError
from maibench.models.card import Card
from maibench.models.hub_models.files import HubFiles
from maibench.models.hub_models.labels import Sides, read_labels
from maibench.models.hub_models.loading import load_image_processor
from maibench.models.hub_models.network import HubNetwork
from maibench.models.hub_models.policy import policy_facts, process


class HubClassifier(HubNetwork):
    """An image classifier of transformers (`AutoModelForImageClassification`) with its own image processor.

    The logit is log P(synthetic) - log P(real): the difference of the log-sum-exps over the classes of either side.
    Weights are safetensors, code of the repository is never run.

    model: a folder, or OWNER/NAME[@REVISION], fetched where it is not cached. synthetic: the classes that mean
    synthetic, by name or index, one or a list; "none" for a single logit that means real (None: told from their names).
    adapter: a PEFT adapter, as finetuning writes it. dtype: float32, bfloat16, float16; auto: bfloat16 on a GPU.

    Raises MaibenchError for a place that there is not and options that it does not know; DetectorError for a model that
    cannot be loaded, or whose classes do not tell.
    """

    card = Card(name="hf", summary="an image classifier of transformers")

    def __init__(
        self,
        *,
        model: str | Path,
        synthetic: str | int | Sequence[str | int] | None = None,
        adapter: str | Path | None = None,
        dtype: str = "float32",
        weights: str | Path | None = None,
        device: str = "cpu",
    ) -> None:
        super().__init__()
        from transformers import AutoModelForImageClassification

        self._load(AutoModelForImageClassification, model, adapter, dtype, device, weights)
        self.sides = _sides(self.network.config, self.files, synthetic)
        self.told = str(self.sides)  # is part of the fingerprint, as are the processor's settings
        self.processor = load_image_processor(self.files)
        self.settings = self.processor.to_json_string()
        self.card = self.card.updated(
            summary=f"{self.files.title}, a {type(self.network).__name__}",
            notes=f"classes: {self.told}",
            **policy_facts(self.processor, self.preprocess),
        )

    def preprocess(self, image: NDArray[np.uint8]) -> Tensor:
        """uint8 height x width x 3 -> float32 (3, height, width), as the model's own processor makes it."""
        return process(self.processor, image)["pixel_values"][0]

    def collate(self, items: Sequence[Tensor]) -> Any:
        """Stacked; a list where the processor leaves images of several sizes."""
        return torch.stack(list(items)) if len({item.shape for item in items}) == 1 else list(items)

    def forward(self, batch: Any) -> Tensor:
        """(n, 3, height, width), or a list of n such images of any sizes -> (n,) logits."""
        if isinstance(batch, Tensor):
            return self.run(batch)
        return torch.cat([self.run(image[None]) for image in batch])

    def tensor_logits(self, x: Tensor) -> Tensor:
        """(n, 3, height, width) -> (n,) logits."""
        return self.sides.logit(self.network(pixel_values=x.to(self.dtype)).logits.float())


def _sides(config: Any, files: HubFiles, synthetic: Any) -> Sides:
    names = {int(index): str(name) for index, name in config.id2label.items()}
    if config.problem_type == "multi_label_classification" and len(names) > 1:
        raise DetectorError(f"{files.name}: its classes do not exclude one another ({config.problem_type})")
    try:
        return read_labels(names, synthetic)
    except DetectorError as error:
        raise DetectorError(f"{files.name}: {error}") from error
