"""Whether a backend gives the answers that torch gives in float32."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maibench.models.backends.backend import PIECE, Unsuitable, takes_backends
from maibench.models.backends.graph import first_line, has_any_size
from maibench.models.base import Detector
from maibench.models.device import to_device

_NOT_TENSORS = "its batches are not one tensor of images: it has torch alone"


class Probes:
    """Images on which backends are held against torch. count: how many. inputs: the tensors that reach
    `tensor_logits` when the detector answers for them.

    Raises Unsuitable for a detector that no backend can compute: its batches are not one float32 tensor, it fails, or
    there is no image.
    """

    def __init__(self, detector: Detector, items: Sequence[Any]) -> None:
        self.count = len(items)
        self.inputs: list[Tensor] = []
        self._detector = detector
        self._pieces = [items[start : start + PIECE] for start in range(0, len(items), PIECE)]
        if not items:
            raise Unsuitable("there is no image that its answers could be checked on")
        try:
            _check_batch(detector, detector.collate(self._pieces[0]))
            self._logits = self._answers(self._recorded)
        except Unsuitable:
            raise
        except Exception as error:  # whatever a plug-in raises
            raise Unsuitable(f"the detector itself fails: {first_line(error)}") from error
        if not self.inputs:
            raise Unsuitable(_NOT_TENSORS)
        self._others = [(x, logits) for x in self._variants() if (logits := self._in_torch(x)) is not None]

    def check(self, compiled: Callable[[Tensor], Tensor], bound: float) -> float:
        """The largest difference of a logit. Raises Unsuitable where a label is another one, or where a difference is
        larger than bound x max(1, |logit|)."""
        try:
            found = self._answers(compiled)
            with torch.inference_mode():
                others = [(logits, _numpy(compiled(x))) for x, logits in self._others]
        except Exception as error:  # whatever a backend raises
            raise Unsuitable(f"it fails: {first_line(error)}") from error
        difference = _compare(self._logits, found, bound, "images")
        for logits, other in others:
            _compare(logits, other, bound, "images, one alone or of another size")
        return difference

    def _recorded(self, x: Tensor) -> Tensor:
        self.inputs.append(x)
        return self._detector.run_in_torch(x)

    def _answers(self, compiled: Callable[[Tensor], Tensor]) -> NDArray[np.float64]:
        """The detector's logits of all images, computed as a comparison computes them."""
        detector = self._detector
        before, detector.compiled = detector.compiled, compiled
        try:
            with torch.inference_mode():
                batches = (to_device(detector.collate(piece), detector.device) for piece in self._pieces)
                return np.concatenate([_numpy(detector.answer(batch)[0]) for batch in batches])
        finally:
            detector.compiled = before

    def _variants(self) -> list[Tensor]:
        """What an exported graph may have taken for constant: the number of images, and their size."""
        x = self.inputs[0]
        if not has_any_size(self._detector, x):
            return [x[:1]]
        height, width = x.shape[2:]
        return [x[:1], x[:, :, : height - height // 9, : width - width // 5]]

    def _in_torch(self, x: Tensor) -> NDArray[np.float64] | None:
        """Logits, None for what the detector cannot read."""
        try:
            with torch.inference_mode():
                return _numpy(self._detector.run_in_torch(x))
        except Exception:  # whatever a plug-in raises at a size that it never sees
            return None


def _check_batch(detector: Detector, batch: Any) -> None:
    """Raises Unsuitable for a batch that no backend could compute, without computing it: that may take minutes."""
    is_own = type(detector).tensor_logits is not Detector.tensor_logits
    if not takes_backends(type(detector)) or not (is_own or isinstance(batch, Tensor)):
        raise Unsuitable(_NOT_TENSORS)
    if isinstance(batch, Tensor) and batch.dtype != torch.float32:
        raise Unsuitable(f"its batches are of {batch.dtype}, not of torch.float32")


def _numpy(logits: Tensor) -> NDArray[np.float64]:
    return logits.to("cpu", torch.float64).numpy()


def _compare(wanted: NDArray[np.float64], found: NDArray[np.float64], bound: float, what: str) -> float:
    """The largest difference; raises Unsuitable."""
    if found.shape != wanted.shape:
        raise Unsuitable(f"it gives logits of shape {list(found.shape)}, torch of {list(wanted.shape)}")
    turned = int(((found > 0) != (wanted > 0)).sum())
    same = (found == wanted) | (np.isnan(found) & np.isnan(wanted))
    with np.errstate(invalid="ignore"):  # infinities of one sign are the same
        differences = np.where(same, 0.0, np.abs(found - wanted))
    largest = float(np.nan_to_num(differences, nan=np.inf).max())
    too_far = int((~(differences <= bound * np.maximum(1.0, np.abs(wanted)))).sum())
    if turned or too_far:
        raise Unsuitable(
            f"other answers than torch in float32 on {len(wanted)} {what}: {turned} other labels, {too_far} logits "
            f"further off than {bound:g} x max(1, |logit|), the furthest by {largest:.2g}"
        )
    return largest
