"""Which detector is better: paired differences of every two, on the images that both scored."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pandas as pd

from maibench.evaluation.statistics.bootstrap import MIN_SOURCES, SourceBootstrap, percentile_interval, too_few
from maibench.evaluation.statistics.delong import Placements, placements
from maibench.evaluation.statistics.evaluated import Evaluated, Floats, Mask
from maibench.evaluation.statistics.frames import COLUMNS, frame

LEVEL = 0.05


def compare_pairs(evaluated: Evaluated, bootstrap: SourceBootstrap) -> pd.DataFrame:
    """The frame "comparisons": every two detectors, the first of the tables' rows first, under each perturbation.

    delta: accuracy (P = 0.5) and AUC of a less those of b, with percentile intervals of the paired differences in the
    resamples of `bootstrap`, which is of all images. p_accuracy, p_auc: two-sided, of delta over its standard error in
    the resamples, times sqrt(S / (S - 1)) as the bootstrap's is too small by that for S sources, by Student's t with
    S - 1 degrees of freedom (resamples - 1, if fewer). Counting resamples instead could not tell p below 1 / resamples,
    which Holm's correction asks for. No p is below 2 ** (1 - S), the smallest of a sign test of S sources; this is also
    the p where no resample differs from a delta other than 0. p_accuracy_holm, p_auc_holm: Holm 1979, over both metrics
    of all pairs under one perturbation; p_holm: the smaller one.

    p_mcnemar (exact) and p_delong stand beside them, uncorrected, where no two of the images share a source. With fewer
    than MIN_SOURCES sources only the deltas are there; of the AUC, S is that of the class with fewer.
    """
    rows = []
    for perturbation in evaluated.perturbations:
        keys = [(detector, perturbation) for detector in evaluated.detectors]
        logits = {key[0]: evaluated.logits[key] for key in keys if key in evaluated.logits}
        paired = _Paired(evaluated.labels, logits, bootstrap)
        pairs = [
            {"detector_a": a, "detector_b": b, "perturbation": perturbation} | paired.compare(a, b)
            for a, b in combinations(logits, 2)
        ]
        rows += _with_holm(pairs)
    table = frame("comparisons", rows)
    return table.astype({column: "float64" for column in COLUMNS["comparisons"] if column.startswith(("delta", "p_"))})


def best_detectors(metrics: pd.DataFrame, comparisons: pd.DataFrame, perturbation: str, metric: str) -> frozenset[str]:
    """The detectors to print in bold for `metric`, "accuracy" or "auc": the best, as printed with three decimals, and
    all that the Holm-adjusted test cannot tell from it at 5 %. Without a test only the best; with one detector none."""
    rows = metrics[metrics["perturbation"].eq(perturbation)]
    values = dict(zip(rows["detector"], rows[metric].astype("float64"), strict=True))
    if len(values) < 2 or all(math.isnan(value) for value in values.values()):
        return frozenset()
    highest = f"{np.nanmax(list(values.values())):.3f}"
    best = {detector for detector, value in values.items() if f"{value:.3f}" == highest}
    tested = comparisons[comparisons["perturbation"].eq(perturbation)]
    pairs = zip(tested["detector_a"], tested["detector_b"], tested[f"p_{metric}_holm"], strict=True)
    alike = {name for a, b, p in pairs if p >= LEVEL for name in (a, b) if {a, b} & best}
    return frozenset(best | (alike & set(values)))


def notes(comparisons: pd.DataFrame) -> list[str]:
    """What bold type says, and why there are no tests where there are none: lines under the table."""
    if comparisons.empty:
        return []
    untested = comparisons["p_holm"].isna()
    lines = []
    if not untested.all():
        lines.append(
            "bold: the best of a column, and every detector that a paired bootstrap of the sources cannot tell from it "
            "at 5 % (Holm over accuracy and AUC of all pairs under one perturbation)"
        )
    if (untested & comparisons["n_sources"].lt(MIN_SOURCES)).any():
        lines.append(f"no test where the images that two detectors both scored are of fewer than {MIN_SOURCES} sources")
    if untested.all():
        lines.append("bold: the best of a column")
    return lines


class _Paired:
    """The detectors under one perturbation: logits (n,) by name, NaN where not scored. What is drawn for one pair is
    there for every other of the same images, usually all."""

    def __init__(self, labels: np.ndarray, logits: dict[str, Floats], bootstrap: SourceBootstrap):
        self._labels, self._logits, self._bootstrap = labels, logits, bootstrap
        self._accuracies: dict[bytes, dict[str, Floats]] = {}
        self._placements: dict[tuple[bytes, str], Placements] = {}

    def compare(self, a: str, b: str) -> dict:
        common = ~(np.isnan(self._logits[a]) | np.isnan(self._logits[b]))
        right = [(self._logits[name] > 0)[common] == self._labels[common] for name in (a, b)]
        placed = [self._placed(name, common) for name in (a, b)]
        n_sources = self._bootstrap.n_sources_of(common)
        row: dict[str, float] = {"n": int(common.sum()), "n_sources": n_sources}
        row["delta_accuracy"] = float(np.mean(right[0]) - np.mean(right[1])) if common.any() else math.nan
        row["delta_auc"] = placed[0].auc - placed[1].auc
        if too_few(n_sources):
            return row
        drawn = {"accuracy": self._accuracy(a, b, common), "auc": self._auc(a, common) - self._auc(b, common)}
        of_class = [self._bootstrap.n_sources_of(common & (self._labels == label)) for label in (0, 1)]
        for metric, rests_on in (("accuracy", n_sources), ("auc", min(of_class))):
            if not too_few(rests_on):
                delta, draws = row[f"delta_{metric}"], drawn[metric]
                row[f"delta_{metric}_lo"], row[f"delta_{metric}_hi"] = percentile_interval(draws, rests_on)
                row[f"p_{metric}"] = bootstrap_p(delta, draws, rests_on)
        if self._bootstrap.is_single(common):
            row |= {"p_mcnemar": _mcnemar(*right), "p_delong": placed[0].compare(placed[1])[1]}
        return row

    def _accuracy(self, a: str, b: str, common: Mask) -> Floats:
        """The difference in each resample."""
        images = np.packbits(common).tobytes()
        if images not in self._accuracies:
            names = [name for name, logits in self._logits.items() if not np.isnan(logits[common]).any()]
            right = [(self._logits[name] > 0) == self._labels for name in names]
            means = self._bootstrap.means(np.where(common[:, None], np.stack(right, axis=1), np.nan))
            self._accuracies[images] = dict(zip(names, means.T, strict=True))
        return self._accuracies[images][a] - self._accuracies[images][b]

    def _auc(self, name: str, common: Mask) -> Floats:
        return self._bootstrap.aucs(self._labels, np.where(common, self._logits[name], np.nan))

    def _placed(self, name: str, common: Mask) -> Placements:
        key = np.packbits(common).tobytes(), name
        if key not in self._placements:
            self._placements[key] = placements(self._labels[common], self._logits[name][common])
        return self._placements[key]


def bootstrap_p(delta: float, draws: Floats, n_sources: int) -> float:
    """The p of `compare_pairs`, from a difference and its resamples (resamples,), NaN left out; NaN where there is no
    difference or fewer than two resamples are left."""
    from scipy.special import stdtr

    draws = draws[~np.isnan(draws)]
    if math.isnan(delta) or min(len(draws), n_sources) < 2:
        return math.nan
    if delta == 0:
        return 1.0
    error = float(np.std(draws, ddof=1)) * math.sqrt(n_sources / (n_sources - 1))
    p = 2 * float(stdtr(min(n_sources, len(draws)) - 1, -abs(delta) / error)) if error > 0 else 0.0
    return max(p, 2.0 ** (1 - n_sources))


def _mcnemar(right_a: Mask, right_b: Mask) -> float:
    """Exact, two-sided, from which images (n,) each got right."""
    from statsmodels.stats.contingency_tables import mcnemar

    table = [[np.sum(right_a & right_b), np.sum(right_a & ~right_b)], [np.sum(~right_a & right_b), 0]]
    return float(mcnemar(table, exact=True).pvalue)


def _with_holm(pairs: list[dict]) -> list[dict]:
    """The pairs under one perturbation, with the adjusted p of both metrics and the smaller of these."""
    family = [(pair, metric) for pair in pairs for metric in ("accuracy", "auc")]
    tested = [(pair, metric) for pair, metric in family if not math.isnan(pair.get(f"p_{metric}", math.nan))]
    adjusted = holm(np.array([pair[f"p_{metric}"] for pair, metric in tested]))
    for (pair, metric), p in zip(tested, adjusted, strict=True):
        pair[f"p_{metric}_holm"] = float(p)
        pair["p_holm"] = min(float(p), pair.get("p_holm", 1.0))
    return pairs


def holm(p: Floats) -> Floats:
    """p of m tests, adjusted (Holm 1979). As statsmodels' multipletests, which collects the whole process's garbage at
    every call: seconds, for a report of many perturbations."""
    order, adjusted = np.argsort(p, kind="stable"), np.empty(len(p))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return adjusted
