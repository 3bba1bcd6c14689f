"""Adversarial attacks as perturbations: white-box on one detector, in the pixels that every detector then sees.

The attacks are those of the Adversarial Robustness Toolbox (ART, Nicolae et al. 2018, arXiv 1807.01069): the fast
gradient sign method (Goodfellow et al. 2014, arXiv 1412.6572) and projected gradient descent (Madry et al. 2017, arXiv
1706.06083), in the L-infinity norm, untargeted: a real photograph is made to look synthetic, a synthetic one real.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from maibench.cores import one_core
from maibench.datasets.attack_names import AttackName, parse_attack
from maibench.errors import MaibenchError
from maibench.models.base import Detector
from maibench.models.device import to_device
from maibench.models.loading import fingerprint

Pixels = NDArray[np.uint8]

VERSION = 2
"""Raise it when attacked images change, so that they are scored afresh."""
PGD_STEPS = 10
PGD_STEP_SHARE = 1 / 4
"""The size of one step of PGD, in eps."""


@dataclass(frozen=True, eq=False)
class Attack:
    """An attack on one detector. attack: method, eps, and the label of the detector. fingerprint: the detector's."""

    attack: AttackName
    detector: Detector
    fingerprint: str

    @property
    def name(self) -> str:
        """As tables show it: attack:pgd:4@bailu."""
        return str(self.attack)

    def __call__(self, pixels: Pixels, image_id: str, label: int) -> Pixels:
        """uint8 height x width x 3 -> the same shape and type, read-only, no value further than eps from its own.

        image_id: seeds PGD's start, drawn uniformly within eps. label: what the image is, 0 or 1; the attack makes the
        detector's loss on it larger. Images are attacked one by one, each by one core, as images are prepared side by
        side: so the result depends neither on the batch nor on the number of cores (on a GPU it is as repeatable as the
        GPU's own kernels).
        Raises ImageError for an image that the detector cannot read, and what a plug-in's code raises.
        """
        eps = self.attack.eps
        original = pixels.astype(np.float32).transpose(2, 0, 1)[None]
        low, high = np.maximum(original - eps, 0), np.minimum(original + eps, 255)
        method = _method(self.attack, _estimator_class()(self.detector, low, high))
        start = original
        if self.attack.method == "pgd":
            start = _random_between(low, high, f"{image_id}:{self.attack.request}")
        turn = _one_at_a_time if self.detector.device.type != "cpu" else nullcontext()
        with turn, one_core():
            attacked = method.generate(x=start, y=np.array([label], dtype=np.int64))
        # what the detector does not look at stays: the random start would be noise there
        attacked = np.where(method.estimator.looked_at, attacked, original)
        result = np.ascontiguousarray(attacked[0].transpose(1, 2, 0).round().astype(np.uint8))
        result.setflags(write=False)
        return result


def attackable(detector: Detector) -> bool:
    """Whether gradients can reach the pixels that this detector sees."""
    return detector.reads == "pixels" and type(detector).differentiable is not Detector.differentiable


def make_attacks(requests: Iterable[str], detectors: Mapping[str, Detector]) -> dict[str, list[Attack]]:
    """`attack:pgd:4`, ... -> for each request, one Attack for each detector (by label) that can be attacked.

    Raises MaibenchError where none can, with what a detector lacks, and where ART is not installed.
    """
    names = {request: parse_attack(request) for request in requests}
    if not names:
        return {}
    targets = {label: detector for label, detector in detectors.items() if attackable(detector)}
    if not targets:
        label, detector = next(((d, x) for d, x in detectors.items() if x.reads == "pixels"), ("", None))
        reason = "none of the detectors sees pixels" if detector is None else _what_is_missing(label, detector)
        raise MaibenchError(f"{next(iter(names))}: no detector of this run can be attacked: {reason}")
    _check_art()
    codes = {label: fingerprint(detector) for label, detector in targets.items()}
    return {
        request: [
            Attack(AttackName(name.method, name.eps, label), detector, codes[label])
            for label, detector in targets.items()
        ]
        for request, name in names.items()
    }


