"""Checks of what a detector answers."""

from __future__ import annotations

import numpy as np

from maibench.evaluation.conformance.findings import Verdict
from maibench.evaluation.conformance.subject import Subject
from maibench.evaluation.statistics.suspects import ENOUGH


def answers(subject: Subject, seconds: float) -> Verdict:
    """Ask about every image by itself: one logit each."""
    subject.begin(seconds)
    count = len(subject.images)
    if subject.refused:
        return "advice", f"{len(subject.refused)} of {count + len(subject.refused)} images are refused: " + (
            subject.refused[0]
        )
    return "ok", f"a logit for each of {count} images" + _range(subject)


def finite(subject: Subject) -> Verdict:
    """No NaN, no infinity."""
    wrong = int((~np.isfinite(subject.logits)).sum())
    if wrong:
        return "failed", f"{wrong} of {len(subject.logits)} logits are NaN or infinite; every image needs a number"
    return "ok", "no NaN, no infinity"


def repeats(subject: Subject) -> Verdict:
    """The same image twice."""
    again = np.concatenate([subject.ask([subject.item(image)]) for image in subject.images])
    apart = float(subject.differences(again).max())
    bound = subject.tolerance if subject.detector.elsewhere else 1e-6
    if apart > bound:
        return "failed", (
            f"the same image has another logit the second time, by {apart:.2g}: what is random needs a fixed seed, "
            "dropout and batch normalisation evaluation mode"
        )
    return "ok", "the same image has the same logit" + (f", within {apart:.1g}" if apart else "")


def batches(subject: Subject) -> Verdict:
    """All images at once, the last first."""
    items = [subject.item(image) for image in reversed(subject.images)]
    apart = float(subject.differences(subject.ask(items)[::-1]).max())
    if apart > subject.tolerance:
        return "failed", (
            f"in a batch of {len(items)} a logit differs from that of the image alone by {apart:.2g} x max(1, |logit|):"
            " images of one batch must not see each other, and must keep their order"
        )
    return "ok", f"a batch of {len(items)} has the logits of single images, within {apart:.1g}"


def not_probabilities(subject: Subject) -> Verdict:
    """Logits leave [0, 1]."""
    logits = subject.logits[np.isfinite(subject.logits)]
    if not len(logits):
        return "failed", "no logit is a number"
    if not (logits.min() >= 0 and logits.max() <= 1):
        return "ok", "logits leave the range of probabilities"
    if logits.min() == logits.max() and len(logits) > 1:
        return "advice", f"all {len(logits)} logits are {logits[0]:g}; has it weights?"
    if len(logits) < ENOUGH:
        return "advice", f"all {len(logits)} logits lie between 0 and 1, of too few images to tell if that is chance"
    return "failed", (
        f"all {len(logits)} logits lie between 0 and 1; if they are probabilities, return torch.logit(p) instead: 0.5 "
        "counts as synthetic here"
    )


def _range(subject: Subject) -> str:
    finite = subject.logits[np.isfinite(subject.logits)]
    return f", from {finite.min():.3g} to {finite.max():.3g}" if len(finite) else ""
