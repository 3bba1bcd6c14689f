"""A logistic regression that is calibrated and lives in buffers: what fitted detectors end in."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from maibench.errors import MaibenchError

PENALTIES = (0.0001, 0.001, 0.01, 0.1, 1.0)
"""Inverse strengths (scikit-learn's C) that are tried."""
LEAST = 1e-3
"""The slope of a calibration where all held-out logits mislead."""
FURTHEST = 8.0
"""Standard deviations: a feature that is further out than anything in training says no more than one there."""


class CalibratedLogistic(nn.Module):
    """Features are standardised and weighed; what is learnt is kept in buffers. count: of the features. name: of the
    detector, for messages."""

    mean: Tensor
    scale: Tensor
    coefficients: Tensor
    intercept: Tensor

    def __init__(self, count: int, name: str) -> None:
        super().__init__()
        self.name = name
        self.register_buffer("mean", torch.zeros(count, dtype=torch.float64))
        self.register_buffer("scale", torch.ones(count, dtype=torch.float64))
        self.register_buffer("coefficients", torch.zeros(count, dtype=torch.float64))
        self.register_buffer("intercept", torch.full((), torch.nan, dtype=torch.float64))

    def fit(self, features: NDArray[np.floating], labels: NDArray[np.int64]) -> None:
        """(n, count) features and (n,) labels in {0, 1}. Raises MaibenchError when a class is missing."""
        if len(np.unique(labels)) < 2:
            raise MaibenchError(
                f"{self.name}: the training split holds one class only; it needs real and synthetic images"
            )
        inputs = np.asarray(features, dtype=np.float64)
        mean, deviation = inputs.mean(axis=0), inputs.std(axis=0)
        scale = np.where(deviation > 1e-9, deviation, 1.0)
        weights, intercept = fit_logistic((inputs - mean) / scale, np.asarray(labels))
        device = self.mean.device
        self.mean = torch.from_numpy(mean).to(device)
        self.scale = torch.from_numpy(scale).to(device)
        self.coefficients = torch.from_numpy(weights).to(device)
        self.intercept = torch.tensor(intercept, dtype=torch.float64, device=device)

    def forward(self, features: Tensor) -> Tensor:
        """(n, count) -> (n,) logits. Raises MaibenchError before `fit`."""
        if torch.isnan(self.intercept):
            raise MaibenchError(f"{self.name}: not fitted yet; call fit with a training split")
        standard = ((features.double() - self.mean) / self.scale).clamp(-FURTHEST, FURTHEST)
        return (standard * self.coefficients).sum(dim=1) + self.intercept


def fit_logistic(inputs: NDArray[np.float64], labels: NDArray[np.int64]) -> tuple[NDArray[np.float64], float]:
    """scikit-learn's logistic regression with both classes weighing the same: (weights (d,), intercept).

    The strength of the penalty is the one with the best log-likelihood over five folds (fewer where a class is smaller;
    where one has a single image, a fixed strength), and the logits of those folds calibrate it (Platt 1999,
    Probabilistic outputs for support vector machines). inputs: (n, d), standardised.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.utils.class_weight import compute_sample_weight

    def model(penalty: float) -> LogisticRegression:
        return LogisticRegression(C=penalty, class_weight="balanced", max_iter=2000)

    folds = min(5, int(np.bincount(labels, minlength=2).min()))
    slope, offset, chosen = 1.0, 0.0, 0.01
    if folds > 1:
        cut, least = StratifiedKFold(folds, shuffle=True, random_state=0), np.inf
        weight = compute_sample_weight("balanced", labels)
        for penalty in PENALTIES:
            held_out = cross_val_predict(model(penalty), inputs, labels, cv=cut, method="decision_function")[:, None]
            platt = model(1e3).fit(held_out, labels)
            loss = log_loss(labels, platt.predict_proba(held_out), sample_weight=weight)
            # features that tell nothing are as often wrong as right about folds: no reason to turn them round
            if loss < least and platt.coef_[0, 0] > 0:
                least, chosen = loss, penalty
                slope, offset = float(platt.coef_[0, 0]), float(platt.intercept_[0])
        if not np.isfinite(least):
            slope = LEAST
    fitted = model(chosen).fit(inputs, labels)
    return slope * fitted.coef_[0], slope * float(fitted.intercept_[0]) + offset
