"""From predictions to numbers: every frame of a report, and a sentence for everything in them that is empty."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import pandas as pd

from maibench.evaluation.statistics.aggregates import over_generators, seen_and_unseen
from maibench.evaluation.statistics.bootstrap import SourceBootstrap
from maibench.evaluation.statistics.calibration import calibrate
from maibench.evaluation.statistics.comparisons import compare_pairs
from maibench.evaluation.statistics.coverage import risk_coverage, unsure_rows
from maibench.evaluation.statistics.distributions import confusion, histograms
from maibench.evaluation.statistics.evaluated import ALL, Evaluated, Key, as_arrays, choose
from maibench.evaluation.statistics.frames import COLUMNS, Summary, empty, frame
from maibench.evaluation.statistics.intervals import interval_rows
from maibench.evaluation.statistics.metrics import roc_points
from maibench.evaluation.statistics.notes import write_notes
from maibench.evaluation.statistics.ranks import ranks_over_generators
from maibench.evaluation.statistics.robustness import robustness, robustness_notes, transfer
from maibench.evaluation.statistics.suspects import probability_like
from maibench.evaluation.statistics.thresholds import accuracy_at, fitted_thresholds, operating_points

Interval = Literal["bootstrap", "bca", "analytic"]

_OF_A_GENERATOR = ("accuracy", "balanced_accuracy", "tpr", "tnr", "auc", "ap")
_OF_ALL = (*_OF_A_GENERATOR, "eer", "tpr_at_fpr_1", "tpr_at_fpr_5", "ece", "brier", "nll")

_NONE: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class DetectorFacts:
    """What the tables say of a detector beside its predictions; None is unknown.

    `trained_on` names generators as the card does; an empty tuple says that it was trained on none.
    """

    parameters: int | None = None
    images_per_second: float | None = None
    trained_on: tuple[str, ...] | None = None


def summarise(
    predictions: pd.DataFrame,
    facts: Mapping[str, DetectorFacts] = _NONE,
    resamples: int = 1000,
    seed: int = 0,
    split: str | None = None,
    interval: Interval = "bootstrap",
    suites: Mapping[str, Sequence[str]] = _NONE,
    released: Mapping[str, str] = _NONE,
) -> Summary:
    """Turn predictions (columns of DESIGN.md section 7) into tables.

    `split` None means the test split where there is one, that is every row of neither "train" nor "validation", else
    whatever there is. Validation rows of perturbation "none" serve to fit thresholds and calibration, unless they are
    evaluated themselves. suites: perturbations by the name of their suite. released: dates that the data gives for its
    generators. Rows keep the order in which detectors and perturbations first appear; the order of images has no
    effect. Raises MaibenchError for missing columns, for two predictions of one image by one detector under one
    perturbation, and for a `split` that is not there.
    """
    from maibench.datasets.generators import release_dates

    chosen = choose(predictions, split)
    evaluated = as_arrays(chosen, {name: known.trained_on for name, known in facts.items()})
    bootstrap = SourceBootstrap(evaluated.images["source"].to_numpy(), resamples, seed)
    cuts = fitted_thresholds(evaluated)
    intervals = interval_rows(evaluated, bootstrap, cuts, interval)
    measured = Measured(intervals)
    curves, shares = robustness(evaluated, bootstrap, suites)
    calibration, reliability = calibrate(evaluated)
    per_generator = _per_generator(evaluated, measured)
    ranks, stability = ranks_over_generators(per_generator, evaluated.shown)
    summary = Summary(
        _metrics(evaluated, cuts, measured, facts),
        per_generator,
        _roc(evaluated),
        comparisons=compare_pairs(evaluated, bootstrap),
        intervals=intervals,
        aggregates=seen_and_unseen(evaluated, intervals),
        spread=over_generators(per_generator),
        ranks=ranks,
        rank_stability=stability,
        thresholds=operating_points(evaluated),
        calibration=calibration,
        reliability=reliability,
        coverage=risk_coverage(evaluated),
        histograms=histograms(evaluated),
        confusion=confusion(evaluated),
        unsure=unsure_rows(evaluated),
        robustness=curves,
        robustness_scores=shares,
        transfer=transfer(evaluated),
        released=release_dates(evaluated.generators, released),
        suspects=probability_like(chosen.evaluated),
    )
    summary.notes = write_notes(summary, chosen) + robustness_notes(evaluated)
    if interval == "analytic" and not intervals["interval"].str.startswith(("Wilson", "DeLong")).any():
        summary.notes.append("Wilson's and DeLong's intervals need sources of one image each: bootstrap in their place")
    return summary


class Measured:
    """The values and bounds of intervals.csv by detector, perturbation, generator and metric: each is computed once."""

    def __init__(self, intervals: pd.DataFrame) -> None:
        rows = intervals[["detector", "perturbation", "generator", "metric", "value", "lo", "hi", "interval"]]
        self._rows = {tuple(row[:4]): row[4:] for row in rows.itertuples(index=False)}

    def values(self, key: Key, generator: str, metrics: Sequence[str]) -> dict[str, float]:
        """{metric: value}."""
        return {metric: self._of(key, generator, metric)[0] for metric in metrics}

    def bounds(self, key: Key, generator: str, metric: str) -> dict[str, float]:
        """{"<metric>_lo": ..., "<metric>_hi": ...}, NaN where there is none."""
        _, lo, hi, _ = self._of(key, generator, metric)
        return {f"{metric}_lo": lo, f"{metric}_hi": hi}

    def method(self, key: Key) -> str:
        """How the intervals of accuracy and AUC over all images were made, or why there are none."""
        accuracy, auc = (self._of(key, ALL, metric)[3] for metric in ("accuracy", "auc"))
        is_told = accuracy == auc or accuracy.startswith("none") or auc.startswith("none: there is no value")
        return accuracy if is_told else f"accuracy: {accuracy}; AUC: {auc}"

    def _of(self, key: Key, generator: str, metric: str) -> tuple:
        return self._rows.get((*key, generator, metric), (math.nan, math.nan, math.nan, ""))


def _metrics(
    evaluated: Evaluated, cuts: Mapping[str, float], measured: Measured, facts: Mapping[str, DetectorFacts]
) -> pd.DataFrame:
    rows = []
    for key in evaluated.logits:
        labels, logits = evaluated.scored(key)
        known = facts.get(key[0], DetectorFacts())
        cut = cuts.get(key[0], math.nan)
        rows.append(
            {
                **_named(key),
                "n": len(labels),
                **_counts(labels),
                "n_failed": evaluated.failed.get(key, 0),
                **measured.values(key, ALL, _OF_ALL),
                **measured.bounds(key, ALL, "accuracy"),
                **measured.bounds(key, ALL, "auc"),
                "threshold_fitted": cut,
                "accuracy_fitted": accuracy_at(labels, logits, cut),
                "interval": measured.method(key),
                "parameters": known.parameters,
                "images_per_second": known.images_per_second,
            }
        )
    return frame("metrics", rows).astype({"parameters": "Int64", "images_per_second": "float64"})


def _per_generator(evaluated: Evaluated, measured: Measured) -> pd.DataFrame:
    rows = []
    for key in evaluated.logits:
        seen = evaluated.seen.get(key[0])
        for generator, mask in evaluated.compared.items():
            labels, _ = evaluated.scored(key, mask)
            rows.append(
                {
                    **_named(key),
                    "generator": generator,
                    "seen": None if seen is None else generator in seen,
                    **_counts(labels),
                    **measured.values(key, generator, _OF_A_GENERATOR),
                    **measured.bounds(key, generator, "auc"),
                }
            )
    return frame("per_generator", rows).astype({"seen": "boolean"})


def _roc(evaluated: Evaluated) -> pd.DataFrame:
    curves = []
    for key in evaluated.logits:
        for generator, mask in [(ALL, None), *evaluated.compared.items()]:
            points = roc_points(*evaluated.scored(key, mask))
            if len(points):
                curves.append(points.assign(**_named(key), generator=generator))
    return pd.concat(curves, ignore_index=True)[list(COLUMNS["roc"])] if curves else empty("roc")


def _named(key: Key) -> dict[str, str]:
    return {"detector": key[0], "perturbation": key[1]}


def _counts(labels: np.ndarray) -> dict[str, int]:
    return {"n_real": int(np.sum(labels == 0)), "n_synthetic": int(np.sum(labels == 1))}
