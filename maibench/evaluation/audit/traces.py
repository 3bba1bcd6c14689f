"""Traces that JPEG compression leaves in pixels: the grid of its blocks, and the steps that it rounded to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_NOISE_ALIGNED, _NOISE_SHIFTED, _NOISE_TWICE = -0.05, 9.0, 0.02
"""What 96 to 100 % of photographs without such a trace stay under."""
_SHARED = 1 / 3
"""A grid shows this much, at most, at the offsets in its own row and column, too."""


class Jpeg(NamedTuple):
    """Traces of JPEG compression; a strength is 0 where there is none.

    aligned: of blocks that begin at the image's corner, in nats a coefficient: how much likelier the coefficients are
    with the steps of a JPEG than without; quality: the IJG quality that explains them best, NaN without a trace. An
    image that is stored as JPEG always has it. shifted: of blocks that begin elsewhere, in standard deviations: a JPEG
    that was cropped since. twice: of two compressions on the grid at the corner, in nats a coefficient; first_quality:
    of the earlier one.
    """

    aligned: float
    quality: float
    shifted: float
    twice: float
    first_quality: float


def jpeg_traces(luma: Floats) -> Jpeg:
    """What JPEG compression left in an image. luma: what `luma` makes of it."""
    grids = block_grids(luma)
    coefficients = _coefficients(luma)
    once = _once(coefficients)
    twice, first_quality = _twice(coefficients, once)
    return Jpeg(
        aligned=max(0.0, once.evidence - _NOISE_ALIGNED),
        quality=once.quality if once.evidence > _NOISE_ALIGNED else math.nan,
        shifted=_shifted(grids),
        twice=max(0.0, twice - _NOISE_TWICE),
        first_quality=first_quality if twice > _NOISE_TWICE else math.nan,
    )


def block_grids(luma: Floats) -> NDArray[np.float64]:
    """How strongly the image looks like JPEG blocks whose corner is at (row, column) modulo 8: (8, 8), in standard
    deviations over what an offset at random has; about 4.5 is none.

    Where blocks were rounded to multiples of a step, cos(2 pi c / step) of a DCT coefficient c averages to more than 0,
    at that offset alone: integer periodicity maps (Bianchi & Piva 2012, IEEE TIFS 7:842), here of the three lowest
    coefficients and with known phase.
    """
    sums, slopes = _even(luma, 0), _odd(luma, 0)
    maps = (
        (_even(sums, 1), 1 / 8, _LATTICE_DC),
        (_odd(sums, 1), math.sqrt(2) / 8, _LATTICE_AC),
        (_even(slopes, 1), math.sqrt(2) / 8, _LATTICE_AC),
    )
    evidence = np.zeros(64)
    for values, scale, lattice in maps:
        counts = _counts(values * np.float32(scale * _BINS), len(lattice.wave))
        waves = (counts @ lattice.wave) / np.sqrt(np.maximum(counts @ lattice.counted, 1) / 2)
        middle = np.median(waves, axis=0)
        spread = np.median(np.abs(waves - middle), axis=0) * 1.48 + 0.3
        evidence += ((waves - middle) / spread).max(axis=1)
    return evidence.reshape(8, 8)


@dataclass(frozen=True)
class _Lattice:
    """wave: (bins, steps), what a value in a bin says for a step; counted: whether it says anything."""

    wave: Floats
    counted: Floats


@dataclass(frozen=True)
class _Once:
    """One compression at the corner: evidence, in nats a coefficient; steps: of each coefficient, the likeliest;
    quality: that of the IJG table that is likeliest."""

    evidence: float
    steps: NDArray[np.int64]
    known: NDArray[np.bool_]
    quality: float


def _shifted(grids: NDArray[np.float64]) -> float:
    others = grids.copy()
    shared = np.maximum(0, _SHARED * grids[0, 0] - _NOISE_SHIFTED)
    others[0] -= shared
    others[:, 0] -= shared
    others[0, 0] = 0
    return max(0.0, float(others.max()) - _NOISE_SHIFTED)


def _even(values: Floats, axis: int) -> Floats:
    """The sum of eight neighbours, from every position."""
    at = _neighbours(values, axis)
    total: Floats = at[0] + at[7]
    for i in range(1, 7):
        total += at[i]
    return total


def _odd(values: Floats, axis: int) -> Floats:
    """The lowest wave of the DCT of eight neighbours, from every position."""
    at = _neighbours(values, axis)
    total: Floats = (at[0] - at[7]) * np.float32(math.cos(math.pi / 16))
    for i in (1, 2, 3):
        total += (at[i] - at[7 - i]) * np.float32(math.cos((2 * i + 1) * math.pi / 16))
    return total


def _counts(scaled: Floats, n_bins: int) -> Floats:
    """Histograms of whole numbers by offset modulo 8: (64, n_bins), zero in the middle. What is beyond counts as the
    last bin. `scaled` is used up."""
    np.clip(scaled, -n_bins // 2, n_bins // 2 - 1, out=scaled)
    height, width = scaled.shape
    scaled += (np.arange(height) % 8 * (8 * n_bins)).astype(np.float32)[:, None]
    # Cutting a positive number off half a unit higher rounds it; a float32 holds all these exactly enough.
    scaled += (np.arange(width) % 8 * n_bins + (n_bins // 2 + 0.5)).astype(np.float32)
    counts = np.bincount(scaled.ravel().astype(np.intp), minlength=64 * n_bins)
    return counts.reshape(64, n_bins).astype(np.float32)


def _neighbours(values: Floats, axis: int) -> list[Floats]:
    length = values.shape[axis] - 7
    return [values[i : i + length] if axis == 0 else values[:, i : i + length] for i in range(8)]


_BINS = 2
"""Bins of a coefficient's histogram a unit."""
_TOP = 256
"""AC coefficients above count as this."""


