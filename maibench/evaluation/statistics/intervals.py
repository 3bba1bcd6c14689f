"""Intervals of every metric, for every detector, perturbation and group of images: the frame of intervals.csv."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from maibench.errors import MaibenchError
from maibench.evaluation.statistics import metrics as scores
from maibench.evaluation.statistics.bootstrap import (
    MAX_BCA_SOURCES,
    Resamples,
    SourceBootstrap,
    bca_interval,
    divide,
    percentile_intervals,
    too_few,
)
from maibench.evaluation.statistics.delong import delong_interval
from maibench.evaluation.statistics.evaluated import Evaluated, Floats, Labels, Mask, groups
from maibench.evaluation.statistics.frames import frame
from maibench.evaluation.statistics.thresholds import accuracy_at

METHODS = ("bootstrap", "bca", "analytic")
METRICS = (
    "accuracy", "balanced_accuracy", "tpr", "tnr", "auc", "ap", "eer", "tpr_at_fpr_1", "tpr_at_fpr_5", "ece", "brier",
    "nll", "accuracy_fitted",
)  # fmt: skip
_RANKED = METRICS[4:9]

Bounds = tuple[float, float, str]
"""lo, hi, and how they were made."""


def interval_rows(
    evaluated: Evaluated, bootstrap: SourceBootstrap, thresholds: Mapping[str, float], method: str = "bootstrap"
) -> pd.DataFrame:
    """The frame "intervals": METRICS of each of `groups`, with 95 % intervals, where `bootstrap` is of all images.

    thresholds: fitted P(synthetic) in [0, 1] by detector; without one (or NaN) there is no "accuracy_fitted". method:
    "bootstrap", percentiles (`bootstrap.tails`) of the resamples that have a value. "bca": Efron's, for up to
    MAX_BCA_SOURCES sources. "analytic": where every source of the group's scored images is one image, Wilson for rates
    at a threshold and DeLong for the AUC. Where a method has no interval to give, percentiles stand in; the column
    `interval` says what was done, or why there is none. `value` is that of metrics.py (of ranked metrics, up to
    rounding). The ECE of a resample lies above that of the images, as it counts noise too: for a detector that is well
    calibrated its interval lies high.
    """
    if method not in METHODS:
        raise MaibenchError(f"unknown interval '{method}': there are {', '.join(METHODS)}")
    rows = []
    for (detector, perturbation), logits in evaluated.logits.items():
        judged = _Judged(evaluated.labels, logits, thresholds.get(detector, math.nan), groups(evaluated, detector))
        key = {"detector": detector, "perturbation": perturbation}
        rows += [key | row for row in _rows(judged, bootstrap, method)]
    return frame("intervals", rows)


@dataclass(frozen=True, eq=False)
class _Judged:
    """One detector's logits (n,), NaN where not scored, and the groups (n,) that it is judged on."""

    labels: Labels
    logits: Floats
    threshold: float
    groups: dict[str, Mask]

    @property
    def metrics(self) -> tuple[str, ...]:
        return METRICS[:-1] if math.isnan(self.threshold) else METRICS

    @property
    def scored(self) -> Mask:
        return ~np.isnan(self.logits)


def _rows(judged: _Judged, bootstrap: SourceBootstrap, method: str) -> Iterator[dict]:
    """generator, metric, value, lo, hi, interval: one for each group and metric."""
    drawn = _resampled(judged, bootstrap)
    ranked = bootstrap.as_they_are().ranked(judged.labels, judged.logits, judged.groups)
    jackknife = None
    if method == "bca" and bootstrap.n_sources <= MAX_BCA_SOURCES:
        jackknife = _resampled(judged, bootstrap.leave_one_out())
    for name, mask in judged.groups.items():
        chosen = mask & judged.scored
        labels, logits = judged.labels[chosen], judged.logits[chosen]
        values = _values(labels, logits, judged.threshold)
        values |= {metric: float(getattr(ranked[name], metric)[0]) for metric in _RANKED}
        counts = _sources(judged, chosen, bootstrap)
        text = bootstrap.describe(chosen)
        found = _percentiles(drawn[name], counts, text)
        if jackknife is not None:
            left_out = {metric: draws[bootstrap.has(chosen)] for metric, draws in jackknife[name].items()}
            found |= _bca(drawn[name], values, left_out, text)
        elif method == "bca":
            why = f"; BCa takes {MAX_BCA_SOURCES} sources at most"
            found = {metric: (lo, hi, how + why) for metric, (lo, hi, how) in found.items()}
        elif method == "analytic" and bootstrap.is_single(chosen):
            found |= _analytic(labels, logits, judged.threshold)
        found |= {m: (math.nan, math.nan, few) for m in found if (few := too_few(*counts[m]))}
        found |= {m: (math.nan, math.nan, "none: there is no value") for m in found if math.isnan(values[m])}
        if few := too_few(*counts["accuracy"]):
            found = dict.fromkeys(found, (math.nan, math.nan, few))
        for metric in judged.metrics:
            lo, hi, how = found[metric]
            yield {"generator": name, "metric": metric, "value": values[metric], "lo": lo, "hi": hi, "interval": how}


def _values(labels: Labels, logits: Floats, threshold: float) -> dict[str, float]:
    """The metrics that are not ranked."""
    linear = (scores.accuracy, scores.balanced_accuracy, scores.tpr, scores.tnr, scores.ece, scores.brier, scores.nll)
    values = {metric.__name__: metric(labels, logits) for metric in linear}
    return values | {"accuracy_fitted": accuracy_at(labels, logits, threshold)}


