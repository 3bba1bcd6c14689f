"""From probabilities that others made to logits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

NEAREST = 1e-12
"""How near to 0 and 1 a probability is taken at most: nobody is surer than a logit of 27.6."""


def logits_of(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """P(synthetic) in [0, 1] -> finite logits of the same shape; NaN stays NaN."""
    return np.asarray(logit(np.clip(scores, NEAREST, 1 - NEAREST)), dtype=np.float64)
