"""Confidence intervals from resampled sources, not images.

Images of one source (a photo and what was made from it) rise and fall together, so the source is what is drawn
(the cluster bootstrap: Davison & Hinkley 1997, section 3.8; Field & Welsh 2007). One set of draws serves every
detector, perturbation and group of images, so that any two of them can be compared resample by resample.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from maibench.errors import MaibenchError
from maibench.evaluation.statistics.blocks import in_blocks
from maibench.evaluation.statistics.ranked import Counts, Floats, Ints, Mask, RankDraws, rank_draws

MIN_SOURCES = 10
MAX_BCA_SOURCES = 2000
_MOST_DRAWS = 8 * 2**30
# How many sources a step of a matrix product takes.
_STEP = 2048


class Resamples:
    """n images, each weighted by how often each of several resamples draws its source.

    source_of: (n,), 0 to n_sources - 1. drawn: (resamples, n_sources). Arrays given to the methods are (n,) or (n, k),
    in the order of the images.
    """

    def __init__(self, source_of: Ints, drawn: Counts):
        self.resamples, self.n_sources = drawn.shape
        self._source_of, self._drawn = source_of, drawn

    def sums(self, values: Floats, mask: Mask | None = None) -> Floats:
        """Weighted sums of the columns of `values` (n, k), without NaN, over the images of `mask`: (resamples, k)."""
        chosen = slice(None) if mask is None else mask
        values, source_of = np.asarray(values, dtype=np.float64)[chosen], self._source_of[chosen]
        columns = np.flatnonzero(np.isinf(values).any(axis=0))
        if not len(columns):
            return self._sums(values, source_of)
        sums = self._sums(np.where(np.isinf(values), 0, values), source_of)
        for infinity in (np.inf, -np.inf):
            # As an image that was not drawn counts for nothing, not for 0 times infinity.
            drawn = self._sums((values[:, columns] == infinity).astype(np.float64), source_of) > 0
            sums[:, columns] += np.where(drawn, infinity, 0)
        return sums

    def means(self, values: Floats) -> Floats:
        """Weighted means of the columns of `values` (n, k), NaN = not there: (resamples, k); NaN if none was drawn."""
        values = np.asarray(values, dtype=np.float64)
        there = ~np.isnan(values)
        distinct = {column.tobytes(): at for at, column in reversed(list(enumerate(there.T)))}
        number = {key: at for at, key in enumerate(distinct)}
        counts = self.sums(there[:, list(distinct.values())].astype(np.float64))
        counts = counts[:, [number[column.tobytes()] for column in there.T]]
        return divide(self.sums(np.where(there, values, 0)), counts)

    def ranked(self, labels: Ints, logits: Floats, groups: Mapping[str, Mask]) -> dict[str, RankDraws]:
        """AUC, AP, EER and TPR at an FPR of every group of images: `labels` (n,), `logits` (n,) with NaN = not scored,
        `groups`: masks (n,). Exact. Groups that share their real images share most of the work."""
        return rank_draws(self._drawn, self._source_of, labels, logits, groups)

    def n_sources_of(self, mask: Mask) -> int:
        """The number of sources of the images of `mask` (n,)."""
        return int(self.has(mask).sum())

    def has(self, mask: Mask) -> Mask:
        """(n_sources,): whether an image of `mask` (n,) is of this source."""
        return np.bincount(self._source_of[mask], minlength=self.n_sources) > 0

    def is_single(self, mask: Mask) -> bool:
        """Whether no two images of `mask` (n,) are of one source."""
        return int(np.bincount(self._source_of[mask], minlength=self.n_sources).max(initial=0)) <= 1

    def _sums(self, values: Floats, source_of: Ints) -> Floats:
        sources, totals = _per_source(values, source_of)
        everywhere = len(sources) == self.n_sources
        sums = np.zeros((self.resamples, totals.shape[1]))

        def add(rows: slice) -> None:
            for start in range(0, len(sources), _STEP):
                part = slice(start, start + _STEP)
                drawn = self._drawn[rows, part] if everywhere else self._drawn[rows].take(sources[part], axis=1)
                sums[rows] += drawn.astype(np.float64) @ totals[part]

        in_blocks(add, self.resamples, min(_STEP, len(sources)))
        return sums


class SourceBootstrap(Resamples):
    """Resamples of the sources of a set of images: the one set of weights for all that is said of these images.

    `sources` is (n,): the name of each image's source. Which resample draws a source how often depends on the set of
    names, `resamples` and `seed` alone: not on the order of the images. Raises MaibenchError where a source is missing,
    `resamples` is below 1, or the draws (a byte a source and resample) would take more than 8 GB.
    """

    def __init__(self, sources: np.ndarray, resamples: int = 1000, seed: int = 0):
        if resamples < 1:
            raise MaibenchError(f"bootstrap: resamples is {resamples}, but must be at least 1")
        source_of = _numbered(sources)
        if (size := resamples * (int(source_of.max(initial=-1)) + 1)) > _MOST_DRAWS:
            raise MaibenchError(
                f"bootstrap: {resamples} resamples of {int(source_of.max()) + 1} sources would take "
                f"{size / 2**30:.0f} GB of memory; take fewer resamples"
            )
        super().__init__(source_of, _draw(int(source_of.max(initial=-1)) + 1, resamples, seed))
        self._aucs: dict[bytes, Floats] = {}

    def ranked(self, labels: Ints, logits: Floats, groups: Mapping[str, Mask]) -> dict[str, RankDraws]:
        draws = super().ranked(labels, logits, groups)
        scored = ~np.isnan(logits)
        for name, mask in groups.items():
            if not (scored & ~mask).any():
                self._aucs[_digest(labels, logits)] = draws[name].auc
        return draws

    def aucs(self, labels: Ints, logits: Floats) -> Floats:
        """AUC of all scored images in each resample, (resamples,); NaN where a class was not drawn. What `ranked` has
        met already costs nothing: differences between detectors are made of what their intervals took."""
        key = _digest(labels, logits)
        if key not in self._aucs:
            self.ranked(labels, logits, {"all": np.ones(len(labels), dtype=bool)})
        return self._aucs[key]

    def describe(self, mask: Mask | None = None) -> str:
        """The method and the number of sources (of the images of `mask`), for the column `interval`; or why none."""
        n_sources = self.n_sources if mask is None else self.n_sources_of(mask)
        return too_few(n_sources) or f"bootstrap of {n_sources} sources, {self.resamples} resamples"

    def leave_one_out(self) -> Resamples:
        """The jackknife: resample s lacks source s. Memory is the square of the sources: at most MAX_BCA_SOURCES."""
        return Resamples(self._source_of, 1 - np.eye(self.n_sources, dtype=np.uint8))

    def as_they_are(self) -> Resamples:
        """One resample that has every source once: what it gives is the value itself."""
        return Resamples(self._source_of, np.ones((1, self.n_sources), dtype=np.uint8))


def too_few(n_sources: int, of: str = "") -> str:
    """Why so many sources (`of`: " of real images") have no interval; empty where they have one."""
    if n_sources >= MIN_SOURCES:
        return ""
    return f"none: {n_sources} {'source' if n_sources == 1 else 'sources'}{of}, fewer than {MIN_SOURCES}"


def tails(n_sources: float = math.inf) -> tuple[float, float]:
    """The shares of resamples that bound a 95 % interval: 2.5 and 97.5 % for many sources, further out for few.

    Percentiles of S sources are too close by sqrt((S - 1) / S), and by what Student's t with S - 1 degrees of freedom
    has over the normal distribution; Hesterberg's expanded percentile interval (The American Statistician 69, 2015,
    section 5.3) makes up for both. At 300 sources it is 2.44 and 97.56 %, at 10 it is 0.86 and 99.14 %.
    """
    from scipy.special import ndtr, stdtrit

    if not 2 <= n_sources < math.inf:
        return 0.025, 0.975
    low = float(ndtr(stdtrit(n_sources - 1, 0.025) * math.sqrt(n_sources / (n_sources - 1))))
    return low, 1 - low


def percentile_interval(draws: Floats, n_sources: float = math.inf) -> tuple[float, float]:
    """The 95 % interval from resampled values (resamples,), NaN left out, by the percentiles of `tails`; (NaN, NaN) if
    none is left."""
    lo, hi = percentile_intervals(np.asarray(draws, dtype=np.float64)[:, None], n_sources)[0]
    return float(lo), float(hi)


def percentile_intervals(draws: Floats, n_sources: float = math.inf) -> Floats:
    """The same for every column of (resamples, k): (k, 2). Infinite values are allowed."""
    return np.stack([_quantiles(draws, share) for share in tails(n_sources)], axis=1)


def bca_interval(draws: Floats, value: float, jackknife: Floats) -> tuple[float, float]:
    """The bias-corrected and accelerated 95 % interval (Efron 1987), from resampled values (resamples,), the value
    itself and those with one source left out (sources,). NaN among them are left out; (NaN, NaN) where the value lies
    outside of all draws, or there is none."""
    from scipy.stats import norm

    draws, left_out = draws[~np.isnan(draws)], jackknife[~np.isnan(jackknife)]
    below = (np.mean(draws < value) + np.mean(draws <= value)) / 2 if draws.size else 0.0
    if not 0 < below < 1 or not np.isfinite(left_out).all() or not left_out.size:
        return math.nan, math.nan
    away = left_out.mean() - left_out
    spread = float(np.sum(away**2))
    acceleration = float(np.sum(away**3)) / (6 * spread**1.5) if spread > 0 else 0.0
    bias, edges = norm.ppf(below), norm.ppf([0.025, 0.975])
    shares = norm.cdf(bias + (bias + edges) / (1 - acceleration * (bias + edges)))
    lo, hi = (float(_quantiles(draws[:, None], share)[0]) for share in shares)
    return lo, hi


def divide(numerator: Floats, denominator: Floats) -> Floats:
    """The quotient, NaN where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.full(np.shape(numerator), np.nan), where=denominator > 0)


