"""Seconds for all intervals and comparisons with 1,000 resamples, and the ratio to scikit-learn with sample weights."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from benchmarks.measure import Ratio, own_peak_mb
from maibench.evaluation.statistics.bootstrap import SourceBootstrap
from maibench.evaluation.statistics.comparisons import compare_pairs
from maibench.evaluation.statistics.evaluated import Evaluated, groups
from maibench.evaluation.statistics.intervals import interval_rows

RESAMPLES, DETECTORS, GENERATORS = 1000, 3, 20


def simulated(n: int, per_source: int) -> Evaluated:
    """n images of DETECTORS detectors, half of them of GENERATORS generators, half of these seen."""
    rng = np.random.default_rng(0)
    labels, source = rng.integers(0, 2, n), np.arange(n) // per_source
    names = [f"generator {at:02d}" for at in range(GENERATORS)]
    generator = np.where(labels == 1, rng.choice(names, n), "real")
    common = 0.7 * rng.normal(size=n)[source]
    logits = {(f"detector {at}", "none"): rng.normal((1 + 0.1 * at) * labels - 0.5) + common for at in range(DETECTORS)}
    images = pd.DataFrame({"path": [f"{at:07d}" for at in range(n)], "label": labels, "generator": generator})
    seen: dict[str, frozenset[str] | None] = dict.fromkeys(
        (key[0] for key in logits), frozenset(names[: GENERATORS // 2])
    )
    return Evaluated(images.assign(source=source.astype(str), own_source=False), logits, seen=seen)


def scikit_learn(evaluated: Evaluated, rounds: int) -> float:
    """Seconds that AUC, AP and the ROC curve of every group would take in all resamples; `rounds` of them are timed."""
    rng, seconds, (detector, perturbation) = np.random.default_rng(1), 0.0, next(iter(evaluated.logits))
    masks = list(groups(evaluated, detector).values())
    for at in np.linspace(0, len(masks) - 1, rounds).astype(int):
        given = evaluated.scored((detector, perturbation), masks[at])
        weights = rng.poisson(1, len(given[0])).astype(float)
        started = time.perf_counter()
        for function in (roc_auc_score, average_precision_score, roc_curve):
            function(*given, sample_weight=weights)
        seconds += time.perf_counter() - started
    return seconds / rounds * len(masks) * RESAMPLES * len(evaluated.logits)


def main() -> list[Ratio]:
    """The ratio is to the ranked metrics alone: scikit-learn is timed on a few resamples and groups, and scaled."""
    rows = []
    print("predictions   images a source   draw s   intervals s   comparisons s   peak GB   scikit-learn takes")
    for n, per_source in ((3_333, 1), (3_333, 3), (333_333, 1), (333_333, 3)):
        evaluated = simulated(n, per_source)
        times = [time.perf_counter()]
        bootstrap = SourceBootstrap(evaluated.images["source"].to_numpy(), RESAMPLES)
        times.append(time.perf_counter())
        interval_rows(evaluated, bootstrap, dict.fromkeys(evaluated.detectors, 0.6))
        times.append(time.perf_counter())
        compare_pairs(evaluated, bootstrap)
        times.append(time.perf_counter())
        draw, intervals, comparisons = np.diff(times)
        peak = own_peak_mb() / 1024
        ratio = scikit_learn(evaluated, 12) / (draw + intervals)
        print(
            f"{DETECTORS * n:11,d} {per_source:17d} {draw:8.2f} {intervals:13.2f} {comparisons:15.2f} {peak:9.2f}"
            f" {ratio:14.0f} times that"
        )
        figures = (
            f"draw {draw:.2f} s, intervals {intervals:.2f} s, comparisons {comparisons:.2f} s, {peak:.2f} GB at most"
        )
        name = f"{DETECTORS * n:,} predictions, {per_source} a source, to scikit-learn with sample weights"
        rows.append(Ratio(name, ratio, 100, figures))
    return rows


if __name__ == "__main__":
    main()
