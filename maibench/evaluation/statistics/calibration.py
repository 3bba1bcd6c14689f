"""Whether P(synthetic) can be taken at its word, and what one or two parameters fitted on validation data mend."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from maibench.evaluation.statistics import metrics
from maibench.evaluation.statistics.evaluated import Evaluated, Floats, Labels
from maibench.evaluation.statistics.frames import frame

_STEEPEST = 60
"""Doublings of a slope, from that of logits of mean size 1, after which the data count as separable."""
_CERTAIN = 36.0
"""About the largest logit whose probability is not yet 1 in float64."""


def calibrate(evaluated: Evaluated) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The frames "calibration" and "reliability": a row for each detector, perturbation and method; and for each bin.

    Methods: "raw", and, fitted on the undisturbed validation images alone and applied under every perturbation,
    "temperature" and "platt"; what cannot be fitted (see `fit_temperature`, `fit_platt`) has no rows. Numbers are
    those of the evaluated split: `ece`, `brier` and `nll` as in metrics.py, the rest by `decompose`; NaN without
    images. Bins of P(synthetic) are those of `metrics.ece`, (lo, hi]; one without images has no row.
    """
    rows, bins = [], []
    fits = {detector: _fits(*validation) for detector, validation in evaluated.validation.items()}
    for key in evaluated.logits:
        labels, logits = evaluated.scored(key)
        for method, (slope, intercept) in ({"raw": (1.0, 0.0)} | fits.get(key[0], {})).items():
            name: dict[str, Any] = {"detector": key[0], "perturbation": key[1], "method": method}
            answers = logits if method == "raw" else calibrated(logits, slope, intercept)
            scores = {
                "ece": metrics.ece(labels, answers),
                "brier": metrics.brier(labels, answers),
                "nll": metrics.nll(labels, answers),
            }
            rows.append(name | {"slope": slope, "intercept": intercept} | scores | decompose(labels, answers))
            bins += [name | row for row in reliability(labels, answers).to_dict("records")]
    return frame("calibration", rows), frame("reliability", bins)


def fit_temperature(labels: Labels, logits: Floats) -> float:
    """The slope > 0 (1 / temperature) with the least log loss of slope * logit (Guo et al. 2017, arXiv 1706.04599).

    labels (n,) 0 or 1, logits (n,) without NaN; an infinite one counts as the largest finite one, 36 at least. On
    separable data (no logit on the wrong side of 0) no slope is the best: there the labels give way to Platt's targets
    (see `fit_platt`). NaN where a class is missing and where flatter is always better, as for a detector no better
    than chance.
    """
    from scipy.optimize import brentq
    from scipy.special import expit

    if not _has_both_classes(labels):
        return math.nan
    logits = _finite(logits)
    scale = float(np.abs(logits).mean()) or 1.0
    at = logits / scale
    for targets in (labels, _smoothed(labels)):
        # The loss is convex in the slope: its derivative crosses 0 once, or nowhere.
        derivative = lambda slope, targets=targets: float(np.mean(at * (expit(slope * at) - targets)))  # noqa: E731
        if derivative(0.0) >= 0:
            return math.nan
        steepest = next((2.0**power for power in range(_STEEPEST) if derivative(2.0**power) > 0), None)
        if steepest is not None:
            return float(brentq(derivative, 0.0, steepest, rtol=1e-14)) / scale
    return math.nan


def fit_platt(labels: Labels, logits: Floats) -> tuple[float, float]:
    """Slope and intercept with the least log loss of slope * logit + intercept: logistic regression on one feature.

    Platt 1999; Niculescu-Mizil & Caruana 2005. Unregularised, labels as they are; only where the classes are
    separable, so that no maximum of the likelihood exists, with the targets that Platt proposes (his section 2.2):
    (N1 + 1) / (N1 + 2) for the N1 synthetic images and 1 / (N0 + 2) for the N0 real ones. Arguments as for
    `fit_temperature`. NaN where a class is missing, and where all logits are one. A negative slope: the detector takes
    either class for the other.
    """
    from scipy.optimize import minimize
    from scipy.special import expit

    logits = _finite(logits)
    if not _has_both_classes(labels) or logits.min() == logits.max():
        return math.nan, math.nan
    size = np.abs(logits).max()
    at = logits / size
    centre, scale = at.mean(), at.std()
    design = np.stack([(at - centre) / scale, np.ones(len(at))])
    targets = _smoothed(labels) if _separable(labels, logits) else labels

    def loss(parameters: Floats) -> tuple[float, Floats]:
        answers = parameters @ design
        value = np.mean(np.logaddexp(0.0, answers) - targets * answers)
        return float(value), design @ (expit(answers) - targets) / len(targets)

    def curvature(parameters: Floats) -> Floats:
        score = expit(parameters @ design)
        return (design * score * (1 - score)) @ design.T / len(targets)

    share = np.mean(targets)
    start = np.array([0.0, math.log(share / (1 - share))])
    slope, intercept = minimize(loss, start, jac=True, hess=curvature, method="trust-exact", options={"gtol": 1e-11}).x
    return float(slope / scale / size), float(intercept - slope * centre / scale)


