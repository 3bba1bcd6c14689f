"""Checks of what a detector does with images that it may not expect, and to those that it is given."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from maibench.datasets.image import ImageFile, decode_file
from maibench.errors import ImageError
from maibench.evaluation.conformance.findings import Verdict, first_line
from maibench.evaluation.conformance.probes import Pixels, flat_images, odd_images
from maibench.evaluation.conformance.subject import Subject
from maibench.models.base import Detector
from maibench.models.device import to_device


def odd_sizes(subject: Subject) -> Verdict:
    """Tiny, long and narrow images: a logit, or an ImageError."""
    return _any_of(subject, odd_images(), "raise maibench.errors.ImageError for what cannot be read")


def flat(subject: Subject) -> Verdict:
    """Images without any structure."""
    return _any_of(subject, flat_images(), "a deviation or a norm of 0 is often divided by")


def untouched(subject: Subject) -> Verdict:
    """The pixels are shared with other detectors."""
    if subject.detector.reads == "file":
        return "ok", "reads the file, which cannot be changed"
    pixels = decode_file(subject.images[0])
    before = pixels.copy()
    subject.ask([subject.detector.preprocess(pixels)])
    if not np.array_equal(pixels, before):
        return "failed", "changes the pixels that it is given, which all detectors share: copy them first"
    return "ok", "the image that it is given stays as it is"


def differentiable(subject: Subject) -> Verdict:
    """`differentiable` gives what `preprocess` gives, and lets gradients through."""
    detector = subject.detector
    if detector.reads == "file" or detector.elsewhere:
        return "ok", "not needed: there are no pixels here that an attack could change"
    if type(detector).differentiable is Detector.differentiable:
        return "advice", "no differentiable(pixels): attacks (--perturb attack:fgsm:2) cannot be made on it"
    items, expected = [], subject.logits[:2]
    for image in subject.images[:2]:
        items.append(detector.differentiable(_floats(decode_file(image), subject)))
    apart = float(subject.differences(subject.ask(items)).max())
    if apart > subject.tolerance:
        return "failed", f"differentiable leads to other logits than preprocess, by {apart:.2g} x max(1, |logit|)"
    pixels = _floats(decode_file(subject.images[0]), subject).requires_grad_()
    batch = to_device(detector.collate([detector.differentiable(pixels)]), detector.device)
    logit = detector(batch).sum()
    gradient = torch.autograd.grad(logit, pixels, allow_unused=True)[0] if logit.requires_grad else None
    if gradient is None or not torch.isfinite(gradient).all():
        return "failed", "no gradient reaches the pixels through differentiable and forward"
    return "ok", f"the logits of preprocess on {len(expected)} images, and a gradient for every pixel"


def _floats(pixels: Pixels, subject: Subject) -> torch.Tensor:
    return torch.tensor(pixels.transpose(2, 0, 1), dtype=torch.float32, device=subject.detector.device)


def _any_of(subject: Subject, images: Mapping[str, ImageFile], hint: str) -> Verdict:
    refused: list[str] = []
    wrong: list[str] = []
    scored: list[str] = []
    for name, image in images.items():
        try:
            logit = subject.ask([subject.item(image)])[0]
        except ImageError:
            refused.append(name)
        except Exception as error:  # somebody else's code: whatever it raises is told
            wrong.append(f"{name}: {first_line(error, type(subject.detector))}")
        else:
            (scored if np.isfinite(logit) else wrong).append(name if np.isfinite(logit) else f"{name}: logit {logit}")
    if wrong:
        return "failed", f"{'; '.join(wrong)} ({hint})"
    parts = [f"a logit for {', '.join(scored)}"] if scored else []
    parts += [f"an ImageError for {', '.join(refused)}"] if refused else []
    return "ok", "; ".join(parts)
