"""Ranks against Demsar's tables and worked example (JMLR 7, 2006), and against scipy."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import friedmanchisquare, spearmanr

from maibench.evaluation.statistics.frames import COLUMNS, frame
from maibench.evaluation.statistics.ranks import (
    by_generator,
    critical_difference,
    friedman_ranks,
    rank_stability,
    ranks_over_generators,
)

# Demsar 2006, table 6: AUC of C4.5, C4.5+m, C4.5+cf and C4.5+m+cf. He ranks "voting" by more digits than he prints:
# 0.975 and 0.975 are 2 and 3 there.
DEMSAR = pd.DataFrame(
    {
        "adult": [0.763, 0.768, 0.771, 0.798], "breast cancer": [0.599, 0.591, 0.590, 0.569],
        "wisconsin": [0.954, 0.971, 0.968, 0.967], "cmc": [0.628, 0.661, 0.654, 0.657],
        "ionosphere": [0.882, 0.888, 0.886, 0.898], "iris": [0.936, 0.931, 0.916, 0.931],
        "liver": [0.661, 0.668, 0.609, 0.685], "lung": [0.583, 0.583, 0.563, 0.625],
        "lymphography": [0.775, 0.838, 0.866, 0.875], "mushroom": [1.0, 1.0, 1.0, 1.0],
        "tumor": [0.940, 0.962, 0.965, 0.962], "rheum": [0.619, 0.666, 0.614, 0.669],
        "voting": [0.972, 0.981, 0.9751, 0.975], "wine": [0.957, 0.978, 0.946, 0.970],
    },
    index=["C4.5", "C4.5+m", "C4.5+cf", "C4.5+m+cf"],
).T  # fmt: skip


@st.composite
def tables(draw, least_blocks=2, least_detectors=3):
    """Blocks x detectors of tenths, with ties."""
    n, k = draw(st.integers(least_blocks, 8)), draw(st.integers(least_detectors, 6))
    cells = draw(st.lists(st.integers(0, 10), min_size=n * k, max_size=n * k))
    index, columns = [f"block {i}" for i in range(n)], [f"detector {i}" for i in range(k)]
    return pd.DataFrame(np.reshape(cells, (n, k)) / 10, index, columns)


@pytest.mark.parametrize(
    ("k", "q"),
    list(enumerate([1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164], start=2)),
)
def test_critical_values_are_demsars_table_5a(k, q):
    n = 100 * k * (k + 1) / 6  # where the root is 0.1
    assert critical_difference(k, n) * 10 == pytest.approx(q, abs=1e-3)  # his come from tables of three digits


def test_demsars_worked_example():
    table = friedman_ranks(DEMSAR, "data sets", "auc")
    assert list(table.columns) == list(COLUMNS["ranks"])
    assert table["detector"].tolist() == ["C4.5", "C4.5+m", "C4.5+cf", "C4.5+m+cf"]
    assert table["mean_rank"].tolist() == pytest.approx([3.143, 2.000, 2.893, 1.964], abs=5e-4)
    assert table["n_blocks"].tolist() == [14] * 4
    assert table["critical_difference"].iloc[0] == pytest.approx(1.25, abs=5e-3)
    # He prints 9.28, without the correction for ties that scipy makes: 1 - (6 + 6 + 60 + 6) / (14 * 60).
    ties = 1 - (3 * (2**3 - 2) + (4**3 - 4)) / (14 * (4**3 - 4))
    assert table["friedman"].iloc[0] * ties == pytest.approx(9.28, abs=5e-3)
    assert table["friedman"].iloc[0] == pytest.approx(friedmanchisquare(*DEMSAR.to_numpy().T).statistic)
    assert table["p_friedman"].iloc[0] == pytest.approx(friedmanchisquare(*DEMSAR.to_numpy().T).pvalue)


@settings(max_examples=60)
@given(tables())
def test_friedman_is_scipys_and_ranks_add_up(values):
    table = friedman_ranks(values, "generators", "auc")
    k = values.shape[1]
    assert table["mean_rank"].sum() == pytest.approx(k * (k + 1) / 2)
    if values.nunique(axis="columns").max() > 1:
        expected = friedmanchisquare(*values.to_numpy().T)
        assert table["friedman"].iloc[0] == pytest.approx(expected.statistic)
        assert table["p_friedman"].iloc[0] == pytest.approx(expected.pvalue)
    else:
        assert table[["friedman", "p_friedman"]].isna().all(axis=None)
    turned = friedman_ranks(-values, "generators", "auc")
    assert turned["mean_rank"].tolist() == pytest.approx((k + 1 - table["mean_rank"]).tolist())


def test_blocks_with_a_gap_and_detectors_without_a_value_are_left_out():
    values = pd.DataFrame({"a": [0.9, 0.8, math.nan], "b": [0.8, 0.9, 0.7], "none": [math.nan] * 3, "c": [0.1] * 3})
    table = friedman_ranks(values, "generators", "auc")
    assert table["detector"].tolist() == ["a", "b", "c"]
    assert table["n_blocks"].tolist() == [2] * 3
    assert table["mean_rank"].tolist() == [1.5, 1.5, 3]


def test_two_detectors_and_one_block():
    two = friedman_ranks(pd.DataFrame({"a": [0.9, 0.8, 0.9], "b": [0.8, 0.7, 0.9]}), "generators", "auc")
    assert two["mean_rank"].tolist() == pytest.approx([7 / 6, 11 / 6])
    assert two["friedman"].isna().all()
    assert two["critical_difference"].iloc[0] == pytest.approx(1.959964 / math.sqrt(3), abs=1e-4)
    one = friedman_ranks(pd.DataFrame({"a": [0.9], "b": [0.8], "c": [0.7]}), "generators", "auc")
    assert one["mean_rank"].tolist() == [1, 2, 3]
    assert one[["friedman", "p_friedman", "critical_difference"]].isna().all(axis=None)


@pytest.mark.parametrize(
    "values", [{}, {"a": [0.9, 0.8]}, {"a": [], "b": []}, {"a": [0.9, math.nan], "b": [math.nan, 1]}]
)
def test_nothing_to_rank(values):
    table = friedman_ranks(pd.DataFrame(values, dtype="float64"), "generators", "auc")
    assert table.empty and list(table.columns) == list(COLUMNS["ranks"])


@settings(max_examples=60)
@given(tables(), st.randoms(use_true_random=False))
def test_stability_is_scipys_spearman_of_every_two_blocks(values, random):
    values = values.mask(np.array([[random.random() < 0.15 for _ in values] for _ in values.index]))
    table = rank_stability(values, "auc")
    assert len(table) == len(values) * (len(values) - 1) // 2
    for row in table.to_dict("records"):
        a, b = values.loc[row["data_a"]], values.loc[row["data_b"]]
        both = a.notna() & b.notna()
        assert row["n"] == both.sum()
        if both.sum() < 3 or a[both].nunique() == 1 or b[both].nunique() == 1:
            assert math.isnan(row["spearman"])
        else:
            assert row["spearman"] == pytest.approx(spearmanr(a[both], b[both]).statistic, abs=1e-12)


def test_stability_by_hand():
    values = pd.DataFrame([[0.9, 0.8, 0.7], [0.6, 0.5, 0.4], [0.1, 0.2, 0.3]], ["x", "y", "z"], ["a", "b", "c"])
    table = rank_stability(values, "auc")
    assert list(table.columns) == list(COLUMNS["rank_stability"])
    assert table[["data_a", "data_b", "n"]].to_numpy().tolist() == [["x", "y", 3], ["x", "z", 3], ["y", "z", 3]]
    assert table["spearman"].tolist() == pytest.approx([1, -1, -1])
    assert rank_stability(values[["a", "b"]], "auc")["spearman"].isna().all()


@pytest.mark.parametrize("values", [pd.DataFrame(), pd.DataFrame({"a": [0.5]}), pd.DataFrame({"a": [], "b": []})])
def test_stability_of_nothing(values):
    table = rank_stability(values, "auc")
    assert table.empty and list(table.columns) == list(COLUMNS["rank_stability"])


def test_generators_as_blocks():
    rows = [
        {"detector": d, "perturbation": p, "generator": g, "auc": auc}
        for d, p, g, auc in [
            ("z", "none", "g2", 0.9), ("z", "none", "g1", 0.8), ("z", "blur:1", "g2", 0.1), ("a", "none", "g2", 0.7),
            ("a", "none", "g1", 0.6), ("m", "none", "g2", 0.5),
        ]
    ]  # fmt: skip
    per_generator = frame("per_generator", rows)
    values = by_generator(per_generator, "none")
    assert values.columns.tolist() == ["z", "a", "m"] and values.index.tolist() == ["g2", "g1"]
    assert values.loc["g1"].tolist()[:2] == [0.8, 0.6] and math.isnan(values.loc["g1", "m"])
    ranks, stability = ranks_over_generators(per_generator, "none")
    assert ranks["mean_rank"].tolist() == [1, 2, 3] and ranks["n_blocks"].tolist() == [1] * 3
    assert ranks["blocks"].unique().tolist() == ["generators"]
    assert stability["n"].tolist() == [2]
    for nothing in (ranks_over_generators(per_generator, "resize:2"), ranks_over_generators(per_generator[:0], "none")):
        assert all(table.empty for table in nothing)
