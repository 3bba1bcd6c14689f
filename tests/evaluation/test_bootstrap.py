"""The source bootstrap: exact values, invariants, coverage and speed."""

import math
import time

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from maibench.errors import MaibenchError
from maibench.evaluation import bootstrap
from maibench.evaluation.bootstrap import (
    Bootstraps,
    SourceBootstrap,
    percentile_interval,
)


def images(n_sources=40, per_source=5, seed=0, decimals=1):
    """Sources of several images with logits that rise and fall together; rounded, so that there are ties."""
    rng = np.random.default_rng(seed)
    sources = np.repeat([f"photo {i}" for i in range(n_sources)], per_source)
    labels = rng.integers(0, 2, len(sources))
    logits = rng.normal(labels + np.repeat(rng.normal(size=n_sources), per_source))
    return sources, labels, np.round(logits, decimals)


def weights_of(drawn_row, sources):
    return drawn_row[np.unique(sources, return_inverse=True)[1]]


def test_every_resample_draws_as_many_sources_as_there_are():
    drawn = SourceBootstrap(images()[0], resamples=500)._drawn
    assert drawn.shape == (500, 40)
    assert (drawn.sum(axis=1) == 40).all()
    # A source is missed with probability (1 - 1/S)^S; its count has variance 1 - 1/S.
    assert np.mean(drawn == 0) == pytest.approx((1 - 1 / 40) ** 40, abs=0.01)
    assert np.var(drawn.astype(float)) == pytest.approx(1 - 1 / 40, abs=0.03)


def test_auc_of_each_resample_is_the_weighted_auc():
    sources, labels, logits = images()
    made = SourceBootstrap(sources, resamples=200, seed=4)
    expected = [
        roc_auc_score(labels, logits, sample_weight=weights_of(row, sources).astype(float)) for row in made._drawn
    ]
    assert len(np.unique(logits)) < len(logits)
    np.testing.assert_allclose(made.aucs(labels, logits), expected, rtol=0, atol=1e-9)


def test_accuracy_of_each_resample_is_the_weighted_mean():
    sources, labels, logits = images(per_source=3)
    sources = np.append(sources, ["photo 0"] * 7)  # sources of unequal size
    correct = np.append((logits > 0) == labels, [True, False] * 3 + [True])
    made = SourceBootstrap(sources, resamples=100)
    expected = [np.average(correct, weights=weights_of(row, sources)) for row in made._drawn]
    np.testing.assert_allclose(made.accuracies(correct), expected, atol=1e-12)


def test_blocks_do_not_change_the_result(monkeypatch):
    sources, labels, logits = images()
    whole = SourceBootstrap(sources, resamples=50)
    accuracies, aucs = whole.accuracies(labels), whole.aucs(labels, logits)
    monkeypatch.setattr(bootstrap, "_BLOCK_BYTES", 3 * 8 * 240 * 7)
    blocks = SourceBootstrap(sources, resamples=50)
    assert max(len(block) for block in blocks._blocks(240)) == 7
    np.testing.assert_array_equal(blocks.aucs(labels, logits), aucs)
    np.testing.assert_array_equal(blocks.accuracies(labels), accuracies)


def test_infinite_logits_are_ranked():
    sources, labels, logits = images()
    made = SourceBootstrap(sources, resamples=20)
    far = np.where(logits > 1, np.inf, np.where(logits < -1, -np.inf, logits))
    np.testing.assert_array_equal(made.aucs(labels, far), made.aucs(labels, np.clip(far, -99, 99)))


def test_the_same_names_and_seed_draw_the_same_and_order_has_no_effect():
    sources, labels, logits = images()
    order = np.random.default_rng(9).permutation(len(sources))
    first, again = SourceBootstrap(sources, seed=7), SourceBootstrap(sources[order], seed=7)
    assert first.auc_interval(labels, logits) == again.auc_interval(labels[order], logits[order])
    correct = (logits > 0) == labels
    assert first.accuracy_interval(correct) == again.accuracy_interval(correct[order])
    assert first.auc_interval(labels, logits) != SourceBootstrap(sources, seed=8).auc_interval(labels, logits)


def test_repeating_every_image_of_a_source_makes_nothing_more_certain():
    sources, labels, logits = images()
    once, thrice = SourceBootstrap(sources), SourceBootstrap(np.tile(sources, 3))
    assert once.auc_interval(labels, logits) == pytest.approx(
        thrice.auc_interval(np.tile(labels, 3), np.tile(logits, 3))
    )
    alone = SourceBootstrap(np.arange(3 * len(sources)))
    lo, hi = alone.auc_interval(np.tile(labels, 3), np.tile(logits, 3))
    wide_lo, wide_hi = thrice.auc_interval(np.tile(labels, 3), np.tile(logits, 3))
    assert hi - lo < 0.75 * (wide_hi - wide_lo)


