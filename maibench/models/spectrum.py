"""spectrum: what a detector has to beat. The azimuthally averaged power spectrum and the statistics of the noise
residual, with a linear classifier."""

from __future__ import annotations

import functools
from itertools import combinations
from typing import ClassVar

import numpy as np
import scipy.fft
import torch
from numpy.typing import NDArray
from torch import Tensor

from maibench.models.base import Detector
from maibench.models.card import Card
from maibench.models.logistic import CalibratedLogistic
from maibench.models.pixels import centre_crop, pad_to

SIZE = 256
"""Pixels a side of the crop: spectra of images of all sizes have the same frequencies."""
RINGS = 64
"""Of equal width, from nothing to the corner of the spectrum, sqrt(1/2) cycles a pixel."""
LATTICE = (2, 4, 8, 16)
"""Periods in pixels at which up-samplers and JPEG leave peaks."""
LAGS = ((0, 1), (1, 0), (1, 1), (1, -1), (0, 2), (2, 0), (2, 2), (0, 4), (4, 0), (0, 8), (8, 0))
"""Rows and columns between the pixels of a residual that are correlated."""

Plane = NDArray[np.float64]


class Spectrum(Detector):
    """Frequencies (Durall et al. 2020, arXiv 2003.01826; Dzanic et al. 2020, arXiv 1911.06465) and residuals (Corvi et
    al. 2023, arXiv 2304.06408) of a crop, standardised, and a calibrated logistic regression on them."""

    fitted = True
    concurrent: ClassVar[bool] = True
    card = Card(
        name="spectrum",
        summary="power spectrum and residual statistics, a linear classifier",
        weights="fitted on the training split",
        licence="Apache-2.0",
        reference="scikit-learn; after Durall et al. 2020 (arXiv 2003.01826), Dzanic et al. 2020 (arXiv 1911.06465) "
        "and Corvi et al. 2023 (arXiv 2304.06408)",
        input_size=SIZE,
        input_policy=f"centre crop of {SIZE} x {SIZE}; smaller images are padded by reflection; nothing is resized",
    )

    def __init__(self) -> None:
        super().__init__()
        self.head = CalibratedLogistic(len(NAMES), "spectrum")

    def preprocess(self, image: NDArray[np.uint8]) -> Tensor:
        """uint8 height x width x 3 -> float64 (features,)."""
        return torch.from_numpy(describe(centre_crop(pad_to(image, SIZE), SIZE)))

    def fit(self, features: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
        """Find the weights. Raises MaibenchError when a class is missing."""
        self.head.fit(features, labels)

    def forward(self, batch: Tensor) -> Tensor:
        """(n, features) -> (n,) logits. Raises MaibenchError before `fit`."""
        return self.head(batch)


def describe(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The numbers named in NAMES for SIZE x SIZE x 3 pixels."""
    planes = np.moveaxis(image.astype(np.float64), 2, 0)
    luma = 0.299 * planes[0] + 0.587 * planes[1] + 0.114 * planes[2]
    residuals = planes - np.moveaxis(median3(image), 2, 0)
    edges = luma[1:-1, 1:-1] - (luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:]) / 4
    grey = residuals.mean(axis=0)
    pairs = combinations(range(3), 2)
    return np.array(
        [
            *_rings(luma),
            *_rings(grey),
            *_peaks(grey),
            *_moments(grey),
            *_moments(edges),
            *(float((plane == 0).mean()) for plane in residuals),
            *(correlation(*_shifted(plane, *lag)) for plane in (grey, edges) for lag in LAGS),
            *(correlation(residuals[a], residuals[b]) for a, b in pairs),
        ]
    )


NAMES = (
    *(f"luma_ring_{ring}" for ring in range(RINGS)),
    *(f"residual_ring_{ring}" for ring in range(RINGS)),
    *(f"residual_peaks_{period}" for period in LATTICE),
    *(f"{kind}_{moment}" for kind in ("residual", "edges") for moment in ("log_deviation", "skewness", "log_kurtosis")),
    *(f"residual_zeros_{colour}" for colour in "rgb"),
    *(f"{kind}_lag_{down}_{right}" for kind in ("residual", "edges") for down, right in LAGS),
    *(f"residual_{pair}" for pair in ("rg", "rb", "gb")),
)


def median3(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The median of each pixel and its eight neighbours, borders reflected: ten times faster than scipy's, by sorting
    columns first (the median of nine is that of the largest minimum, the median of medians and the smallest maximum).
    """
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)), mode="reflect")
    height, width = image.shape[:2]
    low, middle, high = _sorted(*(padded[top : top + height] for top in range(3)))
    lows, middles, highs = ([rows[:, left : left + width] for left in range(3)] for rows in (low, middle, high))
    low, high = functools.reduce(np.maximum, lows), functools.reduce(np.minimum, highs)
    return _sorted(low, _sorted(*middles)[1], high)[1]


