"""Calibration against scikit-learn, direct minimisers and closed forms."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression

from maibench.evaluation.statistics import metrics
from maibench.evaluation.statistics.calibration import (
    calibrate,
    calibrated,
    decompose,
    fit_platt,
    fit_temperature,
    reliability,
)
from maibench.evaluation.statistics.evaluated import Evaluated
from maibench.evaluation.statistics.frames import COLUMNS


def sample(n, seed, slope=1.0, intercept=0.0):
    """Labels drawn from P(slope * logit + intercept)."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, n)
    return (rng.random(n) < expit(slope * logits + intercept)).astype(np.int64), logits


def evaluated(labels, logits, validation=None):
    images = pd.DataFrame({
        "path": [f"{i:04d}" for i in range(len(labels))], "label": labels, "generator": "g", "source": "s",
        "own_source": False,
    })  # fmt: skip
    answers = logits if isinstance(logits, dict) else {("d", "none"): logits}
    return Evaluated(images, answers, validation=validation or {})


@st.composite
def overlapping(draw):
    """Labels and logits of both classes that overlap, in eighths, infinities among them."""
    rows = draw(st.lists(st.tuples(st.integers(0, 1), st.integers(-40, 40)), max_size=30))
    labels, eighths = np.array([(0, -8), (0, 8), (1, -8), (1, 9), *rows]).T
    return labels, eighths / 8


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (0.3, -1.0), (-0.7, 2.0), (12.0, 3.0)])
def test_platt_is_unregularised_logistic_regression(slope, intercept):
    labels, logits = sample(800, 1, slope, intercept)
    reference = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(logits[:, None], labels)
    expected = (reference.coef_[0, 0], reference.intercept_[0])
    assert fit_platt(labels, logits) == pytest.approx(expected, rel=1e-4, abs=1e-5)


@settings(max_examples=60)
@given(overlapping())
def test_no_slope_and_intercept_near_by_are_better(data):
    labels, logits = data
    slope, intercept = fit_platt(labels, logits)
    best = metrics.nll(labels, calibrated(logits, slope, intercept))
    for d_slope, d_intercept in [(0.01, 0), (-0.01, 0), (0, 0.01), (0, -0.01), (0.01, 0.01), (-0.01, 0.01)]:
        assert best <= metrics.nll(labels, calibrated(logits, slope + d_slope, intercept + d_intercept)) + 1e-12


@settings(max_examples=60)
@given(overlapping())
def test_mean_score_is_the_base_rate_after_platt(data):
    labels, logits = data
    assert expit(calibrated(logits, *fit_platt(labels, logits))).mean() == pytest.approx(labels.mean(), abs=1e-6)


@pytest.mark.parametrize("factor", [1e-6, 0.1, 1.0, 50.0, 1e9])
def test_fits_follow_the_scale_of_the_logits(factor):
    labels, logits = sample(500, 2, 1.5, 0.5)
    assert fit_temperature(labels, logits * factor) * factor == pytest.approx(fit_temperature(labels, logits), rel=1e-9)
    slope, intercept = fit_platt(labels, logits)
    assert fit_platt(labels, logits * factor) == pytest.approx((slope / factor, intercept), rel=1e-6)


@pytest.mark.parametrize("slope", [0.1, 1.0, 4.0])
def test_temperature_is_what_a_direct_minimiser_finds(slope):
    labels, logits = sample(700, 3, slope)
    found = minimize_scalar(lambda s: metrics.nll(labels, s * logits), bounds=(1e-6, 50), method="bounded",
                            options={"xatol": 1e-10}).x  # fmt: skip
    assert fit_temperature(labels, logits) == pytest.approx(found, rel=1e-6)
    reference = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10).fit(logits[:, None], labels)
    assert fit_temperature(labels, logits) == pytest.approx(reference.coef_[0, 0], rel=1e-4)


def test_temperature_in_closed_form():
    # Three in four of the logits +-2 are right: P = 3/4 is reached at slope * 2 = logit(3/4).
    labels, logits = np.array([1, 1, 1, 0, 0, 0, 0, 1]), np.array([2.0, 2, 2, 2, -2, -2, -2, -2])
    assert fit_temperature(labels, logits) == pytest.approx(logit(0.75) / 2)
    assert fit_platt(labels, logits) == pytest.approx((logit(0.75) / 2, 0), abs=1e-9)


