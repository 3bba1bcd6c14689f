"""The source bootstrap: what is drawn, weighted sums and means, percentiles and BCa against numpy and scipy."""

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm, t
from sklearn.metrics import roc_auc_score

from maibench.errors import MaibenchError
from maibench.evaluation.statistics import blocks
from maibench.evaluation.statistics.bootstrap import (
    SourceBootstrap,
    bca_interval,
    percentile_interval,
    percentile_intervals,
    tails,
)


def images(n_sources=40, per_source=5, seed=0, decimals=1):
    """Sources of several images with logits that rise and fall together; rounded, so that there are ties."""
    rng = np.random.default_rng(seed)
    sources = np.repeat([f"photo {i}" for i in range(n_sources)], per_source)
    labels = rng.integers(0, 2, len(sources))
    logits = rng.normal(labels + np.repeat(rng.normal(size=n_sources), per_source))
    return sources, labels, np.round(logits, decimals)


def weights_of(drawn_row, sources):
    return drawn_row[np.unique(sources, return_inverse=True)[1]].astype(float)


def accuracies(made, correct):
    return made.means(np.asarray(correct, dtype=float)[:, None])[:, 0]


def test_every_resample_draws_as_many_sources_as_there_are():
    drawn = SourceBootstrap(images()[0], resamples=500)._drawn
    assert drawn.shape == (500, 40)
    assert (drawn.sum(axis=1) == 40).all()
    # A source is missed with probability (1 - 1/S)^S; its count has variance 1 - 1/S.
    assert np.mean(drawn == 0) == pytest.approx((1 - 1 / 40) ** 40, abs=0.01)
    assert np.var(drawn.astype(float)) == pytest.approx(1 - 1 / 40, abs=0.03)


def test_the_draws_are_those_of_the_seed():
    rng = np.random.default_rng(7)
    expected = [np.bincount(rng.integers(40, size=40), minlength=40) for _ in range(30)]
    np.testing.assert_array_equal(SourceBootstrap(images()[0], resamples=30, seed=7)._drawn, expected)


def test_auc_of_each_resample_is_the_weighted_auc():
    sources, labels, logits = images()
    made = SourceBootstrap(sources, resamples=200, seed=4)
    expected = [roc_auc_score(labels, logits, sample_weight=weights_of(row, sources)) for row in made._drawn]
    assert len(np.unique(logits)) < len(logits)
    np.testing.assert_allclose(made.aucs(labels, logits), expected, rtol=0, atol=1e-9)


def test_aucs_are_those_that_ranked_met_and_leave_out_what_is_not_scored():
    sources, labels, logits = images()
    logits[::7] = np.nan
    scored = ~np.isnan(logits)
    made = SourceBootstrap(sources, resamples=50)
    met = made.ranked(labels, logits, {"all": np.ones(200, dtype=bool), "real": labels == 0})
    assert made.aucs(labels, logits.copy()) is met["all"].auc
    expected = [
        roc_auc_score(labels[scored], logits[scored], sample_weight=weights_of(row, sources)[scored])
        for row in made._drawn
    ]
    np.testing.assert_allclose(SourceBootstrap(sources, 50).aucs(labels, logits), expected, rtol=0, atol=1e-9)


def test_means_are_weighted_means_of_what_is_there():
    rng = np.random.default_rng(1)
    sources = np.append(images(per_source=3)[0], ["photo 0"] * 7)  # sources of unequal size
    values = rng.normal(size=(127, 4))
    values[rng.random(127) < 0.3, 1] = np.nan
    values[:, 2] = np.where(sources == "photo 3", values[:, 2], np.nan)
    values[:, 3] = np.nan
    made = SourceBootstrap(sources, resamples=100)
    means = made.means(values)
    for row, drawn in enumerate(made._drawn):
        weights = weights_of(drawn, sources)
        for column in range(2):
            there = ~np.isnan(values[:, column])
            expected = np.average(values[there, column], weights=weights[there])
            assert means[row, column] == pytest.approx(expected, abs=1e-12)
    # Of a single source: its mean wherever it was drawn, and nothing elsewhere.
    was_drawn = weights_of(made._drawn.T, sources)[sources == "photo 3"][0] > 0
    assert means[was_drawn, 2] == pytest.approx(np.nanmean(values[:, 2]))
    assert np.isnan(means[~was_drawn, 2]).all() and 0.2 < was_drawn.mean() < 0.9
    assert np.isnan(means[:, 3]).all()


def test_sums_over_some_images_and_of_infinite_values():
    sources, labels, logits = images()
    made = SourceBootstrap(sources, resamples=60)
    values = np.column_stack([labels, logits, np.where(np.arange(200) == 5, np.inf, logits)])
    weights = np.array([weights_of(row, sources) for row in made._drawn])
    real = labels == 0
    np.testing.assert_allclose(made.sums(values[:, :2], real), weights[:, real] @ values[real, :2], atol=1e-9)
    infinite = made.sums(values)[:, 2]
    np.testing.assert_array_equal(np.isinf(infinite), weights[:, 5] > 0)
    finite = weights[:, 5] == 0
    np.testing.assert_allclose(infinite[finite], made.sums(values)[finite, 1], atol=1e-9)
    assert not made.sums(values, np.zeros(200, dtype=bool)).any()


