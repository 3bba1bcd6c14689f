"""A finding made of what numbers tell of the label."""

from __future__ import annotations

import math

from maibench.evaluation.audit.parts import Finding
from maibench.evaluation.audit.telling import Telling


def as_finding(name: str, found: str, says: str, todo: str, told: Telling) -> Finding:
    """A finding with the AUC and its interval, as far as there are any. found: its light."""
    value, lo, hi = (None if math.isnan(number) else number for number in (told.auc, told.lo, told.hi))
    return Finding(name, found, says, todo, value, lo, hi)


def auc_text(told: Telling) -> str:
    """ "AUC 0.612 [0.580, 0.644]"."""
    return f"AUC {told.auc:.3f} [{told.lo:.3f}, {told.hi:.3f}]"
