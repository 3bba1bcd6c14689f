"""The detector: an image in, a logit out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from maibench.errors import MaibenchError
from maibench.models.card import Card


class Detector(nn.Module):
    """Base class of every detector.

    A subclass sets `card`, builds its layers in `__init__` (keyword options only), and implements `preprocess` and
    `forward`. A logit above 0 means synthetic; sigmoid(logit) is P(synthetic).

    reads: "pixels" (`preprocess` receives uint8 RGB, height x width x 3, read-only) or "file" (it receives the
    `ImageFile`: path, bytes, format, size). fitted: True where `fit` has to be called on a training split first.
    built_with: the options that `load_detector` built it with, defaults included. loads: options that only say which
    tensors the constructor loads and where to; a class that names "weights" among them loads its own.
    """

    card: Card
    reads: ClassVar[Literal["pixels", "file"]] = "pixels"
    fitted: ClassVar[bool] = False
    loads: ClassVar[tuple[str, ...]] = ()
    built_with: Mapping[str, Any] = MappingProxyType({})

    def preprocess(self, image: NDArray[np.uint8]) -> Tensor:
        """One image -> what one row of a batch is made of. Runs in worker threads: it must not change `self`.

        Raises ImageError for an image that this detector cannot read; that image becomes a failed row.
        """
        raise NotImplementedError(f"{type(self).__name__}.preprocess")

    def collate(self, items: Sequence[Tensor]) -> Any:
        """Preprocessed images -> a batch. Stacks; override where sizes vary."""
        return torch.stack(list(items))

    def forward(self, batch: Any) -> Tensor:
        """A batch of n images -> (n,) logits."""
        raise NotImplementedError(f"{type(self).__name__}.forward")

    def answer(self, batch: Any) -> tuple[Tensor, Tensor]:
        """A batch of n images -> (n,) logits and (n,) bool, which of them are `unsure`: scored, but with little mass on
        yes and no. Override where a detector can tell."""
        logits = self(batch)
        return logits, torch.zeros(logits.shape, dtype=torch.bool, device=logits.device)

    def loss(self, batch: Any, labels: Tensor) -> Tensor:
        """What training makes smaller: binary cross-entropy of the logits against (n,) labels in {0, 1}."""
        return F.binary_cross_entropy_with_logits(self(batch).float(), labels.float())

    def add_adapter(self, rank: int, alpha: int, dropout: float, targets: str) -> None:
        """Freeze the weights and train a low-rank adapter beside them. Raises MaibenchError where that is not known."""
        raise MaibenchError(f"{self.card.name} takes no LoRA adapter; leave 'lora' out of the recipe")

    def save(self, folder: Path) -> dict[str, Any]:
        """Write what was trained to a folder; returns what its config.json has to say besides the class's options."""
        from maibench.models.weights import save_weights

        save_weights(self, folder / "model.safetensors")
        return {}

    def check_ready(self) -> None:
        """Raises MaibenchError, with what to do, where a loaded detector cannot score yet."""

    def facts(self) -> dict[str, str]:
        """What is known of the loaded detector beyond its card, for `maibench show`."""
        return {}

    def fit(self, features: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
        """Fit to a training split: (n, d) stacked preprocess results and (n,) labels. Only where `fitted` is True.

        What is learnt is kept in buffers, so that `state_dict` holds it.
        """
        raise NotImplementedError(f"{type(self).__name__}.fit")

    @classmethod
    def bundled_card(cls) -> Card:
        """The card of the bundled weights, without loading them; for classes that load their own."""
        raise NotImplementedError(f"{cls.__name__}.bundled_card")

    @property
    def row_name(self) -> str:
        """What its row is called where the request gives no label; "" for the name that it was asked for by."""
        return ""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        tensor = next((t for group in (self.parameters(), self.buffers()) for t in group), None)
        return torch.device("cpu") if tensor is None else tensor.device

    def parameter_count(self) -> int:
        """How many trainable numbers the detector has (buffers that `fit` fills are counted for fitted ones)."""
        tensors = self.buffers() if self.fitted else self.parameters()
        return sum(t.numel() for t in tensors)
