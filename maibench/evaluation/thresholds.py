"""A threshold other than P = 0.5, fitted on validation data alone."""

from __future__ import annotations

import math

import numpy as np

# Beyond this logit a float64 can no longer tell P(synthetic) from 1.
_LARGEST_LOGIT = 36.0


def fit_threshold(labels: np.ndarray, logits: np.ndarray) -> float:
    """The P(synthetic) above which to call an image synthetic: highest balanced accuracy (Youden 1950, J).

    `labels` (n,) 0 or 1, `logits` (n,) without NaN: those of the validation split. The cut lies midway, in logits,
    between two neighbouring distinct logits, or one unit outside all of them; among equally good cuts it is the one
    whose logit is nearest to 0. NaN where a class is missing.
    """
    from scipy.special import expit, logit

    labels, logits = np.asarray(labels), np.asarray(logits, dtype=np.float64)
    if not 0 < np.sum(labels == 1) < len(labels):
        return math.nan
    thresholds = expit(_candidate_cuts(logits))
    # Each cut is judged as the probability can express it, so that the fitted threshold does what it was chosen for.
    cuts = logit(thresholds)
    youden = _scaled_youden(labels, logits, cuts)
    best = np.flatnonzero(youden == youden.max())
    return float(thresholds[best[np.argmin(np.abs(cuts[best]))]])


def accuracy_at(labels: np.ndarray, logits: np.ndarray, threshold: float) -> float:
    """Share of images called rightly by the rule score > `threshold`; NaN without images or without a threshold.

    The comparison is made in logits: `threshold` is turned into one, no score is rounded to 0 or 1.
    """
    from scipy.special import logit

    if math.isnan(threshold) or len(labels) == 0:
        return math.nan
    return float(np.mean((np.asarray(logits) > logit(threshold)) == np.asarray(labels)))


def _candidate_cuts(logits: np.ndarray) -> np.ndarray:
    distinct = np.unique(np.clip(logits, -_LARGEST_LOGIT, _LARGEST_LOGIT))
    return np.concatenate([[distinct[0] - 1], (distinct[:-1] + distinct[1:]) / 2, [distinct[-1] + 1]])


def _scaled_youden(labels: np.ndarray, logits: np.ndarray, cuts: np.ndarray) -> np.ndarray:
    """J of each cut times n_real * n_synthetic: an integer, so that equally good cuts compare equal."""
    real, synthetic = np.sort(logits[labels == 0]), np.sort(logits[labels == 1])
    hits = len(synthetic) - np.searchsorted(synthetic, cuts, side="right")
    false_alarms = len(real) - np.searchsorted(real, cuts, side="right")
    return hits * len(real) - false_alarms * len(synthetic)
