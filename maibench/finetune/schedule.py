"""The learning rate over a training."""

from __future__ import annotations

import math


def warm_cosine(step: int, steps: int, warmup: int, floor: float = 0.01, start: float = 0.1) -> float:
    """The share of the learning rate at a step, counted from 1: a linear warm-up from `start`, then half a cosine
    down to `floor`; both counted in optimiser steps, so that they end with the training."""
    if step <= warmup:
        return start + (1 - start) * step / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return floor + (1 - floor) * (0.5 + 0.5 * math.cos(math.pi * done))
