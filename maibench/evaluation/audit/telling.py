"""Do these numbers tell real from synthetic? A cross-validated classifier, its AUC, and an interval over sources."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from maibench.evaluation.statistics.bootstrap import MIN_SOURCES
from maibench.evaluation.statistics.delong import placements

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

LIMIT = 0.65
CHANCE, LITTLE, MUCH = 0.5, 0.55, 0.65
"""An AUC under LITTLE hardly tells the label, one under MUCH tells it a little."""
FOLDS = 5
BINS = 8
DISTINCT = 16
"""A feature of at most this many distinct values has a bin for each."""
MOST_FITTED = 20_000
"""A fold's classifier learns from at most this many images: more change none of its few hundred weights by much."""


@dataclass(frozen=True, eq=False)
class Telling:
    """How well scores tell the label: `auc` and its 95 % interval, of n images.

    n_sources: of the class that has fewer. scores: (n_all,) logits, each from a model that saw no image of its source;
    NaN where there is none. folds: (n_all,), the model that each is from; only scores of one fold are comparable.
    reason: why there is no interval, else empty.
    """

    auc: float
    lo: float
    hi: float
    n: int
    n_sources: int
    scores: Floats = field(repr=False)
    folds: Ints = field(repr=False)
    reason: str = ""


def telling(features: np.ndarray, labels: np.ndarray, sources: np.ndarray, seed: int = 0) -> Telling:
    """Logistic regression on binned features, as the `metadata` detector has it, fitted on the other folds' sources.

    features: (n, k) or (n,), NaN = not there, which is a bin of its own; a category is any number of its own. labels:
    (n,), 0 real, 1 synthetic. sources: (n,), whose images share a fold. Bins are those of all images: they know no
    label. Without two sources of each class there are neither scores nor an AUC.
    """
    labels, source_of = np.asarray(labels, dtype=np.int64), pd.factorize(np.asarray(sources), sort=True)[0]
    fewest = min(_n_sources(source_of[labels == label]) for label in (0, 1))
    if fewest < 2:
        nothing = np.full(len(labels), np.nan)
        return _without(nothing, np.zeros(len(labels), dtype=np.int64), fewest)
    rng = np.random.default_rng(seed)
    folds = _folds(labels, source_of, rng)
    columns = [_binned(column) for column in np.asarray(features, dtype=np.float64).reshape(len(labels), -1).T]
    scores = np.empty(len(labels))
    for fold in range(FOLDS):
        if not (held := folds == fold).any():
            continue
        others = np.flatnonzero(~held)
        if len(others) > MOST_FITTED:
            others = np.sort(rng.choice(others, MOST_FITTED, replace=False))
        weights, intercept = _fit([column[others] for column in columns], labels[others])
        scores[held] = intercept + sum(known[column[held]] for known, column in zip(weights, columns, strict=True))
    return telling_of(scores, labels, sources, folds=folds)


def telling_of(
    scores: np.ndarray,
    labels: np.ndarray,
    sources: np.ndarray,
    members: np.ndarray | None = None,
    folds: np.ndarray | None = None,
) -> Telling:
    """What given scores (n,) tell of the images of `members`, a mask (n,): one generator against the real ones, say.

    The AUC is that of the pairs within a fold: models that saw each other's held-out images disagree in the wrong
    direction. The interval is DeLong's, with what images contribute summed by source (Obuchowski 1997, Biometrics
    53:567), on the scale of log(AUC / (1 - AUC)) and with Student's t for few sources: at a million sources a
    bootstrap would take minutes and gigabytes to say the same. With `folds` the variance is doubled: images that
    trained each other's models err together (Bengio & Grandvalet 2004, JMLR 5:1089), which at chance, where the score
    of one is a sum over the labels of the others, makes exactly that; where much is told it is on the safe side.
    However few pairs are wrong, the lower end is at most Clopper and Pearson's for as many sources that are all right.
    """
    scores = np.asarray(scores, dtype=np.float64)
    inflation = 1 if folds is None else 2
    folds = np.zeros(len(scores), dtype=np.int64) if folds is None else np.asarray(folds)
    chosen = ~np.isnan(scores) if members is None else np.asarray(members, dtype=bool) & ~np.isnan(scores)
    truth, source_of = np.asarray(labels)[chosen], pd.factorize(np.asarray(sources)[chosen])[0]
    wins, pairs = won_pairs(scores[chosen], truth, folds[chosen])
    fewest = min(_n_sources(source_of[truth == label]) for label in (0, 1))
    total = float(pairs[truth == 1].sum())
    if not total:
        return _without(scores, folds, fewest, len(truth))
    auc = float(wins[truth == 1].sum()) / total
    if fewest < MIN_SOURCES:
        return Telling(auc, math.nan, math.nan, len(truth), fewest, scores, folds, _too_few(fewest))
    of_source = np.bincount(source_of, (wins - auc * pairs) / total)
    variance = inflation * float(np.sum(of_source**2)) * fewest / (fewest - 1)
    lo, hi = _interval(auc, variance, fewest)
    return Telling(auc, lo, hi, len(truth), fewest, scores, folds)