def calibrated(logits: Floats, slope: float, intercept: float) -> Floats:
    """slope * logit + intercept, (n,); an infinite logit counts as the largest finite one, 36 at least."""
    return slope * _finite(logits) + intercept


def decompose(labels: Labels, logits: Floats) -> dict[str, float]:
    """`reliability`, `resolution` and `uncertainty`: brier = reliability - resolution + uncertainty, exactly.

    Murphy 1973 over the bins of `reliability`. His three terms add up where all scores of a bin are one; the two that
    are missing otherwise, the variance of the scores within bins and their covariance with the labels, are part of the
    resolution: the generalised resolution of Stephenson, Coelho & Jolliffe 2008 (Weather and Forecasting 23, 752).
    Low reliability is good, high resolution is. NaN without images.
    """
    from scipy.special import expit

    if len(labels) == 0:
        return dict.fromkeys(("reliability", "resolution", "uncertainty"), math.nan)
    scores = expit(logits)
    which, n, mean_score, share = _bins(labels, scores)
    base_rate = labels.mean()
    within = scores - mean_score[which]
    variance, covariance = np.mean(within**2), 2 * np.mean(within * labels)
    return {
        "reliability": float(n @ (mean_score - share) ** 2 / len(labels)),
        "resolution": float(n @ (share - base_rate) ** 2 / len(labels) - variance + covariance),
        "uncertainty": float(base_rate * (1 - base_rate)),
    }


def reliability(labels: Labels, logits: Floats) -> pd.DataFrame:
    """The reliability diagram: bin (0..14), lo, hi, n, mean_score and share_synthetic of every bin with images."""
    from scipy.special import expit

    _, n, mean_score, share = _bins(labels, expit(logits))
    edges = np.arange(metrics.ECE_BINS + 1) / metrics.ECE_BINS
    table = pd.DataFrame({
        "bin": np.arange(metrics.ECE_BINS), "lo": edges[:-1], "hi": edges[1:], "n": n, "mean_score": mean_score,
        "share_synthetic": share,
    })  # fmt: skip
    return table[n > 0]


def _fits(labels: Labels, logits: Floats) -> dict[str, tuple[float, float]]:
    found = {"temperature": (fit_temperature(labels, logits), 0.0), "platt": fit_platt(labels, logits)}
    return {method: fit for method, fit in found.items() if np.isfinite(fit).all()}


def _bins(labels: Labels, scores: Floats) -> tuple[Labels, Labels, Floats, Floats]:
    """Of each image (n,) its bin; of each bin (15,) the number of images, mean score and mean label, 0 if empty."""
    last = metrics.ECE_BINS - 1
    which = np.clip(np.ceil(scores * metrics.ECE_BINS).astype(np.int64) - 1, 0, last)
    n = np.bincount(which, minlength=last + 1)
    mean_score, share = (
        np.bincount(which, weights=values, minlength=last + 1) / np.maximum(n, 1) for values in (scores, labels)
    )
    return which, n, mean_score, share


def _finite(logits: Floats) -> Floats:
    """Infinite logits replaced by the largest finite one, 36 at least, under their sign."""
    infinite = np.isinf(logits)
    if not infinite.any():
        return logits
    largest = np.abs(logits[~infinite]).max(initial=_CERTAIN)
    return np.where(infinite, np.copysign(largest, logits), logits)


def _smoothed(labels: Labels) -> Floats:
    """Platt's targets: the labels after one more image of either kind for each class."""
    n_synthetic = np.sum(labels == 1)
    n_real = len(labels) - n_synthetic
    return np.where(labels == 1, (n_synthetic + 1) / (n_synthetic + 2), 1 / (n_real + 2))


def _separable(labels: Labels, logits: Floats) -> bool:
    real, synthetic = logits[labels == 0], logits[labels == 1]
    return bool(real.max() <= synthetic.min() or synthetic.max() <= real.min())


def _has_both_classes(labels: Labels) -> bool:
    return bool(0 < np.sum(labels == 1) < len(labels))
