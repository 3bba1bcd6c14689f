"""Metrics of the order of the logits (AUC, AP, EER, TPR at an FPR) in every resample, exactly, for all groups at once.

A resample gives each image a whole number as its weight. Images are sorted once; a resample then costs a few passes
over its weights: cumulative sums along the order are the counts of which `metrics.py`'s definitions are made.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maibench.evaluation.statistics.blocks import in_blocks

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
Counts = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class RankDraws:
    """The metrics of `metrics.py` of these names in every resample, (resamples,) each; NaN where a class was not drawn
    (and, as there, `tpr_at_fpr_x` with fewer than 100 / x real images)."""

    auc: Floats
    ap: Floats
    eer: Floats
    tpr_at_fpr_1: Floats
    tpr_at_fpr_5: Floats


def rank_draws(
    drawn: Counts, source_of: Ints, labels: Ints, logits: Floats, groups: Mapping[str, Mask]
) -> dict[str, RankDraws]:
    """`drawn` (resamples, sources): how often a resample draws a source, `source_of` (n,): the source of each image,
    `labels` (n,), `logits` (n,) with NaN where not scored, `groups`: masks (n,). Each draw equals the metric of the
    group's scored images, each repeated as often as its source was drawn, up to rounding."""
    results = {name: np.full((5, len(drawn)), np.nan) for name in groups}
    room = _Room()
    for order in _orders(source_of, labels, logits, groups):

        def fill(rows: slice, order: _Order = order) -> None:
            for name, values in zip(order.names, _draws(drawn[rows], order, room), strict=True):
                results[name][:, rows] = values

        in_blocks(fill, len(drawn), len(order.real) + len(order.synthetic))
    return {name: RankDraws(*values) for name, values in results.items()}


@dataclass(frozen=True, eq=False)
class _Order:
    """Groups that share their real images. Real and synthetic images run from the highest logit to the lowest, the
    synthetic ones group after group, group g from `starts[g]`.

    real, synthetic: their sources. above, upto: how many real images lie above a synthetic one, and how many not below
    it; above is None where the two are the same. last: the index of the last synthetic image of its group with the same
    logit; None where all differ. real_ranks: 0 is the highest logit. keys: `n_ranks` * g + the rank, ascending over all
    groups.
    """

    names: list[str]
    real: Ints
    synthetic: Ints
    starts: Ints
    above: Ints | None
    upto: Ints
    last: Ints | None
    real_ranks: Ints
    keys: Ints
    n_ranks: int

    @property
    def ends(self) -> Ints:
        return np.append(self.starts[1:], len(self.synthetic))


def _orders(source_of: Ints, labels: Ints, logits: Floats, groups: Mapping[str, Mask]) -> Iterator[_Order]:
    """One for each distinct set of real images; groups without a class are left out."""
    scored = np.flatnonzero(~np.isnan(logits))
    distinct, inverse = np.unique(logits[scored], return_inverse=True)
    by_rank = np.argsort(-inverse, kind="stable")
    images, ranks = scored[by_rank], len(distinct) - 1 - inverse[by_rank]
    is_real = np.asarray(labels)[images] == 0
    sharing: dict[bytes, tuple[Ints, dict[str, Ints]]] = {}
    for name, mask in groups.items():
        chosen = np.asarray(mask, dtype=bool)[images]
        real, synthetic = np.flatnonzero(chosen & is_real), np.flatnonzero(chosen & ~is_real)
        if len(real) and len(synthetic):
            sharing.setdefault(real.tobytes(), (real, {}))[1][name] = synthetic
    for real, members in sharing.values():
        parts = list(members.values())
        sizes = np.array([len(part) for part in parts])
        group = np.repeat(np.arange(len(parts)), sizes)
        synthetic = np.concatenate(parts)
        keys = group * len(distinct) + ranks[synthetic]
        last = np.searchsorted(keys, keys, side="right") - 1
        above = np.searchsorted(ranks[real], ranks[synthetic], side="left")
        upto = np.searchsorted(ranks[real], ranks[synthetic], side="right")
        yield _Order(
            names=list(members),
            real=source_of[images[real]],
            synthetic=source_of[images[synthetic]],
            starts=np.cumsum(sizes) - sizes,
            above=None if np.array_equal(above, upto) else above,
            upto=upto,
            last=None if np.array_equal(last, np.arange(len(last))) else last,
            real_ranks=ranks[real],
            keys=keys,
            n_ranks=len(distinct),
        )


