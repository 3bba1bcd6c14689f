"""What one detector's logits are worth: pure functions on arrays.

`labels` is (n,) with 0 for real and 1 for synthetic, `logits` is (n,) float without NaN (infinities are allowed:
a score of exactly 0 or 1). A logit above 0 means synthetic and `sigmoid(logit)` is P(synthetic). Rates are fractions
in [0, 1]. What cannot be computed, for want of images or of a class, is NaN: never an exception or a warning.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

ECE_BINS = 15
ROC_COLUMNS = ["fpr", "tpr", "threshold"]


def point_metrics(labels: np.ndarray, logits: np.ndarray) -> dict[str, float]:
    """Every metric of `metrics.csv` that is a single number, under its column's name."""
    return {
        "accuracy": accuracy(labels, logits),
        "balanced_accuracy": balanced_accuracy(labels, logits),
        "tpr": tpr(labels, logits),
        "tnr": tnr(labels, logits),
        "auc": auc(labels, logits),
        "ap": ap(labels, logits),
        "eer": eer(labels, logits),
        "tpr_at_fpr_1": tpr_at_fpr(labels, logits, 1),
        "tpr_at_fpr_5": tpr_at_fpr(labels, logits, 5),
        "ece": ece(labels, logits),
        "brier": brier(labels, logits),
        "nll": nll(labels, logits),
    }


def accuracy(labels: np.ndarray, logits: np.ndarray) -> float:
    """Share of images called by their right name at P = 0.5."""
    return _mean((np.asarray(logits) > 0) == np.asarray(labels))


def balanced_accuracy(labels: np.ndarray, logits: np.ndarray) -> float:
    """Mean of `tpr` and `tnr`: what accuracy would be with as many real as synthetic images."""
    return (tpr(labels, logits) + tnr(labels, logits)) / 2


def tpr(labels: np.ndarray, logits: np.ndarray) -> float:
    """Share of synthetic images called synthetic at P = 0.5."""
    return _mean(np.asarray(logits)[np.asarray(labels) == 1] > 0)


def tnr(labels: np.ndarray, logits: np.ndarray) -> float:
    """Share of real images called real at P = 0.5."""
    return _mean(np.asarray(logits)[np.asarray(labels) == 0] <= 0)


def auc(labels: np.ndarray, logits: np.ndarray) -> float:
    """Area under the ROC curve: P(a synthetic image's logit is above a real one's), ties counted half."""
    if not _has_both_classes(labels):
        return math.nan
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(labels, _ranks(logits)))


def ap(labels: np.ndarray, logits: np.ndarray) -> float:
    """Average precision with synthetic as the positive class: sum of (R_k - R_k-1) P_k, without interpolation."""
    if not _has_both_classes(labels):
        return math.nan
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(labels, _ranks(logits)))


def eer(labels: np.ndarray, logits: np.ndarray) -> float:
    """Equal error rate: where FPR = 1 - TPR on the linearly interpolated ROC curve."""
    if not _has_both_classes(labels):
        return math.nan
    fpr, hit_rate = _roc_rates(labels, logits)
    return float(np.interp(0.0, fpr - (1 - hit_rate), fpr))


def tpr_at_fpr(labels: np.ndarray, logits: np.ndarray, percent: float) -> float:
    """Largest TPR among thresholds with FPR at most `percent` %; NaN with fewer than 100 / `percent` real images."""
    n_real = int(np.sum(np.asarray(labels) == 0))
    # Counts, so that the rounding of a quotient never decides; the small term forgives that of `percent`.
    allowed = math.floor(n_real * percent / 100 + 1e-9)
    if allowed == 0 or not _has_both_classes(labels):
        return math.nan
    fpr, hit_rate = _roc_rates(labels, logits)
    return float(hit_rate[np.round(fpr * n_real) <= allowed].max())


def ece(labels: np.ndarray, logits: np.ndarray, bins: int = ECE_BINS) -> float:
    """Expected calibration error of P(synthetic): sum over equal-width bins of share * |mean label - mean score|.

    Naeini et al. 2015 (AAAI), with the right-closed bins of Guo et al. 2017 (arXiv 1706.04599, eq. 3), here on the
    probability of the synthetic class, not on that of the predicted one.
    """
    scores = _sigmoid(logits)
    if scores.size == 0:
        return math.nan
    bin_of = np.clip(np.ceil(scores * bins).astype(np.int64) - 1, 0, bins - 1)
    gaps = np.bincount(bin_of, weights=np.asarray(labels) - scores, minlength=bins)
    return float(np.abs(gaps).sum() / scores.size)


def brier(labels: np.ndarray, logits: np.ndarray) -> float:
    """Mean squared difference of P(synthetic) and label (Brier 1950), in [0, 1]."""
    return _mean((_sigmoid(logits) - np.asarray(labels)) ** 2)


def nll(labels: np.ndarray, logits: np.ndarray) -> float:
    """Mean log loss in nats, from the logits: finite unless an infinite logit is on the wrong side."""
    sign = 1 - 2 * np.asarray(labels)
    return _mean(np.logaddexp(0.0, sign * np.asarray(logits, dtype=np.float64)))


def roc_points(labels: np.ndarray, logits: np.ndarray, limit: int = 2000) -> pd.DataFrame:
    """The ROC curve as at most `limit` points (two at least) with columns `fpr`, `tpr`, `threshold`.

    A point's rule is score >= threshold, with the threshold as P(synthetic): inf at the first point, which calls
    nothing synthetic. Points that lie on a straight line between others are dropped; what is still too long is
    thinned evenly along the curve's length, ends kept. Empty where a class is missing.
    """
    if not _has_both_classes(labels):
        return pd.DataFrame(columns=ROC_COLUMNS, dtype=np.float64)
    from sklearn.metrics import roc_curve

    distinct, ranks = np.unique(np.asarray(logits, dtype=np.float64), return_inverse=True)
    fpr, hit_rate, cuts = roc_curve(labels, ranks, drop_intermediate=True)
    thresholds = np.append(np.inf, _sigmoid(distinct[cuts[1:].astype(np.int64)]))
    points = pd.DataFrame({"fpr": fpr, "tpr": hit_rate, "threshold": thresholds}, columns=ROC_COLUMNS)
    return points if len(points) <= limit else points.iloc[_evenly(fpr + hit_rate, limit)].reset_index(drop=True)


def _evenly(travelled: np.ndarray, limit: int) -> np.ndarray:
    """Indices of at most `limit` points at even steps of the way travelled from (0, 0), 0, to (1, 1), 2."""
    chosen = np.searchsorted(travelled, np.linspace(0.0, 2.0, max(limit, 2)))
    return np.unique(np.minimum(chosen, len(travelled) - 1))


def _roc_rates(labels: np.ndarray, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """FPR and TPR at every distinct logit, from (0, 0) to (1, 1)."""
    from sklearn.metrics import roc_curve

    fpr, hit_rate, _ = roc_curve(labels, _ranks(logits), drop_intermediate=False)
    return fpr, hit_rate


def _ranks(logits: np.ndarray) -> np.ndarray:
    """Dense ranks: the order and ties of the logits, which scikit-learn takes where it refuses infinities."""
    return np.unique(np.asarray(logits, dtype=np.float64), return_inverse=True)[1]


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    from scipy.special import expit

    return expit(np.asarray(logits, dtype=np.float64))


def _has_both_classes(labels: np.ndarray) -> bool:
    return 0 < np.sum(np.asarray(labels) == 1) < len(labels)


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if values.size else math.nan
