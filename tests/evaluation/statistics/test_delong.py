"""DeLong's variance and test against the definition, written out, and against an exact permutation argument."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from maibench.evaluation.statistics.delong import delong_interval, delong_test, delong_variance


def components(labels, logits):
    """DeLong et al. 1988, section 2, in O(mn): V10 of each synthetic image, V01 of each real one."""
    synthetic, real = logits[labels == 1], logits[labels == 0]
    psi = np.where(synthetic[:, None] > real, 1.0, np.where(synthetic[:, None] == real, 0.5, 0.0))
    return psi.mean(axis=1), psi.mean(axis=0)


def direct_covariance(labels, logits):
    """The covariance matrix of the AUCs of several sets of logits (k, n), by the paper's S10 / m + S01 / n."""
    v10, v01 = zip(*(components(labels, row) for row in logits), strict=True)
    return np.cov(v10) / len(v10[0]) + np.cov(v01) / len(v01[0])


def example(seed, n=60):
    rng = np.random.default_rng(seed)
    labels = np.append([0, 0, 1, 1], rng.integers(0, 2, n - 4))
    shared = rng.normal(labels)
    decimals = int(rng.integers(0, 3))
    logits = np.round([shared + rng.normal(size=n), shared + 0.5 * rng.normal(size=n)], decimals)
    logits[:, rng.random(n) < 0.05] = np.inf
    return labels, logits


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_agrees_with_the_definition_in_all_pairs(seed):
    labels, (a, b) = example(seed)
    covariance = direct_covariance(labels, [a, b])
    auc, variance = delong_variance(labels, a)
    assert auc == pytest.approx(roc_auc_score(labels, np.unique(a, return_inverse=True)[1]), abs=1e-12)
    assert variance == pytest.approx(covariance[0, 0], abs=1e-12)
    delta, p = delong_test(labels, a, b)
    of_delta = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    assert delta == pytest.approx(auc - delong_variance(labels, b)[0], abs=1e-12)
    if of_delta > 1e-12:
        assert p == pytest.approx(2 * norm.sf(abs(delta) / math.sqrt(of_delta)), abs=1e-9)
    assert delong_test(labels, b, a) == pytest.approx((-delta, p), abs=1e-12, nan_ok=True)


def test_the_interval_is_symmetric_on_the_logit_scale_and_stays_inside():
    labels, (a, _) = example(1, n=200)
    auc, variance = delong_variance(labels, a)
    lo, hi = delong_interval(labels, a)
    scale = auc * (1 - auc)
    for edge, sign in ((lo, -1), (hi, 1)):
        moved = (math.log(edge / (1 - edge)) - math.log(auc / (1 - auc))) * scale / math.sqrt(variance)
        assert moved == pytest.approx(sign * 1.959964, abs=1e-5)
    near_one = np.append(np.arange(30.0), 28.5), np.append(np.repeat([0, 1], 15), 0)
    lo, hi = delong_interval(near_one[1], near_one[0])
    assert 0 < lo < delong_variance(near_one[1], near_one[0])[0] < hi < 1


def test_what_cannot_be_computed_is_nan():
    one_each, two_each = np.array([0, 1]), np.array([0, 0, 1, 1])
    assert delong_variance(one_each, np.array([1.0, 2.0])) == pytest.approx((1.0, math.nan), nan_ok=True)
    assert np.isnan(delong_variance(np.ones(5), np.arange(5.0))).all()
    assert np.isnan(delong_variance(np.array([]), np.array([]))).all()
    perfect = np.array([1.0, 2.0, 3.0, 4.0])
    assert delong_variance(two_each, perfect) == (1.0, 0.0)
    assert np.isnan(delong_interval(two_each, perfect)).all()
    assert delong_test(two_each, perfect, 3 * perfect) == (0.0, 1.0)
    assert delong_test(two_each, perfect, -perfect) == pytest.approx((1.0, math.nan), nan_ok=True)


def test_images_without_a_logit_are_left_out_of_both():
    labels, (a, b) = example(2)
    missing_a, missing_b = a.copy(), b.copy()
    missing_a[10:20], missing_b[15:25] = np.nan, np.nan
    both = np.r_[0:10, 25:60]
    assert delong_test(labels, missing_a, missing_b) == delong_test(labels[both], a[both], b[both])
    rest = np.r_[0:10, 20:60]
    assert delong_variance(labels, missing_a) == delong_variance(labels[rest], a[rest])