def test_separable_data_get_platts_targets():
    labels, logits = np.array([0, 0, 0, 1, 1]), np.array([-3.0, -2, -1, 1, 5])
    targets = np.where(labels == 1, 3 / 4, 1 / 5)
    # Logistic regression on those targets: every image counts as both classes, in these parts.
    both, weights = np.repeat([1, 0], 5), np.concatenate([targets, 1 - targets])
    reference = LogisticRegression(C=np.inf, tol=1e-12).fit(np.tile(logits, 2)[:, None], both, weights)
    expected = (reference.coef_[0, 0], reference.intercept_[0])
    assert fit_platt(labels, logits) == pytest.approx(expected, rel=1e-3)
    through_zero = LogisticRegression(C=np.inf, tol=1e-12, fit_intercept=False)
    slope = through_zero.fit(np.tile(logits, 2)[:, None], both, weights).coef_[0, 0]
    assert fit_temperature(labels, logits) == pytest.approx(slope, rel=1e-3)


def test_one_value_a_class_reaches_platts_targets_exactly():
    labels, logits = np.array([0, 0, 0, 1, 1]), np.array([-1.0, -1, -1, 2, 2])
    assert expit(calibrated(logits, *fit_platt(labels, logits))) == pytest.approx(np.where(labels, 3 / 4, 1 / 5))


def test_classes_that_touch_in_one_value_are_separable_too():
    labels, logits = np.array([0, 0, 1, 1]), np.array([-1.0, 1, 1, 3])
    assert np.isfinite(fit_platt(labels, logits)).all()
    assert fit_platt(labels, logits)[0] < 10
    assert np.isfinite(fit_temperature(np.array([0, 0, 1, 1]), np.array([-1.0, 0, 0, 3])))


def test_a_detector_that_is_wrong_is_turned_round_by_platt_and_refused_by_temperature():
    labels, logits = sample(300, 5)
    assert fit_platt(labels, -logits)[0] < 0
    assert math.isnan(fit_temperature(labels, -logits))


@pytest.mark.parametrize("labels", [[], [0, 0], [1, 1]])
def test_nothing_is_fitted_to_one_class(labels):
    labels = np.array(labels, dtype=np.int64)
    assert math.isnan(fit_temperature(labels, np.ones(len(labels))))
    assert np.isnan(fit_platt(labels, np.arange(len(labels), dtype=float))).all()


def test_one_logit_for_all():
    labels = np.array([0, 1, 1])
    assert np.isnan(fit_platt(labels, np.full(3, 2.0))).all()
    assert fit_temperature(labels, np.full(3, 2.0)) == pytest.approx(logit(2 / 3) / 2)
    assert math.isnan(fit_temperature(labels, np.zeros(3)))


def test_infinite_logits_count_as_the_largest_finite_one():
    labels = np.array([0, 1, 0, 1, 1, 0])
    logits = np.array([np.inf, np.inf, -np.inf, -3, 50.0, -2])
    largest = np.where(np.isinf(logits), np.sign(logits) * 50, logits)
    assert fit_platt(labels, logits) == fit_platt(labels, largest)
    assert fit_temperature(labels, logits) == fit_temperature(labels, largest)
    assert calibrated(np.array([np.inf, -np.inf, 1.0]), 0.5, 1.0).tolist() == [19.0, -17.0, 1.5]


@given(st.lists(st.tuples(st.integers(0, 1), st.floats(-50, 50) | st.sampled_from([np.inf, -np.inf])), min_size=1))
def test_brier_is_reliability_minus_resolution_plus_uncertainty(rows):
    labels, logits = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    parts = decompose(labels, logits)
    total = parts["reliability"] - parts["resolution"] + parts["uncertainty"]
    assert total == pytest.approx(metrics.brier(labels, logits), abs=1e-12)


def test_murphys_terms_where_a_bin_has_one_score():
    scores = np.repeat([0.1, 0.3, 0.9], [10, 20, 10])
    labels = np.concatenate([np.repeat([0, 1], [8, 2]), np.repeat([0, 1], [12, 8]), np.repeat([0, 1], [0, 10])])
    parts = decompose(labels, logit(scores))
    assert parts["reliability"] == pytest.approx((10 * 0.1**2 + 20 * 0.1**2 + 10 * 0.1**2) / 40)
    assert parts["resolution"] == pytest.approx((10 * 0.3**2 + 20 * 0.1**2 + 10 * 0.5**2) / 40)
    assert parts["uncertainty"] == pytest.approx(0.25)


