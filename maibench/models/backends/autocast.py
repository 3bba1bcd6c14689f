"""torch in bfloat16: convolutions and products of matrices are rounded, torch keeps in float32 what suffers from it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from maibench.models.base import Detector


def compile_network(detector: Detector, example: Tensor, bfloat16: bool) -> Callable[[Tensor], Tensor]:
    """`tensor_logits` under torch's automatic mixed precision; logits are float32."""
    kind = example.device.type

    def run(x: Tensor) -> Tensor:
        with torch.autocast(kind, torch.bfloat16, enabled=bfloat16):
            return detector.run_in_torch(x).float()

    return run