class _Room(threading.local):
    """Arrays that a thread fills again for every block: fresh megabytes take longer to be given than to be added up."""

    def __init__(self) -> None:
        self._held: dict[str, np.ndarray] = {}

    def __call__(self, name: str, shape: tuple[int, ...], dtype: type[np.generic] = np.float64) -> np.ndarray:
        size, held = math.prod(shape), self._held.get(name)
        if held is None or held.size < size or held.dtype != dtype:
            held = self._held[name] = np.empty(size, dtype=dtype)
        return held[:size].reshape(shape)


@dataclass(frozen=True, eq=False)
class _Counted:
    """What a few resamples drew.

    false_alarms: (rows, real images + 1), how many of the k highest real images. weights: (rows, synthetic images), and
    their sums over the group: `so_far`, this one included, and `hits`, all of its logit included. alarms: the false
    alarms where the threshold is this logit. n_real: (rows, 1). n_synthetic: (rows, groups).
    """

    false_alarms: Floats
    alarms: Floats
    weights: Floats
    so_far: np.ndarray
    hits: Floats
    n_real: Floats
    n_synthetic: Floats

    @property
    def rows(self) -> Ints:
        return np.arange(len(self.weights))[:, None]


def _count(drawn: Counts, order: _Order, room: _Room) -> _Counted:
    real, synthetic = (len(drawn), len(order.real)), (len(drawn), len(order.synthetic))
    # Sums of floats would take ten times as long; these must hold all weights.
    whole = np.int32 if max(real[1], synthetic[1]) * np.iinfo(drawn.dtype).max < np.iinfo(np.int32).max else np.int64
    weights = drawn.take(order.real, axis=1, out=room("real", real, np.uint8), mode="clip")
    sums = np.cumsum(weights, axis=1, dtype=whole, out=room("real sums", real, whole))
    false_alarms = room("false alarms", (real[0], real[1] + 1))
    false_alarms[:, 0], false_alarms[:, 1:] = 0, sums

    weights = drawn.take(order.synthetic, axis=1, out=room("synthetic", synthetic, np.uint8), mode="clip")
    so_far = room("so far", synthetic, whole)
    for start, end in zip(order.starts, order.ends, strict=True):
        np.cumsum(weights[:, start:end], axis=1, dtype=whole, out=so_far[:, start:end])
    to_logit, as_float, hits = so_far, room("weights", synthetic), room("hits", synthetic)
    if order.last is not None:
        to_logit = so_far.take(order.last, axis=1, out=room("to logit", synthetic, whole), mode="clip")
    as_float[:], hits[:] = weights, to_logit
    return _Counted(
        false_alarms=false_alarms,
        alarms=false_alarms.take(order.upto, axis=1, out=room("alarms", synthetic), mode="clip"),
        weights=as_float,
        so_far=so_far,
        hits=hits,
        n_real=false_alarms[:, -1:],
        n_synthetic=so_far[:, order.ends - 1].astype(np.float64),
    )


def _draws(drawn: Counts, order: _Order, room: _Room) -> Floats:
    """(groups, 5, rows of `drawn`): auc, ap, eer, tpr_at_fpr_1, tpr_at_fpr_5."""
    made = _count(drawn, order, room)
    rates = _hit_rates(made, order, (1, 5))
    with np.errstate(invalid="ignore", divide="ignore"):
        values = np.stack([_auc(made, order, room), _ap(made, order, room), _equal_error(made, order), *rates])
    values[:, (made.n_real == 0) | (made.n_synthetic == 0)] = np.nan
    return values.transpose(2, 0, 1)