def test_the_diagram_is_scikit_learns_and_adds_up_to_ece():
    labels, logits = sample(5000, 7, 0.5)
    table = reliability(labels, logits)
    share, mean_score = calibration_curve(labels, expit(logits), n_bins=15)
    assert table["share_synthetic"].to_numpy() == pytest.approx(share)
    assert table["mean_score"].to_numpy() == pytest.approx(mean_score)
    gap = table["n"] * (table["share_synthetic"] - table["mean_score"]).abs()
    assert gap.sum() / 5000 == pytest.approx(metrics.ece(labels, logits))


def test_ends_of_the_scale_and_empty_bins():
    table = reliability(np.array([0, 1, 1]), np.array([-np.inf, np.inf, 0.0]))
    assert table["bin"].tolist() == [0, 7, 14]
    assert table["n"].tolist() == [1, 1, 1]
    assert table["mean_score"].tolist() == [0, 0.5, 1]


def test_frames_of_a_miscalibrated_detector():
    validation, test = sample(2000, 8, 0.4, -0.5), sample(3000, 9, 0.4, -0.5)
    labels, logits = test
    lacking = np.where(np.arange(3000) < 1000, np.nan, logits)
    keys = {("d", "none"): logits, ("d", "jpeg:50"): lacking, ("other", "none"): logits}
    rows, bins = calibrate(evaluated(labels, keys, {"d": validation}))
    assert list(rows.columns) == list(COLUMNS["calibration"])
    assert list(bins.columns) == list(COLUMNS["reliability"])
    methods = rows.groupby(["detector", "perturbation"], sort=False)["method"].agg(list).to_dict()
    every = ["raw", "temperature", "platt"]
    assert methods == {("d", "none"): every, ("d", "jpeg:50"): every, ("other", "none"): ["raw"]}
    clean = rows[(rows["detector"] == "d") & (rows["perturbation"] == "none")].set_index("method")
    assert clean.loc["raw", "ece"] > clean.loc["temperature", "ece"] > clean.loc["platt", "ece"]
    assert clean.loc["platt", ["slope", "intercept"]].tolist() == pytest.approx([0.4, -0.5], abs=0.12)
    for name in ("ece", "brier", "nll"):
        assert clean.loc["raw", name] == getattr(metrics, name)(labels, logits)
        answers = clean.loc["platt", "slope"] * logits + clean.loc["platt", "intercept"]
        assert clean.loc["platt", name] == pytest.approx(getattr(metrics, name)(labels, answers))
    assert bins.groupby(["detector", "perturbation", "method"])["n"].sum().tolist() == [2000] * 3 + [3000] * 4


def test_the_evaluated_split_is_never_fitted_on():
    validation = sample(300, 10)
    labels, logits = sample(300, 11)
    first, _ = calibrate(evaluated(labels, logits, {"d": validation}))
    second, _ = calibrate(evaluated(1 - labels, logits * 3, {"d": validation}))
    assert first["slope"].tolist() == second["slope"].tolist()


def test_what_is_not_there():
    nothing = np.array([], dtype=np.int64)
    for labels, logits in [(nothing, np.array([])), (np.array([0, 1]), np.full(2, np.nan))]:
        rows, bins = calibrate(evaluated(labels, logits, {"d": sample(50, 12)}))
        assert rows["method"].tolist() == ["raw", "temperature", "platt"]
        assert rows[["ece", "brier", "nll", "reliability"]].isna().all(axis=None)
        assert bins.empty
    rows, _ = calibrate(evaluated(np.array([0, 0]), np.array([1.0, np.inf]), {"d": (np.array([1]), np.array([1.0]))}))
    assert rows["method"].tolist() == ["raw"]
    assert rows["uncertainty"].tolist() == [0]
    rows, bins = calibrate(Evaluated(evaluated(nothing, np.array([])).images, {}))
    assert list(rows.columns) == list(COLUMNS["calibration"])
    assert rows.empty and bins.empty