def test_blocks_do_not_change_the_result(monkeypatch):
    sources, labels, logits = images()
    whole = SourceBootstrap(sources, resamples=50)
    means, aucs = accuracies(whole, labels), whole.aucs(labels, logits)
    monkeypatch.setattr(blocks, "_BLOCK", 7 * 200)
    parts = SourceBootstrap(sources, resamples=50)
    np.testing.assert_array_equal(parts.aucs(labels, logits), aucs)
    np.testing.assert_array_equal(accuracies(parts, labels), means)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_order_of_images_has_no_effect(seed):
    sources, labels, logits = images(seed=seed)
    order = np.random.default_rng(seed).permutation(len(sources))
    first, again = SourceBootstrap(sources, 40, seed), SourceBootstrap(sources[order], 40, seed)
    np.testing.assert_array_equal(first.aucs(labels, logits), again.aucs(labels[order], logits[order]))
    correct = (logits > 0) == labels
    np.testing.assert_array_equal(accuracies(first, correct), accuracies(again, correct[order]))
    groups = {"some": np.arange(200) % 3 > 0}
    some = first.ranked(labels, logits, groups)["some"]
    same = again.ranked(labels[order], logits[order], {"some": groups["some"][order]})["some"]
    for name, draws in vars(some).items():
        np.testing.assert_allclose(draws, getattr(same, name), atol=1e-12)


def test_another_seed_draws_others():
    sources, labels, logits = images()
    first, other = (SourceBootstrap(sources, seed=seed).aucs(labels, logits) for seed in (7, 8))
    assert not np.array_equal(first, other)


def test_repeating_every_image_of_a_source_makes_nothing_more_certain():
    sources, labels, logits = images()
    once, thrice = SourceBootstrap(sources), SourceBootstrap(np.tile(sources, 3))
    tiled = np.tile(labels, 3), np.tile(logits, 3)
    np.testing.assert_allclose(thrice.aucs(*tiled), once.aucs(labels, logits), atol=1e-12)
    lo, hi = percentile_interval(SourceBootstrap(np.arange(3 * len(sources))).aucs(*tiled))
    wide_lo, wide_hi = percentile_interval(thrice.aucs(*tiled))
    assert hi - lo < 0.75 * (wide_hi - wide_lo)


def test_interval_of_independent_images_is_the_binomial_one():
    correct = np.repeat([True, False], [800, 200])
    lo, hi = percentile_interval(accuracies(SourceBootstrap(np.arange(1000), resamples=4000), correct))
    half = 1.96 * math.sqrt(0.8 * 0.2 / 1000)
    assert lo == pytest.approx(0.8 - half, abs=0.003)
    assert hi == pytest.approx(0.8 + half, abs=0.003)


def test_sources_of_some_images():
    made = SourceBootstrap(np.array(["a", "b", "a", "c"]), resamples=5)
    assert made.n_sources == 3 and made.n_sources_of(np.array([True, False, True, False])) == 1
    assert not made.is_single(np.array([True, False, True, False]))
    assert made.is_single(np.array([True, True, False, True]))
    assert made.has(np.array([False, False, True, True])).tolist() == [True, False, True]


def test_describe_names_the_sources_or_says_why_there_is_no_interval():
    few = SourceBootstrap(images(n_sources=9)[0])
    assert few.describe() == "none: 9 sources, fewer than 10"
    assert SourceBootstrap(np.array(["a", "a"])).describe() == "none: 1 source, fewer than 10"
    assert SourceBootstrap(np.array([])).describe() == "none: 0 sources, fewer than 10"
    made = SourceBootstrap(images(n_sources=12)[0], resamples=300)
    assert made.describe() == "bootstrap of 12 sources, 300 resamples"
    assert made.describe(np.arange(60) < 50) == "bootstrap of 10 sources, 300 resamples"
    assert made.describe(np.arange(60) < 45) == "none: 9 sources, fewer than 10"


def test_no_images_draw_nothing():
    nothing = np.array([])
    made = SourceBootstrap(nothing, resamples=8)
    assert np.isnan(made.aucs(nothing, nothing)).all() and len(made.aucs(nothing, nothing)) == 8
    assert np.isnan(made.means(np.zeros((0, 2)))).all()


def test_resamples_without_a_class_have_no_auc():
    # One real image among twelve sources: a third of the resamples have none.
    labels, logits = np.array([0] + [1] * 11), np.linspace(1, 2, 12)
    made = SourceBootstrap(np.arange(12))
    missing = np.isnan(made.aucs(labels, logits))
    np.testing.assert_array_equal(missing, made._drawn[:, 0] == 0)
    assert 0.2 < missing.mean() < 0.5
    assert percentile_interval(made.aucs(labels, logits)) == (1.0, 1.0)
    assert np.isnan(made.aucs(np.ones(12, dtype=int), logits)).all()


