"""Traces that resizing leaves in pixels: waves, missing detail; and plain frames around them."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maibench.datasets.image import Pixels

Floats = NDArray[np.float32]

_NOISE = 4.5
"""What images that were not resized stay under (99 % of them)."""
_LENGTH = 1024
_SMOOTHEST = 0.12
"""Waves slower than this, in cycles a pixel, are the picture's."""
_EVEN, _EDGE = 8, 16
"""95 % of a plain line's pixels are within _EVEN of the frame's colour, and a quarter of those a little further in at
least _EDGE away: a sky at an edge is no frame."""


class Resizing(NamedTuple):
    """resampled: how high the highest wave stands in the second differences, in standard deviations over what images
    that were not resized have, 0 = none; wave: its cycles a pixel, NaN without one (enlarged by s: 1 / s, or what is
    left over a whole number). sharpness: the power of the finest detail (0.4 to 0.5 cycles a pixel) over that of
    coarser detail (0.1 to 0.25), in dB: low where an image was enlarged, and where it is blurred.
    """

    resampled: float
    wave: float
    sharpness: float


def resizing_traces(luma: Floats) -> Resizing:
    """What resizing left in an image. luma: (height, width), not rounded.

    Interpolated pixels lie nearer to the line through their neighbours than others do, and do so periodically
    (Gallagher 2005, CRV; Mahdian & Saic 2008, IEEE TIFS 3:529). Periods that divide 8 are left out: JPEG's blocks and
    generators' own decoders have them, so that x1.6 and x4/3 do not show here, nor x2, which leaves none. Reducing with
    a filter, as Pillow does, leaves next to nothing.
    """
    across, down = luma, np.ascontiguousarray(luma.T)
    both = np.sqrt((_waves(across) ** 2 + _waves(down) ** 2) / 2)
    frequencies = np.arange(len(both)) / _LENGTH
    looked_at = (frequencies > _SMOOTHEST) & (np.abs(frequencies * 8 - np.rint(frequencies * 8)) > 0.05)
    highest = int(np.argmax(np.where(looked_at, both, 0)))
    resampled = max(0.0, float(both[highest]) - _NOISE)
    return Resizing(resampled, float(frequencies[highest]) if resampled else math.nan, _sharpness((across, down)))


def frame_width(pixels: Pixels) -> int:
    """How many rows or columns at an edge are of one plain colour, at the edge that has most; 0 without a frame.

    An image that is plain from edge to edge has none. pixels: uint8 (height, width, 3).
    """
    return max(_plain_lines(np.moveaxis(pixels, axis, 0)[::way]) for axis in (0, 1) for way in (1, -1))


def _waves(lines: Floats) -> NDArray[np.float64]:
    """The spectrum of the mean second differences along lines (n, length); 1 is what noise has."""
    steps = lines[:, 1:] - lines[:, :-1]
    second = steps[:, 1:] - steps[:, :-1]
    np.abs(second, out=second)
    # An edge that runs straight down would stand out as a line of its own.
    np.minimum(second, np.float32(40), out=second)
    profile = second.mean(axis=0).astype(np.float64)
    around = np.convolve(profile, np.ones(9) / 9, "same")
    relative = (profile / np.maximum(around, 0.05))[4:-4]
    relative -= relative.mean()
    phases = np.arange(len(relative)) % 8
    relative -= (np.bincount(phases, relative, 8) / np.maximum(np.bincount(phases, minlength=8), 1))[phases]
    window = np.hanning(len(relative))
    power = (window**2).sum() * max(float(relative.var()), 1e-9)
    return np.asarray(np.abs(np.fft.rfft(relative * window, _LENGTH)) / math.sqrt(power))


def _sharpness(directions: tuple[Floats, Floats]) -> float:
    """Of every other line. 1 / 12 is the power of rounding to whole numbers, which enlarging leaves."""
    fine, coarse = 0.0, 0.0
    for direction in directions:
        lines = direction[::2]
        window = np.hanning(lines.shape[1]).astype(np.float32)
        waves = np.fft.rfft((lines - lines.mean()) * window, axis=1)
        power = (waves.real**2 + waves.imag**2).mean(axis=0) / (window**2).sum()
        frequencies = np.arange(len(power)) / lines.shape[1]
        fine += float(power[frequencies > 0.4].mean()) + 1 / 12
        coarse += float(power[(frequencies > 0.1) & (frequencies < 0.25)].mean()) + 1 / 12
    return 10 * math.log10(fine / coarse)


def _plain_lines(lines: NDArray[np.uint8]) -> int:
    """How many of the first lines, up to a quarter of all, have one colour, that of the first."""
    colour = np.median(lines[0], axis=0)
    for number in range(len(lines) // 4):
        if (_off(lines[number], colour) > _EVEN).mean() > 0.05:
            # The lines at the frame's edge may be blends of both.
            beside = lines[min(number + 4, len(lines) - 1)]
            return number if (_off(beside, colour) > _EDGE).mean() > 0.25 else 0
    return 0


def _off(line: NDArray[np.uint8], colour: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.abs(line - colour).max(axis=1))
