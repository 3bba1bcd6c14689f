"""DeLong's variance of the AUC and test of two AUCs on the same images: for images that are independent of each other.

DeLong, DeLong & Clarke-Pearson 1988 (Biometrics 44:837); computed from midranks as in Sun & Xu 2014 (IEEE Signal
Processing Letters 21:1389), in O(n log n). `labels` is (n,), 0 real or 1 synthetic, `logits` (n,); an image with NaN is
left out, infinite logits and ties are allowed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Placements:
    """Of every synthetic image the share of real ones that its logit beats, of every real one the share of synthetic
    ones that beat its logit; ties count half. Their means are the AUC (Hanley & Hajian-Tilaki 1997)."""

    synthetic: Floats
    real: Floats

    @property
    def auc(self) -> float:
        """NaN where a class is missing."""
        return float(np.mean(self.synthetic)) if self.synthetic.size and self.real.size else math.nan

    @property
    def variance(self) -> float:
        """Of the AUC; NaN with fewer than two images of a class."""
        return self._variance(self.synthetic, self.real)

    def compare(self, other: Placements) -> tuple[float, float]:
        """AUC less that of `other`, on the same images, and the two-sided p; NaN where the variance is unknown, or is 0
        while the two differ: then these images cannot say how sure that is."""
        variance = self._variance(self.synthetic - other.synthetic, self.real - other.real)
        delta = self.auc - other.auc
        if not variance > 0:
            return delta, 1.0 if variance == 0 and delta == 0 else math.nan
        return delta, math.erfc(abs(delta) / math.sqrt(2 * variance))

    @staticmethod
    def _variance(synthetic: Floats, real: Floats) -> float:
        if min(len(synthetic), len(real)) < 2:
            return math.nan
        return float(np.var(synthetic, ddof=1) / len(synthetic) + np.var(real, ddof=1) / len(real))


def placements(labels: np.ndarray, logits: np.ndarray) -> Placements:
    """Where each image stands among those of the other class."""
    from scipy.stats import rankdata

    labels, logits = np.asarray(labels), np.asarray(logits, dtype=np.float64)
    labels, logits = labels[~np.isnan(logits)], logits[~np.isnan(logits)]
    ranks = rankdata(logits)
    synthetic, real = labels == 1, labels == 0
    # A midrank among all less that within the class is the number of the other class below, ties counted half.
    beaten = ranks[synthetic] - rankdata(logits[synthetic])
    not_beating = ranks[real] - rankdata(logits[real])
    return Placements(beaten / max(real.sum(), 1), 1 - not_beating / max(synthetic.sum(), 1))


def delong_variance(labels: np.ndarray, logits: np.ndarray) -> tuple[float, float]:
    """The AUC and its variance; NaN where a class has no image, or fewer than two."""
    found = placements(labels, logits)
    return found.auc, found.variance


def delong_interval(labels: np.ndarray, logits: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of the AUC, symmetric on the scale of log(AUC / (1 - AUC)) (Pepe 2003, section 5.2.5), so that
    it stays in [0, 1]. NaN where the variance is 0 or unknown, as for classes that are told apart without a mistake."""
    from scipy.special import expit, logit
    from scipy.stats import norm

    auc, variance = delong_variance(labels, logits)
    if not variance > 0 or not 0 < auc < 1:
        return math.nan, math.nan
    half = norm.ppf(0.975) * math.sqrt(variance) / (auc * (1 - auc))
    return float(expit(logit(auc) - half)), float(expit(logit(auc) + half))


def delong_test(labels: np.ndarray, logits_a: np.ndarray, logits_b: np.ndarray) -> tuple[float, float]:
    """AUC of a less that of b, on the images that both scored, and its two-sided p, as `Placements.compare` has it."""
    both = ~(np.isnan(logits_a) | np.isnan(logits_b))
    chosen = np.asarray(labels)[both]
    return placements(chosen, np.asarray(logits_a)[both]).compare(placements(chosen, np.asarray(logits_b)[both]))
