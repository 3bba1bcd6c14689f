"""The head of fitted detectors: it finds what there is, claims no more, and says no more far out."""

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss

from maibench.errors import MaibenchError
from maibench.models.logistic import FURTHEST, CalibratedLogistic, fit_logistic


def drawn(n, seed, d=4):
    """Features of which the first carries the label, with the log-odds 2 x; the rest is noise."""
    random = np.random.default_rng(seed)
    features = random.normal(size=(n, d))
    return features, (random.random(n) < 1 / (1 + np.exp(-2 * features[:, 0]))).astype(np.int64)


def test_finds_the_log_odds_that_were_drawn():
    weights, intercept = fit_logistic(*drawn(4000, 0))
    np.testing.assert_allclose(weights, [2, 0, 0, 0], atol=0.2)
    assert abs(intercept) < 0.2


def test_claims_nothing_where_there_is_nothing():
    random = np.random.default_rng(0)
    features, labels = (
        random.normal(size=(60, 100)),
        np.repeat([0, 1], 30),
    )  # separable by chance: more features than rows
    weights, intercept = fit_logistic(features, labels)
    unseen, truth = random.normal(size=(400, 100)), np.tile([0, 1], 200)
    score = 1 / (1 + np.exp(-(unseen @ weights + intercept)))
    assert log_loss(truth, score) < 0.75  # a plain fit to these rows says 1.4 at scikit-learn's default


def test_a_rare_class_counts_as_much():
    features, labels = drawn(4000, 1)
    keep = (labels == 1) | (np.arange(4000) % 8 == 0)
    _, intercept = fit_logistic(features[keep], labels[keep])
    assert abs(intercept) < 0.25


@pytest.mark.parametrize("n", [1, 3])
def test_few_images(n):
    features = np.repeat([[-1.0], [1.0]], n, axis=0)
    weights, _ = fit_logistic(features, np.repeat([0, 1], n))
    assert np.isfinite(weights).all()
    assert weights[0] > 0


def test_constant_and_huge_features_stay_finite():
    features, labels = drawn(50, 2)
    features[:, 3] = 7.0
    head = CalibratedLogistic(4, "head")
    head.fit(features, labels)
    edge, beyond = (head(torch.full((1, 4), value)) for value in (float(FURTHEST + 100), 1e30))
    assert torch.isfinite(beyond).all()
    torch.testing.assert_close(edge, beyond)


def test_refusals():
    head = CalibratedLogistic(2, "mine")
    with pytest.raises(MaibenchError, match="mine: not fitted yet"):
        head(torch.zeros(1, 2))
    with pytest.raises(MaibenchError, match="mine: the training split holds one class only"):
        head.fit(np.zeros((3, 2)), np.ones(3, dtype=np.int64))


def test_folds_that_mislead_turn_nothing_round():
    for seed in range(4):  # a plain calibration turns every second one of these
        random = np.random.default_rng(seed)
        features, labels = random.normal(size=(16, 40)), np.arange(16) % 2
        features[:, 0] += 0.3 * labels
        weights, intercept = fit_logistic(features, labels)
        assert ((features @ weights + intercept > 0) == labels).mean() > 0.9