def correlation(first: Plane, second: Plane) -> float:
    """Pearson's, in [-1, 1]; 0 where one of the two does not vary."""
    first, second = (plane.ravel() - plane.mean() for plane in (first, second))
    size = np.sqrt(_product(first, first) * _product(second, second))
    return float(_product(first, second) / size) if size > 1e-9 else 0.0


def _rings(plane: Plane) -> NDArray[np.float64]:
    """The logarithm of the mean power in each ring of the spectrum."""
    index, counts = _places()
    sums = np.bincount(index, weights=_power(plane).ravel(), minlength=RINGS)
    return np.log(sums / counts + 1e-3)


def _peaks(plane: Plane) -> list[float]:
    """Of each period in LATTICE, how far the power at its frequencies stands above that around them, logarithmic."""
    power = np.log(_power(plane) + 1e-3)
    found = []
    for period in LATTICE:
        step = SIZE // period
        rows = np.arange(0, SIZE, step)
        columns = np.arange(0, SIZE // 2 + 1, step)
        at, around = power[np.ix_(rows, columns)], power[np.ix_((rows + 3) % SIZE, np.minimum(columns + 3, SIZE // 2))]
        found.append(float((at.sum() - at[0, 0] - around.sum() + around[0, 0]) / (at.size - 1)))
    return found


def _moments(plane: Plane) -> tuple[float, float, float]:
    """The logarithm of the standard deviation, the skewness, and the logarithm of the kurtosis."""
    centred = plane - plane.mean()
    squared = centred * centred
    variance = float(squared.mean())
    if variance < 1e-9:  # a flat image
        return float(np.log(1e-3)), 0.0, float(np.log(3))
    skewness = float((squared * centred).mean()) / variance**1.5
    kurtosis = float((squared * squared).mean()) / variance**2
    return 0.5 * float(np.log(variance)), float(np.tanh(skewness)), float(np.log(kurtosis))


def _product(first: Plane, second: Plane) -> float:
    return float(np.einsum("i,i->", first, second))  # BLAS would start a team of threads in every worker


def _shifted(plane: Plane, down: int, right: int) -> tuple[Plane, Plane]:
    """A plane without its last rows and columns, and itself that far on."""
    height, width = plane.shape
    first = plane[: height - down, max(0, -right) : width - max(0, right)]
    return first, plane[down:, max(0, right) : width - max(0, -right)]


def _power(plane: Plane) -> Plane:
    """The power spectrum of a windowed plane, half of it: SIZE x (SIZE / 2 + 1)."""
    spectrum = scipy.fft.rfft2((plane - plane.mean()) * _window())
    return (spectrum.real**2 + spectrum.imag**2) / SIZE**2


@functools.cache
def _window() -> Plane:
    """Hann's, so that the borders of the crop leave no cross in the spectrum."""
    side = np.hanning(SIZE + 1)[:-1]
    return np.outer(side, side)


@functools.cache
def _places() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The ring of each frequency, and how many frequencies each ring has."""
    radius = np.hypot(np.fft.fftfreq(SIZE)[:, None], np.fft.rfftfreq(SIZE)[None, :])
    index = np.minimum((radius / np.sqrt(0.5) * RINGS).astype(np.int64), RINGS - 1).ravel()
    return index, np.bincount(index, minlength=RINGS)


def _sorted(
    a: NDArray[np.uint8], b: NDArray[np.uint8], c: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    """The smallest, the middle and the largest of three, pixel by pixel."""
    low, high = np.minimum(a, b), np.maximum(a, b)
    return np.minimum(low, c), np.maximum(low, np.minimum(high, c)), np.maximum(high, c)
