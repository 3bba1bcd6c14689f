"""A sample of a list of images."""

from __future__ import annotations

import numpy as np
import pandas as pd


def drawn(rows: pd.DataFrame, limit: int | None, seed: int) -> pd.DataFrame:
    """At most `limit` rows, at random with `seed`: each class of each split in its share; in their own order."""
    if limit is None or len(rows) <= limit:
        return rows
    shuffled = rows.iloc[np.random.default_rng(seed).permutation(len(rows))].groupby(["split", "label"])
    share = (shuffled.cumcount() + 1) / shuffled["path"].transform("size")
    return rows.loc[share.sort_values(kind="stable").index[:limit].sort_values()]