def _lattice(top: int, with_zero: bool) -> _Lattice:
    """For coefficients from -top to top; those that would be rounded to 0 say nothing of a step unless `with_zero`, as
    most pictures have many that are nearly 0."""
    steps = np.arange(2, 25)
    values = (np.arange(2 * _BINS * top) - _BINS * top)[:, None] / _BINS
    counted = np.abs(values) > np.where(with_zero, -1, steps / 2)
    return _Lattice(
        np.where(counted, np.cos(2 * np.pi * values / steps), 0).astype(np.float32), counted.astype(np.float32)
    )


_LATTICE_DC, _LATTICE_AC = _lattice(1024, True), _lattice(_TOP, False)

_ZIGZAG = tuple(
    (u, total - u) if total % 2 else (total - u, u) for total in range(1, 6) for u in range(total + 1)
)  # the 20 lowest AC coefficients
_WAVES = np.array(
    [
        [math.sqrt((1 if u == 0 else 2) / 8) * math.cos((2 * x + 1) * u * math.pi / 16) for x in range(8)]
        for u in range(8)
    ],
    dtype=np.float32,
)
_STEPS = np.arange(1, 41)
_SPREAD = 0.33
"""What rounding pixels to whole numbers adds to a coefficient, as a standard deviation."""
_CHOICE = 10.0
"""Nats that the best of many models gains by chance."""
_OTHERWISE = 0.05
"""The share of coefficients that no model explains: clipped pixels, edits."""


