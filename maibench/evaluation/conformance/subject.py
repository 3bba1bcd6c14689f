"""A detector under examination: asked as a comparison asks it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from maibench.datasets.image import MAX_PIXELS, ImageFile, decode_file
from maibench.datasets.manifest import Manifest
from maibench.errors import ImageError
from maibench.evaluation.conformance.probes import COUNT
from maibench.models.base import Detector
from maibench.models.device import to_device

PASSES = 8
"""How often the checks look at every image, about."""
FEWEST = 4
"""Images that also a slow detector is asked about."""

Logits = NDArray[np.float64]


class Problem(Exception):
    """The detector does not keep what every detector promises; in words."""


class Subject:
    """A detector and the images that it is tried on. images: those that it can read. refused: why not the others.
    logits: (n,), each image asked about by itself; filled by `begin`."""

    def __init__(self, detector: Detector, manifest: Manifest) -> None:
        self.detector = detector
        self.images: list[ImageFile] = []
        self.refused: list[str] = []
        self.logits: Logits = np.empty(0)
        self._manifest = manifest
        self.state = {name: tensor.clone() for name, tensor in detector.state_dict().items()}

    def fit(self) -> None:
        """Fit it to the data, as a comparison does. Raises MaibenchError."""
        from maibench.evaluation.fitting import fit_detector
        from maibench.models.loading import fingerprint

        code = fingerprint(self.detector)
        with tempfile.TemporaryDirectory() as folder:
            fit_detector("checked", self.detector, code, self._manifest, Path(folder), 1, MAX_PIXELS)
        self.state = {name: tensor.clone() for name, tensor in self.detector.state_dict().items()}

    def begin(self, seconds: float) -> None:
        """Ask about one image after the other; fewer of them where all checks would take longer than `seconds`.

        Raises Problem where none can be read, and whatever the detector raises.
        """
        paths = self._paths()
        logits: list[float] = []
        fastest = np.inf
        for path in paths:
            started = time.perf_counter()
            try:
                image = self._manifest.read(path)
                logits.append(self.ask([self.item(image)])[0])
            except ImageError as error:
                self.refused.append(str(error))
                continue
            self.images.append(image)
            fastest = min(fastest, time.perf_counter() - started)
            # the first may have had to wake up
            if len(logits) > 1 and len(logits) >= max(FEWEST, seconds / (PASSES * fastest)):
                break
        if not logits:
            raise Problem(f"no image can be scored: {self.refused[0] if self.refused else 'there is none'}")
        self.logits = np.array(logits)

    def item(self, image: ImageFile) -> Any:
        """What `preprocess` makes of an image. Raises what it raises."""
        return self.detector.preprocess(self.given(image))

    def given(self, image: ImageFile) -> Any:
        """What `preprocess` is given: read-only pixels, or the file."""
        return image if self.detector.reads == "file" else decode_file(image)

    def ask(self, items: Sequence[Any]) -> Logits:
        """(n,) logits of n preprocess results at once. Raises Problem, and whatever the detector raises."""
        with torch.inference_mode():
            answer = self.detector.answer(to_device(self.detector.collate(list(items)), self.detector.device))
        if not (isinstance(answer, tuple) and len(answer) == 2):
            raise Problem("answer has to return two tensors: logits, and which are unsure")
        for name, tensor in zip(("logits", "unsure"), answer, strict=True):
            if not isinstance(tensor, torch.Tensor):
                raise Problem(f"{name} are a {type(tensor).__name__}; they have to be a tensor")
            if tuple(tensor.shape) != (len(items),):
                raise Problem(f"{name} have shape {list(tensor.shape)} for {len(items)} images, not [{len(items)}]")
        logits, unsure = answer
        if not logits.is_floating_point() or unsure.dtype != torch.bool:
            raise Problem(
                f"logits are {logits.dtype} and unsure {unsure.dtype}; they have to be floating point and bool"
            )
        return np.asarray(logits.to("cpu", torch.float64).numpy())

    def differences(self, logits: Logits, at: NDArray[np.int64] | None = None) -> Logits:
        """How far answers lie from those of `begin`, in units of max(1, |logit|); NaN equals NaN. at: which images they
        are for, by default the first ones."""
        expected = self.logits[: len(logits)] if at is None else self.logits[at]
        same = (logits == expected) | (np.isnan(logits) & np.isnan(expected))
        with np.errstate(invalid="ignore"):
            apart = np.abs(logits - expected) / np.maximum(1.0, np.abs(expected))
        return np.where(same, 0.0, np.nan_to_num(apart, nan=np.inf))

    @property
    def tolerance(self) -> float:
        """How far two ways to compute one logit may lie apart, in units of max(1, |logit|)."""
        kind = next((parameter.dtype for parameter in self.detector.parameters()), torch.float32)
        return 0.1 if kind in (torch.bfloat16, torch.float16) else 1e-3

    def _paths(self) -> list[str]:
        rows = self._manifest.split("test")
        rows = self._manifest.rows if rows.empty else rows
        return [str(path) for path in rows["path"].head(COUNT)]