def _what_is_missing(label: str, detector: Detector) -> str:
    try:
        detector.differentiable(torch.zeros(3, 1, 1))
    except MaibenchError as error:
        return f"{label}: {error}"
    return f"{label}: its differentiable is the base class's"


def art_version() -> str:
    """Of the installed toolbox: another one may make other images."""
    return metadata.version("adversarial-robustness-toolbox")


def _check_art() -> None:
    if find_spec("art") is None or find_spec("art.attacks") is None:
        raise MaibenchError(
            "attacks need the Adversarial Robustness Toolbox, which is not installed: pip install 'maibench[attack]'"
        )
    _estimator_class()  # imported here, once, not by several threads


def _method(attack: AttackName, estimator: Any) -> Any:
    from art.attacks.evasion import FastGradientMethod, ProjectedGradientDescentNumpy

    eps = float(attack.eps)
    if attack.method == "fgsm":
        return FastGradientMethod(estimator, norm=np.inf, eps=eps, eps_step=eps, batch_size=1)
    # ART projects onto a ball around the start, which the seed has moved: the estimator's limits are the ball around
    # the image, and twice eps reaches all of it from any start
    return ProjectedGradientDescentNumpy(
        estimator,
        norm=np.inf,
        eps=2 * eps,
        eps_step=eps * PGD_STEP_SHARE,
        max_iter=PGD_STEPS,
        num_random_init=0,  # drawn here: ART draws from numpy's global generator, which threads share
        batch_size=1,
        verbose=False,
    )


def _random_between(low: NDArray[np.float32], high: NDArray[np.float32], key: str) -> NDArray[np.float32]:
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "little")
    return np.random.Generator(np.random.PCG64(seed)).uniform(low, high).astype(np.float32)


_one_at_a_time = threading.Lock()
"""On an accelerator several passes at once gain nothing, and may need more memory than it has."""


@cache
def _estimator_class() -> Any:
    """A detector as ART sees it: floats in [0, 255] in, gradients with respect to them out."""
    from art.estimators import BaseEstimator, LossGradientsMixin

    class PixelEstimator(LossGradientsMixin, BaseEstimator):
        def __init__(self, detector: Detector, low: NDArray[np.float32], high: NDArray[np.float32]) -> None:
            super().__init__(model=detector, clip_values=(low, high), preprocessing=None)
            self.looked_at = np.zeros(low.shape, dtype=bool)

        def loss_gradient(self, x: NDArray[np.float32], y: NDArray[np.int64], **_: Any) -> NDArray[np.float32]:
            gradient = pixel_gradient(self.model, x[0], int(y[0]))[None]
            self.looked_at |= gradient != 0
            return gradient

        def predict(self, x: NDArray[np.float32], **_: Any) -> NDArray[np.float32]:
            raise NotImplementedError("labels are given, so that no attack predicts")

        def fit(self, x: Any, y: Any, **_: Any) -> None:
            raise NotImplementedError("a detector is not fitted by an attack")

        @property
        def input_shape(self) -> tuple[int, ...]:
            return tuple(self.clip_values[0].shape[1:])

    return PixelEstimator


def pixel_gradient(detector: Detector, pixels: NDArray[np.float32], label: int) -> NDArray[np.float32]:
    """Gradient of a detector's loss on `label` with respect to pixels (3, h, w) in [0, 255].

    The loss is the logit against the label, -logit for 1 and logit for 0: the sign of its gradient, all that these
    attacks use, is that of the cross-entropy's, and it does not vanish where the detector is very sure.
    Nothing of the detector is changed, no `.grad` of its parameters either, so threads may share it.
    """
    with torch.inference_mode(False), torch.enable_grad():
        given = torch.from_numpy(np.ascontiguousarray(pixels)).to(detector.device).requires_grad_()
        batch = to_device(detector.collate([detector.differentiable(given)]), detector.device)
        logit = detector(batch).sum()
        (gradient,) = torch.autograd.grad(logit if label == 0 else -logit, given)
    return gradient.to("cpu", torch.float32).numpy()
