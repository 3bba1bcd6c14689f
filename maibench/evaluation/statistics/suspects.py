"""Detectors whose answers are very likely not what they have to be."""

from __future__ import annotations

import pandas as pd

ENOUGH = 32
"""Images from which on logits that never leave [0, 1] are no chance."""


def probability_like(evaluated: pd.DataFrame) -> list[str]:
    """The detectors all of whose logits lie in [0, 1], over at least `ENOUGH` images: they very likely return
    probabilities. One that says the same of every image is not meant.

    evaluated: predictions with `image` and `scored`, of `Split`.
    """
    scored = evaluated[evaluated["scored"]]
    found = []
    for detector, rows in scored.groupby("detector", observed=True):
        low, high = rows["logit"].min(), rows["logit"].max()
        if 0 <= low < high <= 1 and rows["image"].nunique() >= ENOUGH:
            found.append(str(detector))
    return sorted(found)


def suspicion(detector: str) -> str:
    """The sentence about such a detector."""
    return (
        f"{detector}: every logit lies between 0 and 1; if it returns probabilities, return torch.logit(p) instead: "
        "0.5 counts as synthetic here"
    )