def _sources(judged: _Judged, chosen: Mask, bootstrap: SourceBootstrap) -> dict[str, tuple[int, str]]:
    """By metric, how many sources it rests on, and of which images: a rate of one class on those of the class, what
    ranks both classes on those of the class that has fewer. Three synthetic images beside five hundred photographs are
    three."""
    real, synthetic = (bootstrap.n_sources_of(chosen & (judged.labels == label)) for label in (0, 1))
    fewer = (real, " of real images") if real < synthetic else (synthetic, " of synthetic images")
    whole = bootstrap.n_sources_of(chosen)
    fewer = (whole, "") if real == synthetic == whole else fewer
    counts = dict.fromkeys(METRICS, (whole, "")) | dict.fromkeys(("balanced_accuracy", *_RANKED), fewer)
    return counts | {"tpr": (synthetic, " of synthetic images"), "tnr": (real, " of real images")}


def _percentiles(drawn: dict[str, Floats], counts: dict[str, tuple[int, str]], text: str) -> dict[str, Bounds]:
    found = {}
    for n_sources in {counts[metric][0] for metric in drawn}:
        columns = {metric: draws for metric, draws in drawn.items() if counts[metric][0] == n_sources}
        bounds = percentile_intervals(np.stack(list(columns.values()), axis=1), n_sources)
        for (metric, draws), (lo, hi) in zip(columns.items(), bounds, strict=True):
            how = "none: no resample has a value" if math.isnan(lo) else text
            alike = lo == hi and np.nanmin(draws) == np.nanmax(draws)
            found[metric] = (float(lo), float(hi), f"{how}; no resample differs" if alike else how)
    return found


def _bca(
    drawn: dict[str, Floats], values: dict[str, float], left_out: dict[str, Floats], text: str
) -> dict[str, Bounds]:
    """Of the metrics whose draws differ and lie on both sides of the value."""
    found = {}
    for metric, draws in drawn.items():
        lo, hi = bca_interval(draws, values[metric], left_out[metric])
        if not math.isnan(lo) and lo < hi:
            found[metric] = (lo, hi, f"BCa {text}")
    return found


def _analytic(labels: Labels, logits: Floats, threshold: float) -> dict[str, Bounds]:
    """Wilson 1927 for rates at a threshold, DeLong for the AUC, where it has a variance."""
    from scipy.special import logit
    from statsmodels.stats.proportion import proportion_confint

    synthetic, right = labels == 1, (logits > 0) == labels
    shares = {"accuracy": right, "tpr": right[synthetic], "tnr": right[~synthetic]}
    if not math.isnan(threshold):
        shares["accuracy_fitted"] = (logits > logit(threshold)) == labels
    found = {}
    for metric, hits in shares.items():
        if len(hits):
            lo, hi = proportion_confint(int(hits.sum()), len(hits), method="wilson")
            found[metric] = (float(lo), float(hi), f"Wilson, {len(hits)} images")
    lo, hi = delong_interval(labels, logits)
    if not math.isnan(lo):
        found["auc"] = (lo, hi, f"DeLong, {len(labels)} images")
    return found


def _resampled(judged: _Judged, resamples: Resamples) -> dict[str, dict[str, Floats]]:
    """Each group's metrics in each resample, (resamples,); NaN where a class that they need was not drawn."""
    ranked = resamples.ranked(judged.labels, judged.logits, judged.groups)
    terms = _terms(judged)
    summed: dict[bytes, Floats] = {}
    found = {}
    for name, mask in judged.groups.items():
        sums = []
        for label in (0, 1):
            chosen = mask & judged.scored & (judged.labels == label)
            # Most groups share their real images.
            if (images := np.packbits(chosen).tobytes()) not in summed:
                summed[images] = resamples.sums(terms, chosen)
            sums.append(summed[images])
        drawn = _linear(*sums) | {metric: getattr(ranked[name], metric) for metric in _RANKED}
        found[name] = {metric: drawn[metric] for metric in judged.metrics}
    return found


def _terms(judged: _Judged) -> Floats:
    """(n, 5 + bins): 1, right, right at the fitted threshold, Brier score, log loss, label less score in its bin.

    Their sums over images are all that the metrics need. Images that were not scored have 0 in every column.
    """
    from scipy.special import expit, logit

    labels, logits = judged.labels[judged.scored], judged.logits[judged.scored]
    probabilities = expit(logits)
    terms = np.zeros((len(labels), 5 + scores.ECE_BINS))
    terms[:, 0] = 1
    terms[:, 1] = (logits > 0) == labels
    terms[:, 2] = (logits > logit(judged.threshold)) == labels
    terms[:, 3] = (probabilities - labels) ** 2
    terms[:, 4] = np.logaddexp(0.0, (1 - 2 * labels) * logits)
    bins = np.clip(np.ceil(probabilities * scores.ECE_BINS).astype(np.int64) - 1, 0, scores.ECE_BINS - 1)
    terms[np.arange(len(labels)), 5 + bins] = labels - probabilities
    everywhere = np.zeros((len(judged.labels), terms.shape[1]))
    everywhere[judged.scored] = terms
    return everywhere


def _linear(real: Floats, synthetic: Floats) -> dict[str, Floats]:
    """From the sums of `_terms` over real and over synthetic images, (resamples, 5 + bins) each."""
    both = real + synthetic
    tpr, tnr = divide(synthetic[:, 1], synthetic[:, 0]), divide(real[:, 1], real[:, 0])
    return {
        "accuracy": divide(both[:, 1], both[:, 0]),
        "balanced_accuracy": (tpr + tnr) / 2,
        "tpr": tpr,
        "tnr": tnr,
        "ece": divide(np.abs(both[:, 5:]).sum(axis=1), both[:, 0]),
        "brier": divide(both[:, 3], both[:, 0]),
        "nll": divide(both[:, 4], both[:, 0]),
        "accuracy_fitted": divide(both[:, 2], both[:, 0]),
    }
