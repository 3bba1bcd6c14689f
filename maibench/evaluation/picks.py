"""Which images are worth a look: the most confident mistakes of every detector, and those that detectors disagree on
most. Needs no torch and no images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from maibench.evaluation.statistics.evaluated import Evaluated, Floats, Mask


@dataclass(frozen=True)
class Reason:
    """Why an image is shown. detector: whose mistake it is, None for a disagreement. rank: 0 for the strongest of its
    kind."""

    kind: Literal["mistake", "disagreement"]
    detector: str | None
    text: str
    rank: int


@dataclass(frozen=True)
class Pick:
    """An image of the gallery. scores: P(synthetic) of every detector, None where it did not score."""

    path: str
    label: int
    generator: str
    why: tuple[Reason, ...]
    scores: dict[str, float | None]


def select(evaluated: Evaluated, each: int) -> list[Pick]:
    """The images that are worth a look, under the perturbation `evaluated.shown`.

    For every detector the `each` most confident mistakes on real and on synthetic images (the largest |logit| first),
    then the `each` images with the largest spread of P between detectors; ties in the order of paths. An image that
    several reasons name is listed once, where it was named first.
    """
    from scipy.special import expit

    shown = evaluated.shown
    logits = {name: evaluated.logits[name, shown] for name in evaluated.detectors if (name, shown) in evaluated.logits}
    scores = {name: expit(values) for name, values in logits.items()}
    reasons: dict[int, list[Reason]] = {}
    for name, values in logits.items():
        for label in (0, 1):
            wrong = (evaluated.labels == label) & ~np.isnan(values) & ((values > 0) != label)
            for rank, image in enumerate(_largest(np.abs(values), wrong, each)):
                generator = str(evaluated.images["generator"].iloc[image])
                text = _mistake(name, label, generator, scores[name][image])
                reasons.setdefault(image, []).append(Reason("mistake", name, text, rank))
    if len(scores) > 1:
        spread = _spread(np.stack(list(scores.values())))
        for rank, image in enumerate(_largest(spread, spread > 0, each)):
            text = _disagreement({name: values[image] for name, values in scores.items()})
            reasons.setdefault(image, []).append(Reason("disagreement", None, text, rank))
    return [_pick(evaluated, image, tuple(why), scores) for image, why in reasons.items()]


def _largest(strength: Floats, mask: Mask, most: int) -> list[int]:
    """The places of the `most` largest values of `strength` (n,) within `mask`, the first of equal ones first."""
    places = np.flatnonzero(mask)
    return places[np.argsort(-strength[places], kind="stable")][:most].tolist()


def _spread(scores: NDArray[np.float64]) -> Floats:
    """(detectors, n) scores with NaN -> (n,): the largest minus the smallest; 0 where fewer than two scored."""
    known = ~np.isnan(scores)
    spread = np.where(known, scores, -np.inf).max(0) - np.where(known, scores, np.inf).min(0)
    return np.where(known.sum(0) > 1, spread, 0.0)


def probability(score: float) -> str:
    """A probability in two digits, but never a certainty that was not there."""
    if 0 < score < 0.005:
        return "< 0.01"
    return "> 0.99" if 0.995 <= score < 1 else f"{score:.2f}"


def _p(score: float) -> str:
    text = probability(score)
    return f"P {text}" if text[0] in "<>" else f"P = {text}"


def _mistake(detector: str, label: int, generator: str, score: float) -> str:
    what = f"synthetic ({generator}), called real" if label else "real, called synthetic"
    return f"{what} by {detector}: {_p(score)}"


def _disagreement(scores: dict[str, float]) -> str:
    known = {name: score for name, score in scores.items() if not np.isnan(score)}
    low, high = min(known, key=known.__getitem__), max(known, key=known.__getitem__)
    return f"detectors disagree: {_p(known[low])} ({low}), {_p(known[high])} ({high})"


def _pick(evaluated: Evaluated, image: int, why: tuple[Reason, ...], scores: dict[str, Floats]) -> Pick:
    row = evaluated.images.iloc[image]
    known = {name: None if np.isnan(values[image]) else float(values[image]) for name, values in scores.items()}
    return Pick(str(row["path"]), int(row["label"]), str(row["generator"]), why, known)
