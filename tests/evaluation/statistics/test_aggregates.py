"""Seen against unseen generators, and the spread over generators, against plain pandas."""

import math
import statistics

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maibench.evaluation.statistics import metrics
from maibench.evaluation.statistics.aggregates import over_generators, seen_and_unseen, spread
from maibench.evaluation.statistics.evaluated import Evaluated
from maibench.evaluation.statistics.frames import COLUMNS, empty, frame


@pytest.fixture
def sample():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 600)
    generators = np.where(labels == 0, "real", rng.choice(["a", "b", "c"], 600))
    images = pd.DataFrame({
        "path": [f"{i:04d}" for i in range(600)], "label": labels, "generator": generators, "source": "s",
        "own_source": False,
    })  # fmt: skip
    logits = rng.normal(labels * 2 - 1, 1)
    lacking = np.where((generators == "c") | (rng.random(600) < 0.1), np.nan, logits)
    keys = {("d", "none"): logits, ("d", "blur:1"): lacking, ("silent", "none"): logits, ("all", "none"): logits}
    seen = {"d": frozenset({"a"}), "silent": None, "all": frozenset({"a", "b", "c"})}
    return Evaluated(images, keys, seen=seen)


def test_generators_of_the_card_against_the_others(sample):
    table = seen_and_unseen(sample, empty("intervals"))
    assert list(table.columns) == list(COLUMNS["aggregates"])
    found = list(zip(table["detector"], table["perturbation"], table["group"], table["n_generators"], strict=True))
    assert found == [
        ("d", "none", "seen", 1), ("d", "none", "unseen", 2), ("d", "blur:1", "seen", 1), ("d", "blur:1", "unseen", 1),
        ("all", "none", "seen", 3),
    ]  # fmt: skip
    for row in table.to_dict("records"):
        names = {"a"} if row["group"] == "seen" else {"b", "c"}
        names = {"a", "b", "c"} if row["detector"] == "all" else names
        logits = sample.logits[row["detector"], row["perturbation"]]
        chosen = ((sample.labels == 0) | sample.images["generator"].isin(names).to_numpy()) & ~np.isnan(logits)
        labels, logits = sample.labels[chosen], logits[chosen]
        assert (row["n_real"], row["n_synthetic"]) == ((labels == 0).sum(), (labels == 1).sum())
        for name in ("accuracy", "balanced_accuracy", "tpr", "tnr", "auc", "ap"):
            assert row[name] == getattr(metrics, name)(labels, logits)
    assert table[["accuracy_lo", "accuracy_hi", "auc_lo", "auc_hi"]].isna().all(axis=None)


def test_bounds_come_from_the_intervals(sample):
    key = {"detector": "d", "perturbation": "none", "value": 0.5, "interval": "bootstrap"}
    intervals = frame("intervals", [
        key | {"generator": "seen", "metric": "auc", "lo": 0.1, "hi": 0.2},
        key | {"generator": "unseen", "metric": "accuracy", "lo": 0.3, "hi": 0.4},
        key | {"generator": "all", "metric": "auc", "lo": 0.5, "hi": 0.6},
        key | {"generator": "seen", "metric": "ap", "lo": 0.7, "hi": 0.8},
    ])  # fmt: skip
    table = seen_and_unseen(sample, intervals).set_index(["detector", "perturbation", "group"])
    seen, unseen = table.loc[("d", "none", "seen")], table.loc[("d", "none", "unseen")]
    assert (seen["auc_lo"], seen["auc_hi"]) == (0.1, 0.2)
    assert (unseen["accuracy_lo"], unseen["accuracy_hi"]) == (0.3, 0.4)
    assert math.isnan(seen["accuracy_lo"]) and math.isnan(unseen["auc_hi"])
    assert math.isnan(table.loc[("d", "blur:1", "seen"), "auc_lo"])


def test_seen_by_a_detector_that_scored_nothing():
    images = pd.DataFrame({"path": ["0", "1"], "label": [0, 1], "generator": ["real", "a"], "source": "s",
                           "own_source": False})  # fmt: skip
    here = Evaluated(images, {("d", "none"): np.full(2, np.nan)}, seen={"d": frozenset({"a"})})
    table = seen_and_unseen(here, empty("intervals"))
    assert table[["group", "n_generators", "n_real", "n_synthetic"]].to_numpy().tolist() == [["seen", 0, 0, 0]]
    assert table[["accuracy", "auc"]].isna().all(axis=None)
    nothing = seen_and_unseen(Evaluated(images[:0], {}), empty("intervals"))
    assert nothing.empty and list(nothing.columns) == list(COLUMNS["aggregates"])


def per_generator(rows):
    return frame("per_generator", [
        {"detector": d, "perturbation": p, "generator": g, "auc": auc, "balanced_accuracy": 0.5, "tpr": tpr}
        for d, p, g, auc, tpr in rows
    ])  # fmt: skip


def test_spread_over_generators():
    table = over_generators(per_generator([
        ("z", "none", "a", 0.9, 0.2), ("z", "none", "b", 0.6, 0.2), ("z", "none", "c", 0.75, math.nan),
        ("a", "none", "a", 0.8, math.nan),
    ]))  # fmt: skip
    assert list(table.columns) == list(COLUMNS["spread"])
    assert list(zip(table["detector"], table["metric"], strict=True)) == [
        ("z", "auc"), ("z", "balanced_accuracy"), ("z", "tpr"), ("a", "auc"), ("a", "balanced_accuracy"),
    ]  # fmt: skip
    first = table.iloc[0]
    assert first["n"] == 3 and first["mean"] == pytest.approx(0.75) and first["sd"] == pytest.approx(0.15)
    assert (first["worst"], first["worst_name"], first["best"], first["over"]) == (0.6, "b", 0.9, "generators")
    ties = table.iloc[2]
    assert (ties["n"], ties["worst_name"], ties["sd"]) == (2, "", 0)
    alone = table.iloc[3]
    assert alone["n"] == 1 and math.isnan(alone["sd"]) and alone["worst"] == alone["best"] == 0.8


@given(st.lists(st.floats(0, 1), min_size=2))
def test_spread_is_what_the_standard_library_says(values):
    found = spread(pd.Series(values, index=[f"g{i}" for i in range(len(values))]))
    assert found["mean"] == pytest.approx(statistics.fmean(values))
    assert found["sd"] == pytest.approx(statistics.stdev(values), abs=1e-12)
    assert found["worst"] == min(values)
    assert found["worst_name"] == ("" if min(values) == max(values) else f"g{values.index(min(values))}")
    assert found["best"] == max(values)


def test_spread_of_nothing():
    assert spread(pd.Series([math.nan], index=["a"]))["n"] == 0
    for rows in ([], [("d", "none", "a", math.nan, math.nan)]):
        table = over_generators(per_generator(rows).assign(balanced_accuracy=math.nan))
        assert table.empty and list(table.columns) == list(COLUMNS["spread"])