def test_percentiles_are_those_of_numpy():
    assert percentile_interval(np.append(np.arange(101.0), np.nan)) == (2.5, 97.5)
    assert np.isnan(percentile_interval(np.array([np.nan]))).all()
    assert np.isnan(percentile_interval(np.array([]))).all()
    draws = np.random.default_rng(0).normal(size=(997, 5))
    draws[:300, 2] = np.nan
    expected = np.nanpercentile(draws, [2.5, 97.5], axis=0).T
    np.testing.assert_array_equal(percentile_intervals(draws), expected)
    # Among infinite values numpy gives NaN.
    assert percentile_interval(np.repeat([1.0, np.inf], [50, 50])) == (1.0, math.inf)
    assert percentile_interval(np.full(9, np.inf)) == (math.inf, math.inf)


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_bca_is_that_of_scipy(share):
    from types import SimpleNamespace

    from scipy.stats import bootstrap

    rng = np.random.default_rng(2)
    for sample in (rng.exponential(size=40), (rng.random(60) < share).astype(float)):
        made = SourceBootstrap(np.arange(len(sample)), resamples=2000)
        draws = accuracies(made, sample)
        left_out = made.leave_one_out().means(sample[:, None])[:, 0]
        np.testing.assert_allclose(left_out, (sample.sum() - sample) / (len(sample) - 1), atol=1e-12)
        before = SimpleNamespace(bootstrap_distribution=draws)
        theirs = bootstrap((sample,), np.mean, n_resamples=0, bootstrap_result=before, method="BCa")
        ours = bca_interval(draws, sample.mean(), left_out)
        assert ours == pytest.approx(tuple(theirs.confidence_interval), abs=1e-12)
        assert ours != percentile_interval(draws)


def test_bca_without_a_spread_or_a_value_among_the_draws():
    assert np.isnan(bca_interval(np.ones(50), 2.0, np.ones(9))).all()
    assert np.isnan(bca_interval(np.array([np.nan]), 1.0, np.ones(9))).all()
    assert bca_interval(np.ones(50), 1.0, np.ones(9)) == (1.0, 1.0)


def test_the_jackknife_of_the_auc_leaves_one_source_out():
    sources, labels, logits = images(n_sources=15)
    made = SourceBootstrap(sources)
    found = made.leave_one_out().ranked(labels, logits, {"all": np.ones(75, dtype=bool)})["all"].auc
    kept = [sources != name for name in np.unique(sources)]
    np.testing.assert_allclose(found, [roc_auc_score(labels[keep], logits[keep]) for keep in kept], atol=1e-12)


def test_wrong_requests_are_refused():
    with pytest.raises(MaibenchError, match="no source"):
        SourceBootstrap(np.array(["a", None, "b"], dtype=object))
    with pytest.raises(MaibenchError, match="resamples"):
        SourceBootstrap(np.arange(20), resamples=0)


def test_a_thousand_resamples_of_ten_thousand_images_take_under_half_a_second():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 10_000)
    logits, sources = rng.normal(labels), np.array([f"photo {i}" for i in range(10_000)])
    seconds = []
    for _ in range(3):
        start = time.process_time()
        percentile_interval(SourceBootstrap(sources).aucs(labels, logits))
        seconds.append(time.process_time() - start)
    assert min(seconds) < 0.5


def test_tails_reach_further_out_for_few_sources():
    """Hesterberg 2015: percentiles of the normal distribution at Student's t, times sqrt(n / (n - 1))."""
    assert tails() == (0.025, 0.975)
    for n_sources in (10, 40, 300):
        low, high = tails(n_sources)
        assert low == pytest.approx(norm.cdf(-t.ppf(0.975, n_sources - 1) * math.sqrt(n_sources / (n_sources - 1))))
        assert low + high == pytest.approx(1)
    assert tails(10)[0] < tails(40)[0] < tails(300)[0] < 0.025
    draws = np.random.default_rng(0).normal(size=1000)
    assert percentile_interval(draws, 10) == pytest.approx(tuple(np.quantile(draws, tails(10))))


def test_the_mean_of_normal_numbers_has_the_interval_of_student():
    """Where the answer is known: resampled means of few numbers, expanded, come close to Student's interval."""
    rng = np.random.default_rng(3)
    hits = {"expanded": 0, "plain": 0}
    for seed in range(400):
        values = rng.normal(size=(12, 1))
        draws = SourceBootstrap(np.arange(12), 400, seed).means(values)[:, 0]
        for name, n_sources in (("expanded", 12), ("plain", math.inf)):
            lo, hi = percentile_interval(draws, n_sources)
            hits[name] += lo <= 0 <= hi
    assert 0.92 <= hits["expanded"] / 400 <= 0.98
    assert hits["plain"] < hits["expanded"] - 8
