"""Evidence maps: which regions of an image a detector's answer hangs on, by occlusion.

Occlusion asks the detector itself, in the pixels that it is given: it is the same for a CNN and a VLM, and needs no
gradient. (Grad-CAM needs a layer that keeps the image's geometry up to a single crop, which tiles and tokens do not.)
What is hidden is blurred, not painted over: a flat patch brings edges that no photograph has. On images of the demo
that are half a photograph and half its reconstruction, the blurred window tells the halves apart better than one of
the mean colour: AUC of the regions 0.83 against 0.78 (bailu), 0.84 against 0.76 (mai_cnn), 0.79 against 0.80
(moondream-nano); narrower windows do worse for all three.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from maibench.errors import ImageError
from maibench.models.base import Detector
from maibench.models.device import to_device

Pixels = NDArray[np.uint8]
Grid = NDArray[np.float64]

METHOD = (
    "occlusion: a window slides over the image in steps of half its side, what it covers is blurred, and its region is "
    "coloured by how the logit changes; orange speaks for synthetic, blue for real, and full colour is the largest "
    "change in this image"
)
CAUTION = (
    "An evidence map shows what moved this detector's answer on this image; it is no proof that a region is synthetic, "
    "and a wrong answer has a map too."
)

MOST_CELLS, FEWEST_CELLS = 8, 5
"""Cells along the longer side; a window covers two by two of them."""
WINDOW = 2
PER_MAP = {"cpu": 5e10, "cuda": 2.5e13}
"""Floating-point operations that a map may cost before its grid is made coarser; about a second."""
PER_GALLERY = {"cpu": 3e11, "cuda": 1.5e14}
"""The same of all maps of one detector in a gallery; operations and not seconds, so that every run draws the same."""
NEGLIGIBLE = 1e-3
"""A smaller change of the logit is none: it moves P by less than 0.0003, and batches of other sizes differ by it."""
REAL, SYNTHETIC = (0, 114, 178), (230, 130, 0)
"""A blue and an orange after Okabe & Ito, which the colour-blind tell apart."""
_STRONGEST_TINT = 0.75
_AT_ONCE = {"cpu": 4, "cuda": 32}
_BYTES_AT_ONCE = 2**28


@dataclass(frozen=True, eq=False)
class EvidenceMap:
    """values: (rows, columns) in [-1, 1], one for each cell of an even grid over the image: positive where hiding the
    region lowers the logit, so that it speaks for synthetic. strongest: the change of the logit that 1 stands for."""

    values: Grid
    strongest: float


def has_evidence(detector: Detector) -> bool:
    """Whether there is anything to occlude, and a hundred more questions cost nothing but time here: a detector of
    files sees no pixels, a server may count."""
    return detector.reads == "pixels" and not detector.elsewhere


def pass_cost(detector: Detector, pixels: Pixels) -> float:
    """Floating-point operations of one pass over an image, as torch counts them (0 where it does not compute in torch).

    Raises whatever the detector raises for this image.
    """
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        _logits(detector, [pixels])
    return float(counter.get_total_flops())


def map_cost(cost: float, pixels: Pixels, cells: int) -> float:
    """Floating-point operations of a map with so many cells along the longer side. cost: of one pass."""
    return cost * math.prod(side - _window(side) + 1 for side in _grid(pixels, cells))


def choose_cells(cost: float, pixels: Pixels, device: str) -> int:
    """Cells along the longer side, from FEWEST_CELLS to MOST_CELLS: the finest grid that PER_MAP allows, else the
    coarsest. device: "cpu" or "cuda"."""
    limit = PER_MAP.get(device, PER_MAP["cuda"])
    fitting = [cells for cells in range(FEWEST_CELLS, MOST_CELLS + 1) if map_cost(cost, pixels, cells) <= limit]
    return max(fitting, default=FEWEST_CELLS)


def at_once(pixels: Pixels, device: str) -> int:
    """How many part-hidden versions of an image lie in memory at a time: those of large ones take 256 MiB at most, or
    are single. device: "cpu" or "cuda"."""
    return max(1, min(_AT_ONCE.get(device, _AT_ONCE["cpu"]), _BYTES_AT_ONCE // max(1, pixels.nbytes)))


def evidence_map(detector: Detector, pixels: Pixels, cells: int | None = None) -> EvidenceMap:
    """The evidence map of one image: Zeiler & Fergus 2014 (arXiv 1311.2901), as captum computes it.

    pixels: uint8 (h, w, 3). cells: along the longer side; None: `choose_cells`. Regions that a detector does not look
    at (outside its crop) are 0. Raises ImageError where the detector has no number for the image, and whatever else it
    raises.
    """
    from captum.attr import Occlusion

    device = detector.device
    if cells is None:
        cells = choose_cells(pass_cost(detector, pixels), pixels, device.type)
    rows, columns = _grid(pixels, cells)
    heights, widths = (np.diff(_borders(s, n)) for s, n in zip(pixels.shape[:2], (rows, columns), strict=True))
    hidden = blurred(pixels)

    def score(shown: torch.Tensor) -> torch.Tensor:
        """(n, 1, rows, columns): 1 where a cell is shown, 0 where it is hidden -> (n,) logits."""
        masks = shown[:, 0].numpy() > 0.5
        images = [np.where(mask.repeat(heights, 0).repeat(widths, 1)[:, :, None], pixels, hidden) for mask in masks]
        return _logits(detector, images)

    with torch.no_grad():
        changes = Occlusion(score).attribute(
            torch.ones(1, 1, rows, columns),
            sliding_window_shapes=(1, _window(rows), _window(columns)),
            strides=(1, 1, 1),
            perturbations_per_eval=at_once(pixels, device.type),
        )
    values = changes[0, 0].numpy().astype(np.float64)
    if not np.isfinite(values).all():
        raise ImageError("the detector returned NaN for the image or a part-hidden version of it")
    values[np.abs(values) < NEGLIGIBLE] = 0
    strongest = float(np.abs(values).max())
    return EvidenceMap(values / strongest if strongest else values, strongest)


def blurred(pixels: Pixels) -> Pixels:
    """What stands in for a hidden region: the image without its fine traces, its colours and shapes kept.

    A Gaussian of 2 pixels, more in images of which a detector sees a reduction: a hundredth of the longer side.
    """
    sigma = max(2.0, max(pixels.shape[:2]) / 100)
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(sigma)))


def overlay(pixels: Pixels, values: Grid) -> Pixels:
    """A map over the image's grey version. pixels: uint8 (h, w, 3); values: (rows, columns) in [-1, 1], on an even
    grid over it; returns uint8 (h, w, 3): orange where they are positive, blue where negative."""
    height, width = pixels.shape[:2]
    smooth = Image.fromarray(values.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR)
    strength = np.clip(np.asarray(smooth, dtype=np.float64), -1, 1)[:, :, None]
    # neither black nor white, so that a tint shows on both
    grey = 40 + 0.8 * np.asarray(Image.fromarray(pixels).convert("L"), dtype=np.float64)[:, :, None]
    tint = np.where(strength > 0, np.array(SYNTHETIC, dtype=np.float64), np.array(REAL, dtype=np.float64))
    share = _STRONGEST_TINT * np.abs(strength)
    return np.round((1 - share) * grey + share * tint).astype(np.uint8)


def _logits(detector: Detector, images: list[Pixels]) -> torch.Tensor:
    """(n,) float64 logits on the CPU."""
    views = [image.view() for image in images]
    for view in views:
        view.setflags(write=False)  # as in a comparison
    batch = detector.collate([detector.preprocess(view) for view in views])
    return detector(to_device(batch, detector.device)).to("cpu", torch.float64)


def _grid(pixels: Pixels, cells: int) -> tuple[int, int]:
    """Rows and columns of about square cells; two at least, but none without a pixel."""
    height, width = pixels.shape[:2]
    longest = max(height, width)
    rows, columns = (min(side, max(WINDOW, round(cells * side / longest))) for side in (height, width))
    return rows, columns


def _window(cells: int) -> int:
    return min(WINDOW, cells)


def _borders(side: int, cells: int) -> NDArray[np.int64]:
    """(cells + 1,) pixel borders of an even grid."""
    return np.linspace(0, side, cells + 1).round().astype(np.int64)
