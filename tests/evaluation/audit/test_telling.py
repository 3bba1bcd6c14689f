"""Scores that tell the label, and that do not: lights, intervals, and what a fold may see."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from maibench.evaluation.audit.telling import light, telling, telling_of, won_pairs
from maibench.evaluation.statistics.bootstrap import SourceBootstrap, percentile_interval


def test_random_labels_are_not_told() -> None:
    green = covered = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, 2, 400)
        told = telling(rng.normal(size=(400, 6)), labels, rng.integers(0, 200, 400), seed)
        green += light(told) == "green"
        covered += told.lo <= 0.5 <= told.hi
    assert green >= 19
    assert covered >= 18


@pytest.mark.parametrize(("shift", "expected"), [(0.0, "green"), (0.4, "yellow"), (2.0, "red")])
def test_a_planted_leak_has_its_light(shift: float, expected: str) -> None:
    rng = np.random.default_rng(3)
    labels = np.arange(1500) % 2
    told = telling(rng.normal(size=1500) + shift * labels, labels, np.arange(1500) // 2)
    assert light(told) == expected
    # The AUC of two normal distributions so far apart.
    assert told.auc == pytest.approx(0.5 * (1 + math.erf(shift / 2)), abs=0.04)


def test_a_shape_that_no_line_follows_is_told() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(1000) % 2
    size = np.where(labels, 512, rng.choice([480, 500, 511, 513, 640, 700, 800, 900, 1000, 1100], 1000))
    assert telling(size + 0.0, labels, np.arange(1000)).auc == 1.0


def test_what_only_a_source_shares_is_not_told() -> None:
    # Each source has its own value and one label: known only to who saw the source.
    rng = np.random.default_rng(1)
    sources = np.repeat(np.arange(60), 20)
    labels = rng.integers(0, 2, 60)[sources]
    values = rng.permutation(60)[sources].astype(float)
    assert light(telling(values, labels, sources)) == "green"
    assert light(telling(values, labels, np.arange(1200))) != "green"


def test_missing_is_a_value_and_constant_is_chance() -> None:
    labels = np.arange(200) % 2
    assert telling(np.where(labels, np.nan, 1.0), labels, np.arange(200)).auc == 1.0
    told = telling(np.full(200, 7.0), labels, np.arange(200))
    assert (told.auc, told.lo, told.hi, light(told)) == (0.5, 0.5, 0.5, "green")


@pytest.mark.parametrize("n_sources", [0, 1, 2, 9])
def test_few_sources_have_no_interval(n_sources: int) -> None:
    labels = np.array([1] * n_sources + [0] * 50)
    told = telling(labels + 0.0, labels, np.arange(len(labels)))
    assert math.isnan(told.lo) and math.isnan(told.hi)
    assert light(told) == "grey"
    assert (f"{n_sources} source" if n_sources else "one class only") in told.reason
    assert math.isnan(told.auc) == (n_sources < 2)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4))
def test_the_auc_is_that_of_the_pairs_within_a_fold(seed: int, n_folds: int) -> None:
    rng = np.random.default_rng(seed)
    labels, scores, folds = rng.integers(0, 2, 40), rng.integers(0, 6, 40) / 2, rng.integers(0, n_folds, 40)
    won = pairs = 0.0
    for fold in range(n_folds):
        held = folds == fold
        if 0 < labels[held].sum() < held.sum():
            n = labels[held].sum() * (held.sum() - labels[held].sum())
            won, pairs = won + n * roc_auc_score(labels[held], scores[held]), pairs + n
    told = telling_of(scores, labels, np.arange(40), folds=folds)
    assert (told.auc == pytest.approx(won / pairs)) if pairs else math.isnan(told.auc)
    wins, met = won_pairs(scores, labels, folds)
    assert wins[labels == 1].sum() == pytest.approx(wins[labels == 0].sum()) == pytest.approx(won)
    assert met[labels == 1].sum() == met[labels == 0].sum() == pairs


def test_the_interval_is_that_of_the_bootstrap_of_sources() -> None:
    rng = np.random.default_rng(5)
    sources = rng.integers(0, 150, 900)
    labels = rng.integers(0, 2, 900)
    scores = labels + rng.normal(size=900) + rng.normal(size=150)[sources]
    told = telling_of(scores, labels, sources)
    draws = SourceBootstrap(sources, 2000).aucs(labels, scores)
    assert (told.lo, told.hi) == pytest.approx(percentile_interval(draws, 150), abs=0.006)


@pytest.mark.parametrize("n", [10, 40, 200])
def test_no_interval_is_surer_than_so_many_sources_allow(n: int) -> None:
    labels, sources = np.repeat([0, 1], n), np.arange(2 * n)
    all_right = telling_of(np.arange(2 * n), labels, sources)
    assert (all_right.lo, all_right.hi) == (pytest.approx(binomtest(n, n).proportion_ci().low), 1)
    one_wrong = np.arange(2 * n) + 1.5 * (np.arange(2 * n) == n - 1)
    assert telling_of(one_wrong, labels, sources).lo <= all_right.lo
    assert telling_of(-np.arange(2 * n), labels, sources).hi == pytest.approx(1 - all_right.lo)


def test_one_generator_is_judged_by_its_members() -> None:
    labels = np.repeat([0, 1, 1], 40)
    scores = np.concatenate([np.arange(40), np.arange(40), np.arange(40) + 100.0])
    told = telling_of(scores, labels, np.arange(120), (labels == 0) | (np.arange(120) >= 80))
    assert (told.auc, told.n, told.n_sources) == (1.0, 80, 40)
