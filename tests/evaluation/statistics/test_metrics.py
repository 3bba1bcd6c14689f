"""Every metric against an independent implementation or a closed form."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu, norm

from maibench.evaluation.statistics import metrics

KEYS = [
    "accuracy", "balanced_accuracy", "tpr", "tnr", "auc", "ap", "eer", "tpr_at_fpr_1", "tpr_at_fpr_5", "ece", "brier",
    "nll",
]  # fmt: skip


@pytest.fixture
def sample():
    """300 real and 200 synthetic images, logits in steps of 0.1 so that there are ties."""
    rng = np.random.default_rng(1)
    labels = np.repeat([0, 1], [300, 200])
    return labels, np.round(rng.normal(labels * 1.5 - 0.5, 1.0), 1)


@st.composite
def scored(draw):
    """Labels of both classes and integer logits, with ties."""
    labels = [0, 1, *draw(st.lists(st.integers(0, 1), max_size=30))]
    logits = draw(st.lists(st.integers(-6, 6), min_size=len(labels), max_size=len(labels)))
    return np.array(labels), np.array(logits, dtype=float)


def pairs_won(labels, logits):
    difference = logits[labels == 1][:, None] - logits[labels == 0][None, :]
    return np.mean((difference > 0) + 0.5 * (difference == 0))


def test_rates_by_hand():
    labels = np.array([0, 0, 0, 0, 1, 1])
    logits = np.array([-1.0, -2.0, 0.0, 3.0, 0.5, -0.5])  # a logit of exactly 0 is real
    assert metrics.accuracy(labels, logits) == pytest.approx(4 / 6)
    assert metrics.tpr(labels, logits) == 0.5
    assert metrics.tnr(labels, logits) == 0.75
    assert metrics.balanced_accuracy(labels, logits) == 0.625


def test_auc_is_the_mann_whitney_statistic(sample):
    labels, logits = sample
    u = mannwhitneyu(logits[labels == 1], logits[labels == 0]).statistic
    assert metrics.auc(labels, logits) == pytest.approx(u / (300 * 200), abs=1e-12)


@given(scored())
def test_auc_counts_pairs(data):
    assert metrics.auc(*data) == pytest.approx(pairs_won(*data), abs=1e-12)


@given(scored())
def test_auc_of_flipped_labels_is_one_minus_it(data):
    labels, logits = data
    assert metrics.auc(1 - labels, logits) == pytest.approx(1 - metrics.auc(labels, logits), abs=1e-12)


@settings(max_examples=30)
@given(scored(), st.randoms(use_true_random=False))
def test_rank_metrics_see_only_the_order(data, random):
    labels, logits = data
    order = list(range(len(labels)))
    random.shuffle(order)
    for metric in (metrics.auc, metrics.ap, metrics.eer):
        assert metric(labels[order], np.exp(logits / 2)[order] + 7) == pytest.approx(metric(labels, logits), abs=1e-12)


def test_rank_metrics_use_logits_where_a_sigmoid_saturates():
    labels, logits = np.array([0, 0, 1, 1]), np.array([50.0, 60.0, 70.0, np.inf])
    assert metrics.auc(labels, logits) == metrics.ap(labels, logits) == 1.0
    assert metrics.eer(labels, logits) == 0.0


def test_ap_by_hand():
    # From the top: synthetic (precision 1/1), real, synthetic (2/3), real, synthetic (3/5); recall grows by 1/3 each.
    labels, logits = np.array([1, 0, 1, 0, 1]), np.array([5.0, 4.0, 3.0, 2.0, 1.0])
    assert metrics.ap(labels, logits) == pytest.approx((1 + 2 / 3 + 3 / 5) / 3)


def test_ap_takes_ties_as_one_step():
    assert metrics.ap(np.array([1, 0, 0, 1]), np.zeros(4)) == 0.5


@pytest.mark.parametrize("distance", [0.5, 2.0, 3.0])
def test_eer_of_two_gaussians(distance):
    quantiles = norm.ppf((np.arange(5000) + 0.5) / 5000)
    labels, logits = np.repeat([0, 1], 5000), np.concatenate([quantiles, quantiles + distance])
    assert metrics.eer(labels, logits) == pytest.approx(norm.cdf(-distance / 2), abs=2e-4)


def test_eer_interpolates_between_thresholds():
    # The curve's points are (0, 0), (0, 1/3), (1, 1): the line FPR = 1 - TPR is met at 0.4.
    assert metrics.eer(np.array([1, 0, 1, 1]), np.array([2.0, 1.0, 1.0, 1.0])) == pytest.approx(0.4)


@pytest.mark.parametrize("percent", [1, 5])
def test_tpr_at_fpr_is_the_best_of_all_thresholds(sample, percent):
    labels, logits = sample
    real, synthetic = logits[labels == 0], logits[labels == 1]
    best = 0.0
    for threshold in logits:
        if np.sum(real >= threshold) * 100 <= percent * len(real):
            best = max(best, np.mean(synthetic >= threshold))
    assert 0 < best < 1
    assert metrics.tpr_at_fpr(labels, logits, percent) == pytest.approx(best)


def test_tpr_at_fpr_allows_a_rate_of_exactly_that():
    # One of 100 real images above all synthetic ones: at 1 % it may be given up.
    labels = np.repeat([0, 1], [100, 4])
    logits = np.concatenate([[9.0], np.full(99, -5.0), [1.0, 2.0, 3.0, -9.0]])
    assert metrics.tpr_at_fpr(labels, logits, 1) == 0.75


def test_tpr_at_fpr_keeps_points_on_a_straight_line():
    # Each logit is held by one real and one synthetic image: the curve is a diagonal with 100 points.
    labels, logits = np.repeat([0, 1], 100), np.tile(np.arange(100.0), 2)
    assert metrics.tpr_at_fpr(labels, logits, 1) == 0.01
    assert metrics.tpr_at_fpr(labels, logits, 5) == 0.05


@pytest.mark.parametrize(("percent", "needed"), [(1, 100), (5, 20), (0.1, 1000)])
def test_tpr_at_fpr_needs_enough_real_images(percent, needed):
    for n_real, is_nan in ((needed - 1, True), (needed, False)):
        labels = np.repeat([0, 1], [n_real, 5])
        assert math.isnan(metrics.tpr_at_fpr(labels, labels * 2.0 - 1, percent)) is is_nan


@pytest.mark.parametrize("seed", range(5))
def test_ece_against_a_loop(seed):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, 150)
    labels = (rng.random(150) < 1 / (1 + np.exp(-logits))).astype(int)  # so that gaps have either sign
    scores = 1 / (1 + np.exp(-logits))
    expected = 0.0
    for k in range(15):
        inside = (scores > k / 15) & (scores <= (k + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(labels[inside].mean() - scores[inside].mean())
    assert expected > 0.05
    assert metrics.ece(labels, logits) == pytest.approx(expected, abs=1e-12)


def test_ece_of_calibrated_and_of_certain_scores():
    half = np.array([0, 1])
    assert metrics.ece(half, np.zeros(2)) == 0
    assert metrics.ece(half, np.array([np.inf, -np.inf])) == 1


def test_ece_bins_are_closed_on_the_right():
    # Scores 0.5 and 0.25 share the bin (0, 0.5], and their gaps cancel; [0.5, 1] would part them.
    assert metrics.ece(np.array([0, 1]), np.array([0.0, -np.log(3)]), bins=2) == pytest.approx(0.125)


def test_brier_and_nll_by_their_formulas(sample):
    labels, logits = sample
    p = 1 / (1 + np.exp(-logits))
    assert metrics.brier(labels, logits) == pytest.approx(np.mean((p - labels) ** 2))
    assert metrics.nll(labels, logits) == pytest.approx(-np.mean(labels * np.log(p) + (1 - labels) * np.log(1 - p)))


def test_nll_of_large_logits():
    labels = np.array([0, 1, 0, 1])
    assert metrics.nll(labels, np.array([1000.0, -1000.0, -1000.0, 1000.0])) == 500
    assert metrics.nll(labels, np.array([-np.inf, np.inf, -np.inf, np.inf])) == 0
    assert metrics.nll(labels, np.full(4, np.inf)) == np.inf


def test_point_metrics_has_the_names_of_the_table(sample):
    found = metrics.point_metrics(*sample)
    assert list(found) == KEYS
    assert all(type(value) is float and not math.isnan(value) for value in found.values())
    assert found["tpr_at_fpr_1"] <= found["tpr_at_fpr_5"]


@pytest.mark.parametrize(
    ("labels", "computable"),
    [
        ([], set()),
        ([0] * 30, {"accuracy", "tnr", "ece", "brier", "nll"}),
        ([1] * 30, {"accuracy", "tpr", "ece", "brier", "nll"}),
    ],
)
def test_what_cannot_be_computed_is_nan(labels, computable):
    found = metrics.point_metrics(np.array(labels, dtype=int), np.linspace(-1, 1, len(labels)))
    assert {key for key, value in found.items() if not math.isnan(value)} == computable
    assert list(metrics.roc_points(np.array(labels, dtype=int), np.zeros(len(labels))).columns) == metrics.ROC_COLUMNS


def test_roc_points_obey_their_rule(sample):
    labels, logits = sample
    points = metrics.roc_points(labels, logits)
    scores = 1 / (1 + np.exp(-logits))
    assert points.iloc[0].tolist() == [0, 0, np.inf]
    assert points.iloc[-1, :2].tolist() == [1, 1]
    for fpr, tpr, threshold in points.itertuples(index=False):
        assert fpr == pytest.approx(np.mean(scores[labels == 0] >= threshold - 1e-12))
        assert tpr == pytest.approx(np.mean(scores[labels == 1] >= threshold - 1e-12))
    assert np.trapezoid(points["tpr"], points["fpr"]) == pytest.approx(metrics.auc(labels, logits))


def test_roc_points_are_thinned_evenly():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 20_000)
    logits = rng.normal(labels * 1.0)
    whole = metrics.roc_points(labels, logits, limit=10**9)
    assert len(whole) > 5000
    largest = (whole["fpr"] + whole["tpr"]).diff().max()
    for limit in (2, 50, 2000):
        points = metrics.roc_points(labels, logits, limit)
        assert limit * 0.9 <= len(points) <= limit
        assert points.iloc[0].tolist() == [0, 0, np.inf]
        assert points.iloc[-1, :2].tolist() == [1, 1]
        steps = (points["fpr"] + points["tpr"]).diff().dropna()
        assert steps.max() <= 2 / (limit - 1) + largest + 1e-12
    assert np.trapezoid(points["tpr"], points["fpr"]) == pytest.approx(metrics.auc(labels, logits), abs=1e-4)


def test_no_points_where_a_class_is_missing():
    assert metrics.roc_points(np.zeros(5, dtype=int), np.arange(5.0)).empty
