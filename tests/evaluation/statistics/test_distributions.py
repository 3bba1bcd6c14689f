"""Histograms against numpy's, confusion counts against scikit-learn's."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.metrics import confusion_matrix

from maibench.evaluation.statistics.distributions import confusion, histograms
from maibench.evaluation.statistics.evaluated import Evaluated
from maibench.evaluation.statistics.frames import COLUMNS
from maibench.evaluation.statistics.thresholds import accuracy_at


def evaluated(labels, generators, logits):
    images = pd.DataFrame({
        "path": [f"{i:06d}" for i in range(len(labels))], "label": labels, "generator": generators, "source": "s",
        "own_source": False,
    })  # fmt: skip
    return Evaluated(images, logits)


@pytest.fixture
def sample():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 900)
    generators = np.where(labels == 0, "real", rng.choice(["b", "a"], 900))
    logits = rng.normal(labels * 2 - 1, 3)
    logits[:5], logits[5:8], logits[8:20] = np.inf, -np.inf, np.nan
    return evaluated(labels, generators, {("d", "none"): logits, ("d", "blur:1"): -logits, ("e", "none"): logits / 9})


def test_histograms_are_numpys(sample):
    table = histograms(sample)
    assert list(table.columns) == list(COLUMNS["histograms"])
    assert len(table) == 3 * 3 * 40
    for (detector, perturbation, label, generator), group in table.groupby(
        ["detector", "perturbation", "label", "generator"]
    ):
        chosen = (sample.labels == label) & (sample.images["generator"] == generator).to_numpy()
        logits = sample.logits[detector, perturbation][chosen]
        n, edges = np.histogram(expit(logits[~np.isnan(logits)]), bins=40, range=(0, 1))
        assert group["n"].tolist() == n.tolist()
        assert group["lo"].tolist() == pytest.approx(edges[:-1]) and group["hi"].tolist() == pytest.approx(edges[1:])
    assert table["generator"].unique().tolist() == ["real", "a", "b"]


def test_histogram_of_real_images_whatever_their_generator_is_called():
    table = histograms(evaluated([0, 0, 1], ["camera", "", "real"], {("d", "none"): np.array([-1.0, 1.0, np.inf])}))
    counts = table.groupby(["label", "generator"])["n"].sum().to_dict()
    assert counts == {(0, "real"): 2, (1, "real"): 1}
    assert table[table["label"] == 1]["n"].iloc[-1] == 1


def test_a_generator_that_was_not_scored_has_no_histogram():
    table = histograms(evaluated([0, 1, 1], ["real", "a", "b"], {("d", "none"): np.array([0.0, np.nan, 1.0])}))
    assert table["generator"].unique().tolist() == ["real", "b"]


def test_confusion_is_scikit_learns(sample):
    table = confusion(sample)
    assert list(table.columns) == list(COLUMNS["confusion"])
    assert table.groupby("detector", sort=False).size().to_dict() == {"d": 201, "e": 201}
    labels, logits = sample.scored(("e", "none"))
    for row in table[table["detector"] == "e"].iloc[1:-1:20].to_dict("records"):
        tn, fp, fn, tp = confusion_matrix(labels, expit(logits) > row["threshold"], labels=[0, 1]).ravel()
        assert (row["tp"], row["fp"], row["tn"], row["fn"]) == (tp, fp, tn, fn)


@given(st.lists(st.tuples(st.integers(0, 1), st.floats(-900, 900) | st.sampled_from([np.inf, -np.inf])), min_size=1))
def test_confusion_invariants(rows):
    labels, logits = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    table = confusion(evaluated(labels, "g", {("d", "none"): logits}))
    assert (table["tp"] + table["fn"] == labels.sum()).all()
    assert (table["tn"] + table["fp"] == (1 - labels).sum()).all()
    assert table["tp"].is_monotonic_decreasing and table["fp"].is_monotonic_decreasing
    assert table["threshold"].iloc[[0, 100, 200]].tolist() == [0, 0.5, 1]
    right = (table["tp"] + table["tn"]) / len(labels)
    assert right.tolist() == [accuracy_at(labels, logits, threshold) for threshold in table["threshold"]]


def test_confusion_shows_one_perturbation_and_who_has_it():
    keys = {("d", "none"): np.array([1.0]), ("e", "blur:1"): np.array([1.0]), ("f", "none"): np.array([np.nan])}
    table = confusion(evaluated([1], ["g"], keys))
    assert table["detector"].unique().tolist() == ["d", "f"]
    assert table[table["detector"] == "f"][["tp", "fp", "tn", "fn"]].to_numpy().sum() == 0


def test_what_is_not_there():
    for here in (evaluated([], [], {}), evaluated([1], ["g"], {}), evaluated([1], ["g"], {("d", "none"): [np.nan]})):
        for key, logits in here.logits.items():
            here.logits[key] = np.array(logits)
        table = histograms(here)
        assert table.empty and list(table.columns) == list(COLUMNS["histograms"])
    table = confusion(evaluated([], [], {}))
    assert table.empty and list(table.columns) == list(COLUMNS["confusion"])
