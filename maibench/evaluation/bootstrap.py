"""Confidence intervals: the percentile bootstrap that resamples sources, not images.

Images of one source (a photo and what was made from it) rise and fall together, so the source is what is drawn
(the cluster bootstrap: Davison & Hinkley 1997, section 3.8; Field & Welsh 2007).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property

import numpy as np
import pandas as pd

from maibench.errors import MaibenchError

MIN_SOURCES = 10
_BLOCK_BYTES = 64 * 2**20


class SourceBootstrap:
    """Resamples of one set of images, shared by every detector that scored it.

    `sources` is (n,): the name of each image's source. Which resample draws a source how often depends on the set of
    names, `resamples` and `seed` alone: not on the order of the images. All arrays passed to the methods are (n,) and
    in the order of `sources`. Raises MaibenchError where a source is missing or `resamples` is below 1.
    """

    def __init__(self, sources: np.ndarray, resamples: int = 1000, seed: int = 0):
        if resamples < 1:
            raise MaibenchError(f"bootstrap: resamples is {resamples}, but must be at least 1")
        self._source_of = _numbered(sources)
        self.n_sources = int(self._source_of.max(initial=-1)) + 1
        self.resamples = resamples
        self.seed = seed

    @property
    def has_enough_sources(self) -> bool:
        """Whether there are at least MIN_SOURCES sources: with fewer, intervals are NaN."""
        return self.n_sources >= MIN_SOURCES

    def accuracy_interval(self, correct: np.ndarray) -> tuple[float, float]:
        """95 % interval (lo, hi) of the mean of `correct` (bool or number); NaN with fewer than MIN_SOURCES sources."""
        return percentile_interval(self.accuracies(correct)) if self.has_enough_sources else (math.nan, math.nan)

    def auc_interval(self, labels: np.ndarray, logits: np.ndarray) -> tuple[float, float]:
        """95 % interval (lo, hi) of the AUC; NaN with fewer than MIN_SOURCES sources or where a class is missing."""
        return percentile_interval(self.aucs(labels, logits)) if self.has_enough_sources else (math.nan, math.nan)

    def accuracies(self, correct: np.ndarray) -> np.ndarray:
        """Mean of `correct` (n,) in each resample: (resamples,). Of two detectors, subtract for a paired difference."""
        totals = np.column_stack([self._per_source(np.ones(len(correct))), self._per_source(correct)])
        sums = np.concatenate([drawn.astype(np.float64) @ totals for drawn in self._blocks(self.n_sources)])
        return _divide(sums[:, 1], sums[:, 0])

    def aucs(self, labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
        """AUC of each resample: (resamples,), ties counted half, NaN where no real or no synthetic image was drawn.

        Each equals the AUC of all images weighted by how often their source was drawn: sums of whole numbers, exact.
        """
        order = np.argsort(logits, kind="stable")
        synthetic = np.asarray(labels)[order] == 1
        sources, logits = self._source_of[order], np.asarray(logits)[order]
        real_logits, synthetic_logits = logits[~synthetic], logits[synthetic]
        below = np.searchsorted(real_logits, synthetic_logits, side="left")
        not_above = np.searchsorted(real_logits, synthetic_logits, side="right")
        return np.concatenate(
            [
                _weighted_aucs(drawn, sources[~synthetic], sources[synthetic], below, not_above)
                for drawn in self._blocks(self.n_sources + len(logits))
            ]
        )

    def describe(self) -> str:
        """The method and the number of sources, for the column `interval`; or "none: ..." and why."""
        sources = "1 source" if self.n_sources == 1 else f"{self.n_sources} sources"
        if not self.has_enough_sources:
            return f"none: {sources}, fewer than {MIN_SOURCES}"
        return f"bootstrap of {sources}, {self.resamples} resamples"

    @cached_property
    def _drawn(self) -> np.ndarray:
        """How often each resample drew each source: (resamples, sources).

        A byte holds it: that one of S sources is drawn more than 255 times in S draws has a chance below S / 256!.
        """
        rng = np.random.default_rng(self.seed)
        drawn = np.zeros((self.resamples, self.n_sources), dtype=np.uint8)
        if self.n_sources:
            for row in drawn:
                row[:] = np.bincount(rng.integers(self.n_sources, size=self.n_sources), minlength=self.n_sources)
        return drawn

    def _blocks(self, width: int) -> Iterator[np.ndarray]:
        """The resamples in slices of which three float64 arrays of `width` columns stay within _BLOCK_BYTES."""
        step = max(1, _BLOCK_BYTES // (3 * 8 * max(width, 1)))
        for start in range(0, self.resamples, step):
            yield self._drawn[start : start + step]

    def _per_source(self, values: np.ndarray) -> np.ndarray:
        return np.bincount(self._source_of, weights=values, minlength=self.n_sources)


class Bootstraps:
    """One SourceBootstrap for each distinct set of images, shared by all detectors that scored it.

    `source_of_image` is (N,): the source of image 0, 1, ... N-1. Raises MaibenchError where one is missing.
    """

    def __init__(self, source_of_image: np.ndarray, resamples: int = 1000, seed: int = 0):
        # Numbers in the order of the names draw what the names would, and are quicker to sort again.
        self._source_of_image = _numbered(source_of_image)
        self._resamples, self._seed = resamples, seed
        self._made: dict[bytes, SourceBootstrap] = {}

    def of(self, images: np.ndarray) -> SourceBootstrap:
        """The bootstrap of these images, (n,) int64 in ascending order."""
        key = images.tobytes()
        if key not in self._made:
            self._made[key] = SourceBootstrap(self._source_of_image[images], self._resamples, self._seed)
        return self._made[key]


def percentile_interval(values: np.ndarray) -> tuple[float, float]:
    """The 2.5th and 97.5th percentile of resampled values; NaN are left out, and (NaN, NaN) if nothing is left."""
    values = values[~np.isnan(values)]
    if values.size == 0:
        return math.nan, math.nan
    lo, hi = np.percentile(values, [2.5, 97.5])
    return float(lo), float(hi)


def _numbered(sources: np.ndarray) -> np.ndarray:
    """The sources as 0, 1, ... in the order of their names: (n,)."""
    numbers = pd.factorize(np.asarray(sources), sort=True)[0]
    if (numbers < 0).any():
        raise MaibenchError("bootstrap: an image has no source; give every image one, its path if it has no other")
    return numbers


def _weighted_aucs(drawn, real_sources, synthetic_sources, below, not_above) -> np.ndarray:
    """AUC of each row of `drawn` (resamples, sources), for images sorted by logit.

    `real_sources` and `synthetic_sources` index the columns of `drawn`; `below` and `not_above` say how many real
    images lie below, and how many not above, each synthetic one.
    """
    real = np.zeros((len(drawn), len(real_sources) + 1))
    np.cumsum(drawn[:, real_sources], axis=1, out=real[:, 1:])
    synthetic = drawn[:, synthetic_sources].astype(np.float64)
    twice_won = np.einsum("ij,ij->i", synthetic, real[:, below])
    twice_won += np.einsum("ij,ij->i", synthetic, real[:, not_above])
    return _divide(twice_won, 2 * real[:, -1] * synthetic.sum(axis=1))


def _divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """The quotient, NaN where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.full(len(numerator), np.nan), where=denominator > 0)
