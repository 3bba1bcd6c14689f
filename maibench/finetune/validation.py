"""The validation split: what weights are chosen by, and where P = 0.5 and thresholds are fitted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from maibench.datasets.image import decode, read_file
from maibench.datasets.manifest import Manifest
from maibench.errors import ImageError
from maibench.evaluation.scoring import to_device
from maibench.models.base import Detector

BATCH = 16


@dataclass(frozen=True)
class ValidationSplit:
    """name: of the data. items: preprocessed images. labels: (n,) 0 real, 1 synthetic."""

    name: str
    items: list[Any]
    labels: NDArray[np.int64]

    @property
    def has_both_classes(self) -> bool:
        return len(np.unique(self.labels)) == 2

    @torch.inference_mode()
    def logits(self, detector: Detector) -> NDArray[np.float64]:
        """(n,) logits of a detector in evaluation mode."""
        detector.eval()
        batches = [detector.collate(self.items[start : start + BATCH]) for start in range(0, len(self.items), BATCH)]
        return (
            torch.cat([detector(to_device(batch, detector.device)).float().cpu() for batch in batches]).double().numpy()
        )


def read_validation(manifest: Manifest, detector: Detector, exclude: Sequence[str] = ()) -> ValidationSplit:
    """Preprocess a manifest's validation images once; `exclude`d generators and what cannot be read are left out (every
    comparison names unreadable images; here they only cannot be validated on)."""
    items: list[Any] = []
    labels: list[int] = []
    for row in manifest.split("validation").to_dict("records"):
        if row["generator"] in exclude:
            continue
        try:
            items.append(detector.preprocess(decode(read_file(manifest.root, row["path"]).data)))
        except ImageError:
            continue
        labels.append(row["label"])
    return ValidationSplit(manifest.name, items, np.array(labels, dtype=np.int64))
