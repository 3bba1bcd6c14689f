"""How fast ways to compute the same thing are, beside one another on one core."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from maibench.cores import one_core

ROUNDS = 25
SECONDS = 0.6
"""A comparison ends after this many rounds, or with the first round after this many seconds."""


def times_as_fast(ways: Mapping[str, Callable[[Tensor], Tensor]], than: str, x: Tensor) -> dict[str, float]:
    """How many times as fast as way `than` each way computes `x`, at its best; the ways alternate."""
    best = dict.fromkeys(ways, float("inf"))
    with torch.inference_mode(), one_core():
        for way in ways.values():
            way(x)
        started = time.perf_counter()
        for at in range(ROUNDS):
            for name in list(ways)[:: 1 if at % 2 == 0 else -1]:
                begun = time.perf_counter()
                ways[name](x)
                _wait_for(x.device)
                best[name] = min(best[name], time.perf_counter() - begun)
            if time.perf_counter() - started > SECONDS:
                break
    return {name: best[than] / seconds for name, seconds in best.items()}


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