def _quantiles(draws: Floats, share: float) -> Floats:
    """Of each column of (resamples, k), NaN left out, linear between two: numpy's own, without its NaN for infinities
    and for all columns at once."""
    if not len(draws):
        return np.full(draws.shape[1], np.nan)
    ordered = np.sort(draws.T, axis=1)
    counts = np.sum(~np.isnan(ordered), axis=1)
    at = np.maximum(counts - 1, 0) * share
    low, rows = np.floor(at).astype(np.int64), np.arange(len(ordered))
    before, after = ordered[rows, low], ordered[rows, np.minimum(low + 1, np.maximum(counts - 1, 0))]
    part = at - low
    with np.errstate(invalid="ignore"):
        step = after - before
        between = np.where(part < 0.5, before + step * part, after - step * (1 - part))
    return np.where((part == 0) | (before == after), before, between)


def _numbered(sources: np.ndarray) -> Ints:
    """The sources as 0, 1, ... in the order of their names: (n,)."""
    numbers = pd.factorize(np.asarray(sources), sort=True)[0]
    if (numbers < 0).any():
        raise MaibenchError("bootstrap: an image has no source; give every image one, its path if it has no other")
    return numbers.astype(np.int64)


def _draw(n_sources: int, resamples: int, seed: int) -> Counts:
    """How often each resample draws each source: (resamples, sources).

    A byte holds it: that one of S sources is drawn more than 255 times in S draws has a chance below S / 256!.
    """
    rng = np.random.default_rng(seed)
    drawn = np.zeros((resamples, n_sources), dtype=np.uint8)
    if n_sources:
        for row in drawn:
            row[:] = np.bincount(rng.integers(n_sources, size=n_sources), minlength=n_sources)
    return drawn


def _per_source(values: Floats, source_of: Ints) -> tuple[Ints, Floats]:
    """The sources that there are, ascending, and the sums of the rows of `values` (n, k) of each."""
    order = np.argsort(source_of, kind="stable")
    sources, starts = np.unique(source_of[order], return_index=True)
    if len(sources) == len(order):
        return sources, values[order]
    return sources, np.add.reduceat(values[order], starts, axis=0) if len(sources) else values[:0]


def _digest(labels: Ints, logits: Floats) -> bytes:
    data = np.concatenate([np.asarray(labels, dtype=np.float64), np.where(np.isnan(logits), np.nan, logits)])
    return hashlib.blake2b(data.tobytes()).digest()
