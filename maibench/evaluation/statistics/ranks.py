"""Whether the order of the detectors holds from one generator, or one data set, to the next.

It need not: arXiv 2602.07814 found Spearman correlations of 0.01 to 0.87 between the orders of 23 detectors on pairs
of 12 data sets.
"""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pandas as pd

from maibench.evaluation.statistics.frames import frame

ALPHA = 0.05


def by_generator(per_generator: pd.DataFrame, perturbation: str, metric: str = "auc") -> pd.DataFrame:
    """A metric of per_generator.csv as blocks: a row a generator, a column a detector, both in their order there; NaN
    where a detector lacks one."""
    rows = per_generator[per_generator["perturbation"] == perturbation]
    table = rows.pivot(index="generator", columns="detector", values=metric).astype("float64")
    return table.loc[list(rows["generator"].unique()), list(rows["detector"].unique())]


def ranks_over_generators(per_generator: pd.DataFrame, perturbation: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The frames "ranks" and "rank_stability" of a single run: generators as blocks, by AUC."""
    values = by_generator(per_generator, perturbation)
    return friedman_ranks(values, "generators", "auc"), rank_stability(values, "auc")


def friedman_ranks(values: pd.DataFrame, blocks: str, metric: str) -> pd.DataFrame:
    """The frame "ranks": each detector's mean rank, the Friedman test and Nemenyi's critical difference at 5 %.

    values: blocks x detectors, more is better; detectors without any value and then blocks that lack one are left
    out, n_blocks remain. `blocks` ("generators", "data sets") and `metric` only name them. Rank 1 is the best, ties
    share their mean rank. friedman, p_friedman: scipy's chi-squared statistic, corrected for ties, and its p-value;
    NaN with fewer than three detectors or two blocks, and where all blocks are ties. Mean ranks differ significantly
    where they are critical_difference apart (Demsar 2006, JMLR 7, 1-30); NaN with fewer than two blocks. No rows with
    fewer than two detectors or without a block.
    """
    complete = values.dropna(axis="columns", how="all").dropna()
    n, k = complete.shape
    if k < 2 or n == 0:
        return frame("ranks", [])
    ranks = complete.rank(axis="columns", ascending=False)
    statistic, p = _friedman(ranks.to_numpy())
    shared = {
        "blocks": blocks, "metric": metric, "n_blocks": n, "critical_difference": critical_difference(k, n),
        "friedman": statistic, "p_friedman": p,
    }  # fmt: skip
    return frame("ranks", [shared | {"detector": name, "mean_rank": float(ranks[name].mean())} for name in ranks])


def critical_difference(k: int, n: int, alpha: float = ALPHA) -> float:
    """Nemenyi's q * sqrt(k (k + 1) / (6 n)) for k detectors on n blocks (Demsar 2006, section 3.2.2): q is the
    Studentised range at infinite degrees of freedom divided by sqrt(2). NaN with fewer than two of either."""
    if k < 2 or n < 2:
        return math.nan
    from scipy.stats import studentized_range

    q = studentized_range.ppf(1 - alpha, k, np.inf) / math.sqrt(2)
    return float(q * math.sqrt(k * (k + 1) / (6 * n)))


def rank_stability(values: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The frame "rank_stability": Spearman's rho of the detectors' order between every two blocks.

    values: blocks x detectors, as for `friedman_ranks`. n: detectors that both blocks have; rho is NaN with fewer than
    three of them, and where all of them tie in a block.
    """
    table = values.to_numpy(dtype=np.float64)
    both = (~np.isnan(table)).astype(np.int64)
    n = both @ both.T
    rho = values.T.astype("float64").corr(method="spearman", min_periods=3).to_numpy()
    rows = [
        {
            "metric": metric,
            "data_a": values.index[a],
            "data_b": values.index[b],
            "n": int(n[a, b]),
            "spearman": rho[a, b],
        }
        for a, b in combinations(range(len(values)), 2)
    ]
    return frame("rank_stability", rows)


def _friedman(ranks: np.ndarray) -> tuple[float, float]:
    """Statistic and p-value of blocks x detectors."""
    n, k = ranks.shape
    if n < 2 or k < 3 or np.all(ranks == ranks[:, :1]):
        return math.nan, math.nan
    from scipy.stats import friedmanchisquare

    found = friedmanchisquare(*ranks.T)
    return float(found.statistic), float(found.pvalue)
