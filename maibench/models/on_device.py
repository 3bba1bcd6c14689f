"""Preprocessing where the network is: pixels travel as bytes, a quarter of what floats take, and a GPU normalises them.

Only for detectors whose `differentiable` gives the very bits of `preprocess`: the bundled CNNs' does (crop, tiles,
normalisation, one division and one subtraction in float32). moondream's does not: Pillow's Lanczos, which rounds to
whole levels after each pass, is computed on the CPU there too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maibench.errors import MaibenchError
from maibench.models.base import Detector
from maibench.models.device import to_device


def preprocess_on_device(detector: Detector, images: Tensor) -> Any:
    """uint8 (n, height, width, 3), on the detector's device -> the batch that `collate` makes of `preprocess` of each.

    Raises ImageError where `preprocess` refuses images of this size, MaibenchError where the detector has no
    `differentiable`.
    """
    pixels = images.permute(0, 3, 1, 2).to(torch.float32)
    return detector.collate(list(torch.vmap(detector.differentiable)(pixels).unbind()))


def preprocesses_alike(detector: Detector, images: Sequence[NDArray[np.uint8]]) -> bool:
    """Whether `preprocess_on_device` gives the bits of `preprocess` for these images, each height x width x 3; False
    where a detector has no `differentiable`, or one that does not take a batch at once. Raises ImageError as
    `preprocess` does."""
    if detector.reads != "pixels":
        return False
    for image in images:
        expected = detector.collate([detector.preprocess(image)])
        try:
            found = preprocess_on_device(detector, to_device(torch.tensor(image)[None], detector.device))
        except (MaibenchError, RuntimeError, TypeError, ValueError, AttributeError):  # vmap's, for what it cannot do
            return False
        if not _same(expected, found):
            return False
    return True


def _same(expected: Any, found: Any) -> bool:
    if isinstance(expected, Tensor):
        return isinstance(found, Tensor) and expected.dtype == found.dtype and torch.equal(expected, found.cpu())
    if isinstance(expected, (list, tuple)):
        return type(expected) is type(found) and len(expected) == len(found) and all(map(_same, expected, found))
    if isinstance(expected, dict):
        return (
            isinstance(found, dict)
            and expected.keys() == found.keys()
            and all(_same(v, found[k]) for k, v in expected.items())
        )
    return bool(expected == found)
