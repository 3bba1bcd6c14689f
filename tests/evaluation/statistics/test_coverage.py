"""Risk against coverage: by hand, against brute force, and its invariants."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from maibench.evaluation.statistics import metrics
from maibench.evaluation.statistics.coverage import accuracy_at_coverage, risk_coverage, unsure_rows
from maibench.evaluation.statistics.evaluated import Evaluated
from maibench.evaluation.statistics.frames import COLUMNS


def evaluated(labels, logits, unsure=None):
    images = pd.DataFrame({
        "path": [f"{i:06d}" for i in range(len(labels))], "label": labels, "generator": "g", "source": "s",
        "own_source": False,
    })  # fmt: skip
    answers = logits if isinstance(logits, dict) else {("d", "none"): np.asarray(logits, dtype=float)}
    return Evaluated(images, answers, unsure=unsure or {})


def test_by_hand_with_ties_and_infinities():
    labels = np.array([1, 0, 1, 0, 1, 0])
    curve = risk_coverage(evaluated(labels, [np.inf, np.inf, 2.0, -2.0, -1.0, np.nan]))
    assert list(curve.columns) == list(COLUMNS["coverage"])
    assert curve.dtypes[["coverage", "n", "accuracy", "score_margin"]].tolist() == [float, int, float, float]
    assert curve["n"].tolist() == [2, 4, 5]
    assert curve["coverage"].tolist() == [0.4, 0.8, 1.0]
    assert curve["accuracy"].tolist() == [0.5, 0.75, 0.6]
    assert curve["score_margin"].tolist() == pytest.approx([0.5, expit(2) - 0.5, expit(1) - 0.5])


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(-9, 9) | st.sampled_from([np.inf, -np.inf])), min_size=1))
def test_every_point_is_the_accuracy_of_the_surest(rows):
    labels, logits = np.array([row[0] for row in rows]), np.array([row[1] for row in rows], dtype=float)
    curve = risk_coverage(evaluated(labels, logits))
    assert len(curve) == min(len(np.unique(np.abs(logits))), 200)
    for point in curve.to_dict("records"):
        surest = expit(np.abs(logits)) - 0.5 >= point["score_margin"] - 1e-15
        assert point["n"] == surest.sum()
        assert point["accuracy"] == pytest.approx(metrics.accuracy(labels[surest], logits[surest]))
    last = curve.iloc[-1]
    assert last["coverage"] == 1
    assert last["accuracy"] == metrics.accuracy(labels, logits)


@pytest.mark.parametrize("n", [1, 7, 199, 200, 201, 1000, 12345])
def test_few_points_at_even_steps(n):
    rng = np.random.default_rng(n)
    labels = rng.integers(0, 2, n)
    curve = risk_coverage(evaluated(labels, rng.permutation(np.arange(1, n + 1))))
    assert len(curve) == min(n, 200)
    assert curve["n"].is_monotonic_increasing and curve["n"].iloc[-1] == n
    assert np.diff(curve["n"], prepend=0).max() <= int(np.ceil(n / 200))


def test_order_of_images_has_no_effect():
    rng = np.random.default_rng(1)
    labels, logits = rng.integers(0, 2, 2000), np.round(rng.normal(size=2000), 2)
    order = rng.permutation(2000)
    pd.testing.assert_frame_equal(
        risk_coverage(evaluated(labels, logits)), risk_coverage(evaluated(labels[order], logits[order]))
    )


def test_table_of_a_few_shares():
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 2, 1000)
    logits = rng.normal(labels * 2 - 1, 1)
    keys = {("b", "none"): logits, ("a", "none"): np.where(labels == 1, logits, np.nan), ("b", "blur:1"): -logits}
    table = accuracy_at_coverage(risk_coverage(evaluated(labels, keys)))
    assert list(table.columns) == ["detector", "perturbation", "share", "coverage", "n", "accuracy"]
    assert table["share"].tolist() == [1.0, 0.9, 0.8, 0.5] * 3
    assert table["detector"].unique().tolist() == ["b", "a"]
    first = table.iloc[:4]
    assert first["n"].tolist() == [1000, 900, 800, 500]
    assert first["coverage"].tolist() == [1.0, 0.9, 0.8, 0.5]
    surest = np.argsort(-np.abs(logits))[:500]
    assert first["accuracy"].iloc[3] == pytest.approx(metrics.accuracy(labels[surest], logits[surest]))


def test_ties_answer_more_than_asked():
    curve = risk_coverage(evaluated(np.array([0, 1, 1, 1]), [3.0, 3, 3, 1]))
    assert accuracy_at_coverage(curve, [0.5, 0.75, 0.8])["n"].tolist() == [3, 3, 4]


def test_what_is_not_there():
    for labels, logits in [(np.array([], dtype=int), {}), (np.array([0]), [np.nan]), (np.array([], dtype=int), [])]:
        curve = risk_coverage(evaluated(labels, logits))
        assert curve.empty and list(curve.columns) == list(COLUMNS["coverage"])
        assert accuracy_at_coverage(curve).empty


def test_unsure_answers_are_counted_among_the_scored():
    keys = {("vlm", "none"): np.array([1.0, np.nan, -1.0]), ("cnn", "none"): np.array([1.0, 2.0, 3.0])}
    table = unsure_rows(evaluated(np.array([0, 1, 1]), keys, {("vlm", "none"): np.array([True, True, False])}))
    assert table.to_dict("records") == [
        {"detector": "vlm", "perturbation": "none", "n_unsure": 1, "n": 2},
        {"detector": "cnn", "perturbation": "none", "n_unsure": 0, "n": 3},
    ]
    assert list(unsure_rows(evaluated(np.array([], dtype=int), {})).columns) == list(COLUMNS["unsure"])
