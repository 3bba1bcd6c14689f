"""How often 95 % intervals contain the truth, and how often a test at 5 % finds a difference that is not there."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from maibench.evaluation.statistics.bootstrap import SourceBootstrap
from maibench.evaluation.statistics.comparisons import compare_pairs
from maibench.evaluation.statistics.evaluated import Evaluated
from maibench.evaluation.statistics.intervals import interval_rows

MEAN = 0.6
# Logits are normal with this mean for synthetic images, its negative for real ones, and variance 1.
TRUTH = {
    "accuracy": norm.cdf(MEAN),
    "balanced_accuracy": norm.cdf(MEAN),
    "tpr": norm.cdf(MEAN),
    "eer": norm.cdf(-MEAN),
    "auc": norm.cdf(2 * MEAN / np.sqrt(2)),
}


def simulated(rng, n_sources, per_source, detectors=("a",), shared=0.5):
    """Sources of `per_source` images, of which half are synthetic. `shared` of the variance of a logit is the source's,
    where there are several images, and of two detectors half of the rest is the image's."""
    n = n_sources * per_source
    labels = rng.permutation(n) % 2
    source = np.repeat(np.arange(n_sources), per_source)
    part = shared if per_source > 1 else 0.0
    common = np.sqrt(part) * rng.normal(size=n_sources)[source]
    common += MEAN * (2 * labels - 1) + np.sqrt((1 - part) / 2) * rng.normal(size=n)
    logits = {(name, "none"): common + np.sqrt((1 - part) / 2) * rng.normal(size=n) for name in detectors}
    images = pd.DataFrame({"path": range(n), "label": labels, "generator": np.where(labels, "x", "real")})
    return Evaluated(images.assign(source=source, own_source=False), logits)


def covered(trials, resamples, n_sources, per_source, method="bootstrap"):
    """Share of the trials with an interval in which it contains the truth, by metric."""
    rng = np.random.default_rng(1)
    metrics = ("accuracy", "tpr", "auc") if method == "analytic" else tuple(TRUTH)
    hits, given = dict.fromkeys(metrics, 0), dict.fromkeys(metrics, 0)
    for seed in range(trials):
        data = simulated(rng, n_sources, per_source)
        frame = interval_rows(data, SourceBootstrap(data.images["source"].to_numpy(), resamples, seed), {}, method)
        rows = frame[frame["generator"] == "all"].set_index("metric")
        for metric in metrics:
            given[metric] += not np.isnan(rows.loc[metric, "lo"])
            hits[metric] += rows.loc[metric, "lo"] <= TRUTH[metric] <= rows.loc[metric, "hi"]
    assert min(given.values()) > trials / 4
    shares = {metric: hits[metric] / given[metric] for metric in metrics}
    text = ", ".join(f"{metric} {100 * share:.1f} %" for metric, share in shares.items())
    print(f"\n{method}, {n_sources} sources of {per_source}, {trials} trials: {text}")
    return shares


def found(trials, resamples, n_sources, per_source):
    """Share of trials in which two equally good detectors differ at 5 %, by test."""
    rng = np.random.default_rng(2)
    hits = dict.fromkeys(["p_accuracy", "p_auc", *(["p_mcnemar", "p_delong"] if per_source == 1 else [])], 0)
    for seed in range(trials):
        data = simulated(rng, n_sources, per_source, ("a", "b"))
        (row,) = compare_pairs(data, SourceBootstrap(data.images["source"].to_numpy(), resamples, seed)).to_dict(
            "records"
        )
        for name in hits:
            hits[name] += row[name] < 0.05
    shares = {name: count / trials for name, count in hits.items()}
    text = ", ".join(f"{name} {100 * share:.1f} %" for name, share in shares.items())
    print(f"\n{n_sources} sources of {per_source}, {trials} trials, differences found where none is: {text}")
    return shares


# At 1,000 trials of a true 95 % the share has a standard error of 0.7 %, at 200 of 1.5 %.
@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("n_sources", "per_source"), [(300, 1), (150, 3)])
@pytest.mark.parametrize("method", ["bootstrap", "bca"])
def test_bootstrap_intervals_contain_the_truth(n_sources, per_source, method):
    shares = covered(1000, 1000, n_sources, per_source, method)
    assert all(0.93 <= shares[metric] <= 0.97 for metric in ("accuracy", "auc"))


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("n_sources", [50, 300])
def test_wilson_and_delong_contain_the_truth(n_sources):
    shares = covered(1000, 20, n_sources, 1, "analytic")
    assert all(0.93 <= shares[metric] <= 0.97 for metric in ("accuracy", "auc"))


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("n_sources", [12, 20, 50])
def test_intervals_of_few_sources_contain_the_truth(n_sources):
    shares = covered(1000, 1000, n_sources, 3)
    assert all(0.93 <= shares[metric] <= 0.97 for metric in ("accuracy", "auc"))


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("n_sources", "per_source"), [(300, 1), (150, 3), (30, 3)])
def test_paired_tests_err_in_one_of_twenty(n_sources, per_source):
    shares = found(1000, 1000, n_sources, per_source)
    assert all(0.035 <= shares[name] <= 0.065 for name in ("p_accuracy", "p_auc"))
    if per_source == 1:
        assert 0.035 <= shares["p_delong"] <= 0.065
        assert shares["p_mcnemar"] <= 0.065  # exact: at most 5 %


@pytest.mark.parametrize(("n_sources", "per_source"), [(100, 1), (60, 3)])
def test_bootstrap_intervals_quickly(n_sources, per_source):
    shares = covered(150, 200, n_sources, per_source)
    assert all(0.88 <= shares[metric] <= 0.99 for metric in ("accuracy", "auc"))


def test_wilson_and_delong_quickly():
    shares = covered(150, 10, 100, 1, "analytic")
    assert all(0.89 <= shares[metric] <= 0.99 for metric in ("accuracy", "auc"))


def test_paired_tests_quickly():
    shares = found(150, 200, 60, 3)
    assert all(0.0 <= shares[name] <= 0.11 for name in ("p_accuracy", "p_auc"))


def test_images_in_place_of_sources_would_promise_too_much():
    """What this resampling is for: three images that are nearly one count as three."""
    rng = np.random.default_rng(0)
    hits = {"photo": 0, "image": 0}
    for seed in range(150):
        agreeing = np.repeat(rng.random(60) < 0.75, 4) ^ (rng.random(240) < 0.05)
        for name, source in (("photo", np.repeat(np.arange(60), 4)), ("image", np.arange(240))):
            draws = SourceBootstrap(source, 200, seed).means(agreeing[:, None].astype(float))[:, 0]
            lo, hi = np.percentile(draws, [2.5, 97.5])
            hits[name] += lo <= 0.75 * 0.95 + 0.25 * 0.05 <= hi
    assert hits["photo"] / 150 > 0.89
    assert hits["image"] / 150 < 0.8