def test_interval_of_independent_images_is_the_binomial_one():
    correct = np.repeat([True, False], [800, 200])
    lo, hi = SourceBootstrap(np.arange(1000), resamples=4000).accuracy_interval(correct)
    half = 1.96 * math.sqrt(0.8 * 0.2 / 1000)
    assert lo == pytest.approx(0.8 - half, abs=0.003)
    assert hi == pytest.approx(0.8 + half, abs=0.003)


def test_interval_covers_the_truth_where_images_of_a_source_agree():
    rng = np.random.default_rng(0)
    sources = np.repeat(np.arange(60), 4)
    alone = Bootstraps(np.arange(240), resamples=300).of(np.arange(240))
    clustered = Bootstraps(sources, resamples=300).of(np.arange(240))
    covered = {"clustered": 0, "alone": 0}
    for _ in range(300):
        correct = np.repeat(rng.random(60) < 0.75, 4) ^ (rng.random(240) < 0.05)
        truth = 0.75 * 0.95 + 0.25 * 0.05
        for name, made in (("clustered", clustered), ("alone", alone)):
            lo, hi = made.accuracy_interval(correct)
            covered[name] += lo <= truth <= hi
    assert 0.91 <= covered["clustered"] / 300 <= 0.98
    assert covered["alone"] / 300 < 0.8  # what resampling images instead would claim


def test_auc_interval_covers_the_truth():
    rng = np.random.default_rng(5)
    labels = np.tile([0, 1], 60)
    made = SourceBootstrap(np.repeat(np.arange(60), 2), resamples=300)
    truth = 0.7602499389065233  # Phi(1 / sqrt 2): logits N(0, 1) and N(1, 1)
    covered = 0
    for _ in range(300):
        lo, hi = made.auc_interval(labels, rng.normal(labels))
        covered += lo <= truth <= hi
    assert 0.91 <= covered / 300 <= 0.98


def test_fewer_than_ten_sources_have_no_interval():
    for n_sources, text in ((9, "none: 9 sources, fewer than 10"), (1, "none: 1 source, fewer than 10")):
        sources, labels, logits = images(n_sources=n_sources, per_source=20)
        made = SourceBootstrap(sources)
        assert np.isnan(made.auc_interval(labels, logits)).all()
        assert np.isnan(made.accuracy_interval(labels)).all()
        assert made.describe() == text
    sources, labels, logits = images(n_sources=10)
    made = SourceBootstrap(sources, resamples=300)
    assert not np.isnan(made.auc_interval(labels, logits)).any()
    assert made.describe() == "bootstrap of 10 sources, 300 resamples"


def test_no_images_have_no_interval():
    nothing = np.array([])
    made = SourceBootstrap(nothing)
    assert np.isnan(made.auc_interval(nothing, nothing)).all()
    assert np.isnan(made.accuracy_interval(nothing)).all()
    assert made.describe() == "none: 0 sources, fewer than 10"


def test_resamples_without_a_class_are_left_out():
    # One real image among twelve sources: a third of the resamples have none.
    labels, logits = np.array([0] + [1] * 11), np.linspace(1, 2, 12)
    made = SourceBootstrap(np.arange(12))
    missing = np.isnan(made.aucs(labels, logits))
    np.testing.assert_array_equal(missing, made._drawn[:, 0] == 0)
    assert 0.2 < missing.mean() < 0.5
    assert made.auc_interval(labels, logits) == (1.0, 1.0)
    assert np.isnan(made.auc_interval(np.ones(12), logits)).all()


def test_percentile_interval():
    assert percentile_interval(np.append(np.arange(101.0), np.nan)) == (2.5, 97.5)
    assert np.isnan(percentile_interval(np.array([np.nan]))).all()


def test_bootstraps_are_shared_by_the_same_images_and_draw_as_the_names_do():
    sources, labels, logits = images()
    shared = Bootstraps(sources, resamples=100, seed=2)
    some = np.arange(20, 120)
    assert shared.of(some) is shared.of(some.copy())
    assert shared.of(some) is not shared.of(some[1:])
    named = SourceBootstrap(sources[some], resamples=100, seed=2)
    assert shared.of(some).auc_interval(labels[some], logits[some]) == named.auc_interval(labels[some], logits[some])


def test_wrong_requests_are_refused():
    with pytest.raises(MaibenchError, match="no source"):
        SourceBootstrap(np.array(["a", None, "b"], dtype=object))
    with pytest.raises(MaibenchError, match="no source"):
        Bootstraps(np.array(["a", None, "b"], dtype=object))
    with pytest.raises(MaibenchError, match="resamples"):
        SourceBootstrap(np.arange(20), resamples=0)


def test_a_thousand_resamples_of_ten_thousand_images_take_under_half_a_second():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 10_000)
    logits, sources = rng.normal(labels), np.array([f"photo {i}" for i in range(10_000)])
    seconds = []
    for _ in range(3):
        start = time.process_time()
        SourceBootstrap(sources).auc_interval(labels, logits)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 0.5