def _coefficients(luma: Floats) -> NDArray[np.int32]:
    """Histograms of the magnitudes of the lowest AC coefficients of the 8 x 8 blocks: (20, _BINS x _TOP)."""
    height, width = luma.shape
    columns = np.tensordot(_WAVES, luma.reshape(height // 8, 8, width), (1, 1))
    blocks = columns.reshape(8, height // 8, width // 8, 8) @ _WAVES.T
    chosen = np.stack([blocks[u, :, :, v].ravel() for u, v in _ZIGZAG])
    bins = np.minimum(np.rint(np.abs(chosen) * _BINS).astype(np.int32), _BINS * _TOP - 1)
    bins += np.arange(len(_ZIGZAG), dtype=np.int32)[:, None] * (_BINS * _TOP)
    counts = np.bincount(bins.ravel(), minlength=len(_ZIGZAG) * _BINS * _TOP)
    return counts.reshape(len(_ZIGZAG), -1).astype(np.int32)


def _once(coefficients: NDArray[np.int32]) -> _Once:
    """The likelihood of each step for each coefficient: values lie around its multiples (Fan & de Queiroz 2003, IEEE
    TIP 12:230), against anywhere."""
    ratios, counted = _comb()
    evidence, counts = coefficients @ ratios, coefficients @ counted
    tables = _tables()
    quality = evidence[np.arange(len(_ZIGZAG)), np.minimum(tables, _STEPS[-1]) - 1].sum(axis=1).argmax()
    best = evidence.max(axis=1)
    n = max(1.0, float(counts[:, 1].sum()))
    return _Once(
        (float(best.sum()) - _CHOICE) / n, _STEPS[evidence.argmax(axis=1)], best > 20, float(_QUALITIES[quality])
    )


_QUALITIES = np.arange(30, 100)
_LONGEST = 24
"""Multiples of the second step that are counted."""


def _twice(coefficients: NDArray[np.int32], once: _Once) -> tuple[float, float]:
    """How much likelier two roundings are than one, and the quality of the first: among the multiples of the second
    step, those that the first one's multiples never reach are missing (Lukas & Fridrich 2003; Popescu & Farid 2004).

    The histogram that one rounding would have is the found one made smooth.
    """
    values = np.arange(_BINS * _TOP) / _BINS
    multiple = np.minimum(np.rint(values / once.steps[:, None]).astype(np.int64), _LONGEST + 1)
    multiple += np.arange(len(_ZIGZAG))[:, None] * (_LONGEST + 2)
    found = np.bincount(multiple.ravel(), coefficients.ravel(), len(_ZIGZAG) * (_LONGEST + 2))
    found = found.reshape(len(_ZIGZAG), -1)[:, 1:-1]
    found = np.where((once.known & (found.sum(axis=1) >= 30))[:, None], found, 0)
    total = found.sum(axis=1)
    if not total.any():
        return 0.0, math.nan
    smooth = np.exp(np.log(found + 0.5) @ _smoothing())
    smooth /= smooth.sum(axis=1, keepdims=True)
    reached = _reached()[once.steps]
    evidence = np.einsum("cm,csm->cs", found, np.log(reached))
    evidence -= total[:, None] * np.log(np.einsum("cm,csm->cs", smooth, reached))
    tables = np.minimum(_tables(), _STEPS[-1])
    by_quality = evidence[np.arange(len(_ZIGZAG)), tables].sum(axis=1)
    return (float(by_quality.max()) - _CHOICE) / float(total.sum()), float(_QUALITIES[by_quality.argmax()])


@lru_cache(maxsize=1)
def _comb() -> tuple[Floats, Floats]:
    """(bins, steps): the log-likelihood ratio of a value for a step, and whether the value says anything of it."""
    values = np.arange(_BINS * _TOP)[:, None] / _BINS
    distance = np.abs(values - _STEPS * np.rint(values / _STEPS))
    around = np.exp(-((distance / _SPREAD) ** 2) / 2) / (_SPREAD * math.sqrt(2 * math.pi))
    ratios = np.log((1 - _OTHERWISE) * _STEPS * around + _OTHERWISE)
    counted = values > _STEPS / 2
    return np.where(counted, ratios, 0).astype(np.float32), counted.astype(np.float32)


@lru_cache(maxsize=1)
def _tables() -> NDArray[np.int64]:
    """The luma steps of the IJG encoder for the coefficients looked at: (qualities, 20)."""
    standard = {
        (0, 1): 11, (1, 0): 12, (2, 0): 14, (1, 1): 12, (0, 2): 10, (0, 3): 16, (1, 2): 14, (2, 1): 13, (3, 0): 14,
        (4, 0): 18, (3, 1): 17, (2, 2): 16, (1, 3): 19, (0, 4): 24, (0, 5): 40, (1, 4): 26, (2, 3): 24, (3, 2): 22,
        (4, 1): 22, (5, 0): 24,
    }  # fmt: skip
    base = np.array([standard[at] for at in _ZIGZAG])
    scale = np.where(_QUALITIES < 50, 5000 // _QUALITIES, 200 - 2 * _QUALITIES)
    return np.clip((base * scale[:, None] + 50) // 100, 1, 255).astype(np.int64)


@lru_cache(maxsize=1)
def _reached() -> NDArray[np.float64]:
    """(second step, first step, multiple of the second): how many of the first one's multiples end up there, over how
    many there are on average."""
    from scipy.special import ndtr

    n = len(_STEPS) + 1
    reached = np.ones((n, n, _LONGEST))
    for second in range(1, n):
        low = (np.arange(1, _LONGEST + 1) - 0.5) * second
        for first in range(2, n):
            multiples = np.arange(1, math.ceil((low[-1] + second) / first) + 2) * first
            within = ndtr((low[:, None] + second - multiples) / 0.4) - ndtr((low[:, None] - multiples) / 0.4)
            reached[second, first] = within.sum(axis=1) * first / second
    return (1 - _OTHERWISE) * reached + _OTHERWISE


@lru_cache(maxsize=1)
def _smoothing() -> NDArray[np.float64]:
    """A line through seven neighbours, as a matrix to multiply rows with."""
    from scipy.signal import savgol_filter

    return np.asarray(savgol_filter(np.eye(_LONGEST), 7, 1, axis=1, mode="interp"))