def won_pairs(scores: Floats, labels: np.ndarray, folds: np.ndarray) -> tuple[Floats, Floats]:
    """Of each image (n,): how many images of the other class, in its fold, it is on the right side of, ties counted
    half, and how many there are."""
    wins, pairs = np.zeros(len(scores)), np.zeros(len(scores))
    for fold in np.unique(folds):
        synthetic, real = (np.flatnonzero((folds == fold) & (labels == label)) for label in (1, 0))
        both = np.concatenate([synthetic, real])
        placed = placements(labels[both], scores[both])
        wins[synthetic], wins[real] = placed.synthetic * len(real), placed.real * len(synthetic)
        pairs[synthetic], pairs[real] = len(real), len(synthetic)
    return wins, pairs


def light(told: Telling, limit: float = LIMIT) -> str:
    """red: the AUC is surely above `limit`; yellow: surely above chance, and at least LITTLE; grey: there is no
    interval, or it reaches from chance to above `limit`; green: neither. By the numbers as they are shown."""
    auc, lo, hi = (round(number, 3) for number in (told.auc, told.lo, told.hi))
    if math.isnan(lo):
        return "grey"
    if lo > limit:
        return "red"
    if lo > CHANCE:
        return "yellow" if auc >= LITTLE else "green"
    return "grey" if hi > limit else "green"


def _n_sources(source_of: Ints) -> int:
    return len(pd.unique(source_of))


def _without(scores: Floats, folds: Ints, n_sources: int, n: int = 0) -> Telling:
    reason = _too_few(n_sources) if n_sources < MIN_SOURCES else "no fold has images of both classes"
    return Telling(math.nan, math.nan, math.nan, n, n_sources, scores, folds, reason)


def _too_few(n_sources: int) -> str:
    if not n_sources:
        return "there is one class only"
    sources = f"{n_sources} source{'s' if n_sources > 1 else ''}"
    return f"one class has {sources} only, and an interval takes {MIN_SOURCES}"


def _folds(labels: Ints, source_of: Ints, rng: np.random.Generator) -> Ints:
    """A fold for each image: sources in random order, those of one make-up dealt out in turns.

    What scikit-learn's StratifiedGroupKFold does, which would take a minute for a million sources.
    """
    n_sources = int(source_of.max()) + 1
    real, synthetic = (np.bincount(source_of[labels == label], minlength=n_sources) for label in (0, 1))
    # Sources with real images come first, then those with both, so that each class is a run of sources.
    kind = np.sign(synthetic) - np.sign(real)
    dealt = np.empty(n_sources, dtype=np.int64)
    dealt[np.lexsort((rng.random(n_sources), real + synthetic, kind))] = np.arange(n_sources) % FOLDS
    return dealt[source_of]


def _binned(values: Floats) -> NDArray[np.uint8]:
    """The bin of each value, (n,): bins of about equal counts, and one for every value that is frequent."""
    there = ~np.isnan(values)
    distinct, counts = np.unique(values[there], return_counts=True)
    if len(distinct) <= DISTINCT:
        edges = distinct[1:]
    else:
        ends = np.cumsum(counts)
        quantiles = distinct[np.searchsorted(ends, ends[-1] * np.arange(1, BINS) / BINS)]
        frequent = np.flatnonzero(counts * DISTINCT >= ends[-1])
        after = distinct[np.minimum(frequent + 1, len(distinct) - 1)]
        edges = np.unique(np.concatenate([quantiles, distinct[frequent], after]))
    bins = np.searchsorted(edges, values, side="right")
    bins[~there] = len(edges) + 1
    return bins.astype(np.uint8)


def _fit(columns: list[NDArray[np.uint8]], labels: Ints) -> tuple[list[Floats], float]:
    """A weight for each bin of each feature, and the intercept; classes count the same."""
    from scipy.sparse import csr_matrix
    from sklearn.linear_model import LogisticRegression

    starts = np.cumsum([0, *(256 for _ in columns)])
    rows = np.stack([column + start for column, start in zip(columns, starts, strict=False)], axis=1)
    used, at = np.unique(rows, return_inverse=True)
    shape = (len(labels), len(used))
    indptr = np.arange(0, rows.size + 1, len(columns))
    inputs = csr_matrix((np.ones(rows.size), at.ravel(), indptr), shape=shape)
    model = LogisticRegression(C=1.0, class_weight="balanced", max_iter=1000).fit(inputs, labels)
    weights = np.zeros(int(starts[-1]))
    weights[used] = model.coef_[0]
    return list(weights.reshape(len(columns), 256)), float(model.intercept_[0])


def _interval(auc: float, variance: float, n_sources: int) -> tuple[float, float]:
    from scipy.special import expit, logit, stdtrit

    nearest = 0.025 ** (1 / n_sources)
    if not 0 < auc < 1 or not variance > 0:
        return min(auc, max(nearest, 0.5)), max(auc, min(1 - nearest, 0.5))
    half = float(stdtrit(n_sources - 1, 0.975)) * math.sqrt(variance) / (auc * (1 - auc))
    lo, hi = float(expit(logit(auc) - half)), float(expit(logit(auc) + half))
    return min(lo, nearest), max(hi, 1 - nearest)
