"""What a detector gets right where it is surest, and how often it is not sure at all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from maibench.evaluation.statistics.evaluated import Evaluated, Floats, Labels
from maibench.evaluation.statistics.frames import frame

_POINTS = 200


def risk_coverage(evaluated: Evaluated) -> pd.DataFrame:
    """The frame "coverage": accuracy at P = 0.5 among the images that are answered if only the surest ones are.

    Geifman & El-Yaniv 2017 (arXiv 1705.08500), with |logit| as the confidence; images of one confidence are answered
    together. coverage: share of the scored images, in (0, 1]; n: answered; score_margin: |P - 0.5| of the least sure
    of them, in [0, 0.5]. At most 200 points a detector and perturbation, the first at or above each 200th, so that
    what is asked at 90 % is there exactly unless there are ties; none without scored images.
    """
    curves = [_curve(*evaluated.scored(key)).assign(detector=key[0], perturbation=key[1]) for key in evaluated.logits]
    filled = [curve for curve in curves if len(curve)]
    empty = frame("coverage", [])
    return pd.concat(filled, ignore_index=True)[list(empty.columns)] if filled else empty


def accuracy_at_coverage(coverage: pd.DataFrame, shares: Sequence[float] = (1.0, 0.9, 0.8, 0.5)) -> pd.DataFrame:
    """A few points of the frame "coverage": columns detector, perturbation, share (as asked), coverage, n, accuracy.

    The point with the least coverage of at least `share`, for each share in (0, 1], in their order.
    """
    rows = []
    for (detector, perturbation), curve in coverage.groupby(["detector", "perturbation"], sort=False):
        ordered = curve.sort_values("coverage")
        at = np.searchsorted(ordered["coverage"].to_numpy(dtype=np.float64), np.asarray(shares) - 1e-12)
        points = ordered.iloc[np.minimum(at, len(ordered) - 1)][["coverage", "n", "accuracy"]]
        key = {"detector": detector, "perturbation": perturbation}
        for share, point in zip(shares, points.to_dict("records"), strict=True):
            rows.append(key | {"share": share} | point)
    return pd.DataFrame(rows, columns=["detector", "perturbation", "share", "coverage", "n", "accuracy"])


def unsure_rows(evaluated: Evaluated) -> pd.DataFrame:
    """The frame "unsure": of the n images scored, how many had little mass on yes and no; a row for every detector
    and perturbation, 0 for detectors that know no such answers."""
    rows = []
    for key, logits in evaluated.logits.items():
        scored = ~np.isnan(logits)
        n_unsure = int(np.sum(evaluated.unsure[key] & scored)) if key in evaluated.unsure else 0
        rows.append({"detector": key[0], "perturbation": key[1], "n_unsure": n_unsure, "n": int(scored.sum())})
    return frame("unsure", rows)


def _curve(labels: Labels, logits: Floats) -> pd.DataFrame:
    from scipy.special import expit

    order = np.argsort(-np.abs(logits))
    confidence = np.abs(logits)[order]
    right = np.cumsum((logits > 0)[order] == labels[order])
    answered = 1 + np.flatnonzero(np.append(confidence[1:] != confidence[:-1], True)[: len(labels)])
    wanted = np.arange(1, _POINTS + 1) * len(labels)
    n = answered[np.unique(np.searchsorted(answered * _POINTS, wanted))] if len(labels) else answered
    return pd.DataFrame({
        "coverage": n / max(len(labels), 1), "n": n, "accuracy": right[n - 1] / n,
        "score_margin": expit(confidence[n - 1]) - 0.5,
    })  # fmt: skip
