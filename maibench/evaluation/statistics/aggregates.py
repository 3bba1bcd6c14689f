"""One number of many: seen against unseen generators, and the mean, spread and worst over generators."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from maibench.evaluation.statistics import metrics
from maibench.evaluation.statistics.evaluated import SEEN, UNSEEN, Evaluated
from maibench.evaluation.statistics.frames import frame

SPREAD_METRICS = ("auc", "balanced_accuracy", "tpr")


def seen_and_unseen(evaluated: Evaluated, intervals: pd.DataFrame) -> pd.DataFrame:
    """The frame "aggregates": a detector on the generators that its card lists, and on those that it does not.

    The synthetic images of these generators against all real ones; a detector whose card says nothing has no rows, and
    a group that no generator is of has none. n_generators, n_real and n_synthetic count what was scored. Bounds are
    those of the rows of `intervals` with this detector, perturbation and metric whose generator is the group; NaN
    where there are none.
    """
    bounds = _bounds(intervals)
    codes = pd.factorize(evaluated.images["generator"])[0]
    masks = {detector: evaluated.trained_on(detector) for detector in evaluated.detectors}
    rows = []
    for key, answers in evaluated.logits.items():
        for group, mask in zip((SEEN, UNSEEN), masks[key[0]] or (), strict=False):
            if not (mask & (evaluated.labels == 1)).any():
                continue
            labels, logits = evaluated.scored(key, mask)
            scored = codes[mask & ~np.isnan(answers)][labels == 1]
            row: dict[str, Any] = {
                "detector": key[0], "perturbation": key[1], "group": group, "n_generators": len(np.unique(scored)),
                "n_real": int(np.sum(labels == 0)), "n_synthetic": int(np.sum(labels == 1)),
            }  # fmt: skip
            for metric in _METRICS:
                row[metric.__name__] = metric(labels, logits)
            for name in ("accuracy", "auc"):
                row[f"{name}_lo"], row[f"{name}_hi"] = bounds.get((*key, group, name), (math.nan, math.nan))
            rows.append(row)
    return frame("aggregates", rows)


def over_generators(per_generator: pd.DataFrame) -> pd.DataFrame:
    """The frame "spread" over generators: for each detector and perturbation of `per_generator`, in its order, and
    each of SPREAD_METRICS, what `spread` says of the generators that have the metric; no row where none has."""
    rows = []
    for (detector, perturbation), group in per_generator.groupby(["detector", "perturbation"], sort=False):
        for metric in SPREAD_METRICS:
            found = spread(group.set_index("generator")[metric])
            if found["n"]:
                name = {"detector": detector, "perturbation": perturbation, "over": "generators", "metric": metric}
                rows.append(name | found)
    return frame("spread", rows)


def spread(values: pd.Series) -> dict[str, Any]:
    """n, mean, sd (n - 1 in the denominator; NaN for one value), worst (the least), worst_name and best of values by
    name, for a metric of which more is better. NaN values do not count; without any, n is 0 and the rest is empty.
    worst_name is empty too where several are all alike."""
    values = values.dropna().astype("float64")
    if values.empty:
        return {"n": 0, "mean": math.nan, "sd": math.nan, "worst": math.nan, "worst_name": "", "best": math.nan}
    worst, best = float(values.min()), float(values.max())
    alike = len(values) > 1 and worst == best
    return {
        "n": len(values), "mean": float(values.mean()), "sd": float(values.std(ddof=1)), "worst": worst,
        "worst_name": "" if alike else str(values.index[int(values.to_numpy().argmin())]), "best": best,
    }  # fmt: skip


_METRICS = (metrics.accuracy, metrics.balanced_accuracy, metrics.tpr, metrics.tnr, metrics.auc, metrics.ap)


def _bounds(intervals: pd.DataFrame) -> dict[tuple[str, ...], tuple[float, float]]:
    """(detector, perturbation, group, metric) -> (lo, hi)."""
    rows = intervals[intervals["generator"].isin([SEEN, UNSEEN])]
    keys = zip(rows["detector"], rows["perturbation"], rows["generator"], rows["metric"], strict=True)
    return dict(zip(keys, zip(rows["lo"], rows["hi"], strict=True), strict=True))
