"""How scores are distributed: histograms by generator, and the confusion counts at every threshold."""

from __future__ import annotations

import numpy as np
import pandas as pd

from maibench.evaluation.statistics.evaluated import Evaluated
from maibench.evaluation.statistics.frames import frame

BINS = 40
THRESHOLDS = 201
REAL = "real"


def histograms(evaluated: Evaluated) -> pd.DataFrame:
    """The frame "histograms": images per bin of P(synthetic), for each detector, perturbation and generator.

    40 equal bins [lo, hi), the last one closed; `generator` is "real" for label 0. A generator of which nothing was
    scored has no rows, any other one all 40, empty bins included.
    """
    from scipy.special import expit

    edges = np.linspace(0.0, 1.0, BINS + 1)
    codes, names = pd.factorize(evaluated.images["generator"], sort=True)
    groups = np.where(evaluated.labels == 0, 0, codes + 1)
    kinds = [(0, REAL), *((1, name) for name in names)]
    tables = []
    for (detector, perturbation), logits in evaluated.logits.items():
        scored = ~np.isnan(logits)
        bins = np.minimum(np.searchsorted(edges, expit(logits[scored]), side="right") - 1, BINS - 1)
        counts = np.bincount(groups[scored] * BINS + bins, minlength=len(kinds) * BINS).reshape(-1, BINS)
        for (label, generator), n in zip(kinds, counts, strict=True):
            if n.any():
                table = pd.DataFrame(
                    {"label": label, "generator": generator, "lo": edges[:-1], "hi": edges[1:], "n": n}
                )
                tables.append(table.assign(detector=detector, perturbation=perturbation))
    empty = frame("histograms", [])
    return pd.concat(tables, ignore_index=True)[list(empty.columns)] if tables else empty


def confusion(evaluated: Evaluated) -> pd.DataFrame:
    """The frame "confusion": tp, fp, tn and fn of the rule score > threshold at 0, 0.005 .. 1, for each detector that
    has predictions under the shown perturbation. Compared in logits, as `thresholds.accuracy_at` does."""
    from scipy.special import logit

    thresholds = np.arange(THRESHOLDS) / (THRESHOLDS - 1)
    tables = []
    for detector in evaluated.detectors:
        if (detector, evaluated.shown) not in evaluated.logits:
            continue
        labels, logits = evaluated.scored((detector, evaluated.shown))
        real, synthetic = np.sort(logits[labels == 0]), np.sort(logits[labels == 1])
        tn, fn = (np.searchsorted(values, logit(thresholds), side="right") for values in (real, synthetic))
        counts = {"tp": len(synthetic) - fn, "fp": len(real) - tn, "tn": tn, "fn": fn}
        tables.append(pd.DataFrame({"detector": detector, "threshold": thresholds} | counts))
    return pd.concat(tables, ignore_index=True) if tables else frame("confusion", [])
