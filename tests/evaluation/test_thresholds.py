"""The fitted threshold against brute force, and the rule that applies it."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maibench.evaluation.metrics import balanced_accuracy
from maibench.evaluation.thresholds import accuracy_at, fit_threshold


def sigmoid(logit):
    return 1 / (1 + np.exp(-logit))


def balanced_accuracy_at(labels, logits, cut):
    return balanced_accuracy(labels, logits - cut)


def test_midway_between_the_classes():
    assert fit_threshold(np.array([0, 0, 1, 1]), np.array([-3.0, 1.0, 4.0, 9.0])) == pytest.approx(sigmoid(2.5))


def test_among_equally_good_cuts_the_nearest_to_zero():
    # Cuts at -2.5 and at 0.5 both give (1 + 0.5) / 2; so does none nearer to 0.
    labels, logits = np.array([0, 1, 0, 1]), np.array([-3.0, -2.0, 0.0, 1.0])
    assert fit_threshold(labels, logits) == pytest.approx(sigmoid(0.5))
    assert fit_threshold(labels, logits + 2) == pytest.approx(sigmoid(-0.5))


def test_balanced_accuracy_is_what_counts_not_accuracy():
    # Nine real images to one synthetic: accuracy would call everything real.
    labels = np.array([0] * 9 + [1])
    logits = np.array([0.0] * 6 + [2.0] * 3 + [1.0])
    assert fit_threshold(labels, logits) == pytest.approx(sigmoid(0.5))


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(-8, 8)), min_size=1, max_size=25))
def test_no_cut_is_better_and_none_as_good_is_nearer_to_zero(rows):
    labels, logits = np.array([(0, 0), (1, 3), *rows]).T
    fitted = fit_threshold(labels, logits.astype(float))
    cut = math.log(fitted / (1 - fitted))
    distinct = np.unique(logits)
    cuts = [distinct[0] - 1, *((distinct[1:] + distinct[:-1]) / 2), distinct[-1] + 1]
    values = {c: balanced_accuracy_at(labels, logits, c) for c in cuts}
    best = [c for c, value in values.items() if value > max(values.values()) - 1e-9]
    assert min(abs(c) for c in best) == pytest.approx(abs(cut), abs=1e-6)
    assert balanced_accuracy_at(labels, logits, cut) == pytest.approx(max(values.values()))


def test_row_order_has_no_effect():
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 2, 200)
    logits = rng.normal(labels)
    order = rng.permutation(200)
    assert fit_threshold(labels, logits) == fit_threshold(labels[order], logits[order])


@pytest.mark.parametrize("labels", [[], [0, 0], [1, 1]])
def test_nan_where_a_class_is_missing(labels):
    assert math.isnan(fit_threshold(np.array(labels, dtype=int), np.zeros(len(labels))))


@pytest.mark.parametrize(
    "logits",
    [[-np.inf, 3.0], [2.0, np.inf], [-np.inf, np.inf], [-700.0, -30.0], [-39.0, -37.0], [30.0, 34.0], [20.0, 900.0]],
)
def test_separable_classes_stay_separated_at_the_far_ends(logits):
    labels, logits = np.array([0, 1]), np.array(logits)
    expected = 1.0 if logits.max() > -36 else 0.5  # beyond that all are taken for equally certain
    assert accuracy_at(labels, logits, fit_threshold(labels, logits)) == expected


def test_what_no_probability_can_separate_is_not_claimed():
    labels, logits = np.array([0, 1]), np.array([40.0, 50.0])
    assert accuracy_at(labels, logits, fit_threshold(labels, logits)) == 0.5


def test_one_logit_for_all():
    labels, logits = np.array([0, 1]), np.array([5.0, 5.0])
    assert fit_threshold(labels, logits) == pytest.approx(sigmoid(4.0))


def test_accuracy_at_is_strict_and_compares_in_logits():
    labels = np.array([0, 1, 1, 0])
    assert accuracy_at(labels, np.array([0.0, 1.0, 2.0, -1.0]), 0.5) == 1.0
    assert accuracy_at(labels, np.array([0.0, 1.0, 2.0, -1.0]), sigmoid(1.5)) == 0.75
    # All four scores round to the same double; their logits do not.
    assert accuracy_at(labels, np.array([-800.0, -700.0, -700.0, -900.0]), 0.0) == 0.5
    assert accuracy_at(labels, np.array([36.0, 50.0, 60.0, 36.0]), sigmoid(36.5)) == 1.0


def test_accuracy_at_without_threshold_or_images():
    assert math.isnan(accuracy_at(np.array([0, 1]), np.zeros(2), math.nan))
    assert math.isnan(accuracy_at(np.array([], dtype=int), np.array([]), 0.5))