def _auc(made: _Counted, order: _Order, room: _Room) -> Floats:
    """(rows, groups): one less the share of pairs lost; a pair of equals is half lost."""
    passed = room("passed", made.weights.shape)
    lost = np.add.reduceat(np.multiply(made.alarms, made.weights, out=passed), order.starts, axis=1)
    if order.above is not None:
        made.false_alarms.take(order.above, axis=1, out=passed, mode="clip")
        lost = (lost + np.add.reduceat(np.multiply(passed, made.weights, out=passed), order.starts, axis=1)) / 2
    return 1 - lost / (made.n_real * made.n_synthetic)


def _ap(made: _Counted, order: _Order, room: _Room) -> Floats:
    """(rows, groups): the mean precision over the synthetic images, each taken at its own logit."""
    precision = np.add(made.alarms, made.hits, out=room("passed", made.weights.shape))
    # 0 / 1 in place of 0 / 0 before the first image drawn: its weight is 0.
    np.divide(made.hits, np.maximum(precision, 1, out=precision), out=precision)
    precision *= made.weights
    return np.add.reduceat(precision, order.starts, axis=1) / made.n_synthetic


def _hit_rates(made: _Counted, order: _Order, percents: Sequence[int]) -> list[Floats]:
    """(rows, groups) each: the share of synthetic images above the real image that is one false alarm too many."""
    allowed = np.floor(made.n_real * np.array(percents) / 100 + 1e-9)
    last = np.full(allowed.shape, len(order.real))
    too_many = _first(lambda at: made.false_alarms[made.rows, at] > allowed, np.ones_like(last), last)
    rates = []
    for ranks, enough in zip(order.real_ranks[too_many - 1].T, allowed.T > 0, strict=True):
        wanted = np.arange(len(order.starts)) * order.n_ranks + ranks[:, None]
        before = np.searchsorted(order.keys, wanted, side="left")
        hits = np.where(before > order.starts, made.so_far[made.rows, np.maximum(before - 1, 0)], 0)
        rates.append(np.where(enough[:, None], hits / np.maximum(made.n_synthetic, 1), np.nan))
    return rates


def _equal_error(made: _Counted, order: _Order) -> Floats:
    """(rows, groups). Down the order, FPR - (1 - TPR) rises from -1 to 1. At the first synthetic image where it is
    above 0, it got there either among the real images just above it (TPR stands still) or in the step to this logit."""
    rows, n_real, n_synthetic = made.rows, made.n_real, made.n_synthetic

    def passed(at: Ints) -> Mask:
        return made.alarms[rows, at] * n_synthetic + made.hits[rows, at] * n_real > n_real * n_synthetic

    at = _first(passed, *(np.broadcast_to(edge, n_synthetic.shape) for edge in (order.starts, order.ends)))
    never, at = at == order.ends, np.minimum(at, order.ends - 1)
    above = order.upto if order.above is None else order.above
    fpr, fpr_after = made.false_alarms[rows, above[at]] / n_real, made.alarms[rows, at] / n_real
    miss = 1 - (made.so_far[rows, at] - made.weights[rows, at]) / n_synthetic
    before, after = fpr - miss, fpr_after - (1 - made.hits[rows, at] / n_synthetic)
    stepped = fpr + (fpr_after - fpr) * -before / np.where(after > before, after - before, 1)
    return np.where(never, 0.0, np.where(before > 0, miss, stepped))


def _first(holds: Callable[[Ints], Mask], low: Ints, high: Ints) -> Ints:
    """The first index in [low, high) from which on `holds`; high where it never does. Bisection of all at once."""
    low, last = low.copy(), high - 1
    while (still := low < high).any():
        middle = np.minimum((low + high) // 2, last)
        right = holds(middle)
        high = np.where(still & right, middle, high)
        low = np.where(still & ~right, middle + 1, low)
    return low
