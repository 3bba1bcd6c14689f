"""Scores that tell the label, and that do not: lights, intervals, and what a fold may see."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from maibench.evaluation.audit.by_generator import single_finding
from maibench.evaluation.audit.found import exclusive, telling_text
from maibench.evaluation.audit.telling import Telling, light, telling, telling_of, won_pairs
from maibench.evaluation.statistics.bootstrap import SourceBootstrap, percentile_interval


@pytest.mark.parametrize(("n", "least", "most"), [(1000, 19, 20), (60, 0, 12)])
def test_random_labels_are_not_told_and_few_images_leave_it_open(n: int, least: int, most: int) -> None:
    lights, covered = [], 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, 2, n)
        told = telling(rng.normal(size=(n, 6)), labels, np.arange(n), seed)
        lights.append(light(told))
        covered += told.lo <= 0.5 <= told.hi
    assert least <= lights.count("green") <= most
    assert lights.count("red") + lights.count("yellow") <= 1
    assert covered >= 18


@pytest.mark.parametrize(
    ("auc", "lo", "hi", "expected", "says"),
    [
        (0.500, 0.500, 0.500, "green", "does not tell the label"),
        (0.505, 0.502, 0.509, "green", "hardly tells the label"),
        (0.529, 0.484, 0.574, "green", "hardly tells the label"),
        (0.5496, 0.5004, 0.599, "green", "may tell the label a little"),
        (0.580, 0.520, 0.630, "yellow", "tells the label a little"),
        (0.732, 0.640, 0.806, "yellow", "tells the label"),
        (0.732, 0.660, 0.796, "red", "tells the label"),
        (0.655, 0.469, 0.803, "grey", "cannot be told with 40 sources"),
        (0.480, 0.300, 0.660, "grey", "cannot be told with 40 sources"),
    ],
)
def test_the_light_and_the_words_agree(auc: float, lo: float, hi: float, expected: str, says: str) -> None:
    told = Telling(auc, lo, hi, 80, 40, np.zeros(0), np.zeros(0, dtype=np.int64))
    assert (light(told), telling_text(told)) == (expected, f"{says}: AUC {auc:.3f} [{lo:.3f}, {hi:.3f}]")


def test_what_one_class_alone_has_is_not_chance() -> None:
    labels, sources = np.repeat([0, 1], 500), np.arange(1000)
    assert exclusive(np.arange(1000) < 15, labels, sources) == "real"
    assert exclusive(np.arange(1000) >= 985, labels, sources) == "synthetic"
    assert exclusive(np.arange(1000) < 9, labels, sources) == ""
    assert exclusive(np.arange(1000) < 15, labels, np.zeros(1000)) == ""
    assert exclusive(np.arange(1000) < 501, labels, sources) == ""


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
    assert light(telling(values, labels, sources)) in ("green", "grey")
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


@pytest.mark.parametrize(("n_few", "expected"), [(400, "grey"), (100, "green")])
def test_single_generators_are_green_only_where_most_images_could_be_judged(n_few: int, expected: str) -> None:
    rng = np.random.default_rng(0)
    labels, sources = np.repeat([0, 1, 1], [300, 300, n_few]), np.arange(600 + n_few)
    sources[600:] = 600 + sources[600:] % 5
    scores = rng.normal(size=len(labels))
    members = {"many": sources < 600, "few": (labels == 0) | (sources >= 600)}
    told = {name: telling_of(scores, labels, sources, mask) for name, mask in members.items()}
    found = single_finding("all facts", told, {"many": 300, "few": n_few}, 0.65)
    assert found.light == expected
    assert f"1 of 2 generators could be judged, with {30000 / (300 + n_few):.0f} % of the synthetic" in found.says
