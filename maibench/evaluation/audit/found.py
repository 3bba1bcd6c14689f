"""A finding made of what numbers tell of the label, in the same words wherever it is."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from maibench.evaluation.audit.parts import Finding
from maibench.evaluation.audit.telling import CHANCE, LIMIT, LITTLE, MUCH, Telling, light
from maibench.evaluation.statistics.bootstrap import MIN_SOURCES

TELLS = frozenset({"red", "yellow"})
"""The lights of what surely tells the label."""
RARE = 0.01
"""What so few images of a class have, and none of the other, may be chance."""


def as_finding(name: str, found: str, says: str, todo: str, told: Telling) -> Finding:
    """A finding with the AUC and its interval, as far as there are any. found: its light."""
    value, lo, hi = (None if math.isnan(number) else number for number in (told.auc, told.lo, told.hi))
    return Finding(name, found, says, todo, value, lo, hi)


def auc_text(told: Telling) -> str:
    """ "AUC 0.612 [0.580, 0.644]"."""
    return f"AUC {told.auc:.3f} [{told.lo:.3f}, {told.hi:.3f}]"


def telling_text(told: Telling, limit: float = LIMIT, verb: str = "tells") -> str:
    """ "tells the label a little: AUC 0.612 [0.580, 0.644]": how much, by the AUC alone; that it cannot be told, where
    the light is grey. verb: "tells", or "tell" of several things."""
    if math.isnan(told.lo):
        return f"could not be measured: {told.reason}"
    if light(told, limit) == "grey":
        return f"cannot be told with {told.n_sources:,} sources: {auc_text(told)}"
    auc, lo = round(told.auc, 3), round(told.lo, 3)
    if auc <= CHANCE:
        words = f"{'does' if verb == 'tells' else 'do'} not tell the label"
    elif auc < LITTLE:
        words = f"hardly {verb} the label"
    else:
        words = f"{verb if lo > CHANCE else 'may tell'} the label{' a little' if auc < MUCH else ''}"
    return f"{words}: {auc_text(told)}"


def exclusive(there: np.ndarray, labels: np.ndarray, sources: np.ndarray) -> str:
    """Which class alone has what is `there` (n,): "real", "synthetic"; "" where both or none have it, or so few images
    (RARE) or sources (MIN_SOURCES) that it may be chance."""
    for label, name in enumerate(("real", "synthetic")):
        own = labels == label
        having = there & own
        if having.any() and not (there & ~own).any():
            often = having.sum() >= RARE * own.sum() and len(pd.unique(sources[having])) >= MIN_SOURCES
            return name if often else ""
    return ""
