"""Thresholds other than P = 0.5, fitted on validation data alone, and what each gives elsewhere."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from maibench.evaluation.statistics.evaluated import Evaluated
from maibench.evaluation.statistics.frames import frame

RULES = ("P = 0.5", "balanced", "equal error", "FPR 1 %", "FPR 5 %")

# Beyond this logit a float64 can no longer tell P(synthetic) from 1.
_LARGEST_LOGIT = 36.0


def fitted_thresholds(evaluated: Evaluated) -> dict[str, float]:
    """For each detector with validation images the threshold of `fit_threshold`; NaN where a class is missing."""
    return {detector: fit_threshold(*validation) for detector, validation in evaluated.validation.items()}


def operating_points(evaluated: Evaluated) -> pd.DataFrame:
    """The frame "thresholds": what each rule of RULES gives on the evaluated split, under every perturbation.

    Rules are fitted on the detector's undisturbed validation images; without these there is "P = 0.5" alone. "balanced"
    is `fit_threshold`, "equal error" `equal_error_threshold`, "FPR x %" `fpr_threshold`; NaN where they are.
    n_validation: the images that a rule was fitted on (the real ones for "FPR x %", none for "P = 0.5").
    """
    fitted = {detector: _fitted(*validation) for detector, validation in evaluated.validation.items()}
    rows = []
    for key in evaluated.logits:
        labels, logits = evaluated.scored(key)
        for rule, (threshold, n) in ({RULES[0]: (0.5, 0)} | fitted.get(key[0], {})).items():
            name: dict[str, Any] = {"detector": key[0], "perturbation": key[1], "rule": rule}
            rows.append(name | {"threshold": threshold, "n_validation": n} | rates_at(labels, logits, threshold))
    return frame("thresholds", rows)


def fit_threshold(labels: np.ndarray, logits: np.ndarray) -> float:
    """The P(synthetic) above which to call an image synthetic: highest balanced accuracy (Youden 1950, J).

    `labels` (n,) 0 or 1, `logits` (n,) without NaN: those of the validation split. The cut lies midway, in logits,
    between two neighbouring distinct logits, or one unit outside all of them; among equally good cuts it is the one
    whose logit is nearest to 0. NaN where a class is missing.
    """
    if not _has_both_classes(labels):
        return math.nan
    thresholds, cuts = _candidates(logits)
    false_alarms, misses = _scaled_errors(labels, logits, cuts)
    return float(thresholds[np.lexsort([np.abs(cuts), false_alarms + misses])[0]])


def equal_error_threshold(labels: np.ndarray, logits: np.ndarray) -> float:
    """The P(synthetic) at which the rates of false alarms and of misses are nearest to each other.

    Among the cuts of `fit_threshold`; of equally good ones that with the fewer errors, then the nearest to 0. Arguments
    as there. NaN where a class is missing.
    """
    if not _has_both_classes(labels):
        return math.nan
    thresholds, cuts = _candidates(logits)
    false_alarms, misses = _scaled_errors(labels, logits, cuts)
    best = np.lexsort([np.abs(cuts), false_alarms + misses, np.abs(false_alarms - misses)])[0]
    return float(thresholds[best])


def fpr_threshold(labels: np.ndarray, logits: np.ndarray, percent: float) -> float:
    """The lowest P(synthetic) above which at most `percent` % of the real images lie, 0 < percent < 100.

    Arguments as for `fit_threshold`; only real images matter. NaN with fewer than 100 / `percent` of them.
    """
    from scipy.special import expit, logit

    real = np.sort(np.asarray(logits, dtype=np.float64)[np.asarray(labels) == 0])
    # A count, so that the rounding of a quotient never decides; the small term forgives that of `percent`.
    allowed = math.floor(len(real) * percent / 100 + 1e-9)
    if allowed == 0:
        return math.nan
    cut = real[-allowed - 1]
    threshold = float(expit(cut))
    while logit(threshold) < cut:  # rounded down, it would let through the image that it is to stop
        threshold = math.nextafter(threshold, 1.0)
    return threshold


def accuracy_at(labels: np.ndarray, logits: np.ndarray, threshold: float) -> float:
    """Share of images called rightly by the rule score > `threshold`; NaN without images or without a threshold.

    The comparison is made in logits: `threshold` is turned into one, no score is rounded to 0 or 1.
    """
    return rates_at(labels, logits, threshold)["accuracy"]


def rates_at(labels: np.ndarray, logits: np.ndarray, threshold: float) -> dict[str, float]:
    """`accuracy`, `balanced_accuracy`, `tpr` and `tnr` of the rule score > `threshold`, as for `accuracy_at`; NaN where
    they lack images."""
    from scipy.special import logit

    labels = np.asarray(labels)
    if math.isnan(threshold):
        return dict.fromkeys(("accuracy", "balanced_accuracy", "tpr", "tnr"), math.nan)
    called = np.asarray(logits) > logit(threshold)
    n_real, n_synthetic = int(np.sum(labels == 0)), int(np.sum(labels == 1))
    hits, rejections = int(np.sum(called & (labels == 1))), int(np.sum(~called & (labels == 0)))
    tpr, tnr = _ratio(hits, n_synthetic), _ratio(rejections, n_real)
    accuracy = _ratio(hits + rejections, n_real + n_synthetic)
    return {"accuracy": accuracy, "balanced_accuracy": (tpr + tnr) / 2, "tpr": tpr, "tnr": tnr}


def _fitted(labels: np.ndarray, logits: np.ndarray) -> dict[str, tuple[float, int]]:
    """Threshold and number of images behind it, of every rule that is fitted."""
    n_real = int(np.sum(labels == 0))
    return {
        "balanced": (fit_threshold(labels, logits), len(labels)),
        "equal error": (equal_error_threshold(labels, logits), len(labels)),
        "FPR 1 %": (fpr_threshold(labels, logits, 1), n_real),
        "FPR 5 %": (fpr_threshold(labels, logits, 5), n_real),
    }


def _candidates(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The probabilities that may be thresholds, and the logit of each: a cut is judged as the probability can express
    it, so that the fitted threshold does what it was chosen for."""
    from scipy.special import expit, logit

    distinct = np.unique(np.clip(np.asarray(logits, dtype=np.float64), -_LARGEST_LOGIT, _LARGEST_LOGIT))
    cuts = np.concatenate([[distinct[0] - 1], (distinct[:-1] + distinct[1:]) / 2, [distinct[-1] + 1]])
    thresholds = expit(cuts)
    return thresholds, logit(thresholds)


def _scaled_errors(labels: np.ndarray, logits: np.ndarray, cuts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rates of false alarms and of misses at each cut times n_real * n_synthetic: integers, so that equally good cuts
    compare equal."""
    labels, logits = np.asarray(labels), np.asarray(logits, dtype=np.float64)
    real, synthetic = np.sort(logits[labels == 0]), np.sort(logits[labels == 1])
    misses = np.searchsorted(synthetic, cuts, side="right")
    false_alarms = len(real) - np.searchsorted(real, cuts, side="right")
    return false_alarms * len(synthetic), misses * len(real)


def _has_both_classes(labels: np.ndarray) -> bool:
    return bool(0 < np.sum(np.asarray(labels) == 1) < len(labels))


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan
