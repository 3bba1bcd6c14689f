"""Batches and devices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from maibench.errors import MaibenchError
from maibench.models.transfer import send


def choose_device(name: str) -> str:
    """auto, cpu, cuda or cuda:N -> what torch calls the device; auto: a GPU where there is one.

    On a GPU float32 stays float32, the same on every card. Raises MaibenchError for any other name, and where there is
    no GPU.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise MaibenchError(f"unknown device '{name}': use auto, cpu or cuda") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise MaibenchError("no CUDA device is available here; use --device cpu")
    if device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = False
    return name


def in_chunks(function: Callable[[Tensor], Tensor], x: Tensor, size: int) -> Tensor:
    """`function` of (n, ...), called for at most `size` rows at a time."""
    return function(x) if len(x) <= size else torch.cat([function(part) for part in x.split(size)])


def to_device(batch: Any, device: torch.device) -> Any:
    """Move a batch (a tensor, or a list, tuple or dict of them) to a device; see `send`, which does not wait."""
    return send(batch, device).receive()
